//! Acknowledged means kept, whenever the collector is killed.

use std::{collections::BTreeSet, time::Duration};

use hubmeter_proto::{
    delta::{Batch, Encoder},
    v1,
};

use crate::rig::{Collector, hello, login, sample};

/// What history holds of us, by the reports' numbers.
async fn kept(collector: &Collector) -> Vec<u64> {
    let path = format!(
        "/api/v1/users/{}/server/history?from=-1h&fields=memory_used_bytes",
        login()
    );
    let (status, history) = collector.get(&path).await;
    if status == 404 {
        return Vec::new();
    }
    assert_eq!(status, 200, "{history}");
    let column = history["columns"]["memory_used_bytes"].as_array().unwrap();
    column
        .iter()
        .map(|bytes| bytes.as_u64().unwrap() - 1_000_000_000)
        .collect()
}

#[tokio::test]
async fn nothing_that_had_a_receipt_is_missing_after_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let (mut acknowledged, mut sent) = (0, 0);
    for round in 0..6 {
        let collector = Collector::standalone(dir.path()).await;
        let mut agent = collector
            .connect(None, hello(7, acknowledged + 1, sent + 1))
            .await
            .unwrap();
        let resume_seq = agent.welcome().await.resume_seq;
        assert!(
            resume_seq > acknowledged,
            "round {round}: resumes from {resume_seq} after a receipt through {acknowledged}"
        );
        // Unacknowledged reports again, then new ones, a few between commits.
        let (mut next, until) = (resume_seq, sent + 40);
        while next <= until {
            agent.report(next).await;
            next += 1;
            if next % 4 == round % 4 {
                tokio::time::sleep(Duration::from_millis(15)).await;
            }
        }
        sent = until;
        // Dies between receipts: some of what was sent is committed, some is not.
        while let Ok(Ok(Some(message))) = tokio::time::timeout(
            Duration::from_millis(60 * (round + 1)),
            agent.down.message(),
        )
        .await
        {
            if let Some(v1::down::Body::Receipt(receipt)) = message.body {
                acknowledged = acknowledged.max(receipt.through_seq);
                if round % 2 == 0 {
                    break;
                }
            }
        }
        collector.kill();
    }
    assert!(acknowledged > 40, "receipts came: through {acknowledged}");

    let collector = Collector::standalone(dir.path()).await;
    let path = format!("/api/v1/users/{}/server", login());
    collector
        .until(&path, |server| server["user"] == login())
        .await;
    let rows = kept(&collector).await;
    let distinct: BTreeSet<u64> = rows.iter().copied().collect();
    assert_eq!(rows.len(), distinct.len(), "applied once: {rows:?}");
    for seq in 1..=acknowledged {
        assert!(
            distinct.contains(&seq),
            "{seq} of {acknowledged} is missing"
        );
    }
}

/// What a restart must not change of a server.
async fn picture(collector: &Collector) -> serde_json::Value {
    let (_, server) = collector
        .get(&format!("/api/v1/users/{}/server", login()))
        .await;
    let fields = [
        "state",
        "host",
        "started",
        "last_seen",
        "interval_ms",
        "memory_used_bytes",
        "memory_limit_bytes",
        "momentum_bytes",
        "speed_bytes",
        "trend_bytes_per_second",
        "cpu_cores",
        "idle_since",
        "busy_reason",
        "verdicts",
    ];
    fields
        .iter()
        .map(|field| (*field, server[field].clone()))
        .collect()
}

