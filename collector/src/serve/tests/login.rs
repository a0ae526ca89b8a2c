//! A browser's way through the hub's login and back.

use std::collections::HashMap;

use percent_encoding::percent_decode_str;

use super::bed::{Answer, Bed, PREFIX, names};

const ACCESS: &str = "access:services!service=hubmeter";
const HTML: (&str, &str) = ("accept", "text/html,application/xhtml+xml");

fn query_of(location: &str) -> HashMap<String, String> {
    let (_, query) = location.split_once('?').expect("a query");
    let pairs = query
        .split('&')
        .map(|pair| pair.split_once('=').expect("a pair"));
    pairs
        .map(|(name, value)| {
            let value = percent_decode_str(value).decode_utf8().expect("text");
            (name.to_owned(), value.into_owned())
        })
        .collect()
}

/// `name=value` of a Set-Cookie.
fn pair(cookie: &str) -> String {
    cookie.split(';').next().expect("a pair").to_owned()
}

/// From the page to the hub and back with `token`; the last answer, and what was asked of the hub.
async fn log_in(bed: &Bed, path: &str, token: &str) -> (Answer, HashMap<String, String>) {
    let leave = bed.get(path, &[HTML]).await;
    assert_eq!(leave.status(), 302);
    let asked = query_of(leave.header("location").expect("a location"));
    bed.hub.agree("c0de", &asked["code_challenge"], token);
    let back = format!("oauth_callback?code=c0de&state={}", asked["state"]);
    let cookie = pair(&leave.cookies()[0]);
    (bed.get(&back, &[("cookie", &cookie)]).await, asked)
}

async fn bed() -> Bed {
    let bed = Bed::new().await;
    bed.hub.grant(
        "ann-web",
        "user",
        "ann",
        false,
        &[ACCESS, "read:users:name!user=ann"],
    );
    bed.hub.grant(
        "ada-web",
        "user",
        "ada",
        true,
        &[ACCESS, "read:users:name!user=ada"],
    );
    bed.hub.grant(
        "eve-web",
        "user",
        "eve",
        false,
        &["read:users:name!user=eve"],
    );
    bed
}

#[tokio::test]
async fn a_person_comes_back_from_the_hub_to_the_page_they_asked_for() {
    let bed = bed().await;
    let (back, asked) = log_in(&bed, "?sort=-rss_bytes", "ann-web").await;
    assert_eq!(asked["client_id"], "service-hubmeter");
    assert_eq!(asked["response_type"], "code");
    assert_eq!(asked["code_challenge_method"], "S256");
    assert_eq!(asked["redirect_uri"], format!("{PREFIX}oauth_callback"));
    assert_eq!(back.status(), 302);
    assert_eq!(
        back.header("location"),
        Some(format!("{PREFIX}?sort=-rss_bytes").as_str())
    );
    let cookies = back.cookies();
    assert!(cookies[0].starts_with("hubmeter-session="), "{cookies:?}");
    for wanted in ["; HttpOnly", "; SameSite=Lax", &format!("; Path={PREFIX}")] {
        assert!(cookies[0].contains(wanted), "{cookies:?}");
    }
    assert!(!cookies[0].contains("Secure") && !cookies[0].contains("ann-web"));
    assert!(
        cookies[1].contains("Max-Age=0"),
        "the login's own cookie goes: {cookies:?}"
    );

    let cookie = pair(&cookies[0]);
    let page = bed.get("", &[HTML, ("cookie", &cookie)]).await;
    assert_eq!(
        (page.status(), page.header("content-type")),
        (200, Some("text/html; charset=utf-8"))
    );
    let me = bed
        .get("api/v1/me", &[("cookie", &cookie)])
        .await
        .json()
        .await;
    let wanted = serde_json::json!({"user": "ann", "admin": false, "changes_all": false,
        "holds_for": {"users": [], "groups": [], "servers": []}, "hub_home": "/jh/hub/home", "logout": format!("{PREFIX}logout"),
        "cull": {"mode": "watch", "hold_max_seconds": 86_400, "warns_by": []}});
    assert_eq!(me, wanted);
    let rows = bed
        .get("api/v1/servers", &[("cookie", &cookie)])
        .await
        .json()
        .await;
    assert_eq!(names(&rows), ["ann/"]);
}

#[tokio::test]
async fn an_admins_browser_sees_all_rows_with_a_token_that_alone_would_not() {
    let bed = bed().await;
    let (back, _) = log_in(&bed, "", "ada-web").await;
    let cookie = pair(&back.cookies()[0]);
    let rows = bed
        .get("api/v1/servers", &[("cookie", &cookie)])
        .await
        .json()
        .await;
    assert_eq!(names(&rows), ["ada/", "ann/", "bob/gpu-1"]);
    let rows = bed.get_as("ada-web", "api/v1/servers").await.json().await;
    assert_eq!(names(&rows), ["ada/"]);
}

