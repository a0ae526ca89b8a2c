//! When everybody was last active, those without a server too.

use std::collections::HashMap;

use serde::{Deserialize, Deserializer};
use tokio::time::{Instant, sleep};

use super::{
    HubError,
    client::HubClient,
    servers::{Page, malformed, time_ms, too_many_pages},
};
use crate::limits;

/// Between two pages the hub has this many times the page's time for others.
const PAUSE_TIMES: u32 = 9;

/// The scope that shows every user, spelt without a filter.
const SEES_ALL: &str = "list:users";

#[derive(Deserialize)]
struct User {
    name: String,
    /// Absent when our token may not read it, null when they never were.
    #[serde(default, deserialize_with = "present")]
    last_activity: Option<Option<String>>,
}

fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(from).map(Some)
}

// === impl HubClient ===

impl HubClient {
    /// The hub's `last_activity` of every user, page by page and slowly. Either all of them or an
    /// error: nobody is counted as away for want of a page. `asked` is called for every question.
    ///
    /// # Errors
    /// The hub did not answer, or not completely.
    pub async fn last_activities(
        &self,
        mut asked: impl FnMut(),
    ) -> Result<Vec<Option<i64>>, HubError> {
        asked();
        let ours = self.whoami(self.hub.api_token.expose()).await?;
        if !ours.is_some_and(|ours| ours.has_scope(SEES_ALL)) {
            return Err(malformed(
                "it does not show all users: the service's role needs the scope list:users, \
                 without a filter",
            ));
        }
        // By name: who comes or goes between two pages moves the others.
        let mut users = HashMap::new();
        let mut offset = 0;
        for _ in 0..limits::HUB_PAGES_MAX {
            let asked_at = Instant::now();
            asked();
            let page: Page<User> = self.users_page(None, offset).await?;
            let took = asked_at.elapsed();
            let next = page.next(offset)?;
            for User {
                name,
                last_activity,
            } in page.items
            {
                let Some(last_activity) = last_activity else {
                    return Err(malformed(
                        "it says nothing of activity: the service's role needs the scope \
                         read:users:activity",
                    ));
                };
                users.insert(name, time_ms(last_activity.as_deref())?);
            }
            match next {
                None => return Ok(users.into_values().collect()),
                Some(next) => offset = next,
            }
            sleep(took * PAUSE_TIMES).await;
        }
        Err(too_many_pages())
    }
}
