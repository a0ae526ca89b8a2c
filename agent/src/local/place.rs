//! Where the local socket is, so that the server extension finds it without being told:
//! `HUBMETER_SOCKET`, else `$XDG_RUNTIME_DIR/hubmeter/<pid>.sock`, else
//! `/tmp/hubmeter-<uid>/<pid>.sock`, by the pid of the server's root process. Under `run -- CMD`
//! that pid is not known when the server must be told, so there the socket bears the agent's, and
//! the root process's is a second name for it.
//!
//! Never under the user's home, never through a link, never in a directory where others could
//! put something in its place: `/tmp` is everybody's. Choosing looks at the home only where the
//! place could be under it: a home whose file server is gone must hold nothing up.

use std::{
    fs::{DirBuilder, Metadata},
    io,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::{
            fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt},
            net::UnixStream,
        },
    },
    path::{Path, PathBuf},
};

use nix::{
    sys::socket::{getsockopt, sockopt::PeerCredentials},
    unistd::{Pid, getppid},
};
use rustix::fs::{Mode, OFlags};

use crate::settings::Environment;

/// Bytes of a socket's address: the kernel's are 108 with the closing zero.
pub const ADDRESS_BYTES_MAX: usize = 107;

/// Names tried when others live under the first: agents of one user in several pid namespaces
/// that share a `/tmp`.
const NAMES_TRIED: u32 = 8;

/// Entries looked at when sweeping; what is beyond goes with later agents.
const SWEPT_MAX: usize = 256;

/// From this age on a socket that nobody listens at will not be listened at.
const SWEEP_AGE_MS: u64 = 60_000;

/// Generations looked up for an agent around us; deeper trees are no servers.
const ANCESTORS_MAX: usize = 64;

/// Where systems keep what goes with the machine's run; no home is there but in tests, and those
/// name it as it is.
const VOLATILE: [&str; 4] = ["/run", "/tmp", "/dev/shm", "/var/tmp"];

/// Where the socket goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The socket.
    pub path: PathBuf,
    /// A second name for it.
    pub also: Option<PathBuf>,
    /// Its directory is of our making, for sockets alone: made when missing, taken away when
    /// empty.
    dir_is_ours: bool,
}

/// Why a place will not do.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// Under home.
    #[error("{path} is under the home directory, where the agent writes nothing")]
    UnderHome {
        /// The socket.
        path: PathBuf,
    },
    /// Longer than the kernel takes, even from its directory.
    #[error(
        "the file name of {path} is longer than a socket's address of {ADDRESS_BYTES_MAX} bytes allows"
    )]
    TooLong {
        /// The socket.
        path: PathBuf,
    },
    /// The directory could be somebody else's.
    #[error("{path} is not a directory of ours alone (a directory, no link, our own, mode 0700)")]
    Directory {
        /// The directory.
        path: PathBuf,
    },
    /// Others could put a socket of theirs in the place of ours.
    #[error(
        "others can replace files in {path} (it must be our own or root's, and sticky if others may write)"
    )]
    Open {
        /// The directory.
        path: PathBuf,
    },
    /// The path is taken.
    #[error("{path} is taken: {by}")]
    Taken {
        /// The socket.
        path: PathBuf,
        /// By what.
        by: &'static str,
    },
    /// The system refuses.
    #[error("cannot {what} {path}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// A socket's address: its path, or a short way there through its directory's descriptor.
#[derive(Debug)]
pub(super) struct Address {
    pub(super) path: PathBuf,
    _dir: Option<OwnedFd>,
}

// === impl Place ===

impl Place {
    /// A place by its path.
    #[must_use]
    pub fn at(path: PathBuf) -> Self {
        Self {
            path,
            also: None,
            dir_is_ours: false,
        }
    }

    /// Chooses the place of an agent beside the server rooted at `root_pid`, and makes its
    /// directory safe. `chosen` is `HUBMETER_SOCKET`: taken or refused, but never quietly replaced
    /// by another place, unless an agent around us has it: then it was told to the server that
    /// this agent was started from, and is not meant for us.
    ///
    /// # Errors
    /// When no place is safe; says why the last one is not.
    pub fn beside(
        chosen: Option<&Path>,
        root_pid: u32,
        env: &impl Environment,
    ) -> Result<Self, PlaceError> {
        Self::named(chosen, env, |dir| dir.join(format!("{root_pid}.sock")))
    }

    /// The same for a server that is yet to start: by our own pid, under a name that nobody
    /// listens at.
    ///
    /// # Errors
    /// As [`Place::beside`].
    pub fn before(chosen: Option<&Path>, env: &impl Environment) -> Result<Self, PlaceError> {
        let own = std::process::id();
        Self::named(chosen, env, |dir| {
            let first = dir.join(format!("{own}.sock"));
            let more = (2..=NAMES_TRIED).map(|n| dir.join(format!("{own}-{n}.sock")));
            std::iter::once(first.clone())
                .chain(more)
                .find(|path| listener(path).is_none())
                .unwrap_or(first)
        })
    }

