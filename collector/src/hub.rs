//! The hub: its REST API's only caller.
//!
//! Everything the collector knows about people and servers beyond what agents say comes through
//! [`client::HubClient`]. Answers are bounded, requests have deadlines, redirects are not
//! followed. The collector itself never writes to the hub; only the command `cull` does, by
//! [`stop`].

mod auth_state;
pub mod client;
pub mod everybody;
mod pages;
pub mod reach;
pub mod servers;
pub mod spawns;
pub mod stop;
pub mod users;

/// Why the hub could not answer a question.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// The settings do not make a client.
    #[error("cannot set up the hub client for {url}: {why}")]
    Setup {
        /// The API's address.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// No answer: refused, timed out, cut.
    #[error("no answer from the hub to {what}: {source}")]
    Unreachable {
        /// The question.
        what: &'static str,
        /// What happened.
        #[source]
        source: reqwest::Error,
    },
    /// An answer that is neither yes nor no.
    #[error("the hub answered {what} with status {status}")]
    Status {
        /// The question.
        what: &'static str,
        /// The HTTP status.
        status: u16,
    },
    /// Larger than any honest answer.
    #[error("the hub's answer to {what} is larger than {limit_bytes} bytes")]
    TooLarge {
        /// The question.
        what: &'static str,
        /// The bound.
        limit_bytes: usize,
    },
    /// Not what the API's documentation promises.
    #[error("the hub's answer to {what} cannot be read: {why}")]
    Malformed {
        /// The question.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::client::HubClient;
    use crate::{config, limits};

    /// Asks a hub at `addr`.
    pub(super) fn client_of(addr: SocketAddr) -> HubClient {
        HubClient::new(config::Hub {
            api_url: format!("http://{addr}/hub/api"),
            api_token: config::Secret::new("secret".to_owned()),
            host: String::new(),
            base_url: "/".to_owned(),
            service_name: "hubmeter".to_owned(),
            service_prefix: "/services/hubmeter/".to_owned(),
            client_id: "service-hubmeter".to_owned(),
            oauth_callback_url: "/x".to_owned(),
            people_interval: limits::HUB_PEOPLE_INTERVAL,
        })
        .unwrap()
    }
}
