//! Notices to a web service of the admin's choice.
//!
//! The name is resolved once and that address is connected to, so a name that changes its mind
//! between check and use gains nothing. No redirects, no proxy, little time; the answer's body is
//! drained to a bound and never shown.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use reqwest::{Url, redirect};
use sha2::{Digest, Sha256};

use super::{Notice, WebhookBody, WebhookConfig, body::body_of};

/// Time for everything, from the name's resolution to the answer's end.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes of an answer that are read, so that the service can end its work in peace.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Bytes of the address's digest in the channel's name.
const CHANNEL_DIGEST_BYTES: usize = 6;

/// Where Alertmanager takes alerts.
const ALERTS_PATH: &str = "/api/v2/alerts";

/// Posts to one web service.
pub(super) struct Webhook {
    url: Url,
    allow_private: bool,
    body: WebhookBody,
    channel: String,
}

/// Why a web service could not be told. The address may hold a secret, so only its host is said.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// The setting is no address.
    #[error("notice.webhook: not an http or https address")]
    Address,
    /// Plain http to somewhere public.
    #[error("notice.webhook: http to {host} is refused; use https")]
    Plain {
        /// Where it would have gone.
        host: String,
    },
    /// The name does not resolve.
    #[error("cannot resolve {host}")]
    Resolve {
        /// Whose name.
        host: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// The name has no address.
    #[error("{host} has no address")]
    Nowhere {
        /// Whose name.
        host: String,
    },
    /// The address is inside.
    #[error("{host} is at {address}, which is not public; set allow_private if that is meant")]
    Private {
        /// Whose name.
        host: String,
        /// What it resolves to.
        address: IpAddr,
    },
    /// The connection or the request failed.
    #[error("cannot post to {host}")]
    Post {
        /// Where.
        host: String,
        /// What went wrong, without the address.
        source: reqwest::Error,
    },
    /// The service answered something else than success.
    #[error("{host} answered {status}")]
    Status {
        /// Who.
        host: String,
        /// What.
        status: u16,
    },
    /// It took too long.
    #[error("{host} took longer than {} s", TIMEOUT.as_secs())]
    TimedOut {
        /// Who.
        host: String,
    },
}

// === impl Webhook ===

impl Webhook {
    pub(super) fn new(config: &WebhookConfig) -> Result<Self, WebhookError> {
        let mut url: Url = config.url.parse().map_err(|_| WebhookError::Address)?;
        let host = url.host_str().ok_or(WebhookError::Address)?.to_owned();
        match url.scheme() {
            "https" => {}
            "http" if config.allow_private => {}
            "http" => {
                return Err(WebhookError::Plain { host });
            }
            _ => return Err(WebhookError::Address),
        }
        let digest = Sha256::digest(url.as_str());
        if config.body == WebhookBody::Alertmanager && !url.path().ends_with(ALERTS_PATH) {
            let path = format!("{}{ALERTS_PATH}", url.path().trim_end_matches('/'));
            url.set_path(&path);
        }
        let hex: String = digest
            .iter()
            .take(CHANNEL_DIGEST_BYTES)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Ok(Self {
            channel: format!("{}-{hex}", config.body.as_str()),
            body: config.body,
            url,
            allow_private: config.allow_private,
        })
    }

    /// Its name in the outbox; an address may hold a secret, so it is not the address.
    pub(super) fn channel(&self) -> &str {
        &self.channel
    }

    /// What it understands.
    pub(super) fn body(&self) -> WebhookBody {
        self.body
    }

    /// Returns once the service has answered with success.
    pub(super) async fn send(&self, notice: &Notice, now_ms: i64) -> Result<(), WebhookError> {
        tokio::time::timeout(TIMEOUT, self.post(notice, now_ms))
            .await
            .map_err(|_| WebhookError::TimedOut { host: self.host() })?
    }

    async fn post(&self, notice: &Notice, now_ms: i64) -> Result<(), WebhookError> {
        let failed = |source: reqwest::Error| WebhookError::Post {
            host: self.host(),
            source: source.without_url(),
        };
        let address = self.resolve().await?;
        // Whoever comes first installs it; it is the same one everywhere.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .redirect(redirect::Policy::none())
            .no_proxy()
            .timeout(TIMEOUT)
            .resolve(self.url.host_str().unwrap_or_default(), address)
            .build()
            .map_err(failed)?;
        let body = body_of(self.body, notice, now_ms);
        let post = client.post(self.url.clone()).json(&body);
        let mut answer = post.send().await.map_err(failed)?;
        let status = answer.status();
        let mut read = 0;
        while read < ANSWER_BYTES_MAX {
            match answer.chunk().await {
                Ok(Some(chunk)) => read += chunk.len(),
                Ok(None) | Err(_) => break, // the status counts, and it is known
            }
        }
        if status.is_success() {
            return Ok(());
        }
        Err(WebhookError::Status {
            host: self.host(),
            status: status.as_u16(),
        })
    }

    /// The one address to connect to. All addresses of a name must be allowed: one that is both
    /// inside and outside is up to something.
    async fn resolve(&self) -> Result<SocketAddr, WebhookError> {
        let host = self.host();
        let port = self.url.port_or_known_default().unwrap_or(443);
        // An IPv6 literal wears brackets in a URL.
        let name = host.trim_start_matches('[').trim_end_matches(']');
        let found = tokio::net::lookup_host((name, port))
            .await
            .map_err(|source| WebhookError::Resolve {
                host: host.clone(),
                source,
            })?;
        let addresses: Vec<SocketAddr> = found.collect();
        for address in &addresses {
            self.check(address.ip())?;
        }
        addresses
            .first()
            .copied()
            .ok_or(WebhookError::Nowhere { host })
    }

