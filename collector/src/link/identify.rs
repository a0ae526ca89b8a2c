//! Who speaks: what the hub says about the bearer token, and nothing a message says.
//!
//! A token passes only when it is a server's own: its scopes hold
//! `access:servers!server=<name>/<server>` **and** `users:activity!user=<name>` for the very name
//! the hub gives as its owner. A visitor's token in somebody else's server fails the second
//! condition, a person's or a service's token the first.
//!
//! Verified tokens are kept as SHA-256, so a restart asks the hub nothing. They are asked about
//! again one by one, oldest first, within one budget; while the hub is away they go on for
//! [`limits::TOKEN_GRACE`].

use std::{
    collections::HashMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use moka::future::Cache;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;

use super::{admit::ByeReason, quota::Bucket, refusals::Who, session::Sessions};
use crate::{
    clock::Clock,
    config::Secret,
    fact::{HubServer, ServerKey},
    hub::{
        client::HubClient,
        users::{Identity, IdentityKind},
    },
    limits,
    registry::{Registry, RegistryError},
    stats::{Count, Limit, Reject, Stats, Unready},
};

mod person;

pub use person::WhoIsWho;

/// SHA-256 of a token.
pub type TokenHash = [u8; 32];

/// Where verified tokens are kept.
pub trait TokenBook: Send + Sync + 'static {
    /// Keeps that the hub said at `verified_ms` whose token this is.
    ///
    /// # Errors
    /// It cannot be kept.
    fn remember(
        &self,
        hash: &TokenHash,
        key: &ServerKey,
        verified_ms: i64,
    ) -> Result<(), RegistryError>;
    /// Whose token it is, and when the hub last said so.
    ///
    /// # Errors
    /// It cannot be read.
    fn known(&self, hash: &TokenHash) -> Result<Option<(ServerKey, i64)>, RegistryError>;
    /// Forgets a token that the hub no longer knows.
    ///
    /// # Errors
    /// It cannot be forgotten on disk.
    fn forget(&self, hash: &TokenHash) -> Result<(), RegistryError>;
}

/// Why a caller is not let in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// No bearer token, or one that no hub hands out.
    #[error("no usable bearer token")]
    NoToken,
    /// The hub does not know it.
    #[error("the hub does not know this token")]
    Unknown,
    /// Known, but not a server's own.
    #[error("this token is not a single-user server's own: {0}")]
    Wrong(&'static str),
    /// The hub cannot be asked.
    #[error("the hub cannot be asked now")]
    HubUnreachable,
    /// Too many questions already.
    #[error("too many new tokens at once")]
    Budget,
    /// No hub says who is who, and the kernel cannot tell either.
    #[error("who calls cannot be told")]
    UnknownPeer,
}

/// What the hub said about a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Whose it is.
    pub key: ServerKey,
    /// When the hub said so.
    pub verified_ms: i64,
}

/// Says whose a token is. Clones share everything.
#[derive(Clone)]
pub struct Identify(Arc<Inner>);

struct Inner {
    hub: HubClient,
    book: Arc<dyn TokenBook>,
    clock: Arc<dyn Clock>,
    stats: Stats,
    /// One question per token, however many ask; what is refused stays refused for a moment.
    flights: Cache<TokenHash, Result<Verified, Denied>>,
    budget: Mutex<Bucket>,
    under_way: Semaphore,
    /// When the hub last answered anything; at first, when we started.
    hub_answered_ms: AtomicI64,
    /// Whether its last answer did not come; told to the log once.
    hub_failing: AtomicBool,
    watched: Mutex<Watched>,
    people: OnceLock<Arc<dyn WhoIsWho>>,
}

/// Tokens of live streams, to be asked about again.
#[derive(Default)]
struct Watched {
    tokens: HashMap<TokenHash, Watch>,
}

struct Watch {
    token: Secret,
    key: ServerKey,
    /// When the hub last said yes.
    verified_ms: i64,
    /// When it was last asked about, answered or not.
    asked_ms: i64,
    /// Live streams with it: for a moment two, when a new one replaces the old.
    streams: usize,
}

// === whose is it ===

