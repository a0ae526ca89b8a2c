//! What was said about notices: who sees it, and taking it back.

use serde_json::{Value, json};

use super::{
    bed::{Answer, Bed},
    told::queue,
};
use crate::{registry::Audience, serve::Told};

const ACCESS: &str = "access:services!service=hubmeter";

async fn bed() -> (Bed, Told) {
    let bed = Bed::new().await;
    let read = ["custom:hubmeter:read:all"];
    bed.hub.grant("reader", "service", "reader", false, &read);
    let write = ["custom:hubmeter:read:all", "custom:hubmeter:write:all"];
    bed.hub.grant("writer", "service", "writer", false, &write);
    bed.hub.grant("ann", "user", "ann", false, &[ACCESS]);
    bed.hub.grant("bob", "user", "bob", false, &[ACCESS]);
    let told = bed.site().told.clone();
    queue(&told, "e1", "mail", "ann");
    queue(&told, "e2", "mail", "bob");
    (bed, told)
}

async fn send(bed: &Bed, token: &str, method: &str, path: &str, body: &Value) -> Answer {
    let authorization = format!("token {token}");
    let headers = [("authorization", authorization.as_str())];
    let path = format!("api/v1/notices/{path}");
    bed.ask(method, &path, &headers, &body.to_string()).await
}

async fn said(bed: &Bed, token: &str, query: &str) -> Vec<Value> {
    let answer = bed.get_as(token, &format!("api/v1/answers{query}")).await;
    let list = answer.json().await;
    list["items"].as_array().expect("items").clone()
}

#[tokio::test]
async fn admins_see_what_admins_said_and_a_user_what_they_said_themselves() {
    let (bed, _) = bed().await;
    let until = json!({"until": "2019-11-18T08:00:00.000Z"});
    for (token, path, body) in [
        ("writer", "e1/ack", &json!({})),
        ("writer", "e2/mute", &until),
        ("ann", "e1/mute", &until),
    ] {
        assert_eq!(send(&bed, token, "POST", path, body).await.status(), 200);
    }
    let all = said(&bed, "reader", "?sort=user").await;
    assert_eq!(
        all[0],
        json!({"what": "ack", "episode": "e1", "rule": "near_limit", "user": "ann", "server": "",
            "by": "service:writer", "time": "2019-11-17T21:56:36.500Z", "until": null})
    );
    assert_eq!(all.len(), 2);
    assert_eq!(all[1]["what"], "mute");
    assert_eq!(all[1]["until"], until["until"]);
    assert_eq!(said(&bed, "reader", "?user=bob").await, all[1..]);
    let own = said(&bed, "ann", "").await;
    assert_eq!(own.len(), 1);
    assert_eq!(
        (&own[0]["what"], &own[0]["by"]),
        (&json!("mute"), &json!("ann"))
    );
    assert!(said(&bed, "bob", "").await.is_empty());
}

#[tokio::test]
async fn who_sees_all_and_answers_for_themselves_alone_is_told_so_and_sees_their_own_answers() {
    let (bed, _) = bed().await;
    let scopes = [ACCESS, "custom:hubmeter:read:all"];
    bed.hub.grant("ann-all", "user", "ann", false, &scopes);
    let none = json!({});
    for (token, path, status) in [
        ("writer", "e1/ack", 200),
        ("writer", "e2/ack", 200),
        ("ann-all", "e2/ack", 403),
    ] {
        let answer = send(&bed, token, "POST", path, &none).await;
        assert_eq!(answer.status(), status, "{token} {path}");
    }
    let whose = async |query| {
        let said = said(&bed, "ann-all", query).await;
        let of = |said: &Value| format!("{} by {}", said["user"], said["by"]).replace('"', "");
        said.iter().map(of).collect::<Vec<_>>()
    };
    assert_eq!(whose("?sort=user").await, ["bob by service:writer"]);
    let answer = send(&bed, "ann-all", "POST", "e1/ack", &none).await;
    assert_eq!(answer.status(), 200);
    let both = ["ann by ann", "bob by service:writer"];
    assert_eq!(whose("?sort=user").await, both);
    assert_eq!(whose("?user=ann").await, both[..1]);
    assert_eq!(whose("?user=bob").await, both[1..]);
    for (token, admin, changes_all) in [
        ("ann", false, false),
        ("ann-all", true, false),
        ("reader", true, false),
        ("writer", true, true),
    ] {
        let me = bed.get_as(token, "api/v1/me").await.json().await;
        let says = (&me["admin"], &me["changes_all"]);
        assert_eq!(says, (&json!(admin), &json!(changes_all)), "{token}");
    }
}

#[tokio::test]
async fn an_acknowledgement_is_taken_back_by_who_could_give_it() {
    let (bed, told) = bed().await;
    let none = json!({});
    let knows = |audience| told.registry.is_acknowledged("e1", audience).expect("read");
    send(&bed, "ann", "POST", "e1/ack", &none).await;
    send(&bed, "writer", "POST", "e1/ack", &none).await;
    for (token, path, status) in [
        ("bob", "e1/ack", 404),
        ("reader", "e1/ack", 403),
        ("nobody", "e1/ack", 401),
        ("ann", "e9/ack", 404),
    ] {
        let answer = send(&bed, token, "DELETE", path, &none).await;
        assert_eq!(answer.status(), status, "{token} {path}");
    }
    let answer = send(&bed, "ann", "DELETE", "e1/ack", &none).await;
    assert_eq!(
        answer.json().await,
        json!({"episode": "e1", "acknowledged": null})
    );
    assert!(!knows(Audience::User) && knows(Audience::Admins));
    let again = send(&bed, "ann", "DELETE", "e1/ack", &none).await;
    assert_eq!(again.status(), 200, "nothing to take back is no mistake");
}

#[tokio::test]
async fn a_browser_takes_nothing_back_by_its_cookie_alone() {
    let (bed, told) = bed().await;
    send(&bed, "ann", "POST", "e1/ack", &json!({})).await;
    let session = bed.site().sessions.open("ann").await.expect("a login");
    let cookie = format!("hubmeter-session={session}");
    let headers = [("cookie", cookie.as_str())];
    let answer = bed
        .ask("DELETE", "api/v1/notices/e1/ack", &headers, "")
        .await;
    assert_eq!(answer.status(), 403);
    let known = told.registry.is_acknowledged("e1", Audience::User);
    assert!(known.expect("read"));
}
