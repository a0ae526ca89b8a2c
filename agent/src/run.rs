//! `hubmeter-agent run`: beside a server, or as the one who starts it.
//!
//! With CMD the agent stands where the server was meant to stand, perhaps as PID 1. Then the
//! server comes first: it is started before anything of ours is tried, its signals reach it, its
//! exit code is ours, and whatever goes wrong with measuring is a line in the log.

use std::{
    ffi::OsString,
    io::Write,
    os::{fd::OwnedFd, unix::process::CommandExt},
    path::Path,
    process::{Command, ExitCode},
    time::Duration,
};

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::{io::unix::AsyncFd, runtime::Runtime};
use tracing::{debug, error, warn};

use self::{
    agent::Agent,
    child::{Child, EXIT_NOT_EXECUTABLE, EXIT_NOT_FOUND},
    signals::Signals,
};
use crate::{
    config::{EXIT_USAGE, RunArgs},
    log,
    sampler::Target,
    settings::{self, Mistake, ProcessEnvironment, Settings},
};

pub mod agent;
pub mod child;
pub mod observer;
pub mod signals;

/// How long a thread that looked a name up waits for another: long enough for all addresses of
/// one attempt.
const LOOK_UP_THREAD_KEPT: Duration = Duration::from_secs(1);

/// Runs until the server ends or we are told to; the code to end with.
#[must_use]
pub fn run(args: &RunArgs) -> ExitCode {
    log::start();
    let file = Path::new(settings::FILE);
    let (settings, mistakes) = Settings::gather(args, &ProcessEnvironment, file);
    // What was typed is refused at once. What the environment or the file says was set by
    // somebody who is not here: a server starts all the same, with what is right.
    let starts_a_server = !args.command.is_empty();
    if mistakes
        .iter()
        .any(|mistake| mistake.by_flag || !starts_a_server)
    {
        refuse(&mistakes);
        return ExitCode::from(EXIT_USAGE);
    }
    for mistake in &mistakes {
        error!("{mistake}; going on without it");
    }
    if starts_a_server {
        run_command(&args.command, &settings)
    } else {
        run_beside(args.pid, &settings)
    }
}

/// Starts the server and stays until it ends.
fn run_command(command: &[OsString], settings: &Settings) -> ExitCode {
    let started = build_runtime().and_then(|runtime| {
        let signals = runtime.block_on(async { Signals::listen() })?;
        Ok((runtime, signals))
    });
    let (runtime, signals) = match started {
        Ok(started) => started,
        Err(error) => {
            error!(%error, "cannot watch the server; starting it without an agent");
            return become_command(command);
        }
    };
    if let Err(error) = child::become_subreaper() {
        warn!(%error, "cannot become subreaper; orphans of the server will not be seen");
    }
    let child = match Child::start(command) {
        Ok(child) => child,
        Err(refused) => {
            say(&refused.to_string());
            return ExitCode::from(refused.exit_code());
        }
    };
    let code = runtime.block_on(async {
        let mut target = Target::this_machine(child.pid());
        target.subreaper = true;
        target.names = settings.names;
        let agent = Agent::start(settings, target);
        let code = child.wait(signals).await;
        agent.stop().await;
        code
    });
    // A name look-up that hangs must not hold back the end.
    runtime.shutdown_background();
    ExitCode::from(code)
}

/// Watches a server that somebody else started.
fn run_beside(pid: Option<u32>, settings: &Settings) -> ExitCode {
    let Some(root) = pid.map_or_else(rustix::process::getppid, to_pid) else {
        say("there is no parent process to watch; name one with --pid");
        return ExitCode::FAILURE;
    };
    let root_pid = root.as_raw_nonzero().get().unsigned_abs();
    // Held from the start, so that another process with the same number is never taken for it.
    let root_end = match pidfd_open(root, PidfdFlags::NONBLOCK) {
        Ok(fd) => Some(fd),
        Err(rustix::io::Errno::SRCH) => {
            say(&format!("there is no process {root_pid}"));
            return ExitCode::FAILURE;
        }
        Err(error) => {
            debug!(%error, "no pidfd; the end of the server is seen at the next sample");
            None
        }
    };
    let runtime = match build_runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            say(&format!("cannot start: {error}"));
            return ExitCode::FAILURE;
        }
    };
    runtime.block_on(async {
        let mut signals = match Signals::listen() {
            Ok(signals) => signals,
            Err(error) => {
                warn!(%error, "cannot hear signals");
                Signals::deaf()
            }
        };
        let mut target = Target::this_machine(root_pid);
        target.names = settings.names;
        let mut agent = Agent::start(settings, target);
        tokio::select! {
            () = signals.told_to_end() => debug!("told to end"),
            () = ended(root_end) => debug!(pid = root_pid, "the server has ended"),
            () = agent.root_gone() => debug!(pid = root_pid, "the server is gone"),
        }
        agent.stop().await;
    });
    runtime.shutdown_background();
    ExitCode::SUCCESS
}

fn to_pid(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}

/// Ends when the process of `pidfd` does; never without one.
async fn ended(pidfd: Option<OwnedFd>) {
    #[allow(deprecated)] // unsound for types whose descriptor changes; an OwnedFd's never does
    let pidfd = pidfd.and_then(|fd| AsyncFd::new(fd).ok());
    match &pidfd {
        Some(fd) => {
            let _ = fd.readable().await;
        }
        None => std::future::pending().await,
    }
}

fn build_runtime() -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // Only name look-ups block, once per connection: their thread need not wait for more.
        .max_blocking_threads(1)
        .thread_keep_alive(LOOK_UP_THREAD_KEPT)
        .build()
}

/// The last resort: the server takes our place.
fn become_command(command: &[OsString]) -> ExitCode {
    let Some((program, arguments)) = command.split_first() else {
        return ExitCode::from(EXIT_USAGE);
    };
    let error = Command::new(program).args(arguments).exec();
    say(&format!("cannot start {}: {error}", program.display()));
    ExitCode::from(if error.kind() == std::io::ErrorKind::NotFound {
        EXIT_NOT_FOUND
    } else {
        EXIT_NOT_EXECUTABLE
    })
}

fn refuse(mistakes: &[Mistake]) {
    for mistake in mistakes {
        say(&mistake.to_string());
    }
}

/// For the person who started us, whatever the log's level.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "hubmeter-agent: {text}");
}
