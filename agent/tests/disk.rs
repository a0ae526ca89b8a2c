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
    fs,
    io::{BufRead, BufReader, Lines},
    process::{Child, ChildStdout, Command, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

const AGENT: &str = env!("CARGO_BIN_EXE_hubmeter-agent");

/// An agent whose server's home is dead, row by row.
struct Dead {
    _dir: TempDir,
    agent: Child,
    rows: Lines<BufReader<ChildStdout>>,
}

impl Dead {
    /// `None`, with the reason printed, where no such file system can be made.
    fn start() -> Option<Self> {
        let dir = TempDir::new().unwrap();
        let home = dir.path().join("home");
        fs::create_dir(&home).unwrap();
        // The mount holds the descriptor's other end: it is asked, and nobody reads.
        let script = "exec 3<>/dev/fuse && mount -i -t fuse \
            -o fd=3,rootmode=40000,user_id=0,group_id=0 dead \"$HOME\" || exit 77
            sleep 1000 & exec \"$0\" sample --pid $! --details --format json --every 100ms";
        let mut agent = Command::new("unshare")
            .args(["--mount", "sh", "-c", script, AGENT])
            .env("HOME", &home)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .ok()?;
        let mut rows = BufReader::new(agent.stdout.take().unwrap()).lines();
        if rows.by_ref().next().is_none() {
            println!("left out: cannot mount: {}", agent.wait().unwrap());
            return None;
        }
        Some(Self {
            _dir: dir,
            agent,
            rows,
        })
    }

    fn row(&mut self) -> Value {
        serde_json::from_str(&self.rows.next().unwrap().unwrap()).unwrap()
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
    let Some(mut dead) = Dead::start() else {
        return;
    };
    let mut rows = 0;
    let mut hung = 0;
    // Twelve seconds of rows: the child has ten.
    for _ in 0..120 {
        let row = dead.row();
        rows += 1;
        assert_eq!(row["vitals"]["disk"], Value::Null);
        assert!(row["vitals"]["machine"].is_object(), "{row}");
        assert_eq!(row["processes"], 1, "who asks is none of the server's");
        let asking = dead.asking();
        assert!(asking.len() <= 1, "{asking:?}");
        assert!(
            asking.iter().all(|stat| !stat.contains(") Z ")),
            "{asking:?}"
        );
        hung += asking.len();
    }
    assert_eq!(rows, 120);
    assert!(hung > 0, "nobody ever hung, so nothing was shown");
    assert_eq!(dead.asking(), Vec::<String>::new());
}
