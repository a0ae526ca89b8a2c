//! The collector is known by its key: who shows another is not the collector, whoever signed it.
//!
//! A pin takes the place of authorities, names and dates: the collector's own certificate has none
//! worth checking. That the other side holds the key is still proven, by its signature.

use std::sync::Arc;

use rustls::{
    CertificateError, DigitallySignedStruct, Error, OtherError, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{self, CryptoProvider},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use sha2::{Digest as _, Sha256};

use crate::settings::Pin;

/// The key at the other end is not the pinned one.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the collector shows the key {shown}, and its address in the settings names {pinned}")]
struct OtherKey {
    shown: Pin,
    pinned: Pin,
}

/// Takes one key and no other.
#[derive(Debug)]
pub(super) struct PinnedKey {
    pin: Pin,
    provider: Arc<CryptoProvider>,
}

// === impl PinnedKey ===

impl PinnedKey {
    pub(super) fn new(pin: Pin) -> Self {
        Self {
            pin,
            provider: Arc::new(crypto::ring::default_provider()),
        }
    }
}

impl ServerCertVerifier for PinnedKey {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let certificate = webpki::EndEntityCert::try_from(end_entity)
            .map_err(|_| Error::from(CertificateError::BadEncoding))?;
        let shown = Pin(Sha256::digest(certificate.subject_public_key_info()).into());
        if shown == self.pin {
            return Ok(ServerCertVerified::assertion());
        }
        let other = OtherKey {
            shown,
            pinned: self.pin,
        };
        Err(CertificateError::Other(OtherError(Arc::new(other))).into())
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
