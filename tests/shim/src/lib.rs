//! Stands between a program and its disk (`LD_PRELOAD`), in tests only.
//!
//! Calls on files under one folder are counted by class; the k-th of a class can be made to fail,
//! once or from then on; flushes can be made slow; what was done can be written down, to build
//! what a power cut would have left; and the wall clock can be set ahead or back. Whoever steers
//! it writes numbers into a file that is mapped here ([`slots`]), from this or another process.
//!
//! The real work is done by plain system calls, so nothing here calls itself. Shared memory that
//! SQLite keeps beside its files (`-shm`) is never on the disk's account, nor is the lock file.

use std::{
    collections::BTreeMap,
    ffi::{CStr, c_char, c_int, c_void},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use libc::{mode_t, off_t, size_t, ssize_t, timespec};

mod control;
#[allow(dead_code)] // the other side has uses for all of them
#[path = "../../src/faults/slots.rs"]
mod slots;

use control::{Control, Fault};

/// Descriptors that are followed; a test's program has far fewer.
const FILES_MAX: usize = 4096;

/// Which descriptors are of files that count: looked at before anything else.
static FOLLOWED: [AtomicBool; FILES_MAX] = [const { AtomicBool::new(false) }; FILES_MAX];

/// Their paths; held while a call is done, so that the record has the order of the calls.
static FILES: Mutex<BTreeMap<c_int, Vec<u8>>> = Mutex::new(BTreeMap::new());

type Files = MutexGuard<'static, BTreeMap<c_int, Vec<u8>>>;

fn files() -> Files {
    FILES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What steers us, when calls on `fd` count.
fn steering(fd: c_int) -> Option<&'static Control> {
    let place = usize::try_from(fd).ok()?;
    if !FOLLOWED.get(place)?.load(Ordering::Relaxed) {
        return None;
    }
    Control::armed()
}

/// The same for a path.
///
/// # Safety
/// `path` is null or a C string.
unsafe fn steering_path(path: *const c_char) -> Option<(&'static Control, Vec<u8>)> {
    let control = Control::get()?;
    if path.is_null() {
        return None;
    }
    // SAFETY: the caller says so.
    let path = unsafe { CStr::from_ptr(path) }.to_bytes();
    control.counts(path).then(|| (control, path.to_vec()))
}

fn fail(errno: c_int) -> c_int {
    // SAFETY: the C library's own place for it, of this thread.
    unsafe { *libc::__errno_location() = errno };
    -1
}

// === names ===

/// # Safety
/// As `openat(2)`.
unsafe fn open_at(dir: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    // SAFETY: what the caller gave is passed on.
    let open = || unsafe { libc::syscall(libc::SYS_openat, dir, path, flags, mode) } as c_int;
    // SAFETY: as the caller says.
    let Some((control, name)) = (unsafe { steering_path(path) }) else {
        return open();
    };
    let mut files = files();
    let creates = flags & libc::O_CREAT != 0;
    if control.is_armed() {
        let classes: &[usize] = match creates {
            true => &[slots::ANY, slots::SPACE, slots::NAME],
            false => &[slots::ANY],
        };
        if let Some(fault) = control.meet(classes) {
            return fail(fault.errno());
        }
    }
    let fd = open();
    if let Some(followed) = usize::try_from(fd).ok().and_then(|fd| FOLLOWED.get(fd)) {
        if control.is_armed() && creates {
            control.record(slots::DID_OPEN, &name, 0, &[]);
        }
        followed.store(true, Ordering::Relaxed);
        files.insert(fd, name);
    }
    fd
}

/// # Safety
/// As `open(2)`. The third argument is read whether or not it was given, which costs nothing where
/// arguments come in registers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn open(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    // SAFETY: the caller's own.
    unsafe { open_at(libc::AT_FDCWD, path, flags, mode) }
}

/// # Safety
/// As `open(2)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn open64(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    // SAFETY: the caller's own.
    unsafe { open_at(libc::AT_FDCWD, path, flags, mode) }
}

/// # Safety
/// As `openat(2)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn openat(
    dir: c_int,
    path: *const c_char,
    flags: c_int,
    mode: mode_t,
) -> c_int {
    // SAFETY: the caller's own.
    unsafe { open_at(dir, path, flags, mode) }
}

/// # Safety
/// As `openat(2)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn openat64(
    dir: c_int,
    path: *const c_char,
    flags: c_int,
    mode: mode_t,
) -> c_int {
    // SAFETY: the caller's own.
    unsafe { open_at(dir, path, flags, mode) }
}

