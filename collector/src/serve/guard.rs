//! Who may see what: from what the hub says of a token to the rows it opens.
//!
//! Rows are filtered where they are read ([`Sight::sees`]), never after. A server's own token
//! never sees more than its user's rows, whoever the user is. `admin` counts only for a browser
//! that logged in through our own exchange with the hub.

use std::{collections::BTreeSet, ops::Bound, sync::Arc};

use axum::{
    extract::{FromRequestParts, Request, State},
    http::{HeaderMap, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::{
    Site,
    accept::Caller,
    auth::{AuthError, Credential, Fingerprint},
    oauth,
    problem::Problem,
};
use crate::{
    fact::ServerKey,
    hub::users::{Identity, IdentityKind},
    state::{Server, State as Truth},
    stats::Reject,
    text::Label,
};

mod hand;

pub(crate) use hand::{Hand, WORD_COOKIE, WRITE_ALL, Words};

/// The scope that opens all rows and the metrics.
const READ_ALL: &str = "custom:hubmeter:read:all";

/// Who may use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Everybody; the answer names nobody.
    Open,
    /// People with a browser: without a login they are sent to the hub's.
    Page,
    /// Whoever may see some rows; the answer holds only those.
    Rows,
    /// Whoever may see some rows and act for one of them: the handler looks whose it is. No browser
    /// does by its cookie alone.
    Own,
    /// Whoever may see every row: the answer is about all of them together.
    All,
    /// Whoever may read the collector's own figures.
    Metrics,
}

/// Somebody who was let in.
#[derive(Clone, Debug)]
pub(crate) struct Viewer {
    /// The user whose own rows these eyes see.
    pub(crate) user: Option<Arc<str>>,
    /// What these eyes see.
    pub(crate) sight: Sight,
    /// May read the collector's own figures.
    pub(crate) metrics: bool,
    /// Tells one login from another.
    pub(crate) session: Fingerprint,
    /// Who asks, for logs: a user or a service.
    pub(crate) name: Option<Arc<str>>,
    /// A person asks, or their server.
    pub(crate) person: bool,
    /// What may be changed.
    pub(crate) hand: Hand,
    /// A browser lends its login to whatever page it shows.
    pub(crate) browser: bool,
}

/// Rows that may be seen.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Sight {
    /// All of them.
    All,
    /// Some of them.
    Some(Box<Partial>),
}

/// Rows that may be seen by somebody who may not see all.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Partial {
    /// Everything of this user.
    own: Option<Arc<str>>,
    /// What our own scope opens.
    read_all: Reach,
    /// What the hub's scopes open: a row has to be within both.
    list_users: Reach,
    read_servers: Reach,
}

/// How far a scope reaches.
#[derive(Clone, Debug, Default, PartialEq)]
struct Reach {
    all: bool,
    users: BTreeSet<String>,
    groups: BTreeSet<String>,
    servers: BTreeSet<String>,
}

// === impl Viewer ===

impl Viewer {
    /// What the hub's word about a token opens; `browser` when the token came by our own exchange.
    fn of_hub(identity: &Identity, service: &str, browser: bool, session: Fingerprint) -> Self {
        let sight = Sight::of_hub(identity, service, browser);
        let metrics = identity.has_scope("read:metrics") || identity.has_scope(READ_ALL);
        Self {
            user: match (&sight, identity.kind) {
                (Sight::Some(partial), _) => partial.own.clone(),
                (Sight::All, IdentityKind::User) => Some(identity.name.as_str().into()),
                (Sight::All, _) => None,
            },
            metrics: metrics && !is_server_token(identity),
            name: Some(identity.name.as_str().into()),
            person: identity.kind == IdentityKind::User,
            hand: Hand::of_hub(identity, service, &sight, browser),
            sight,
            session,
            browser,
        }
    }

    /// What a local login opens; `browser` when one sent this.
    fn of_peer(Caller { peer, user, .. }: &Caller, browser: bool) -> Self {
        let mut session = [0; 32];
        session[..4].copy_from_slice(&peer.uid.to_be_bytes());
        let user: Arc<str> = user.as_str().into();
        let own = Partial {
            own: Some(user.clone()),
            ..Partial::default()
        };
        Self {
            hand: Hand::of_peer(&user, peer.is_root()),
            name: Some(user.clone()),
            person: true,
            browser,
            user: Some(user),
            sight: if peer.is_root() {
                Sight::All
            } else {
                Sight::Some(Box::new(own))
            },
            metrics: peer.is_root() || peer.uid == rustix::process::geteuid().as_raw(),
            session,
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Viewer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let viewer = parts.extensions.get::<Self>().cloned();
        viewer.ok_or_else(|| Problem::internal("nobody stands guard at this address"))
    }
}

// === impl Sight ===

impl Sight {
    fn of_hub(identity: &Identity, service: &str, browser: bool) -> Self {
        let own = || Some(Arc::from(identity.name.as_str()));
        if is_server_token(identity) {
            return Self::Some(Box::new(Partial {
                own: own(),
                ..Partial::default()
            }));
        }
        let person = identity.kind == IdentityKind::User;
        let reach = |scope: &str| Reach::of(identity, scope);
        let partial = Partial {
            own: if person && may_access(identity, service) {
                own()
            } else {
                None
            },
            read_all: reach(READ_ALL),
            list_users: reach("list:users"),
            read_servers: reach("read:servers"),
        };
        let by_scope = partial.list_users.all && partial.read_servers.all;
        let by_admin = browser && person && identity.admin && partial.own.is_some();
        if partial.read_all.all || by_scope || by_admin {
            return Self::All;
        }
        Self::Some(Box::new(partial))
    }