#[tokio::test]
async fn the_live_view_is_the_same_after_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let collector = Collector::standalone(dir.path()).await;
    let mut agent = collector.connect(None, hello(7, 1, 1)).await.unwrap();
    agent.welcome().await;
    for seq in 1..=9 {
        agent.report_full(seq).await;
    }
    agent.receipt(9).await;
    let path = format!("/api/v1/users/{}/server", login());
    let newest = |server: &serde_json::Value| server["memory_used_bytes"] == 1_000_000_009_u64;
    collector.until(&path, newest).await;
    let before = picture(&collector).await;
    assert_eq!(before["verdicts"][0]["rule"], "near_limit");
    assert_eq!(before["momentum_bytes"], 1);
    collector.kill();

    // Twice: the second replay reads what the first start wrote.
    for _ in 0..2 {
        let collector = Collector::standalone(dir.path()).await;
        assert_eq!(picture(&collector).await, before);
        collector.kill();
    }
    let collector = Collector::standalone(dir.path()).await;
    let mut agent = collector.connect(None, hello(7, 1, 10)).await.unwrap();
    assert_eq!(agent.welcome().await.resume_seq, 10);
}

#[tokio::test]
async fn what_a_person_did_between_two_batches_is_judged_and_still_known_after_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let collector = Collector::standalone(dir.path()).await;
    let hello = v1::Hello {
        protocol: 2,
        ..hello(7, 1, 1)
    };
    let mut agent = collector.connect(None, hello).await.unwrap();
    assert!(agent.welcome().await.takes_activity);
    let mut encoder = Encoder::default();
    for seq in 1..=3 {
        let activity = v1::Activity {
            input_mono_ms: Some(sample(seq).mono_ms),
            input_kind: v1::InputKind::Typing.into(),
            ..v1::Activity::default()
        };
        agent.say(v1::up::Body::Activity(activity)).await;
        let episodes = vec!["e1".to_owned()];
        agent.say(v1::up::Body::Shown(v1::Shown { episodes })).await;
        // A difference to the one before: what lay between has no number and leaves no hole.
        let mut told = Vec::new();
        encoder.encode(&sample(seq), &mut told);
        let batch = Batch::write(seq == 1, seq, &told);
        agent.say(v1::up::Body::Batch(batch.into())).await;
    }
    agent.receipt(3).await;
    let path = format!("/api/v1/users/{}/server", login());
    let typing = |server: &serde_json::Value| server["busy_reason"] == "typing 0 s ago";
    let newest = |server: &serde_json::Value| server["memory_used_bytes"] == 1_000_000_003_u64;
    let seen = |server: &serde_json::Value| newest(server) && typing(server);
    collector.until(&path, seen).await;
    collector.kill();
    let collector = Collector::standalone(dir.path()).await;
    assert!(typing(&picture(&collector).await));
}

#[tokio::test]
async fn an_orderly_stop_says_goodbye_and_keeps_everything() {
    let dir = tempfile::tempdir().unwrap();
    let mut collector = Collector::standalone(dir.path()).await;
    let mut agent = collector.connect(None, hello(7, 1, 1)).await.unwrap();
    agent.welcome().await;
    for seq in 1..=5 {
        agent.report(seq).await;
    }
    agent.receipt(5).await;
    let (code, bye) = tokio::join!(collector.terminate(), agent.bye());
    assert_eq!(code, Some(0), "{}", collector.log());
    assert_eq!(bye.reason(), v1::bye::Reason::Shutdown);
    assert!(bye.retry_after_ms > 0);

    let collector = Collector::standalone(dir.path()).await;
    assert_eq!(kept(&collector).await, [1, 2, 3, 4, 5]);
    let mut agent = collector.connect(None, hello(7, 6, 6)).await.unwrap();
    assert_eq!(agent.welcome().await.resume_seq, 6);
}

#[tokio::test]
async fn a_second_collector_on_the_same_data_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let _first = Collector::standalone(dir.path()).await;
    let other = tempfile::tempdir().unwrap();
    let second = std::process::Command::new(env!("CARGO_BIN_EXE_hubmeter-collector"))
        .args(["serve", "--standalone", "--listen", "unix:/dev/null/x"])
        .args(["--data-dir".as_ref(), dir.path().join("data").as_os_str()])
        .current_dir(other.path())
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(1));
    let told = String::from_utf8_lossy(&second.stderr);
    assert!(told.contains("is in use by another collector"), "{told}");
}
