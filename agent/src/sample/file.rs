//! Reading the kernel's small text files: whole, bounded, and where it pays through a descriptor
//! that stays open.
//!
//! A kept descriptor costs a third of open-read-close, and it can't be fooled by a reused pid:
//! once its process is gone it says so for ever. Whatever the sampler opens it opens here, where
//! it is counted: a steady tick opens nothing. The kernel ends every line that it writes: what is
//! not ended was cut, and is refused rather than read as a smaller number.

use std::{
    fs::{self, File},
    io,
    mem::MaybeUninit,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use nix::libc;
use rustix::{
    fs::{Mode, OFlags},
    io::{Errno, retry_on_intr},
};

#[cfg(test)]
pub(crate) mod faulty;

use super::{
    calls,
    error::SampleError,
    faults::{self, Fault},
};

/// Bytes of a file read whole. `mountinfo` of a busy host and the environment of a batch job
/// are the largest, some tens of KiB.
pub(crate) const FILE_BYTES_MAX: usize = 1024 * 1024;

/// Bytes asked for at once of a file that is read once: most are shorter.
const READ_AT_ONCE: usize = 4096;

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

/// Where lines began when they were read last. A file of forty lines is read at every tick for four
/// of them, and as long as no number before them grows a digit, they are where they were.
#[derive(Debug)]
pub(crate) struct Places<const N: usize>([usize; N]);

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
                read_at(file, &mut line.0, &self.path)?
            }
            None => read_at(&open(&self.path)?, &mut line.0, &self.path)?,
        };
        whole(&line.0, len)
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
            match read_at(file, &mut *page.0, &self.path) {
                Ok(len) => return whole(&*page.0, len),
                Err(error) if is_gone(&error) => self.file = None,
                Err(error) => return Err(error),
            }
        }
        let file = open(&self.path)?;
        let len = read_at(&file, &mut *page.0, &self.path)?;
        self.file = self.keep.then_some(file);
        whole(&*page.0, len)
    }

    /// The same; a failure is counted.
    pub(crate) fn bytes<'a>(&mut self, page: &'a mut Page) -> Option<&'a [u8]> {
        match self.read(page) {
            Ok(bytes) => Some(bytes),
            Err(error) => {
                faults::note(&self.path, &error);
                None
            }
        }
    }

    /// The same as text; what is no UTF-8 is no text of the kernel's. A failure is counted.
    pub(crate) fn text<'a>(&mut self, page: &'a mut Page) -> Option<&'a str> {
        let bytes = self.bytes(page)?;
        let text = std::str::from_utf8(bytes).ok();
        if text.is_none() {
            faults::note_as(Fault::Malformed, &self.path);
        }
        text
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

/// Opens a file, and counts it. One call: the C library of the static build asks for
/// close-on-exec twice.
fn open(path: &Path) -> io::Result<File> {
    step(path)?;
    calls::opened();
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let opened = retry_on_intr(|| rustix::fs::open(path, flags, Mode::empty()))?;
    Ok(File::from(opened))
}

fn read_at(file: &File, into: &mut [u8], path: &Path) -> io::Result<usize> {
    step(path)?;
    file.read_at(into, 0)
}

/// One step of reading the machine: a test may make it fail, or take something away.
#[cfg(test)]
use faulty::step;
#[cfg(not(test))]
#[inline]
fn step(_path: &Path) -> io::Result<()> {
    Ok(())
}

