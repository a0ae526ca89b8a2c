//! The way in for whoever runs the collector: `control.sock` in the data directory.
//!
//! HTTP/1.1 over a Unix socket of mode 0600, in a directory of mode 0700; the kernel says who is
//! at the other end, and only the collector's own user and root are let in. The commands `forget`
//! and `backup` come this way while a collector runs, since the data directory is then its alone.

use std::{
    convert::Infallible,
    fs::File,
    io,
    os::{
        fd::AsRawFd as _,
        unix::fs::{FileTypeExt as _, OpenOptionsExt as _, PermissionsExt as _},
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use axum::{
    Extension, Json, Router,
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::post,
};
use futures_util::StreamExt as _;
use serde::{Deserialize, Serialize};
use tokio::{net::UnixListener, sync::watch};

use crate::{
    causes::chain,
    forget::{ForgetError, People, Traces},
    link::refusals::Refusals,
    pipeline::SharedState,
    serve::{Ends, Listener},
};

mod ask;

pub use ask::{AskError, Hold, ask, hold};

/// Its name in the data directory.
const NAME: &str = "control.sock";

/// What a Unix socket's path may be long, by the kernel.
const PATH_BYTES_MAX: usize = 107;

/// What is said once nobody is moved any more.
const HELD: &[u8] = b"held\n";

/// A request names a user or a directory.
const BODY_BYTES_MAX: usize = 16 * 1024;

/// Everything that an order needs.
#[derive(Clone)]
pub struct Control {
    /// Who moves people.
    pub people: People,
    /// What is true now.
    pub state: SharedState,
}

/// `POST /v1/forget`
#[derive(Debug, Deserialize, Serialize)]
pub struct ForgetOrder {
    /// Whom.
    pub user: String,
    /// Only count.
    pub dry_run: bool,
}

/// What was kept of a user.
#[derive(Debug, Deserialize, Serialize)]
pub struct ForgetAnswer {
    /// Servers with history.
    pub servers: u64,
    /// Chunks of history that were erased.
    pub chunks: u64,
    /// Messages in the inbox.
    pub messages: u64,
    /// Verified tokens.
    pub tokens: u64,
    /// Verdict episodes.
    pub episodes: u64,
    /// Notices.
    pub notices: u64,
    /// Since when servers are idle.
    pub idle_marks: u64,
    /// Holds, who asked for them, and warnings.
    #[serde(default)]
    pub promises: u64,
    /// Backups made before, and when, in milliseconds since the Unix epoch.
    pub backups: Vec<(String, i64)>,
}

/// `POST /v1/hold`
#[derive(Debug, Deserialize, Serialize)]
pub struct HoldOrder {
    /// Where the backup goes that it is for.
    pub backup: String,
}

/// Why an order was not carried out.
#[derive(Debug, Deserialize, Serialize)]
struct Refusal {
    error: String,
}

/// The socket's path, by a way that is short enough for the kernel.
pub struct Way {
    path: PathBuf,
    /// Keeps a long way open.
    _dir: Option<File>,
}

// === impl Way ===

impl Way {
    /// The control socket of `data_dir`.
    ///
    /// # Errors
    /// The directory cannot be opened.
    pub fn to(data_dir: &Path) -> io::Result<Self> {
        let path = data_dir.join(NAME);
        if path.as_os_str().len() <= PATH_BYTES_MAX {
            return Ok(Self { path, _dir: None });
        }
        let dir = File::options()
            .read(true)
            .custom_flags(nix::libc::O_DIRECTORY)
            .open(data_dir)?;
        Ok(Self {
            path: format!("/proc/self/fd/{}/{NAME}", dir.as_raw_fd()).into(),
            _dir: Some(dir),
        })
    }

    /// The path to use while this lives.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Takes the socket of `data_dir`, which is ours: one that is there is of a collector that died.
///
/// # Errors
/// It cannot be made.
pub fn bind(data_dir: &Path) -> io::Result<UnixListener> {
    let way = Way::to(data_dir)?;
    match std::fs::symlink_metadata(way.path()) {
        Ok(found) if found.file_type().is_socket() => std::fs::remove_file(way.path())?,
        Ok(_) => return Err(io::ErrorKind::AlreadyExists.into()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(e),
    }
    let listener = UnixListener::bind(way.path())?;
    std::fs::set_permissions(way.path(), std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Carries out orders until told to stop.
pub async fn serve(
    listener: UnixListener,
    control: Control,
    refusals: Refusals,
    shutdown: watch::Receiver<bool>,
) {
    let router = Router::new()
        .route("/v1/forget", post(forget))
        .route("/v1/hold", post(hold_still))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(Arc::new(control));
    let listener = Listener::Unix(listener);
    listener.serve(router, None, refusals, shutdown).await;
}

// === handlers ===

async fn forget(
    State(control): State<Arc<Control>>,
    Extension(ends): Extension<Ends>,
    Json(order): Json<ForgetOrder>,
) -> Response {
    let Some(uid) = master(ends) else {
        return refused(
            StatusCode::FORBIDDEN,
            "only the collector's own user and root",
        );
    };
    let people = &control.people;
    let forgotten = if order.dry_run {
        match people.traces(&order.user).await {
            Ok(traces) if traces.is_empty() => Err(ForgetError::Unknown),
            traces => traces,
        }
    } else {
        let live = control.live(&order.user);
        people
            .forget(&order.user, live, &format!("uid {uid}"))
            .await
    };
    match forgotten {
        Ok(traces) => {
            if !order.dry_run {
                // Whom is not said: it would be the last place that knows.
                tracing::info!(uid, "a user was forgotten");
            }
            Json(ForgetAnswer::from(traces)).into_response()
        }
        Err(error @ ForgetError::Unknown) => refused(StatusCode::NOT_FOUND, &error.to_string()),
        Err(error) => {
            let error = chain(&error);
            tracing::error!(uid, %error, "a user is not forgotten, or not wholly");
            refused(StatusCode::INTERNAL_SERVER_ERROR, &error)
        }
    }
}

/// Whoever asked makes the backup, with its own rights and sight of the file system: ours has
/// neither, under systemd. Until it hangs up, nobody is forgotten or renamed.
async fn hold_still(
    State(control): State<Arc<Control>>,
    Extension(ends): Extension<Ends>,
    Json(order): Json<HoldOrder>,
) -> Response {
    if master(ends).is_none() {
        return refused(
            StatusCode::FORBIDDEN,
            "only the collector's own user and root",
        );
    }
    let one = control.people.one.clone().lock_owned().await;
    let registry = control.people.registry.clone();
    let now_ms = control.people.clock.now_ms();
    // Noted before: a copy that a crash leaves lying about is told of, too.
    let noted = tokio::task::spawn_blocking(move || registry.note_backup(&order.backup, now_ms));
    if let Ok(Err(error)) = noted.await {
        return refused(StatusCode::INTERNAL_SERVER_ERROR, &chain(&error));
    }
    let said = futures_util::stream::once(async { Ok::<_, Infallible>(Bytes::from_static(HELD)) });
    let holding = futures_util::stream::once(async move {
        let _one = one;
        std::future::pending().await
    });
    let held = said.chain(holding);
    Body::from_stream(held).into_response()
}

/// The uid of a caller who may give orders.
fn master(ends: Ends) -> Option<u32> {
    match ends {
        Ends::Unix { uid } if uid == 0 || uid == nix::unistd::geteuid().as_raw() => Some(uid),
        Ends::Unix { .. } | Ends::Tcp { .. } => None,
    }
}

fn refused(status: StatusCode, error: &str) -> Response {
    let error = error.to_owned();
    (status, Json(Refusal { error })).into_response()
}

// === impl Control ===

impl Control {
    /// Servers and verdicts of `user` in memory.
    fn live(&self, user: &str) -> u64 {
        let state = self.state.read();
        let servers = state.servers.keys().filter(|key| &*key.user == user);
        let cleared = state.cleared.iter();
        let cleared = cleared.filter(|verdict| &*verdict.key.user == user);
        (servers.count() + cleared.count()) as u64
    }
}

// === impl ForgetAnswer ===

impl From<Traces> for ForgetAnswer {
    fn from(traces: Traces) -> Self {
        Self {
            servers: traces.servers,
            chunks: traces.chunks,
            messages: traces.messages,
            tokens: traces.rows.tokens,
            episodes: traces.rows.episodes,
            notices: traces.rows.notices,
            idle_marks: traces.rows.idle_marks,
            promises: traces.rows.promises,
            backups: traces.backups,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_user_and_root_give_orders() {
        let own = nix::unistd::geteuid().as_raw();
        assert_eq!(master(Ends::Unix { uid: own }), Some(own));
        assert_eq!(master(Ends::Unix { uid: 0 }), Some(0));
        assert_eq!(master(Ends::Unix { uid: own + 1 }), None);
        let here = "127.0.0.1:1".parse().unwrap();
        let ends = Ends::Tcp {
            local: here,
            remote: here,
        };
        assert_eq!(master(ends), None);
    }

    #[tokio::test]
    async fn a_data_directory_with_a_long_path_has_a_control_socket_too() {
        let dir = tempfile::tempdir().unwrap();
        let long = dir.path().join("d".repeat(PATH_BYTES_MAX));
        std::fs::create_dir(&long).unwrap();
        let listener = bind(&long).unwrap();
        let way = Way::to(&long).unwrap();
        let (connected, accepted) = tokio::join!(
            tokio::net::UnixStream::connect(way.path()),
            listener.accept()
        );
        assert!(connected.is_ok() && accepted.is_ok());
        drop((connected, accepted, listener));
        assert!(bind(&long).is_ok(), "one that nobody serves is replaced");
    }
}
