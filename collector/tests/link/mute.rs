//! A user's own mute, through the real program: JupyterLab is silent, too, until it is over.

use hubmeter_collector::clock::{Clock as _, SystemClock};
use serde_json::{Value, json};

use crate::{
    holds::notice,
    rig::{Agent, Collector, until},
    town::{PREFIX, Town, stream, verdicts},
};

/// Whether the newest verdict about little memory is open, and how many there are.
async fn near_limit(collector: &Collector) -> (usize, bool) {
    let mut all = verdicts(collector, "ann").await;
    all.retain(|verdict| verdict["rule"] == "near_limit");
    let open = all.iter().any(|verdict| verdict["state"] == "open");
    (all.len(), open)
}

async fn mute(collector: &Collector, token: &str, episode: &str, until: Value) {
    let path = format!("{PREFIX}/api/v1/notices/{episode}/mute");
    let body = json!({ "until": until });
    let (status, answer) = collector.post(&path, Some(token), body).await;
    assert_eq!(status, 200, "{answer}");
}

/// The next report is of a server that has used nearly all it may, or of one without a limit; waits until
/// that is judged.
async fn report(collector: &Collector, agent: &Agent, seq: u64, full: bool, wanted: (usize, bool)) {
    if full {
        agent.report_full(seq).await;
    } else {
        agent.report(seq).await;
    }
    until("the verdict", async || {
        near_limit(collector).await == wanted
    })
    .await;
}

#[tokio::test]
async fn what_a_user_muted_is_not_shown_to_them_and_what_is_open_when_they_unmute_it_is() {
    let (dir, town) = (tempfile::tempdir().unwrap(), Town::default());
    town.make("ann");
    let token = town.start("ann", "");
    let collector = town.collector(dir.path()).await;
    let mut agent = stream(&collector, &token, 1, 1..=1, "a.ipynb").await;
    let first = notice(&mut agent).await;
    assert_eq!(first.rule, "near_limit");
    let in_an_hour = SystemClock.now_ms() + 3_600_000;
    let in_an_hour = jiff::Timestamp::from_millisecond(in_an_hour).unwrap();
    let in_an_hour = format!("{in_an_hour:.3}").into();
    mute(&collector, &token, &first.episode, in_an_hour).await;
    report(&collector, &agent, 2, false, (1, false)).await;
    let over = notice(&mut agent).await;
    assert!(over.cleared && over.episode == first.episode, "{over:?}");
    // One comes and goes in the meantime, and one is open when it ends.
    report(&collector, &agent, 3, true, (2, true)).await;
    report(&collector, &agent, 4, false, (2, false)).await;
    report(&collector, &agent, 5, true, (3, true)).await;
    mute(&collector, &token, &first.episode, Value::Null).await;
    let shown = notice(&mut agent).await;
    let open = verdicts(&collector, "ann").await;
    let open = open.iter().find(|verdict| verdict["state"] == "open");
    assert!(!shown.cleared, "{shown:?}");
    assert_eq!(json!(shown.episode), open.unwrap()["episode"]);
}
