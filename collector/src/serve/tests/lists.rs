//! Lists, one server, history, verdicts, cull: what they hold and how they refuse.

use serde_json::{Value, json};

use super::bed::{Bed, Known, NOW_MS, names, report};
use crate::fact::{Fact, ServerKey};

async fn bed() -> Bed {
    let bed = Bed::new().await;
    let scopes = ["custom:hubmeter:read:all"];
    bed.hub.grant("all", "service", "reader", false, &scopes);
    bed
}

async fn list(bed: &Bed, path: &str) -> Value {
    let answer = bed.get_as("all", path).await;
    assert_eq!(answer.status(), 200, "{path}");
    answer.json().await
}

#[tokio::test]
async fn servers_are_filtered_sorted_and_paged() {
    let bed = bed().await;
    for (path, wanted) in [
        ("api/v1/servers", &["ada/", "ann/", "bob/gpu-1"][..]),
        ("api/v1/servers?user=ann", &["ann/"]),
        ("api/v1/servers?group=class-b", &["bob/gpu-1"]),
        ("api/v1/servers?state=live", &["ada/", "ann/", "bob/gpu-1"]),
        ("api/v1/servers?state=gone", &[]),
        ("api/v1/servers?rule=killed", &[]),
        (
            "api/v1/servers?sort=-rss_bytes",
            &["ann/", "ada/", "bob/gpu-1"],
        ),
        ("api/v1/servers?sort=rss_bytes&limit=1", &["bob/gpu-1"]),
    ] {
        assert_eq!(names(&list(&bed, path).await), wanted, "{path}");
    }
    for (sort, last) in [
        ("rss_bytes", "ann/"),
        ("user", "bob/gpu-1"),
        ("-user", "ada/"),
    ] {
        let first = list(&bed, &format!("api/v1/servers?sort={sort}&limit=2")).await;
        let cursor = first["next"].as_str().expect("more");
        let rest = format!("api/v1/servers?sort={sort}&limit=2&cursor={cursor}");
        let second = list(&bed, &rest).await;
        assert_eq!(
            (names(&second), &second["next"]),
            (vec![last.to_owned()], &Value::Null),
            "{sort}"
        );
    }
}

#[tokio::test]
async fn one_server_is_the_row_of_the_list() {
    let bed = bed().await;
    let rows = list(&bed, "api/v1/servers").await;
    let ann = bed
        .get_as("all", "api/v1/users/ann/server")
        .await
        .json()
        .await;
    let bob = bed
        .get_as("all", "api/v1/users/bob/servers/gpu-1")
        .await
        .json()
        .await;
    assert_eq!([&rows["items"][1], &rows["items"][2]], [&ann, &bob]);
    assert_eq!(ann["memory_used_bytes"], 3_000_000);
    for nobody in [
        "api/v1/users/nobody/server",
        "api/v1/users/ann/servers/gpu-1",
        "api/v1/users/bob/server",
    ] {
        assert_eq!(bed.get_as("all", nobody).await.status(), 404, "{nobody}");
    }
}

#[tokio::test]
async fn names_of_any_kind_are_found_by_their_address_and_shown_as_they_are() {
    let hostile = [
        "a/b",
        "ann.o@x.org",
        "üser",
        "🐙 squid",
        "<script>alert(1)</script>",
        "\"><img src=x>",
        "..",
        "a%2Fb",
        "x\r\nSet-Cookie: a=b",
        "=cmd|' /C calc'!A0",
        "\u{202e}gro.x",
        "a{b}",
        "a?b#c",
        "a+b",
        "null",
        "'; --",
        "{{7*7}}",
        "\\",
        "a\0b",
        "%00",
    ];
    let known: Vec<Known> = hostile
        .iter()
        .map(|name| Known {
            user: name,
            server: name,
            group: name,
            rss_bytes: 1,
        })
        .collect();
    let bed = Bed::with(&known).await;
    bed.hub.grant(
        "all",
        "service",
        "reader",
        false,
        &["custom:hubmeter:read:all"],
    );
    for name in hostile {
        let escaped =
            percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC);
        let path = format!("api/v1/users/{escaped}/servers/{escaped}");
        let row = bed.get_as("all", &path).await.json().await;
        assert_eq!(
            (row["user"].as_str(), row["server"].as_str()),
            (Some(name), Some(name))
        );
        let rows = list(&bed, &format!("api/v1/servers?user={escaped}")).await;
        assert_eq!(rows["items"].as_array().map(Vec::len), Some(1), "{name:?}");
    }
    let metrics = bed.get_as("all", "metrics").await.text().await;
    assert!(
        metrics.contains("hubmeter_agents{state=\"live\"} 20"),
        "{metrics}"
    );
    for name in ["squid", "script", "cmd", "gro.x", "7*7"] {
        assert!(!metrics.contains(name), "{name} in {metrics}");
    }
}

