//! What one process read and wrote, as `/proc/<pid>/io` counts it: its own calls, and those of
//! every child that it waited for.
//!
//! The kernel counts in two places. Calls count what went through `read` and `write`, page cache,
//! pipes and sockets included, but nothing of a file that is mapped into memory; storage counts
//! what was fetched for or dirtied by the process, mapped files included, but nothing that was
//! cached. So both are kept, and of each step the larger is what was read or written.

/// Counters of one process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Io {
    /// Read.
    pub read: Moved,
    /// Written.
    pub written: Moved,
}

/// One direction, counted in both places.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Through calls: `rchar`, `wchar`.
    pub by_calls: u64,
    /// From or to storage: `read_bytes`, `write_bytes`.
    pub by_storage: u64,
}

// === impl Io ===

impl Io {
    /// From the text of `/proc/<pid>/io`; `None` when a counter is missing.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let keys = ["rchar:", "wchar:", "read_bytes:", "write_bytes:"];
        let [read_calls, written_calls, read_storage, written_storage] =
            super::file::fields(text, keys);
        Some(Self {
            read: Moved {
                by_calls: read_calls?,
                by_storage: read_storage?,
            },
            written: Moved {
                by_calls: written_calls?,
                by_storage: written_storage?,
            },
        })
    }
}

// === impl Moved ===

impl Moved {
    /// What it is more than `before`, place by place.
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            by_calls: self.by_calls.saturating_sub(before.by_calls),
            by_storage: self.by_storage.saturating_sub(before.by_storage),
        }
    }

    /// Both together.
    pub(crate) fn plus(self, more: Self) -> Self {
        Self {
            by_calls: self.by_calls.saturating_add(more.by_calls),
            by_storage: self.by_storage.saturating_add(more.by_storage),
        }
    }

    /// What is in both, place by place.
    pub(crate) fn least(self, other: Self) -> Self {
        Self {
            by_calls: self.by_calls.min(other.by_calls),
            by_storage: self.by_storage.min(other.by_storage),
        }
    }

    /// Where each place stood highest.
    pub(crate) fn most(self, other: Self) -> Self {
        Self {
            by_calls: self.by_calls.max(other.by_calls),
            by_storage: self.by_storage.max(other.by_storage),
        }
    }

    /// The larger of the two.
    pub(crate) fn bytes(self) -> u64 {
        self.by_calls.max(self.by_storage)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_four_counters_are_found_by_name_and_one_that_is_missing_is_no_zero() {
        // Linux 6.18, a Python that read a file of 8 MB through a map.
        let text = b"rchar: 1433210\nwchar: 35\nsyscr: 412\nsyscw: 2\nread_bytes: 8388608\n\
            write_bytes: 4096\ncancelled_write_bytes: 0\n";
        let io = Io::parse(text).unwrap();
        assert_eq!(
            (io.read.by_calls, io.read.by_storage),
            (1_433_210, 8_388_608)
        );
        assert_eq!((io.written.by_calls, io.written.by_storage), (35, 4_096));
        assert_eq!(io.read.bytes(), 8_388_608);
        assert_eq!(Io::parse(b"rchar: 1\nwchar: 2\nread_bytes: 3\n"), None);
        assert_eq!(Io::parse(b""), None);
        assert_eq!(Io::parse(b"\xff"), None);
    }
}
