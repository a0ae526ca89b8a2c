//! Certificates, the collector's own key, and plaintext beside TLS.

use std::sync::{Arc, Mutex};

use hubmeter_proto::v1;
use rustls::{
    DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use sha2::{Digest as _, Sha256};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};

use crate::rig::{Agent, Collector, hello, login};

#[tokio::test]
async fn agents_come_in_by_tls() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = |name| format!("{}/tests/link/tls/{name}", env!("CARGO_MANIFEST_DIR"));
    let environment = [
        (
            "HUBMETER_COLLECTOR_LINK_TLS_CERT_FILE",
            &*fixture("cert.pem"),
        ),
        ("HUBMETER_COLLECTOR_LINK_TLS_KEY_FILE", &*fixture("key.pem")),
    ];
    let flags = ["--standalone", "--link-listen", "127.0.0.1:0"];
    let collector = Collector::start(dir.path(), &flags, &environment).await;
    let certificate = std::fs::read(fixture("cert.pem")).unwrap();
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(certificate))
        .domain_name("localhost");
    let channel = Endpoint::from_shared(format!("https://{}", collector.link_addr()))
        .unwrap()
        .tls_config(tls)
        .unwrap()
        .connect()
        .await
        .unwrap();
    let mut agent = collector
        .connect_over(channel, None, hello(1, 1, 1))
        .await
        .unwrap();
    agent.welcome().await;
    agent.report(1).await;
    agent.receipt(1).await;
    // Who calls was told by the kernel, through TLS as well.
    let path = format!("/api/v1/users/{}/server", login());
    collector
        .until(&path, |server| server["user"] == login())
        .await;
}

#[tokio::test]
async fn without_a_certificate_the_collector_has_a_key_of_its_own_and_one_port_speaks_both() {
    let dir = tempfile::tempdir().unwrap();
    let flags = ["--standalone", "--link-listen", "127.0.0.1:0"];
    let mut pins = Vec::new();
    // The second life shows the same key: what agents were given stays true.
    for seq in 1..=2 {
        let collector = Collector::start(dir.path(), &flags, &[]).await;
        let shown = Arc::new(ShownKey::default());
        let mut agent = greeted(&collector, &shown, hello(1, seq, seq)).await;
        agent.report(seq).await;
        agent.receipt(seq).await;
        let told = collector.pin();
        assert_eq!(format!("sha256:{}", shown.sha256()), told);
        pins.push(told);

        let plain = Endpoint::from_shared(format!("http://{}", collector.link_addr()))
            .unwrap()
            .connect()
            .await
            .unwrap();
        let mut plain = collector
            .connect_over(plain, None, hello(2, seq, seq))
            .await
            .unwrap();
        plain.welcome().await;
    }
    assert_eq!(pins[0], pins[1]);
}

/// An agent by TLS that takes the key it is `shown`, past its Welcome.
pub(crate) async fn greeted(
    collector: &Collector,
    shown: &Arc<ShownKey>,
    hello: v1::Hello,
) -> Agent {
    let channel = Endpoint::from_shared(format!("https://{}", collector.link_addr()))
        .unwrap()
        .tls_config_with_verifier(ClientTlsConfig::new(), Arc::clone(shown) as _)
        .unwrap()
        .connect()
        .await
        .unwrap();
    let mut agent = collector.connect_over(channel, None, hello).await.unwrap();
    agent.welcome().await;
    agent
}

/// Takes any key and remembers which it was.
#[derive(Debug, Default)]
pub(crate) struct ShownKey(Mutex<Vec<u8>>);

impl ShownKey {
    fn sha256(&self) -> String {
        let certificate = CertificateDer::from(self.0.lock().unwrap().clone());
        let certificate = webpki::EndEntityCert::try_from(&certificate).unwrap();
        let digest = Sha256::digest(certificate.subject_public_key_info());
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl ServerCertVerifier for ShownKey {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        *self.0.lock().unwrap() = end_entity.to_vec();
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}
