//! The Unix socket for the meter on this machine.
//!
//! HTTP/1.1 for the server's own user (and root), told apart by the kernel: the socket is 0600,
//! its directory 0700, and a peer's uid is checked on top. It lives until the agent ends, then
//! takes its file away. When its file goes before (a cleaner of `/tmp`) or could not be made (full,
//! taken by an agent that has since ended), it is made within a minute.

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
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
};
use tracing::{debug, error, warn};

use self::{
    place::{Address, Place, PlaceError},
    serve::Service,
};
use crate::{
    board::Board,
    clock::{Clock, SystemClock},
    workload::told::Told,
};

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

/// Tries to bind when another agent takes the directory away at its end, just then.
const BIND_TRIES: usize = 3;

/// Why there is no local socket.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// No safe place for it.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// The system refuses.
    #[error("cannot listen on {path}: {source}")]
    Listen {
        /// The socket.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// The local socket: bound, or yet to be.
#[derive(Debug)]
pub struct Local {
    place: Place,
    bound: Option<Bound>,
    trouble: String,
}

/// A listener and its names. They go when it does.
#[derive(Debug)]
struct Bound {
    listener: UnixListener,
    files: Vec<SocketFile>,
}

/// A file to take away, if it is still the one we made.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

// === impl Local ===

impl Local {
    /// Binds the socket at `place`. One that nobody listens on any more is replaced. Must be
    /// called inside the runtime.
    ///
    /// # Errors
    /// When the path is taken or the system refuses.
    pub fn bind(place: Place) -> Result<Self, LocalError> {
        let mut local = Self::new(place);
        local.bound = Some(Bound::new(&local.place)?);
        Ok(local)
    }

    /// Binds as [`Local::bind`] does, or says why not and tries again later.
    #[must_use]
    pub fn start(place: Place) -> Self {
        let mut local = Self::new(place);
        local.mend();
        local
    }

    fn new(place: Place) -> Self {
        Self {
            place,
            bound: None,
            trouble: String::new(),
        }
    }

    /// Where it is, or is to be.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.place.path
    }

    /// Answers until dropped.
    pub async fn serve(mut self, board: Arc<Board>, told: mpsc::Sender<Told>) {
        let service = Arc::new(Service::new(Arc::clone(&board), told));
        let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let own_uid = rustix::process::geteuid().as_raw();
        let mut accepts = true;
        loop {
            let accepted = tokio::select! {
                accepted = accept(self.bound.as_ref(), &connections) => accepted,
                // Looked after in a beat's own wake-up, with no timer of ours: cleaners of `/tmp`
                // come by daily.
                () = board.minute_over() => {
                    self.mend();
                    continue;
                }
            };
            let (stream, permit) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    if std::mem::take(&mut accepts) {
                        warn!(%error, "cannot accept on the local socket; trying on");
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            accepts = true;
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

    /// Binds what is not bound, or not there any more. One line per trouble.
    fn mend(&mut self) {
        if self.bound.as_ref().is_some_and(Bound::is_there) {
            return;
        }
        // Its names go before new ones come.
        self.bound = None;
        match Bound::new(&self.place) {
            Ok(bound) => {
                self.bound = Some(bound);
                self.trouble.clear();
            }
            Err(error) => {
                let trouble = error.to_string();
                if trouble != self.trouble {
                    error!("no local socket, so no meter: {trouble}");
                    self.trouble = trouble;
                }
            }
        }
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        if self.bound.take().is_some() {
            self.place.leave();
        }
    }
}

// === impl Bound ===

impl Bound {
    fn new(place: &Place) -> Result<Self, LocalError> {
        let mut tries = 1;
        loop {
            let gone = |error: &LocalError| matches!(error, LocalError::Listen { source, .. } if source.kind() == io::ErrorKind::NotFound);
            match Self::once(place) {
                Err(error) if gone(&error) && tries < BIND_TRIES => tries += 1,
                done => return done,
            }
        }
    }

    fn once(place: &Place) -> Result<Self, LocalError> {
        place.make_ready()?;
        place.sweep(SystemClock.wall_ms());
        place::clear_stale(&place.path)?;
        let address = Address::of(&place.path)?;
        let listen = || {
            let listener = UnixListener::bind(&address.path)?;
            std::fs::set_permissions(&place.path, std::fs::Permissions::from_mode(0o600))?;
            Ok((listener, SocketFile::found(&place.path)?))
        };
        let (listener, file) = listen().map_err(|source| LocalError::Listen {
            path: place.path.clone(),
            source,
        })?;
        let mut files = vec![file];
        if let Some(also) = &place.also {
            match link(&place.path, also) {
                Ok(file) => files.push(file),
                Err(error) => debug!(%error, "no second name for the local socket"),
            }
        }
        Ok(Self { listener, files })
    }

    /// Whether the socket still has its names.
    fn is_there(&self) -> bool {
        self.files.iter().all(SocketFile::is_ours)
    }
}

// === impl SocketFile ===

impl SocketFile {
    fn found(path: &Path) -> io::Result<Self> {
        let file = std::fs::symlink_metadata(path)?;
        Ok(Self {
            path: path.to_owned(),
            identity: (file.dev(), file.ino()),
        })
    }

    fn is_ours(&self) -> bool {
        std::fs::symlink_metadata(&self.path)
            .is_ok_and(|file| (file.dev(), file.ino()) == self.identity)
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.is_ours() {
            // If it cannot be taken away, the next agent replaces it.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// A second name: another entry for the same socket.
fn link(path: &Path, also: &Path) -> Result<SocketFile, LocalError> {
    place::clear_stale(also)?;
    std::fs::hard_link(path, also)
        .and_then(|()| SocketFile::found(also))
        .map_err(|source| LocalError::Listen {
            path: also.to_owned(),
            source,
        })
}

/// The next connection, once there is room for one; never without a socket.
async fn accept(
    bound: Option<&Bound>,
    connections: &Arc<Semaphore>,
) -> io::Result<(UnixStream, OwnedSemaphorePermit)> {
    let Some(bound) = bound else {
        return std::future::pending().await;
    };
    let Ok(permit) = Arc::clone(connections).acquire_owned().await else {
        return std::future::pending().await;
    };
    let (stream, _) = bound.listener.accept().await?;
    Ok((stream, permit))
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
