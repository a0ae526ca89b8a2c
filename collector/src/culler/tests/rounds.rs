//! What a round does when all is well.

use super::{Outcome::*, *};

#[tokio::test]
async fn what_the_collector_says_is_idle_is_stopped_and_nothing_else() {
    let (town, round) = once(town(), plain()).await;
    assert_eq!(
        outcomes(&round),
        is(&[("ann/", Out), ("ann/gpu-1", Out), ("bob/", Kept)])
    );
    assert_eq!(
        town.orders(),
        [
            "DELETE /hub/api/users/ann/server",
            "DELETE /hub/api/users/ann/servers/gpu-1"
        ]
    );
    assert_eq!(round.failed(), None);
    assert_eq!(
        round.rows[2].judgement.reason,
        "kernel train.ipynb busy for 3 h"
    );
}

#[tokio::test]
async fn a_dry_run_stops_nothing_and_says_what_it_would() {
    let settings = Settings {
        dry_run: true,
        users: true,
        ..plain()
    };
    let (town, round) = once(town(), settings).await;
    assert!(town.orders().is_empty());
    assert_eq!(
        outcomes(&round),
        is(&[
            ("ann/", Would),
            ("ann/gpu-1", Would),
            ("ann", Would),
            ("bob/", Kept)
        ])
    );
    let table = shown::table(&round);
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(
        lines,
        [
            "USER  SERVER      ACTION  IDLE  REASON",
            "ann   (default)   stop    2 h   idle for 2 h",
            "ann   gpu-1       stop    2 h   idle for 2 h",
            "ann   (the user)  delete  2 h   no activity for 2 h",
            "bob   (default)   keep    0 s   kernel train.ipynb busy for 3 h",
        ]
    );
    let json = shown::json(&round);
    let first: Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
    assert_eq!(first["action"], "stop");
    assert_eq!(first["server"], "");
    assert_eq!(first["idle_seconds"], 7200);
}

#[tokio::test]
async fn names_reach_the_hub_as_they_are() {
    let names = [("ann.o@x.org", "a/b"), ("üser", "x y"), ("bob", "..")];
    let town = Town {
        users: Mutex::new(names.map(|(name, server)| user(name, &[server])).to_vec()),
        rows: Mutex::new(names.map(|(name, server)| row(name, server, true)).to_vec()),
        ..Town::default()
    };
    let (town, round) = once(town, plain()).await;
    assert_eq!(
        town.orders(),
        [
            "DELETE /hub/api/users/%C3%BCser/servers/x%20y",
            "DELETE /hub/api/users/ann.o@x.org/servers/a%2Fb",
        ]
    );
    // `/users/bob/servers/..` would be Bob himself.
    assert_eq!(outcomes(&round)[1], ("bob/..".to_owned(), Failed));
}

#[tokio::test]
async fn the_whole_of_both_lists_is_read() {
    let names: Vec<String> = (0..7).map(|at| format!("user-{at}")).collect();
    let town = Town {
        users: Mutex::new(names.iter().map(|name| user(name, &[""])).collect()),
        rows: Mutex::new(names.iter().map(|name| row(name, "", true)).collect()),
        page: 3,
        ..Town::default()
    };
    let (town, round) = once(town, plain()).await;
    assert_eq!(town.orders().len(), 7);
    assert_eq!(round.rows.len(), 7);
}

#[tokio::test]
async fn the_question_says_what_was_asked_for_and_nothing_else() {
    let (town, _) = once(town(), plain()).await;
    let asked = |town: &Town| {
        let questions = town.questions.lock();
        let cull = questions.iter().find(|asked| asked.contains("/cull"));
        cull.unwrap().clone()
    };
    assert_eq!(
        asked(&town),
        "GET /services/hubmeter/api/v1/cull?limit=5000"
    );
    let settings = Settings {
        timeout: Some(Duration::from_secs(600)),
        max_age: Some(Duration::ZERO),
        ..plain()
    };
    let (town, _) = once(super::town(), settings).await;
    assert!(asked(&town).ends_with("&timeout=600000ms&max_age=0ms"));
}

#[tokio::test]
async fn no_more_orders_are_under_way_at_once_than_asked_for() {
    let names: Vec<String> = (0..20).map(|at| format!("user-{at}")).collect();
    let town = Town {
        users: Mutex::new(names.iter().map(|name| user(name, &[""])).collect()),
        rows: Mutex::new(names.iter().map(|name| row(name, "", true)).collect()),
        ..Town::default()
    };
    let settings = Settings {
        concurrency: 2,
        ..plain()
    };
    let (town, round) = once(town, settings).await;
    assert_eq!(round.rows.len(), 20);
    assert!(town.under_way_max.load(Ordering::SeqCst) <= 2);
}

