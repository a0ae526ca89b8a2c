//! `run -- CMD` with the real binary: the server comes first, whatever becomes of the agent.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    unreachable_pub
)]

mod faults;
mod inheritance;
mod rig;
mod signals;
mod socket;

use std::{io::Write, process::Stdio};

use rig::{Rig, stderr};

#[test]
fn the_servers_exit_code_is_ours() {
    let rig = Rig::new();
    for code in [0, 1, 7, 64, 255] {
        let output = rig.run(&["--", "sh", "-c", &format!("exit {code}")]);
        assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
    }
}

#[test]
fn a_missing_command_is_127_and_one_that_cannot_run_126() {
    let rig = Rig::new();
    let output = rig.run(&["--", "no-such-command"]);
    assert_eq!(output.status.code(), Some(127));
    assert!(
        stderr(&output).contains("no-such-command"),
        "{}",
        stderr(&output)
    );
    assert_eq!(rig.run(&["--", "/etc/passwd"]).status.code(), Some(126));
    assert_eq!(rig.run(&["--", "/"]).status.code(), Some(126));
}

#[test]
fn standard_streams_and_arguments_reach_the_server_as_they_are() {
    let rig = Rig::new();
    let mut child = rig
        .agent(&[
            "--interval",
            "1s",
            "--",
            "sh",
            "-c",
            "cat; echo \"$@\" >&2",
            "sh",
            "--pid",
            "-x",
            "a b",
        ])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"through\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.stdout, b"through\n");
    assert_eq!(stderr(&output), "--pid -x a b\n");
}

#[test]
fn a_bad_flag_ends_with_64_and_names_the_bound_before_anything_starts() {
    let rig = Rig::new();
    for interval in ["0", "0.5s", "61s", "2m", "-5", "often"] {
        let output = rig.run(&["--interval", interval, "--", "echo", "started"]);
        assert_eq!(output.status.code(), Some(64), "{interval}");
        assert!(
            stderr(&output).contains("--interval"),
            "{}",
            stderr(&output)
        );
        assert!(output.stdout.is_empty());
    }
    assert!(stderr(&rig.run(&["--interval", "61", "true"])).contains("1s to 60s"));
    let output = rig.run(&["--collector", "https://hub/link", "true"]);
    assert_eq!(output.status.code(), Some(64));
    assert!(
        stderr(&output).contains("no collector address"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn mistakes_of_the_environment_are_told_and_the_server_starts() {
    let rig = Rig::new();
    let output = rig
        .agent(&["--", "echo", "started"])
        .env("HUBMETER_INTERVAL", "0")
        .env("HUBMETER_COLLECTOR", "http://nonsense")
        .env("HUBMETER_NAMES", "?")
        .env("HUBMETER_SOCKET", "/proc/nonsense/a.sock")
        .env("HUBMETER_TOKEN_FILE", "/nonexistent")
        .env("HUBMETER_LOG", "warn")
        .output()
        .unwrap();
    assert!(output.status.success());
    assert_eq!(output.stdout, b"started\n");
    for variable in ["HUBMETER_INTERVAL", "HUBMETER_COLLECTOR", "HUBMETER_NAMES"] {
        assert!(stderr(&output).contains(variable), "{}", stderr(&output));
    }
}

#[test]
fn without_a_command_the_same_mistakes_end_with_64_all_at_once() {
    let output = Rig::new()
        .agent(&[])
        .env("HUBMETER_INTERVAL", "0")
        .env("HUBMETER_NAMES", "?")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(64));
    for variable in ["HUBMETER_INTERVAL", "HUBMETER_NAMES"] {
        assert!(stderr(&output).contains(variable), "{}", stderr(&output));
    }
}

#[test]
fn a_process_that_is_not_there_is_said_so() {
    let output = Rig::new().run(&["--pid", "4194300"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("4194300"), "{}", stderr(&output));
}
