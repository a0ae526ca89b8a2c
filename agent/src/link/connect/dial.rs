//! From an address to bytes that pass both ways: name look-up, TCP, TLS.

use std::{io, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream, lookup_host},
    time::timeout,
};
use tokio_rustls::TlsConnector;

use crate::link::{
    company::{Line, Wire},
    trust::{Trust, cryptography},
};

/// Addresses of one name that are tried: one or two of each family are usual.
const ADDRESSES_MAX: usize = 4;

/// Time for one of several addresses: a family that leads nowhere must leave time for the other.
const ADDRESS_TIMEOUT: Duration = Duration::from_millis(2_500);

/// What bytes pass over. One type for all, so that each carrier is compiled once.
pub(in crate::link) type Io = Box<dyn Bytes>;

/// Both ways.
pub(in crate::link) trait Bytes: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Bytes for T {}

/// Connects to `authority`, at `default_port` if it names none; with `trust` over TLS, in which
/// `protocol` is asked for.
pub(super) async fn tcp(
    authority: &str,
    default_port: u16,
    trust: Option<Trust>,
    protocol: &'static [u8],
) -> io::Result<(Io, Arc<Line>)> {
    let (host, port) = host_and_port(authority, default_port)?;
    let tcp = connect(host, port).await?;
    // A report is sent when it is there, not when another follows.
    tcp.set_nodelay(true)?;
    let wire = Wire::over(tcp)?;
    let line = Arc::clone(wire.line());
    let Some(trust) = trust else {
        return Ok((Box::new(wire), line));
    };
    let name = ServerName::try_from(host.to_owned())
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    let connector = TlsConnector::from(Arc::new(tls(trust, protocol)?));
    Ok((Box::new(connector.connect(name, wire).await?), line))
}

/// Connects to the socket at `path`.
pub(super) async fn unix(path: &Path) -> io::Result<Io> {
    Ok(Box::new(UnixStream::connect(path).await?))
}

/// The host bare, as a name look-up and TLS want it: an IPv6 address without its brackets.
fn host_and_port(authority: &str, default_port: u16) -> io::Result<(&str, u16)> {
    let invalid = || io::Error::new(io::ErrorKind::InvalidInput, "no host and port");
    let (host, rest) = match authority.strip_prefix('[') {
        Some(bracketed) => bracketed.split_once(']').ok_or_else(invalid)?,
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let port = match rest.strip_prefix(':') {
        Some(port) => port.parse().map_err(|_| invalid())?,
        None => default_port,
    };
    Ok((host, port))
}

async fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let addresses: Vec<SocketAddr> = lookup_host((host, port))
        .await?
        .take(ADDRESSES_MAX)
        .collect();
    let nowhere = || io::Error::new(io::ErrorKind::NotFound, "its name has no address");
    let (last, before) = addresses.split_last().ok_or_else(nowhere)?;
    for address in before {
        if let Ok(Ok(stream)) = timeout(ADDRESS_TIMEOUT, TcpStream::connect(address)).await {
            return Ok(stream);
        }
    }
    TcpStream::connect(last).await
}

fn tls(trust: Trust, protocol: &'static [u8]) -> io::Result<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(cryptography::provider())
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?;
    let mut config = builder
        .dangerous() // rustls' word for a judge of one's own, which `trust` is
        .with_custom_certificate_verifier(trust.verifier())
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_taken_out_of_an_authority_as_a_name_look_up_wants_it() {
        for (authority, host, port) in [
            ("hub.example.org:8443", "hub.example.org", 8443),
            ("hub.example.org", "hub.example.org", 443),
            ("10.0.0.1:1", "10.0.0.1", 1),
            ("[::1]:8443", "::1", 8443),
            ("[fd00::2]", "fd00::2", 443),
        ] {
            assert_eq!(host_and_port(authority, 443).unwrap(), (host, port));
        }
        for authority in ["hub:port", "[::1", "hub:70000"] {
            assert!(host_and_port(authority, 443).is_err(), "{authority}");
        }
    }

    #[tokio::test]
    async fn a_name_without_anybody_is_an_error_of_the_last_address() {
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = closed.local_addr().unwrap().port();
        drop(closed);
        let error = connect("127.0.0.1", port).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }
}
