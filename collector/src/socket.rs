//! Taking the addresses we listen on: all of them before anything starts.

use std::{
    io,
    net::SocketAddr,
    os::unix::fs::{FileTypeExt as _, PermissionsExt as _},
    path::Path,
};

use tokio::net::{TcpListener, TcpSocket, UnixListener, UnixStream};

use crate::config::Addr;

/// Connections the kernel holds before we take them: those of a whole hub that reconnects.
const BACKLOG: u32 = 4_096;

/// A taken address.
#[derive(Debug)]
pub enum Socket {
    /// TCP.
    Tcp(TcpListener),
    /// Unix.
    Unix(UnixListener),
}

/// An address is not to be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {addr}: {source}")]
pub struct BindError {
    addr: Addr,
    source: io::Error,
}

// === impl Socket ===

impl Socket {
    /// Takes the address. A Unix socket that nobody listens on any more is replaced; it is open to
    /// everybody on the machine, since who calls is asked of the kernel or of the hub.
    ///
    /// # Errors
    /// It is not to be had.
    pub async fn bind(addr: &Addr) -> Result<Self, BindError> {
        let bound = match addr {
            Addr::Tcp(addr) => bind_tcp(*addr).map(Self::Tcp),
            Addr::Unix(path) => bind_unix(path).await.map(Self::Unix),
        };
        bound.map_err(|source| BindError {
            addr: addr.clone(),
            source,
        })
    }

    /// Where it is, with the port the system chose for port 0.
    ///
    /// # Errors
    /// The system does not say.
    pub fn addr(&self) -> io::Result<Addr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(Addr::Tcp),
            Self::Unix(listener) => {
                let addr = listener.local_addr()?;
                let path = addr.as_pathname().ok_or(io::ErrorKind::NotFound)?;
                Ok(Addr::Unix(path.to_owned()))
            }
        }
    }
}

fn bind_tcp(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = match addr {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(BACKLOG)
}

async fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => {
            if UnixStream::connect(path).await.is_ok() {
                return Err(io::ErrorKind::AddrInUse.into());
            }
            std::fs::remove_file(path)?;
        }
        Ok(_) => return Err(io::ErrorKind::AlreadyExists.into()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(e),
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_dead_unix_socket_is_replaced_and_a_live_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let addr = Addr::Unix(dir.path().join("link"));
        let live = Socket::bind(&addr).await.unwrap();
        assert_eq!(live.addr().unwrap(), addr);
        assert!(Socket::bind(&addr).await.is_err());
        drop(live);
        assert!(Socket::bind(&addr).await.is_ok());
    }

    #[tokio::test]
    async fn a_file_in_the_way_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("link");
        std::fs::write(&path, "mine").unwrap();
        assert!(Socket::bind(&Addr::Unix(path.clone())).await.is_err());
        assert_eq!(std::fs::read_to_string(path).unwrap(), "mine");
    }
}
