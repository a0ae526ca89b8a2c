//! What the shim and those who steer it say to each other: a file of 64-bit numbers, which the
//! shim maps and others write at these places. Both sides compile this very file.

/// Environment: the file of numbers. Without it the shim does nothing.
pub const CONTROL_VARIABLE: &str = "HUBMETER_SHIM_CONTROL";

/// Environment: only calls on files under this folder count.
pub const DIR_VARIABLE: &str = "HUBMETER_SHIM_DIR";

/// Environment: where calls are written down, when there is such a file.
pub const RECORD_VARIABLE: &str = "HUBMETER_SHIM_RECORD";

/// Bytes of the file of numbers: one page.
pub const CONTROL_BYTES: usize = 4096;

/// Not 0: calls are counted, and may fail.
pub const ARMED: usize = 0;
/// What fails: one of the kinds, 0 for nothing.
pub const KIND: usize = 1;
/// Which of the calls that this kind is about, from 1.
pub const FAIL_AT: usize = 2;
/// How many of them in a row.
pub const LASTS: usize = 3;
/// Calls that failed.
pub const FAILED: usize = 4;
/// Milliseconds that every flush takes longer.
pub const SYNC_DELAY_MS: usize = 5;
/// Milliseconds that the wall clock is ahead; two's complement.
pub const CLOCK_AHEAD_MS: usize = 6;
/// Not 0: calls are written down.
pub const RECORDING: usize = 7;
/// Calls counted, by class: the first of [`CLASSES`] places.
pub const COUNTED: usize = 16;

/// Classes of calls; one call may be of several.
pub const CLASSES: usize = 6;
/// Whatever changes something, or opens.
pub const ANY: usize = 0;
/// What may need room.
pub const SPACE: usize = 1;
/// Writes.
pub const WRITE: usize = 2;
/// Flushes of files and folders.
pub const SYNC: usize = 3;
/// Names made, changed and removed.
pub const NAME: usize = 4;
/// Reads.
pub const READ: usize = 5;

/// Kinds of failure, each with the class it is about: the input/output error of a bad disk.
pub const KIND_EIO: u64 = 1;
/// No room.
pub const KIND_ENOSPC: u64 = 2;
/// Half is written, and then there is no room.
pub const KIND_SHORT: u64 = 3;
/// A flush fails.
pub const KIND_SYNC: u64 = 4;
/// A name cannot be made, changed or removed.
pub const KIND_NAME: u64 = 5;
/// A read fails.
pub const KIND_READ: u64 = 6;

/// What would change something is refused: the file system became read-only.
pub const KIND_EROFS: u64 = 7;

/// The class of calls that a kind is about.
#[must_use]
pub const fn class_of(kind: u64) -> usize {
    match kind {
        KIND_ENOSPC | KIND_EROFS => SPACE,
        KIND_SHORT => WRITE,
        KIND_SYNC => SYNC,
        KIND_NAME => NAME,
        KIND_READ => READ,
        _ => ANY,
    }
}

/// What was done, in the record: opened, and made if it was not there.
pub const DID_OPEN: u8 = 1;
/// Written: offset and bytes.
pub const DID_WRITE: u8 = 2;
/// Cut or lengthened to the offset.
pub const DID_TRUNCATE: u8 = 3;
/// Flushed: a file or a folder.
pub const DID_SYNC: u8 = 4;
/// Removed.
pub const DID_UNLINK: u8 = 5;
/// Renamed: the bytes are the new path.
pub const DID_RENAME: u8 = 6;
/// A folder was made.
pub const DID_MKDIR: u8 = 7;
/// A flush failed: what it was to bring to the disk may be there or not, and later ones do not try
/// again.
pub const DID_FAIL_SYNC: u8 = 8;
