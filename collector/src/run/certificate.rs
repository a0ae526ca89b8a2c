//! The link's certificate: which, told to whom, and renewed.

use crate::{
    config::{Addr, Config},
    limits,
    link::certificate::{Certificate, CertificateError},
    socket::Socket,
};

/// What the link proves itself with; a Unix socket needs nothing.
pub(super) fn of_link(
    config: &Config,
    link: &Socket,
) -> Result<Option<Certificate>, CertificateError> {
    if let Some(tls) = &config.link.tls {
        return Certificate::of_files(tls).map(Some);
    }
    let Ok(Addr::Tcp(addr)) = link.addr() else {
        return Ok(None);
    };
    let (certificate, pin) = Certificate::own(&config.data_dir)?;
    let here = if addr.ip().is_unspecified() {
        // Whatever the agents' network calls this machine: its own name is the best guess.
        let name = rustix::system::uname();
        format!("{}:{}", name.nodename().to_string_lossy(), addr.port())
    } else {
        addr.to_string()
    };
    tracing::info!(
        HUBMETER_COLLECTOR = %format_args!("grpcs://{here}#{pin}"),
        "the link has a key of its own; agents trust it by this address"
    );
    Ok(Some(certificate))
}

/// Certificates are renewed under a running collector.
pub(super) async fn renew_for_ever(certificate: Certificate) {
    let mut ticks = tokio::time::interval(limits::CERTIFICATE_LOOK_INTERVAL);
    loop {
        ticks.tick().await;
        match certificate.renew() {
            Ok(true) => tracing::info!("the link's certificate was renewed"),
            Ok(false) => {}
            Err(e) => tracing::error!(error = %e, "the link's certificate stays the old one"),
        }
    }
}
