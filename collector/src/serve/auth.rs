//! Who asks: a bearer token, or a browser that went through the hub's login.
//!
//! The hub decides who a token is; we ask again after a minute, and when the hub's own session
//! cookie changed (a logout there ends us too). Tokens are kept as SHA-256, except a browser's,
//! which we hold for it: its cookie is a random name of that and nothing else.

use std::sync::Arc;

use axum::http::{HeaderMap, header};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use moka::future::Cache;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use crate::{
    config::Secret,
    hub::{
        HubError,
        client::HubClient,
        users::{Identity, IdentityKind},
    },
    limits::{TOKEN_BYTES_MAX, TOKEN_FRESH, VERIFY_CONCURRENT_MAX},
    stats::{Count, Stats},
};

/// Tokens remembered: every server of the largest hub we measure would be 50,000, but only people
/// and scripts come here.
const KNOWN_MAX: u64 = 20_000;
/// Tokens remembered as nobody's. Separate, so that a flood of invented ones pushes out no known.
const REFUSED_MAX: u64 = 2_000;
/// Browsers logged in at once.
const SESSIONS_MAX: u64 = 20_000;
/// How long a browser stays logged in: as long as the hub's OAuth tokens do.
const SESSION_KEPT: std::time::Duration = std::time::Duration::from_secs(14 * 24 * 60 * 60);
/// Our cookie. Its path is our prefix, so that two collectors on one host do not mix.
pub(crate) const SESSION_COOKIE: &str = "hubmeter-session";
/// The hub's cookie that changes with its login.
const HUB_SESSION_COOKIE: &str = "jupyterhub-session-id";
/// Random bytes of what must not be guessed.
const RANDOM_BYTES: usize = 32;

/// What a request brought along to say who sent it.
#[derive(Clone, Debug)]
pub(crate) struct Credential {
    token: Secret,
    hub_session: Option<Secret>,
    /// It is a browser's, from our own exchange with the hub.
    pub(crate) browser: bool,
}

/// SHA-256 of a credential.
pub(crate) type Fingerprint = [u8; 32];

/// Why nobody can be told.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum AuthError {
    /// The hub does not know the token.
    #[error("the hub does not know this token")]
    Unknown,
    /// The hub was asked and did not say yes or no.
    #[error("{0}")]
    Hub(Arc<HubError>),
}

/// Answers who a credential is.
#[derive(Debug)]
pub(crate) struct Verifier {
    hub: HubClient,
    stats: Stats,
    known: Cache<Fingerprint, Arc<Identity>>,
    refused: Cache<Fingerprint, ()>,
    asking: Semaphore,
}

/// Browsers that are logged in, by the SHA-256 of their cookie. Gone with the process: the hub
/// logs a browser in again without asking its person.
#[derive(Debug)]
pub(crate) struct Sessions(Cache<Fingerprint, Secret>);

// === impl Credential ===

impl Credential {
    /// What the request brought: the header before the cookie. A header that is no bearer token
    /// is no credential, whatever cookie stands beside it.
    pub(crate) async fn of(headers: &HeaderMap, sessions: &Sessions) -> Option<Self> {
        let hub_session = cookie_value(headers, HUB_SESSION_COOKIE).map(Secret::new);
        if let Some(authorization) = headers.get(header::AUTHORIZATION) {
            return Some(Self {
                token: bearer(authorization.to_str().ok()?)?,
                hub_session: None,
                browser: false,
            });
        }
        if is_foreign_script(headers) {
            return None;
        }
        let cookie = cookie_value(headers, SESSION_COOKIE)?;
        Some(Self {
            token: sessions.find(&cookie).await?,
            hub_session,
            browser: true,
        })
    }

    /// A browser's, from the token that our exchange brought.
    pub(crate) fn of_browser(token: &str, headers: &HeaderMap) -> Self {
        Self {
            token: Secret::new(token.to_owned()),
            hub_session: cookie_value(headers, HUB_SESSION_COOKIE).map(Secret::new),
            browser: true,
        }
    }

