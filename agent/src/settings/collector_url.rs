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

/// Why an address is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum CollectorUrlError {
    /// Neither of the schemes we know.
    #[error(
        "`{0}` is no collector address, write grpcs://host:port, grpc://host:port or unix:///path"
    )]
    Scheme(String),
    /// The other carrier.
    #[error("`{0}` asks for a WebSocket, but this build speaks gRPC only: write grpcs://host:port")]
    WebSocket(String),
    /// A pinned key.
    #[error(
        "`{0}` pins the collector's key, which this build cannot check: name its certificate in HUBMETER_CA_FILE and leave `#…` out"
    )]
    Pin(String),
    /// Host or port missing, or more than both.
    #[error("`{0}` needs a host and a port and nothing more, as in grpcs://hub.example.org:8443")]
    Authority(String),
    /// A socket without a full path.
    #[error("`{0}` needs an absolute path, as in unix:///run/hubmeter/link.sock")]
    Path(String),
    /// A token would travel in the clear.
    #[error(
        "`{0}` would send the server's token in the clear: use grpcs://, or set HUBMETER_ALLOW_PLAINTEXT=1 if the network itself is private"
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
            "ws" | "wss" => return Err(CollectorUrlError::WebSocket(shown())),
            "grpcs" | "grpc" | "unix" => {}
            _ => return Err(CollectorUrlError::Scheme(shown())),
        }
        if rest.contains('#') {
            return Err(CollectorUrlError::Pin(shown()));
        }
        if scheme == "unix" {
            let path = PathBuf::from(rest);
            if path.is_absolute() && path.file_name().is_some() {
                return Ok(Self::Unix { path });
            }
            return Err(CollectorUrlError::Path(shown()));
        }
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        let host = host_of(authority).ok_or_else(|| CollectorUrlError::Authority(shown()))?;
        let authority = authority.to_owned();
        if scheme == "grpcs" {
            return Ok(Self::Tls { authority });
        }
        if allow_plaintext || is_loopback(host) {
            return Ok(Self::Plain { authority });
        }
        Err(CollectorUrlError::Plaintext(shown()))
    }
}

impl fmt::Display for CollectorUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tls { authority } => write!(f, "grpcs://{authority}"),
            Self::Plain { authority } => write!(f, "grpc://{authority}"),
            Self::Unix { path } => write!(f, "unix://{}", path.display()),
        }
    }
}

/// The host in `host:port`, without the brackets of an IPv6 address.
fn host_of(authority: &str) -> Option<&str> {
    let (host, port) = authority.rsplit_once(':')?;
    port.parse::<u16>().ok().filter(|port| *port != 0)?;
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
        ] {
            assert!(matches!(
                CollectorUrl::parse(text, false),
                Err(CollectorUrlError::Plaintext(_))
            ));
            assert!(CollectorUrl::parse(text, true).is_ok());
        }
    }

    #[test]
    fn what_this_build_cannot_do_is_refused_in_a_sentence() {
        let error = CollectorUrl::parse("wss://hub/services/hubmeter/link", false).unwrap_err();
        assert!(
            error.to_string().contains("this build speaks gRPC only"),
            "{error}"
        );
        let error = CollectorUrl::parse("grpcs://hub:1#sha256:00", false).unwrap_err();
        assert!(error.to_string().contains("HUBMETER_CA_FILE"), "{error}");
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
        ] {
            assert!(CollectorUrl::parse(text, true).is_err(), "{text}");
        }
    }
}
