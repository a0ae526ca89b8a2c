//! The socket's own life: taken, wiped, shared, crowded.

use std::{
    io,
    path::{Path, PathBuf},
};

use hubmeter_agent::{
    local::{CONNECTIONS_MAX, Local, place::Place},
    settings::Environment,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

use super::Served;

/// Agents of one user whose runtime directory is this.
struct Runtime(PathBuf);

impl Environment for Runtime {
    fn get(&self, key: &str) -> Option<String> {
        (key == "XDG_RUNTIME_DIR").then(|| self.0.display().to_string())
    }
}

impl Runtime {
    fn new() -> (tempfile::TempDir, Self) {
        let dir = tempfile::tempdir().unwrap();
        let runtime = Self(dir.path().to_owned());
        (dir, runtime)
    }

    fn place(&self, pid: u32) -> Place {
        Place::beside(None, pid, self).unwrap()
    }

    fn dir(&self) -> PathBuf {
        self.0.join("hubmeter")
    }
}

async fn connected(path: &Path) -> UnixStream {
    loop {
        if let Ok(stream) = UnixStream::connect(path).await {
            break stream;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn the_socket_goes_with_its_owner_and_a_second_owner_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::at(dir.path().join("a.sock"));
    let first = Local::bind(place.clone()).unwrap();
    let refused = Local::bind(place.clone()).unwrap_err().to_string();
    assert!(refused.contains("another agent"), "{refused}");
    drop(first);
    assert!(!place.path.try_exists().unwrap());
    assert!(
        dir.path().try_exists().unwrap(),
        "a folder that is not ours stays"
    );
}

#[tokio::test]
async fn the_last_agent_takes_their_folder_away_and_no_other_does() {
    let (_dir, runtime) = Runtime::new();
    let first = Local::bind(runtime.place(1)).unwrap();
    let second = Local::bind(runtime.place(2).known_by(3)).unwrap();
    let sockets = || std::fs::read_dir(runtime.dir()).map_or(0, Iterator::count);
    assert_eq!(sockets(), 3);
    drop(first);
    assert_eq!(sockets(), 2);
    drop(second);
    assert!(!runtime.dir().try_exists().unwrap());
}

#[tokio::test]
async fn a_socket_that_was_wiped_is_back_within_a_minute_and_one_that_is_there_is_left() {
    let (dir, runtime) = Runtime::new();
    let place = runtime.place(1).known_by(2);
    let served = Served::at(Local::bind(place.clone()).unwrap(), dir);
    served.show(1_000);
    assert_eq!(served.get("/healthz").await.0, 200);
    let before = std::fs::metadata(&place.path).unwrap();
    served.show(70_000);
    assert_eq!(served.get("/healthz").await.0, 200);
    let same = std::fs::metadata(&place.path).unwrap();
    assert_eq!(inode(&same), inode(&before));
    // As a cleaner of /tmp does, folder and all.
    std::fs::remove_dir_all(runtime.dir()).unwrap();
    served.show(80_000);
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(
        !place.path.try_exists().unwrap(),
        "looked after at every beat"
    );
    served.show(140_000);
    for path in [Some(&place.path), place.also.as_ref()] {
        connected(path.unwrap()).await;
    }
    assert_eq!(served.get("/healthz").await.0, 200);
}

fn inode(file: &std::fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(file)
}

#[tokio::test]
async fn an_agent_without_a_socket_takes_the_place_when_it_comes_free() {
    let (dir, runtime) = Runtime::new();
    let first = Local::bind(runtime.place(1)).unwrap();
    let served = Served::at(Local::start(runtime.place(1)), dir);
    for mono_ms in [1_000, 2_000] {
        served.show(mono_ms);
        // Until it has seen that.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }
    drop(first);
    served.show(62_000);
    connected(&served.path).await;
    assert_eq!(served.get("/healthz").await.0, 200);
}

#[tokio::test]
async fn one_client_too_many_waits_and_is_served_when_another_goes() {
    let served = Served::start();
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS_MAX {
        let mut client = connected(&served.path).await;
        // An answer shows that it was let in.
        client
            .write_all(b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n")
            .await
            .unwrap();
        assert!(client.read(&mut [0; 1024]).await.unwrap() > 0);
        clients.push(client);
    }
    let mut late = connected(&served.path).await;
    late.write_all(b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    let waiting = late.try_read(&mut [0; 1]).unwrap_err();
    assert_eq!(waiting.kind(), io::ErrorKind::WouldBlock);
    clients.pop();
    assert!(late.read(&mut [0; 1024]).await.unwrap() > 0);
}
