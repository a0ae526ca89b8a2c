//! Kinds of tokens × routes: nobody sees what they should not, everybody what they should.

use super::bed::{Bed, PEOPLE, names};
use crate::serve::{guard::Access, routes};

const ACCESS: &str = "access:services!service=hubmeter";

struct Kind {
    what: &'static str,
    authorization: Option<&'static str>,
    /// `None`: nobody. `Some` of an empty list: somebody without a right.
    sees: Option<&'static [&'static str]>,
    metrics: bool,
}

const ALL: &[&str] = &["ada/", "ann/", "bob/gpu-1"];

#[rustfmt::skip]
const KINDS: [Kind; 21] = [
    Kind { what: "none",                     authorization: None,                       sees: None,              metrics: false },
    Kind { what: "garbage",                  authorization: Some("token xyz"),          sees: None,              metrics: false },
    Kind { what: "not a bearer",             authorization: Some("Basic YW5uOmE="),     sees: None,              metrics: false },
    Kind { what: "unspeakable",              authorization: Some("token \u{e9}"),       sees: None,              metrics: false },
    Kind { what: "revoked",                  authorization: Some("token revoked"),      sees: None,              metrics: false },
    Kind { what: "of a kind from later",     authorization: Some("token later"),        sees: None,              metrics: false },
    Kind { what: "ann's server",             authorization: Some("token ann-server"),   sees: Some(&["ann/"]),   metrics: false },
    Kind { what: "ann's server, as Bearer",  authorization: Some("BEARER ann-server"),  sees: Some(&["ann/"]),   metrics: false },
    Kind { what: "bob's named server",       authorization: Some("token bob-server"),   sees: Some(&["bob/gpu-1"]), metrics: false },
    Kind { what: "an admin's server",        authorization: Some("token ada-server"),   sees: Some(&["ada/"]),   metrics: false },
    Kind { what: "visitor at bob's server",  authorization: Some("token visitor"),      sees: Some(&[]),         metrics: false },
    Kind { what: "made by ann herself",      authorization: Some("token ann-own"),      sees: Some(&["ann/"]),   metrics: false },
    Kind { what: "ann's, for another service", authorization: Some("token ann-other"),  sees: Some(&[]),         metrics: false },
    Kind { what: "made by an admin",         authorization: Some("token ada-own"),      sees: Some(ALL),         metrics: true },
    Kind { what: "an admin's, identity only", authorization: Some("token ada-bare"),    sees: Some(&["ada/"]),   metrics: false },
    Kind { what: "teacher of class-a",       authorization: Some("token teacher"),      sees: Some(&["ann/"]),   metrics: false },
    Kind { what: "culling service",          authorization: Some("token culler"),       sees: Some(ALL),         metrics: false },
    Kind { what: "service with our scope",   authorization: Some("token reader"),       sees: Some(ALL),         metrics: true },
    Kind { what: "service that lists users", authorization: Some("token lister"),       sees: Some(&[]),         metrics: false },
    Kind { what: "Prometheus",               authorization: Some("token prometheus"),   sees: Some(&[]),         metrics: true },
    Kind { what: "service named ann",        authorization: Some("token ann-service"),  sees: Some(&[]),         metrics: false },
];

/// Token, kind and name of its owner, whether an admin, scopes.
#[rustfmt::skip]
const GRANTS: [(&str, &str, &str, bool, &[&str]); 16] = [
    ("ann-server",  "user",    "ann",        false, &["access:servers!server=ann/", "users:activity!user=ann", "read:users:name!user=ann"]),
    ("bob-server",  "user",    "bob",        false, &["access:servers!server=bob/gpu-1", "users:activity!user=bob", "read:users:name!user=bob"]),
    ("ada-server",  "user",    "ada",        true,  &["access:servers!server=ada/", "users:activity!user=ada", "read:users:name!user=ada"]),
    ("visitor",     "user",    "ann",        false, &["access:servers!server=bob/gpu-1", "read:users:name!user=ann"]),
    ("ann-own",     "user",    "ann",        false, &["access:servers!user=ann", "read:servers!user=ann", "users:activity!user=ann", ACCESS]),
    ("ann-other",   "user",    "ann",        false, &["access:services!service=other", "read:users!user=ann"]),
    ("ada-own",     "user",    "ada",        true,  &["access:services", "list:users", "read:servers", "read:metrics", "admin-ui"]),
    ("ada-bare",    "user",    "ada",        true,  &[ACCESS, "read:users:name!user=ada"]),
    ("teacher",     "user",    "tim",        false, &["list:users!group=class-a", "read:servers!group=class-a", ACCESS]),
    ("culler",      "service", "culler",     false, &["list:users", "read:servers", "delete:servers"]),
    ("reader",      "service", "reader",     false, &["custom:hubmeter:read:all"]),
    ("lister",      "service", "lister",     false, &["list:users"]),
    ("prometheus",  "service", "prometheus", false, &["read:metrics"]),
    ("ann-service", "service", "ann",        true,  &[ACCESS, "users:activity!user=ann", "access:servers!server=ann/"]),
    ("later",       "robot",   "ann",        true,  &["list:users", "read:servers", ACCESS]),
    ("revoked",     "user",    "ann",        false, &["access:servers!server=ann/", "users:activity!user=ann"]),
];

