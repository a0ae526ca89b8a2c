//! Ctrl-C and its kin: one flag that everything which waits looks at.
//!
//! Children run in process groups of their own, so a signal from the terminal reaches this program
//! only, and it ends them in order.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use tokio::signal::unix::{SignalKind, signal};

/// How often a waiting loop looks around: quick enough to feel immediate, cheap enough to forget.
pub(crate) const GLANCE: Duration = Duration::from_millis(50);

static WANTED: AtomicBool = AtomicBool::new(false);

/// From here on SIGINT, SIGTERM and SIGHUP set the flag instead of ending the program.
pub(crate) fn listen() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    let guard = runtime.enter();
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut hangup = signal(SignalKind::hangup()).context("cannot listen for SIGHUP")?;
    drop(guard);
    thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            runtime.block_on(async {
                loop {
                    tokio::select! {
                        _ = interrupt.recv() => {}
                        _ = terminate.recv() => {}
                        _ = hangup.recv() => {}
                    }
                    WANTED.store(true, Ordering::SeqCst);
                }
            });
        })?;
    Ok(())
}

/// Whether somebody asked to stop.
pub(crate) fn wanted() -> bool {
    WANTED.load(Ordering::SeqCst)
}

/// Fails once somebody asked to stop.
pub(crate) fn check() -> Result<()> {
    if wanted() {
        bail!("stopped");
    }
    Ok(())
}
