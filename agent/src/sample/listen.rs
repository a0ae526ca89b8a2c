//! Who waits for connections: what tells a proxied application from an aide of the server.
//!
//! Descriptors of few processes are compared with the listening sockets of their network
//! namespace. The kernel lists those that listen first in `/proc/<pid>/net/tcp`, so the reading
//! ends there: connections, however many, cost nothing.

use std::{
    collections::HashSet,
    fs,
    io::{BufRead, BufReader, Read},
    path::Path,
};

use super::{faults, file};

/// Descriptors of one process that are looked at: an application's listening socket is among its
/// first.
const DESCRIPTORS_MAX: usize = 256;

/// Bytes of one table of sockets that are read: some 1,700 rows.
const TABLE_BYTES_MAX: u64 = 256 * 1024;

/// `TCP_LISTEN` as `/proc/net/tcp` writes it.
const LISTEN: &str = "0A";

/// `__SO_ACCEPTCON` as `/proc/net/unix` writes it.
const ACCEPTS: &str = "00010000";

/// Whether any of these processes waits for connections on a TCP or Unix socket. What may not be
/// read does not listen.
pub(crate) fn any_listens(proc_root: &Path, pids: &[u32]) -> bool {
    let sockets: HashSet<u64> = pids
        .iter()
        .flat_map(|pid| sockets(&proc_root.join(pid.to_string())))
        .collect();
    let Some(first) = pids.first().filter(|_| !sockets.is_empty()) else {
        return false;
    };
    // The namespace of the first: an application does not spread over several.
    let net = proc_root.join(first.to_string()).join("net");
    let any = |table: &str, inode: fn(&str) -> Row| {
        rows(&net.join(table), inode).any(|inode| sockets.contains(&inode))
    };
    any("tcp", tcp_row) || any("tcp6", tcp_row) || any("unix", unix_row)
}

/// What one line of a table says.
enum Row {
    /// This socket listens.
    Listens(u64),
    /// Something else.
    Other,
    /// None below listens.
    End,
}

fn sockets(dir: &Path) -> Vec<u64> {
    let path = dir.join("fd");
    let entries = faults::noted(&path, file::read_dir(&path));
    let entries = entries.into_iter().flatten().flatten();
    entries
        .take(DESCRIPTORS_MAX)
        .filter_map(|entry| {
            let target = fs::read_link(entry.path()).ok()?;
            let inode = target.to_str()?.strip_prefix("socket:[")?;
            inode.strip_suffix(']')?.parse().ok()
        })
        .collect()
}

fn rows(path: &Path, row: fn(&str) -> Row) -> impl Iterator<Item = u64> {
    let table = faults::noted(path, file::open_once(path));
    table
        .into_iter()
        .flat_map(|table| lines(BufReader::new(table.take(TABLE_BYTES_MAX)), path))
        .skip(1) // the head
        .map(move |line| row(&line))
        .take_while(|row| !matches!(row, Row::End))
        .filter_map(|row| match row {
            Row::Listens(inode) => Some(inode),
            Row::Other | Row::End => None,
        })
}

/// The lines of a table; one that is not ended was cut, and is none.
fn lines(mut table: impl BufRead, path: &Path) -> impl Iterator<Item = String> {
    std::iter::from_fn(move || {
        let mut line = String::new();
        faults::noted(path, table.read_line(&mut line))?;
        line.ends_with('\n').then_some(line)
    })
}

/// `sl local remote st tx:rx tr:when retrnsmt uid timeout inode …`
fn tcp_row(line: &str) -> Row {
    let mut fields = line.split_ascii_whitespace();
    if fields.nth(3) != Some(LISTEN) {
        return Row::End;
    }
    let inode = fields.nth(5).and_then(|inode| inode.parse().ok());
    inode.map_or(Row::Other, Row::Listens)
}

/// `Num RefCount Protocol Flags Type St Inode Path`
fn unix_row(line: &str) -> Row {
    let mut fields = line.split_ascii_whitespace();
    if fields.nth(3) != Some(ACCEPTS) {
        return Row::Other;
    }
    let inode = fields.nth(2).and_then(|inode| inode.parse().ok());
    inode.map_or(Row::Other, Row::Listens)
}

#[cfg(test)]
mod tests {
    use std::{
        net::{TcpListener, TcpStream},
        os::unix::net::UnixListener,
    };

    use super::*;

    const PROC: &str = "/proc";

    #[test]
    fn a_listening_socket_counts_a_connected_one_does_not() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let inodes: Vec<u64> = sockets(Path::new("/proc/self"));
        assert!(!inodes.is_empty());
        assert!(any_listens(Path::new(PROC), &[std::process::id()]));
        let client = TcpStream::connect(tcp.local_addr().unwrap()).unwrap();
        drop(tcp);
        let listening: HashSet<u64> = rows(Path::new("/proc/self/net/tcp"), tcp_row).collect();
        use std::os::{fd::AsRawFd, unix::fs::MetadataExt};
        let inode = |fd: i32| fs::metadata(format!("/proc/self/fd/{fd}")).unwrap().ino();
        assert!(!listening.contains(&inode(client.as_raw_fd())));
    }

    #[test]
    fn a_unix_socket_that_accepts_counts() {
        let dir = tempfile::tempdir().unwrap();
        let unix = UnixListener::bind(dir.path().join("s")).unwrap();
        use std::os::{fd::AsRawFd, unix::fs::MetadataExt};
        let inode = fs::metadata(format!("/proc/self/fd/{}", unix.as_raw_fd()))
            .unwrap()
            .ino();
        let mut listening = rows(Path::new("/proc/self/net/unix"), unix_row);
        assert!(listening.any(|of| of == inode));
    }

    #[test]
    fn tables_are_read_no_further_than_what_listens() {
        let listens = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4711 1 0 100 0 0 10 0";
        let talks = "   1: 0100007F:1F90 0100007F:9C40 01 00000000:00000000 00:00000000 00000000  1000        0 4712 1 0 20 4 30 10 -1";
        assert!(matches!(tcp_row(listens), Row::Listens(4711)));
        assert!(matches!(tcp_row(talks), Row::End));
        assert!(matches!(tcp_row("x"), Row::End));
    }

    #[test]
    fn who_is_not_there_does_not_listen() {
        assert!(!any_listens(Path::new(PROC), &[]));
        assert!(!any_listens(Path::new(PROC), &[u32::MAX]));
    }
}
