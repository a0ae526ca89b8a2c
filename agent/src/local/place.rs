//! Where the local socket is, so that the server extension finds it without being told:
//! `HUBMETER_SOCKET`, else `$XDG_RUNTIME_DIR/hubmeter/<root pid>.sock`, else
//! `/tmp/hubmeter-<uid>/<root pid>.sock`.
//!
//! Never under the user's home, never through a link, never in a directory that others can
//! write to: `/tmp` is everybody's.

use std::{
    ffi::OsStr,
    fs::{DirBuilder, Metadata},
    io,
    os::unix::{
        ffi::OsStrExt,
        fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt},
        net::UnixStream,
    },
    path::{Path, PathBuf},
};

use crate::settings::Environment;

/// Bytes of a socket's path: the kernel's address is 108 with its closing zero.
pub const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Why a place will not do.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// Under home.
    #[error("{path} is under the home directory, where the agent writes nothing")]
    UnderHome {
        /// The socket.
        path: PathBuf,
    },
    /// Longer than the kernel takes.
    #[error("{path} is longer than the {SOCKET_PATH_BYTES_MAX} bytes of a socket's path")]
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
    /// The path is taken.
    #[error("{path} is taken: {by}")]
    Taken {
        /// The socket.
        path: PathBuf,
        /// By what.
        by: &'static str,
    },
    /// The system refuses.
    #[error("cannot {what} {path}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// Chooses a place for the server rooted at `root_pid` and makes its directory safe. `chosen` is
/// `HUBMETER_SOCKET`: taken or refused, but never quietly replaced by another place.
///
/// # Errors
/// When no place is safe; says why the last one is not.
pub fn prepare(
    chosen: Option<&Path>,
    root_pid: u32,
    env: &impl Environment,
) -> Result<PathBuf, PlaceError> {
    let home = env.get("HOME").map(PathBuf::from);
    let uid = rustix::process::geteuid().as_raw();
    if let Some(path) = chosen {
        check_path(path, home.as_deref())?;
        let dir = path.parent().unwrap_or(Path::new("/"));
        if !dir.is_dir() {
            make_dir(dir)?;
        }
        return Ok(path.to_owned());
    }
    let name = format!("{root_pid}.sock");
    if let Some(runtime) = env.get("XDG_RUNTIME_DIR").map(PathBuf::from) {
        let path = runtime.join("hubmeter").join(&name);
        // A stale variable in a container is common; then the other place is the right one.
        let usable = runtime.is_absolute()
            && check_path(&path, home.as_deref()).is_ok()
            && own_dir(&runtime.join("hubmeter"), uid).is_ok();
        if usable {
            return Ok(path);
        }
    }
    let dir = PathBuf::from(format!("/tmp/hubmeter-{uid}"));
    own_dir(&dir, uid)?;
    Ok(dir.join(name))
}

/// Takes a socket away that nobody listens on any more.
///
/// # Errors
/// When the path is something else, or in use.
pub fn clear_stale(path: &Path) -> Result<(), PlaceError> {
    let taken = |by| PlaceError::Taken {
        path: path.to_owned(),
        by,
    };
    let failed = |what| {
        move |source| PlaceError::Io {
            what,
            path: path.to_owned(),
            source,
        }
    };
    let file = match std::fs::symlink_metadata(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("look at")(error)),
    };
    if !file.file_type().is_socket() {
        return Err(taken("it is no socket"));
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(taken("another agent listens there")),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(failed("take away"))
        }
        Err(error) => Err(failed("try")(error)),
    }
}

fn check_path(path: &Path, home: Option<&Path>) -> Result<(), PlaceError> {
    if path.as_os_str().as_bytes().len() > SOCKET_PATH_BYTES_MAX {
        return Err(PlaceError::TooLong {
            path: path.to_owned(),
        });
    }
    // `/` is the home of accounts that have none.
    let under_home = home.is_some_and(|home| {
        let real = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        home != Path::new("/")
            && home.as_os_str() != OsStr::new("")
            && (path.starts_with(home)
                || existing(path).is_some_and(|dir| real(dir).starts_with(real(home))))
    });
    if under_home {
        return Err(PlaceError::UnderHome {
            path: path.to_owned(),
        });
    }
    Ok(())
}

/// The nearest directory above that is there already.
fn existing(path: &Path) -> Option<&Path> {
    path.ancestors().skip(1).find(|dir| dir.is_dir())
}

