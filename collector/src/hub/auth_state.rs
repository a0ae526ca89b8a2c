//! What the hub's authenticator keeps of a user: asked for one word of it, an address.

use percent_encoding::utf8_percent_encode;
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::Value;

use super::{HubError, client::HubClient, everybody::IN_PATH};

/// Bytes of one user with their `auth_state`: it holds the tokens of an identity provider.
const ANSWER_BYTES_MAX: usize = 256 * 1024;

#[derive(Deserialize)]
struct User {
    auth_state: Option<Value>,
}

// === impl HubClient ===

impl HubClient {
    /// The text at `key` (`oauth_user.email`) in the `auth_state` of `user`; `None` when there is
    /// none, or our token lacks the scope `admin:auth_state`. Nothing else of it is kept.
    ///
    /// # Errors
    /// The hub did not say yes or no.
    pub async fn auth_state_word(&self, user: &str, key: &str) -> Result<Option<String>, HubError> {
        const WHAT: &str = "GET /users/:name";
        let path = format!("/users/{}", utf8_percent_encode(user, IN_PATH));
        let request = self.with_our_token(self.request(Method::GET, &path))?;
        let no = [StatusCode::NOT_FOUND, StatusCode::FORBIDDEN];
        let answer: Option<User> = self.ask(WHAT, request, ANSWER_BYTES_MAX, &no).await?;
        Ok(answer.and_then(|user| word_at(&user.auth_state?, key)))
    }
}

fn word_at(state: &Value, key: &str) -> Option<String> {
    let mut at = state;
    for part in key.split('.') {
        at = at.get(part)?;
    }
    at.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use axum::{Json, Router, routing::get};
    use serde_json::json;

    #[tokio::test]
    async fn one_word_of_a_users_auth_state_is_read_and_its_absence_is_no_error() {
        let with = json!({"name": "ann", "auth_state":
            {"access_token": "secret", "oauth_user": {"email": "ann@x.org", "id": 7}}});
        let without = json!({"name": "bob", "auth_state": null});
        let routes = Router::new()
            .route("/hub/api/users/ann", get(async || Json(with)))
            .route("/hub/api/users/bob", get(async || Json(without)));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = crate::hub::tests::client_of(listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        let word = async |user, key| client.auth_state_word(user, key).await.unwrap();
        assert_eq!(
            word("ann", "oauth_user.email").await.as_deref(),
            Some("ann@x.org")
        );
        assert_eq!(word("ann", "oauth_user.id").await, None);
        assert_eq!(word("ann", "email").await, None);
        assert_eq!(word("bob", "oauth_user.email").await, None);
        assert_eq!(word("eve", "oauth_user.email").await, None);
    }
}
