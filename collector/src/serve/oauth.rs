//! A browser's login through the hub's OAuth: authorize, callback, logout.
//!
//! The state and the PKCE verifier stay with the browser, in a cookie that only the callback
//! sees and that is good once: nobody without a login can fill a table of ours. Cookies are
//! `SameSite=Lax`, not `Strict`: a login may begin at another site's page (the hub's own OAuth
//! provider), and a strict cookie would not come along on the way back. No route writes anything
//! by cookie alone.

use std::{fmt::Write as _, sync::Arc};

use axum::{
    extract::{RawQuery, State},
    http::{HeaderMap, HeaderName, StatusCode, Uri, header},
    response::{AppendHeaders, IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use cookie::{Cookie, SameSite, time::Duration};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    Site,
    auth::{self, AuthError, Credential, SESSION_COOKIE, Verifier},
    guard,
    problem::Problem,
    query::Query,
};

/// Time between leaving for the hub and coming back: a person may have to type a password.
const LOGIN_MINUTES_MAX: i64 = 10;
/// Bytes of an address to come back to; longer ones come back to the page itself.
const NEXT_BYTES_MAX: usize = 2048;
/// Characters of the state that name its cookie, so that two tabs may log in at once.
const STATE_NAME_CHARS: usize = 12;
/// Bytes of a code or state: the hub's are about 30 and ours 43.
const PARAMETER_BYTES_MAX: usize = 512;
/// Where the hub sends browsers back to, below our prefix.
pub(crate) const CALLBACK: &str = "oauth_callback";

/// What a browser keeps while it is at the hub.
#[derive(Serialize, Deserialize)]
struct Leave {
    state: String,
    verifier: String,
    next: String,
}

type Redirect = (StatusCode, AppendHeaders<Vec<(HeaderName, String)>>);

// === to the hub ===

/// Sends a browser to the hub's login, to come back to `uri`.
pub(crate) fn to_login(site: &Site, uri: &Uri, headers: &HeaderMap) -> Result<Redirect, Problem> {
    let hub = verifier(site)?.hub().settings();
    let no_random = |_| Problem::internal("the system gives no random numbers");
    let wanted = uri.path_and_query().map_or("", |it| it.as_str());
    let leave = Leave {
        state: auth::unguessable().map_err(no_random)?,
        verifier: auth::unguessable().map_err(no_random)?,
        next: local_address(&site.prefix, wanted)
            .unwrap_or(&site.prefix)
            .to_owned(),
    };
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(&leave.verifier));
    let mut to = hub.page("api/oauth2/authorize?response_type=code");
    for (name, value) in [
        ("client_id", hub.client_id.as_str()),
        ("redirect_uri", &hub.oauth_callback_url),
        ("state", &leave.state),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
    ] {
        // Writing into a string does not fail.
        let _ = write!(
            to,
            "&{name}={}",
            utf8_percent_encode(value, NON_ALPHANUMERIC)
        );
    }
    let json = serde_json::to_vec(&leave).map_err(|e| Problem::internal(e.to_string()))?;
    let cookie = Cookie::build((leave_cookie(&leave.state), URL_SAFE_NO_PAD.encode(json)))
        .path(format!("{}{CALLBACK}", site.prefix))
        .max_age(Duration::minutes(LOGIN_MINUTES_MAX));
    Ok(redirect(to, vec![set(cookie, headers)]))
}

// === back from the hub ===

