//! Every disk call of a run, failing in every way.

use std::{
    fmt,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use super::{
    case::{self, Broken},
    shim::{self, FOR_EVER, Fault, Shim},
    slots,
};

/// Kinds of failure by name.
pub const KINDS: [(&str, u64); 7] = [
    ("EIO, any call", slots::KIND_EIO),
    ("ENOSPC, calls that need room", slots::KIND_ENOSPC),
    ("EROFS, calls that need room", slots::KIND_EROFS),
    ("short write, then ENOSPC", slots::KIND_SHORT),
    ("failed fsync", slots::KIND_SYNC),
    ("failed open, rename, unlink", slots::KIND_NAME),
    ("EIO, reads", slots::KIND_READ),
];

/// What one kind of failure did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// Which.
    pub kind: String,
    /// Calls of its class in a run on a good disk.
    pub calls: u64,
    /// Runs.
    pub cases: u64,
    /// Of them, those in which a call failed.
    pub struck: u64,
    /// Of them, those in which receipts stopped.
    pub held_back: u64,
    /// Broken promises.
    pub broken: Broken,
}

/// All kinds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sweep {
    /// One for each kind and length.
    pub lines: Vec<Line>,
}

/// Which calls a process lets fail.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    /// Every so many-th call.
    pub stride: u64,
    /// Of those, every so many-th.
    pub of: u64,
    /// Beginning with this one.
    pub index: u64,
}

// === running ===

/// Lets every `stride`-th call fail in `jobs` processes of `program`, in folders under `root`.
///
/// # Errors
/// A process cannot be started or ends badly.
pub fn run(program: &Path, root: &Path, stride: u64, jobs: u64) -> Result<Sweep> {
    let mut children = Vec::new();
    for index in 0..jobs {
        let dir = root.join(format!("job-{index}"));
        std::fs::create_dir_all(&dir)?;
        let control = dir.join("control");
        drop(Shim::open(&control)?);
        let child = Command::new(program)
            .arg("share")
            .arg(&dir)
            .args([stride, jobs, index].map(|number| number.to_string()))
            .envs(shim::environment(&control, &dir.join("data"), None)?)
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        children.push(child);
    }
    let mut sweep = Sweep::default();
    for child in children {
        let output = child.wait_with_output()?;
        if !output.status.success() {
            bail!("{} ended with {}", program.display(), output.status);
        }
        sweep.add(&serde_json::from_slice(&output.stdout)?)?;
    }
    Ok(sweep)
}

/// One process's share, which runs under the shim.
///
/// # Errors
/// The shim is not there, or a run on a good disk breaks something.
pub fn share(root: &Path, share: Share) -> Result<Sweep> {
    let shim = Shim::of_this_process()?;
    let mut sweep = Sweep::default();
    let good = case::run(root, &shim, None)?;
    let reports = case::AGENTS * case::REPORTS;
    if let (Some(told), _) | (None, Some(told)) = (
        good.broken.told.clone(),
        (good.receipted != reports).then(|| format!("{} receipts", good.receipted)),
    ) {
        bail!("on a good disk: {told}");
    }
    let mut calls = [0; slots::CLASSES];
    for (class, calls) in calls.iter_mut().enumerate() {
        *calls = shim.counted(class)?;
    }
    let mut turn = 0;
    for (name, kind) in KINDS {
        for lasts in [1, FOR_EVER] {
            let mut line = Line {
                kind: format!("{name}, {}", if lasts == 1 { "once" } else { "for ever" }),
                calls: calls[slots::class_of(kind)],
                ..Line::default()
            };
            for at in (1..=line.calls).step_by(usize::try_from(share.stride.max(1))?) {
                turn += 1;
                if turn % share.of != share.index {
                    continue;
                }
                let fault = Fault { kind, at, lasts };
                line.take(fault, &case::run(root, &shim, Some(fault))?);
            }
            sweep.lines.push(line);
        }
    }
    Ok(sweep)
}

// === impl Line ===

impl Line {
    fn take(&mut self, fault: Fault, outcome: &case::Outcome) {
        self.cases += 1;
        self.struck += u64::from(outcome.failed > 0);
        let reports = case::AGENTS * case::REPORTS;
        self.held_back += u64::from(outcome.receipted < reports);
        let mut broken = outcome.broken.clone();
        broken.told = broken.told.map(|told| format!("call {}: {told}", fault.at));
        self.broken.add(&broken);
    }
}

// === impl Sweep ===

impl Sweep {
    /// Runs in all.
    #[must_use]
    pub fn cases(&self) -> u64 {
        self.lines.iter().map(|line| line.cases).sum()
    }

    /// Broken promises in all.
    #[must_use]
    pub fn broken(&self) -> Broken {
        let mut all = Broken::default();
        for line in &self.lines {
            let mut broken = line.broken.clone();
            broken.told = broken.told.map(|told| format!("{}: {told}", line.kind));
            all.add(&broken);
        }
        all
    }

    /// For the process that asked.
    #[must_use]
    pub fn json(&self) -> Value {
        let line = |line: &Line| {
            let broken = &line.broken;
            json!({
                "kind": line.kind, "calls": line.calls, "cases": line.cases,
                "struck": line.struck, "held_back": line.held_back,
                "broken": [broken.lost, broken.twice, broken.invented, broken.unseen,
                    broken.unsaid, broken.stuck],
                "told": broken.told,
            })
        };
        json!(self.lines.iter().map(line).collect::<Vec<_>>())
    }

    fn add(&mut self, json: &Value) -> Result<()> {
        let lines = json.as_array().context("a share without lines")?;
        for (at, line) in lines.iter().enumerate() {
            let number = |value: &Value| value.as_u64().context("a share without figures");
            let broken = &line["broken"];
            let one = Line {
                kind: line["kind"].as_str().unwrap_or_default().to_owned(),
                calls: number(&line["calls"])?,
                cases: number(&line["cases"])?,
                struck: number(&line["struck"])?,
                held_back: number(&line["held_back"])?,
                broken: Broken {
                    lost: number(&broken[0])?,
                    twice: number(&broken[1])?,
                    invented: number(&broken[2])?,
                    unseen: number(&broken[3])?,
                    unsaid: number(&broken[4])?,
                    stuck: number(&broken[5])?,
                    told: line["told"].as_str().map(str::to_owned),
                },
            };
            match self.lines.get_mut(at) {
                None => self.lines.push(one),
                Some(all) => {
                    all.cases += one.cases;
                    all.struck += one.struck;
                    all.held_back += one.held_back;
                    all.broken.add(&one.broken);
                }
            }
        }
        Ok(())
    }
}

impl fmt::Display for Sweep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "| what fails | calls | cases | struck | receipts held back | acknowledged lost | \
             twice | invented | unseen | unsaid | stuck |"
        )?;
        writeln!(f, "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|")?;
        for line in &self.lines {
            let broken = &line.broken;
            writeln!(
                f,
                "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
                line.kind,
                line.calls,
                line.cases,
                line.struck,
                line.held_back,
                broken.lost,
                broken.twice,
                broken.invented,
                broken.unseen,
                broken.unsaid,
                broken.stuck
            )?;
        }
        write!(f, "{} cases", self.cases())?;
        if let Some(told) = self.broken().told {
            write!(f, "; broken: {told}")?;
        }
        Ok(())
    }
}
