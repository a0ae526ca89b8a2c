//! Who is forgotten leaves no byte of a name in any file, and takes nothing of anybody else.

use std::{
    path::Path,
    process::{Command, Output},
};

use hubmeter_collector::clock::{Clock as _, SystemClock};
use hubmeter_proto::v1;
use serde_json::Value;

use crate::{
    rig::{Collector, hello},
    town::{Town, kept, shown, stream, verdicts},
};

/// Names that begin alike, are in Unicode, or mean something to a shell, SQL, JSON or a terminal;
/// each with a part that occurs in no other name.
const NAMES: [(&str, &str); 6] = [
    ("qvortex", "qvortex"),
    ("qvor", "qvor"),
    ("zürich-ösłø@x.org", "ürich-ösł"),
    ("wyrm'; DROP TABLE server;--", "wyrm'; DROP"),
    ("jolt\"},{\\n%00<script>", "jolt\"},{"),
    ("名前のひと", "名前のひ"),
];

/// An admin of whom nothing is kept but what they did about others.
const ACTOR: &str = "zelkova";

/// Whose names must stay.
const OTHERS: [&str; 2] = ["qvo", "bystander"];

fn run(dir: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hubmeter-collector"))
        .args(arguments)
        .args(["--data-dir".as_ref(), dir.join("data").as_os_str()])
        .env_clear()
        .output()
        .unwrap()
}

fn forget(dir: &Path, user: &str) -> Output {
    run(dir, &["forget", user, "--format", "json"])
}

fn answer(output: &Output) -> Value {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Files below `dir` in which `needle` occurs.
fn found(dir: &Path, needle: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(self::found(&path, needle));
        } else if let Ok(bytes) = std::fs::read(&path)
            && bytes
                .windows(needle.len())
                .any(|at| at == needle.as_bytes())
        {
            found.push(path.display().to_string());
        }
    }
    found
}

/// Everybody streams, and leaves; everything that is kept of anybody is on the disk.
async fn filled(town: &Town, dir: &Path) -> Collector {
    let everybody = NAMES.iter().map(|(name, _)| *name).chain(OTHERS);
    for name in everybody.clone() {
        town.make(name);
    }
    let collector = town.collector(dir).await;
    for (at, name) in everybody.enumerate() {
        for server in ["", "gpu"] {
            let token = town.start(name, server);
            let notebook = format!("{name}.ipynb");
            drop(stream(&collector, &token, at as u8, 1..=6, &notebook).await);
        }
    }
    // A second start replays, closes episodes, and writes what the first held in memory.
    let mut collector = collector;
    assert_eq!(collector.terminate().await, Some(0));
    drop(collector);
    act(&dir.join("data"));
    town.collector(dir).await
}

/// Everybody who is to be forgotten has held, muted, acknowledged and written, as admins do.
fn act(data: &Path) {
    let state = rusqlite::Connection::open(data.join("state.db")).unwrap();
    let now_ms = SystemClock.now_ms();
    for (at, name) in NAMES
        .iter()
        .map(|(name, _)| *name)
        .chain([ACTOR])
        .enumerate()
    {
        for sql in [
            "INSERT INTO hold_log (at_ms, user, server, until_ms, asked_by)
             VALUES (?3, 'bystander', 'none', ?3, ?1)",
            "INSERT INTO mute (user, server, rule, audience, until_ms, muted_by, muted_ms, episode)
             VALUES ('bystander', 'none', 'rule-' || ?2, 'admins', ?3, ?1, ?3, 'e')",
            "INSERT INTO ack VALUES ('of-' || ?2, 'admins', ?1, ?3)",
            "INSERT INTO deed (at_ms, what, user, server, about, until_ms, done_by, by_policy)
             VALUES (?3, 'ack', 'bystander', 'none', 'idle', ?2, ?1, 0)",
            "INSERT INTO message (user, written_ms, subject, text, filter, recipients)
             VALUES (?1, ?3 + ?2, 's', 't', 'everybody', 0)",
        ] {
            let (bound, until_ms) = (at as i64, now_ms + 3_600_000);
            let mut acted = state.prepare(sql).unwrap();
            let values: [&dyn rusqlite::ToSql; 3] = [&name, &bound, &until_ms];
            let wanted = acted.parameter_count();
            // Not all of them take the number.
            for (index, value) in values.into_iter().enumerate().take(wanted) {
                acted.raw_bind_parameter(index + 1, value).unwrap();
            }
            acted.raw_execute().unwrap();
        }
    }
}