/// Path, status, field at fault, and what the detail says of it.
#[rustfmt::skip]
const MISTAKES: [(&str, u16, &str, &str); 21] = [
    ("api/v1/servers?usr=ann", 400, "usr", "takes user, group, rule"),
    ("api/v1/servers?user=a&user=b", 400, "user", "twice"),
    ("api/v1/servers?limit=5001", 422, "limit", "from 1 to 5000"),
    ("api/v1/servers?limit=0", 422, "limit", "from 1 to 5000"),
    ("api/v1/servers?limit=many", 422, "limit", "many"),
    ("api/v1/servers?sort=secret", 422, "sort", "rss_bytes"),
    ("api/v1/servers?state=dead", 422, "state", "live, silent, gone"),
    ("api/v1/servers?rule=boredom", 422, "rule", "runaway_memory"),
    ("api/v1/servers?idle_seconds_min=-1", 422, "idle_seconds_min", "-1"),
    ("api/v1/servers?cursor=x", 422, "cursor", "handed out"),
    ("api/v1/users/ann/server?fields=x", 400, "fields", "no parameter"),
    ("api/v1/users/ann/server/history?from=later", 422, "from", "-1h"),
    ("api/v1/users/ann/server/history?from=-1h&to=-2h", 422, "from", "before to"),
    ("api/v1/users/ann/server/history?step=10ms", 422, "step", "at least 1 s"),
    ("api/v1/users/ann/server/history?step=soon", 422, "step", "duration"),
    ("api/v1/users/ann/server/history?fields=rss", 422, "fields", "rss_bytes"),
    ("api/v1/users/ann/server/history?fields=rss_bytes,rss_bytes", 422, "fields", "once"),
    ("api/v1/users/ann/server/history?format=xlsx", 422, "format", "json, csv, parquet"),
    ("api/v1/verdicts?state=closed", 422, "state", "open, all"),
    ("api/v1/cull?timeout=soon", 422, "timeout", "duration"),
    ("api/v1/events?user=ann", 400, "user", "no parameter"),
];

#[tokio::test]
async fn mistakes_are_refused_with_the_name_of_the_field_and_its_bound() {
    let bed = bed().await;
    for (path, status, field, says) in MISTAKES {
        let answer = bed.get_as("all", path).await;
        assert_eq!(answer.status(), status, "{path}");
        assert_eq!(
            answer.header("content-type"),
            Some("application/problem+json")
        );
        let problem = answer.json().await;
        assert_eq!(
            (&problem["status"], &problem["field"]),
            (&json!(status), &json!(field)),
            "{path}"
        );
        let detail = problem["detail"].as_str().expect("a detail");
        assert!(detail.contains(says), "{path}: {detail}");
    }
}

#[tokio::test]
async fn a_problem_has_the_shape_of_rfc_9457() {
    let bed = bed().await;
    let problem = bed
        .get_as("all", "api/v1/servers?limit=0")
        .await
        .text()
        .await;
    assert_eq!(
        problem,
        "{\"type\":\"about:blank\",\"title\":\"Bad value\",\"status\":422,\
         \"detail\":\"limit is a whole number from 1 to 5000, not \\\"0\\\"\",\"field\":\"limit\"}"
    );
    let nowhere = bed.get_as("all", "api/v2/servers").await;
    assert_eq!(
        (nowhere.status(), nowhere.header("content-type")),
        (404, Some("application/problem+json"))
    );
}