/// # Safety
/// As `close(2)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn close(fd: c_int) -> c_int {
    let place = usize::try_from(fd).ok();
    if let Some(followed) = place.and_then(|fd| FOLLOWED.get(fd))
        && followed.swap(false, Ordering::Relaxed)
    {
        files().remove(&fd);
    }
    // SAFETY: the caller's own.
    unsafe { libc::syscall(libc::SYS_close, fd) as c_int }
}

/// Does something to a name, unless it is to fail.
///
/// # Safety
/// `path` is null or a C string.
unsafe fn on_name(
    path: *const c_char,
    classes: &[usize],
    act: impl FnOnce() -> c_int,
    record: impl FnOnce(&Control, &[u8]),
) -> c_int {
    // SAFETY: as the caller says.
    let found = unsafe { steering_path(path) };
    let Some((control, name)) = found.filter(|(control, _)| control.is_armed()) else {
        return act();
    };
    let _files = files();
    if let Some(fault) = control.meet(classes) {
        return fail(fault.errno());
    }
    let done = act();
    if done == 0 {
        record(control, &name);
    }
    done
}

/// # Safety
/// As `unlink(2)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unlink(path: *const c_char) -> c_int {
    // SAFETY: the caller's own.
    let act = || unsafe { libc::syscall(libc::SYS_unlinkat, libc::AT_FDCWD, path, 0) } as c_int;
    let record = |control: &Control, name: &[u8]| control.record(slots::DID_UNLINK, name, 0, &[]);
    // SAFETY: the caller's own.
    unsafe { on_name(path, &[slots::ANY, slots::NAME], act, record) }
}

/// # Safety
/// As `rename(2)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rename(from: *const c_char, to: *const c_char) -> c_int {
    let here = libc::AT_FDCWD;
    // SAFETY: the caller's own.
    let act = || unsafe { libc::syscall(libc::SYS_renameat2, here, from, here, to, 0) } as c_int;
    let record = |control: &Control, name: &[u8]| {
        // SAFETY: the caller's own, and the kernel has just read it.
        let to = unsafe { CStr::from_ptr(to) };
        control.record(slots::DID_RENAME, name, 0, to.to_bytes());
    };
    let classes = [slots::ANY, slots::SPACE, slots::NAME];
    // SAFETY: the caller's own.
    unsafe { on_name(from, &classes, act, record) }
}

/// # Safety
/// As `mkdir(2)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mkdir(path: *const c_char, mode: mode_t) -> c_int {
    // SAFETY: the caller's own.
    let act = || unsafe { libc::syscall(libc::SYS_mkdirat, libc::AT_FDCWD, path, mode) } as c_int;
    let record = |control: &Control, name: &[u8]| control.record(slots::DID_MKDIR, name, 0, &[]);
    let classes = [slots::ANY, slots::SPACE, slots::NAME];
    // SAFETY: the caller's own.
    unsafe { on_name(path, &classes, act, record) }
}

// === contents ===

/// # Safety
/// `from` holds `count` bytes.
unsafe fn write_at(
    fd: c_int,
    from: *const c_void,
    count: size_t,
    at: Option<off_t>,
    act: impl FnOnce(size_t) -> ssize_t,
) -> ssize_t {
    let Some(control) = steering(fd) else {
        return act(count);
    };
    let files = files();
    let fault = control.meet(&[slots::ANY, slots::SPACE, slots::WRITE]);
    let count = match fault {
        None => count,
        Some(Fault::Half) => (count / 2).max(1),
        Some(fault) => return fail(fault.errno()) as ssize_t,
    };
    // SAFETY: asks for a number only.
    let offset =
        at.unwrap_or_else(|| unsafe { libc::syscall(libc::SYS_lseek, fd, 0, libc::SEEK_CUR) });
    let written = act(count);
    if let (Ok(length), Some(name)) = (usize::try_from(written), files.get(&fd)) {
        // SAFETY: the kernel has just read as many from there.
        let bytes = unsafe { std::slice::from_raw_parts(from.cast::<u8>(), length) };
        control.record(slots::DID_WRITE, name, offset, bytes);
    }
    written
}

/// # Safety
/// As `write(2)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn write(fd: c_int, from: *const c_void, count: size_t) -> ssize_t {
    // SAFETY: the caller's own, and no more than it gave.
    let act = |count: size_t| unsafe { libc::syscall(libc::SYS_write, fd, from, count) as ssize_t };
    // SAFETY: the caller's own.
    unsafe { write_at(fd, from, count, None, act) }
}

