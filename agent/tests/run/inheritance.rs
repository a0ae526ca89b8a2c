//! What the server is given is what we were given.

use std::{
    ffi::OsStr,
    io::Write,
    os::unix::ffi::OsStrExt,
    process::{Output, Stdio},
};

use crate::rig::{AGENT, Rig, stat};

/// The output of a shell's last command, started directly and under the agent.
fn both(rig: &Rig, before: &str, command: &str) -> [Output; 2] {
    ["", &format!("{AGENT} run -- ")].map(|wrapper| {
        let script = format!("{before} exec {wrapper}{command}");
        rig.command("bash").args(["-c", &script]).output().unwrap()
    })
}

fn assert_same(before: &str, command: &str) {
    let [direct, wrapped] = both(&Rig::new(), before, command);
    assert!(
        direct.status.success() && !direct.stdout.is_empty(),
        "{direct:?}"
    );
    assert_eq!(
        String::from_utf8_lossy(&wrapped.stdout),
        String::from_utf8_lossy(&direct.stdout)
    );
}

#[test]
fn descriptors_are_those_we_were_given() {
    assert_same("exec 7</dev/null 12>&1;", "ls /proc/self/fd");
}

#[test]
fn flags_of_the_standard_streams_are_untouched() {
    assert_same(
        "",
        "grep flags /proc/self/fdinfo/0 /proc/self/fdinfo/1 /proc/self/fdinfo/2",
    );
}

#[test]
fn limits_mask_folder_priority_and_luck_are_untouched() {
    let look = "bash -c 'ulimit -a; umask; pwd; nice; cat /proc/self/oom_score_adj'";
    assert_same("ulimit -n 77 -c 5 -S -s 4096; umask 0027; cd /usr;", look);
}

#[test]
fn group_session_and_terminal_are_untouched() {
    // By exec all three are the test's own.
    assert_same("", "cut -d ' ' -f 5-8 /proc/self/stat");
}

#[test]
fn a_terminal_is_one_for_the_server_too() {
    let rig = Rig::new();
    let look = format!("{AGENT} run -- bash -c 'test -t 0 -a -t 1 -a -t 2 && tty'");
    let output = rig
        .command("script")
        .args(["-qe", "-c", &look, "/dev/null"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(output.stdout.starts_with(b"/dev/"), "{output:?}");
}

#[test]
fn closed_streams_hold_nothing_up() {
    for closed in ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"] {
        let script = format!("{AGENT} run -- sh -c 'cat; exit 3' {closed}");
        let status = Rig::new()
            .command("bash")
            .args(["-c", &script])
            .output()
            .unwrap()
            .status;
        assert_eq!(status.code(), Some(3), "{closed}");
    }
}

#[test]
fn a_closed_stream_is_an_empty_one_to_the_server_and_never_a_file_of_ours() {
    for (stream, closed) in [(0, "<&-"), (1, ">&-"), (2, "2>&-")] {
        let look = format!("echo $(readlink /proc/$$/fd/{stream}) >&7");
        let script = format!("{AGENT} run -- bash -c '{look}' 7>&1 {closed}");
        let output = Rig::new()
            .command("bash")
            .args(["-c", &script])
            .output()
            .unwrap();
        assert!(output.status.success(), "{closed}: {output:?}");
        assert_eq!(output.stdout, b"/dev/null\n", "{closed}");
    }
}

#[test]
fn the_environment_is_passed_byte_for_byte_with_one_line_more() {
    let rig = Rig::new();
    let odd = OsStr::from_bytes(b"\xff\n=x");
    let env = |program: &str, arguments: &[&str]| {
        let output = rig
            .command(program)
            .args(arguments)
            .env("ODD", odd)
            .output()
            .unwrap();
        output.stdout
    };
    let direct = env("env", &["-0"]);
    let wrapped = env(AGENT, &["run", "--", "env", "-0"]);
    let more = wrapped.strip_prefix(direct.as_slice()).unwrap();
    let socket = std::str::from_utf8(more).unwrap().trim_end_matches('\0');
    let dir = rig.runtime.path().join("hubmeter").display().to_string();
    assert!(
        socket.starts_with(&format!("HUBMETER_SOCKET={dir}/")),
        "{socket}"
    );
}

#[test]
fn the_agent_is_nice_and_the_server_is_not() {
    const NICE: usize = 19;
    let rig = Rig::new();
    let mut running = rig.shell("echo ready; read line; bash -c nice; exit 0");
    // Its socket comes after it became nice.
    let socket = rig.socket(running.agent.id());
    running.wait_for(&socket);
    let own = stat(std::process::id(), NICE);
    assert_eq!(stat(running.agent.id(), NICE), "10");
    assert_eq!(stat(running.root(), NICE), own);
    running
        .agent
        .stdin
        .take()
        .unwrap()
        .write_all(b"go\n")
        .unwrap();
    assert_eq!(running.line(), own);
    assert_eq!(running.code(), Some(0));
}

#[test]
fn the_server_starts_before_anything_of_ours_does() {
    let rig = Rig::new();
    let trace = rig.runtime.path().join("trace");
    let status = rig
        .command("strace")
        .args(["-f", "-o", &trace.display().to_string()])
        .args([
            AGENT,
            "run",
            "--interval",
            "1",
            "--",
            "sh",
            "-c",
            "sleep 0.3",
        ])
        .stderr(Stdio::null())
        .status();
    if !status.is_ok_and(|status| status.success()) {
        println!(
            "NOT RUN: the_server_starts_before_anything_of_ours_does: no strace, or no ptrace"
        );
        return;
    }
    let trace = std::fs::read_to_string(&trace).unwrap();
    let (before, after) = trace.split_once("execve(\"/usr/bin/sh\"").unwrap();
    // Ours: the socket, the beat, the reading, our own priority. They do come, later.
    for ours in ["bind(", "timerfd_create(", "/stat\"", "setpriority("] {
        assert!(!before.contains(ours), "{ours} came before the server");
        assert!(after.contains(ours), "{ours} never came");
    }
}
