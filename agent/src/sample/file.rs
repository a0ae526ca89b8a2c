//! Reading the kernel's small text files: whole, bounded, and where it pays through a descriptor
//! that stays open.
//!
//! A kept descriptor costs a third of open-read-close, and it can't be fooled by a reused pid:
//! once its process is gone it says so for ever. Whatever the sampler opens it opens here, where
//! it is counted: a steady tick opens nothing.

use std::{
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use nix::libc;

use super::{calls, error::SampleError};

/// Bytes of a file read whole. `mountinfo` of a busy host and the environment of a batch job
/// are the largest, some tens of KiB.
pub(crate) const FILE_BYTES_MAX: usize = 1024 * 1024;

/// Bytes asked for first: most files are shorter.
const READ_AT_ONCE: usize = 1024;

/// Bytes of `stat` and `statm`: under 400 in practice.
const LINE_BYTES_MAX: usize = 2048;

/// Bytes of a file that is read at every tick. `memory.stat` is the longest, under 3 KiB with all
/// that kernels count today.
const PAGE_BYTES_MAX: usize = 8192;

/// A file of one process that is read again and again.
#[derive(Debug)]
pub(crate) struct Kept {
    path: PathBuf,
    file: Option<File>,
}

/// A file that lasts longer than what it tells of: opened when first read, and anew when the kernel
/// says that what was open is gone (a cgroup that was removed and made again).
#[derive(Debug)]
pub(crate) struct Lasting {
    path: PathBuf,
    file: Option<File>,
    keep: bool,
}

/// Room for one file that is read at every tick.
#[derive(Debug)]
pub(crate) struct Page(Box<[u8; PAGE_BYTES_MAX]>);

/// Room for one line of the kernel's.
#[derive(Debug)]
pub(crate) struct Line([u8; LINE_BYTES_MAX]);

// === impl Kept ===

impl Kept {
    /// Opens `path`; with `keep` false the descriptor is not held between reads.
    pub(crate) fn open(path: PathBuf, keep: bool) -> io::Result<Self> {
        let file = open(&path)?;
        Ok(Self {
            path,
            file: keep.then_some(file),
        })
    }

    /// Reads it from the start.
    pub(crate) fn read<'a>(&self, line: &'a mut Line) -> io::Result<&'a [u8]> {
        let len = match &self.file {
            Some(file) => {
                calls::read();
                file.read_at(&mut line.0, 0)?
            }
            None => open(&self.path)?.read(&mut line.0)?,
        };
        Ok(line.0.get(..len).unwrap_or_default())
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

// === impl Lasting ===

impl Lasting {
    /// Opens nothing yet; with `keep` false the descriptor is not held between reads.
    pub(crate) fn new(path: PathBuf, keep: bool) -> Self {
        Self {
            path,
            file: None,
            keep,
        }
    }

    /// Reads it from the start.
    pub(crate) fn read<'a>(&mut self, page: &'a mut Page) -> io::Result<&'a [u8]> {
        if let Some(file) = &self.file {
            calls::read();
            match file.read_at(&mut *page.0, 0) {
                Ok(len) => return Ok(page.0.get(..len).unwrap_or_default()),
                Err(error) if is_gone(&error) => self.file = None,
                Err(error) => return Err(error),
            }
        }
        let file = open(&self.path)?;
        let len = file.read_at(&mut *page.0, 0)?;
        self.file = self.keep.then_some(file);
        Ok(page.0.get(..len).unwrap_or_default())
    }

    /// The same as text; what is no UTF-8 is no text of the kernel's.
    pub(crate) fn text<'a>(&mut self, page: &'a mut Page) -> Option<&'a str> {
        std::str::from_utf8(self.read(page).ok()?).ok()
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

// === impl Page ===

impl Default for Page {
    fn default() -> Self {
        Self(Box::new([0; PAGE_BYTES_MAX]))
    }
}

// === impl Line ===

impl Default for Line {
    fn default() -> Self {
        Self([0; LINE_BYTES_MAX])
    }
}

/// Files and directories that the sampler opened on this thread so far.
#[must_use]
pub fn files_opened() -> u64 {
    calls::Calls::so_far().opened
}

/// Opens a file, and counts it.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    calls::opened();
    File::open(path)
}

/// Opens a directory, and counts it.
pub(crate) fn read_dir(path: &Path) -> io::Result<fs::ReadDir> {
    calls::opened();
    fs::read_dir(path)
}

/// Reads at most [`FILE_BYTES_MAX`] of a file.
pub(crate) fn read_bytes(path: &Path) -> io::Result<Vec<u8>> {
    // Into an empty one the first reads are of some tens of bytes.
    let mut bytes = Vec::with_capacity(READ_AT_ONCE);
    open(path)?
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
    fn a_lasting_file_is_opened_once_and_one_that_is_not_kept_at_every_read() {
        let path = PathBuf::from("/proc/self/stat");
        let mut page = Page::default();
        for (keep, opened) in [(true, 1), (false, 3)] {
            let mut lasting = Lasting::new(path.clone(), keep);
            let before = files_opened();
            for _ in 0..3 {
                assert!(lasting.text(&mut page).is_some());
            }
            assert_eq!(files_opened() - before, opened);
        }
    }

    #[test]
    fn what_came_again_after_it_was_gone_is_opened_anew_and_what_stays_away_is_an_error() {
        // A process that is gone answers ESRCH through a descriptor, as a removed cgroup ENODEV.
        let mut child = std::process::Command::new("sleep")
            .arg("9")
            .spawn()
            .unwrap();
        let mut page = Page::default();
        let mut lasting = Lasting::new(PathBuf::from(format!("/proc/{}/stat", child.id())), true);
        assert!(lasting.text(&mut page).is_some());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(is_gone(&lasting.read(&mut page).unwrap_err()));
        lasting.path = PathBuf::from("/proc/self/stat");
        assert!(lasting.text(&mut page).is_some());
    }

    #[test]
    fn a_key_is_found_whole_never_as_the_start_of_another() {
        let text = "Pss:  12 kB\nPss_Dirty: 99 kB\nSwapPss: 3 kB\ninactive_file 7\n";
        assert_eq!(field_kb(text, "Pss:"), Some(12 * 1024));
        assert_eq!(field_kb(text, "SwapPss:"), Some(3 * 1024));
        assert_eq!(field(text, "inactive_file"), Some(7));
        assert_eq!(field(text, "inactive"), None);
    }
}
