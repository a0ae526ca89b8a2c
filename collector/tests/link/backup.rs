//! A backup of a collector that goes on: what it must have, and what must not come of it twice.

use std::{
    collections::BTreeSet,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Output},
};

use hubmeter_proto::v1;

use crate::{
    rig::{Collector, hello, until},
    town::{Town, busy, kept, stream, verdicts},
};

fn back_up(dir: &Path, to: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hubmeter-collector"))
        .args(["backup".as_ref(), to.as_os_str()])
        .args(["--data-dir".as_ref(), dir.join("data").as_os_str()])
        .env_clear()
        .output()
        .unwrap()
}

/// A directory for a collector that begins with `backup`.
fn restored(backup: &Path) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("data");
    let copied = Command::new("cp").arg("-a").args([backup, &to]).status();
    assert!(copied.unwrap().success());
    dir
}

/// Reports on until told to stop; gives the last report that had a receipt.
async fn go_on(
    collector: &Collector,
    token: &str,
    from: u64,
    stop: tokio::sync::oneshot::Receiver<()>,
) -> u64 {
    let mut agent = collector
        .connect(Some(token), hello(1, 1, from))
        .await
        .unwrap();
    assert_eq!(agent.welcome().await.resume_seq, from);
    let mut seq = from;
    let mut stop = stop;
    loop {
        let samples = vec![busy(seq, "x.ipynb")];
        agent
            .say(v1::up::Body::Report(v1::Report { seq, samples }))
            .await;
        agent.receipt(seq).await;
        if stop.try_recv().is_ok() {
            return seq;
        }
        seq += 1;
    }
}

#[tokio::test]
async fn a_backup_of_a_live_collector_has_all_that_was_acknowledged_and_resends_merge() {
    let (dir, town) = (tempfile::tempdir().unwrap(), Town::default());
    for name in ["ann", "bob", "cleo"] {
        town.make(name);
    }
    let token = town.start("ann", "");
    let collector = town.collector(dir.path()).await;
    drop(stream(&collector, &token, 1, 1..=40, "x.ipynb").await);
    let acknowledged = 40;
    let episodes: Vec<_> = verdicts(&collector, "ann").await;
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let to = dir.path().join("backup");
    let (from, into) = (dir.path().to_owned(), to.clone());
    let copying = tokio::task::spawn_blocking(move || {
        let output = back_up(&from, &into);
        let _ = stop.send(());
        output
    });
    let last = go_on(&collector, &token, acknowledged + 1, stopped).await;
    let output = copying.await.unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(last > acknowledged, "it went on meanwhile");
    // Bob's server gets a number after the backup, which a restored one gives to cleo's.
    let bobs = town.start("bob", "");
    drop(stream(&collector, &bobs, 2, 1..=9, "x.ipynb").await);
    collector.kill();

    for entry in std::fs::read_dir(&to).unwrap() {
        let mode = entry.unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "for nobody else's eyes");
    }
    let second = restored(&to);
    let collector = town.collector(second.path()).await;
    let rows = kept(&collector, "ann", "").await;
    let distinct: BTreeSet<u64> = rows.iter().copied().collect();
    assert_eq!(rows.len(), distinct.len(), "nothing is doubled");
    for seq in 1..=acknowledged {
        assert!(distinct.contains(&seq), "{seq} is missing");
    }
    let now = verdicts(&collector, "ann").await;
    for episode in &episodes {
        let same = now.iter().find(|v| v["episode"] == episode["episode"]);
        assert!(same.is_some(), "{episode} is missing in {now:?}");
    }
    // Its agent kept more than the backup has.
    let hello = hello(1, 1, last + 1);
    let mut agent = collector.connect(Some(&token), hello).await.unwrap();
    let resume = agent.welcome().await.resume_seq;
    assert!(resume > acknowledged, "known tokens and numbers came along");
    for seq in resume..=last {
        let samples = vec![busy(seq, "x.ipynb")];
        agent
            .say(v1::up::Body::Report(v1::Report { seq, samples }))
            .await;
    }
    if resume <= last {
        agent.receipt(last).await;
    }
    let cleos = town.start("cleo", "");
    drop(stream(&collector, &cleos, 3, 1..=4, "x.ipynb").await);
    let all: Vec<u64> = (1..=last).collect();
    until("all of ann's and of cleo's rows", async || {
        kept(&collector, "ann", "").await == all
            && kept(&collector, "cleo", "").await == [1, 2, 3, 4]
    })
    .await;
}

#[tokio::test]
async fn a_backup_without_a_collector_is_the_same_and_overwrites_nothing() {
    let (dir, town) = (tempfile::tempdir().unwrap(), Town::default());
    town.make("ann");
    let token = town.start("ann", "");
    let mut collector = town.collector(dir.path()).await;
    drop(stream(&collector, &token, 1, 1..=6, "x.ipynb").await);
    collector.terminate().await;
    drop(collector);
    let to = dir.path().join("backup");
    assert_eq!(back_up(dir.path(), &to).status.code(), Some(0));
    let again = back_up(dir.path(), &to);
    assert_eq!(again.status.code(), Some(1));
    let why = String::from_utf8_lossy(&again.stderr);
    assert!(why.contains("is there already"), "{why}");
    let inside = back_up(dir.path(), &dir.path().join("data/backup"));
    assert_eq!(inside.status.code(), Some(1));
    let second = restored(&to);
    let collector = town.collector(second.path()).await;
    assert_eq!(kept(&collector, "ann", "").await, [1, 2, 3, 4, 5, 6]);
}

#[tokio::test]
async fn whoever_forgets_a_user_is_told_of_backups() {
    let (dir, town) = (tempfile::tempdir().unwrap(), Town::default());
    town.make("ann");
    let token = town.start("ann", "");
    let collector = town.collector(dir.path()).await;
    drop(stream(&collector, &token, 1, 1..=3, "x.ipynb").await);
    let to = dir.path().join("backup");
    assert_eq!(back_up(dir.path(), &to).status.code(), Some(0));
    let forgotten = Command::new(env!("CARGO_BIN_EXE_hubmeter-collector"))
        .args(["forget", "ann", "--data-dir"])
        .arg(dir.path().join("data"))
        .env_clear()
        .output()
        .unwrap();
    assert_eq!(forgotten.status.code(), Some(0), "{forgotten:?}");
    let told = String::from_utf8(forgotten.stdout).unwrap();
    assert!(told.contains(to.to_str().unwrap()), "{told}");
    assert!(!told.contains("ann "), "{told}");
}
