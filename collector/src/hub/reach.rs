//! How an HTTP API is reached: `http`, `https` and `http+unix` (JupyterHub 6 may hand out the last
//! one), with deadlines, and with the hub's internal certificates where it has some.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use percent_encoding::percent_decode_str;
use reqwest::{
    Certificate, Identity,
    header::{AUTHORIZATION, HeaderValue},
    redirect,
};

use crate::causes::chain;

/// A question to the hub takes no longer, connecting and reading the answer included.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Connecting alone.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// The hub is one single-threaded process: more idle connections would be held for nothing.
const IDLE_CONNECTIONS_MAX: usize = 4;

/// How an API is reached, beyond its address.
#[derive(Clone, Debug)]
pub struct Reach {
    /// A question takes no longer.
    pub request_timeout: Duration,
    /// Certificates for a hub with `internal_ssl`.
    pub internal: Option<InternalCerts>,
}

/// An API that can be asked.
#[derive(Clone)]
pub(crate) struct Api {
    pub(super) http: reqwest::Client,
    /// Its address as HTTP sees it, without a slash at the end.
    pub(super) base: String,
}

/// What `c.JupyterHub.internal_ssl` makes for the hub's own components; PEM.
#[derive(Clone, Debug)]
pub struct InternalCerts {
    identity: Vec<u8>,
    authority: Vec<u8>,
}

/// A file of certificates cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {}: {source}", path.display())]
pub struct CertsError {
    path: PathBuf,
    source: io::Error,
}

/// No answer to a question.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GetError {
    /// Refused, timed out, cut.
    #[error(transparent)]
    Http(reqwest::Error),
    /// Larger than any honest answer.
    #[error("it is larger than {0} bytes")]
    TooLarge(usize),
    /// It cannot even be asked.
    #[error("the token has characters that no header takes")]
    Token,
}

// === impl InternalCerts ===

impl InternalCerts {
    /// Reads them from where the hub wrote them (`internal-ssl` unless told otherwise).
    ///
    /// # Errors
    /// One of the files cannot be read.
    pub fn read(location: &Path) -> Result<Self, CertsError> {
        let file = |name: &str| {
            let path = location.join(name);
            fs::read(&path).map_err(|source| CertsError { path, source })
        };
        let mut identity = file("hub-internal/hub-internal.key")?;
        identity.push(b'\n');
        identity.extend(file("hub-internal/hub-internal.crt")?);
        Ok(Self {
            identity,
            authority: file("hub-ca/hub-ca.crt")?,
        })
    }
}

// === impl Reach ===

impl Default for Reach {
    fn default() -> Self {
        Self {
            request_timeout: REQUEST_TIMEOUT,
            internal: None,
        }
    }
}

impl Reach {
    /// The API at `url`. Nothing is asked yet.
    pub(crate) fn open(&self, url: &str) -> Result<Api, String> {
        // The first caller in the process decides; all of ours decide alike.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder()
            .timeout(self.request_timeout)
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .redirect(redirect::Policy::none())
            .no_proxy()
            .user_agent(concat!("hubmeter-collector/", env!("CARGO_PKG_VERSION")));
        if let Some(internal) = &self.internal {
            let unusable = |what: &str, e: &reqwest::Error| format!("{what}: {}", chain(e));
            let identity = Identity::from_pem(&internal.identity)
                .map_err(|e| unusable("hub-internal's key and certificate cannot be used", &e))?;
            let authority = Certificate::from_pem(&internal.authority)
                .map_err(|e| unusable("hub-ca's certificate cannot be used", &e))?;
            builder = builder.identity(identity).tls_certs_only([authority]);
        }
        let url = url.trim_end_matches('/');
        let (builder, base) = match url.split_once("://") {
            Some(("http" | "https", _)) => (builder, url.to_owned()),
            Some(("http+unix", rest)) => {
                let (socket, path) = rest.split_once('/').unwrap_or((rest, ""));
                let socket = percent_decode_str(socket)
                    .decode_utf8()
                    .map_err(|_| "the socket's path is not UTF-8".to_owned())?;
                let base = format!("http://localhost/{path}");
                let base = base.trim_end_matches('/').to_owned();
                (builder.unix_socket(socket.as_ref()), base)
            }
            _ => {
                let why = "it must start with http://, https:// or http+unix://";
                return Err(why.to_owned());
            }
        };
        reqwest::Url::parse(&base).map_err(|e| e.to_string())?;
        let http = builder.build().map_err(|e| chain(&e))?;
        Ok(Api { http, base })
    }
}

// === impl Api ===

impl Api {
    /// `GET path` with `token`: the status and the body, of which more than `bytes_max` is an
    /// error. For whoever asks somebody else than the hub.
    pub(crate) async fn get(
        &self,
        path: &str,
        token: &str,
        bytes_max: usize,
    ) -> Result<(u16, Vec<u8>), GetError> {
        let mut value =
            HeaderValue::from_str(&format!("token {token}")).map_err(|_| GetError::Token)?;
        value.set_sensitive(true);
        let request = self.http.get(format!("{}{path}", self.base));
        let sent = request.header(AUTHORIZATION, value).send().await;
        // Without the address: whoever tells it says of whom it is.
        let failed = |e: reqwest::Error| GetError::Http(e.without_url());
        let mut response = sent.map_err(failed)?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > bytes_max {
                return Err(GetError::TooLarge(bytes_max));
            }
            body.extend_from_slice(&chunk);
        }
        Ok((response.status().as_u16(), body))
    }
}
