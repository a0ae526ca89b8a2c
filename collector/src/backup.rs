//! A copy of the data directory from which a collector can start, made while one runs.
//!
//! Each file is copied as of one moment; the order makes them fit. The inbox goes first: its
//! checkpoint then claims nothing that the copied history lacks, and what history has beyond it
//! comes again from the inbox or the agents and changes nothing. Pieces of open chunks go before the
//! chunks that are made of them: what is closed meanwhile is then in both, and read once. The table
//! of servers goes after all chunks and days: a number that a chunk refers to is in it, and is never
//! given to somebody else.
//! `state.db` goes last, so that a notice that was sent is not sent again.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use rusqlite::{Connection, OpenFlags};

use crate::database::BUSY_TIMEOUT;

/// Small files that are copied as they are: the link's identity, which agents pin.
const PLAIN_FILES: [&str; 2] = ["link-key.pem", "link.pin"];

/// Directories of chunks, finest first, as history has them.
const CHUNK_DIRS: [&str; 3] = ["history/raw", "history/minute", "history/hour"];

/// What was copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Why there is no backup.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// There is something already.
    #[error("{} is there already and is not an empty directory; name a new one", .0.display())]
    Taken(PathBuf),
    /// It would be copied into itself.
    #[error("{} lies in the data directory; name one outside", .0.display())]
    Inside(PathBuf),
    /// The system refused.
    #[error("cannot {what} {}: {source}", path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// SQLite refused.
    #[error("cannot copy {}: {source}", path.display())]
    Copy {
        /// Which file.
        path: PathBuf,
        /// What SQLite says.
        source: rusqlite::Error,
    },
}

/// Copies `data_dir` to `dir`, which is made; it has that name only once it is whole and on the
/// disk. Nobody may be moved between names meanwhile.
///
/// # Errors
/// There is no backup; what was begun is taken away again.
pub fn make(data_dir: &Path, dir: &Path) -> Result<Copied, BackupError> {
    if dir.starts_with(data_dir) {
        return Err(BackupError::Inside(dir.to_owned()));
    }
    let empty = fs::read_dir(dir).map(|mut entries| entries.next().is_none());
    match empty {
        Ok(true) => fs::remove_dir(dir).map_err(failed("replace", dir))?,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        _ => return Err(BackupError::Taken(dir.to_owned())),
    }
    let mut partial = dir.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let copied = copy(data_dir, &partial).and_then(|copied| {
        fs::rename(&partial, dir).map_err(failed("name", dir))?;
        if let Some(parent) = dir.parent() {
            sync(parent)?;
        }
        Ok(copied)
    });
    if copied.is_err() {
        let _ = fs::remove_dir_all(&partial);
    }
    copied
}

fn copy(data_dir: &Path, to: &Path) -> Result<Copied, BackupError> {
    if is_there(to)? {
        return Err(BackupError::Taken(to.to_owned()));
    }
    make_dir(to)?;
    let mut copied = Copied::default();
    database(data_dir, to, "inbox.db", &mut copied)?;
    if is_there(&data_dir.join("history"))? {
        make_dir(&to.join("history"))?;
        database(data_dir, to, "history/tail.db", &mut copied)?;
        for tier in CHUNK_DIRS {
            make_dir(&to.join(tier))?;
            for name in databases(&data_dir.join(tier))? {
                database(data_dir, to, &format!("{tier}/{name}"), &mut copied)?;
            }
            sync(&to.join(tier))?;
        }
        database(data_dir, to, "history/usage.db", &mut copied)?;
        database(data_dir, to, "history/servers.db", &mut copied)?;
        sync(&to.join("history"))?;
    }
    database(data_dir, to, "state.db", &mut copied)?;
    for name in PLAIN_FILES {
        plain(data_dir, to, name, &mut copied)?;
    }
    sync(to)?;
    Ok(copied)
}

/// One database as of now; one that retention deleted meanwhile is left out.
fn database(from: &Path, to: &Path, name: &str, copied: &mut Copied) -> Result<(), BackupError> {
    let (from, to) = (from.join(name), to.join(name));
    if !is_there(&from)? {
        return Ok(());
    }
    // Made by us with our mode; SQLite fills an empty file.
    let file = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&to)
        .map_err(failed("make", &to))?;
    let copy = || -> rusqlite::Result<()> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NOFOLLOW;
        let connection = Connection::open_with_flags(&from, flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        // One read of one state, while others write; free pages stay behind.
        connection.execute("VACUUM INTO ?1", [to.to_string_lossy()])?;
        Ok(())
    };
    match copy() {
        Ok(()) => {}
        Err(_) if !is_there(&from)? => {
            let _ = fs::remove_file(&to);
            return Ok(());
        }
        Err(source) => return Err(BackupError::Copy { path: from, source }),
    }
    file.sync_all().map_err(failed("write", &to))?;
    copied.files += 1;
    copied.bytes += file.metadata().map_err(failed("measure", &to))?.len();
    Ok(())
}

fn plain(from: &Path, to: &Path, name: &str, copied: &mut Copied) -> Result<(), BackupError> {
    let (from, to) = (from.join(name), to.join(name));
    let mut source = match File::open(&from) {
        Ok(source) => source,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(failed("read", &from)(e)),
    };
    let mut file = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&to)
        .map_err(failed("make", &to))?;
    copied.bytes += io::copy(&mut source, &mut file).map_err(failed("write", &to))?;
    copied.files += 1;
    file.sync_all().map_err(failed("write", &to))
}

/// Names of the databases in `dir`, oldest first.
fn databases(dir: &Path) -> Result<Vec<String>, BackupError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(failed("list", dir)(e)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(failed("list", dir))?.file_name();
        names.extend(name.into_string().ok().filter(|name| name.ends_with(".db")));
    }
    names.sort();
    Ok(names)
}

fn is_there(path: &Path) -> Result<bool, BackupError> {
    path.try_exists().map_err(failed("look for", path))
}

fn make_dir(dir: &Path) -> Result<(), BackupError> {
    fs::DirBuilder::new()
        .mode(0o700)
        .create(dir)
        .map_err(failed("make", dir))
}

/// What is in `dir` is on the disk under its name.
fn sync(dir: &Path) -> Result<(), BackupError> {
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(failed("write", dir))
}

fn failed(what: &'static str, path: &Path) -> impl Fn(io::Error) -> BackupError {
    let path = path.to_owned();
    move |source| BackupError::File {
        what,
        path: path.clone(),
        source,
    }
}
