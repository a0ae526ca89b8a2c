//! `hubmeter-agent run`: beside a server, or as the one who starts it.
//!
//! With CMD the agent stands where the server was meant to stand, perhaps as PID 1. Then the
//! server comes first: it is started before anything of ours is tried, its signals reach it, its
//! exit code is ours, and whatever goes wrong with measuring is a line in the log.

use std::{
    ffi::OsString,
    io::Write,
    os::{
        fd::{AsFd, OwnedFd},
        unix::process::CommandExt,
    },
    path::Path,
    process::{Command, ExitCode},
    time::Duration,
};

use rustix::process::{
    Pid, PidfdFlags, Resource, getpriority_process, getrlimit, pidfd_open, setpriority_process,
};
use tokio::{io::unix::AsyncFd, runtime::Runtime};
use tracing::{debug, error, warn};

use self::{
    agent::Agent,
    child::{Child, EXIT_NOT_EXECUTABLE, EXIT_NOT_FOUND, End},
    signals::{Held, Signals},
};
use crate::{
    config::{EXIT_USAGE, RunArgs},
    local::place::Place,
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

/// Our priority: a tenth of the user's share when both want the processor, and still enough that
/// nobody's zombies wait.
const NICE: i32 = 10;

/// Address space that an agent may come to need beyond what its program takes.
const ROOM_BYTES: u64 = 32 * 1024 * 1024;

/// Descriptors that watching a server takes before the server starts, and some for the beat.
const DESCRIPTORS_NEEDED: usize = 16;

// A panic in a task must not take the server's exit code with it.
const _: () = assert!(
    cfg!(panic = "unwind"),
    "the agent's tasks must be able to fail alone"
);

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
        run_command(&args.command, settings)
    } else {
        run_beside(args.pid, &settings)
    }
}

/// Starts the server and stays until it ends.
fn run_command(command: &[OsString], settings: Settings) -> ExitCode {
    if !has_room() {
        error!("too little memory is allowed here; starting the server without an agent");
        return become_command(command);
    }
    let held = match Held::hold() {
        Ok(held) => held,
        Err(error) => {
            error!(%error, "cannot hear signals; starting the server without an agent");
            return become_command(command);
        }
    };
    let started = build_runtime().and_then(|runtime| {
        let signals = runtime.block_on(async { Signals::listen(&held) })?;
        Ok((runtime, signals))
    });
    let (runtime, mut signals) = match started {
        Ok(started) => started,
        Err(error) => {
            error!(%error, "cannot watch the server; starting it without an agent");
            held.release();
            return become_command(command);
        }
    };
    if let Err(error) = child::become_subreaper() {
        warn!(%error, "cannot become subreaper; orphans of the server will not be seen");
    }
    // The server is told where the socket will be; making it can wait.
    let place = Place::before(settings.socket.as_deref(), &ProcessEnvironment);
    let socket = place.as_ref().ok().map(|place| place.path.as_path());
    let child = match Child::start(command, held.before(), socket) {
        Ok(child) => child,
        Err(refused) => {
            say(&refused.to_string());
            return ExitCode::from(refused.exit_code());
        }
    };
    be_nice();
    let place = place.map(|place| place.known_by(child.pid()));
    let end = runtime.block_on(async {
        let mut target = Target::this_machine(child.pid());
        target.subreaper = true;
        target.names = settings.names;
        let agent = async move { Agent::start(&settings, target, place) };
        supervise(&child, &mut signals, agent).await
    });
    // A name look-up that hangs must not hold back the end.
    runtime.shutdown_background();
    ExitCode::from(end.follow())
}

/// Stays with the server until it ends, whatever becomes of the agent, which runs as a task: a
/// panic there ends the task and is in the log.
async fn supervise(
    child: &Child,
    signals: &mut Signals,
    agent: impl Future<Output = Agent> + Send + 'static,
) -> End {
    let agent = tokio::spawn(agent);
    let end = child.wait(signals).await;
    let stop = tokio::spawn(async move {
        if let Ok(agent) = agent.await {
            agent.stop().await;
        }
    });
    tokio::select! {
        // It has its own bounds; who is in a hurry says so.
        _ = stop => {}
        () = signals.told_to_end() => debug!("told to end before all was sent"),
    }
    end
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
    be_nice();
    runtime.block_on(async {
        let mut signals = match Signals::listen_for_end() {
            Ok(signals) => signals,
            Err(error) => {
                warn!(%error, "cannot hear signals");
                Signals::deaf()
            }
        };
        let mut target = Target::this_machine(root_pid);
        target.names = settings.names;
        let place = Place::beside(settings.socket.as_deref(), root_pid, &ProcessEnvironment);
        let mut agent = Agent::start(settings, target, place);
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
    // Without them the runtime panics where it should refuse.
    let stderr = std::io::stderr();
    let spare: Result<Vec<OwnedFd>, _> = (0..DESCRIPTORS_NEEDED)
        .map(|_| stderr.as_fd().try_clone_to_owned())
        .collect();
    drop(spare?);
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // Only name look-ups block, once per connection: their thread need not wait for more.
        .max_blocking_threads(1)
        .thread_keep_alive(LOOK_UP_THREAD_KEPT)
        .build()
}

/// Whether limits of this process leave room for an agent: allocating in vain would end us, and
/// the server's exit code would be lost.
fn has_room() -> bool {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').next().and_then(|pages| pages.parse().ok());
    let taken = pages.unwrap_or(0u64) * rustix::param::page_size() as u64;
    [Resource::As, Resource::Data].into_iter().all(|resource| {
        getrlimit(resource)
            .current
            .is_none_or(|limit| limit.saturating_sub(taken) >= ROOM_BYTES)
    })
}

/// Behind the user's work, which must not wait for us. Never before the server is started: it
/// would inherit that.
fn be_nice() {
    let nice = getpriority_process(None).unwrap_or(0).max(NICE);
    if let Err(error) = setpriority_process(None, nice) {
        debug!(%error, "cannot be nice");
    }
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