/// Makes `dir` if need be, and proves that it is ours alone.
fn own_dir(dir: &Path, uid: u32) -> Result<(), PlaceError> {
    let look = || {
        std::fs::symlink_metadata(dir).map_err(|source| PlaceError::Io {
            what: "look at",
            path: dir.to_owned(),
            source,
        })
    };
    let found = match look() {
        Err(PlaceError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            make_dir(dir)?;
            look()?
        }
        found => found?,
    };
    if is_ours_alone(&found, uid) {
        return Ok(());
    }
    Err(PlaceError::Directory {
        path: dir.to_owned(),
    })
}

fn is_ours_alone(found: &Metadata, uid: u32) -> bool {
    found.file_type().is_dir() && found.uid() == uid && found.permissions().mode() & 0o077 == 0
}

fn make_dir(dir: &Path) -> Result<(), PlaceError> {
    match DirBuilder::new().mode(0o700).create(dir) {
        Ok(()) => Ok(()),
        // Another agent of the same user was quicker; the look that follows judges it.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(source) => Err(PlaceError::Io {
            what: "make the directory",
            path: dir.to_owned(),
            source,
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, os::unix::net::UnixListener};

    use super::*;

    struct Fake(HashMap<&'static str, String>);

    impl Environment for Fake {
        fn get(&self, key: &str) -> Option<String> {
            self.0.get(key).cloned()
        }
    }

    fn env(pairs: &[(&'static str, &Path)]) -> Fake {
        Fake(
            pairs
                .iter()
                .map(|(key, path)| (*key, path.display().to_string()))
                .collect(),
        )
    }

    #[test]
    fn the_runtime_directory_is_used_and_ours_alone() {
        let runtime = tempfile::tempdir().unwrap();
        let path = prepare(None, 42, &env(&[("XDG_RUNTIME_DIR", runtime.path())])).unwrap();
        assert_eq!(path, runtime.path().join("hubmeter/42.sock"));
        let mode = std::fs::metadata(path.parent().unwrap())
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o700);
    }

    #[test]
    fn a_runtime_directory_that_is_missing_open_or_a_link_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let elsewhere = dir.path().join("elsewhere");
        std::fs::create_dir(&elsewhere).unwrap();
        let linked = dir.path().join("linked");
        std::fs::create_dir(&linked).unwrap();
        std::os::unix::fs::symlink(&elsewhere, linked.join("hubmeter")).unwrap();
        let open = dir.path().join("open");
        std::fs::create_dir_all(open.join("hubmeter")).unwrap();
        std::fs::set_permissions(
            open.join("hubmeter"),
            std::fs::Permissions::from_mode(0o777),
        )
        .unwrap();
        for runtime in [&dir.path().join("missing"), &linked, &open] {
            let path = prepare(None, 42, &env(&[("XDG_RUNTIME_DIR", runtime)])).unwrap();
            assert!(path.starts_with("/tmp"), "{}", path.display());
        }
    }

    #[test]
    fn nothing_is_ever_placed_under_home_not_even_through_a_link() {
        let home = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let link = elsewhere.path().join("link");
        std::os::unix::fs::symlink(home.path(), &link).unwrap();
        let env = env(&[("HOME", home.path()), ("XDG_RUNTIME_DIR", home.path())]);
        for chosen in [
            home.path().join("a.sock"),
            home.path().join("b/a.sock"),
            link.join("a.sock"),
        ] {
            assert!(matches!(
                prepare(Some(&chosen), 1, &env),
                Err(PlaceError::UnderHome { .. })
            ));
        }
        assert!(prepare(None, 1, &env).unwrap().starts_with("/tmp"));
        assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_path_longer_than_the_kernel_takes_is_refused_with_the_bound() {
        let long = PathBuf::from(format!("/tmp/{}", "x".repeat(110)));
        let error = prepare(Some(&long), 1, &env(&[])).unwrap_err();
        assert!(error.to_string().contains("107"), "{error}");
    }

    #[test]
    fn a_stale_socket_is_replaced_a_live_one_and_other_files_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.sock");
        let listener = UnixListener::bind(&path).unwrap();
        assert!(matches!(clear_stale(&path), Err(PlaceError::Taken { .. })));
        drop(listener);
        clear_stale(&path).unwrap();
        assert!(!path.try_exists().unwrap());

        let target = dir.path().join("precious");
        std::fs::write(&target, "x").unwrap();
        std::os::unix::fs::symlink(&target, &path).unwrap();
        for path in [&path, &target] {
            assert!(matches!(clear_stale(path), Err(PlaceError::Taken { .. })));
        }
        assert!(target.try_exists().unwrap());
    }
}