/// The server an identity speaks for.
///
/// # Errors
/// The token is not a server's own.
pub fn server_of(identity: &Identity) -> Result<ServerKey, Denied> {
    if identity.kind != IdentityKind::User {
        return Err(Denied::Wrong("its owner is no user"));
    }
    let name = &identity.name;
    if name.is_empty() || name.len() > limits::HUB_NAME_BYTES_MAX {
        return Err(Denied::Wrong("its owner has no usable name"));
    }
    if !identity.has_scope(&format!("users:activity!user={name}")) {
        return Err(Denied::Wrong("it may not report its owner's activity"));
    }
    let prefix = format!("access:servers!server={name}/");
    let mut servers = identity
        .scopes
        .iter()
        .filter_map(|scope| scope.strip_prefix(&prefix))
        // A server's name has no slash: what looks so is somebody else's whose name begins alike.
        .filter(|server| !server.contains('/') && server.len() <= limits::HUB_NAME_BYTES_MAX);
    match (servers.next(), servers.next()) {
        (Some(server), None) => Ok(ServerKey::new(name, server)),
        (Some(_), Some(_)) => Err(Denied::Wrong("it opens several servers")),
        (None, _) => Err(Denied::Wrong("it opens no server of its owner")),
    }
}

/// The token of an `Authorization` header, `token X` or `Bearer X`.
///
/// # Errors
/// There is none.
pub fn bearer(header: Option<&[u8]>) -> Result<Secret, Denied> {
    let text = header
        .and_then(|value| std::str::from_utf8(value).ok())
        .ok_or(Denied::NoToken)?;
    let (scheme, token) = text.split_once(' ').ok_or(Denied::NoToken)?;
    let token = token.trim();
    let known = scheme.eq_ignore_ascii_case("bearer") || scheme.eq_ignore_ascii_case("token");
    let usable = !token.is_empty()
        && token.len() <= limits::TOKEN_BYTES_MAX
        && token.bytes().all(|b| b.is_ascii_graphic());
    if known && usable {
        Ok(Secret::new(token.to_owned()))
    } else {
        Err(Denied::NoToken)
    }
}

/// What is kept of a token.
#[must_use]
pub fn hash(token: &Secret) -> TokenHash {
    Sha256::digest(token.expose().as_bytes()).into()
}

// === impl Denied ===

impl Denied {
    /// The reason it is counted under.
    #[must_use]
    pub fn reason(&self) -> Reject {
        match self {
            Self::NoToken => Reject::NoToken,
            Self::Unknown => Reject::UnknownToken,
            Self::Wrong(_) => Reject::WrongToken,
            Self::HubUnreachable => Reject::HubUnreachable,
            Self::Budget => Reject::VerifyBudget,
            Self::UnknownPeer => Reject::UnknownPeer,
        }
    }

    /// Whether the same token may pass later.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::HubUnreachable | Self::Budget)
    }
}

// === impl Identify ===

impl Identify {
    /// Asks `hub`, remembers in `book`.
    #[must_use]
    pub fn new(
        hub: HubClient,
        book: Arc<dyn TokenBook>,
        clock: Arc<dyn Clock>,
        stats: Stats,
    ) -> Self {
        let now_ms = clock.now_ms();
        stats.limit_set(Limit::VerifyConcurrent, limits::VERIFY_CONCURRENT_MAX);
        Self(Arc::new(Inner {
            hub,
            book,
            stats,
            flights: Cache::builder()
                .max_capacity(limits::VERIFY_REMEMBERED_MAX)
                .time_to_live(limits::VERIFY_REFUSED_KEPT)
                .build(),
            budget: Mutex::new(Bucket::new(
                limits::VERIFY_PER_SECOND.into(),
                limits::VERIFY_BURST,
                now_ms,
            )),
            under_way: Semaphore::new(limits::VERIFY_CONCURRENT_MAX),
            hub_answered_ms: AtomicI64::new(now_ms),
            hub_failing: AtomicBool::new(false),
            watched: Mutex::default(),
            people: OnceLock::new(),
            clock,
        }))
    }

