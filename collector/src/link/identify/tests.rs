//! Against a hub that answers what a real one was recorded to answer.

use std::sync::atomic::AtomicUsize;

use axum::{
    Router,
    extract::State as AxumState,
    http::{HeaderMap, StatusCode},
    response::IntoResponse,
    routing::get,
};

use super::*;
use crate::{clock::ManualClock, config};

/// A server's own token: JupyterHub 6.1.1's answer for bob's `gpu-1`.
const BOB_GPU: &str = r#"{"groups": ["workshop", "other"], "kind": "user", "name": "bob", "last_activity": "2026-11-21T21:14:36.956245Z", "admin": false, "user_info": null, "token_id": "a5", "session_id": null, "scopes": ["access:servers!server=bob/gpu-1", "read:users:activity!user=bob", "read:users:groups!user=bob", "read:users:name!user=bob", "users:activity!user=bob"]}"#;
/// The default server's.
const ANN: &str = r#"{"groups": ["workshop"], "kind": "user", "name": "ann.o@x.org", "last_activity": "2026-11-21T21:14:36.722961Z", "admin": false, "user_info": null, "token_id": "a4", "session_id": null, "scopes": ["access:servers!server=ann.o@x.org/", "read:users:activity!user=ann.o@x.org", "read:users:groups!user=ann.o@x.org", "read:users:name!user=ann.o@x.org", "users:activity!user=ann.o@x.org"]}"#;
/// A service's.
const SERVICE: &str = r#"{"kind": "service", "admin": false, "name": "monitor", "token_id": "a1", "session_id": null, "scopes": ["admin:server_state", "delete:servers", "list:groups", "list:users", "read:groups", "read:groups:name", "read:hub", "read:metrics", "read:roles:users", "read:servers", "read:users:activity", "read:users:groups", "read:users:name"]}"#;
/// What a browser gets for a service by OAuth.
const BROWSER: &str = r#"{"last_activity": "2026-11-21T21:15:46.499495Z", "server": null, "created": "2026-11-21T21:15:46.138273Z", "admin": false, "groups": ["workshop"], "name": "ann.o@x.org", "roles": ["user"], "kind": "user", "pending": null, "servers": {}, "user_info": null, "token_id": "a2", "session_id": "0123", "scopes": ["access:services!service=monitor", "read:servers!user=ann.o@x.org", "read:users!user=ann.o@x.org", "read:users:activity!user=ann.o@x.org", "read:users:groups!user=ann.o@x.org", "read:users:name!user=ann.o@x.org"]}"#;
/// A person's own, with everything that person may do: a self-minted token of role `user`.
const SELF_MINTED: &str = r#"{"last_activity": "2026-11-21T21:15:46.499495Z", "server": null, "admin": false, "groups": ["workshop"], "name": "ann.o@x.org", "roles": ["user"], "kind": "user", "pending": null, "servers": {}, "user_info": null, "token_id": null, "session_id": null, "scopes": ["access:servers!user=ann.o@x.org", "access:services!service=monitor", "delete:servers!user=ann.o@x.org", "read:servers!user=ann.o@x.org", "read:tokens!user=ann.o@x.org", "read:users!user=ann.o@x.org", "servers!user=ann.o@x.org", "start:servers!user=ann.o@x.org", "tokens!user=ann.o@x.org", "users:activity!user=ann.o@x.org", "users:shares!user=ann.o@x.org"]}"#;
/// Ann visits bob's server: the token that his server holds for her.
const VISITOR: &str = r#"{"name": "ann.o@x.org", "kind": "user", "admin": false, "groups": [], "session_id": "0123", "scopes": ["access:servers!server=bob/gpu-1", "read:users:groups!user=ann.o@x.org", "read:users:name!user=ann.o@x.org"]}"#;
/// The same with her own activity scope: still not her server.
const VISITOR_ACTIVE: &str = r#"{"name": "ann.o@x.org", "kind": "user", "scopes": ["access:servers!server=bob/gpu-1", "users:activity!user=ann.o@x.org"]}"#;
/// An admin's own token: unfiltered scopes open everything and identify nothing.
const ADMIN: &str = r#"{"name": "boss", "kind": "user", "admin": true, "groups": [], "session_id": null, "scopes": ["access:servers", "access:services", "admin:servers", "admin:users", "list:users", "users:activity", "read:servers", "tokens", "admin-ui"]}"#;
/// `c.Spawner.server_token_scopes` without the access scope.
const NARROWED: &str = r#"{"name": "bob", "kind": "user", "scopes": ["users:activity!user=bob"]}"#;
/// Two servers at once identify none.
const TWO: &str = r#"{"name": "bob", "kind": "user", "scopes": ["access:servers!server=bob/", "access:servers!server=bob/gpu-1", "users:activity!user=bob"]}"#;
/// The user `a` looks like the begin of the user `a/b`.
const SLASHED: &str = r#"{"name": "a", "kind": "user", "scopes": ["access:servers!server=a/b/", "users:activity!user=a"]}"#;