#[tokio::test]
async fn a_logout_ends_the_login_here_and_goes_on_to_the_hubs() {
    let bed = bed().await;
    let (back, _) = log_in(&bed, "", "ann-web").await;
    let cookie = pair(&back.cookies()[0]);
    let forced = [
        ("cookie", cookie.as_str()),
        ("sec-fetch-site", "cross-site"),
    ];
    assert_eq!(bed.get("logout", &forced).await.status(), 403);
    assert_eq!(
        bed.get("api/v1/me", &[("cookie", &cookie)]).await.status(),
        200
    );
    let out = bed.get("logout", &[("cookie", &cookie)]).await;
    assert_eq!(
        (out.status(), out.header("location")),
        (302, Some("/jh/hub/logout"))
    );
    assert!(out.cookies()[0].starts_with("hubmeter-session=;"));
    assert_eq!(
        bed.get("api/v1/me", &[("cookie", &cookie)]).await.status(),
        401
    );
}

#[tokio::test]
async fn a_new_session_at_the_hub_makes_us_ask_again() {
    let bed = bed().await;
    let (back, _) = log_in(&bed, "", "ann-web").await;
    let cookie = pair(&back.cookies()[0]);
    bed.hub.revoke("ann-web"); // what a logout at the hub does
    let after = format!("{cookie}; jupyterhub-session-id=another");
    assert_eq!(
        bed.get("api/v1/me", &[("cookie", &after)]).await.status(),
        401
    );
}

#[tokio::test]
async fn behind_https_the_cookies_are_secure() {
    let bed = bed().await;
    let proxied = [HTML, ("x-forwarded-proto", "https,http")];
    let leave = bed.get("", &proxied).await;
    assert!(
        leave.cookies()[0].contains("; Secure"),
        "{:?}",
        leave.cookies()
    );
}

#[tokio::test]
async fn a_forged_stale_or_replayed_way_back_logs_nobody_in() {
    let bed = bed().await;
    let leave = bed.get("", &[HTML]).await;
    let asked = query_of(leave.header("location").expect("a location"));
    let cookie = pair(&leave.cookies()[0]);
    bed.hub.agree("good", &asked["code_challenge"], "ann-web");
    let state = &asked["state"];
    let with = |query: String| format!("oauth_callback?{query}");
    for (what, path, cookie) in [
        (
            "another browser",
            with(format!("code=good&state={state}")),
            "",
        ),
        (
            "another state",
            with("code=good&state=AAAAAAAAAAAAAAAA".to_owned()),
            cookie.as_str(),
        ),
        (
            "a state that begins alike",
            with(format!("code=good&state={state}x")),
            &cookie,
        ),
        ("no state", with("code=good".to_owned()), &cookie),
        ("no code", with(format!("state={state}")), &cookie),
        (
            "a refusal",
            with(format!("error=access_denied&state={state}")),
            &cookie,
        ),
        (
            "a wrong code",
            with(format!("code=bad&state={state}")),
            &cookie,
        ),
    ] {
        let answer = bed.get(&path, &[("cookie", cookie)]).await;
        assert!(
            (400..500).contains(&answer.status()),
            "{what}: {}",
            answer.status()
        );
        assert_eq!(answer.cookies(), Vec::<String>::new(), "{what}");
    }
    let path = with(format!("code=good&state={state}"));
    assert_eq!(bed.get(&path, &[("cookie", &cookie)]).await.status(), 302);
    assert_eq!(
        bed.get(&path, &[("cookie", &cookie)]).await.status(),
        400,
        "the code twice"
    );
}

#[tokio::test]
async fn a_code_for_somebody_elses_challenge_is_refused() {
    let bed = bed().await;
    let leave = bed.get("", &[HTML]).await;
    let asked = query_of(leave.header("location").expect("a location"));
    bed.hub.agree("theirs", "another-challenge", "ann-web");
    let path = format!("oauth_callback?code=theirs&state={}", asked["state"]);
    let cookie = pair(&leave.cookies()[0]);
    assert_eq!(bed.get(&path, &[("cookie", &cookie)]).await.status(), 400);
}

#[tokio::test]
async fn whoever_the_hub_gives_no_access_to_us_stays_out() {
    let bed = bed().await;
    let (back, _) = log_in(&bed, "", "eve-web").await;
    assert_eq!((back.status(), back.cookies().len()), (403, 0));
    let (back, _) = log_in(&bed, "", "ann-web").await;
    let cookie = pair(&back.cookies()[0]);
    bed.hub.grant(
        "ann-web",
        "user",
        "ann",
        false,
        &["read:users:name!user=ann"],
    );
    let after = format!("{cookie}; jupyterhub-session-id=another");
    assert_eq!(
        bed.get("api/v1/me", &[("cookie", &after)]).await.status(),
        403
    );
}

#[tokio::test]
async fn scripts_get_401_and_people_the_login() {
    let bed = bed().await;
    for (path, headers, status) in [
        ("", &[HTML][..], 302),
        ("", &[("sec-fetch-mode", "navigate")], 302),
        ("", &[("sec-fetch-mode", "cors"), HTML], 401),
        ("", &[("accept", "application/json")], 401),
        ("api/v1/servers", &[HTML], 401),
        ("api/v1/events", &[("accept", "text/event-stream")], 401),
    ] {
        let answer = bed.get(path, headers).await;
        assert_eq!(answer.status(), status, "{path} {headers:?}");
        if status == 401 {
            assert_eq!(
                answer.header("content-type"),
                Some("application/problem+json")
            );
            assert_eq!(
                answer.header("www-authenticate"),
                Some("Bearer realm=\"hubmeter\"")
            );
        }
    }
}
