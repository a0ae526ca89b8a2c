//! Two runs at a time, each in a process of its own: a run ends all that it started, and no more.

use std::{env, process::Command, thread};

use anyhow::{Context, Result};

use super::{Activity, Meter};
use crate::{
    progress::{Step, complain, say},
    stop,
    workspace::Workspace,
};

/// Tries for each meter: on a machine with much to do a hub or a server may come too late once.
const TRIES: usize = 2;

/// Measures each of `meters` in a process of its own. Who fails is tried again, alone; what could not be
/// measured has left no counts.
pub(super) fn measure(space: &Workspace, meters: &[Meter], args: &Activity) -> Result<()> {
    let failed: Vec<Meter> = thread::scope(|scope| {
        let all: Vec<_> = meters
            .iter()
            .map(|meter| (*meter, scope.spawn(|| one(space, *meter, args))))
            .collect();
        all.into_iter()
            .filter_map(|(meter, run)| (!matches!(run.join(), Ok(Ok(())))).then_some(meter))
            .collect()
    });
    for meter in failed {
        for _ in 1..TRIES {
            stop::check()?;
            say(&format!("     once more: {}", meter.name()));
            if one(space, meter, args).is_ok() {
                break;
            }
        }
    }
    stop::check()
}

/// One run to its end; its output is in a log.
fn one(space: &Workspace, meter: Meter, args: &Activity) -> Result<()> {
    let mut step = Step::begin(&format!("activity: {}", meter.name()));
    let mut command = Command::new(env::current_exe().context("cannot find this program")?);
    command
        .args(["activity", "--only", meter.name()])
        .args(["--seconds", &args.seconds.to_string()])
        .args(["--quiet-seconds", &args.quiet_seconds.to_string()]);
    let ran = step.run(&space.logs, meter.folder(), command);
    match &ran {
        Ok(()) => drop(step.done()),
        Err(error) => complain(&format!("{error:#}")),
    }
    ran
}