    /// Names it without showing it.
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        let mut hash = Sha256::new();
        hash.update(self.token.expose());
        hash.update([0]);
        hash.update(self.hub_session.as_ref().map_or("", Secret::expose));
        hash.finalize().into()
    }
}

/// `token X` or `Bearer X`, in any case.
pub(super) fn bearer(authorization: &str) -> Option<Secret> {
    let (scheme, token) = authorization.trim().split_once(' ')?;
    let token = token.trim();
    let known = scheme.eq_ignore_ascii_case("token") || scheme.eq_ignore_ascii_case("bearer");
    let usable = !token.is_empty() && token.len() <= TOKEN_BYTES_MAX;
    (known && usable).then(|| Secret::new(token.to_owned()))
}

/// A cookie counts only for our own page and for a person who opens an address, not for a script
/// of somebody else's page that the browser says so of.
fn is_foreign_script(headers: &HeaderMap) -> bool {
    let said = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let foreign = matches!(said("sec-fetch-site"), Some("cross-site" | "same-site"));
    foreign && said("sec-fetch-mode") != Some("navigate")
}

/// The value of the cookie `name`, the first if there are several.
pub(crate) fn cookie_value(headers: &HeaderMap, name: &str) -> Option<String> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(cookie::Cookie::split_parse)
        .filter_map(Result::ok)
        .find(|cookie| cookie.name() == name)
        .map(|cookie| cookie.value().to_owned())
}

/// Something nobody can guess, fit for cookies and addresses.
pub(crate) fn unguessable() -> Result<String, getrandom::Error> {
    let mut bytes = [0; RANDOM_BYTES];
    getrandom::fill(&mut bytes)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

// === impl Verifier ===

impl Verifier {
    pub(crate) fn new(hub: HubClient, stats: Stats) -> Self {
        Self {
            hub,
            stats,
            known: fresh_cache(KNOWN_MAX),
            refused: fresh_cache(REFUSED_MAX),
            asking: Semaphore::new(VERIFY_CONCURRENT_MAX),
        }
    }

    /// The hub we ask.
    pub(crate) fn hub(&self) -> &HubClient {
        &self.hub
    }

    /// Who `credential` is. Asked once for all that wait for the same answer.
    pub(crate) async fn identify(
        &self,
        credential: &Credential,
    ) -> Result<Arc<Identity>, AuthError> {
        let fingerprint = credential.fingerprint();
        if self.refused.contains_key(&fingerprint) {
            return Err(AuthError::Unknown);
        }
        let asked = self.known.try_get_with(fingerprint, self.ask(credential));
        let answer = asked.await.map_err(|e: Arc<AuthError>| (*e).clone());
        if matches!(answer, Err(AuthError::Unknown)) {
            self.refused.insert(fingerprint, ()).await;
        }
        answer
    }

    /// Forgets a token that its browser gave back.
    pub(crate) async fn forget(&self, credential: &Credential) {
        self.known.invalidate(&credential.fingerprint()).await;
    }

    async fn ask(&self, credential: &Credential) -> Result<Arc<Identity>, AuthError> {
        // The semaphore is never closed.
        let _asking = self.asking.acquire().await;
        self.stats.count(Count::HubQuestions);
        match self.hub.whoami(credential.token.expose()).await {
            Ok(Some(identity)) if identity.kind == IdentityKind::Unknown => Err(AuthError::Unknown),
            Ok(Some(identity)) => Ok(Arc::new(identity)),
            Ok(None) => Err(AuthError::Unknown),
            Err(error) => {
                self.stats.count(Count::HubFailures);
                Err(AuthError::Hub(Arc::new(error)))
            }
        }
    }
}

fn fresh_cache<V: Clone + Send + Sync + 'static>(entries_max: u64) -> Cache<Fingerprint, V> {
    Cache::builder()
        .max_capacity(entries_max)
        .time_to_live(TOKEN_FRESH)
        .build()
}

// === impl Sessions ===