#[tokio::test]
async fn kinds_of_servers_that_are_not_culled_are_kept() {
    let settings = Settings {
        named_servers: false,
        ..plain()
    };
    let (town, round) = once(town(), settings).await;
    assert_eq!(town.orders(), ["DELETE /hub/api/users/ann/server"]);
    assert!(
        round.rows[1]
            .judgement
            .reason
            .contains("named servers are not culled")
    );
}

#[tokio::test]
async fn a_named_server_is_forgotten_only_if_that_was_asked_for() {
    let settings = Settings {
        remove_named_servers: true,
        ..plain()
    };
    let (town, _) = once(town(), settings).await;
    assert_eq!(
        town.orders(),
        [
            "DELETE /hub/api/users/ann/server",
            r#"DELETE /hub/api/users/ann/servers/gpu-1 {"remove":true}"#
        ]
    );
}

/// Ann has no server, Bob's works, the admin's may be stopped.
fn people() -> Town {
    let mut admin = user("admin", &[""]);
    admin["admin"] = json!(true);
    Town {
        users: Mutex::new(vec![user("ann", &[]), user("bob", &[""]), admin]),
        rows: Mutex::new(vec![row("bob", "", false), row("admin", "", true)]),
        ..Town::default()
    }
}

#[tokio::test]
async fn users_are_deleted_only_if_that_was_asked_for() {
    let (town, _) = once(people(), plain()).await;
    assert_eq!(town.orders(), ["DELETE /hub/api/users/admin/server"]);
    let settings = Settings {
        users: true,
        admin_users: false,
        ..plain()
    };
    let (town, round) = once(people(), settings).await;
    assert_eq!(
        town.orders(),
        [
            "DELETE /hub/api/users/admin/server",
            "DELETE /hub/api/users/ann"
        ]
    );
    assert_eq!(
        outcomes(&round),
        is(&[
            ("admin/", Out),
            ("admin", Kept),
            ("ann", Out),
            ("bob/", Kept)
        ])
    );
}

#[tokio::test]
async fn a_user_who_was_active_within_the_timeout_is_kept() {
    let settings = Settings {
        users: true,
        timeout: Some(Duration::from_secs(3 * 3600)),
        ..plain()
    };
    let (town, _) = once(people(), settings).await;
    assert_eq!(town.orders(), ["DELETE /hub/api/users/admin/server"]);
}

#[tokio::test]
async fn a_user_who_came_back_meanwhile_is_kept() {
    let town = people();
    let back = user("ann", &["new"]).to_string();
    town.answers("GET /hub/api/users/ann", 200, &back);
    let settings = Settings {
        users: true,
        ..plain()
    };
    let (town, round) = once(town, settings).await;
    assert!(
        !town
            .orders()
            .contains(&"DELETE /hub/api/users/ann".to_owned())
    );
    let ann = round.rows.iter().find(|told| told.user == "ann").unwrap();
    assert_eq!(ann.judgement.reason, "they came back meanwhile");
}

#[tokio::test]
async fn slow_to_stop_counts_as_alive() {
    let town = people();
    town.answers("DELETE /hub/api/users/admin/server", 202, "");
    let settings = Settings {
        users: true,
        ..plain()
    };
    let (town, round) = once(town, settings).await;
    assert_eq!(outcomes(&round)[0], ("admin/".to_owned(), Slowly));
    assert!(
        !town
            .orders()
            .contains(&"DELETE /hub/api/users/admin".to_owned())
    );
}

#[tokio::test]
async fn a_hub_on_a_unix_socket_is_reached() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("hub socket");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let all = Arc::new(town());
    all.clock.set(NOW_MS);
    let app = Router::new().fallback(answer).with_state(Arc::clone(&all));
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    let socket = path
        .to_str()
        .unwrap()
        .replace('/', "%2F")
        .replace(' ', "%20");
    let settings = Settings {
        hub_url: format!("http+unix://{socket}/hub/api"),
        collector_url: format!("http+unix://{socket}/services/hubmeter"),
        ..plain()
    };
    let clock = Arc::clone(&all.clock) as Arc<dyn Clock>;
    let round = Culler::new(settings, clock).unwrap().round().await;
    assert_eq!(round.trouble, None);
    assert_eq!(all.orders().len(), 2);
}
