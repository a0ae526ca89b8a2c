//! A user is a person, not a name: deleted, made again, renamed.

use std::time::Duration;

use crate::{
    rig::{Collector, until},
    town::{Town, kept, server_path, shown, stream, verdicts},
};

/// The names in the table of servers, on the disk.
fn names_on_disk(dir: &std::path::Path) -> Vec<String> {
    let path = dir.join("data/history/servers.db");
    let servers = rusqlite::Connection::open(path).unwrap();
    let mut select = servers.prepare("SELECT user FROM server").unwrap();
    let rows = select.query_map([], |row| row.get(0)).unwrap();
    let mut names: Vec<String> = rows.map(Result::unwrap).collect();
    names.sort(); // a pseudonym comes after ann, anna and bob
    names
}

async fn flushed(collector: &Collector, dir: &std::path::Path, user: &str) {
    until("history is on the disk", async || {
        let _ = shown(collector).await;
        names_on_disk(dir).iter().any(|name| name == user)
    })
    .await;
}

#[tokio::test]
async fn a_user_made_again_under_the_same_name_has_an_empty_history() {
    let (dir, town) = (tempfile::tempdir().unwrap(), Town::default());
    town.make("ann");
    let token = town.start("ann", "");
    let collector = town.curious(dir.path()).await;
    let agent = stream(&collector, &token, 1, 1..=5, "first.ipynb").await;
    until("five rows", async || {
        kept(&collector, "ann", "").await.len() == 5
    })
    .await;
    let before = verdicts(&collector, "ann").await;
    assert_eq!(before[0]["rule"], "near_limit");
    drop(agent);
    // Gone and back before any list could tell.
    town.delete("ann");
    town.make("ann");
    let token = town.start("ann", "");
    let _agent = stream(&collector, &token, 2, 1..=2, "second.ipynb").await;
    until("two rows", async || {
        kept(&collector, "ann", "").await == [1, 2]
    })
    .await;
    let now = verdicts(&collector, "ann").await;
    for verdict in &now {
        assert_ne!(verdict["episode"], before[0]["episode"]);
    }
    until("the first ann has a pseudonym on the disk", async || {
        names_on_disk(dir.path())
            .iter()
            .any(|name| name.starts_with("deleted-"))
    })
    .await;
    collector.kill();
    let collector = town.curious(dir.path()).await;
    assert_eq!(kept(&collector, "ann", "").await, [1, 2], "after a restart");
}

#[tokio::test]
async fn a_user_whom_the_hub_lists_no_longer_keeps_a_pseudonym_and_no_name() {
    let (dir, town) = (tempfile::tempdir().unwrap(), Town::default());
    for name in ["ann", "anna", "bob"] {
        town.make(name);
    }
    let collector = town.curious(dir.path()).await;
    let mut agents = Vec::new();
    for name in ["ann", "anna", "bob"] {
        let token = town.start(name, "");
        agents.push(stream(&collector, &token, 1, 1..=3, "x.ipynb").await);
    }
    flushed(&collector, dir.path(), "ann").await;
    // A hub that does not answer, or answers in part, deletes nobody.
    town.set_down(true);
    tokio::time::sleep(Duration::from_secs(3)).await;
    town.set_down(false);
    town.lists(1).await;
    assert_eq!(names_on_disk(dir.path()), ["ann", "anna", "bob"]);

    agents.remove(0);
    town.delete("ann");
    until("ann has a pseudonym", async || {
        let names = names_on_disk(dir.path());
        names[..2] == ["anna", "bob"] && names[2].starts_with("deleted-")
    })
    .await;
    town.lists(3).await;
    assert!(!shown(&collector).await.contains(&"ann".to_owned()));
    let pseudonym = names_on_disk(dir.path()).remove(2);
    assert_eq!(
        kept(&collector, &pseudonym, "").await,
        [1, 2, 3],
        "retention goes on"
    );
    for verdict in verdicts(&collector, &pseudonym).await {
        assert!(!verdict.to_string().contains("x.ipynb"), "{verdict}");
    }
}

