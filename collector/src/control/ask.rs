//! The other end of `control.sock`: commands that ask the collector at work.

use std::{
    io,
    path::{Path, PathBuf},
};

use http_body_util::{BodyExt as _, Full};
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    client::conn::http1,
};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::{net::UnixStream, runtime::Runtime};

use super::{HELD, HoldOrder, NAME, Refusal, Way};

/// No answer from a collector.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// It does not answer.
    #[error("the collector does not answer at {}: {source}", path.display())]
    NoAnswer {
        /// The socket.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
    /// It says no.
    #[error("{0}")]
    Refused(String),
}

/// As long as it lives, the collector moves nobody between names.
pub struct Hold {
    _response: Response<Incoming>,
    _runtime: Runtime,
}

/// Gives the collector at work in `data_dir` an order, and waits until it is carried out.
///
/// # Errors
/// It is not.
pub fn ask<A: serde::de::DeserializeOwned>(
    data_dir: &Path,
    order: &str,
    body: &impl Serialize,
) -> Result<A, AskError> {
    let (runtime, response) = send(data_dir, order, body)?;
    let text = runtime
        .block_on(response.into_body().collect())
        .map_err(|source| no_answer(data_dir, io::Error::other(source)))?;
    serde_json::from_slice(&text.to_bytes()).map_err(|_| unreadable())
}

/// Asks the collector at work in `data_dir` to move nobody between names while a backup is made.
///
/// # Errors
/// It does not promise to.
pub fn hold(data_dir: &Path, order: &HoldOrder) -> Result<Hold, AskError> {
    let (runtime, mut response) = send(data_dir, "hold", order)?;
    let said = runtime.block_on(response.body_mut().frame());
    match said
        .and_then(Result::ok)
        .and_then(|said| said.into_data().ok())
    {
        Some(said) if said == HELD => Ok(Hold {
            _response: response,
            _runtime: runtime,
        }),
        _ => Err(unreadable()),
    }
}

/// Sends one order; gives the answer that begins well. Squeezing a large history takes as long as
/// it takes: no deadline.
fn send(
    data_dir: &Path,
    order: &str,
    body: &impl Serialize,
) -> Result<(Runtime, Response<Incoming>), AskError> {
    let failed = |source| no_answer(data_dir, source);
    let way = Way::to(data_dir).map_err(failed)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(failed)?;
    let body = serde_json::to_vec(body).map_err(|source| failed(source.into()))?;
    let sent = async {
        let stream = UnixStream::connect(way.path()).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        tokio::spawn(connection);
        let request = Request::post(format!("/v1/{order}"))
            .header("host", "localhost")
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(io::Error::other)?;
        sender.send_request(request).await.map_err(io::Error::other)
    };
    let response = runtime.block_on(sent).map_err(failed)?;
    if response.status().is_success() {
        return Ok((runtime, response));
    }
    let text = runtime
        .block_on(response.into_body().collect())
        .map_err(|source| failed(io::Error::other(source)))?;
    let refusal: Refusal = serde_json::from_slice(&text.to_bytes()).map_err(|_| unreadable())?;
    Err(AskError::Refused(refusal.error))
}

fn no_answer(data_dir: &Path, source: io::Error) -> AskError {
    AskError::NoAnswer {
        path: data_dir.join(NAME),
        source,
    }
}

fn unreadable() -> AskError {
    AskError::Refused("the collector's answer cannot be read".to_owned())
}
