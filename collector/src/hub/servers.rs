//! Which servers run: the hub's list, whole or not at all.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{
    HubError,
    client::HubClient,
    pages::{groups, malformed, time_ms, too_many_pages},
};
use crate::{
    fact::{HubServer, ServerKey},
    limits,
};

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
            let page = self
                .users_page::<User>(Some("state=active"), offset)
                .await?;
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
}

fn collect(user: User, into: &mut Vec<HubServer>) -> Result<(), HubError> {
    let Some(servers) = user.servers else {
        return Err(malformed(
            "it lists no servers: the service's role needs the scope read:servers",
        ));
    };
    let groups = groups(&user.groups);
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