impl Sessions {
    pub(crate) fn new() -> Self {
        let sessions = Cache::builder().max_capacity(SESSIONS_MAX);
        Self(sessions.time_to_live(SESSION_KEPT).build())
    }

    /// Holds `token` and returns the cookie value that stands for it.
    pub(crate) async fn open(&self, token: &str) -> Result<String, getrandom::Error> {
        let cookie = unguessable()?;
        let token = Secret::new(token.to_owned());
        self.0.insert(fingerprint(&cookie), token).await;
        Ok(cookie)
    }

    /// Ends the login that `cookie` stands for.
    pub(crate) async fn close(&self, cookie: &str) {
        self.0.invalidate(&fingerprint(cookie)).await;
    }

    async fn find(&self, cookie: &str) -> Option<Secret> {
        self.0.get(&fingerprint(cookie)).await
    }
}

fn fingerprint(text: &str) -> Fingerprint {
    Sha256::digest(text).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    async fn token_of(pairs: &[(&'static str, &str)], sessions: &Sessions) -> Option<String> {
        let credential = Credential::of(&headers(pairs), sessions).await?;
        Some(credential.token.expose().to_owned())
    }

    #[tokio::test]
    async fn a_bearer_token_is_taken_in_every_spelling_the_hub_takes() {
        let sessions = Sessions::new();
        for spelling in ["token abc", "Token abc", "bearer abc", "BEARER   abc "] {
            let token = token_of(&[("authorization", spelling)], &sessions).await;
            assert_eq!(token.as_deref(), Some("abc"), "{spelling}");
        }
        let long = format!("token {}", "a".repeat(TOKEN_BYTES_MAX + 1));
        for spelling in ["abc", "Basic abc", "token ", "token", "", &long] {
            let token = token_of(&[("authorization", spelling)], &sessions).await;
            assert_eq!(token, None, "{spelling}");
        }
    }

    #[tokio::test]
    async fn a_cookie_stands_for_the_token_until_logout_and_never_shows_it() {
        let sessions = Sessions::new();
        let cookie = sessions.open("secret").await.unwrap();
        assert!(!cookie.contains("secret"));
        let pair = format!("other=1; {SESSION_COOKIE}={cookie}");
        let pairs = [("cookie", pair.as_str())];
        assert_eq!(token_of(&pairs, &sessions).await.as_deref(), Some("secret"));
        sessions.close(&cookie).await;
        assert_eq!(token_of(&pairs, &sessions).await, None);
    }

    #[tokio::test]
    async fn a_script_of_another_site_cannot_use_the_cookie_and_a_bad_header_hides_it() {
        let sessions = Sessions::new();
        let cookie = sessions.open("secret").await.unwrap();
        let pair = format!("{SESSION_COOKIE}={cookie}");
        for (site, mode, counts) in [
            ("same-origin", "cors", true),
            ("none", "navigate", true),
            ("cross-site", "navigate", true),
            ("cross-site", "no-cors", false),
            ("same-site", "cors", false),
        ] {
            let pairs = [
                ("cookie", pair.as_str()),
                ("sec-fetch-site", site),
                ("sec-fetch-mode", mode),
            ];
            let token = token_of(&pairs, &sessions).await;
            assert_eq!(token.is_some(), counts, "{site} {mode}");
        }
        let pairs = [("cookie", pair.as_str()), ("authorization", "Basic eA==")];
        assert_eq!(token_of(&pairs, &sessions).await, None);
    }

    #[tokio::test]
    async fn a_new_login_at_the_hub_is_another_fingerprint() {
        let sessions = Sessions::new();
        let cookie = sessions.open("secret").await.unwrap();
        let mut seen = Vec::new();
        for hub in ["a", "b"] {
            let pair = format!("{SESSION_COOKIE}={cookie}; {HUB_SESSION_COOKIE}={hub}");
            let headers = headers(&[("cookie", &pair)]);
            let credential = Credential::of(&headers, &sessions).await.unwrap();
            assert!(!format!("{credential:?}").contains("secret"));
            seen.push(credential.fingerprint());
        }
        assert_ne!(seen[0], seen[1]);
    }
}
