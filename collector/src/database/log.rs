//! Write-ahead logs that an earlier life left behind, and what lies on pages that nobody uses.

use std::{fs::OpenOptions, os::unix::fs::FileExt as _, path::Path};

use rusqlite::Connection;

use super::DatabaseError;

/// Folders below the data directory that may hold databases.
const DIRS_DEEP_MAX: u32 = 4;

/// A log is written once more in pieces of this.
const LOG_PIECE_BYTES: usize = 1 << 20;

/// Leaves in the file only what is in its tables: nothing on free pages, nothing in its log.
pub fn squeeze(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch("VACUUM")?;
    truncate_log(connection)
}

/// Empties the write-ahead log into the file.
pub fn truncate_log(connection: &Connection) -> rusqlite::Result<()> {
    let busy: bool =
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    if busy {
        let why = Some("somebody reads an old state of the file".to_owned());
        let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY);
        return Err(rusqlite::Error::SqliteFailure(code, why));
    }
    Ok(())
}

/// Brings to the disk every log that databases under `dir` left behind, though a flush of it may
/// have failed in an earlier life: the kernel then takes its bytes for written, no later flush
/// tries again, and what is committed after them is lost with the power. So they are written once
/// more. Nothing may have a database of `dir` open.
pub fn settle_logs(dir: &Path) -> Result<(), DatabaseError> {
    settle_logs_below(dir, DIRS_DEEP_MAX)
}

fn settle_logs_below(dir: &Path, deep: u32) -> Result<(), DatabaseError> {
    let failed = |what, path: &Path| {
        let path = path.to_owned();
        move |source| DatabaseError::File { what, path, source }
    };
    let entries = std::fs::read_dir(dir)
        .and_then(Iterator::collect::<std::io::Result<Vec<_>>>)
        .map_err(failed("list", dir))?;
    for entry in entries {
        let path = entry.path();
        let kind = entry.file_type().map_err(failed("look at", &path))?;
        if kind.is_dir() && deep > 0 {
            settle_logs_below(&path, deep - 1)?;
        } else if kind.is_file() && path.to_str().is_some_and(|path| path.ends_with("-wal")) {
            settle_log(&path).map_err(failed("write once more", &path))?;
        }
    }
    Ok(())
}

fn settle_log(path: &Path) -> std::io::Result<()> {
    let log = OpenOptions::new().read(true).write(true).open(path)?;
    let length = log.metadata()?.len();
    let mut piece = vec![0; LOG_PIECE_BYTES];
    let mut at = 0;
    while at < length {
        let read = log.read_at(&mut piece, at)?;
        if read == 0 {
            break; // shorter than it was said to be
        }
        log.write_all_at(&piece[..read], at)?;
        at += read as u64;
    }
    log.sync_all()
}