    /// Whose `token` is. Known tokens cost the hub nothing.
    ///
    /// # Errors
    /// It does not pass.
    pub async fn server(&self, token: &Secret) -> Result<Verified, Denied> {
        let hash = hash(token);
        if let Some((key, verified_ms)) = self.known(hash).await {
            return if self.hub_is_trusted() {
                Ok(Verified { key, verified_ms })
            } else {
                Err(Denied::HubUnreachable)
            };
        }
        let flight = async {
            match self.ask(token).await {
                // Passing trouble is told to all who wait, and not remembered.
                Err(denied) if denied.is_passing() => Err(denied),
                Ok(key) => {
                    self.arrived(&key).await?;
                    let verified_ms = self.remember(hash, &key).await;
                    Ok(Ok(Verified { key, verified_ms }))
                }
                Err(refused) => Ok(Err(refused)),
            }
        };
        match self.0.flights.try_get_with(hash, flight).await {
            Ok(answer) => answer,
            Err(denied) => Err((*denied).clone()),
        }
    }

    /// Starts asking about `token` again from time to time; [`Identify::unwatch`] ends it.
    pub fn watch(&self, token: Secret, verified: Verified) {
        let watch = Watch {
            token,
            key: verified.key,
            verified_ms: verified.verified_ms,
            asked_ms: 0,
            streams: 0,
        };
        let hash = hash(&watch.token);
        let mut watched = self.0.watched.lock();
        watched.tokens.entry(hash).or_insert(watch).streams += 1;
    }

    /// A stream with this token has ended.
    pub fn unwatch(&self, token: &Secret) {
        let hash = hash(token);
        let mut watched = self.0.watched.lock();
        if let Some(watch) = watched.tokens.get_mut(&hash) {
            watch.streams -= 1;
            if watch.streams == 0 {
                watched.tokens.remove(&hash);
            }
        }
    }

    /// Asks about the watched token that was verified longest ago, if it is time. Gives the
    /// server whose token does not pass any more.
    pub async fn recheck(&self) -> Option<(ServerKey, Denied)> {
        let now_ms = self.0.clock.now_ms();
        let (hash, token, key) = {
            let mut watched = self.0.watched.lock();
            let (hash, watch) = watched
                .tokens
                .iter_mut()
                .min_by_key(|(_, watch)| watch.verified_ms.max(watch.asked_ms))?;
            let due_ms = watch.verified_ms.max(watch.asked_ms) + millis(limits::TOKEN_FRESH);
            if now_ms < due_ms {
                return None;
            }
            watch.asked_ms = now_ms;
            (*hash, watch.token.clone(), watch.key.clone())
        };
        match self.ask(&token).await {
            Ok(owner) if owner == key => {
                let verified_ms = self.remember(hash, &key).await;
                if let Some(watch) = self.0.watched.lock().tokens.get_mut(&hash) {
                    watch.verified_ms = verified_ms;
                }
                None
            }
            Err(denied) if denied.is_passing() => {
                (!self.hub_is_trusted()).then_some((key, Denied::HubUnreachable))
            }
            refused => {
                self.forget(hash).await;
                let why = refused
                    .err()
                    .unwrap_or(Denied::Wrong("it changed its owner"));
                Some((key, why))
            }
        }
    }

    /// Asks about watched tokens for ever, within the budget, and ends the streams of those that
    /// do not pass any more.
    pub async fn recheck_for_ever(&self, sessions: &Sessions) {
        // Half the budget: newcomers need the rest.
        let pause = Duration::from_secs(1) / (limits::VERIFY_PER_SECOND / 2);
        loop {
            tokio::time::sleep(pause).await;
            if let Some((key, why)) = self.recheck().await {
                let who = Who::Server(key.clone());
                sessions.refusals().refuse(who, why.reason(), &why);
                sessions.end(&key, ByeReason::Unauthenticated);
            }
        }
    }

    /// The hub listed its running servers at `listed_ms`: tokens of servers that are not there
    /// (any more), or were started after their token was verified, are asked about first.
    pub fn listed(&self, servers: &[HubServer]) {
        let started: HashMap<&ServerKey, Option<i64>> =
            servers.iter().map(|s| (&s.key, s.started_ms)).collect();
        let mut watched = self.0.watched.lock();
        for watch in watched.tokens.values_mut() {
            let doubtful = match started.get(&watch.key) {
                None => true,
                Some(Some(started_ms)) => *started_ms > watch.verified_ms,
                Some(None) => false,
            };
            if doubtful {
                watch.verified_ms = 0;
                watch.asked_ms = 0;
            }
        }
    }

