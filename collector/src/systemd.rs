//! Telling the service manager how it goes: `sd_notify` without its library.

use std::os::{
    linux::net::SocketAddrExt as _,
    unix::net::{SocketAddr, UnixDatagram},
};

/// We serve.
pub const READY: &str = "READY=1";
/// We are on the way down.
pub const STOPPING: &str = "STOPPING=1";

/// Says `state` to the service manager, if there is one that listens.
pub fn notify(state: &str) {
    let Some(address) = std::env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    let address = address.to_string_lossy();
    let address = match address.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(&*address),
    };
    let sent = address
        .and_then(|address| UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address));
    if let Err(e) = sent {
        tracing::warn!(error = %e, "the service manager does not listen");
    }
}