#[tokio::test]
async fn history_comes_as_columns_or_as_csv() {
    let bed = bed().await;
    let key = ServerKey::new("ann", "");
    bed.remember(&key, &[100, 300, 200]);
    let path =
        "api/v1/users/ann/server/history?from=-1m&fields=rss_bytes,momentum_bytes,cpu_cores,burst";
    let json = bed.get_as("all", path).await.json().await;
    assert_eq!(json["from"], "2019-11-17T21:55:36.500Z");
    assert_eq!(json["step_ms"], Value::Null);
    assert_eq!(
        json["columns"],
        json!({
            "time": ["2019-11-17T21:56:26.500Z", "2019-11-17T21:56:31.500Z", "2019-11-17T21:56:36.500Z"],
            "rss_bytes": [100, 300, 200],
            "momentum_bytes": [null, -1, -1],
            "cpu_cores": [null, 0.5, 0.5],
            "burst": [false, false, false],
        })
    );
    let csv = "time,rss_bytes,momentum_bytes,cpu_cores,burst\n\
        2019-11-17T21:56:26.500Z,100,,,false\n\
        2019-11-17T21:56:31.500Z,300,-1,0.5,false\n\
        2019-11-17T21:56:36.500Z,200,-1,0.5,false\n";
    let by_format = bed.get_as("all", &format!("{path}&format=csv")).await;
    assert_eq!(
        by_format.header("content-type"),
        Some("text/csv; charset=utf-8")
    );
    assert_eq!(by_format.text().await, csv);
    let headers = [("authorization", "token all"), ("accept", "text/csv")];
    assert_eq!(bed.get(path, &headers).await.text().await, csv);
    for (accept, status) in [
        ("application/vnd.ms-excel", 406),
        ("application/vnd.ms-excel, */*;q=0.1", 200),
        ("text/html, */*", 200),
    ] {
        let headers = [("authorization", "token all"), ("accept", accept)];
        assert_eq!(bed.get(path, &headers).await.status(), status, "{accept}");
    }
    let old = bed
        .get_as("all", "api/v1/users/ann/server/history?from=-2h&to=-1h")
        .await
        .json()
        .await;
    assert_eq!(old["columns"]["time"], json!([]));
    assert_eq!(
        bed.get_as("all", "api/v1/users/nobody/server/history")
            .await
            .status(),
        404
    );
}

#[tokio::test]
async fn verdicts_are_open_ones_unless_all_are_asked_for() {
    let bed = bed().await;
    let near = Known {
        user: "ann",
        server: "",
        group: "class-a",
        rss_bytes: (4 << 30) - 1,
    };
    let raised = report(&mut bed.state.write(), &near, 2, NOW_MS);
    assert!(
        !raised.verdicts.is_empty(),
        "a server at its limit is judged"
    );
    let rule = raised.verdicts[0].rule.as_str();
    let open = list(&bed, "api/v1/verdicts").await;
    let verdict = &open["items"][0];
    assert_eq!(
        (&verdict["rule"], &verdict["user"], &verdict["state"]),
        (&json!(rule), &json!("ann"), &json!("open"))
    );
    assert_eq!(
        names(&list(&bed, &format!("api/v1/servers?rule={rule}")).await),
        ["ann/"]
    );

    let calm = Known {
        rss_bytes: 1_000_000,
        ..near
    };
    for seq in 3..400 {
        report(
            &mut bed.state.write(),
            &calm,
            seq,
            NOW_MS + 5_000 * i64::try_from(seq).expect("small"),
        );
    }
    let open = list(&bed, &format!("api/v1/verdicts?rule={rule}")).await;
    assert_eq!(open["items"], json!([]));
    let all = list(
        &bed,
        &format!("api/v1/verdicts?state=all&rule={rule}&sort=since"),
    )
    .await;
    assert_eq!(all["items"][0]["state"], "cleared");
}

