//! A client that gets exactly so far and then says nothing.

use std::sync::Arc;

use anyhow::{Context, Result};
use axum::http::{Method, Request, Version};
use bytes::Bytes;
use h2::{SendStream, client::SendRequest};
use rustls::{
    ClientConfig, DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use tokio::{net::TcpStream, task::JoinHandle};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{super::hub, Collector, Stage};

/// What agents set theirs to.
const WINDOW_BYTES: u32 = 1024 * 1024;

/// Whatever has to be kept so that the connection stays. Nothing of it is used again.
pub(super) enum Client {
    Tcp { _held: TcpStream },
    Tls { _held: Box<TlsStream<TcpStream>> },
    Http2 { _held: Http2 },
}

pub(super) struct Http2 {
    _requests: SendRequest<Bytes>,
    _stream: Option<SendStream<Bytes>>,
    connection: JoinHandle<()>,
}

/// Takes any certificate: what is measured is the other end's memory.
#[derive(Debug)]
struct Anybody(CryptoProvider);

// === impl Client ===

impl Client {
    /// Gets to `stage` as agent `index`.
    pub(super) async fn open(collector: &Collector, stage: Stage, index: usize) -> Result<Self> {
        let tcp = TcpStream::connect(("127.0.0.1", collector.port())).await?;
        tcp.set_nodelay(true)?;
        if stage == Stage::Tcp {
            return Ok(Self::Tcp { _held: tcp });
        }
        let name = ServerName::try_from("hubmeter")?;
        let tls = connector()?.connect(name, tcp).await?;
        if stage == Stage::Tls {
            let _held = Box::new(tls);
            return Ok(Self::Tls { _held });
        }
        let (requests, connection) = h2::client::Builder::new()
            .initial_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .handshake(tls)
            .await?;
        let connection = tokio::spawn(async move {
            // It ends when the other side has enough, or with the client.
            let _ = connection.await;
        });
        // The other end's settings have come.
        let mut requests = requests.ready().await?;
        let stream = match stage {
            Stage::Stream => Some(request(&mut requests, index).await?),
            _ => None,
        };
        let _held = Http2 {
            _requests: requests,
            _stream: stream,
            connection,
        };
        Ok(Self::Http2 { _held })
    }
}

impl Drop for Http2 {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// Opens the link's stream and waits for the answer's headers: the token is good.
async fn request(requests: &mut SendRequest<Bytes>, index: usize) -> Result<SendStream<Bytes>> {
    let request = Request::builder()
        .method(Method::POST)
        .version(Version::HTTP_2)
        .uri("https://hubmeter/hubmeter.v1.Link/Stream")
        .header("te", "trailers")
        .header("content-type", "application/grpc")
        .header("authorization", format!("Bearer {}", hub::token(index)))
        .body(())?;
    let (answer, stream) = requests.send_request(request, false)?;
    let answer = answer.await.context("no answer to the stream")?;
    anyhow::ensure!(answer.status().is_success(), "{answer:?}");
    Ok(stream)
}

fn connector() -> Result<TlsConnector> {
    let provider = ring::default_provider();
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider.clone()))
        .with_safe_default_protocol_versions()?
        .dangerous() // rustls' word for a judge of one's own
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

// === impl Anybody ===

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
