//! What a round leaves alone when something is wrong.

use super::{Outcome::*, *};

fn timed() -> Settings {
    Settings {
        timeout: Some(Duration::from_secs(3600)),
        ..plain()
    }
}

#[tokio::test]
async fn a_hub_that_does_not_tell_everything_stops_nothing() {
    let broken: [(&str, u16, &str); 5] = [
        ("GET /hub/api/users", 500, ""),
        ("GET /hub/api/users", 403, "{}"),
        ("GET /hub/api/users", 200, r#"{"items": [{"na"#),
        // No scope to read servers: everybody would look as if nothing ran.
        (
            "GET /hub/api/users",
            200,
            r#"{"items": [{"name": "ann"}], "_pagination": {"next": null}}"#,
        ),
        // The second page.
        ("GET /hub/api/users?state=ready&limit=200&offset=1", 502, ""),
    ];
    for (asked, status, body) in broken {
        let town = Town { page: 1, ..town() };
        town.answers(asked, status, body);
        let (town, round) = once(town, timed()).await;
        assert!(town.orders().is_empty(), "{asked} {status}");
        let trouble = round.failed().unwrap();
        assert!(
            trouble.starts_with("nothing is stopped: the hub"),
            "{trouble}"
        );
    }
}

#[tokio::test]
async fn a_hub_that_is_too_slow_stops_nothing() {
    // It takes the connection, and no more.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let settings = Settings {
        hub_url: format!("http://{addr}/hub/api"),
        collector_url: format!("http://{addr}"),
        reach: Reach {
            request_timeout: Duration::from_millis(50),
            internal: None,
        },
        ..timed()
    };
    let culler = Culler::new(settings, Arc::new(ManualClock::default())).unwrap();
    let trouble = culler.round().await.failed().unwrap();
    assert!(
        trouble.contains("no answer from the hub to GET /users"),
        "{trouble}"
    );
}

