//! A server that is killed together with its agent leaves a series that ends shortly before.

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::Command,
    sync::mpsc::{self, SyncSender},
    thread::{self, JoinHandle},
    time::Duration,
};

use hubmeter_agent::{
    clock::{Clock, SystemClock},
    rhythm::BURST_INTERVAL_MS,
};
use nix::sys::signal::{Signal, kill};

use super::bed::{AGENT, Group, MIB, Server};

/// How long before the kill the last sample may be: the promise, two beats of a burst. Both times
/// are of the same clock, the sample's own and the kill's; a slow machine slows neither.
const END_MAX_MS: u64 = 2 * BURST_INTERVAL_MS;

/// What a program outside of the cgroup got of the series, and when it ended.
struct Series {
    wall_ms: Vec<u64>,
    used_bytes: Vec<u64>,
    ended_ms: u64,
}

/// Follows the agent's stream from outside until it is cut, and tells when the first sample came.
fn follow(socket: PathBuf, first: SyncSender<()>) -> JoinHandle<Series> {
    thread::spawn(move || {
        let mut stream = loop {
            match UnixStream::connect(&socket) {
                Ok(stream) => break stream,
                Err(_) => thread::sleep(Duration::from_millis(50)),
            }
        };
        write!(stream, "GET /v1/stream HTTP/1.1\r\nHost: agent\r\n\r\n").unwrap();
        let mut series = Series {
            wall_ms: Vec::new(),
            used_bytes: Vec::new(),
            ended_ms: 0,
        };
        for line in BufReader::new(stream).lines() {
            // A connection whose end was killed may be reset.
            let Ok(line) = line else { break };
            let Ok(row) = serde_json::from_str::<serde_json::Value>(&line) else {
                continue; // the head, and the lengths of chunks
            };
            let row = row.get("data").cloned().unwrap_or(row);
            let (Some(time), Some(used)) =
                (row["time"].as_str(), row["memory_used_bytes"].as_u64())
            else {
                continue;
            };
            let time: jiff::Timestamp = time.parse().unwrap();
            series.wall_ms.push(time.as_millisecond().unsigned_abs());
            series.used_bytes.push(used);
            let _ = first.try_send(()); // only the first is waited for
        }
        series.ended_ms = SystemClock.wall_ms();
        series
    })
}

impl Series {
    fn assert_ends_in_time(&self, killed_ms: u64) {
        let last = *self.wall_ms.last().expect("a series");
        let before = killed_ms.saturating_sub(last);
        println!(
            "{} samples, the last {before} ms before the kill, at {} of {} MiB",
            self.wall_ms.len(),
            self.used_bytes.last().unwrap() / MIB,
            LIMIT / MIB
        );
        assert!(self.wall_ms.len() > 4, "it was followed near the limit");
        assert!(before <= END_MAX_MS, "the series ends {before} ms before");
        let last = *self.used_bytes.last().unwrap();
        assert!(last > LIMIT / 2, "and shows the climb: {last}");
    }
}

const LIMIT: u64 = 192 * MIB;

/// An agent with its server, both in `group`; below half the limit, then growing by 4 % a second.
/// The climb begins when the agent has taken its first sample, for which a slow machine needs
/// longer than a climb takes, and lasts for a base interval and several beats of a burst.
fn climb(group: &Group, dir: &Path) -> (Server, JoinHandle<Series>) {
    let socket = dir.join("agent.sock");
    let wrapper = format!(
        "env HUBMETER_SOCKET={} {AGENT} run --interval 5s --",
        socket.display()
    );
    let mut server = Server::with(group, &wrapper, "");
    let (first, sampled) = mpsc::sync_channel(1);
    let series = follow(socket, first);
    server.tell("hold 50");
    while sampled.recv_timeout(Duration::from_millis(50)).is_err() {
        assert!(server.child.try_wait().unwrap().is_none(), "still there");
    }
    server.tell("grow 2 250");
    (server, series)
}

#[test]
fn v2_a_whole_cgroup_killed_with_its_agent_leaves_a_series_that_ends_shortly_before() {
    let Some(group) = Group::version_2("together") else {
        return;
    };
    group.set("memory.max", &LIMIT.to_string());
    group.set("memory.oom.group", "1");
    let _ = std::fs::write(group.0.join("memory.swap.max"), "0");
    let dir = tempfile::tempdir().unwrap();
    let (mut server, series) = climb(&group, dir.path());
    let status = server.child.wait().unwrap();
    // Killed, not ended: the agent is the child here, and went with its server.
    assert!(!status.success(), "{status}");
    let series = series.join().unwrap();
    assert!(group.field("memory.events", "oom_kill") >= 2);
    assert_eq!(group.field("memory.events", "oom_group_kill"), 1);
    // The last of them may still be giving back what it held.
    while !group.pids().is_empty() {
        thread::sleep(Duration::from_millis(5));
    }
    series.assert_ends_in_time(series.ended_ms);
}

#[test]
fn v2_where_hardly_any_memory_is_allowed_the_server_runs_and_its_code_is_ours() {
    let Some(group) = Group::version_2("little") else {
        return;
    };
    // The agent and a shell need a megabyte; what they run can be read from its file again.
    group.set("memory.max", &(16 * MIB).to_string());
    let script = format!(
        "echo $$ > {}/cgroup.procs; exec {AGENT} run --interval 1s -- sh -c 'sleep 3; exit 5'",
        group.0.display()
    );
    let status = Command::new("sh").args(["-c", &script]).status().unwrap();
    assert_eq!(status.code(), Some(5));
    assert_eq!(group.field("memory.events", "oom_kill"), 0);
}

#[test]
fn v1_a_whole_cgroup_killed_with_its_agent_leaves_a_series_that_ends_shortly_before() {
    let Some(group) = Group::version_1("together") else {
        return;
    };
    group.set("memory.limit_in_bytes", &LIMIT.to_string());
    // The kernel stops whoever is out of memory instead of killing; then everybody is killed.
    group.set("memory.oom_control", "1");
    let dir = tempfile::tempdir().unwrap();
    let (mut server, series) = climb(&group, dir.path());
    while group.field("memory.oom_control", "under_oom") == 0 {
        assert!(server.child.try_wait().unwrap().is_none(), "still there");
        thread::sleep(Duration::from_millis(5));
    }
    let killed_ms = SystemClock.wall_ms();
    for pid in group.pids() {
        let _ = kill(
            nix::unistd::Pid::from_raw(pid.cast_signed()),
            Signal::SIGKILL,
        );
    }
    assert!(!server.child.wait().unwrap().success());
    series.join().unwrap().assert_ends_in_time(killed_ms);
}