    /// Whether `server` may be seen.
    pub(crate) fn sees(&self, server: &Server) -> bool {
        self.sees_row(&server.key, &server.groups)
    }

    /// Whether rows of `key` may be seen, by what `truth` knows of its groups.
    pub(crate) fn sees_key(&self, key: &ServerKey, truth: &Truth) -> bool {
        let groups = truth.servers.get(key).map_or(&[][..], |s| &s.groups[..]);
        self.sees_row(key, groups)
    }

    /// Whether rows of a server that may be long gone may be seen: by what `truth` knows of its
    /// groups, else by what they were.
    pub(crate) fn sees_former(&self, key: &ServerKey, groups: &[Label], truth: &Truth) -> bool {
        let groups = truth.servers.get(key).map_or(groups, |s| &s.groups[..]);
        self.sees_row(key, groups)
    }

    fn sees_row(&self, key: &ServerKey, groups: &[Label]) -> bool {
        match self {
            Self::All => true,
            Self::Some(partial) => {
                partial.own.as_ref() == Some(&key.user)
                    || partial.read_all.covers(key, groups)
                    || (partial.list_users.covers(key, groups)
                        && partial.read_servers.covers(key, groups))
            }
        }
    }

    /// No row can ever be seen.
    fn is_blind(&self) -> bool {
        match self {
            Self::All => false,
            Self::Some(partial) => {
                let by_hub = partial.list_users.is_empty() || partial.read_servers.is_empty();
                partial.own.is_none() && partial.read_all.is_empty() && by_hub
            }
        }
    }
}

/// The token that a single-user server was started with. A visitor's token names the server
/// visited, which is not the visitor's: that is no server token, and opens nothing.
fn is_server_token(identity: &Identity) -> bool {
    let own = format!("access:servers!server={}/", identity.name);
    let named = |scope: &String| {
        let server = scope.strip_prefix(&own);
        server.is_some_and(|server| !server.contains('/'))
    };
    identity.kind == IdentityKind::User
        && identity.has_scope(&format!("users:activity!user={}", identity.name))
        && identity.scopes.iter().any(named)
}

/// Whether the token may be used with us at all.
pub(super) fn may_access(identity: &Identity, service: &str) -> bool {
    identity.has_scope("access:services")
        || identity.has_scope(&format!("access:services!service={service}"))
}

// === impl Reach ===

impl Reach {
    fn of(identity: &Identity, scope: &str) -> Self {
        let mut reach = Self::default();
        for held in &identity.scopes {
            let Some(filter) = held.strip_prefix(scope) else {
                continue;
            };
            let Some(filter) = filter.strip_prefix('!') else {
                reach.all |= filter.is_empty();
                continue;
            };
            let (kind, name) = filter.split_once('=').unwrap_or((filter, ""));
            let names = match kind {
                "user" => &mut reach.users,
                "group" => &mut reach.groups,
                "server" => &mut reach.servers,
                _ => continue, // a filter we do not know opens nothing
            };
            if !name.is_empty() {
                names.insert(name.to_owned());
            }
        }
        reach
    }

    fn covers(&self, key: &ServerKey, groups: &[Label]) -> bool {
        self.all
            || self.users.contains(&*key.user)
            || groups.iter().any(|g| self.groups.contains(g.as_str()))
            || (!self.servers.is_empty()
                && self
                    .servers
                    .contains(&format!("{}/{}", key.user, key.server)))
    }

