//! `cargo xtask footprint`: what an agent costs while it does nothing special.
//!
//! A real agent beside an idle tree of six processes, a stream open to a collector that keeps
//! nothing (`agent/examples/link_sink.rs`). Prints one Markdown table, a column per way of
//! connecting. Processor times are of a shared machine: the counts beside them are what holds.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use clap::Args;

use self::{
    beside::{Agent, Tree},
    carrier::Carrier,
    count::Counts,
    reading::{Reading, instructions, slope_bytes_per_hour},
    sink::Sink,
    touched::Touched,
};
use crate::{
    build::cargo,
    dist,
    progress::{Step, now, say},
    stop,
    workspace::Workspace,
};

mod beside;
mod carrier;
mod count;
mod reading;
mod sink;
mod touched;

/// Length of the run in which instructions are counted.
const COUNTED_SECONDS: u32 = 20;

/// Distance of readings for the slope.
const SLOPE_EVERY: Duration = Duration::from_secs(10);

/// By then the last ten minutes are full, and nothing may grow any more.
const FULL_AFTER: Duration = Duration::from_secs(630);

/// Settings of `cargo xtask footprint`.
#[derive(Args, Debug)]
pub(crate) struct Footprint {
    /// Measure this program instead of building the static one
    #[arg(long, value_name = "FILE")]
    agent: Option<PathBuf>,
    /// Seconds between samples
    #[arg(long, default_value_t = 1, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=60))]
    interval: u32,
    /// Starts of which the quickest and the median are shown
    #[arg(long, default_value_t = 30, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    starts: u32,
    /// Go on for so long, with TLS, and show by how much memory grows
    #[arg(long, value_name = "MINUTES")]
    minutes: Option<u64>,
    /// Count the instructions of a tick and the cache lines it touches under valgrind, and its
    /// system calls under strace as well, which works without a processor's counters
    #[arg(long)]
    count: bool,
    /// Measure only this way of connecting
    #[arg(long, value_enum)]
    only: Option<Carrier>,
}

/// Prints a line of the table: its name, and what each column has in it.
type PrintRow<'a> = dyn Fn(&str, &dyn Fn(&Column) -> String) + 'a;

/// What an agent is measured beside.
pub(crate) struct Bed<'a> {
    pub(crate) space: &'a Workspace,
    program: &'a Path,
    carrier: Carrier,
    tree: Tree,
    interval: u32,
}

/// One column of the table.
struct Column {
    carrier: Carrier,
    start_least_ms: f64,
    start_median_ms: f64,
    at: Vec<Reading>,
    wakeups_per_tick: f64,
    cpu_us_per_tick: f64,
    bytes_per_tick: f64,
    instructions_per_tick: Option<(f64, f64)>,
    counts: Option<Counts>,
    touched: Option<Touched>,
    slope: Option<Slope>,
}

struct Slope {
    bytes_per_hour: f64,
    minutes: u64,
    after_full: bool,
}

/// Measures every carrier and prints the table.
pub(crate) fn run(args: &Footprint) -> Result<()> {
    let space = Workspace::here()?;
    let agent = match &args.agent {
        Some(agent) => agent.clone(),
        None => dist::agent(&space)?,
    };
    build_sink(&space)?;
    let dir = space.target.join("footprint");
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let all = [Carrier::Held, Carrier::Tls, Carrier::Plain, Carrier::Roots];
    let carriers = args.only.map_or(all.to_vec(), |only| vec![only]);
    let mut columns = Vec::new();
    for carrier in carriers {
        let mut step = Step::begin(&format!("{} stream", carrier.title()));
        columns.push(measure(args, &space, &agent, carrier, &mut step)?);
        step.done();
    }
    print(&columns, dist::size_bytes(&agent)?, args);
    Ok(())
}

fn build_sink(space: &Workspace) -> Result<()> {
    let mut step = Step::begin("the collector that keeps nothing");
    let mut command = cargo(&space.root);
    // As it is shipped: a handshake in a debug build takes longer than an agent's whole start.
    command.args(["build", "--release", "--package", "hubmeter-agent"]);
    command.args(["--example", "link_sink"]);
    step.run(&space.logs, "sink-build", command)?;
    step.done();
    Ok(())
}

