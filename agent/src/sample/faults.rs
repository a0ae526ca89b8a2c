//! Readings that were refused or failed, by reason: counted, told, never guessed over.
//!
//! A process that ends while it is read is the usual thing and no fault. Any other failure leaves
//! a number unknown, or as it was last read, and is counted here. Counted by thread, as opened
//! files are: the agent has one.

use std::{
    cell::RefCell,
    io,
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::file::is_gone;

/// Distance between two lines in the log about the same reason: a fault that stays is told six
/// times an hour, not at every tick.
const TELL_EVERY_MS: u64 = 600_000;

/// Why a reading was refused or failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// We may not read it: another user's, hidden, or not to be traced.
    Denied,
    /// The kernel or the mount does not offer what it usually does.
    Missing,
    /// It says something that the kernel does not say, or is cut.
    Malformed,
    /// Longer than is ever read.
    TooLarge,
    /// It did not answer in time.
    TimedOut,
    /// Anything else that the system refuses with.
    Io,
}

/// Faults so far, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Faults {
    /// See [`Fault::Denied`].
    pub denied: u64,
    /// See [`Fault::Missing`].
    pub missing: u64,
    /// See [`Fault::Malformed`].
    pub malformed: u64,
    /// See [`Fault::TooLarge`].
    pub too_large: u64,
    /// See [`Fault::TimedOut`].
    pub timed_out: u64,
    /// See [`Fault::Io`].
    pub io: u64,
}

/// What is known of one reason.
#[derive(Debug, Default)]
struct Kind {
    count: u64,
    /// The last file it happened with.
    last: PathBuf,
    told_count: u64,
    told_ms: Option<u64>,
}

thread_local! {
    static KINDS: RefCell<[Kind; Fault::ALL.len()]> = RefCell::default();
}

// === impl Fault ===

impl Fault {
    /// Every reason.
    pub const ALL: [Self; 6] = [
        Self::Denied,
        Self::Missing,
        Self::Malformed,
        Self::TooLarge,
        Self::TimedOut,
        Self::Io,
    ];

    /// Which fault an error of the system is; `None` when what was read is gone.
    pub(crate) fn of(error: &io::Error) -> Option<Self> {
        if is_gone(error) {
            return None;
        }
        Some(match error.kind() {
            io::ErrorKind::PermissionDenied => Self::Denied,
            io::ErrorKind::InvalidData => Self::Malformed,
            io::ErrorKind::FileTooLarge => Self::TooLarge,
            io::ErrorKind::TimedOut => Self::TimedOut,
            _ => Self::Io,
        })
    }

    /// The reason in words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Denied => "permission denied",
            Self::Missing => "not offered here",
            Self::Malformed => "cut or malformed",
            Self::TooLarge => "too large",
            Self::TimedOut => "timed out",
            Self::Io => "failed",
        }
    }
}

// === impl Faults ===

impl Faults {
    /// Of this thread, so far.
    #[must_use]
    pub fn so_far() -> Self {
        KINDS.with_borrow(|kinds| {
            let [denied, missing, malformed, too_large, timed_out, io] =
                std::array::from_fn(|at| kinds.get(at).map_or(0, |kind| kind.count));
            Self {
                denied,
                missing,
                malformed,
                too_large,
                timed_out,
                io,
            }
        })
    }

    /// How many for this reason.
    #[must_use]
    pub fn count(&self, fault: Fault) -> u64 {
        match fault {
            Fault::Denied => self.denied,
            Fault::Missing => self.missing,
            Fault::Malformed => self.malformed,
            Fault::TooLarge => self.too_large,
            Fault::TimedOut => self.timed_out,
            Fault::Io => self.io,
        }
    }

    /// Those that came after `before`.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let more = |fault| self.count(fault).saturating_sub(before.count(fault));
        Self {
            denied: more(Fault::Denied),
            missing: more(Fault::Missing),
            malformed: more(Fault::Malformed),
            too_large: more(Fault::TooLarge),
            timed_out: more(Fault::TimedOut),
            io: more(Fault::Io),
        }
    }

    /// How many for any reason.
    #[must_use]
    pub fn total(&self) -> u64 {
        Fault::ALL.iter().map(|&fault| self.count(fault)).sum()
    }
}

/// Counts what failed with `path`, unless that is gone.
pub(crate) fn note(path: &Path, error: &io::Error) {
    if let Some(fault) = Fault::of(error) {
        note_as(fault, path);
    }
}

