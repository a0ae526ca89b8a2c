//! Standalone: the system says who asks.

use std::sync::Arc;

use serde_json::Value;

use super::bed::{Bed, Known, names};
use crate::{
    peer::Peer,
    serve::{Ends, Identify, Listener, PerUser, by_kernel},
};

/// What servers on real sockets show in `/metrics`.
pub(super) const TWO_SERVERS: PerUser = PerUser {
    on: true,
    servers_max: 2,
};

/// Says that everybody is `uid`.
fn always(uid: Option<u32>) -> Identify {
    Arc::new(move |_| uid.map(|uid| Peer { uid }))
}

async fn ask(bed: &Bed, identify: Identify, path: &str, host: Option<&str>) -> (u16, Value) {
    let addr = bed.run(Some(identify)).await;
    let mut request = reqwest::Client::new().get(format!("http://{addr}/{path}"));
    if let Some(host) = host {
        request = request.header("host", host);
    }
    let response = request.send().await.expect("an answer");
    let status = response.status().as_u16();
    let body = response.bytes().await.expect("a body");
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

/// A uid that no login has.
const STRANGER: u32 = 4_000_000;

#[tokio::test]
async fn a_local_login_sees_its_own_rows_and_root_sees_all() {
    let own = format!("uid-{STRANGER}");
    let known = [
        Known {
            user: &own,
            server: "",
            group: "",
            rss_bytes: 1,
        },
        Known {
            user: "other",
            server: "",
            group: "",
            rss_bytes: 1,
        },
    ];
    let bed = Bed::with(&known).await;
    let (status, rows) = ask(&bed, always(Some(STRANGER)), "api/v1/servers", None).await;
    assert_eq!((status, names(&rows)), (200, vec![format!("{own}/")]));
    let (status, _) = ask(
        &bed,
        always(Some(STRANGER)),
        "api/v1/users/other/server",
        None,
    )
    .await;
    assert_eq!(status, 404);
    let (status, _) = ask(&bed, always(Some(STRANGER)), "metrics", None).await;
    assert_eq!(status, 403);
    let (_, rows) = ask(&bed, always(Some(0)), "api/v1/servers", None).await;
    assert_eq!(names(&rows), ["other/".to_owned(), format!("{own}/")]);
    let (_, me) = ask(&bed, always(Some(STRANGER)), "api/v1/me", None).await;
    assert_eq!((&me["user"], &me["hub_home"]), (&own.into(), &Value::Null));
}

#[tokio::test]
async fn a_caller_the_system_does_not_name_is_refused() {
    let bed = Bed::new().await;
    assert_eq!(ask(&bed, always(None), "api/v1/servers", None).await.0, 401);
    assert_eq!(ask(&bed, always(None), "", None).await.0, 401);
    assert_eq!(ask(&bed, always(None), "healthz", None).await.0, 200);
}

#[tokio::test]
async fn a_page_that_calls_us_by_another_name_is_refused() {
    let bed = Bed::new().await;
    let (status, _) = ask(
        &bed,
        always(Some(0)),
        "api/v1/servers",
        Some("evil.example"),
    )
    .await;
    assert_eq!(status, 403);
}

#[tokio::test]
async fn the_kernel_names_the_login_at_the_other_end() {
    let bed = Bed::new().await;
    let uid = rustix::process::geteuid().as_raw();
    let (status, me) = ask(&bed, by_kernel(), "api/v1/me", None).await;
    assert_eq!(
        (status, &me["user"]),
        (200, &Peer { uid }.login().as_str().into())
    );
}

#[tokio::test]
async fn a_unix_socket_and_a_metrics_port_serve_alike() {
    let bed = Bed::new().await;
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("api.sock");
    let socket = tokio::net::UnixListener::bind(&path).expect("a socket");
    let scraped = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let addr = scraped.local_addr().expect("an address");
    let identify: Identify = Arc::new(|ends| match ends {
        Ends::Unix { uid } => Some(Peer { uid }),
        Ends::Tcp { .. } => None,
    });
    let serving = bed.run_on(
        Listener::Unix(socket),
        Some(Listener::Tcp(scraped)),
        Some(identify),
    );
    let client = reqwest::Client::builder()
        .unix_socket(path)
        .build()
        .expect("a client");
    let answer = client
        .get("http://localhost/api/v1/me")
        .send()
        .await
        .expect("an answer");
    assert_eq!(answer.status(), 200);
    let metrics = reqwest::get(format!("http://{addr}/metrics"))
        .await
        .expect("an answer");
    assert_eq!(
        metrics.headers()["content-type"],
        "text/plain; version=0.0.4; charset=utf-8"
    );
    let metrics = metrics.text().await.expect("text");
    for line in [
        "hubmeter_agents{state=\"live\"} 3",
        // As the settings say; without them `lists` finds no name.
        "hubmeter_server_memory_limit_bytes{user=\"ann\",server=\"\"} 4294967296",
        "hubmeter_limit_max{limit=\"server_series\"} 2",
    ] {
        assert!(metrics.lines().any(|told| told == line), "{metrics}");
    }
    let nothing_else = reqwest::get(format!("http://{addr}/api/v1/servers"))
        .await
        .expect("an answer");
    assert_eq!(nothing_else.status(), 404);
    bed.stop.send_replace(true);
    drop(client); // its idle connection must not hold us up
    serving.await.expect("a clean end");
}
