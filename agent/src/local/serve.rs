//! Requests on the local socket.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt, Full, Limited, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Body, Frame, Incoming},
    header,
};
use serde_json::json;
use tokio::sync::{
    broadcast::{self, error::RecvError},
    mpsc, watch,
};

use super::view;
use crate::{
    board::{Board, Notice, Reading},
    workload::told::{TOLD_BODY_BYTES_MAX, Told, ToldError},
};

/// Readers of the stream at once.
pub const STREAM_READERS_MAX: usize = 16;

type Answer = Response<UnsyncBoxBody<Bytes, std::convert::Infallible>>;

/// Answers from the board, and passes on what the server extension tells.
#[derive(Debug)]
pub struct Service {
    board: Arc<Board>,
    told: mpsc::Sender<Told>,
    readers: Arc<AtomicUsize>,
}

/// One of at most [`STREAM_READERS_MAX`].
struct Reader(Arc<AtomicUsize>);

/// What one reader of the stream still has to get.
struct Feed {
    board: Arc<Board>,
    readings: watch::Receiver<Option<Arc<Reading>>>,
    notices: broadcast::Receiver<Arc<Notice>>,
    open_notices: std::vec::IntoIter<Arc<Notice>>,
    first: bool,
    _reader: Reader,
}

// === impl Service ===

impl Service {
    /// Answers from `board`; `told` takes what the server extension says.
    #[must_use]
    pub fn new(board: Arc<Board>, told: mpsc::Sender<Told>) -> Self {
        Self {
            board,
            told,
            readers: Arc::default(),
        }
    }

    /// Answers one request.
    pub async fn respond(&self, request: Request<Incoming>) -> Answer {
        let is_read = request.method() == Method::GET;
        match request.uri().path() {
            "/v1/sample" if is_read => self.sample(),
            "/v1/recent" if is_read => {
                json_body(&view::recent(&self.board.recent(), &self.board.link()))
            }
            "/v1/stream" if is_read => self.stream(),
            "/v1/kernels" if request.method() == Method::PUT => {
                self.kernels(request.into_body()).await
            }
            "/healthz" if is_read => with_body(StatusCode::OK, "text/plain; charset=utf-8", "ok\n"),
            "/v1/sample" | "/v1/recent" | "/v1/stream" | "/healthz" => not_allowed("GET"),
            "/v1/kernels" => not_allowed("PUT"),
            _ => problem(StatusCode::NOT_FOUND, "there is nothing here"),
        }
    }

    fn sample(&self) -> Answer {
        match self.board.newest().borrow().as_deref() {
            Some(reading) => json_body(&view::sample(reading, &self.board.link())),
            None => problem(
                StatusCode::SERVICE_UNAVAILABLE,
                "no sample has been taken yet",
            ),
        }
    }

    fn stream(&self) -> Answer {
        let Some(reader) = Reader::take(&self.readers) else {
            let detail = format!("{STREAM_READERS_MAX} readers follow the stream already");
            return problem(StatusCode::SERVICE_UNAVAILABLE, &detail);
        };
        let (open_notices, notices) = self.board.notices();
        let feed = Feed {
            board: Arc::clone(&self.board),
            readings: self.board.newest(),
            notices,
            open_notices: open_notices.into_iter(),
            first: true,
            _reader: reader,
        };
        let lines = stream::unfold(feed, |mut feed| async move {
            let line = feed.next().await?;
            Some((Ok(Frame::data(Bytes::from(line))), feed))
        });
        answer(
            StatusCode::OK,
            "application/x-ndjson",
            StreamBody::new(lines),
        )
    }

    async fn kernels(&self, body: Incoming) -> Answer {
        let too_large = || {
            let detail = format!("body has more than {TOLD_BODY_BYTES_MAX} bytes");
            problem(StatusCode::PAYLOAD_TOO_LARGE, &detail)
        };
        if body.size_hint().lower() > TOLD_BODY_BYTES_MAX as u64 {
            return too_large();
        }
        let body = match Limited::new(body, TOLD_BODY_BYTES_MAX).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<http_body_util::LengthLimitError>() => return too_large(),
            Err(_) => return problem(StatusCode::BAD_REQUEST, "body ended too early"),
        };
        match Told::from_json(&body) {
            Ok(told) => match self.told.try_send(told) {
                Ok(()) => answer(StatusCode::NO_CONTENT, "application/json", Full::default()),
                Err(_) => problem(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "too many messages between two samples",
                ),
            },
            Err(error @ ToldError::TooLong { .. }) => {
                problem(StatusCode::PAYLOAD_TOO_LARGE, &error.to_string())
            }
            Err(error) => problem(StatusCode::BAD_REQUEST, &error.to_string()),
        }
    }
}

// === impl Reader ===

impl Reader {
    fn take(readers: &Arc<AtomicUsize>) -> Option<Self> {
        let more = |readers| (readers < STREAM_READERS_MAX).then_some(readers + 1);
        readers
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .ok()
            .map(|_| Self(Arc::clone(readers)))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

// === impl Feed ===

impl Feed {
    /// The next line: first the current sample, then open notices, then whatever is new. It is
    /// asked for only when the reader has taken the line before, so a slow one skips samples.
    async fn next(&mut self) -> Option<Vec<u8>> {
        if std::mem::take(&mut self.first)
            && let Some(line) = self.newest_line()
        {
            return Some(line);
        }
        if let Some(notice) = self.open_notices.next() {
            return Some(view::notice_line(&notice));
        }
        loop {
            tokio::select! {
                notice = self.notices.recv() => match notice {
                    Ok(notice) => return Some(view::notice_line(&notice)),
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return None,
                },
                changed = self.readings.changed() => {
                    changed.ok()?;
                    if let Some(line) = self.newest_line() {
                        return Some(line);
                    }
                }
            }
        }
    }

    fn newest_line(&mut self) -> Option<Vec<u8>> {
        let reading = self.readings.borrow_and_update().clone()?;
        Some(view::sample_line(&reading, &self.board.link()))
    }
}

fn json_body(value: &serde_json::Value) -> Answer {
    with_body(StatusCode::OK, "application/json", value.to_string())
}

/// RFC 9457.
fn problem(status: StatusCode, detail: &str) -> Answer {
    let title = status.canonical_reason().unwrap_or_default();
    let body = json!({ "title": title, "status": status.as_u16(), "detail": detail });
    with_body(status, "application/problem+json", body.to_string())
}

fn not_allowed(allow: &'static str) -> Answer {
    let detail = format!("only {allow} is answered here");
    let mut answer = problem(StatusCode::METHOD_NOT_ALLOWED, &detail);
    answer
        .headers_mut()
        .insert(header::ALLOW, header::HeaderValue::from_static(allow));
    answer
}

fn with_body(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    answer(status, content_type, Full::new(body.into()))
}

fn answer<B>(status: StatusCode, content_type: &'static str, body: B) -> Answer
where
    B: Body<Data = Bytes, Error = std::convert::Infallible> + Send + 'static,
{
    let mut answer = Response::new(body.boxed_unsync());
    *answer.status_mut() = status;
    if status != StatusCode::NO_CONTENT {
        let value = header::HeaderValue::from_static(content_type);
        answer.headers_mut().insert(header::CONTENT_TYPE, value);
    }
    answer
}
