//! Loopback ports: taken ones are named together with the flag that changes them.

use std::{
    net::{Ipv4Addr, TcpListener},
    ops::Range,
};

use anyhow::{Context, Result, bail};
use clap::Args;

/// Where free ports are looked for: below what the kernel gives to outgoing connections, so that
/// none of those takes one before it is listened on.
const FREE: Range<u16> = 20_000..32_000;

/// So far apart look processes whose ids are neighbours: more than one takes.
const APART: u32 = 97;

/// Where everything listens, all on 127.0.0.1.
#[derive(Args, Clone, Debug)]
pub(crate) struct Ports {
    /// Where people go: the hub's proxy (without a hub: the collector's page)
    #[arg(long = "port", default_value_t = 8000, value_name = "PORT")]
    pub(crate) public: u16,
    /// The hub's own API
    #[arg(long = "hub-port", default_value_t = 8081, value_name = "PORT")]
    pub(crate) hub: u16,
    /// The proxy's API
    #[arg(long = "proxy-port", default_value_t = 8001, value_name = "PORT")]
    pub(crate) proxy: u16,
    /// The collector's pages and API, behind the proxy
    #[arg(long = "service-port", default_value_t = 9640, value_name = "PORT")]
    pub(crate) service: u16,
    /// The collector's port for agents
    #[arg(long = "link-port", default_value_t = 9641, value_name = "PORT")]
    pub(crate) link: u16,
}

// === impl Ports ===

impl Ports {
    /// Five ports that are free now.
    pub(crate) fn free() -> Result<Self> {
        // All are held until the last is found, so that none is found twice.
        // Two that start at the same time have ids side by side, and must not look at the same place.
        let apart = std::process::id().wrapping_mul(APART);
        let first = u16::try_from(apart % u32::from(FREE.end - FREE.start))?;
        let held: Vec<TcpListener> = (FREE.start + first..FREE.end)
            .chain(FREE.start..FREE.start + first)
            .filter_map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok())
            .take(5)
            .collect();
        let ports: Vec<u16> = held
            .iter()
            .map(|l| l.local_addr().map(|a| a.port()))
            .collect::<Result<_, _>>()?;
        let [public, hub, proxy, service, link] = ports[..] else {
            bail!("no free port on 127.0.0.1");
        };
        Ok(Self {
            public,
            hub,
            proxy,
            service,
            link,
        })
    }

    /// Fails if one that a hub needs is taken.
    pub(crate) fn check_for_hub(&self) -> Result<()> {
        check(self.public, "--port")?;
        check(self.hub, "--hub-port")?;
        check(self.proxy, "--proxy-port")?;
        check(self.service, "--service-port")?;
        check(self.link, "--link-port")
    }

    /// Fails if one that a lone collector needs is taken.
    pub(crate) fn check_standalone(&self) -> Result<()> {
        check(self.public, "--port")?;
        check(self.link, "--link-port")
    }
}

/// One free port.
pub(crate) fn free_one() -> Result<u16> {
    let listener =
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port on 127.0.0.1")?;
    Ok(listener.local_addr()?.port())
}

fn check(port: u16, flag: &str) -> Result<()> {
    if let Err(error) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
        if error.kind() == std::io::ErrorKind::AddrInUse {
            bail!(
                "port {port} is in use: stop what listens there, or choose another with {flag} PORT"
            );
        }
        bail!("cannot listen on port {port} ({error}): choose another with {flag} PORT");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_named_with_the_flag_that_changes_it() {
        let held = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = held.local_addr().unwrap().port();
        let error = check(port, "--link-port").unwrap_err().to_string();
        assert!(
            error.contains(&port.to_string()) && error.contains("--link-port"),
            "{error}"
        );
    }

    #[test]
    fn free_ports_differ_from_each_other() {
        let p = Ports::free().unwrap();
        let all = std::collections::BTreeSet::from([p.public, p.hub, p.proxy, p.service, p.link]);
        assert_eq!(all.len(), 5);
    }
}