/// What the API says of those who stay.
async fn picture(collector: &Collector) -> Vec<(Vec<u64>, Vec<Vec<Value>>)> {
    let mut picture = Vec::new();
    for name in OTHERS {
        let mut rows = kept(collector, name, "").await;
        rows.extend(kept(collector, name, "gpu").await);
        // Other rules judge the time that passes, and whether near_limit goes on: not ours to change.
        let mut verdicts = verdicts(collector, name).await;
        verdicts.retain(|verdict| verdict["rule"] == "near_limit");
        let episode = |verdict: &Value| {
            let fields = ["episode", "user", "server", "since", "evidence"];
            fields.map(|field| verdict[field].clone()).to_vec()
        };
        let mut verdicts: Vec<_> = verdicts.iter().map(episode).collect();
        verdicts.sort_by_key(|fields| fields[0].to_string());
        assert_eq!(verdicts.len(), 2, "{name}");
        picture.push((rows, verdicts));
    }
    picture
}

#[tokio::test]
async fn a_running_collector_forgets_and_no_byte_of_the_name_is_left_in_any_file() {
    let (dir, town) = (tempfile::tempdir().unwrap(), Town::default());
    let collector = filled(&town, dir.path()).await;
    let before = picture(&collector).await;
    assert_eq!(before[0].0.len(), 12);
    let data = dir.path().join("data");
    for (name, part) in NAMES {
        // The hub's own list would name them again.
        town.delete(name);
        assert!(!found(&data, part).is_empty(), "{name} is there");
    }
    for (name, _) in NAMES {
        let told = answer(&forget(dir.path(), name));
        assert_eq!(told["servers"], 2, "{name}: {told}");
        assert!(told["chunks"].as_u64() > Some(0), "{name}: {told}");
        assert!(told["messages"].as_u64() > Some(0), "{name}: {told}");
        assert!(told["episodes"].as_u64() > Some(0), "{name}: {told}");
        assert!(told["notices"].as_u64() > Some(0), "{name}: {told}");
        assert_eq!(told["tokens"], 2, "{name}: {told}");
        assert!(!shown(&collector).await.contains(&name.to_owned()));
        assert_eq!(kept(&collector, name, "").await, Vec::<u64>::new());
        assert_eq!(verdicts(&collector, name).await, Vec::<Value>::new());
    }
    assert!(!found(&data, ACTOR).is_empty());
    answer(&forget(dir.path(), ACTOR));
    for (name, part) in NAMES.into_iter().chain([(ACTOR, ACTOR)]) {
        assert_eq!(found(&data, part), Vec::<String>::new(), "{name}");
    }
    for name in OTHERS {
        assert!(!found(&data, name).is_empty(), "{name} stays");
    }
    assert_eq!(picture(&collector).await, before);
    let log = collector.log();
    let erased = log.lines().find(|line| line.contains("was forgotten"));
    assert!(
        erased.is_some(),
        "who was forgotten is said, not whom: {log}"
    );
    // Nor does it come back with what the collector writes at its end and reads at its start.
    let mut collector = collector;
    assert_eq!(collector.terminate().await, Some(0));
    drop(collector);
    for (name, part) in NAMES {
        assert_eq!(found(&data, part), Vec::<String>::new(), "{name}");
    }
    let collector = town.collector(dir.path()).await;
    assert_eq!(picture(&collector).await, before, "after a restart");
}

#[tokio::test]
async fn without_a_collector_it_is_done_all_the_same() {
    let (dir, town) = (tempfile::tempdir().unwrap(), Town::default());
    let mut collector = filled(&town, dir.path()).await;
    let before = picture(&collector).await;
    collector.terminate().await;
    drop(collector);
    let data = dir.path().join("data");
    for (name, part) in NAMES {
        town.delete(name);
        let told = answer(&run(
            dir.path(),
            &["forget", name, "--dry-run", "--format", "json"],
        ));
        assert_eq!(told["servers"], 2, "{name}");
        assert!(!found(&data, part).is_empty(), "only counted");
        answer(&forget(dir.path(), name));
        assert_eq!(found(&data, part), Vec::<String>::new(), "{name}");
        let again = forget(dir.path(), name);
        assert_eq!(again.status.code(), Some(1));
        let why = String::from_utf8_lossy(&again.stderr);
        assert_eq!(why.trim(), "nothing is kept of a user of this name");
    }
    let collector = town.collector(dir.path()).await;
    assert_eq!(picture(&collector).await, before);
}