/// `GET oauth_callback`: the hub sent a browser back with a code.
pub(crate) async fn callback(
    State(site): State<Arc<Site>>,
    RawQuery(raw): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let verifier = verifier(&site)?;
    let mut query = Query::parse(raw.as_deref())?;
    if query.take("error").is_some() {
        return Err(Problem::missing_scope("the hub refused this login"));
    }
    let state = parameter(&mut query, "state")?;
    let code = parameter(&mut query, "code")?;
    let leave = leave_of(&headers, &state)?;
    let hub = verifier.hub();
    let redirect_uri = &hub.settings().oauth_callback_url;
    let token = hub
        .exchange_code(&code, redirect_uri, &leave.verifier)
        .await
        .map_err(|error| {
            tracing::debug!(%error, "cannot finish a login");
            Problem::unavailable("the hub does not answer")
        })?
        .ok_or_else(|| Problem::unreadable("the hub no longer takes this code: log in again"))?;
    let credential = Credential::of_browser(&token, &headers);
    let identity = verifier
        .identify(&credential)
        .await
        .map_err(|error| match error {
            AuthError::Unknown => Problem::no_credential("the hub does not know its own token"),
            AuthError::Hub(_) => Problem::unavailable("the hub does not answer"),
        })?;
    let service = &hub.settings().service_name;
    if !guard::may_access(&identity, service) {
        let detail = format!("the hub does not grant access:services!service={service}");
        return Err(Problem::missing_scope(detail));
    }
    let opened = site.sessions.open(&token).await;
    let opened = opened.map_err(|_| Problem::internal("the system gives no random numbers"))?;
    let next = local_address(&site.prefix, &leave.next).unwrap_or(&site.prefix);
    let session = Cookie::build((SESSION_COOKIE, opened)).path(site.prefix.clone());
    let done = gone(leave_cookie(&state), format!("{}{CALLBACK}", site.prefix));
    let cookies = vec![set(session, &headers), set(done, &headers)];
    Ok(redirect(next.to_owned(), cookies).into_response())
}

/// `GET logout`: ends our login and goes on to the hub's logout, without which the next visit
/// would be logged in again at once.
pub(crate) async fn logout(
    State(site): State<Arc<Site>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let verifier = verifier(&site)?;
    let from = headers.get("sec-fetch-site").and_then(|v| v.to_str().ok());
    if matches!(from, Some("cross-site" | "same-site")) {
        return Err(Problem::missing_scope("another site's page sent this"));
    }
    if let Some(credential) = Credential::of(&headers, &site.sessions).await {
        verifier.forget(&credential).await;
    }
    if let Some(cookie) = auth::cookie_value(&headers, SESSION_COOKIE) {
        site.sessions.close(&cookie).await;
    }
    let cookie = gone(SESSION_COOKIE.to_owned(), site.prefix.clone());
    let to = verifier.hub().settings().page("logout");
    Ok(redirect(to, vec![set(cookie, &headers)]).into_response())
}

fn verifier(site: &Site) -> Result<&Verifier, Problem> {
    let verifier = site.verifier.as_ref();
    verifier.ok_or_else(|| Problem::not_found("there is no login without a hub"))
}

fn parameter(query: &mut Query, name: &'static str) -> Result<String, Problem> {
    match query.take(name) {
        Some(value) if value.len() <= PARAMETER_BYTES_MAX => Ok(value),
        Some(_) => Err(Problem::bad_value(name, format!("{name} is too long"))),
        None => Err(Problem::bad_value(name, format!("{name} is missing"))),
    }
}

fn leave_of(headers: &HeaderMap, state: &str) -> Result<Leave, Problem> {
    let leave = auth::cookie_value(headers, &leave_cookie(state))
        .and_then(|value| URL_SAFE_NO_PAD.decode(value).ok())
        .and_then(|json| serde_json::from_slice::<Leave>(&json).ok());
    leave.filter(|leave| leave.state == state).ok_or_else(|| {
        Problem::unreadable(
            "this login was begun in another browser or too long ago: open the page again",
        )
    })
}

fn leave_cookie(state: &str) -> String {
    let name: String = state
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .take(STATE_NAME_CHARS)
        .collect();
    format!("hubmeter-login-{name}")
}

// === addresses and cookies ===

