//! The numbers that steer the shim, and what it does with them.

use std::{
    ffi::{CStr, CString, c_int},
    os::unix::ffi::OsStrExt as _,
    ptr,
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use crate::slots;

/// Environment and mapping, found out once.
pub(crate) struct Control {
    numbers: &'static [AtomicU64; slots::CONTROL_BYTES / 8],
    dir: Vec<u8>,
    record: Option<c_int>,
}

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// With this error.
    Errno(c_int),
    /// Only half of it is done.
    Half,
}

static CONTROL: OnceLock<Option<Control>> = OnceLock::new();

/// Set while the control is found out: the calls that takes are nobody's business.
static BUSY: AtomicBool = AtomicBool::new(false);

// === impl Control ===

impl Control {
    /// What steers this process, if anything does.
    pub(crate) fn get() -> Option<&'static Self> {
        if let Some(found) = CONTROL.get() {
            return found.as_ref();
        }
        if BUSY.swap(true, Ordering::SeqCst) {
            return None;
        }
        let found = Self::find();
        CONTROL.get_or_init(|| found).as_ref()
    }

    /// The same while calls count.
    pub(crate) fn armed() -> Option<&'static Self> {
        Self::get().filter(|control| control.is_armed())
    }

    fn find() -> Option<Self> {
        let path = CString::new(std::env::var_os(slots::CONTROL_VARIABLE)?.as_bytes()).ok()?;
        let dir = std::env::var_os(slots::DIR_VARIABLE)?;
        let fd = open_file(&path, libc::O_RDWR)?;
        // SAFETY: a new mapping of a file that is as long; it is never unmapped.
        let at = unsafe {
            libc::mmap(
                ptr::null_mut(),
                slots::CONTROL_BYTES,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                fd,
                0,
            )
        };
        if at == libc::MAP_FAILED {
            return None;
        }
        let record = std::env::var_os(slots::RECORD_VARIABLE)
            .and_then(|path| CString::new(path.as_bytes()).ok())
            .and_then(|path| open_file(&path, libc::O_WRONLY | libc::O_APPEND));
        Some(Self {
            // SAFETY: a page of numbers, aligned, for as long as the process lives.
            numbers: unsafe { &*at.cast() },
            dir: dir.as_bytes().to_vec(),
            record,
        })
    }

    fn number(&self, slot: usize) -> u64 {
        self.numbers[slot].load(Ordering::SeqCst)
    }

    pub(crate) fn is_armed(&self) -> bool {
        self.number(slots::ARMED) != 0
    }

    pub(crate) fn clock_ahead_ms(&self) -> i64 {
        self.number(slots::CLOCK_AHEAD_MS).cast_signed()
    }

    /// Whether calls on this file count.
    pub(crate) fn counts(&self, path: &[u8]) -> bool {
        path.starts_with(&self.dir) && !path.ends_with(b"-shm") && !path.ends_with(b"/lock")
    }

    /// Counts a call of these classes; how it fails, if it does.
    pub(crate) fn meet(&self, classes: &[usize]) -> Option<Fault> {
        let kind = self.number(slots::KIND);
        let class = slots::class_of(kind);
        let mut place = None;
        for of in classes {
            let before = self.numbers[slots::COUNTED + of].fetch_add(1, Ordering::SeqCst);
            if *of == class {
                place = Some(before + 1);
            }
        }
        let (place, fail_at) = (place?, self.number(slots::FAIL_AT));
        if kind == 0 || fail_at == 0 || place < fail_at {
            return None;
        }
        let lasts = self.number(slots::LASTS);
        let fault = match (kind, place - fail_at) {
            (slots::KIND_SHORT, 0) => Fault::Half,
            // The other half finds no room.
            (slots::KIND_SHORT, 1) => Fault::Errno(libc::ENOSPC),
            (slots::KIND_SHORT | slots::KIND_ENOSPC, after) if after < lasts => {
                Fault::Errno(libc::ENOSPC)
            }
            (slots::KIND_EROFS, after) if after < lasts => Fault::Errno(libc::EROFS),
            (_, after) if after < lasts => Fault::Errno(libc::EIO),
            _ => return None,
        };
        self.numbers[slots::FAILED].fetch_add(1, Ordering::SeqCst);
        Some(fault)
    }

    /// Takes the time that a slow disk takes.
    pub(crate) fn dawdle(&self) {
        let millis = self.number(slots::SYNC_DELAY_MS);
        if millis > 0 {
            std::thread::sleep(std::time::Duration::from_millis(millis));
        }
    }

    /// Writes down what was done: kind, path, offset, bytes, each length before it.
    pub(crate) fn record(&self, did: u8, path: &[u8], offset: i64, bytes: &[u8]) {
        let Some(fd) = self.record.filter(|_| self.number(slots::RECORDING) != 0) else {
            return;
        };
        let mut entry = Vec::with_capacity(path.len() + bytes.len() + 16);
        entry.push(did);
        entry.extend(u16::try_from(path.len()).unwrap_or(u16::MAX).to_le_bytes());
        entry.extend(path);
        entry.extend(offset.to_le_bytes());
        entry.extend(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
        entry.extend(bytes);
        // SAFETY: a buffer of ours. A test's record on a disk that fails is no record anyway.
        unsafe { libc::syscall(libc::SYS_write, fd, entry.as_ptr(), entry.len()) };
    }
}

// === impl Fault ===

impl Fault {
    pub(crate) fn errno(self) -> c_int {
        match self {
            Self::Errno(errno) => errno,
            Self::Half => libc::ENOSPC,
        }
    }
}

fn open_file(path: &CStr, flags: c_int) -> Option<c_int> {
    let flags = flags | libc::O_CLOEXEC;
    // SAFETY: a C string of ours.
    let fd = unsafe { libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path.as_ptr(), flags, 0) };
    c_int::try_from(fd).ok().filter(|fd| *fd >= 0)
}