#[tokio::test]
async fn who_streams_while_being_forgotten_begins_anew() {
    let (dir, town) = (tempfile::tempdir().unwrap(), Town::default());
    town.make("ann");
    let token = town.start("ann", "");
    let collector = town.collector(dir.path()).await;
    let mut agent = stream(&collector, &token, 1, 1..=5, "x.ipynb").await;
    answer(&forget(dir.path(), "ann"));
    assert!(agent.bye().await.retry_after_ms > 0);
    assert_eq!(kept(&collector, "ann", "").await, Vec::<u64>::new());
    let mut agent = collector
        .connect(Some(&token), hello(1, 6, 6))
        .await
        .unwrap();
    assert_eq!(
        agent.welcome().await.resume_seq,
        1,
        "all of before is unknown"
    );
    // What had a receipt before is not there any more, and an agent says so.
    agent
        .say(v1::up::Body::Gap(v1::Gap {
            from_seq: 1,
            through_seq: 5,
        }))
        .await;
    agent.report(6).await;
    agent.report(7).await;
    agent.receipt(7).await;
    let path = crate::town::server_path("ann", "");
    collector_has(&collector, &path).await;
    assert_eq!(kept(&collector, "ann", "").await, [6, 7]);
}

async fn collector_has(collector: &Collector, path: &str) {
    let there = async {
        while collector.get_as(path, Some(crate::town::OURS)).await.1["memory_used_bytes"]
            != 1_000_000_007_u64
        {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(crate::rig::PATIENCE, there)
        .await
        .unwrap();
}

#[tokio::test]
async fn killed_in_the_middle_it_is_finished_by_the_next_start_or_the_next_call() {
    for by_a_start in [true, false] {
        let (dir, town) = (tempfile::tempdir().unwrap(), Town::default());
        let collector = filled(&town, dir.path()).await;
        let before = picture(&collector).await;
        for (name, _) in NAMES {
            town.delete(name);
        }
        collector.kill();
        let data = dir.path().join("data");
        // As far as a forgetting gets before each of its steps: what is to be done is written down.
        let state = rusqlite::Connection::open(data.join("state.db")).unwrap();
        for (name, _) in NAMES {
            let begun = "INSERT INTO fate (what, asked_ms, asked_by, user) VALUES ('forget', 1, 'uid 0', ?1)";
            state.execute(begun, [name]).unwrap();
        }
        // One got as far as history's table of servers, with its chunks still there.
        let servers = rusqlite::Connection::open(data.join("history/servers.db")).unwrap();
        let doom = "INSERT INTO doomed SELECT id FROM server WHERE user = ?1";
        servers.execute(doom, [NAMES[0].0]).unwrap();
        servers
            .execute("DELETE FROM server WHERE user = ?1", [NAMES[0].0])
            .unwrap();
        drop((state, servers));
        if !by_a_start {
            answer(&forget(dir.path(), NAMES[0].0));
            for (name, part) in NAMES {
                assert_eq!(found(&data, part), Vec::<String>::new(), "{name}");
            }
        }
        let collector = town.collector(dir.path()).await;
        for (name, part) in NAMES {
            assert_eq!(found(&data, part), Vec::<String>::new(), "{name}");
        }
        assert_eq!(picture(&collector).await, before);
        let state = rusqlite::Connection::open(data.join("state.db")).unwrap();
        let undone = "SELECT count(*) FROM fate WHERE done_ms IS NULL OR user IS NOT NULL";
        let undone: i64 = state.query_row(undone, [], |row| row.get(0)).unwrap();
        assert_eq!(undone, 0);
        let doomed = "SELECT count(*) FROM doomed";
        let servers = rusqlite::Connection::open(data.join("history/servers.db")).unwrap();
        let doomed: i64 = servers.query_row(doomed, [], |row| row.get(0)).unwrap();
        assert_eq!(doomed, 0);
    }
}

#[tokio::test]
async fn killed_at_any_moment_it_is_finished_by_the_next_call() {
    let (dir, town) = (tempfile::tempdir().unwrap(), Town::default());
    let collector = filled(&town, dir.path()).await;
    let before = picture(&collector).await;
    collector.kill();
    let data = dir.path().join("data");
    let (mut finished, mut killed) = (0, 0);
    for (round, (name, part)) in NAMES.into_iter().cycle().take(24).enumerate() {
        town.delete(name);
        let mut child = Command::new(env!("CARGO_BIN_EXE_hubmeter-collector"))
            .args(["forget", name, "--data-dir"])
            .arg(&data)
            .env_clear()
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        // Later in each round, so that it dies in another step.
        tokio::time::sleep(std::time::Duration::from_millis(4 + round as u64 * 12)).await;
        child.kill().unwrap();
        if child.wait().unwrap().success() {
            finished += 1;
        } else {
            killed += 1;
        }
        if round % 4 == 3 {
            // A name that begins with this one may be there still: its turn was cut short before.
            let longer = NAMES.iter().map(|(other, _)| *other);
            for other in longer.filter(|other| *other != name && other.contains(part)) {
                forget(dir.path(), other);
            }
            let code = forget(dir.path(), name).status.code();
            assert!(code == Some(0) || code == Some(1), "done, or done before");
            assert_eq!(found(&data, part), Vec::<String>::new(), "{name}");
        }
    }
    eprintln!("{killed} killed, {finished} finished before");
    for (name, part) in NAMES {
        forget(dir.path(), name);
        assert_eq!(found(&data, part), Vec::<String>::new(), "{name}");
    }
    let collector = town.collector(dir.path()).await;
    assert_eq!(picture(&collector).await, before);
}

#[tokio::test]
async fn a_collector_killed_while_it_forgets_has_forgotten_at_the_next_start_or_is_asked_again() {
    let (dir, town) = (tempfile::tempdir().unwrap(), Town::default());
    let mut collector = filled(&town, dir.path()).await;
    let before = picture(&collector).await;
    let data = dir.path().join("data");
    for (round, (name, part)) in NAMES.into_iter().enumerate() {
        town.delete(name);
        let child = Command::new(env!("CARGO_BIN_EXE_hubmeter-collector"))
            .args(["forget", name, "--data-dir"])
            .arg(&data)
            .env_clear()
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(20 + round as u64 * 70)).await;
        collector.kill();
        let asked = child.wait_with_output().unwrap();
        collector = town.collector(dir.path()).await;
        // Either it was written down what is to be done, or nothing was done and that was said.
        if asked.status.success() || found(&data, part).is_empty() {
            assert_eq!(forget(dir.path(), name).status.code(), Some(1), "{name}");
        } else {
            answer(&forget(dir.path(), name));
        }
        assert_eq!(found(&data, part), Vec::<String>::new(), "{name}");
    }
    assert_eq!(picture(&collector).await, before);
}

#[tokio::test]
async fn nobody_is_made_known_by_being_asked_about() {
    let (dir, town) = (tempfile::tempdir().unwrap(), Town::default());
    let collector = town.collector(dir.path()).await;
    for arguments in [
        &["forget", "nobody"][..],
        &["forget", "nobody", "--dry-run"],
    ] {
        let output = run(dir.path(), arguments);
        assert_eq!(output.status.code(), Some(1));
        let why = String::from_utf8_lossy(&output.stderr);
        assert_eq!(why.trim(), "nothing is kept of a user of this name");
    }
    assert_eq!(run(dir.path(), &["forget", ""]).status.code(), Some(64));
    assert_eq!(run(dir.path(), &["forget"]).status.code(), Some(64));
    let elsewhere = dir.path().join("nowhere");
    let output = run(&elsewhere, &["forget", "nobody"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        !elsewhere.try_exists().unwrap(),
        "a directory that is not there is not made"
    );
    assert_eq!(
        found(&dir.path().join("data"), "nobody"),
        Vec::<String>::new()
    );
    assert!(!collector.log().contains("nobody"));
}

#[tokio::test]
async fn only_the_collectors_own_user_reaches_its_control_socket() {
    use std::os::unix::fs::PermissionsExt as _;
    let (dir, town) = (tempfile::tempdir().unwrap(), Town::default());
    let _collector = town.collector(dir.path()).await;
    let socket = dir.path().join("data/control.sock");
    let mode = std::fs::metadata(socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn who_was_forgotten_when_is_kept_without_the_name() {
    let (dir, town) = (tempfile::tempdir().unwrap(), Town::default());
    town.make("ann");
    let token = town.start("ann", "");
    let collector = town.collector(dir.path()).await;
    drop(stream(&collector, &token, 1, 1..=5, "x.ipynb").await);
    answer(&forget(dir.path(), "ann"));
    let state = rusqlite::Connection::open(dir.path().join("data/state.db")).unwrap();
    let audit =
        "SELECT what, asked_by, asked_ms > 0, done_ms >= asked_ms, rows > 5, user FROM fate";
    let row: (String, String, bool, bool, bool, Option<String>) = state
        .query_row(audit, [], |row| {
            Ok((
                row.get(0)?,
                row.get(1)?,
                row.get(2)?,
                row.get(3)?,
                row.get(4)?,
                row.get(5)?,
            ))
        })
        .unwrap();
    let uid = format!("uid {}", nix::unistd::getuid());
    assert_eq!(row, ("forget".to_owned(), uid, true, true, true, None));
}