    fn check(&self, address: IpAddr) -> Result<(), WebhookError> {
        let host = self.host();
        match reach(address) {
            Reach::Public if self.url.scheme() == "https" => Ok(()),
            Reach::Public => Err(WebhookError::Plain { host }),
            Reach::Private if self.allow_private => Ok(()),
            Reach::Private | Reach::Nowhere => Err(WebhookError::Private { host, address }),
        }
    }

    fn host(&self) -> String {
        self.url.host_str().unwrap_or_default().to_owned()
    }
}

// === addresses ===

/// Who can be behind an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// Anybody.
    Public,
    /// This machine, this network, or the cloud's own services.
    Private,
    /// Nobody that could take a POST.
    Nowhere,
}

fn reach(address: IpAddr) -> Reach {
    match address {
        IpAddr::V4(address) => reach_v4(address),
        IpAddr::V6(address) => reach_v6(address),
    }
}

fn reach_v4(address: Ipv4Addr) -> Reach {
    match address.octets() {
        // This network, multicast, reserved, broadcast.
        [0 | 224..=255, ..] => Reach::Nowhere,
        // Carrier-grade NAT, protocol assignments, benchmarks.
        [100, 64..=127, ..] | [192, 0, 0, _] | [198, 18..=19, ..] => Reach::Private,
        // Documentation.
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => Reach::Nowhere,
        _ if address.is_loopback() || address.is_private() || address.is_link_local() => {
            Reach::Private
        }
        _ => Reach::Public,
    }
}

fn reach_v6(address: Ipv6Addr) -> Reach {
    if let Some(mapped) = address.to_ipv4_mapped() {
        return reach_v4(mapped);
    }
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 1] => Reach::Private,
        // Unspecified and the old IPv4-compatible form; multicast; documentation.
        [0, 0, 0, 0, 0, 0, ..] | [0xff00..=0xffff, ..] | [0x2001, 0xdb8, ..] => Reach::Nowhere,
        // Translations of IPv4 (NAT64, 6to4, Teredo) lead wherever that leads.
        [0x64, 0xff9b, ..] | [0x2002, ..] | [0x2001, 0, ..] => Reach::Private,
        // Unique local, link-local, site-local.
        [0xfc00..=0xfdff, ..] | [0xfe80..=0xfeff, ..] => Reach::Private,
        // Only 2000::/3 is handed out.
        [0x2000..=0x3fff, ..] => Reach::Public,
        _ => Reach::Nowhere,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn webhook(url: &str, allow_private: bool) -> Result<Webhook, WebhookError> {
        Webhook::new(&WebhookConfig {
            url: url.to_owned(),
            allow_private,
            body: WebhookBody::Generic,
        })
    }

    #[tokio::test]
    async fn no_way_of_writing_an_inside_address_gets_out() {
        let evasions = [
            "127.0.0.1",
            "127.1",
            "2130706433",
            "0x7f000001",
            "0177.0.0.1",
            "0x7f.1",
            "localhost",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "0xa9fea9fe",
            "100.64.0.1",
            "192.0.0.192",
            "198.18.0.1",
            "0.0.0.0",
            "0",
            "255.255.255.255",
            "224.0.0.1",
            "[::1]",
            "[::]",
            "[::ffff:127.0.0.1]",
            "[::ffff:a9fe:a9fe]",
            "[::127.0.0.1]",
            "[64:ff9b::7f00:1]",
            "[2002:7f00:1::]",
            "[2001:0:7f00:1::]",
            "[fc00::1]",
            "[fd00:ec2::254]",
            "[fe80::1]",
            "[fec0::1]",
            "[ff02::1]",
            "[1::1]",
            "127.0.0.1%2f@example.org@127.0.0.1",
            "example.org@127.0.0.1",
            "①②⑦.⓪.⓪.①",
            "127。0。0。1",
        ];
        for evasion in evasions {
            let refused = match webhook(&format!("https://{evasion}/hook"), false) {
                Err(_) => true,
                Ok(webhook) => matches!(webhook.resolve().await, Err(WebhookError::Private { .. })),
            };
            assert!(refused, "{evasion}");
        }
    }

    #[test]
    fn plain_http_goes_only_where_it_was_allowed_and_private() {
        assert!(matches!(
            webhook("http://example.org/", false),
            Err(WebhookError::Plain { .. })
        ));
        let allowed = webhook("http://example.org/", true).unwrap();
        assert!(matches!(
            allowed.check(IpAddr::from([93, 184, 216, 34])),
            Err(WebhookError::Plain { .. })
        ));
        allowed.check(IpAddr::from([10, 0, 0, 1])).unwrap();
    }

    #[test]
    fn other_schemes_are_no_addresses() {
        for url in [
            "file:///etc/passwd",
            "gopher://x/",
            "ftp://x/",
            "x",
            "https://",
        ] {
            assert!(
                matches!(webhook(url, true), Err(WebhookError::Address)),
                "{url}"
            );
        }
    }

    #[test]
    fn public_addresses_are_public() {
        for address in ["93.184.216.34", "1.1.1.1", "2606:4700::1111"] {
            assert_eq!(reach(address.parse().unwrap()), Reach::Public, "{address}");
        }
    }
}