fn measure(
    args: &Footprint,
    space: &Workspace,
    program: &Path,
    carrier: Carrier,
    step: &mut Step,
) -> Result<Column> {
    let mut sink = Sink::start(space, carrier)?;
    let bed = Bed {
        space,
        program,
        carrier,
        tree: Tree::start()?,
        interval: carrier.interval(args.interval),
    };

    let mut starts_ms = Vec::new();
    for _ in 0..args.starts {
        let agent = bed.start(&[], &sink)?;
        starts_ms.push((sink.hello()? - agent.started_ns()) as f64 / 1e6);
        drop(agent);
    }
    starts_ms.sort_by(f64::total_cmp);

    sink.forget();
    let agent = bed.start(&[], &sink)?;
    sink.hello()?;
    let mut at = Vec::new();
    let mut reports = Vec::new();
    for after in carrier.read_at() {
        wait_until(&agent, after, step)?;
        at.push(Reading::of(agent.pid())?);
        reports.push(sink.last_report()?);
    }
    let came = reports[1].samples.saturating_sub(reports[0].samples);
    ensure!(
        came > 0,
        "no report came in time; see {}",
        agent.log().display()
    );
    // Of those held back some are still to come.
    let between = carrier.read_at()[1] - carrier.read_at()[0];
    let ticks = match carrier.hold() {
        Some(_) => between.as_secs_f64() / f64::from(bed.interval),
        None => came as f64,
    };
    let per_tick = |now: u64, before: u64| now.saturating_sub(before) as f64 / ticks;
    let mut column = Column {
        carrier,
        start_least_ms: starts_ms[0],
        start_median_ms: starts_ms[starts_ms.len() / 2],
        wakeups_per_tick: per_tick(at[1].wakeups, at[0].wakeups),
        cpu_us_per_tick: per_tick(at[1].cpu_ns, at[0].cpu_ns) / 1e3,
        bytes_per_tick: per_tick(reports[1].bytes, reports[0].bytes),
        instructions_per_tick: count(&agent, bed.interval)?,
        counts: None,
        touched: None,
        slope: match args.minutes {
            Some(minutes) if carrier != Carrier::Plain => Some(slope(&agent, minutes, step)?),
            _ => None,
        },
        at,
    };
    drop(agent);
    if args.count {
        column.counts = Some(Counts::of(&bed, &mut sink, step)?);
        column.touched = Touched::of(&bed, &mut sink, step)?;
    }
    Ok(column)
}

/// Instructions of a tick, in the program and in the kernel, where they can be counted.
fn count(agent: &Agent, interval: u32) -> Result<Option<(f64, f64)>> {
    let Some((user, kernel)) = instructions(agent.pid(), COUNTED_SECONDS) else {
        return Ok(None);
    };
    let ticks = f64::from(COUNTED_SECONDS) / f64::from(interval);
    Ok((ticks > 0.0).then(|| (user / ticks, kernel / ticks)))
}

fn slope(agent: &Agent, minutes: u64, step: &mut Step) -> Result<Slope> {
    let length = Duration::from_secs(60 * minutes);
    let after_full = length > 2 * FULL_AFTER;
    let mut points = Vec::new();
    let mut next = agent.age();
    while agent.age() < length {
        next += SLOPE_EVERY;
        wait_until(agent, next, step)?;
        if !after_full || agent.age() >= FULL_AFTER {
            let seconds = agent.age().as_secs_f64();
            points.push((seconds, Reading::of(agent.pid())?.anon_bytes as f64));
        }
    }
    Ok(Slope {
        bytes_per_hour: slope_bytes_per_hour(&points),
        minutes,
        after_full,
    })
}

fn wait_until(agent: &Agent, age: Duration, step: &mut Step) -> Result<()> {
    let begun = now();
    while agent.age() < age {
        stop::check()?;
        step.alive(&format!("{} s", begun.elapsed().as_secs()));
        thread::sleep(stop::GLANCE);
    }
    Ok(())
}

