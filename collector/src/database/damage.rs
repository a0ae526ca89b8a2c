//! Files that are not what was written: what is known of them, and what becomes of them.

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use super::DatabaseError;

/// Damaged files of one name that are kept; beyond it the last is replaced.
const SET_ASIDE_MAX: u32 = 9;

/// Files set aside that nobody has counted yet.
static SET_ASIDE: AtomicU64 = AtomicU64::new(0);

/// Whether the file itself is not what was written.
pub fn is_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    let code = error.sqlite_error_code();
    code.is_some_and(|code| [DatabaseCorrupt, NotADatabase].contains(&code))
}

/// Renames a damaged file, with its log, so that a new one can take its place and somebody can look
/// at it. Nothing of ours may have it open for writing.
pub fn set_aside(path: &Path) -> Result<(), DatabaseError> {
    let name = |end: &str, n: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(end);
        if n > 0 {
            name.push(format!(".damaged-{n}"));
        }
        PathBuf::from(name)
    };
    let failed = |source| DatabaseError::File {
        what: "set aside",
        path: path.to_owned(),
        source,
    };
    let is_free = |n: &u32| name("", *n).try_exists().is_ok_and(|taken| !taken);
    let free = (1..=SET_ASIDE_MAX).find(is_free);
    let free = free.unwrap_or(SET_ASIDE_MAX);
    std::fs::rename(path, name("", free)).map_err(failed)?;
    for end in ["-wal", "-shm"] {
        // Without one there was none.
        let _ = std::fs::rename(name(end, 0), name(end, free));
    }
    SET_ASIDE.fetch_add(1, Ordering::Relaxed);
    tracing::error!(path = %path.display(), kept_as = %name("", free).display(),
        "a damaged file is set aside; a new one begins");
    Ok(())
}

/// How many were set aside since this was last asked.
pub fn take_set_aside() -> u64 {
    SET_ASIDE.swap(0, Ordering::Relaxed)
}