/// Counts one.
pub(crate) fn note_as(fault: Fault, path: &Path) {
    KINDS.with_borrow_mut(|kinds| {
        let Some(kind) = kinds.get_mut(fault as usize) else {
            return;
        };
        kind.count = kind.count.saturating_add(1);
        if kind.last != path {
            path.clone_into(&mut kind.last);
        }
    });
}

/// The value, or nothing after counting why not.
pub(crate) fn noted<T>(path: &Path, read: io::Result<T>) -> Option<T> {
    read.inspect_err(|error| note(path, error)).ok()
}

/// The last file that failed for this reason. Its name is of pids and cgroups, never of what is
/// in it.
#[must_use]
pub fn last(fault: Fault) -> Option<PathBuf> {
    KINDS.with_borrow(|kinds| {
        let kind = kinds.get(fault as usize)?;
        (kind.count > 0).then(|| kind.last.clone())
    })
}

/// Says what is new in the log: one line per reason, at most every [`TELL_EVERY_MS`].
pub(crate) fn tell(now_ms: u64) {
    KINDS.with_borrow_mut(|kinds| {
        for (fault, kind) in Fault::ALL.into_iter().zip(kinds) {
            if kind.is_due(now_ms) {
                tracing::warn!(
                    times = kind.count - kind.told_count,
                    last = %kind.last.display(),
                    "readings missing: {}",
                    fault.words()
                );
                kind.told(now_ms);
            }
        }
    });
}

// === impl Kind ===

impl Kind {
    fn is_due(&self, now_ms: u64) -> bool {
        let rested = self
            .told_ms
            .is_none_or(|then| now_ms.saturating_sub(then) >= TELL_EVERY_MS);
        self.count > self.told_count && rested
    }

    fn told(&mut self, now_ms: u64) {
        self.told_count = self.count;
        self.told_ms = Some(now_ms);
    }
}

#[cfg(test)]
mod tests {
    use nix::libc;

    use super::*;

    #[test]
    fn every_error_has_one_reason_and_what_is_gone_has_none() {
        for (errno, fault) in [
            (libc::ESRCH, None),
            (libc::ENOENT, None),
            (libc::ENODEV, None),
            (libc::EACCES, Some(Fault::Denied)),
            (libc::EPERM, Some(Fault::Denied)),
            (libc::EFBIG, Some(Fault::TooLarge)),
            (libc::ETIMEDOUT, Some(Fault::TimedOut)),
            (libc::EIO, Some(Fault::Io)),
            (libc::EINTR, Some(Fault::Io)),
            (libc::EMFILE, Some(Fault::Io)),
        ] {
            let error = io::Error::from_raw_os_error(errno);
            assert_eq!(Fault::of(&error), fault, "{error}");
        }
        let cut = io::Error::from(io::ErrorKind::InvalidData);
        assert_eq!(Fault::of(&cut), Some(Fault::Malformed));
    }

    #[test]
    fn reasons_are_counted_apart_with_the_last_file() {
        let before = Faults::so_far();
        let path = Path::new("/proc/7/io");
        for fault in Fault::ALL {
            note_as(fault, path);
        }
        note_as(Fault::Io, Path::new("/proc/8/io"));
        note(path, &io::Error::from_raw_os_error(libc::ESRCH));
        let after = Faults::so_far();
        for fault in Fault::ALL {
            let more = if fault == Fault::Io { 2 } else { 1 };
            assert_eq!(after.count(fault), before.count(fault) + more, "{fault:?}");
        }
        assert_eq!(after.total(), before.total() + 7);
        assert_eq!(last(Fault::Io).as_deref(), Some(Path::new("/proc/8/io")));
        assert_eq!(last(Fault::Denied).as_deref(), Some(path));
    }

    #[test]
    fn a_reason_is_told_once_in_ten_minutes_and_only_when_it_grew() {
        let mut kind = Kind::default();
        assert!(!kind.is_due(0), "nothing happened");
        kind.count = 1;
        assert!(kind.is_due(0));
        kind.told(0);
        kind.count = 100;
        assert!(!kind.is_due(TELL_EVERY_MS - 1));
        assert!(kind.is_due(TELL_EVERY_MS));
        kind.told(TELL_EVERY_MS);
        assert!(!kind.is_due(10 * TELL_EVERY_MS), "nothing new");
    }
}