fn print(columns: &[Column], size_bytes: u64, args: &Footprint) {
    let row = |name: &str, cell: &dyn Fn(&Column) -> String| {
        let cells: Vec<String> = columns.iter().map(cell).collect();
        say(&format!("| {name} | {} |", cells.join(" | ")));
    };
    let kib = |bytes: u64| format!("{}", bytes / 1024);
    say("");
    row("", &|column| column.carrier.title().to_owned());
    say(&format!("|---|{}", "---:|".repeat(columns.len())));
    row("program, kB", &|_| format!("{}", size_bytes / 1000));
    row(
        &format!(
            "exec to first message, ms (quickest and median of {})",
            args.starts
        ),
        &|column| {
            format!(
                "{:.1}, {:.1}",
                column.start_least_ms, column.start_median_ms
            )
        },
    );
    for (index, when) in ["first", "last"].into_iter().enumerate() {
        let name = |what: &str| format!("{what} when read {when}, KiB");
        row(&name("RSS"), &|column| kib(column.at[index].rss_bytes));
        row(&name("of it anonymous"), &|column| {
            kib(column.at[index].anon_bytes)
        });
        row(&name("PSS"), &|column| kib(column.at[index].pss_bytes));
        row(&format!("threads when read {when}"), &|column| {
            column.at[index].threads.to_string()
        });
    }
    row("wake-ups a tick", &|column| {
        format!("{:.2}", column.wakeups_per_tick)
    });
    row("processor time a tick, µs", &|column| {
        format!("{:.0}", column.cpu_us_per_tick)
    });
    row(
        "instructions a tick, thousands (program + kernel)",
        &|column| {
            column.instructions_per_tick.map_or_else(
                || "not counted: no perf, or no counters here".to_owned(),
                |(user, kernel)| format!("{:.1} + {:.1}", user / 1e3, kernel / 1e3),
            )
        },
    );
    if args.count {
        print_counts(columns, &row);
    }
    row("bytes sent a tick (TCP payload)", &|column| {
        format!("{:.0}", column.bytes_per_tick)
    });
    if args.minutes.is_some() {
        print_growth(&row);
    }
    say(&format!(
        "\nSix idle processes, a sample every {} s where it does not say otherwise, read {} and {} s \
         after the start ({} and {} s where reports are held back); medians and sums of one run on \
         this machine.",
        args.interval,
        Carrier::Tls.read_at()[0].as_secs(),
        Carrier::Tls.read_at()[1].as_secs(),
        Carrier::Held.read_at()[0].as_secs(),
        Carrier::Held.read_at()[1].as_secs(),
    ));
}

fn print_growth(row: &PrintRow<'_>) {
    row("growth, bytes an hour", &|column| match &column.slope {
        None => "–".to_owned(),
        Some(slope) => format!(
            "{:.0} ({} min{})",
            slope.bytes_per_hour,
            slope.minutes,
            if slope.after_full {
                ", the first 10½ left out"
            } else {
                ""
            }
        ),
    });
}

fn print_counts(columns: &[Column], row: &PrintRow<'_>) {
    let shown = |column: &Column, of: fn(&Counts) -> Option<f64>, unit: f64| {
        let value = column.counts.as_ref().and_then(of);
        value.map_or_else(
            || "not counted: its tool is not installed".to_owned(),
            |value| format!("{:.1}", value / unit),
        )
    };
    row(
        "instructions a tick of the program, by valgrind, thousands",
        &|column| shown(column, |counts| counts.instructions, 1e3),
    );
    let touched = |column: &Column, of: fn(&Touched) -> f64| {
        let value = column.touched.as_ref().map(of);
        value.map_or_else(
            || "not counted: no valgrind".to_owned(),
            |value| format!("{value:.0}"),
        )
    };
    row("lines of code a tick touches, by valgrind", &|column| {
        touched(column, |touched| touched.code_lines)
    });
    row("lines of data", &|column| {
        touched(column, |touched| touched.data_lines)
    });
    row("pages of both", &|column| {
        touched(column, |touched| touched.pages)
    });
    row("system calls a tick, by strace", &|column| {
        shown(column, Counts::calls_sum, 1.0)
    });
    row(
        "kernel's instructions a tick, derived from those calls, thousands",
        &|column| shown(column, Counts::kernel, 1e3),
    );
    for column in columns {
        let calls = column.counts.as_ref().and_then(|c| c.calls.as_ref());
        let Some(calls) = calls else { continue };
        let named = calls
            .iter()
            .map(|(name, calls)| format!("{name} {calls:.2}"));
        let named = named.collect::<Vec<_>>().join(", ");
        row(
            &format!("calls, {}", column.carrier.title()),
            &|other| match other.carrier == column.carrier {
                true => named.clone(),
                false => String::new(),
            },
        );
    }
}

// === impl Bed ===

impl Bed<'_> {
    /// An agent that streams to `sink`, run by `tool` if there is one.
    pub(crate) fn start(&self, tool: &[OsString], sink: &Sink) -> Result<Agent> {
        Agent::start(
            tool,
            self.program,
            self.space,
            self.carrier,
            sink.port(),
            &self.tree,
            self.interval,
        )
    }
}
