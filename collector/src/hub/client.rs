//! HTTP to the hub's API: one connection pool, deadlines, size caps.
//!
//! Speaks `http`, `https` and `http+unix` (JupyterHub 6 may hand out the last one).

use std::{fmt, sync::Arc, time::Duration};

use percent_encoding::percent_decode_str;
use reqwest::{Method, RequestBuilder, Response, StatusCode, redirect};
use serde::de::DeserializeOwned;

use super::HubError;
use crate::causes::chain;
use crate::{config, limits};

/// A question to the hub takes no longer, connecting and reading the answer included.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Connecting alone.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// The hub is one single-threaded process: more idle connections would be held for nothing.
const IDLE_CONNECTIONS_MAX: usize = 4;

/// The hub's REST API. Cheap to clone.
#[derive(Clone)]
pub struct HubClient {
    http: reqwest::Client,
    pub(super) hub: Arc<config::Hub>,
    /// The API's address as HTTP sees it, without a slash at the end.
    base: Arc<str>,
}

// === impl HubClient ===

impl HubClient {
    /// A client for the hub of these settings. Nothing is asked yet.
    ///
    /// # Errors
    /// The address is not one the client can speak to.
    pub fn new(hub: config::Hub) -> Result<Self, HubError> {
        let setup = |why: String| HubError::Setup {
            url: hub.api_url.clone(),
            why,
        };
        // The first caller in the process decides; all of ours decide alike.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = reqwest::Client::builder()
            .timeout(REQUEST_TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .redirect(redirect::Policy::none())
            .no_proxy()
            .user_agent(concat!("hubmeter-collector/", env!("CARGO_PKG_VERSION")));
        let api_url = hub.api_url.trim_end_matches('/');
        let (builder, base) = match api_url.split_once("://") {
            Some(("http" | "https", _)) => (builder, api_url.to_owned()),
            Some(("http+unix", rest)) => {
                let (socket, path) = rest.split_once('/').unwrap_or((rest, ""));
                let socket = percent_decode_str(socket)
                    .decode_utf8()
                    .map_err(|_| setup("the socket's path is not UTF-8".to_owned()))?;
                let base = format!("http://localhost/{path}");
                let base = base.trim_end_matches('/').to_owned();
                (builder.unix_socket(socket.as_ref()), base)
            }
            _ => {
                return Err(setup(
                    "it must start with http://, https:// or http+unix://".to_owned(),
                ));
            }
        };
        reqwest::Url::parse(&base).map_err(|e| setup(e.to_string()))?;
        let http = builder.build().map_err(|e| setup(chain(&e)))?;
        Ok(Self {
            http,
            base: base.into(),
            hub: Arc::new(hub),
        })
    }

    /// The settings it was made from.
    #[must_use]
    pub fn settings(&self) -> &config::Hub {
        &self.hub
    }

    /// A request for `path` below the API's address.
    pub(super) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base))
    }

    /// A request for `path` of the hub itself, where its API is at `/api` below.
    pub(super) fn beside_api(&self, method: Method, path: &str) -> RequestBuilder {
        let hub = self.base.strip_suffix("/api").unwrap_or(&self.base);
        self.http.request(method, format!("{hub}{path}"))
    }

    /// Sends `request` for text; `Ok(None)` when we may not read it.
    pub(super) async fn ask_text(
        &self,
        what: &'static str,
        request: RequestBuilder,
        limit_bytes: usize,
    ) -> Result<Option<String>, HubError> {
        let response = request
            .send()
            .await
            .map_err(|source| unreachable(what, source))?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => {
                return Ok(None);
            }
            status => {
                let status = status.as_u16();
                return Err(HubError::Status { what, status });
            }
        }
        let body = read_capped(what, response, limit_bytes).await?;
        Ok(Some(String::from_utf8_lossy(&body).into_owned()))
    }

    /// Sends `request`; `Ok(None)` when the status is one of `no`.
    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        what: &'static str,
        request: RequestBuilder,
        limit_bytes: usize,
        no: &[StatusCode],
    ) -> Result<Option<T>, HubError> {
        let response = request
            .send()
            .await
            .map_err(|source| unreachable(what, source))?;
        let status = response.status();
        if no.contains(&status) {
            return Ok(None);
        }
        if status != StatusCode::OK {
            return Err(HubError::Status {
                what,
                status: status.as_u16(),
            });
        }
        let body = read_capped(what, response, limit_bytes).await?;
        serde_json::from_slice(&body)
            .map(Some)
            .map_err(|e| HubError::Malformed {
                what,
                why: e.to_string(),
            })
    }
}

impl fmt::Debug for HubClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubClient")
            .field("base", &self.base)
            .finish_non_exhaustive()
    }
}

async fn read_capped(
    what: &'static str,
    mut response: Response,
    limit_bytes: usize,
) -> Result<Vec<u8>, HubError> {
    let mut body = Vec::with_capacity(limits::HUB_ANSWER_BYTES_USUAL.min(limit_bytes));
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|source| unreachable(what, source))?
    {
        if body.len() + chunk.len() > limit_bytes {
            return Err(HubError::TooLarge { what, limit_bytes });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Without the URL: its query could hold what must not reach a log.
fn unreachable(what: &'static str, source: reqwest::Error) -> HubError {
    HubError::Unreachable {
        what,
        source: source.without_url(),
    }
}