#[tokio::test]
async fn cull_answers_for_every_running_server_and_changes_nothing() {
    let bed = bed().await;
    let before = format!("{:?}", bed.state.read().servers);
    let rows = list(&bed, "api/v1/cull?timeout=1h&max_age=0").await;
    assert_eq!(names(&rows), ["ada/", "ann/", "bob/gpu-1"]);
    let fields: Vec<_> = rows["items"][0]
        .as_object()
        .expect("a row")
        .keys()
        .cloned()
        .collect();
    let mut wanted = [
        "user",
        "server",
        "idle_seconds",
        "idle_since",
        "cull",
        "reason",
        "held_until",
        "warned_at",
        "stops_at",
    ];
    wanted.sort_unstable();
    assert_eq!(fields, wanted);
    let old = list(&bed, "api/v1/cull?timeout=1d&max_age=7200").await;
    let culled = old["items"]
        .as_array()
        .expect("items")
        .iter()
        .map(|row| &row["cull"]);
    assert!(culled.into_iter().all(|cull| *cull == json!(true)), "{old}");
    assert_eq!(format!("{:?}", bed.state.read().servers), before);

    bed.state.write().apply(&Fact::Hub {
        at_ms: NOW_MS,
        servers: Vec::new(),
    });
    let stopped = list(&bed, "api/v1/servers?state=gone").await;
    assert_eq!(
        names(&stopped).len() + names(&list(&bed, "api/v1/cull").await).len(),
        3
    );
}

#[tokio::test]
async fn every_answer_is_sealed_against_a_hostile_page() {
    let bed = bed().await;
    for path in ["", "api/v1/servers", "nowhere", "healthz"] {
        let answer = bed.get_as("all", path).await;
        let policy = answer.header("content-security-policy").expect("a policy");
        assert!(
            policy.starts_with("default-src 'none'; script-src 'self';"),
            "{path}"
        );
        assert!(policy.contains("frame-ancestors 'none'"), "{path}");
        assert_eq!(
            answer.header("x-content-type-options"),
            Some("nosniff"),
            "{path}"
        );
        assert_eq!(
            answer.header("referrer-policy"),
            Some("no-referrer"),
            "{path}"
        );
        let kept = answer.header("cache-control").expect("a word on keeping");
        assert!(["no-store", "no-cache"].contains(&kept), "{path}: {kept}");
    }
}

#[tokio::test]
async fn readiness_names_what_stands_in_the_way() {
    let bed = bed().await;
    let ready = bed.get("readyz", &[]).await;
    assert_eq!(
        (ready.status(), ready.json().await),
        (200, json!({"ready": true, "reasons": [], "details": []}))
    );
    let cause = Some("database or disk is full".to_owned());
    bed.stats
        .set_trouble(crate::stats::Unready::Journal, cause.clone());
    let ready = bed.get("readyz", &[]).await;
    assert_eq!(ready.status(), 503);
    let said = ready.json().await;
    assert_eq!(said["reasons"], json!(["journal"]));
    let detail = &said["details"][0];
    assert_eq!(detail["cause"], json!(cause));
    let text = detail["text"].as_str().unwrap_or_default();
    assert!(text.contains("none gets a receipt"), "{text}");
    bed.stats.set_trouble(crate::stats::Unready::Journal, None);
    assert_eq!(bed.get("readyz", &[]).await.status(), 200);
    assert_eq!(
        bed.get("healthz", &[]).await.text().await,
        "{\"status\":\"ok\"}"
    );
}

#[tokio::test]
async fn nothing_but_holds_answers_messages_and_ends_of_starts_can_be_written() {
    use tower::ServiceExt;
    let bed = bed().await;
    for route in crate::serve::routes() {
        let holds = route.path.ends_with("/hold");
        let posts = ["api/v1/messages", "api/v1/starts"].contains(&route.path)
            || route.path.contains("{episode}");
        for method in ["POST", "PUT", "PATCH", "DELETE"] {
            let acks = route.path.ends_with("/ack");
            let changes = match method {
                "PUT" => holds,
                "POST" => posts,
                "DELETE" => holds || acks,
                _ => false,
            };
            if changes {
                continue;
            }
            let request = axum::http::Request::builder()
                .method(method)
                .uri("/")
                .body(axum::body::Body::from("{}"))
                .expect("a request");
            let response = route
                .handler
                .clone()
                .with_state(bed.site())
                .oneshot(request)
                .await;
            let status = response.expect("an answer").status();
            assert_eq!(status, 405, "{method} {}", route.path);
        }
    }
}

#[tokio::test]
async fn nothing_is_said_of_culling_while_the_picture_is_not_whole() {
    let bed = bed().await;
    bed.state.write().recall(Vec::new(), Vec::new());
    assert_eq!(bed.get_as("all", "api/v1/cull").await.status(), 503);
    let started = Fact::Started { at_ms: NOW_MS };
    bed.state.write().apply(&started);
    assert_eq!(bed.get_as("all", "api/v1/cull").await.status(), 200);
}