#[derive(Default)]
struct Fake {
    answers: Mutex<HashMap<String, &'static str>>,
    asked: AtomicUsize,
    down: std::sync::atomic::AtomicBool,
}

#[derive(Default)]
struct Book(Mutex<HashMap<TokenHash, (ServerKey, i64)>>);

impl TokenBook for Book {
    fn remember(&self, hash: &TokenHash, key: &ServerKey, ms: i64) -> Result<(), RegistryError> {
        self.0.lock().insert(*hash, (key.clone(), ms));
        Ok(())
    }
    fn known(&self, hash: &TokenHash) -> Result<Option<(ServerKey, i64)>, RegistryError> {
        Ok(self.0.lock().get(hash).cloned())
    }
    fn forget(&self, hash: &TokenHash) -> Result<(), RegistryError> {
        self.0.lock().remove(hash);
        Ok(())
    }
}

async fn whoami(AxumState(fake): AxumState<Arc<Fake>>, headers: HeaderMap) -> impl IntoResponse {
    fake.asked.fetch_add(1, Ordering::SeqCst);
    tokio::task::yield_now().await;
    if fake.down.load(Ordering::SeqCst) {
        return (StatusCode::BAD_GATEWAY, String::new());
    }
    let token = headers
        .get("authorization")
        .and_then(|value| value.to_str().ok()?.strip_prefix("token "));
    match token.and_then(|token| fake.answers.lock().get(token).copied()) {
        Some(body) => (StatusCode::OK, body.to_owned()),
        // Recorded for a bad and for a missing token alike.
        None => (
            StatusCode::FORBIDDEN,
            r#"{"status": 403, "message": null}"#.to_owned(),
        ),
    }
}

struct Bench {
    fake: Arc<Fake>,
    book: Arc<Book>,
    clock: Arc<ManualClock>,
    stats: Stats,
    identify: Identify,
}