    /// The hub answered something, or did not.
    pub fn note_hub(&self, answered: bool) {
        let failed_before = self.0.hub_failing.swap(!answered, Ordering::Relaxed);
        if answered {
            let now_ms = self.0.clock.now_ms();
            self.0.hub_answered_ms.store(now_ms, Ordering::Relaxed);
            if failed_before {
                tracing::info!("the hub answers again");
            }
        } else {
            self.0.stats.count(Count::HubFailures);
        }
        self.0.stats.set_unready(Unready::Hub, !answered);
    }

    /// Whether the hub was heard recently enough to go on with what it said before.
    fn hub_is_trusted(&self) -> bool {
        let silent_ms = self.0.clock.now_ms() - self.0.hub_answered_ms.load(Ordering::Relaxed);
        silent_ms <= millis(limits::TOKEN_GRACE)
    }

    /// One question to the hub, within the budget.
    async fn ask(&self, token: &Secret) -> Result<ServerKey, Denied> {
        let inner = &self.0;
        let now_ms = inner.clock.now_ms();
        let permit = inner.under_way.try_acquire();
        let (Ok(permit), Ok(())) = (permit, inner.budget.lock().take(1, now_ms)) else {
            inner.stats.limit_dropped(Limit::VerifyConcurrent);
            return Err(Denied::Budget);
        };
        let now = limits::VERIFY_CONCURRENT_MAX - inner.under_way.available_permits();
        inner.stats.limit_now(Limit::VerifyConcurrent, now);
        inner.stats.count(Count::HubQuestions);
        let asked = inner.hub.whoami(token.expose()).await;
        drop(permit);
        let now = limits::VERIFY_CONCURRENT_MAX - inner.under_way.available_permits();
        inner.stats.limit_now(Limit::VerifyConcurrent, now);
        match asked {
            Ok(identity) => {
                self.note_hub(true);
                server_of(&identity.ok_or(Denied::Unknown)?)
            }
            Err(e) => {
                if !self.0.hub_failing.load(Ordering::Relaxed) {
                    tracing::warn!(error = %e, "tokens cannot be verified");
                }
                self.note_hub(false);
                Err(Denied::HubUnreachable)
            }
        }
    }

    async fn known(&self, hash: TokenHash) -> Option<(ServerKey, i64)> {
        self.with_book(move |book| book.known(&hash))
            .await
            .flatten()
    }

    async fn remember(&self, hash: TokenHash, key: &ServerKey) -> i64 {
        let key = key.clone();
        let now_ms = self.0.clock.now_ms();
        self.with_book(move |book| book.remember(&hash, &key, now_ms))
            .await;
        now_ms
    }

    async fn forget(&self, hash: TokenHash) {
        self.0.flights.invalidate(&hash).await;
        self.with_book(move |book| book.forget(&hash)).await;
    }

    /// The book writes to the disk: not on a thread that serves others.
    async fn with_book<T: Send + 'static>(
        &self,
        run: impl FnOnce(&dyn TokenBook) -> Result<T, RegistryError> + Send + 'static,
    ) -> Option<T> {
        let book = Arc::clone(&self.0.book);
        match tokio::task::spawn_blocking(move || run(&*book)).await {
            Ok(Ok(value)) => Some(value),
            Ok(Err(e)) => {
                tracing::error!(error = %e, "verified tokens are not kept");
                None
            }
            Err(_) => None, // the runtime is going down
        }
    }
}

impl TokenBook for Registry {
    fn remember(
        &self,
        hash: &TokenHash,
        key: &ServerKey,
        verified_ms: i64,
    ) -> Result<(), RegistryError> {
        self.remember_token(hash, key, verified_ms)
    }

    fn known(&self, hash: &TokenHash) -> Result<Option<(ServerKey, i64)>, RegistryError> {
        self.known_token(hash)
    }

    fn forget(&self, hash: &TokenHash) -> Result<(), RegistryError> {
        self.forget_token(hash)
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
