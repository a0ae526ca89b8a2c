//! Reading the kernel's small text files: whole, bounded, and where it pays through a descriptor
//! that stays open.
//!
//! A kept descriptor costs a third of open-read-close, and it can't be fooled by a reused pid:
//! once its process is gone it says so for ever.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use nix::libc;

use super::error::SampleError;

/// Bytes of a file read whole. `mountinfo` of a busy host and the environment of a batch job
/// are the largest, some tens of KiB.
pub(crate) const FILE_BYTES_MAX: usize = 1024 * 1024;

/// Bytes of `stat` and `statm`: under 400 in practice.
const LINE_BYTES_MAX: usize = 2048;

/// A file of one process that is read again and again.
#[derive(Debug)]
pub(crate) struct Kept {
    path: PathBuf,
    file: Option<File>,
}

/// Room for one line of the kernel's.
#[derive(Debug)]
pub(crate) struct Line([u8; LINE_BYTES_MAX]);

// === impl Kept ===

impl Kept {
    /// Opens `path`; with `keep` false the descriptor is not held between reads.
    pub(crate) fn open(path: PathBuf, keep: bool) -> io::Result<Self> {
        let file = File::open(&path)?;
        Ok(Self {
            path,
            file: keep.then_some(file),
        })
    }

    /// Reads it from the start.
    pub(crate) fn read<'a>(&self, line: &'a mut Line) -> io::Result<&'a [u8]> {
        let len = match &self.file {
            Some(file) => file.read_at(&mut line.0, 0)?,
            None => File::open(&self.path)?.read(&mut line.0)?,
        };
        Ok(line.0.get(..len).unwrap_or_default())
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

// === impl Line ===

impl Default for Line {
    fn default() -> Self {
        Self([0; LINE_BYTES_MAX])
    }
}

/// Reads at most [`FILE_BYTES_MAX`] of a file.
pub(crate) fn read_bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(FILE_BYTES_MAX as u64)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads a text file; bytes that are no UTF-8 become replacement characters.
pub(crate) fn read_text(path: &Path) -> io::Result<String> {
    read_bytes(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// Whether a read failed because the process or cgroup is not there any more.
pub(crate) fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || matches!(error.raw_os_error(), Some(libc::ESRCH | libc::ENODEV))
}

/// Says which file failed.
pub(crate) fn failed(path: &Path, source: io::Error) -> SampleError {
    SampleError::Read {
        path: path.to_owned(),
        source,
    }
}

/// The number after `key` at the start of a line (`memory.stat`, `memory.events`).
pub(crate) fn field(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace();
        (words.next()? == key).then(|| words.next()?.parse().ok())?
    })
}

/// The bytes after `key` where the kernel counts in kB (`meminfo`, `smaps_rollup`).
pub(crate) fn field_kb(text: &str, key: &str) -> Option<u64> {
    field(text, key).map(|kb| kb.saturating_mul(1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_whole_never_as_the_start_of_another() {
        let text = "Pss:  12 kB\nPss_Dirty: 99 kB\nSwapPss: 3 kB\ninactive_file 7\n";
        assert_eq!(field_kb(text, "Pss:"), Some(12 * 1024));
        assert_eq!(field_kb(text, "SwapPss:"), Some(3 * 1024));
        assert_eq!(field(text, "inactive_file"), Some(7));
        assert_eq!(field(text, "inactive"), None);
    }
}