    /// With the root process's name beside our own, where the name is ours to choose.
    #[must_use]
    pub fn known_by(mut self, root_pid: u32) -> Self {
        let also = self.path.with_file_name(format!("{root_pid}.sock"));
        self.also = (self.dir_is_ours && also != self.path).then_some(also);
        self
    }

    fn named(
        chosen: Option<&Path>,
        env: &impl Environment,
        name: impl Fn(&Path) -> PathBuf,
    ) -> Result<Self, PlaceError> {
        let home = env.get("HOME").map(PathBuf::from);
        let dirs = default_dirs(env);
        if let Some(path) = chosen.filter(|path| !is_of_an_agent_around_us(path)) {
            check_path(path, home.as_deref())?;
            let place = Self {
                path: path.to_owned(),
                also: None,
                // The server extension chooses as we do, and says so.
                dir_is_ours: dirs.iter().any(|dir| path.parent() == Some(dir)),
            };
            place.make_ready()?;
            return Ok(place);
        }
        let mut refused = None;
        for dir in dirs {
            // A stale variable in a container is common; then the other place is the right one.
            let ready =
                check_path(&dir.join("0.sock"), home.as_deref()).and_then(|()| own_dir(&dir));
            match ready {
                Ok(()) => {
                    return Ok(Self {
                        path: name(&dir),
                        also: None,
                        dir_is_ours: true,
                    });
                }
                Err(error) => refused = Some(error),
            }
        }
        Err(refused.unwrap_or(PlaceError::Directory {
            path: PathBuf::from("/tmp"),
        }))
    }

    /// Makes the directory if need be, and proves that nobody else's hands are in it.
    pub(super) fn make_ready(&self) -> Result<(), PlaceError> {
        if self.dir_is_ours {
            return own_dir(self.dir());
        }
        safe_dir(self.dir())
    }

    /// Whether somebody listens there.
    #[must_use]
    pub fn is_lively(&self) -> bool {
        listener(&self.path).is_some()
    }

    /// A connection to whoever listens there.
    pub(crate) fn connect(&self) -> Option<UnixStream> {
        Address::of(&self.path).ok()?.connect().ok()
    }

    /// Takes away what killed agents left in a directory of our making: sockets that nobody
    /// listens at, and that are too old to belong to one who is about to.
    pub(super) fn sweep(&self, now_ms: u64) {
        let entries = self
            .dir_is_ours
            .then(|| std::fs::read_dir(self.dir()).ok())
            .flatten();
        for entry in entries.into_iter().flatten().flatten().take(SWEPT_MAX) {
            let old = entry.metadata().is_ok_and(|file| {
                let made_ms = u64::try_from(file.mtime())
                    .unwrap_or(0)
                    .saturating_mul(1_000);
                file.file_type().is_socket() && now_ms.saturating_sub(made_ms) > SWEEP_AGE_MS
            });
            if old {
                // One that is in use stays, which is as it should be.
                let _ = clear_stale(&entry.path());
            }
        }
    }

    /// Takes the directory away if it is of our making and nobody's socket is left in it.
    pub fn leave(&self) {
        if self.dir_is_ours {
            let _ = std::fs::remove_dir(self.dir());
        }
    }

    fn dir(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("/"))
    }
}

// === impl Address ===

impl Address {
    /// The way to `path`.
    pub(super) fn of(path: &Path) -> Result<Self, PlaceError> {
        if path.as_os_str().len() <= ADDRESS_BYTES_MAX {
            return Ok(Self {
                path: path.to_owned(),
                _dir: None,
            });
        }
        let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(PlaceError::TooLong {
                path: path.to_owned(),
            });
        };
        let fd = open_dir(dir)?;
        let short = Path::new("/proc/self/fd")
            .join(fd.as_fd().as_raw_fd().to_string())
            .join(name);
        if short.as_os_str().len() > ADDRESS_BYTES_MAX {
            return Err(PlaceError::TooLong {
                path: path.to_owned(),
            });
        }
        Ok(Self {
            path: short,
            _dir: Some(fd),
        })
    }

    pub(super) fn connect(&self) -> io::Result<UnixStream> {
        UnixStream::connect(&self.path)
    }
}

/// Directories to try, best first.
fn default_dirs(env: &impl Environment) -> Vec<PathBuf> {
    let uid = rustix::process::geteuid().as_raw();
    let runtime = env
        .get("XDG_RUNTIME_DIR")
        .map(PathBuf::from)
        .filter(|runtime| runtime.is_absolute())
        .map(|runtime| runtime.join("hubmeter"));
    runtime
        .into_iter()
        .chain([PathBuf::from(format!("/tmp/hubmeter-{uid}"))])
        .collect()
}

