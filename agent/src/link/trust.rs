//! What the collector is known by: one key, the certificates of a file, or the machine's.
//!
//! A pinned key takes the place of authorities, names and dates: who shows another is not the
//! collector, whoever signed it. The machine's certificates are read when a collector shows its own
//! and let go when it is judged: kept for the life of a connection, as is usual, some 140 parsed
//! roots would be the largest single part of the agent's memory, for a question that is asked once
//! per connection.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use ring::digest::{SHA256, digest};
use rustls::{
    CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{self, CryptoProvider},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _},
};

use super::renewed;
use crate::settings::Pin;

pub(super) mod cryptography;

/// Bytes of a certificate file; the machine's own bundle of all there are has 250 kB.
const CA_BYTES_MAX: usize = 1024 * 1024;

/// What the collector is known by.
#[derive(Clone, Debug)]
pub(super) enum Trust {
    /// This key and no other.
    Key(Pin),
    /// These certificates, PEM.
    Authorities(Arc<[u8]>),
    /// The machine's certificates.
    Machine,
}

/// Why there is nothing to know it by.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The certificate file cannot be read.
    #[error("cannot read the certificates in {}", path.display())]
    CaFile {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// The key at the other end is not the pinned one.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the collector shows the key {shown}, and its address in the settings names {pinned}")]
struct OtherKey {
    shown: Pin,
    pinned: Pin,
}

/// No certificate to judge by.
#[derive(Clone, Copy, Debug, thiserror::Error)]
enum NoRoots {
    #[error("no certificates found on this machine; HUBMETER_CA_FILE can name some")]
    Machine,
    #[error("HUBMETER_CA_FILE holds no certificate in PEM")]
    File,
}

/// Judges what a collector shows.
#[derive(Debug)]
struct Verifier {
    trust: Trust,
    provider: Arc<CryptoProvider>,
}

// === impl Trust ===

impl Trust {
    /// A pin goes before a file, a file before the machine's. The file is read anew for every
    /// connection: certificates are renewed under a running agent.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) async fn of(
        pin: Option<Pin>,
        ca_file: Option<&PathBuf>,
    ) -> Result<Self, TrustError> {
        match (pin, ca_file) {
            (Some(pin), _) => Ok(Self::Key(pin)),
            (None, Some(path)) => read(path).await.map(Self::Authorities),
            (None, None) => Ok(Self::Machine),
        }
    }

    /// As TLS asks for it.
    pub(super) fn verifier(self) -> Arc<dyn ServerCertVerifier> {
        Arc::new(Verifier {
            trust: self,
            provider: cryptography::provider(),
        })
    }
}

async fn read(path: &Path) -> Result<Arc<[u8]>, TrustError> {
    let read = renewed::read(path, CA_BYTES_MAX).await;
    let pem = read.map_err(|source| TrustError::CaFile {
        path: path.to_owned(),
        source,
    })?;
    Ok(pem.into())
}

// === impl Verifier ===

impl Verifier {
    /// The usual judge, by the roots of the moment.
    fn by_roots(
        &self,
        certificates: impl IntoIterator<Item = CertificateDer<'static>>,
        none: NoRoots,
    ) -> Result<Arc<WebPkiServerVerifier>, Error> {
        let mut roots = RootCertStore::empty();
        // Single ones that cannot be read are no reason to distrust the others.
        roots.add_parsable_certificates(certificates);
        if roots.is_empty() {
            return Err(other(none));
        }
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&self.provider))
            .build()
            .map_err(other)
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let judge = match &self.trust {
            Trust::Key(pin) => return same_key(end_entity, *pin),
            Trust::Authorities(pem) => {
                let certificates = CertificateDer::pem_slice_iter(pem).flatten();
                self.by_roots(certificates, NoRoots::File)?
            }
            Trust::Machine => {
                let certificates = rustls_native_certs::load_native_certs().certs;
                self.by_roots(certificates, NoRoots::Machine)?
            }
        };
        judge.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        crypto::verify_tls12_signature(message, cert, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        crypto::verify_tls13_signature(message, cert, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

fn same_key(end_entity: &CertificateDer<'_>, pinned: Pin) -> Result<ServerCertVerified, Error> {
    let certificate = webpki::EndEntityCert::try_from(end_entity)
        .map_err(|_| Error::from(CertificateError::BadEncoding))?;
    let digest = digest(&SHA256, &certificate.subject_public_key_info());
    let shown = digest.as_ref().try_into().map(Pin);
    let shown = shown.map_err(|_| Error::General("a digest of another length".to_owned()))?;
    if shown == pinned {
        return Ok(ServerCertVerified::assertion());
    }
    Err(other(OtherKey { shown, pinned }))
}

fn other(why: impl std::error::Error + Send + Sync + 'static) -> Error {
    CertificateError::Other(OtherError(Arc::new(why))).into()
}