    fn is_empty(&self) -> bool {
        !self.all && self.users.is_empty() && self.groups.is_empty() && self.servers.is_empty()
    }
}

// === the door ===

/// What a route's guard needs.
#[derive(Clone)]
pub(crate) struct Guard {
    pub(crate) site: Arc<Site>,
    pub(crate) access: Access,
}

/// Lets a request through to its handler with its [`Viewer`], or answers in its place.
pub(crate) async fn check(
    State(Guard { site, access }): State<Guard>,
    mut request: Request,
    next: Next,
) -> Response {
    if access == Access::Open {
        return next.run(request).await;
    }
    let peer = request.extensions().get::<Caller>().cloned();
    let viewer = match viewer(&site, request.headers(), peer.as_ref()).await {
        Ok(viewer) => viewer,
        Err(problem) => {
            let login = access == Access::Page && problem.status() == 401;
            let login = login && site.verifier.is_some();
            return if login && is_navigation(request.headers()) {
                oauth::to_login(&site, request.uri(), request.headers()).into_response()
            } else {
                problem.into_response()
            };
        }
    };
    let mut allowed = allow(access, &viewer);
    if access == Access::Own {
        allowed = allowed.and_then(|()| site.words.check(&viewer, request.headers()));
    }
    if let Err(problem) = allowed {
        return problem.into_response();
    }
    request.extensions_mut().insert(viewer);
    next.run(request).await
}

fn allow(access: Access, viewer: &Viewer) -> Result<(), Problem> {
    match access {
        Access::Metrics if !viewer.metrics => Err(Problem::missing_scope(format!(
            "metrics need the scope read:metrics or {READ_ALL}"
        ))),
        Access::All if viewer.sight != Sight::All => Err(Problem::missing_scope(format!(
            "what is told of everybody together needs {READ_ALL}, or list:users with read:servers"
        ))),
        Access::Rows | Access::Own | Access::Page if viewer.sight.is_blind() => {
            Err(Problem::missing_scope(format!(
                "this token opens no rows: it is neither a server's own nor allowed to access this \
                 service, and holds neither {READ_ALL} nor list:users with read:servers"
            )))
        }
        _ => Ok(()),
    }
}

/// Who sent a request with these headers.
pub(crate) async fn viewer(
    site: &Site,
    headers: &HeaderMap,
    peer: Option<&Caller>,
) -> Result<Viewer, Problem> {
    let Some(verifier) = &site.verifier else {
        let Some(peer) = peer else {
            site.stats.reject(Reject::UnknownPeer);
            let detail = "the system does not say which local login sent this";
            return Err(Problem::no_credential(detail));
        };
        if !peer.by_unix_socket {
            local_page_only(headers)?;
        }
        // Browsers say so, and a page cannot keep them from it.
        let browser = headers.contains_key("sec-fetch-site") || headers.contains_key("origin");
        return Ok(Viewer::of_peer(peer, browser));
    };
    let credential = Credential::of(headers, &site.sessions).await;
    let credential = credential.ok_or_else(|| {
        Problem::no_credential("send Authorization: token …, or log in through the hub")
    })?;
    let identity = match verifier.identify(&credential).await {
        Ok(identity) => identity,
        Err(AuthError::Unknown) => {
            site.stats.reject(Reject::UnknownToken);
            return Err(Problem::no_credential(AuthError::Unknown.to_string()));
        }
        Err(AuthError::Hub(error)) => {
            site.stats.reject(Reject::HubUnreachable);
            tracing::debug!(%error, "cannot tell who asks");
            let detail = "the hub does not answer who this token is";
            return Err(Problem::unavailable(detail));
        }
    };
    let service = &verifier.hub().settings().service_name;
    if credential.browser && !may_access(&identity, service) {
        return Err(Problem::missing_scope(format!(
            "the hub no longer grants access:services!service={service}"
        )));
    }
    let session = credential.fingerprint();
    Ok(Viewer::of_hub(
        &identity,
        service,
        credential.browser,
        session,
    ))
}

/// In standalone the caller's login is all there is, and a browser lends it to any page: requests
/// must name this machine, and no other site may have sent them.
fn local_page_only(headers: &HeaderMap) -> Result<(), Problem> {
    let said = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let host = said("host").unwrap_or_default();
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    let loopback = name.parse::<std::net::IpAddr>().map(|ip| ip.is_loopback());
    if !(name.eq_ignore_ascii_case("localhost") || loopback.unwrap_or(false)) {
        return Err(Problem::missing_scope(format!(
            "standalone answers as localhost, not as {name:?}"
        )));
    }
    let foreign = matches!(said("sec-fetch-site"), Some("cross-site" | "same-site"));
    if foreign && said("sec-fetch-mode") != Some("navigate") {
        return Err(Problem::missing_scope("another site's page sent this"));
    }
    Ok(())
}

/// A person opened an address, rather than a script having asked for it.
pub(crate) fn is_navigation(headers: &HeaderMap) -> bool {
    let said = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    match said("sec-fetch-mode") {
        Some(mode) => mode == "navigate",
        None => said("accept")
            .is_none_or(|accept| accept.contains("text/html") || accept.contains("*/*")),
    }
}

/// The servers of `truth` that `sight` opens.
pub(crate) fn visible<'a>(
    truth: &'a Truth,
    sight: &'a Sight,
) -> impl Iterator<Item = &'a Server> + 'a {
    visible_after(truth, sight, None)
}

/// Those that come behind `after` by name.
pub(crate) fn visible_after<'a>(
    truth: &'a Truth,
    sight: &'a Sight,
    after: Option<ServerKey>,
) -> impl Iterator<Item = &'a Server> + 'a {
    let begin = after.map_or(Bound::Unbounded, Bound::Excluded);
    let servers = truth.servers.range((begin, Bound::Unbounded));
    servers
        .map(|(_, server)| server)
        .filter(move |server| sight.sees(server))
}

#[cfg(test)]
mod tests;
