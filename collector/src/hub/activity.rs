//! When everybody was last active, those without a server too.

use std::collections::HashMap;

use serde::{Deserialize, Deserializer};
use tokio::time::{Instant, sleep};

use super::{
    HubError,
    client::HubClient,
    pages::{malformed, time_ms, too_many_pages},
};
use crate::limits;

/// Between two pages the hub has this many times the page's time for others.
const PAUSE_TIMES: u32 = 9;

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
        if !self.sees_all().await? {
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
            let page = self.users_page::<User>(None, offset).await?;
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

#[cfg(test)]
mod tests {
    use axum::{
        Json, Router,
        extract::{Query, State},
        routing::get,
    };
    use serde_json::{Value, json};

    use super::*;
    use crate::hub::tests::client_of;

    #[derive(Clone)]
    struct Hub {
        users: Vec<Value>,
        scopes: Value,
        page: usize,
    }

    #[derive(Deserialize)]
    struct Asked {
        offset: usize,
    }

    async fn ourselves(State(hub): State<Hub>) -> Json<Value> {
        Json(json!({"kind": "service", "name": "hubmeter", "scopes": hub.scopes}))
    }

    /// As JupyterHub 6.1.1's pages were recorded.
    async fn page(State(hub): State<Hub>, Query(Asked { offset }): Query<Asked>) -> Json<Value> {
        let items: Vec<&Value> = hub.users.iter().skip(offset).take(hub.page).collect();
        let (total, next) = (hub.users.len(), offset + hub.page);
        let next = (next < total).then(|| json!({"offset": next, "limit": hub.page, "url": "x"}));
        let pagination = json!({"offset": offset, "limit": hub.page, "total": total, "next": next});
        Json(json!({"items": items, "_pagination": pagination}))
    }

    async fn ask(users: &[Value], scopes: &[&str]) -> Result<Vec<Option<i64>>, String> {
        let hub = Hub {
            users: users.to_vec(),
            scopes: json!(scopes),
            page: 2,
        };
        let app = Router::new()
            .route("/hub/api/user", get(ourselves))
            .route("/hub/api/users", get(page))
            .with_state(hub);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, app).await });
        let client = client_of(addr);
        let mut asked = 0;
        let answer = client.last_activities(|| asked += 1).await;
        if answer.is_ok() {
            assert_eq!(asked, 1 + users.len().div_ceil(2));
        }
        answer.map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn everybody_is_asked_for_over_all_pages_and_each_counts_once() {
        let users = [
            json!({"name": "ann", "last_activity": "2026-11-21T21:14:36.956245Z"}),
            json!({"name": "=bob", "last_activity": null}),
            // Somebody came before them meanwhile, and moved her to the next page.
            json!({"name": "ann", "last_activity": "2026-11-21T21:30:00Z"}),
        ];
        let mut last = ask(&users, &["list:users", "read:users:activity"])
            .await
            .unwrap();
        last.sort_unstable();
        assert_eq!(last, [None, Some(1_795_296_600_000)]);
    }

    #[tokio::test]
    async fn what_we_may_not_read_is_an_error_and_not_nobody() {
        let silent = [json!({"name": "ann"})];
        let error = ask(&silent, &["list:users"]).await.unwrap_err();
        assert!(error.contains("read:users:activity"), "{error}");
        let told = [json!({"name": "ann", "last_activity": null})];
        for scopes in [&[][..], &["list:users!group=a", "read:users:activity"]] {
            let error = ask(&told, scopes).await.unwrap_err();
            assert!(error.contains("list:users, without a filter"), "{error}");
        }
    }
}
