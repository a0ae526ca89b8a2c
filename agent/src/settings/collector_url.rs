//! The collector's address.
//!
//! What this build cannot keep safe or cannot speak is refused in a sentence that says what to
//! write instead; nothing is silently weakened.

use std::{fmt, net::IpAddr, path::PathBuf};

/// An address the link can be opened to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CollectorUrl {
    /// gRPC over TLS.
    Tls {
        /// `host:port`.
        authority: String,
        /// The collector's key, which then is all that is trusted.
        pin: Option<Pin>,
    },
    /// A WebSocket, through whatever speaks HTTP/1.1.
    WebSocket {
        /// Over TLS.
        secure: bool,
        /// `host` or `host:port`.
        authority: String,
        /// From the root, as `/services/hubmeter/link`.
        path: String,
        /// The collector's key, which then is all that is trusted.
        pin: Option<Pin>,
    },
    /// gRPC in the clear.
    Plain {
        /// `host:port`.
        authority: String,
    },
    /// gRPC over a Unix socket.
    Unix {
        /// The socket.
        path: PathBuf,
    },
}

/// SHA-256 of the collector's public key (its `SubjectPublicKeyInfo`), as the collector prints it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Pin(pub [u8; 32]);

/// Why an address is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum CollectorUrlError {
    /// Neither of the schemes we know.
    #[error(
        "`{0}` is no collector address, write grpcs://host:port, wss://host/services/hubmeter/link, grpc://host:port or unix:///path"
    )]
    Scheme(String),
    /// Host or path missing.
    #[error("`{0}` needs a host and a path, as in wss://hub.example.org/services/hubmeter/link")]
    WebSocket(String),
    /// A pin that is none.
    #[error(
        "`{0}`: what follows `#` must be `sha256:` and the 64 hexadecimal digits that the collector prints at its start"
    )]
    Pin(String),
    /// A pin where no key is shown.
    #[error("`{0}` pins a key, but only grpcs:// and wss:// show one")]
    PinWithoutTls(String),
    /// Host or port missing, or more than both.
    #[error("`{0}` needs a host and a port and nothing more, as in grpcs://hub.example.org:8443")]
    Authority(String),
    /// A socket without a full path.
    #[error("`{0}` needs an absolute path, as in unix:///run/hubmeter/link.sock")]
    Path(String),
    /// A token would travel in the clear.
    #[error(
        "`{0}` would send the server's token in the clear: use grpcs:// or wss://, or set HUBMETER_ALLOW_PLAINTEXT=1 if the network itself is private"
    )]
    Plaintext(String),
}

// === impl CollectorUrl ===

impl CollectorUrl {
    /// Reads an address. Plaintext beyond loopback is taken only with `allow_plaintext`.
    ///
    /// # Errors
    /// Says what to write instead.
    pub fn parse(text: &str, allow_plaintext: bool) -> Result<Self, CollectorUrlError> {
        let shown = || text.to_owned();
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(CollectorUrlError::Scheme(shown()));
        };
        match scheme {
            "grpcs" | "grpc" | "unix" | "wss" | "ws" => {}
            _ => return Err(CollectorUrlError::Scheme(shown())),
        }
        let (rest, pin) = match rest.split_once('#') {
            None => (rest, None),
            Some(_) if !matches!(scheme, "grpcs" | "wss") => {
                return Err(CollectorUrlError::PinWithoutTls(shown()));
            }
            Some((rest, pin)) => {
                let pin = Pin::parse(pin).ok_or_else(|| CollectorUrlError::Pin(shown()))?;
                (rest, Some(pin))
            }
        };
        if scheme == "unix" {
            let path = PathBuf::from(rest);
            if path.is_absolute() && path.file_name().is_some() {
                return Ok(Self::Unix { path });
            }
            return Err(CollectorUrlError::Path(shown()));
        }
        if matches!(scheme, "wss" | "ws") {
            let (authority, path) = rest
                .find('/')
                .map(|at| rest.split_at(at))
                .filter(|(_, path)| path.len() > 1 && path.bytes().all(|b| b.is_ascii_graphic()))
                .ok_or_else(|| CollectorUrlError::WebSocket(shown()))?;
            // The port may be left to the scheme.
            let host = host_of(authority)
                .or_else(|| bare_host(authority))
                .ok_or_else(|| CollectorUrlError::WebSocket(shown()))?;
            let secure = scheme == "wss";
            if !secure && !allow_plaintext && !is_loopback(host) {
                return Err(CollectorUrlError::Plaintext(shown()));
            }
            return Ok(Self::WebSocket {
                secure,
                authority: authority.to_owned(),
                path: path.to_owned(),
                pin,
            });
        }
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        let host = host_of(authority).ok_or_else(|| CollectorUrlError::Authority(shown()))?;
        let authority = authority.to_owned();
        if scheme == "grpcs" {
            return Ok(Self::Tls { authority, pin });
        }
        if allow_plaintext || is_loopback(host) {
            return Ok(Self::Plain { authority });
        }
        Err(CollectorUrlError::Plaintext(shown()))
    }
}

