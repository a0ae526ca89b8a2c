use super::*;
use crate::{
    notice::{NoticeConfig, Reader, Renderer, Runbooks, example},
    verdict::Rule,
};

const NOW_MS: i64 = 1_574_000_000_000;

/// Names that try to be something else where they go.
const HOSTILE: [&str; 8] = [
    "<!channel>",
    "<https://evil.example|click>",
    "@all @channel @here",
    "[click](https://evil.example)",
    "*bold* `code` ~~~",
    "&lt;!channel&gt;",
    "\"}],\"text\":\"x",
    "a\nb",
];

fn notice_about(user: &str, phase: Phase) -> Notice {
    let config = NoticeConfig {
        public_url: Some("https://hub.example.org/services/hubmeter/".into()),
        runbooks: Runbooks {
            default: Some("https://wiki.example.org/{rule}".into()),
            rules: Vec::new(),
        },
        ..NoticeConfig::default()
    };
    let mut verdict = example::verdict(Rule::RunawayMemory, NOW_MS);
    verdict.key = crate::fact::ServerKey::new(user, user);
    verdict.cleared_ms = (phase == Phase::Cleared).then_some(NOW_MS);
    let renderer = Renderer::new(&config).unwrap();
    renderer
        .notice(&verdict, phase, Reader::Admin, None)
        .unwrap()
}

fn strings(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => found.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| strings(item, found)),
        Value::Object(items) => items.values().for_each(|item| strings(item, found)),
        _ => {}
    }
}

#[test]
fn slack_is_told_in_plain_text_with_links_of_ours_alone() {
    let body = body_of(
        WebhookBody::Slack,
        &notice_about("alice", Phase::Opened),
        NOW_MS,
    );
    let blocks = &body["attachments"][0]["blocks"];
    assert_eq!(blocks[0]["text"]["type"], "plain_text");
    let said = blocks[0]["text"]["text"].as_str().unwrap();
    assert!(
        said.starts_with("alice's server alice grows 4.2 MiB/s"),
        "{said}"
    );
    let about = blocks[1]["elements"][0]["text"].as_str().unwrap();
    assert_eq!(
        about,
        "*runaway memory*, critical · <https://hub.example.org/services/hubmeter/|hub page> · \
         <https://wiki.example.org/runaway_memory|what to do>"
    );
    for name in HOSTILE {
        let body = body_of(
            WebhookBody::Slack,
            &notice_about(name, Phase::Opened),
            NOW_MS,
        );
        let text = body["text"].as_str().unwrap();
        assert!(!text.contains(['<', '>']), "{name:?}: {text}");
        assert_eq!(body["mrkdwn"], false);
        let mut said = Vec::new();
        strings(&body["attachments"][0]["blocks"][1], &mut said);
        assert!(said.iter().all(|text| !text.contains(name)), "{said:?}");
    }
}

#[test]
fn mattermost_mentions_nobody_and_draws_no_link_of_a_users() {
    for name in HOSTILE {
        let body = body_of(
            WebhookBody::Mattermost,
            &notice_about(name, Phase::Opened),
            NOW_MS,
        );
        let text = body["attachments"][0]["text"].as_str().unwrap();
        for mention in ["@all", "@channel", "@here", "](", "<!", "```", "~~~"] {
            assert!(!text.contains(mention), "{name:?}: {text}");
        }
    }
    let body = body_of(
        WebhookBody::Mattermost,
        &notice_about("a", Phase::Cleared),
        NOW_MS,
    );
    assert_eq!(body["attachments"][0]["color"], "#2e7d32");
}

#[test]
fn an_alert_keeps_its_labels_to_its_end_and_the_rest_is_annotation() {
    let alert = |phase| {
        body_of(
            WebhookBody::Alertmanager,
            &notice_about("al", phase),
            NOW_MS,
        )
    };
    let (opened, cleared) = (alert(Phase::Opened), alert(Phase::Cleared));
    assert_eq!(opened[0]["labels"], cleared[0]["labels"]);
    assert_eq!(opened[0]["labels"]["alertname"], "hubmeter_runaway_memory");
    assert_eq!(opened[0]["startsAt"], "2019-11-17T14:12:20.000Z");
    assert_eq!(opened[0]["endsAt"], "2019-11-17T14:48:20.000Z");
    assert_eq!(cleared[0]["endsAt"], "2019-11-17T14:13:20.000Z");
    let runbook = "https://wiki.example.org/runaway_memory";
    assert_eq!(opened[0]["annotations"]["runbook_url"], runbook);
}

#[test]
fn every_body_is_json_whatever_names_there_are() {
    for name in HOSTILE {
        for kind in WebhookBody::ALL {
            let body = body_of(kind, &notice_about(name, Phase::Opened), NOW_MS);
            let sent = serde_json::to_string(&body).unwrap();
            assert_eq!(
                serde_json::from_str::<Value>(&sent).unwrap(),
                body,
                "{name:?}"
            );
        }
    }
}
