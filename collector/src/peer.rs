//! Who is at the other end of a local connection: the uid, by the kernel.
//!
//! Only for `--standalone`, where no hub says who is who. A Unix socket carries its peer's uid; a
//! loopback TCP connection is found in `/proc/net/tcp{,6}` from the caller's side. Only an
//! ESTABLISHED row with a non-zero inode identifies anybody: a socket in any other state may
//! already belong to nobody, and such rows show uid 0.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use nix::unistd::{Uid, User};
use tokio::net::UnixStream;

use crate::{limits, text::Label};

/// `TCP_ESTABLISHED` of the kernel's `include/net/tcp_states.h`, as the table prints it.
const ESTABLISHED: &str = "01";

/// A local caller, by the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Peer {
    /// Its user id.
    pub uid: u32,
}

/// Why a caller could not be told.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// The kernel was not readable.
    #[error("cannot read who is at the other end: {0}")]
    Read(#[from] io::Error),
    /// Not from this machine, or already gone.
    #[error("no established local socket at the other end")]
    NotFound,
}

// === impl Peer ===

impl Peer {
    /// The peer of a Unix socket.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn of_unix(socket: &UnixStream) -> Result<Self, PeerError> {
        Ok(Self {
            uid: socket.peer_cred()?.uid(),
        })
    }

    /// The owner of the socket `caller` that is connected to our `here`. Ask while the connection
    /// is open. Reads the kernel's whole table: for local use, not for crowds.
    ///
    /// # Errors
    /// The table cannot be read, or holds no such live socket.
    pub fn of_tcp(caller: SocketAddr, here: SocketAddr) -> Result<Self, PeerError> {
        // A dual-stack listener sees an IPv4 caller as ::ffff:a.b.c.d; the caller's own row is
        // then in the IPv4 table, or in the other one when it used such an address itself.
        for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
            let text = match fs::read_to_string(table) {
                Ok(text) => text,
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue, // no IPv6
                Err(e) => return Err(e.into()),
            };
            if let Some(uid) = owner_in(&text, caller, here) {
                return Ok(Self { uid });
            }
        }
        Err(PeerError::NotFound)
    }

    /// The login name, or `uid-N` where the system has none.
    #[must_use]
    pub fn login(self) -> Label {
        let name = match User::from_uid(Uid::from_raw(self.uid)) {
            Ok(Some(user)) => user.name,
            _ => format!("uid-{}", self.uid),
        };
        Label::clean(&name, limits::HUB_NAME_BYTES_MAX)
    }

    /// Whether it is root.
    #[must_use]
    pub fn is_root(self) -> bool {
        self.uid == 0
    }
}

/// The uid of the row whose local end is `caller` and whose far end is `here`.
fn owner_in(table: &str, caller: SocketAddr, here: SocketAddr) -> Option<u32> {
    table.lines().skip(1).find_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let local = parse_end(fields.next()?)?;
        let far = parse_end(fields.next()?)?;
        let state = fields.next()?;
        // Then queues, timer, retransmits; uid, timeout, inode.
        let uid = fields.nth(3)?;
        let inode = fields.nth(1)?;
        let same = same_end(local, caller) && same_end(far, here);
        (same && state == ESTABLISHED && inode != "0")
            .then(|| uid.parse().ok())
            .flatten()
    })
}

fn same_end(a: SocketAddr, b: SocketAddr) -> bool {
    a.port() == b.port() && a.ip().to_canonical() == b.ip().to_canonical()
}

/// `0100007F:1F90`: the address in words of the machine's byte order, the port in hex.
fn parse_end(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |i: usize| {
        let digits = address.get(i * 8..i * 8 + 8)?;
        u32::from_str_radix(digits, 16).ok().map(u32::to_ne_bytes)
    };
    let ip = match address.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?)),
        32 => {
            let mut bytes = [0; 16];
            for (i, chunk) in bytes.chunks_exact_mut(4).enumerate() {
                chunk.copy_from_slice(&word(i)?);
            }
            IpAddr::V6(Ipv6Addr::from(bytes))
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn the_owner_of_a_live_loopback_socket_is_found() {
        for host in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(host) else {
                continue; // a machine without IPv6
            };
            let here = listener.local_addr().unwrap();
            let client = TcpStream::connect(here).unwrap();
            let (_server, caller) = listener.accept().unwrap();
            let peer = Peer::of_tcp(caller, here).unwrap();
            assert_eq!(peer.uid, nix::unistd::getuid().as_raw());
            drop(client);
        }
    }

    #[test]
    fn a_socket_that_was_closed_identifies_nobody() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let here = listener.local_addr().unwrap();
        let client = TcpStream::connect(here).unwrap();
        let (_server, caller) = listener.accept().unwrap();
        drop(client); // FIN: the row stays, in FIN_WAIT2, without an owner
        assert!(matches!(
            Peer::of_tcp(caller, here),
            Err(PeerError::NotFound)
        ));
    }

    #[test]
    fn rows_without_inode_or_not_established_are_not_believed() {
        let head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";
        let row = |st: &str, uid: u32, inode: u32| {
            format!(
                "{head}   0: 0100007F:A000 0100007F:25A8 {st} 00000000:00000000 00:00000000 00000000  {uid}        0 {inode} 1 0000 20 4 30 10 -1\n"
            )
        };
        let caller = "127.0.0.1:40960".parse().unwrap();
        let here = "127.0.0.1:9640".parse().unwrap();
        assert_eq!(owner_in(&row("01", 1000, 77), caller, here), Some(1000));
        assert_eq!(owner_in(&row("01", 0, 0), caller, here), None);
        assert_eq!(owner_in(&row("06", 0, 0), caller, here), None);
        assert_eq!(owner_in(&row("05", 1000, 77), caller, here), None);
        // The server's own row has the ends the other way round.
        assert_eq!(owner_in(&row("01", 1000, 77), here, caller), None);
    }

    #[tokio::test]
    async fn the_peer_of_a_unix_socket_is_the_kernels_word() {
        let (a, _b) = UnixStream::pair().unwrap();
        let peer = Peer::of_unix(&a).unwrap();
        assert_eq!(peer.uid, nix::unistd::getuid().as_raw());
    }
}
