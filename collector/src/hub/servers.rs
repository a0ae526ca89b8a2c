//! Which servers run: the hub's list, whole or not at all.

use std::collections::BTreeMap;

use jiff::Timestamp;
use reqwest::{Method, header};
use serde::{Deserialize, de::DeserializeOwned};

use super::{HubError, client::HubClient};
use crate::{
    fact::{HubServer, ServerKey},
    limits,
    text::Label,
};

/// Asks for pages that say what comes next; without it the hub cuts the list silently.
const PAGED: &str = "application/jupyterhub-pagination+json";
const WHAT: &str = "GET /users";

/// One page of a list of users.
#[derive(Deserialize)]
pub(super) struct Page<T> {
    pub(super) items: Vec<T>,
    #[serde(rename = "_pagination")]
    pagination: Pagination,
}

#[derive(Deserialize)]
struct Pagination {
    next: Option<Next>,
}

#[derive(Deserialize)]
struct Next {
    offset: u64,
}

#[derive(Deserialize)]
struct User {
    name: String,
    #[serde(default)]
    groups: Vec<String>,
    /// Absent when our token may not read servers.
    servers: Option<BTreeMap<String, Server>>,
}

#[derive(Deserialize)]
struct Server {
    #[serde(default)]
    ready: bool,
    started: Option<String>,
    last_activity: Option<String>,
}

// === impl HubClient ===

impl HubClient {
    /// Every active server, page by page. Either the whole list or an error: a part of it would
    /// make the rest look stopped.
    ///
    /// # Errors
    /// The hub did not answer, or not completely.
    pub async fn running_servers(&self) -> Result<Vec<HubServer>, HubError> {
        let mut servers = Vec::new();
        let mut offset = 0;
        for _ in 0..limits::HUB_PAGES_MAX {
            let page = self.users_page(Some("active"), offset).await?;
            let next = page.next(offset)?;
            for user in page.items {
                collect(user, &mut servers)?;
            }
            match next {
                None => return Ok(servers),
                Some(next) => offset = next,
            }
        }
        Err(too_many_pages())
    }

    /// The users from `offset` on, all of them or those in `state`.
    pub(super) async fn users_page<T: DeserializeOwned>(
        &self,
        state: Option<&str>,
        offset: u64,
    ) -> Result<Page<T>, HubError> {
        let state = state.map(|state| format!("state={state}&"));
        let path = format!(
            "/users?{}limit={}&offset={offset}",
            state.unwrap_or_default(),
            limits::HUB_PAGE_USERS
        );
        let mut token =
            header::HeaderValue::from_str(&format!("token {}", self.hub.api_token.expose()))
                .map_err(|_| malformed("our own token has characters that no header takes"))?;
        token.set_sensitive(true);
        let request = self
            .request(Method::GET, &path)
            .header(header::AUTHORIZATION, token)
            .header(header::ACCEPT, PAGED);
        self.ask(WHAT, request, limits::HUB_PAGE_BYTES_MAX, &[])
            .await?
            .ok_or_else(|| malformed("it is empty"))
    }
}

// === impl Page ===

impl<T> Page<T> {
    /// Where the page after the one at `offset` begins, if there is one.
    pub(super) fn next(&self, offset: u64) -> Result<Option<u64>, HubError> {
        match &self.pagination.next {
            None => Ok(None),
            Some(next) if next.offset > offset => Ok(Some(next.offset)),
            Some(_) => Err(malformed("its pages do not move on")),
        }
    }
}

pub(super) fn too_many_pages() -> HubError {
    malformed("it has more pages than any hub has users")
}

fn collect(user: User, into: &mut Vec<HubServer>) -> Result<(), HubError> {
    let Some(servers) = user.servers else {
        return Err(malformed(
            "it lists no servers: the service's role needs the scope read:servers",
        ));
    };
    let mut groups: Vec<Label> = user
        .groups
        .iter()
        .take(limits::GROUPS_PER_USER_MAX)
        .map(|group| Label::clean(group, limits::HUB_NAME_BYTES_MAX))
        .collect();
    groups.sort();
    for (name, server) in servers {
        if into.len() >= limits::SERVERS_MAX {
            return Err(malformed("it has more servers than the collector keeps"));
        }
        into.push(HubServer {
            key: ServerKey::new(&user.name, &name),
            groups: groups.clone(),
            started_ms: time_ms(server.started.as_deref())?,
            last_activity_ms: time_ms(server.last_activity.as_deref())?,
            ready: server.ready,
        });
    }
    Ok(())
}

/// The hub's times are RFC 3339; it drops the fraction when it is zero.
pub(super) fn time_ms(text: Option<&str>) -> Result<Option<i64>, HubError> {
    text.map(|text| {
        text.parse()
            .map(Timestamp::as_millisecond)
            .map_err(|_| malformed("a time in it is not RFC 3339"))
    })
    .transpose()
}

pub(super) fn malformed(why: &str) -> HubError {
    HubError::Malformed {
        what: WHAT,
        why: why.to_owned(),
    }
}
