//! The Unix socket for the meter on this machine.
//!
//! HTTP/1.1 for the server's own user (and root), told apart by the kernel: the socket is 0600,
//! its directory 0700, and a peer's uid is checked on top. It lives until the agent ends, then
//! takes its file away.

use std::{
    io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{UnixListener, UnixStream},
    sync::{Semaphore, mpsc},
};
use tracing::{debug, warn};

use self::{place::PlaceError, serve::Service};
use crate::{board::Board, workload::told::Told};

pub mod place;
pub mod serve;
pub mod view;

/// Connections at once: a few tabs' worth of meters, and the server extension.
pub const CONNECTIONS_MAX: usize = 32;

/// Messages from the server extension that wait for the next tick; it sends one per change.
pub const TOLD_WAITING_MAX: usize = 4;

/// Time for a request's head; nobody on a Unix socket needs longer.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// Buffer of one connection: hyper's smallest.
const CONNECTION_BUFFER_BYTES: usize = 8 * 1024;

/// Wait after a failed accept, so that running out of descriptors does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Why there is no local socket.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// No safe place for it.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// The system refuses.
    #[error("cannot listen on {path}")]
    Listen {
        /// The socket.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// A bound socket. Its file goes when this does.
#[derive(Debug)]
pub struct Local {
    listener: UnixListener,
    file: SocketFile,
}

/// A file to take away, if it is still the one we made.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

// === impl Local ===

impl Local {
    /// Binds `path`, whose directory must be safe already (see [`place`]). A socket that nobody
    /// listens on any more is replaced. Must be called inside the runtime.
    ///
    /// # Errors
    /// When the path is taken or the system refuses.
    pub fn bind(path: PathBuf) -> Result<Self, LocalError> {
        place::clear_stale(&path)?;
        let listen = |path: &Path| {
            let listener = UnixListener::bind(path)?;
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
            let file = std::fs::symlink_metadata(path)?;
            Ok((listener, (file.dev(), file.ino())))
        };
        let (listener, identity) = listen(&path).map_err(|source| LocalError::Listen {
            path: path.clone(),
            source,
        })?;
        Ok(Self {
            listener,
            file: SocketFile { path, identity },
        })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.file.path
    }

    /// Answers until dropped.
    pub async fn serve(self, board: Arc<Board>, told: mpsc::Sender<Told>) {
        let service = Arc::new(Service::new(board, told));
        let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let own_uid = rustix::process::geteuid().as_raw();
        loop {
            let Ok(permit) = Arc::clone(&connections).acquire_owned().await else {
                return;
            };
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    warn!(%error, "cannot accept on the local socket");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            if !may_talk(&stream, own_uid) {
                debug!("another user knocked on the local socket");
                continue;
            }
            let service = Arc::clone(&service);
            tokio::spawn(async move {
                answer(stream, service).await;
                drop(permit);
            });
        }
    }
}

// === impl SocketFile ===

impl Drop for SocketFile {
    fn drop(&mut self) {
        let still_ours = std::fs::symlink_metadata(&self.path)
            .is_ok_and(|file| (file.dev(), file.ino()) == self.identity);
        if still_ours {
            // If it cannot be taken away, the next agent replaces it.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn may_talk(stream: &UnixStream, own_uid: u32) -> bool {
    stream
        .peer_cred()
        .is_ok_and(|peer| peer.uid() == own_uid || peer.uid() == 0)
}

async fn answer(stream: UnixStream, service: Arc<Service>) {
    let respond = service_fn(move |request| {
        let service = Arc::clone(&service);
        async move { Ok::<_, std::convert::Infallible>(service.respond(request).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(CONNECTION_BUFFER_BYTES)
        .serve_connection(TokioIo::new(stream), respond)
        .await;
    if let Err(error) = served {
        debug!(%error, "a local reader went away");
    }
}