/// `raw` if it is an address below `prefix` on this host, whatever a browser makes of it.
fn local_address<'a>(prefix: &str, raw: &'a str) -> Option<&'a str> {
    let path = raw.split(['?', '#']).next()?;
    let lower = path.to_ascii_lowercase();
    let plain = raw.len() <= NEXT_BYTES_MAX
        && raw.bytes().all(|b| b.is_ascii_graphic() && b != b'\\')
        && path.starts_with(prefix)
        && !path.contains("//")
        && !path.contains("/.")
        && !["%2e", "%2f", "%5c", "%00", "%0a", "%0d"]
            .iter()
            .any(|it| lower.contains(it))
        && !path.ends_with(CALLBACK)
        && !path.ends_with("logout");
    plain.then_some(raw)
}

fn redirect(to: String, cookies: Vec<String>) -> Redirect {
    let mut headers = vec![(header::LOCATION, to)];
    let set = cookies.into_iter();
    headers.extend(set.map(|cookie| (header::SET_COOKIE, cookie)));
    (StatusCode::FOUND, AppendHeaders(headers))
}

fn set(cookie: cookie::CookieBuilder<'_>, headers: &HeaderMap) -> String {
    cookie
        .http_only(true)
        .same_site(SameSite::Lax)
        .secure(came_by_https(headers))
        .build()
        .to_string()
}

fn gone(name: String, path: String) -> cookie::CookieBuilder<'static> {
    Cookie::build((name, "")).path(path).max_age(Duration::ZERO)
}

/// What the outermost proxy says it was asked by. A liar only changes their own cookie.
pub(crate) fn came_by_https(headers: &HeaderMap) -> bool {
    let proto = headers
        .get("x-forwarded-proto")
        .and_then(|v| v.to_str().ok());
    let first = proto.and_then(|proto| proto.split(',').next());
    first.is_some_and(|first| first.trim().eq_ignore_ascii_case("https"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_below_our_own_prefix_are_come_back_to() {
        let prefix = "/jh/services/hubmeter/";
        for good in [
            "/jh/services/hubmeter/",
            "/jh/services/hubmeter/?sort=-rss",
            "/jh/services/hubmeter/api/v1/servers?user=ann%40x.org",
        ] {
            assert_eq!(local_address(prefix, good), Some(good));
        }
        for bad in [
            "",
            "/",
            "//",
            "//evil.example",
            "///evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            "http://evil.example",
            "https:evil.example",
            "javascript:alert(1)",
            "data:text/html,x",
            "/jh/services/hubmeter",
            "/jh/services/hubmeterx/",
            "/jh/services/other/",
            "/jh/hub/home",
            "/jh/services/hubmeter/..",
            "/jh/services/hubmeter/../../user/bob/",
            "/jh/services/hubmeter/./x",
            "/jh/services/hubmeter/%2e%2e/x",
            "/jh/services/hubmeter/%2E%2E/x",
            "/jh/services/hubmeter/.%2e/x",
            "/jh/services/hubmeter//evil.example",
            "/jh/services/hubmeter/%2f%2fevil",
            "/jh/services/hubmeter/\\..\\x",
            "/jh/services/hubmeter/%5cx",
            "/jh/services/hubmeter/\r\nSet-Cookie: a=b",
            "/jh/services/hubmeter/\t/x",
            "/jh/services/hubmeter/ x",
            "/jh/services/hubmeter/%0d%0aX: y",
            "/jh/services/hubmeter/%00",
            "/jh/services/hubmeter/\u{202e}x",
            "/jh/services/hubmeter/ü",
            " /jh/services/hubmeter/",
            "\t//evil.example",
            "@evil.example",
            "/@evil.example",
            "evil.example/jh/services/hubmeter/",
            "//evil.example/jh/services/hubmeter/",
            "/jh/services/hubmeter/oauth_callback",
            "/jh/services/hubmeter/oauth_callback?code=x",
            "/jh/services/hubmeter/logout",
            "/JH/services/hubmeter/",
        ] {
            assert_eq!(local_address(prefix, bad), None, "{bad:?}");
        }
        let long = format!("{prefix}?{}", "a".repeat(NEXT_BYTES_MAX));
        assert_eq!(local_address(prefix, &long), None);
    }
}