/// # Safety
/// As `pwrite(2)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pwrite64(
    fd: c_int,
    from: *const c_void,
    count: size_t,
    at: off_t,
) -> ssize_t {
    // SAFETY: the caller's own, and no more than it gave.
    let act = |count: size_t| unsafe {
        libc::syscall(libc::SYS_pwrite64, fd, from, count, at) as ssize_t
    };
    // SAFETY: the caller's own.
    unsafe { write_at(fd, from, count, Some(at), act) }
}

/// # Safety
/// As `pwrite(2)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pwrite(
    fd: c_int,
    from: *const c_void,
    count: size_t,
    at: off_t,
) -> ssize_t {
    // SAFETY: the caller's own.
    unsafe { pwrite64(fd, from, count, at) }
}

fn reads(fd: c_int, act: impl FnOnce() -> ssize_t) -> ssize_t {
    let Some(control) = steering(fd) else {
        return act();
    };
    let _files = files();
    match control.meet(&[slots::READ]) {
        Some(fault) => fail(fault.errno()) as ssize_t,
        None => act(),
    }
}

/// # Safety
/// As `read(2)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn read(fd: c_int, into: *mut c_void, count: size_t) -> ssize_t {
    // SAFETY: the caller's own.
    reads(fd, || unsafe {
        libc::syscall(libc::SYS_read, fd, into, count) as ssize_t
    })
}

/// # Safety
/// As `pread(2)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pread64(
    fd: c_int,
    into: *mut c_void,
    count: size_t,
    at: off_t,
) -> ssize_t {
    // SAFETY: the caller's own.
    reads(fd, || unsafe {
        libc::syscall(libc::SYS_pread64, fd, into, count, at) as ssize_t
    })
}

fn truncate(fd: c_int, length: off_t) -> c_int {
    // SAFETY: numbers only.
    let act = || unsafe { libc::syscall(libc::SYS_ftruncate, fd, length) } as c_int;
    let Some(control) = steering(fd) else {
        return act();
    };
    let files = files();
    if let Some(fault) = control.meet(&[slots::ANY, slots::SPACE]) {
        return fail(fault.errno());
    }
    let done = act();
    if let (0, Some(name)) = (done, files.get(&fd)) {
        control.record(slots::DID_TRUNCATE, name, length, &[]);
    }
    done
}

/// As `ftruncate(2)`.
#[unsafe(no_mangle)]
pub extern "C" fn ftruncate(fd: c_int, length: off_t) -> c_int {
    truncate(fd, length)
}

/// As `ftruncate(2)`.
#[unsafe(no_mangle)]
pub extern "C" fn ftruncate64(fd: c_int, length: off_t) -> c_int {
    truncate(fd, length)
}

fn sync(fd: c_int, call: libc::c_long) -> c_int {
    // SAFETY: a number only.
    let act = || unsafe { libc::syscall(call, fd) } as c_int;
    let Some(control) = steering(fd) else {
        return act();
    };
    control.dawdle();
    let files = files();
    if let Some(fault) = control.meet(&[slots::ANY, slots::SYNC]) {
        if let Some(name) = files.get(&fd) {
            control.record(slots::DID_FAIL_SYNC, name, 0, &[]);
        }
        return fail(fault.errno());
    }
    let done = act();
    if let (0, Some(name)) = (done, files.get(&fd)) {
        control.record(slots::DID_SYNC, name, 0, &[]);
    }
    done
}

/// As `fsync(2)`.
#[unsafe(no_mangle)]
pub extern "C" fn fsync(fd: c_int) -> c_int {
    sync(fd, libc::SYS_fsync)
}

/// As `fdatasync(2)`.
#[unsafe(no_mangle)]
pub extern "C" fn fdatasync(fd: c_int) -> c_int {
    sync(fd, libc::SYS_fdatasync)
}

// === clock ===

/// # Safety
/// As `clock_gettime(2)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(clock: libc::clockid_t, into: *mut timespec) -> c_int {
    // SAFETY: the caller's own.
    let done = unsafe { libc::syscall(libc::SYS_clock_gettime, clock, into) } as c_int;
    if done == 0
        && clock == libc::CLOCK_REALTIME
        && let Some(ahead_ms) = Control::get().map(Control::clock_ahead_ms)
    {
        // SAFETY: the kernel has just filled it.
        let at = unsafe { &mut *into };
        let nanos = at.tv_nsec + ahead_ms.rem_euclid(1000) * 1_000_000;
        at.tv_sec += ahead_ms.div_euclid(1000) + nanos / 1_000_000_000;
        at.tv_nsec = nanos % 1_000_000_000;
    }
    done
}
