//! Makes a WebSocket of an HTTP/1.1 connection (RFC 6455 §4), or says why it is none.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::{Buf as _, BytesMut};
use httparse::{EMPTY_HEADER, Header, Response};
use hubmeter_proto::REFUSED_HEADER;
use hyper::header::HeaderValue;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::link::connect::{dial::Io, status::Status};

/// The head of a response; a proxy adds a few lines to what the hub says.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Lines of it.
const HEADERS_MAX: usize = 64;

/// Bytes of a refusal's reason that are shown.
const REFUSAL_BYTES_MAX: usize = 512;

/// The standard's: whoever answers with it knows what it answers to.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

const AGENT: &str = concat!("hubmeter-agent/", env!("CARGO_PKG_VERSION"));

/// What matters of a response's head.
struct Answer {
    status: u16,
    head_bytes: usize,
    body_bytes: usize,
    /// Why it refuses, where it says so in its head.
    reason: Option<String>,
    upgraded: bool,
}

/// Asks for the upgrade; what came behind the answer is left in the buffer that is returned.
pub(super) async fn ask(
    io: &mut Io,
    authority: &str,
    path: &str,
    authorization: Option<&HeaderValue>,
) -> Result<BytesMut, Status> {
    let unavailable = |error: std::io::Error| Status::unavailable(error.to_string());
    let mut nonce = [0; 16];
    getrandom::fill(&mut nonce).map_err(|error| Status::unavailable(error.to_string()))?;
    let key = STANDARD.encode(nonce);
    let request = request(authority, path, &key, authorization);
    io.write_all(&request).await.map_err(unavailable)?;
    io.flush().await.map_err(unavailable)?;

    let mut incoming = BytesMut::new();
    let answer = loop {
        if let Some(answer) = Answer::parse(&incoming, &expected(&key))? {
            break answer;
        }
        if incoming.len() >= HEAD_BYTES_MAX {
            return Err(Status::unavailable("the answer has no end"));
        }
        if io.read_buf(&mut incoming).await.map_err(unavailable)? == 0 {
            return Err(Status::unavailable("closed before an answer"));
        }
    };
    incoming.advance(answer.head_bytes);
    if answer.status != 101 {
        if let Some(reason) = answer.reason {
            return Err(refusal(answer.status, reason.as_bytes()));
        }
        // For the reason only: what is not to be had is left out.
        while incoming.len() < answer.body_bytes.min(REFUSAL_BYTES_MAX) {
            if !matches!(io.read_buf(&mut incoming).await, Ok(1..)) {
                break;
            }
        }
        return Err(refusal(answer.status, &incoming));
    }
    if !answer.upgraded {
        return Err(Status::unavailable("what answers is no WebSocket"));
    }
    Ok(incoming)
}

fn request(authority: &str, path: &str, key: &str, authorization: Option<&HeaderValue>) -> Vec<u8> {
    let mut request = format!(
        "GET {path} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: {AGENT}\r\n\
         Connection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
    )
    .into_bytes();
    if let Some(value) = authorization {
        request.extend_from_slice(b"Authorization: ");
        request.extend_from_slice(value.as_bytes());
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    request
}

/// What shows that the other side understood.
fn expected(key: &str) -> String {
    let text = format!("{key}{GUID}");
    STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes()))
}

/// Why the other side does not upgrade, in the link's words.
fn refusal(status: u16, reason: &[u8]) -> Status {
    let said = String::from_utf8_lossy(reason);
    let said = said[..said.floor_char_boundary(REFUSAL_BYTES_MAX)].trim();
    let text = format!("HTTP {status} {said}");
    match status {
        401 | 403 => Status::unauthenticated(text),
        404 => Status::not_found(format!("no collector there: {text}")),
        _ => Status::unavailable(text),
    }
}

// === impl Answer ===

impl Answer {
    /// `None` while its head is not whole.
    fn parse(incoming: &[u8], accept: &str) -> Result<Option<Self>, Status> {
        let mut headers = [EMPTY_HEADER; HEADERS_MAX];
        let mut response = Response::new(&mut headers);
        let parsed = response
            .parse(incoming)
            .map_err(|error| Status::unavailable(format!("the answer is no HTTP: {error}")))?;
        let (httparse::Status::Complete(head_bytes), Some(status)) = (parsed, response.code) else {
            return Ok(None);
        };
        let headers = response.headers;
        let is = |name, expected: &str| {
            value(headers, name).is_some_and(|value| value.eq_ignore_ascii_case(expected))
        };
        let body_bytes = value(headers, "content-length").and_then(|text| text.parse().ok());
        Ok(Some(Self {
            status,
            head_bytes,
            body_bytes: body_bytes.unwrap_or(0),
            reason: value(headers, REFUSED_HEADER).map(str::to_owned),
            upgraded: is("upgrade", "websocket")
                && value(headers, "sec-websocket-accept") == Some(accept),
        }))
    }
}

fn value<'a>(headers: &[Header<'a>], name: &str) -> Option<&'a str> {
    let header = headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case(name))?;
    Some(str::from_utf8(header.value).ok()?.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standards_example_is_understood() {
        let accept = expected("dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        let text = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\n\
                    Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
        for end in 0..text.len() {
            let part = Answer::parse(&text.as_bytes()[..end], &accept).unwrap();
            assert!(part.is_none(), "{end}");
        }
        let answer = Answer::parse(text.as_bytes(), &accept).unwrap().unwrap();
        assert!(answer.upgraded && answer.status == 101 && answer.head_bytes == text.len());
        let other = Answer::parse(text.as_bytes(), "another").unwrap().unwrap();
        assert!(!other.upgraded);
    }

    #[test]
    fn the_reason_of_a_refusal_is_read_from_its_head() {
        let text = "HTTP/1.1 503 Service Unavailable\r\nHubmeter-Refused: it starts\r\n\r\n";
        let answer = Answer::parse(text.as_bytes(), "").unwrap().unwrap();
        assert_eq!(answer.reason.as_deref(), Some("it starts"));
    }

    #[test]
    fn an_answer_that_is_no_http_is_refused_at_once() {
        assert!(Answer::parse(b"SSH-2.0-OpenSSH_9.2\r\n", "").is_err());
    }
}