async fn bed() -> Bed {
    let bed = Bed::keeping(&PEOPLE).await;
    for (token, kind, name, admin, scopes) in GRANTS {
        bed.hub.grant(token, kind, name, admin, scopes);
    }
    bed.hub.revoke("revoked");
    bed
}

/// What `kind` gets from a route of `access` that speaks of `row`, if it does of any.
fn expected(kind: &Kind, access: Access, row: Option<&str>) -> u16 {
    match (access, kind.sees) {
        (Access::Open, _) => 0,
        (Access::Page, None) => 302,
        (_, None) => 401,
        (Access::Metrics, _) if kind.metrics => 200,
        (Access::All, Some(sees)) if sees.len() < ALL.len() => 403,
        (Access::Metrics, _) | (_, Some([])) => 403,
        (Access::Own, Some(sees)) if row.is_some_and(|row| sees.contains(&row)) => {
            // The tokens are called by whose they are.
            let token = kind.authorization.and_then(|text| text.split_once(' '));
            let whose = token.and_then(|(_, token)| token.split('-').next());
            let row = row.and_then(|row| row.split('/').next());
            if whose == row { 200 } else { 403 }
        }
        (_, Some(sees)) => match row {
            Some(row) if !sees.contains(&row) => 404,
            _ => 200,
        },
    }
}

#[tokio::test]
async fn every_kind_of_token_gets_from_every_route_what_it_should() {
    let bed = bed().await;
    let mut cells = 0;
    for kind in &KINDS {
        let headers: Vec<_> = kind
            .authorization
            .iter()
            .map(|value| ("authorization", *value))
            .collect();
        for route in routes() {
            let paths = [
                ("ann", "", "ann/"),
                ("bob", "gpu-1", "bob/gpu-1"),
                ("ada", "", "ada/"),
            ];
            for (user, server, row) in paths {
                let named = route.path.contains("{name}");
                let path = route.path.replace("{user}", user).replace("{name}", server);
                if named == server.is_empty() && route.path.contains("{user}") {
                    continue;
                }
                let row = route.path.contains("{user}").then_some(row);
                let status = if route.access == Access::Own {
                    let until = "{\"until\":\"2019-11-18T08:00:00Z\"}";
                    bed.ask("PUT", &path, &headers, until).await.status()
                } else {
                    bed.get(&path, &headers).await.status()
                };
                match expected(kind, route.access, row) {
                    0 => assert!(
                        ![302, 401, 403].contains(&status) || route.path == "logout",
                        "{}: {path}: {status}",
                        kind.what
                    ),
                    wanted => assert_eq!(status, wanted, "{}: {path}", kind.what),
                }
                cells += 1;
            }
        }
    }
    assert!(cells > 20 * 21, "{cells} cells only");
}

#[tokio::test]
async fn lists_hold_the_rows_of_the_asker_and_no_others() {
    let bed = bed().await;
    for kind in &KINDS {
        let Some(sees) = kind.sees.filter(|sees| !sees.is_empty()) else {
            continue;
        };
        let headers = [("authorization", kind.authorization.expect("somebody"))];
        for path in ["api/v1/servers", "api/v1/cull"] {
            let list = bed.get(path, &headers).await.json().await;
            assert_eq!(names(&list), sees, "{}: {path}", kind.what);
        }
        let me = bed.get("api/v1/me", &headers).await.json().await;
        assert_eq!(me["admin"], sees.len() == 3, "{}", kind.what);
    }
}

#[tokio::test]
async fn a_filter_for_somebody_elses_rows_is_empty_and_not_an_error() {
    let bed = bed().await;
    for path in [
        "api/v1/servers?user=bob",
        "api/v1/cull?user=bob",
        "api/v1/verdicts?user=bob&state=all",
    ] {
        let list = bed.get_as("ann-server", path).await.json().await;
        assert_eq!(names(&list), Vec::<String>::new(), "{path}");
    }
}

#[tokio::test]
async fn a_crowd_with_one_token_asks_the_hub_once() {
    let bed = bed().await;
    let asks = (0..50).map(|_| bed.get_as("ann-server", "api/v1/me"));
    let answers = futures_util::future::join_all(asks).await;
    assert!(answers.iter().all(|answer| answer.status() == 200));
    assert_eq!(bed.hub.asked.load(std::sync::atomic::Ordering::SeqCst), 1);
    for _ in 0..5 {
        assert_eq!(bed.get_as("xyz", "api/v1/me").await.status(), 401);
    }
    assert_eq!(bed.hub.asked.load(std::sync::atomic::Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_hub_that_does_not_answer_lets_in_only_the_known() {
    let bed = bed().await;
    assert_eq!(bed.get_as("ann-server", "api/v1/me").await.status(), 200);
    bed.hub
        .down
        .store(true, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(bed.get_as("ann-server", "api/v1/me").await.status(), 200);
    let answer = bed.get_as("bob-server", "api/v1/me").await;
    assert_eq!(
        (answer.status(), answer.header("retry-after")),
        (503, Some("5"))
    );
    bed.hub
        .down
        .store(false, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(bed.get_as("bob-server", "api/v1/me").await.status(), 200);
}
