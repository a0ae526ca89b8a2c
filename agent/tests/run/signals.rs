//! Every signal reaches the server once, and its end by one is ours.

use std::{
    io::Write,
    os::unix::process::{CommandExt, ExitStatusExt},
    process::Stdio,
};

use crate::rig::{AGENT, Rig, Running, kill, may_unshare, stat, stderr};

/// Says each signal that comes; ends at the 15th with code 3.
const LISTENER: &str = r#"
    for n in {1..31} {34..64}; do trap "echo $n" $n; done 2>/dev/null
    trap - CHLD
    sleep 1000 & sleeper=$!
    trap 'kill $sleeper; exit 3' TERM
    echo ready
    while :; do wait $sleeper; done
"#;

#[test]
fn every_signal_that_can_be_caught_reaches_the_server() {
    let mut running = Rig::new().shell(LISTENER);
    for number in (1..=31).chain(34..=64) {
        // KILL and STOP cannot be caught, CHLD is about our children, and TERM is for the end.
        if ![9, 15, 17, 19].contains(&number) {
            running.kill(&number.to_string());
            assert_eq!(running.line(), number.to_string());
        }
    }
    running.kill("TERM");
    assert_eq!(running.code(), Some(3));
}

#[test]
fn a_servers_death_by_a_signal_is_ours_without_a_second_core() {
    let rig = Rig::new();
    for number in [9, 15, 1, 2, 10, 6, 11, 34] {
        let script = format!("ulimit -c unlimited; kill -{number} $$");
        let status = rig.run(&["--", "bash", "-c", &script]).status;
        assert_eq!(status.signal(), Some(number), "{status}");
        assert!(!status.core_dumped(), "{status}");
    }
}

#[test]
fn a_death_that_cannot_be_ours_is_128_and_its_number() {
    // The standard library ignores broken pipes for the whole of our life.
    let status = Rig::new().run(&["sh", "-c", "kill -PIPE $$"]).status;
    assert_eq!(status.code(), Some(141), "{status}");
}

#[test]
fn as_the_first_process_it_passes_signals_on_reaps_and_ends_with_the_shells_code() {
    if !may_unshare("as_the_first_process_it_passes_signals_on_reaps_and_ends_with_the_shells_code")
    {
        return;
    }
    let rig = Rig::new();
    let init = |script: &str| {
        let mut command = rig.command("unshare");
        command.args([
            "-p",
            "-f",
            "--mount-proc",
            AGENT,
            "run",
            "--",
            "bash",
            "-c",
            script,
        ]);
        command.output().unwrap()
    };
    let output = init("kill -KILL $$");
    assert_eq!(output.status.code(), Some(137), "{}", stderr(&output));
    let output = init("trap 'exit 21' USR1; kill -USR1 1; while :; do sleep 0.01; done");
    assert_eq!(output.status.code(), Some(21), "{}", stderr(&output));
    // Double forks, so that the first process inherits them; then until none is left.
    let orphans = r#"
        [ $PPID = 1 ] || exit 1
        for n in {1..50}; do (sh -c "exit $n" &); done
        while grep -qs '^PPid:.*\<1$' $(ls /proc/[0-9]*/status | grep -v "/proc/$$/"); do :; done
        exit 6
    "#;
    let output = init(orphans);
    assert_eq!(output.status.code(), Some(6), "{}", stderr(&output));
}

#[test]
fn orphans_are_reaped_and_do_not_end_us() {
    let script = "(sh -c 'exec sleep 0' &) ; (sh -c 'exit 5' &); echo ready; read line; exit 6";
    let mut running = Rig::new().shell(script);
    // Both orphans were handed to us before `ready`; the list holds zombies, too.
    let children = format!("/proc/{0}/task/{0}/children", running.agent.id());
    while std::fs::read_to_string(&children)
        .unwrap()
        .split_whitespace()
        .count()
        > 1
    {
        std::thread::yield_now();
    }
    running
        .agent
        .stdin
        .take()
        .unwrap()
        .write_all(b"go\n")
        .unwrap();
    assert_eq!(running.code(), Some(6));
}

#[test]
fn signals_that_were_held_or_ignored_are_so_for_the_server_and_no_others_are() {
    /// The C library's own two, which it ignores in what it spawns.
    const INTERNAL: u64 = 0b11 << 31;
    let rig = Rig::new();
    let signals = |wrapper: &[&str]| {
        let output = rig
            .command("env")
            .args(["--block-signal=USR1", "--ignore-signal=HUP"])
            .args(wrapper)
            .args(["grep", "^Sig[BI]", "/proc/self/status"])
            .output()
            .unwrap();
        let masks = String::from_utf8(output.stdout).unwrap();
        let mask = |line: &str| u64::from_str_radix(&line[8..], 16).unwrap() & !INTERNAL;
        masks.lines().map(mask).collect::<Vec<_>>()
    };
    assert_eq!(signals(&[]), [1 << 9, 1 << 0]);
    assert_eq!(signals(&[AGENT, "run", "--"]), [1 << 9, 1 << 0]);
}