#[tokio::test]
async fn a_collector_that_does_not_tell_everything_spares_everybody() {
    let broken: [(&str, u16, &str); 5] = [
        ("GET /services", 500, ""),
        ("GET /services", 403, r#"{"detail": "scope"}"#),
        ("GET /services", 200, r#"{"items": [{"us"#),
        (
            "GET /services",
            200,
            r#"{"items": [], "nex": null, "items": 3}"#,
        ),
        (
            "GET /services/hubmeter/api/v1/cull?limit=5000&timeout=3600000ms&cursor=1",
            500,
            "",
        ),
    ];
    for (asked, status, body) in broken {
        let town = Town { page: 1, ..town() };
        town.answers(asked, status, body);
        let (town, round) = once(town, timed()).await;
        assert!(town.orders().is_empty(), "{asked} {status}");
        assert!(round.rows.iter().all(|told| told.outcome == Kept));
        let trouble = round.failed().unwrap();
        assert!(trouble.contains("GET /api/v1/cull"), "{trouble}");
    }
}

#[tokio::test]
async fn a_collector_silent_for_an_hour_leaves_it_to_the_hub() {
    let town = town();
    // By the hub all were active two hours ago: Bob's silent computation is stopped, too.
    town.answers("GET /services", 503, "");
    let (town, culler) = open(town, timed()).await;
    assert!(culler.round().await.failed().is_some());
    town.clock.advance(HOUR_MS);
    culler.round().await;
    assert!(town.orders().is_empty());
    town.clock.advance(1);
    let round = culler.round().await;
    assert_eq!(town.orders().len(), 3);
    assert!(round.trouble.unwrap().contains("status 503"));
    assert!(
        round.rows[2]
            .judgement
            .reason
            .contains("by the hub's last_activity")
    );
}

#[tokio::test]
async fn without_a_timeout_there_is_nothing_else_to_go_by() {
    let town = town();
    town.answers("GET /services", 503, "");
    let (town, culler) = open(town, plain()).await;
    culler.round().await;
    town.clock.advance(2 * HOUR_MS);
    let round = culler.round().await;
    assert!(town.orders().is_empty());
    assert!(round.rows[0].judgement.reason.contains("without --timeout"));
}

#[tokio::test]
async fn a_collector_that_came_back_begins_its_hour_anew() {
    let town = town();
    town.answers("GET /services", 503, "");
    let (town, culler) = open(town, timed()).await;
    culler.round().await;
    town.clock.advance(HOUR_MS);
    let silent = std::mem::take(&mut *town.instead.lock());
    town.rows.lock().clear();
    assert_eq!(culler.round().await.trouble, None);
    *town.instead.lock() = silent;
    town.clock.advance(HOUR_MS);
    culler.round().await;
    assert!(town.orders().is_empty());
}

#[tokio::test]
async fn what_the_collector_does_not_list_is_kept() {
    let town = town();
    town.rows.lock().remove(0);
    let (town, round) = once(town, plain()).await;
    assert_eq!(town.orders(), ["DELETE /hub/api/users/ann/servers/gpu-1"]);
    assert!(round.rows[0].judgement.reason.contains("does not list it"));
}

#[tokio::test]
async fn what_is_pending_or_not_ready_is_left_alone() {
    let town = town();
    town.users.lock()[0]["servers"][""]["pending"] = json!("stop");
    town.users.lock()[0]["servers"]["gpu-1"]["ready"] = json!(false);
    let (town, round) = once(town, plain()).await;
    assert!(town.orders().is_empty());
    assert!(round.rows[0].judgement.reason.contains("pending (stop)"));
}

#[tokio::test]
async fn a_server_that_was_started_anew_is_another_one() {
    let town = town();
    town.users.lock()[0]["servers"][""]["started"] = json!(time(HOUR_MS));
    // Not idle, too old by policy, and began a moment ago.
    town.users.lock()[0]["servers"]["gpu-1"]["started"] = json!(time(1000));
    town.rows.lock()[1]["idle_since"] = json!(null);
    let (town, round) = once(town, plain()).await;
    assert!(town.orders().is_empty());
    assert!(round.rows[0].judgement.reason.contains("started anew"));
    assert!(round.rows[1].judgement.reason.contains("started anew"));
}

#[tokio::test]
async fn a_stop_that_fails_is_told_and_keeps_no_other_from_stopping() {
    let town = town();
    town.answers("DELETE /hub/api/users/ann/servers/gpu-1", 404, "");
    town.answers("DELETE /hub/api/users/ann/server", 500, "");
    let (_, round) = once(town, plain()).await;
    assert_eq!(
        outcomes(&round)[..2],
        is(&[("ann/", Failed), ("ann/gpu-1", Gone)])
    );
    let reason = &round.rows[0].judgement.reason;
    assert!(
        reason.contains("DELETE /users/:name/server with status 500"),
        "{reason}"
    );
    assert!(round.failed().unwrap().contains("failed to stop 1"));
}

#[tokio::test]
async fn who_came_back_while_others_were_stopped_is_kept() {
    // Each stop takes a minute; the answer from before is no longer gone by.
    let town = Town {
        stop_ms: 60_000,
        ..town()
    };
    let settings = Settings {
        concurrency: 1,
        ..plain()
    };
    let (town, culler) = open(town, settings).await;
    let watch = Arc::clone(&town);
    let comes_back = tokio::spawn(async move {
        while watch.orders.lock().is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        watch.rows.lock()[1] = row("ann", "gpu-1", false);
    });
    let round = culler.round().await;
    comes_back.await.unwrap();
    assert_eq!(town.orders(), ["DELETE /hub/api/users/ann/server"]);
    assert_eq!(outcomes(&round)[1], ("ann/gpu-1".to_owned(), Kept));
}

#[tokio::test]
async fn a_collector_that_falls_silent_while_others_are_stopped_spares_the_rest() {
    let town = Town {
        stop_ms: 60_000,
        ..town()
    };
    let settings = Settings {
        concurrency: 1,
        ..plain()
    };
    let (town, culler) = open(town, settings).await;
    let watch = Arc::clone(&town);
    let falls_silent = tokio::spawn(async move {
        while watch.orders.lock().is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        watch.answers("GET /services", 503, "");
    });
    let round = culler.round().await;
    falls_silent.await.unwrap();
    assert_eq!(town.orders().len(), 1);
    assert!(
        round.rows[1]
            .judgement
            .reason
            .starts_with("unknown by now, so kept")
    );
}

#[test]
fn an_address_that_is_none_is_refused_at_once() {
    let settings = Settings {
        hub_url: "ftp://hub/".to_owned(),
        ..plain()
    };
    let refused = Culler::new(settings, Arc::new(SystemClock)).map(drop);
    let said = refused.unwrap_err().to_string();
    assert!(
        said.contains("ftp://hub/") && said.contains("http+unix://"),
        "{said}"
    );
}
