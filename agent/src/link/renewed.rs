//! Files that others renew while we run: tokens and certificates.
//!
//! Read anew for each connection, aside, because a file server that is gone must hold up neither
//! the beat nor the server's signals. Only a regular file of sensible size is taken: a pipe would
//! be waited for, a device read for ever.

use std::{
    fs::OpenOptions,
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    time::Duration,
};

use nix::libc;

/// Time for a small file.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// The whole of `path`.
///
/// # Errors
/// What the system says; no regular file, more than `bytes_max`, or no answer in time.
pub(super) async fn read(path: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
    let path = path.to_owned();
    let reading = tokio::task::spawn_blocking(move || read_now(&path, bytes_max));
    // One that waits behind a hung one must not be read for nobody later on.
    let aborts = reading.abort_handle();
    match tokio::time::timeout(READ_TIMEOUT, reading).await {
        Ok(read) => read.unwrap_or_else(|error| Err(io::Error::other(error))),
        Err(_) => {
            aborts.abort();
            Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("no answer within {} s", READ_TIMEOUT.as_secs()),
            ))
        }
    }
}

fn read_now(path: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
    let refused = |why: String| Err(io::Error::new(io::ErrorKind::InvalidData, why));
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)?;
    if !file.metadata()?.is_file() {
        return refused("it is no regular file".to_owned());
    }
    let mut content = Vec::new();
    file.take(bytes_max as u64 + 1).read_to_end(&mut content)?;
    if content.len() > bytes_max {
        return refused(format!("it has more than {bytes_max} bytes"));
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_is_read_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a");
        std::fs::write(&file, "12345").unwrap();
        assert_eq!(read(&file, 5).await.unwrap(), b"12345");
        for (path, why) in [
            (file.as_path(), "more than 4 bytes"),
            (dir.path(), "no regular file"),
            (Path::new("/dev/zero"), "no regular file"),
        ] {
            let error = read(path, 4).await.unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
        assert_eq!(
            read(&dir.path().join("b"), 4).await.unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
    }
}
