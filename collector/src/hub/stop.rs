//! What the command `cull` does at the hub: reads whose servers run, and stops some of them.

use std::collections::BTreeMap;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Method, StatusCode};
use serde::Deserialize;

use super::{
    HubError,
    client::{HubClient, unreachable},
    pages::{malformed, time_ms, too_many_pages},
};
use crate::limits;

/// What stays as it is in a part of a path, as the hub's own client leaves it.
const IN_PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'@');

/// One user, and what runs of theirs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubUser {
    /// The hub's name, raw.
    pub name: String,
    /// Whether they are an admin; `None` where our token may not read that.
    pub admin: Option<bool>,
    /// When they came; only `read:users` tells.
    pub created_ms: Option<i64>,
    /// The hub's idea of their last activity.
    pub last_activity_ms: Option<i64>,
    /// Their active servers.
    pub servers: Vec<HubRunning>,
}

/// One active server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubRunning {
    /// Its name, raw; empty for the default one.
    pub name: String,
    /// What the hub is at with it (`spawn`, `stop`).
    pub pending: Option<String>,
    /// Whether it runs and answers.
    pub ready: bool,
    /// When it was started.
    pub started_ms: Option<i64>,
    /// The hub's idea of its last activity.
    pub last_activity_ms: Option<i64>,
}

/// What became of an order to stop or to delete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carried {
    /// It is done.
    Out,
    /// The hub is at it, and it takes long: it may still run.
    Slowly,
    /// There was nothing to do any more.
    Gone,
}

#[derive(Deserialize)]
struct User {
    name: String,
    admin: Option<bool>,
    created: Option<String>,
    last_activity: Option<String>,
    /// Absent when our token may not read servers.
    servers: Option<BTreeMap<String, Server>>,
}

#[derive(Deserialize)]
struct Server {
    pending: Option<String>,
    #[serde(default)]
    ready: bool,
    started: Option<String>,
    last_activity: Option<String>,
}

// === impl HubClient ===

impl HubClient {
    /// Every user in `state` (`ready`, `inactive`), `page` at a time: the whole list or an error.
    ///
    /// # Errors
    /// The hub did not answer, or not completely.
    pub async fn users_in(&self, state: &str, page: usize) -> Result<Vec<HubUser>, HubError> {
        let which = format!("state={state}");
        let mut users = Vec::new();
        let mut offset = 0;
        for _ in 0..limits::HUB_PAGES_MAX {
            let page = self
                .users_page_of::<User>(page, Some(&which), offset)
                .await?;
            let next = page.next(offset)?;
            for user in page.items {
                if users.len() >= limits::HUB_USERS_MAX {
                    return Err(too_many_pages());
                }
                users.push(user.told()?);
            }
            match next {
                None => return Ok(users),
                Some(next) => offset = next,
            }
        }
        Err(too_many_pages())
    }

    /// One user as they are now; `None` when the hub knows nobody of the name.
    ///
    /// # Errors
    /// The hub did not say yes or no.
    pub async fn user_now(&self, user: &str) -> Result<Option<HubUser>, HubError> {
        const WHAT: &str = "GET /users/:name";
        let path = format!("/users/{}", part(WHAT, user)?);
        let request = self.with_our_token(self.request(Method::GET, &path))?;
        let no = [StatusCode::NOT_FOUND];
        let user: Option<User> = self
            .ask(WHAT, request, limits::HUB_PAGE_BYTES_MAX, &no)
            .await?;
        user.map(User::told).transpose()
    }

    /// Stops the server `server` of `user`, and with `remove` forgets a named one as well.
    ///
    /// # Errors
    /// The hub does not do it, or does not say.
    pub async fn stop(&self, user: &str, server: &str, remove: bool) -> Result<Carried, HubError> {
        let what = if server.is_empty() {
            "DELETE /users/:name/server"
        } else {
            "DELETE /users/:name/servers/:server"
        };
        let user = part(what, user)?;
        let path = if server.is_empty() {
            format!("/users/{user}/server")
        } else {
            format!("/users/{user}/servers/{}", part(what, server)?)
        };
        let body = (remove && !server.is_empty()).then(|| serde_json::json!({"remove": true}));
        self.delete(what, &path, body).await
    }

    /// Deletes a user from the hub.
    ///
    /// # Errors
    /// The hub does not do it, or does not say.
    pub async fn delete_user(&self, user: &str) -> Result<Carried, HubError> {
        const WHAT: &str = "DELETE /users/:name";
        self.delete(WHAT, &format!("/users/{}", part(WHAT, user)?), None)
            .await
    }

    async fn delete(
        &self,
        what: &'static str,
        path: &str,
        body: Option<serde_json::Value>,
    ) -> Result<Carried, HubError> {
        let mut request = self.with_our_token(self.request(Method::DELETE, path))?;
        if let Some(body) = body {
            request = request.json(&body);
        }
        let sent = request.send().await;
        let response = sent.map_err(|source| unreachable(what, source))?;
        match response.status() {
            StatusCode::OK | StatusCode::NO_CONTENT => Ok(Carried::Out),
            StatusCode::ACCEPTED => Ok(Carried::Slowly),
            StatusCode::NOT_FOUND => Ok(Carried::Gone),
            status => Err(HubError::Status {
                what,
                status: status.as_u16(),
            }),
        }
    }
}

/// A name as a part of a path. What a URL takes for a step up or for nothing would be another
/// address: `/users/ann/servers/..` is Ann herself, however it is escaped.
fn part(what: &'static str, name: &str) -> Result<String, HubError> {
    if matches!(name, "" | "." | "..") {
        return Err(HubError::Malformed {
            what,
            why: format!("no address holds the name {name:?}"),
        });
    }
    Ok(utf8_percent_encode(name, IN_PATH).to_string())
}

// === impl User ===

impl User {
    fn told(self) -> Result<HubUser, HubError> {
        let Some(servers) = self.servers else {
            return Err(malformed(
                "it lists no servers: the token needs the scope read:servers",
            ));
        };
        let servers = servers.into_iter().map(|(name, server)| {
            Ok(HubRunning {
                name,
                pending: server.pending,
                ready: server.ready,
                started_ms: time_ms(server.started.as_deref())?,
                last_activity_ms: time_ms(server.last_activity.as_deref())?,
            })
        });
        Ok(HubUser {
            servers: servers.collect::<Result<_, HubError>>()?,
            name: self.name,
            admin: self.admin,
            created_ms: time_ms(self.created.as_deref())?,
            last_activity_ms: time_ms(self.last_activity.as_deref())?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_one_part_of_a_path_whatever_is_in_them() {
        let part = |name| part("x", name).unwrap();
        assert_eq!(part("ann.o@x.org"), "ann.o@x.org");
        assert_eq!(part("üser"), "%C3%BCser");
        assert_eq!(part("a/../b?c#d%2e"), "a%2F..%2Fb%3Fc%23d%252e");
    }

    #[test]
    fn a_name_that_would_lead_elsewhere_is_refused() {
        for name in ["", ".", ".."] {
            assert!(part("x", name).is_err(), "{name:?}");
        }
    }
}