/// What was read, if that is all: neither cut by the room for it nor short of its last line's end.
fn whole(room: &[u8], len: usize) -> io::Result<&[u8]> {
    if len >= room.len() {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let bytes = room.get(..len).unwrap_or_default();
    if bytes.last().is_some_and(|&last| last != b'\n') {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(bytes)
}

/// Opens a directory, and counts it.
pub(crate) fn read_dir(path: &Path) -> io::Result<fs::ReadDir> {
    step(path)?;
    calls::opened();
    fs::read_dir(path)
}

/// Reads a file; one of more than [`FILE_BYTES_MAX`] is refused: what is cut says something else.
pub(crate) fn read_bytes(path: &Path) -> io::Result<Vec<u8>> {
    let bytes = read_start(path)?;
    if bytes.len() > FILE_BYTES_MAX {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(bytes)
}

/// Reads a block of strings (`cmdline`, `environ`); of a longer one those in its first
/// [`FILE_BYTES_MAX`] bytes. The owner may make them as long as he likes.
pub(crate) fn read_strings(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = read_start(path)?;
    if bytes.len() > FILE_BYTES_MAX {
        faults::note_as(Fault::TooLarge, path);
        bytes.truncate(FILE_BYTES_MAX);
        let cut = bytes.iter().rposition(|&byte| byte == 0);
        bytes.truncate(cut.unwrap_or(0));
    }
    Ok(bytes)
}

/// Opens a file that is read once, from its start.
pub(crate) fn open_once(path: &Path) -> io::Result<File> {
    let file = open(path)?;
    step(path)?;
    Ok(file)
}

/// At least one byte more than may be, to tell what is longer. Read onto the stack and copied: room on
/// the heap for what most files do not have is mapped, filled with zeros and given back each time.
fn read_start(path: &Path) -> io::Result<Vec<u8>> {
    let file = open_once(path)?;
    let mut bytes = Vec::new();
    let mut room = [MaybeUninit::uninit(); READ_AT_ONCE];
    while bytes.len() <= FILE_BYTES_MAX {
        match rustix::io::read(&file, &mut room) {
            Ok(([], _)) => break,
            Ok((read, _)) => bytes.extend_from_slice(read),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
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
/// A line that is not ended was cut.
pub(crate) fn field(text: &str, key: &str) -> Option<u64> {
    let [number] = fields(text.as_bytes(), [key]);
    number
}

/// The numbers after `keys`, each the first word of a line, in one pass that ends where the last of
/// them is found.
pub(crate) fn fields<const N: usize>(text: &[u8], keys: [&str; N]) -> [Option<u64>; N] {
    Places::default().pass(text, keys)
}

// === impl Places ===

impl<const N: usize> Default for Places<N> {
    fn default() -> Self {
        Self([0; N])
    }
}

impl<const N: usize> Places<N> {
    /// As [`fields`], of one file at every tick, whose names stand in it once.
    pub(crate) fn fields(&mut self, text: &[u8], keys: [&str; N]) -> [Option<u64>; N] {
        let mut numbers = [None; N];
        for ((number, &place), key) in numbers.iter_mut().zip(&self.0).zip(keys) {
            *number = number_at(text, place, key);
            if number.is_none() {
                return self.pass(text, keys);
            }
        }
        numbers
    }

    /// Goes through all of it, and keeps where they are.
    fn pass(&mut self, text: &[u8], keys: [&str; N]) -> [Option<u64>; N] {
        let mut numbers = [None; N];
        let mut left: [bool; N] = [true; N];
        let mut rest = text;
        while left.contains(&true) {
            let Some(end) = rest.iter().position(|&byte| byte == b'\n') else {
                break;
            };
            let (line, after) = rest.split_at(end);
            for (at, key) in keys.iter().enumerate() {
                // Most names have another length, which costs no comparison.
                let is_as_long = line.get(key.len()).is_some_and(u8::is_ascii_whitespace);
                if is_as_long && left[at] && line.starts_with(key.as_bytes()) {
                    left[at] = false;
                    numbers[at] = first_number(&line[key.len()..]);
                    self.0[at] = text.len() - rest.len();
                }
            }
            rest = after.get(1..).unwrap_or_default();
        }
        numbers
    }
}

/// The number after `key` in the line that begins at `place`, if one does.
fn number_at(text: &[u8], place: usize, key: &str) -> Option<u64> {
    let begins = place == 0 || text.get(place - 1) == Some(&b'\n');
    let rest = text.get(place..)?.strip_prefix(key.as_bytes())?;
    if !begins || !rest.first().is_some_and(u8::is_ascii_whitespace) {
        return None;
    }
    let end = rest.iter().position(|&byte| byte == b'\n')?;
    first_number(&rest[..end])
}

/// The first word, if it is a number.
fn first_number(bytes: &[u8]) -> Option<u64> {
    if let Some(number) = plain_number(bytes) {
        return Some(number);
    }
    let text = std::str::from_utf8(bytes).ok()?;
    text.split_ascii_whitespace().next()?.parse().ok()
}

/// The same of nearly all that the kernel writes: digits, and at most a unit.
fn plain_number(bytes: &[u8]) -> Option<u64> {
    let bytes = bytes.trim_ascii_start();
    let digits = bytes.strip_suffix(b" kB").unwrap_or(bytes);
    let add = |number: u64, digit: &u8| {
        let digit = digit.wrapping_sub(b'0');
        let number = number.checked_mul(10)?.checked_add(digit.into())?;
        (digit < 10).then_some(number)
    };
    let number = digits.iter().try_fold(0, add)?;
    (!digits.is_empty()).then_some(number)
}

/// The number that is all of a file.
pub(crate) fn only_number(text: &str) -> Option<u64> {
    text.strip_suffix('\n')?.parse().ok()
}

/// The pids in a file, each ended by a blank or a line's end; `None` when anything else is in it.
pub(crate) fn pids(text: &str) -> Option<Vec<u32>> {
    text.split_inclusive(|c: char| c.is_ascii_whitespace())
        .map(|word| word.strip_suffix(|c: char| c.is_ascii_whitespace()))
        .filter(|word| *word != Some(""))
        .map(|word| word?.parse().ok())
        .collect()
}

/// The bytes after `key` where the kernel counts in kB (`meminfo`, `smaps_rollup`).
pub(crate) fn field_kb(text: &str, key: &str) -> Option<u64> {
    field(text, key)?.checked_mul(1024)
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

    #[test]
    fn several_keys_are_found_in_one_pass_whatever_their_order_and_the_first_of_a_name_counts() {
        let text = b"b 2\na 1\nb 9\nc x\nd\ne 5";
        assert_eq!(fields(text, ["a", "b"]), [Some(1), Some(2)]);
        // No number, no number at all, a line that was cut, and one that is not there.
        assert_eq!(fields(text, ["c", "d", "e", "f"]), [None; 4]);
    }

    #[test]
    fn lines_are_found_where_they_were_and_wherever_they_moved() {
        let mut places = Places::default();
        let keys = ["inactive_file", "file"];
        for (text, numbers) in [
            ("anon 9\nfile 3\ninactive_file 7\n", [Some(7), Some(3)]),
            ("anon 8\nfile 4\ninactive_file 6\n", [Some(6), Some(4)]),
            ("anon 10\nfile 5\ninactive_file 7\n", [Some(7), Some(5)]),
            ("inactive_file 1\nanon 10\nfile 99\n", [Some(1), Some(99)]),
            // What stands where one was is another's name, goes on in another line, or was cut.
            (
                "inactive_file 1\nanon 1\nxfile 99\nfile 2\n",
                [Some(1), Some(2)],
            ),
            ("inactive_file\n1 1\nfile 2\n", [None, Some(2)]),
            ("inactive_file 1\nanon 1\nxfile 99\nfile 2", [Some(1), None]),
        ] {
            assert_eq!(places.fields(text.as_bytes(), keys), numbers, "{text}");
            assert_eq!(fields(text.as_bytes(), keys), numbers, "{text}");
        }
    }
}
