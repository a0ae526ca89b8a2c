//! Against a hub whose pages are as JupyterHub 6.1.1's were recorded.

use axum::{Json, Router, extract::Query, extract::State, routing::get};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::*;
use crate::hub::{pages::SEES_ALL, tests::client_of};

#[derive(Default)]
struct Fake {
    users: Vec<Value>,
    scopes: Vec<&'static str>,
    page: usize,
    /// Deleted once the first page was given.
    leaves: Option<usize>,
}

type Hub = Arc<Mutex<Fake>>;

#[derive(Deserialize)]
struct Asked {
    offset: usize,
    sort: String,
}

async fn ourselves(State(hub): State<Hub>) -> Json<Value> {
    let scopes = &hub.lock().scopes;
    Json(json!({"kind": "service", "name": "monitor", "scopes": scopes}))
}

async fn page(State(hub): State<Hub>, Query(asked): Query<Asked>) -> Json<Value> {
    assert_eq!(asked.sort, "id");
    let mut hub = hub.lock();
    let items: Vec<Value> = hub
        .users
        .iter()
        .skip(asked.offset)
        .take(hub.page)
        .cloned()
        .collect();
    let (total, next) = (hub.users.len(), asked.offset + hub.page);
    if let Some(at) = hub.leaves.take() {
        hub.users.remove(at);
    }
    let next = (next < total).then(|| json!({"offset": next, "limit": 1, "url": "x"}));
    Json(
        json!({"items": items, "_pagination": {"offset": asked.offset, "limit": 1, "total": total, "next": next}}),
    )
}

async fn one(
    State(hub): State<Hub>,
    axum::extract::Path(name): axum::extract::Path<String>,
) -> (StatusCode, Json<Value>) {
    let hub = hub.lock();
    match hub.users.iter().find(|user| user["name"] == *name) {
        Some(user) => (StatusCode::OK, Json(user.clone())),
        None => (StatusCode::NOT_FOUND, Json(json!({"status": 404}))),
    }
}

/// Names that are hostile, in Unicode, and a user without a sign of life.
fn users() -> Vec<Value> {
    vec![
        json!({"name": "ann.o@x.org", "created": "2026-11-21T21:15:46.138273Z", "groups": ["b", "a"],
               "last_activity": "2026-11-21T21:15:46.499495Z", "admin": false, "kind": "user",
               "roles": ["user"], "server": null, "pending": null, "servers": {}, "user_info": null}),
        json!({"name": "ü/../%2e", "created": "2026-11-21T21:15:46Z", "last_activity": null}),
        json!({"name": "old"}),
    ]
}

async fn ask(fake: Fake) -> (Hub, HubClient) {
    let hub = Arc::new(Mutex::new(fake));
    let app = Router::new()
        .route("/hub/api/user", get(ourselves))
        .route("/hub/api/users", get(page))
        .route("/hub/api/users/{name}", get(one))
        .with_state(hub.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    let client = client_of(addr);
    (hub, client)
}

#[tokio::test]
async fn everybody_is_listed_over_all_pages_whether_their_server_runs_or_not() {
    for page in 1..=4 {
        let fake = Fake {
            users: users(),
            scopes: vec![SEES_ALL],
            page,
            leaves: None,
        };
        let (_, client) = ask(fake).await;
        let everybody = client.everybody().await.unwrap();
        assert!(everybody.whole);
        let [ann, other, old] = &everybody.users[..] else {
            panic!("{everybody:?}")
        };
        assert_eq!(&*ann.name, "ann.o@x.org");
        assert_eq!(ann.created_us, Some(1_795_295_746_138_273));
        assert_eq!(ann.last_activity_ms, Some(1_795_295_746_499));
        assert_eq!(ann.groups[0].as_str(), "a");
        assert_eq!(other.created_us, Some(1_795_295_746_000_000));
        assert_eq!((old.created_us, old.last_activity_ms), (None, None));
    }
}

#[tokio::test]
async fn when_everybody_was_active_is_told_of_all_or_it_is_an_error_and_not_nobody() {
    let told = |name: &str, at: Value| json!({"name": name, "last_activity": at});
    let all = [
        told("ann", "2026-11-21T21:30:00Z".into()),
        told("=bob", Value::Null),
    ];
    let asked = async |users: &[Value], scopes: &[&'static str]| {
        let (users, scopes) = (users.to_vec(), scopes.to_vec());
        let (_, client) = ask(Fake {
            users,
            scopes,
            page: 1,
            leaves: None,
        })
        .await;
        let everybody = client.everybody().await.unwrap();
        let told = everybody.last_activities();
        told.map(Iterator::collect::<Vec<_>>)
            .map_err(|error| error.to_string())
    };
    let sees = [SEES_ALL, "read:users:activity"];
    assert_eq!(
        asked(&all, &sees).await,
        Ok(vec![Some(1_795_296_600_000), None])
    );
    let silent = [all[0].clone(), json!({"name": "old"})];
    let error = asked(&silent, &sees).await.unwrap_err();
    assert!(error.contains("read:users:activity"), "{error}");
    for scopes in [&[][..], &["list:users!group=a", "read:users:activity"]] {
        let error = asked(&all, scopes).await.unwrap_err();
        assert!(error.contains("list:users, without a filter"), "{error}");
    }
}

#[tokio::test]
async fn a_user_who_is_deleted_between_two_pages_makes_no_list() {
    for leaves in 0..3 {
        let fake = Fake {
            users: users(),
            scopes: vec![SEES_ALL],
            page: 1,
            leaves: Some(leaves),
        };
        let (_, client) = ask(fake).await;
        assert!(client.everybody().await.is_err(), "{leaves}");
        assert_eq!(client.everybody().await.unwrap().users.len(), 2);
    }
}

#[tokio::test]
async fn a_list_that_a_filtered_scope_cut_is_not_whole() {
    for scopes in [vec![], vec!["list:users!group=a", "read:users"]] {
        let (_, client) = ask(Fake {
            users: users(),
            scopes,
            page: 9,
            leaves: None,
        })
        .await;
        assert!(!client.everybody().await.unwrap().whole);
    }
}

#[tokio::test]
async fn one_user_is_asked_for_by_any_name() {
    let (hub, client) = ask(Fake {
        users: users(),
        ..Fake::default()
    })
    .await;
    for name in ["ann.o@x.org", "ü/../%2e", "old"] {
        assert_eq!(&*client.user(name).await.unwrap().unwrap().name, name);
    }
    hub.lock().users.clear();
    assert_eq!(client.user("old").await.unwrap(), None);
}