impl CollectorUrl {
    /// What carries the messages there.
    #[must_use]
    pub fn carrier(&self) -> &'static str {
        match self {
            Self::WebSocket { .. } => "websocket",
            Self::Tls { .. } | Self::Plain { .. } | Self::Unix { .. } => "grpc",
        }
    }
}

impl fmt::Display for CollectorUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tls {
                authority,
                pin: None,
            } => write!(f, "grpcs://{authority}"),
            Self::Tls {
                authority,
                pin: Some(pin),
            } => write!(f, "grpcs://{authority}#{pin}"),
            Self::WebSocket {
                secure,
                authority,
                path,
                pin,
            } => {
                let scheme = if *secure { "wss" } else { "ws" };
                write!(f, "{scheme}://{authority}{path}")?;
                pin.map_or(Ok(()), |pin| write!(f, "#{pin}"))
            }
            Self::Plain { authority } => write!(f, "grpc://{authority}"),
            Self::Unix { path } => write!(f, "unix://{}", path.display()),
        }
    }
}

// === impl Pin ===

impl Pin {
    /// Reads `sha256:` and 64 hexadecimal digits.
    fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix("sha256:")?.as_bytes();
        let mut pin = [0; 32];
        if digits.len() != 2 * pin.len() {
            return None;
        }
        for (byte, pair) in pin.iter_mut().zip(digits.chunks_exact(2)) {
            let nibble = |digit: u8| char::from(digit).to_digit(16);
            let value = nibble(pair[0])? << 4 | nibble(pair[1])?;
            *byte = u8::try_from(value).ok()?;
        }
        Some(Self(pin))
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The host in `host:port`, without the brackets of an IPv6 address.
fn host_of(authority: &str) -> Option<&str> {
    let (host, port) = authority.rsplit_once(':')?;
    port.parse::<u16>().ok().filter(|port| *port != 0)?;
    bare_host(host)
}

/// A host without a port, without the brackets of an IPv6 address.
fn bare_host(host: &str) -> Option<&str> {
    if let Some(inner) = host.strip_prefix('[') {
        let inner = inner.strip_suffix(']')?;
        return inner.parse::<std::net::Ipv6Addr>().ok().map(|_| inner);
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    (!host.is_empty() && host.chars().all(plain)).then_some(host)
}

/// `localhost` is taken at its word; any other name could resolve to anything.
fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_shown_as_they_were_written() {
        for text in [
            "grpcs://hub.example.org:8443",
            concat!(
                "grpcs://10.0.0.1:8443#sha256:",
                "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
            ),
            "wss://hub.example.org/services/hubmeter/link",
            "wss://hub.example.org:8443/jh/services/hubmeter/link",
            "ws://127.0.0.1:8000/services/hubmeter/link",
            "ws://[::1]/services/hubmeter/link",
            "grpc://127.0.0.1:9000",
            "grpc://[::1]:9000",
            "grpc://localhost:9000",
            "unix:///run/hubmeter/link.sock",
        ] {
            let url = CollectorUrl::parse(text, false).unwrap();
            assert_eq!(url.to_string(), text);
        }
    }

    #[test]
    fn a_token_never_travels_in_the_clear_unless_somebody_said_so() {
        for text in [
            "grpc://10.0.0.1:9000",
            "grpc://hub:9000",
            "grpc://127.0.0.1.example.org:9000",
            "ws://hub/services/hubmeter/link",
        ] {
            assert!(matches!(
                CollectorUrl::parse(text, false),
                Err(CollectorUrlError::Plaintext(_))
            ));
            assert!(CollectorUrl::parse(text, true).is_ok());
        }
    }

    #[test]
    fn half_a_pin_pins_nothing_and_is_refused() {
        let digits = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
        for pin in [
            "",
            "sha256:",
            "sha256:00",
            digits,
            &format!("sha1:{digits}"),
            &format!("sha256:{digits}0"),
            &format!("sha256:{}", digits.replace('f', "g")),
            &format!("sha256:{}", digits.replacen("00", "é", 1)),
        ] {
            let error = CollectorUrl::parse(&format!("grpcs://hub:1#{pin}"), true).unwrap_err();
            assert!(matches!(error, CollectorUrlError::Pin(_)), "{pin}: {error}");
        }
        for url in ["grpc://localhost:1", "unix:///run/link.sock"] {
            let error = CollectorUrl::parse(&format!("{url}#sha256:{digits}"), true).unwrap_err();
            assert!(
                matches!(error, CollectorUrlError::PinWithoutTls(_)),
                "{error}"
            );
        }
    }

    #[test]
    fn half_an_address_is_refused() {
        for text in [
            "hub:9000",
            "http://hub:9000",
            "grpcs://",
            "grpcs://hub",
            "grpcs://hub:",
            "grpcs://hub:0",
            "grpcs://hub:99999",
            "grpcs://u@hub:1",
            "grpcs://hub:1/path",
            "grpcs://:1",
            "grpcs://[::1:1",
            "unix://relative",
            "unix:///",
            "wss://",
            "wss://hub",
            "wss://hub/",
            "wss:///link",
            "wss://hub:99999/link",
            "wss://u@hub/link",
            "wss://hub/li nk",
        ] {
            assert!(CollectorUrl::parse(text, true).is_err(), "{text}");
        }
    }
}