#[test]
fn an_exit_code_is_known_even_where_children_were_to_be_ignored() {
    let output = Rig::new()
        .command("env")
        .args([
            "--ignore-signal=CHLD",
            AGENT,
            "run",
            "--",
            "sh",
            "-c",
            "exit 7",
        ])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(7), "{}", stderr(&output));
}

#[test]
fn a_signal_that_was_ignored_stays_ignored_for_the_server() {
    let rig = Rig::new();
    let script = format!("trap '' HUP; exec {AGENT} run -- sh -c 'echo ready; read line; exit 3'");
    let mut command = rig.command("sh");
    command.args(["-c", &script]).stdin(Stdio::piped());
    let mut running = Running::start(command);
    running.kill("HUP");
    running
        .agent
        .stdin
        .take()
        .unwrap()
        .write_all(b"go\n")
        .unwrap();
    assert_eq!(running.code(), Some(3));
}

#[test]
fn a_stopped_job_stops_with_us_and_goes_on_with_us() {
    let rig = Rig::new();
    let mut command = rig.agent(&["--", "bash", "-c", "echo ready; read line; exit 5"]);
    command.stdin(Stdio::piped()).process_group(0);
    let mut running = Running::start(command);
    let root = running.root();
    let agent = running.agent.id();
    for sender in ["TSTP", "TTIN", "TTOU"] {
        running.kill(sender);
        while [agent, root].map(|pid| stat(pid, 3)) != ["T", "T"] {
            assert!(running.agent.try_wait().unwrap().is_none(), "{sender}");
            std::thread::yield_now();
        }
        // As a shell's `fg` does.
        kill(&format!("-{agent}"), "CONT");
        while [agent, root]
            .map(|pid| stat(pid, 3))
            .contains(&"T".to_owned())
        {
            std::thread::yield_now();
        }
    }
    running
        .agent
        .stdin
        .take()
        .unwrap()
        .write_all(b"go\n")
        .unwrap();
    assert_eq!(running.code(), Some(5));
}

#[test]
fn a_server_that_is_stopped_from_elsewhere_is_still_watched() {
    let mut running = Rig::new().shell("echo ready; read line; exit 5");
    let root = running.root();
    kill(&root.to_string(), "STOP");
    while stat(root, 3) != "T" {
        std::thread::yield_now();
    }
    // Were we stopped too, nobody would pass this on.
    running.kill("CONT");
    while stat(root, 3) == "T" {
        std::thread::yield_now();
    }
    running
        .agent
        .stdin
        .take()
        .unwrap()
        .write_all(b"go\n")
        .unwrap();
    assert_eq!(running.code(), Some(5));
}

#[test]
fn what_a_terminal_sends_comes_once_and_what_a_person_sends_comes_too() {
    let rig = Rig::new();
    let said = rig.runtime.path().join("said");
    // The server writes to a file: the terminal's own echo is of no interest.
    let script = format!(
        "exec > {said}; for s in INT QUIT USR1 USR2; do trap \"echo $s\" $s; done; \
         trap 'kill $!; exit 4' HUP; sleep 1000 & echo $PPID; while :; do wait; done",
        said = said.display()
    );
    std::fs::write(rig.runtime.path().join("server"), script).unwrap();
    let mut command = rig.command("script");
    command
        .args([
            "-qe",
            "-c",
            &format!("exec {AGENT} run -- bash server"),
            "/dev/null",
        ])
        .stdin(Stdio::piped());
    let mut script = command.spawn().unwrap();
    let mut keys = script.stdin.take().unwrap();
    let mut lines = |count: usize| loop {
        let text = std::fs::read_to_string(&said).unwrap_or_default();
        if text.lines().count() >= count {
            break text.lines().map(str::to_owned).collect::<Vec<_>>();
        }
        assert!(script.try_wait().unwrap().is_none(), "ended after {text}");
        std::thread::yield_now();
    };
    let agent = lines(1)[0].clone();
    keys.write_all(b"\x03").unwrap();
    lines(2);
    // Whatever was to be passed on of lower number is passed on before this.
    kill(&agent, "USR1");
    lines(3);
    keys.write_all(b"\x1c").unwrap();
    lines(4);
    kill(&agent, "USR2");
    lines(5);
    kill(&agent, "INT");
    assert_eq!(lines(6)[1..], ["INT", "USR1", "QUIT", "USR2", "INT"]);
    kill(&agent, "HUP");
    assert_eq!(script.wait().unwrap().code(), Some(4));
}

#[test]
fn a_process_group_of_its_own_changes_nothing() {
    let rig = Rig::new();
    let mut command = rig.agent(&["sh", "-c", "exit 8"]);
    let status = command.process_group(0).output().unwrap().status;
    assert_eq!(status.code(), Some(8));
}
