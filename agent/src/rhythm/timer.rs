//! Waits for an instant since boot, with one wake-up.
//!
//! A timerfd, because the runtime's timer wheel wakes two or three times for one far deadline.
//! It counts time in suspend, like the clock that samples are stamped with.

use std::{io, os::fd::OwnedFd};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::unix::AsyncFd;

/// One deadline at a time.
#[derive(Debug)]
pub struct Timer(AsyncFd<OwnedFd>);

// === impl Timer ===

impl Timer {
    /// Must be called inside the runtime.
    ///
    /// # Errors
    /// When the kernel gives no timer.
    pub fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let fd = timerfd_create(TimerfdClockId::Boottime, flags)?;
        #[allow(deprecated)] // unsound for types whose descriptor changes; an OwnedFd's never does
        let fd = AsyncFd::new(fd)?;
        Ok(Self(fd))
    }

    /// Sets the deadline; the one before is forgotten. One that has passed is due at once.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn set(&self, due_ms: u64) -> io::Result<()> {
        // All zero would disarm the timer.
        let due_ms = due_ms.max(1);
        let none = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let due = Itimerspec {
            it_interval: none,
            it_value: Timespec {
                tv_sec: i64::try_from(due_ms / 1000).unwrap_or(i64::MAX),
                tv_nsec: i64::try_from(due_ms % 1000).unwrap_or(0) * 1_000_000,
            },
        };
        timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::ABSTIME, &due)?;
        Ok(())
    }

    /// Waits for the deadline. Dropped halfway, nothing is lost.
    ///
    /// # Errors
    /// When the timer cannot be read.
    pub async fn wait(&self) -> io::Result<()> {
        loop {
            let mut ready = self.0.readable().await?;
            let mut expirations = [0; 8];
            let read = ready.try_io(|fd| Ok(rustix::io::read(fd.get_ref(), &mut expirations)?));
            match read {
                Ok(Ok(_)) => {
                    // One read empties a timer: the next wait need not try first.
                    ready.clear_ready();
                    return Ok(());
                }
                Ok(Err(error)) => return Err(error),
                Err(_not_yet) => {}
            }
        }
    }
}