async fn bench(answers: &[(&str, &'static str)]) -> Bench {
    let fake = Arc::new(Fake::default());
    for (token, body) in answers {
        fake.answers.lock().insert((*token).to_owned(), body);
    }
    let app = Router::new()
        .route("/hub/api/user", get(whoami))
        .with_state(fake.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    let environment = [
        ("JUPYTERHUB_API_URL", format!("http://{addr}/hub/api")),
        ("JUPYTERHUB_API_TOKEN", "monitor-secret".to_owned()),
    ];
    let environment = environment.map(|(name, value)| (name.to_owned(), value));
    let config = config::Config::load(&config::Flags::default(), environment).unwrap();
    let hub = HubClient::new(config.hub.unwrap()).unwrap();
    let (book, clock, stats) = (
        Arc::new(Book::default()),
        Arc::new(ManualClock::at(1_000_000_000)),
        Stats::new(),
    );
    let identify = Identify::new(hub, book.clone(), clock.clone(), stats.clone());
    Bench {
        fake,
        book,
        clock,
        stats,
        identify,
    }
}

impl Bench {
    async fn server(&self, token: &str) -> Result<ServerKey, Denied> {
        self.verified(token).await.map(|verified| verified.key)
    }

    async fn verified(&self, token: &str) -> Result<Verified, Denied> {
        self.identify.server(&Secret::new(token.to_owned())).await
    }

    fn asked(&self) -> usize {
        self.fake.asked.load(Ordering::SeqCst)
    }

    fn advance(&self, by: Duration) {
        self.clock.advance(millis(by));
    }
}

fn bob() -> ServerKey {
    ServerKey::new("bob", "gpu-1")
}

#[tokio::test]
async fn only_a_servers_own_token_passes() {
    let bench = bench(&[
        ("bob", BOB_GPU),
        ("ann", ANN),
        ("service", SERVICE),
        ("browser", BROWSER),
        ("minted", SELF_MINTED),
        ("visitor", VISITOR),
        ("visitor2", VISITOR_ACTIVE),
        ("admin", ADMIN),
        ("narrow", NARROWED),
        ("two", TWO),
        ("slash", SLASHED),
    ])
    .await;
    assert_eq!(bench.server("bob").await, Ok(bob()));
    assert_eq!(
        bench.server("ann").await,
        Ok(ServerKey::new("ann.o@x.org", ""))
    );
    for wrong in [
        "service", "browser", "minted", "visitor", "visitor2", "admin", "narrow", "two", "slash",
    ] {
        let answer = bench.server(wrong).await;
        assert!(
            matches!(answer, Err(Denied::Wrong(_))),
            "{wrong}: {answer:?}"
        );
    }
    for unknown in ["revoked", "expired", "0123456789abcdef0123456789abcdef"] {
        assert_eq!(
            bench.server(unknown).await,
            Err(Denied::Unknown),
            "{unknown}"
        );
    }
    assert_eq!(bench.book.0.lock().len(), 2, "only what passed is kept");
}

#[test]
fn a_header_without_a_usable_token_is_no_token() {
    assert_eq!(bearer(Some(b"token abc")).unwrap().expose(), "abc");
    assert_eq!(bearer(Some(b"BEARER abc")).unwrap().expose(), "abc");
    let of = |bytes: usize| format!("token {}", "x".repeat(bytes));
    for bytes in [limits::TOKEN_BYTES_MAX - 1, limits::TOKEN_BYTES_MAX] {
        assert!(bearer(Some(of(bytes).as_bytes())).is_ok(), "{bytes}");
    }
    let long = of(limits::TOKEN_BYTES_MAX + 1);
    let cases: [&[u8]; 7] = [
        b"abc",
        b"Basic abc",
        b"token ",
        b"token a b",
        b"token a\x07",
        b"token \xff\xfe",
        long.as_bytes(),
    ];
    for garbage in cases {
        assert_eq!(bearer(Some(garbage)), Err(Denied::NoToken));
    }
    assert_eq!(bearer(None), Err(Denied::NoToken));
}

#[tokio::test]
async fn a_known_token_costs_the_hub_nothing_also_after_a_restart() {
    let bench = bench(&[("bob", BOB_GPU)]).await;
    for _ in 0..50 {
        bench.server("bob").await.unwrap();
    }
    assert_eq!(bench.asked(), 1);
    let again = Identify::new(
        bench.identify.0.hub.clone(),
        bench.book.clone(),
        bench.clock.clone(),
        bench.stats.clone(),
    );
    let token = Secret::new("bob".to_owned());
    assert_eq!(again.server(&token).await.unwrap().key, bob());
    assert_eq!(bench.asked(), 1);
}

#[tokio::test]
async fn many_streams_with_one_new_token_ask_once() {
    let bench = bench(&[("bob", BOB_GPU)]).await;
    let mut streams = tokio::task::JoinSet::new();
    for _ in 0..40 {
        let identify = bench.identify.clone();
        streams.spawn(async move { identify.server(&Secret::new("bob".to_owned())).await });
    }
    while let Some(answer) = streams.join_next().await {
        assert_eq!(answer.unwrap().unwrap().key, bob());
    }
    assert_eq!(bench.asked(), 1);
}

#[tokio::test]
async fn invented_tokens_cost_the_hub_no_more_than_the_budget() {
    let bench = bench(&[]).await;
    let mut denied = Vec::new();
    for i in 0..200 {
        denied.push(bench.server(&format!("invented-{i}")).await.unwrap_err());
    }
    assert_eq!(
        bench.asked(),
        usize::try_from(limits::VERIFY_BURST).unwrap()
    );
    assert_eq!(denied.last(), Some(&Denied::Budget));
    // And one of them, again and again, costs one question.
    bench.advance(Duration::from_secs(60));
    for _ in 0..20 {
        assert_eq!(bench.server("same").await, Err(Denied::Unknown));
    }
    assert_eq!(
        bench.asked(),
        usize::try_from(limits::VERIFY_BURST).unwrap() + 1
    );
}

#[tokio::test]
async fn a_revoked_token_is_found_within_a_minute() {
    let bench = bench(&[("bob", BOB_GPU)]).await;
    let token = Secret::new("bob".to_owned());
    let verified = bench.verified("bob").await.unwrap();
    bench.identify.watch(token, verified);
    assert_eq!(bench.identify.recheck().await, None);
    bench.fake.answers.lock().clear();
    bench.advance(limits::TOKEN_FRESH);
    assert_eq!(
        bench.identify.recheck().await,
        Some((bob(), Denied::Unknown))
    );
    assert_eq!(bench.server("bob").await, Err(Denied::Unknown));
}

#[tokio::test]
async fn a_server_missing_from_the_hubs_list_is_asked_about_at_once() {
    let bench = bench(&[("bob", BOB_GPU)]).await;
    let verified = bench.verified("bob").await.unwrap();
    bench
        .identify
        .watch(Secret::new("bob".to_owned()), verified);
    assert_eq!(bench.identify.recheck().await, None);
    bench.fake.answers.lock().clear();
    bench.advance(Duration::from_secs(5));
    assert_eq!(bench.identify.recheck().await, None, "not due yet");
    bench.identify.listed(&[]);
    assert_eq!(
        bench.identify.recheck().await,
        Some((bob(), Denied::Unknown))
    );
}

#[tokio::test]
async fn while_the_hub_is_down_known_tokens_go_on_for_ten_minutes() {
    let bench = bench(&[("bob", BOB_GPU)]).await;
    let verified = bench.verified("bob").await.unwrap();
    bench
        .identify
        .watch(Secret::new("bob".to_owned()), verified);
    bench.fake.down.store(true, Ordering::SeqCst);
    assert_eq!(bench.server("stranger").await, Err(Denied::HubUnreachable));
    bench.advance(limits::TOKEN_GRACE);
    assert_eq!(bench.identify.recheck().await, None);
    assert_eq!(bench.server("bob").await, Ok(bob()));
    assert_eq!(bench.stats.unready(), [Unready::Hub]);
    bench.advance(limits::TOKEN_FRESH);
    assert_eq!(
        bench.identify.recheck().await,
        Some((bob(), Denied::HubUnreachable))
    );
    assert_eq!(bench.server("bob").await, Err(Denied::HubUnreachable));
    // Back again: the first answer makes the known ones good, without asking about each.
    bench.fake.down.store(false, Ordering::SeqCst);
    bench.identify.note_hub(true);
    assert_eq!(bench.server("bob").await, Ok(bob()));
    assert!(bench.stats.unready().is_empty());
}

#[tokio::test]
async fn a_hub_that_answers_nonsense_lets_nobody_in() {
    let bench = bench(&[
        ("html", "<html>login</html>"),
        ("list", "[]"),
        ("empty", "{}"),
    ])
    .await;
    for token in ["html", "list", "empty"] {
        assert_eq!(
            bench.server(token).await,
            Err(Denied::HubUnreachable),
            "{token}"
        );
    }
}
