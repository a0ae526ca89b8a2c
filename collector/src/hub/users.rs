//! Who a token is: the answer to every question of identity.

use std::collections::BTreeSet;

use reqwest::{Method, StatusCode, header};
use serde::Deserialize;

use super::{HubError, client::HubClient};
use crate::limits;

/// What sort of owner a token has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IdentityKind {
    /// A person.
    User,
    /// A service of the hub.
    Service,
    /// Something a newer hub knows; it is given nothing.
    #[serde(other)]
    Unknown,
}

/// What the hub says about a token. Decide by `scopes`: `admin` is true for every token of an
/// admin, the one in their own server included.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Identity {
    /// The hub's name of the owner, raw. A hostile string like any other.
    pub name: String,
    /// Person or service.
    pub kind: IdentityKind,
    /// The owner's groups.
    #[serde(default)]
    pub groups: Vec<String>,
    /// What the token may do.
    #[serde(default)]
    pub scopes: BTreeSet<String>,
    /// Whether the owner is an admin of the hub.
    #[serde(default)]
    pub admin: bool,
    /// The browser session it was issued in.
    #[serde(default)]
    pub session_id: Option<String>,
}

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: String,
}

// === impl Identity ===

impl Identity {
    /// Whether the token holds this scope, spelt exactly so. Filtered scopes are other strings.
    #[must_use]
    pub fn has_scope(&self, scope: &str) -> bool {
        self.scopes.contains(scope)
    }
}

// === impl HubClient ===

impl HubClient {
    /// Who owns `token`: `None` when the hub knows no such token (revoked, expired, invented).
    ///
    /// # Errors
    /// The hub did not say yes or no.
    pub async fn whoami(&self, token: &str) -> Result<Option<Identity>, HubError> {
        const WHAT: &str = "GET /user";
        let Ok(mut value) = header::HeaderValue::from_str(&format!("token {token}")) else {
            return Ok(None); // not a token any hub hands out
        };
        value.set_sensitive(true);
        let request = self
            .request(Method::GET, "/user")
            .header(header::AUTHORIZATION, value);
        // The hub says 403 for a bad token; 401 is what a proxy in between would say.
        let no = [StatusCode::FORBIDDEN, StatusCode::UNAUTHORIZED];
        self.ask(WHAT, request, limits::HUB_IDENTITY_BYTES_MAX, &no)
            .await
    }

    /// Trades an OAuth `code` for the browser's access token: `None` when the code is no longer
    /// good. `redirect_uri` and `code_verifier` are those of the authorize request.
    ///
    /// # Errors
    /// The hub did not say yes or no.
    pub async fn exchange_code(
        &self,
        code: &str,
        redirect_uri: &str,
        code_verifier: &str,
    ) -> Result<Option<String>, HubError> {
        const WHAT: &str = "POST /oauth2/token";
        let form = [
            ("client_id", self.hub.client_id.as_str()),
            ("client_secret", self.hub.api_token.expose()),
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", redirect_uri),
            ("code_verifier", code_verifier),
        ];
        let request = self.request(Method::POST, "/oauth2/token").form(&form);
        let no = [StatusCode::BAD_REQUEST];
        let answer: Option<TokenAnswer> = self
            .ask(WHAT, request, limits::HUB_IDENTITY_BYTES_MAX, &no)
            .await?;
        Ok(answer.map(|a| a.access_token))
    }
}
