//! `cargo xtask store`: the same recorded samples in hubmeter's files, Prometheus' and
//! VictoriaMetrics', with what they take on the disk and what it costs to write them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use nix::{
    sys::resource::{UsageWho, getrusage},
    unistd::Uid,
};
use serde_json::Value;

use crate::{
    build::cargo,
    process,
    progress::{Step, say},
    workspace::Workspace,
};

mod victoria;

/// Settings of `cargo xtask store`.
#[derive(Args, Debug)]
pub(crate) struct Store {
    /// Servers of each kind
    #[arg(long, value_name = "N", default_value_t = 400)]
    servers: usize,

    /// Hours of each server, at most: a recording is never stored twice
    #[arg(long, value_name = "N", default_value_t = 6)]
    hours: usize,

    /// Leave the others out
    #[arg(long)]
    alone: bool,
}

/// What one engine made of one trace.
struct Cost {
    bytes: u64,
    cpu_seconds: f64,
}

/// Programs of the others, each with its Debian package.
const PEERS: [(&str, &str); 2] = [
    ("promtool", "prometheus"),
    ("victoria-metrics", "victoria-metrics"),
];

/// Stores the recorded servers in each engine and prints the table.
pub(crate) fn run(args: &Store) -> Result<()> {
    let space = Workspace::here()?;
    fs::create_dir_all(&space.logs)?;
    let folder = space.target.join("store");
    let _ = fs::remove_dir_all(&folder); // of an earlier run
    fs::create_dir_all(&folder)?;
    if !args.alone {
        install_missing()?;
    }
    let ours = hubmeter(args, &space, &folder)?;
    say("");
    say(
        "| recorded server | engine | cells | values | bytes | bytes a value | bytes a cell | CPU s |",
    );
    say("|---|---|---:|---:|---:|---:|---:|---:|");
    for line in &ours {
        let name = line["trace"].as_str().context("a trace without a name")?;
        row(line, name, "hubmeter", &own_cost(line)?)?;
        if args.alone {
            continue;
        }
        row(line, name, "Prometheus", &prometheus(&folder, name)?)?;
        row(
            line,
            name,
            "VictoriaMetrics",
            &victoria::store(&space, &folder, name)?,
        )?;
    }
    let _ = fs::remove_dir_all(&folder);
    Ok(())
}

/// A *value* is a cell that differs from the sample before; the others' own figures are of cells.
fn row(line: &Value, name: &str, engine: &str, cost: &Cost) -> Result<()> {
    let number = |key: &str| line[key].as_u64().with_context(|| format!("no {key}"));
    let (cells, values) = (number("cells")?, number("values")?);
    let bytes = cost.bytes as f64;
    say(&format!(
        "| {name} | {engine} | {cells} | {values} | {} | {:.2} | {:.3} | {:.2} |",
        cost.bytes,
        bytes / values as f64,
        bytes / cells as f64,
        cost.cpu_seconds,
    ));
    Ok(())
}

fn install_missing() -> Result<()> {
    let missing: Vec<&str> = PEERS
        .iter()
        .filter(|(program, _)| process::on_path(program).is_none())
        .map(|(_, package)| *package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let wanted = missing.join(" ");
    if !Uid::effective().is_root() || process::on_path("apt-get").is_none() {
        bail!("missing: apt install {wanted} (or --alone leaves the others out)");
    }
    let status = Command::new("apt-get")
        .args(["install", "-y", "-q", "--no-install-recommends"])
        .args(&missing)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdout(Stdio::null())
        .status()
        .context("cannot start apt-get")?;
    if !status.success() {
        bail!("apt-get could not install {wanted} (--alone leaves the others out)");
    }
    Ok(())
}

// === engines ===

/// By its own bench, which also writes the text that the others read.
fn hubmeter(args: &Store, space: &Workspace, folder: &Path) -> Result<Vec<Value>> {
    let mut step = Step::begin("the bench of the store (release build; the first takes minutes)");
    let mut build = cargo(&space.root);
    let bench = [
        "bench",
        "--package",
        "hubmeter-collector",
        "--bench",
        "store",
    ];
    build.args(bench).arg("--no-run");
    step.run(&space.logs, "cargo-bench-store", build)?;
    step.done();
    let mut measure = cargo(&space.root);
    measure.args(bench).args(["--", "size"]);
    measure.args(["--servers", &args.servers.to_string()]);
    measure.args(["--hours", &args.hours.to_string()]);
    if !args.alone {
        measure.arg("--export").arg(folder);
    }
    let output = measure
        .env("TMPDIR", folder)
        .stderr(Stdio::null())
        .output()
        .context("cannot start the bench of the store")?;
    if !output.status.success() {
        bail!("the bench of the store ended with {}", output.status);
    }
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    let objects = lines.lines().filter(|line| line.starts_with('{'));
    objects
        .map(|line| serde_json::from_str(line).context("the bench of the store says no JSON"))
        .collect()
}

/// Its raw tier, and the CPU time of everything: minutes, hours, pieces and chunks.
fn own_cost(line: &Value) -> Result<Cost> {
    Ok(Cost {
        bytes: line["bytes_raw"].as_u64().context("no bytes")?,
        cpu_seconds: line["cpu_seconds"].as_f64().context("no CPU time")?,
    })
}

/// By promtool, which writes the blocks that a server writes after two hours.
fn prometheus(folder: &Path, name: &str) -> Result<Cost> {
    let blocks = folder.join(format!("{name}-blocks"));
    let before = children_cpu_seconds()?;
    let output = Command::new("promtool")
        .args(["tsdb", "create-blocks-from", "openmetrics"])
        .arg(folder.join(format!("{name}.openmetrics")))
        .arg(&blocks)
        .output()
        .context("cannot start promtool")?;
    if !output.status.success() {
        bail!("promtool: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(Cost {
        bytes: bytes_of(&blocks)?,
        cpu_seconds: children_cpu_seconds()? - before,
    })
}

/// CPU time of children that ended.
fn children_cpu_seconds() -> Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let seconds =
        |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    Ok(seconds(usage.user_time()) + seconds(usage.system_time()))
}

fn bytes_of(path: &Path) -> Result<u64> {
    let file = fs::metadata(path).with_context(|| format!("no {}", path.display()))?;
    if !file.is_dir() {
        return Ok(file.len());
    }
    let entries = fs::read_dir(path)?.collect::<std::io::Result<Vec<_>>>()?;
    let paths = entries.into_iter().map(|entry| -> PathBuf { entry.path() });
    paths.map(|path| bytes_of(&path)).sum()
}