/// Takes a socket away that nobody listens on any more.
///
/// # Errors
/// When the path is something else, or in use.
pub(super) fn clear_stale(path: &Path) -> Result<(), PlaceError> {
    let taken = |by| PlaceError::Taken {
        path: path.to_owned(),
        by,
    };
    let file = match std::fs::symlink_metadata(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("look at", path)(error)),
    };
    if !file.file_type().is_socket() {
        return Err(taken("it is no socket"));
    }
    match Address::of(path)?.connect() {
        Ok(_) => Err(taken("another agent listens there")),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(failed("take away", path))
        }
        Err(error) => Err(failed("try", path)(error)),
    }
}

/// Who listens at `path`, if anybody does; 0 in another pid namespace.
fn listener(path: &Path) -> Option<i32> {
    let stream = Address::of(path).ok()?.connect().ok()?;
    Some(getsockopt(&stream, PeerCredentials).map_or(0, |peer| peer.pid()))
}

fn is_of_an_agent_around_us(path: &Path) -> bool {
    listener(path).is_some_and(|pid| {
        std::iter::successors(Some(getppid()), |pid| parent(*pid))
            .take(ANCESTORS_MAX)
            .any(|ancestor| ancestor == Pid::from_raw(pid) && pid != 0)
    })
}

fn parent(pid: Pid) -> Option<Pid> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let ppid = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
    Some(Pid::from_raw(ppid.trim().parse().ok()?))
}

fn check_path(path: &Path, home: Option<&Path>) -> Result<(), PlaceError> {
    // `/` is the home of accounts that have none.
    let home = home.filter(|home| home.is_absolute() && *home != Path::new("/"));
    let under_home = home.is_some_and(|home| {
        path.starts_with(home)
            || existing(path)
                .and_then(|dir| std::fs::canonicalize(dir).ok())
                .is_some_and(|dir| dir.starts_with(home) || is_under_linked(&dir, home))
    });
    if under_home {
        return Err(PlaceError::UnderHome {
            path: path.to_owned(),
        });
    }
    Ok(())
}

/// Whether a real directory is under a home that is reached through links.
fn is_under_linked(dir: &Path, home: &Path) -> bool {
    !VOLATILE.iter().any(|volatile| dir.starts_with(volatile))
        && std::fs::canonicalize(home).is_ok_and(|home| dir.starts_with(home))
}

/// The nearest directory above that is there already.
fn existing(path: &Path) -> Option<&Path> {
    path.ancestors().skip(1).find(|dir| dir.is_dir())
}

/// Makes `dir` if need be, and proves that it is ours alone.
fn own_dir(dir: &Path) -> Result<(), PlaceError> {
    let look = || std::fs::symlink_metadata(dir).map_err(failed("look at", dir));
    let found = match look() {
        Err(PlaceError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            make_dir(dir)?;
            look()?
        }
        found => found?,
    };
    if is_ours_alone(&found) {
        return Ok(());
    }
    Err(PlaceError::Directory {
        path: dir.to_owned(),
    })
}

fn is_ours_alone(found: &Metadata) -> bool {
    found.file_type().is_dir() && is_own(found) && found.permissions().mode() & 0o077 == 0
}

/// Makes `dir` if need be, and proves that nobody can put something in the place of our files.
fn safe_dir(dir: &Path) -> Result<(), PlaceError> {
    const STICKY: u32 = 0o1000;
    if !dir.is_dir() {
        make_dir(dir)?;
    }
    let found = std::fs::metadata(dir).map_err(failed("look at", dir))?;
    let mode = found.permissions().mode();
    let others_write = mode & 0o022 != 0;
    if (is_own(&found) || found.uid() == 0) && (!others_write || mode & STICKY != 0) {
        return Ok(());
    }
    Err(PlaceError::Open {
        path: dir.to_owned(),
    })
}

fn is_own(found: &Metadata) -> bool {
    found.uid() == rustix::process::geteuid().as_raw()
}

fn make_dir(dir: &Path) -> Result<(), PlaceError> {
    match DirBuilder::new().mode(0o700).create(dir) {
        Ok(()) => Ok(()),
        // Another agent of the same user was quicker; the look that follows judges it.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(failed("make the directory", dir)(error)),
    }
}

fn open_dir(dir: &Path) -> Result<OwnedFd, PlaceError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(dir, flags, Mode::empty())
        .map_err(|errno| failed("open the directory", dir)(errno.into()))
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> PlaceError {
    let path = path.to_owned();
    move |source| PlaceError::Io { what, path, source }
}

#[cfg(test)]
mod tests;