#[tokio::test]
async fn a_renamed_user_keeps_history_and_episodes() {
    let (dir, town) = (tempfile::tempdir().unwrap(), Town::default());
    town.make("ann");
    let token = town.start("ann", "gpu");
    let collector = town.curious(dir.path()).await;
    let agent = stream(&collector, &token, 1, 1..=5, "x.ipynb").await;
    flushed(&collector, dir.path(), "ann").await;
    let before = verdicts(&collector, "ann").await;
    drop(agent);
    town.rename("ann", "Änn o'B");
    // The new name begins to stream before any list could tell.
    let token = town.start("Änn o'B", "gpu");
    let _agent = stream(&collector, &token, 2, 1..=2, "x.ipynb").await;
    let all = [1, 2, 3, 4, 5, 1, 2];
    until("one history", async || {
        kept(&collector, "Änn o'B", "gpu").await.len() == all.len()
    })
    .await;
    let path = server_path("ann", "gpu");
    let (status, _) = collector.get_as(&path, Some(crate::town::OURS)).await;
    assert_eq!(status, 404);
    let now = verdicts(&collector, "Änn o'B").await;
    assert!(
        now.iter().any(|v| v["episode"] == before[0]["episode"]),
        "{now:?}"
    );
    assert_eq!(names_on_disk(dir.path()), ["Änn o'B"]);
}

#[tokio::test]
async fn who_comes_while_the_list_is_read_does_not_wait_and_is_not_taken_for_who_it_tells_of() {
    let (dir, town) = (tempfile::tempdir().unwrap(), Town::default());
    town.make("ann");
    let token = town.start("ann", "");
    let collector = town.curious(dir.path()).await;
    let agent = stream(&collector, &token, 1, 1..=3, "x.ipynb").await;
    flushed(&collector, dir.path(), "ann").await;
    drop(agent);
    town.hold_list().await;
    // What is on its way tells of the first ann.
    town.delete("ann");
    town.make("ann");
    let token = town.start("ann", "");
    let _agent = stream(&collector, &token, 2, 1..=2, "x.ipynb").await;
    until("the new ann's rows", async || {
        kept(&collector, "ann", "").await == [1, 2]
    })
    .await;
    town.release_list();
    town.lists(2).await;
    assert_eq!(kept(&collector, "ann", "").await, [1, 2]);
    let names = names_on_disk(dir.path());
    let pseudonyms = names.iter().filter(|name| name.starts_with("deleted-"));
    assert_eq!(pseudonyms.count(), 1, "{names:?}");
}

#[tokio::test]
async fn a_renamed_user_who_does_not_stream_is_found_by_the_list() {
    let (dir, town) = (tempfile::tempdir().unwrap(), Town::default());
    town.make("ann");
    let token = town.start("ann", "");
    let collector = town.curious(dir.path()).await;
    let agent = stream(&collector, &token, 1, 1..=5, "x.ipynb").await;
    flushed(&collector, dir.path(), "ann").await;
    drop(agent);
    town.rename("ann", "zoe");
    until("renamed", async || names_on_disk(dir.path()) == ["zoe"]).await;
    assert_eq!(kept(&collector, "zoe", "").await, [1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn a_hub_that_does_not_tell_when_it_made_users_lets_them_stream_and_merges_nobody() {
    let (dir, town) = (tempfile::tempdir().unwrap(), Town::default());
    town.set_blind();
    town.make("ann");
    let token = town.start("ann", "");
    let collector = town.curious(dir.path()).await;
    let agent = stream(&collector, &token, 1, 1..=2, "x.ipynb").await;
    flushed(&collector, dir.path(), "ann").await;
    drop(agent);
    town.rename("ann", "zoe");
    let token = town.start("zoe", "");
    let _agent = stream(&collector, &token, 2, 1..=1, "x.ipynb").await;
    until("one row", async || kept(&collector, "zoe", "").await == [1]).await;
}
