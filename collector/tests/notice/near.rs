//! A runaway is told when it matters.

use super::*;

#[tokio::test]
async fn a_runaway_is_mailed_when_its_limit_is_near_and_not_when_it_is_seen_coming() {
    let sink = Sink::start(0).await;
    let dir = tempfile::tempdir().unwrap();
    let config = NoticeConfig {
        cleared: true,
        ..by_mail(sink.addr)
    };
    let outbox = open(dir.path(), &config, &clock());
    let in_seconds = |episode: &str, seconds: f64| {
        let mut verdict = runaway(episode, "alice");
        verdict.evidence[1].1 = Evidence::Number(seconds);
        verdict
    };
    let over = |verdict: Verdict| Verdict {
        cleared_ms: Some(NOW_MS + 60_000),
        ..verdict
    };
    outbox.observe(&[in_seconds("e1", 1_800.0)]).unwrap();
    deliver(&outbox).await;
    assert_eq!(sink.mails().len(), 0, "half an hour is left");
    outbox.observe(&[in_seconds("e1", 599.0)]).unwrap();
    outbox.observe(&[in_seconds("e1", 900.0)]).unwrap();
    deliver(&outbox).await;
    assert_eq!(sink.mails().len(), 1);
    // Its end shows no time; a restart in between forgets that it mattered.
    drop(outbox);
    let outbox = open(dir.path(), &config, &clock());
    outbox.observe(&[over(in_seconds("e1", f64::NAN))]).unwrap();
    deliver(&outbox).await;
    assert_eq!(sink.mails().len(), 2, "who was told is told of the end");
    outbox.observe(&[in_seconds("e2", 1_800.0)]).unwrap();
    outbox.observe(&[over(in_seconds("e2", 1_700.0))]).unwrap();
    deliver(&outbox).await;
    assert_eq!(
        sink.mails().len(),
        2,
        "what never mattered is not told when it is over"
    );
}
