//! Who may change what about which servers, and that no browser is made to by somebody's page.
//!
//! A browser sends its cookie whoever's page asks. So a change by cookie needs a word beside it that
//! only our own page knows: it lies in a second cookie that is set when a person opens the page, that
//! scripts of other paths cannot read, and that holds for this login alone.

use std::sync::Arc;

use axum::http::HeaderMap;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};

use super::{Reach, Sight, Viewer, is_server_token, may_access};
use crate::{
    fact::ServerKey,
    hub::users::{Identity, IdentityKind},
    serve::{auth::Fingerprint, problem::Problem},
    state::Server,
};

/// The scope by which somebody else's server may be held.
pub(crate) const WRITE_ALL: &str = "custom:hubmeter:write:all";

/// Where our page says the word.
pub(crate) const WORD_HEADER: &str = "x-hubmeter-word";

/// Where it reads it.
pub(crate) const WORD_COOKIE: &str = "hubmeter-word";

/// Bytes of what the words are made with.
const KEY_BYTES: usize = 32;

/// What the words of this process are made with: after a restart a page is opened anew.
pub(crate) struct Words([u8; KEY_BYTES]);

/// Servers that somebody may act for.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Hand {
    all: bool,
    own: Option<Arc<str>>,
    write_all: Reach,
}

// === impl Words ===

impl Words {
    pub(crate) fn new() -> Result<Self, getrandom::Error> {
        let mut key = [0; KEY_BYTES];
        getrandom::fill(&mut key)?;
        Ok(Self(key))
    }

    /// The word of a login.
    pub(crate) fn of(&self, session: &Fingerprint) -> String {
        // Both parts have one length: no other key and session read the same.
        let mut hash = Sha256::new();
        hash.update(self.0);
        hash.update(session);
        URL_SAFE_NO_PAD.encode(hash.finalize())
    }

    /// Lets a change by `viewer` through; one that a browser sends needs the word.
    pub(crate) fn check(&self, viewer: &Viewer, headers: &HeaderMap) -> Result<(), Problem> {
        if !viewer.browser {
            return Ok(());
        }
        let said = headers.get(WORD_HEADER).map_or(&[][..], |w| w.as_bytes());
        // Compared by hash: how long that takes tells nothing.
        let word = self.of(&viewer.session);
        if Sha256::digest(said) == Sha256::digest(word) {
            return Ok(());
        }
        Err(Problem::missing_scope(
            "a browser changes something from our own page alone, and this did not come from it as it \
             is now: open the page anew",
        ))
    }
}

// === impl Hand ===

impl Hand {
    /// What the hub's word about a token lets it do; `sight` is what it lets it see.
    pub(super) fn of_hub(identity: &Identity, service: &str, sight: &Sight, browser: bool) -> Self {
        let person = identity.kind == IdentityKind::User;
        let own = is_server_token(identity) || (person && may_access(identity, service));
        Self {
            // An admin by login: whoever may stop a server may keep it as well.
            all: browser && person && identity.admin && *sight == Sight::All,
            own: own.then(|| identity.name.as_str().into()),
            write_all: if is_server_token(identity) {
                Reach::default()
            } else {
                Reach::of(identity, WRITE_ALL)
            },
        }
    }

    /// A local login's.
    pub(super) fn of_peer(user: &Arc<str>, is_root: bool) -> Self {
        Self {
            all: is_root,
            own: Some(user.clone()),
            write_all: Reach::default(),
        }
    }

    /// Whether something about `server` may be changed.
    pub(crate) fn reaches(&self, server: &Server) -> bool {
        self.all
            || self.own.as_ref() == Some(&server.key.user)
            || self.write_all.covers(&server.key, &server.groups)
    }

    /// Whether something about every server may be changed.
    pub(crate) fn reaches_all(&self) -> bool {
        self.all || self.write_all.all
    }

    /// Beyond their own and where not about every server: about servers of which users, of which groups, and
    /// which (`user/name`).
    pub(crate) fn names(&self) -> [Vec<String>; 3] {
        self.write_all.names()
    }

    /// Whether `key` is a server of their own.
    pub(crate) fn is_own(&self, key: &ServerKey) -> bool {
        self.own.as_ref() == Some(&key.user)
    }
}
