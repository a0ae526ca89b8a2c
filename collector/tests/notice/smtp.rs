//! A mail server that takes everything and shows what it took: SMTP over TCP, and as much of MIME
//! as is needed to read a notice the way a mail program does.

use std::{net::SocketAddr, sync::Arc};

use base64::{Engine, prelude::BASE64_STANDARD};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};

/// The server.
pub(crate) struct Sink {
    pub(crate) addr: SocketAddr,
    taken: Arc<Mutex<Taken>>,
}

#[derive(Default)]
struct Taken {
    refusals: usize,
    mails: Vec<Mail>,
}

/// One mail: the envelope, and the message read back.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mail {
    pub(crate) from: String,
    pub(crate) to: Vec<String>,
    pub(crate) headers: Vec<(String, String)>,
    body: String,
}

impl Sink {
    /// Answers DATA with 451 the first `refusals` times.
    pub(crate) async fn start(refusals: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let taken = Arc::new(Mutex::new(Taken {
            refusals,
            mails: vec![],
        }));
        let shared = taken.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(session(stream, shared.clone()));
            }
        });
        Self { addr, taken }
    }

    pub(crate) fn mails(&self) -> Vec<Mail> {
        self.taken.lock().mails.clone()
    }
}

async fn session(stream: TcpStream, taken: Arc<Mutex<Taken>>) {
    let mut stream = BufReader::new(stream);
    stream.write_all(b"220 sink ESMTP\r\n").await.unwrap();
    let mut mail = Mail::default();
    let mut line = String::new();
    loop {
        line.clear();
        if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
            return;
        }
        let command = line.trim_end();
        let answer = match command.split([' ', ':']).next().unwrap_or_default() {
            "EHLO" => "250-sink\r\n250 8BITMIME",
            "MAIL" => {
                mail.from = address(command);
                "250 ok"
            }
            "RCPT" => {
                mail.to.push(address(command));
                "250 ok"
            }
            "DATA" => {
                stream.write_all(b"354 go on\r\n").await.unwrap();
                let data = data(&mut stream).await;
                let mut taken = taken.lock();
                if taken.refusals > 0 {
                    taken.refusals -= 1;
                    "451 later"
                } else {
                    (mail.headers, mail.body) = message(&data);
                    taken.mails.push(std::mem::take(&mut mail));
                    "250 taken"
                }
            }
            "QUIT" => {
                stream.write_all(b"221 bye\r\n").await.unwrap();
                return;
            }
            "RSET" | "NOOP" => "250 ok",
            _ => "500 what",
        };
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream.write_all(b"\r\n").await.unwrap();
    }
}

async fn data(stream: &mut BufReader<TcpStream>) -> String {
    let mut data = String::new();
    let mut line = String::new();
    loop {
        line.clear();
        assert_ne!(stream.read_line(&mut line).await.unwrap(), 0, "cut in DATA");
        assert!(line.ends_with("\r\n"), "a bare line feed: {line:?}");
        match line.as_str() {
            ".\r\n" => return data,
            dotted => data.push_str(dotted.strip_prefix('.').unwrap_or(dotted)),
        }
    }
}

fn address(command: &str) -> String {
    let (_, rest) = command.split_once('<').unwrap();
    rest.split_once('>').unwrap().0.to_owned()
}

// === MIME ===

impl Mail {
    /// A header's value, decoded.
    pub(crate) fn header(&self, name: &str) -> String {
        let mut found = self.headers.iter().filter(|(known, _)| known == name);
        let (_, value) = found.next().unwrap_or_else(|| panic!("no {name}"));
        assert!(found.next().is_none(), "{name} twice");
        words(value)
    }

    /// The plain text part.
    pub(crate) fn text(&self) -> String {
        self.part("text/plain")
    }

    /// The HTML part.
    pub(crate) fn html(&self) -> String {
        self.part("text/html")
    }

    fn part(&self, kind: &str) -> String {
        let content = self.header("Content-Type");
        assert!(content.starts_with("multipart/alternative"), "{content}");
        let (_, rest) = content.split_once("boundary=\"").unwrap();
        let boundary = rest.split_once('"').unwrap().0;
        let parts: Vec<_> = self
            .body
            .split(&format!("--{boundary}"))
            .skip(1)
            .map(|part| message(part.trim_start_matches("\r\n")))
            .collect();
        assert_eq!(parts.len(), 3, "two parts and the end");
        let find = |headers: &[(String, String)], name: &str| {
            let found = headers.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| value.clone()).unwrap_or_default()
        };
        let (headers, body) = parts
            .iter()
            .find(|(headers, _)| find(headers, "Content-Type").starts_with(kind))
            .unwrap();
        let bytes = match find(headers, "Content-Transfer-Encoding").as_str() {
            "7bit" | "8bit" | "" => body.clone().into_bytes(),
            "base64" => {
                let joined: String = body.split_whitespace().collect();
                BASE64_STANDARD.decode(joined).unwrap()
            }
            "quoted-printable" => quoted(&body.replace("=\r\n", "")),
            other => panic!("{other}"),
        };
        String::from_utf8(bytes).unwrap().replace("\r\n", "\n")
    }
}

/// Unfolded headers and the body.
fn message(data: &str) -> (Vec<(String, String)>, String) {
    let (head, body) = data.split_once("\r\n\r\n").unwrap_or((data, ""));
    let unfolded = head.replace("\r\n ", " ").replace("\r\n\t", "\t");
    let header = |line: &str| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_owned(), value.trim().to_owned()))
    };
    let headers = unfolded.split("\r\n").filter_map(header).collect();
    (headers, body.to_owned())
}

fn quoted(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte == b'=' {
            let (hex, after) = rest.split_at(2);
            let hex = std::str::from_utf8(hex).unwrap();
            bytes.push(u8::from_str_radix(hex, 16).unwrap());
            rest = after;
        } else {
            bytes.push(byte);
        }
    }
    bytes
}

/// Encoded words of RFC 2047, as far as lettre writes them: UTF-8 in base64.
fn words(value: &str) -> String {
    let mut text = String::new();
    let mut encoded_before = false;
    for word in value.split(' ') {
        let encoded = word
            .strip_prefix("=?utf-8?b?")
            .and_then(|word| word.strip_suffix("?="));
        // The space between two encoded words is not part of the text.
        let joined = encoded_before && encoded.is_some();
        if !(text.is_empty() || joined) {
            text.push(' ');
        }
        match encoded {
            Some(encoded) => {
                let bytes = BASE64_STANDARD.decode(encoded).unwrap();
                text.push_str(&String::from_utf8(bytes).unwrap());
            }
            None => text.push_str(word),
        }
        encoded_before = encoded.is_some();
    }
    text
}
