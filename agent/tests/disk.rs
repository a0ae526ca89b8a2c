//! A home on a file system that never answers: the beat goes on.
//!
//! The file system is real (FUSE, whose server never says a word) and lives in a mount namespace of
//! its own, so that nobody else on the machine can fall into it.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout
)]

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader, Lines, Read, Write},
    os::unix::net::UnixStream,
    process::{Child, ChildStdout, Command, Stdio},
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

const AGENT: &str = env!("CARGO_BIN_EXE_hubmeter-agent");

/// An agent whose server's home is dead, row by row.
struct Dead {
    dir: TempDir,
    agent: Child,
    rows: Lines<BufReader<ChildStdout>>,
}

impl Dead {
    /// With the agent that `command` starts as `$0`; `None`, with the reason printed, where no such
    /// file system can be made.
    fn start(command: &str) -> Option<Self> {
        let dir = TempDir::new().unwrap();
        let home = dir.path().join("home");
        fs::create_dir(&home).unwrap();
        // The mount holds the descriptor's other end: it is asked, and nobody reads.
        let script = format!(
            "exec 3<>/dev/fuse && mount -i -t fuse \
            -o fd=3,rootmode=40000,user_id=0,group_id=0 dead \"$HOME\" || exit 77
            echo mounted; {command}"
        );
        let mut agent = Command::new("unshare")
            .args(["--mount", "sh", "-c", &script, AGENT])
            .env("HOME", &home)
            .env("HUBMETER_SOCKET", dir.path().join("socket"))
            .env("HUBMETER_INTERVAL", "1s")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .ok()?;
        let mut rows = BufReader::new(agent.stdout.take().unwrap()).lines();
        if rows.by_ref().next().is_none() {
            println!("left out: cannot mount: {}", agent.wait().unwrap());
            return None;
        }
        Some(Self { dir, agent, rows })
    }

    fn row(&mut self) -> Value {
        serde_json::from_str(&self.rows.next().unwrap().unwrap()).unwrap()
    }

    /// The newest sample, by the agent's socket; `None` before it has one.
    fn sample(&self) -> Option<Value> {
        let mut stream = UnixStream::connect(self.dir.path().join("socket")).ok()?;
        stream
            .write_all(b"GET /v1/sample HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        serde_json::from_str(body).ok().filter(Value::is_object)
    }

    /// Children of the agent's that ask, by state.
    fn asking(&self) -> Vec<String> {
        let pid = self.agent.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        children
            .split_whitespace()
            .filter_map(|child| fs::read_to_string(format!("/proc/{child}/stat")).ok())
            .filter(|stat| !stat.contains("(sleep)"))
            .collect()
    }
}

impl Drop for Dead {
    fn drop(&mut self) {
        let pid = self.agent.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let _ = self.agent.kill();
        for child in children.unwrap_or_default().split_whitespace() {
            let pid = nix::unistd::Pid::from_raw(child.parse().unwrap());
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
        }
        let _ = self.agent.wait();
    }
}

#[test]
fn a_dead_home_is_unknown_and_costs_no_row_and_whoever_hung_there_is_gone_in_time() {
    let sampled = "sleep 1000 & exec \"$0\" sample --pid $! --details --format json --every 100ms";
    let Some(mut dead) = Dead::start(sampled) else {
        return;
    };
    let mut rows = 0;
    let (mut hung, mut dead_rows) = (0, 0);
    // Twelve seconds of rows: the child has ten.
    for _ in 0..120 {
        let row = dead.row();
        rows += 1;
        assert_eq!(row["vitals"]["disk"], Value::Null);
        assert!(row["vitals"]["machine"].is_object(), "{row}");
        assert_eq!(row["processes"], 1, "who asks is none of the server's");
        let asking = dead.asking();
        assert!(asking.len() <= 1, "{asking:?}");
        // What was killed is waited for with the next row.
        dead_rows += usize::from(asking.iter().any(|stat| stat.contains(") Z ")));
        assert!(dead_rows <= 2, "{asking:?}");
        hung += asking.len();
    }
    assert_eq!(rows, 120);
    assert!(hung > 0, "nobody ever hung, so nothing was shown");
    assert_eq!(dead.asking(), Vec::<String>::new());
}

#[test]
fn under_run_whoever_asks_a_dead_home_is_no_orphan_of_the_server_and_samples_go_on() {
    let Some(dead) = Dead::start("exec \"$0\" run -- sleep 1000") else {
        return;
    };
    let mut times = BTreeSet::new();
    while times.len() < 4 {
        if let Some(sample) = dead.sample().filter(|sample| sample["time"].is_string()) {
            assert_eq!(sample["processes"], 1, "{sample}");
            assert_eq!(sample["vitals"]["disk"], Value::Null);
            times.insert(sample["time"].to_string());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(dead.asking().len(), 1, "it hangs there all the time");
}
