//! Whatever is wrong with the machine or with us, the server runs and its code is ours.

use std::{
    io::{Read, Write},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::Path,
    process::Stdio,
    time::Duration,
};

use crate::rig::{AGENT, Rig, Running, may_unshare, stderr};

/// The code of a server that ends with 5 after some beats, started by a shell after `before`.
fn code_after(before: &str) -> (Option<i32>, String) {
    let rig = Rig::new();
    let script = format!("{before} exec {AGENT} run --interval 1 -- sh -c 'sleep 0.1; exit 5'");
    let output = rig
        .command("bash")
        .args(["-c", &script])
        // By name, so that a thread looks it up.
        .env("HUBMETER_COLLECTOR", "grpcs://localhost:1")
        .output()
        .unwrap();
    (output.status.code(), stderr(&output))
}

#[test]
fn with_few_descriptors_the_server_runs() {
    // Fewer than four and no program starts at all.
    for limit in 4..=24 {
        let (code, stderr) = code_after(&format!("ulimit -n {limit};"));
        assert_eq!(code, Some(5), "{limit} descriptors: {stderr}");
    }
}

#[test]
fn with_little_memory_the_server_runs() {
    let mut started = 0;
    for kilobytes in (8_000..80_000).step_by(2_000) {
        let (code, stderr) = code_after(&format!("ulimit -v {kilobytes};"));
        // Below some bound no program starts; from there on ours makes no difference.
        if started > 0 || code == Some(5) {
            assert_eq!(code, Some(5), "{kilobytes} kB: {stderr}");
            started += 1;
        }
    }
    assert!(started > 15, "it started {started} times only");
}

#[test]
fn with_no_thread_to_spare_the_server_runs() {
    // The limit binds no root, so as another user, who may not see the binary's folder.
    let script = format!(
        "exec 9<{AGENT}; exec setpriv --reuid=65533 --regid=65533 --clear-groups bash -c '\
         ulimit -u 2; exec /proc/self/fd/9 run --interval 1 -- bash -c \"read -t 0.3; exit 5\"'"
    );
    let rig = Rig::new();
    let mut command = rig.command("bash");
    command
        .args(["-c", &script])
        .current_dir("/")
        .stdin(Stdio::piped());
    command.env_remove("XDG_RUNTIME_DIR");
    command.env("HUBMETER_COLLECTOR", "grpcs://localhost:1");
    let mut child = command.spawn().unwrap();
    // Open until the end, so that the server's own waiting is what ends it.
    let _held = child.stdin.take();
    let output = child.wait_with_output().unwrap();
    if stderr(&output).contains("setpriv: ") {
        println!(
            "NOT RUN: with_no_thread_to_spare_the_server_runs: only root may become another user"
        );
        return;
    }
    assert!(
        stderr(&output).contains("worker thread"),
        "no fault: {output:?}"
    );
    assert_eq!(output.status.code(), Some(5), "{}", stderr(&output));
}

#[test]
fn without_proc_or_with_unwritable_folders_the_server_runs() {
    if !may_unshare("without_proc_or_with_unwritable_folders_the_server_runs") {
        return;
    }
    for fault in [
        "mount -t tmpfs none /proc",
        "mount -t tmpfs none /sys",
        "mount -t tmpfs -o ro none /tmp; export XDG_RUNTIME_DIR=/tmp HOME=/nonexistent",
        "mount -t tmpfs -o nr_inodes=1 none /tmp; export XDG_RUNTIME_DIR=/tmp",
        "mount -t tmpfs none /etc",
        "mount -t tmpfs none /dev",
    ] {
        let rig = Rig::new();
        // The agent's binary may be below what is hidden.
        let script = format!(
            "exec 9<{AGENT}; {fault}; exec /proc/self/fd/9 run -- sh -c 'sleep 0.2; exit 5'"
        );
        let script = if fault.contains("/proc") {
            format!("{fault}; exec {AGENT} run -- sh -c 'sleep 0.2; exit 5'")
        } else {
            script
        };
        let output = rig
            .command("unshare")
            .args(["-m", "bash", "-c", &script])
            .output()
            .unwrap();
        assert_eq!(
            output.status.code(),
            Some(5),
            "{fault}: {}",
            stderr(&output)
        );
    }
}

#[test]
fn an_absent_collector_and_a_closed_log_do_not_touch_the_server() {
    let rig = Rig::new();
    let mut command = rig.agent(&[
        "--collector",
        "grpc://127.0.0.1:1",
        "--",
        "sh",
        "-c",
        "sleep 0.3; exit 4",
    ]);
    let mut child = command.env("HUBMETER_LOG", "trace").spawn().unwrap();
    drop(child.stderr.take());
    assert_eq!(child.wait().unwrap().code(), Some(4));
}

#[test]
fn a_full_log_does_not_end_the_server() {
    // What is written beyond the limit brings a signal upon us; it is not the server's.
    let script = format!(
        "ulimit -f 1; exec {AGENT} run -- bash -c 'trap \"exit 9\" XFSZ; sleep 0.3; exit 5' 2>log"
    );
    let output = Rig::new()
        .command("bash")
        .args(["-c", &script])
        .env("HUBMETER_LOG", "trace")
        .env("HUBMETER_COLLECTOR", "grpc://127.0.0.1:1")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(5), "{}", stderr(&output));
}

#[test]
fn home_stays_empty_and_may_be_unwritable_or_missing() {
    let rig = Rig::new();
    let in_home = rig.home.path().join("agent.sock");
    for socket in [None, Some(&in_home)] {
        let mut command = rig.agent(&["--", "sh", "-c", "sleep 0.2; exit 9"]);
        // The only runtime directory offered is under home, too.
        command.env("XDG_RUNTIME_DIR", rig.home.path());
        if let Some(socket) = socket {
            command.env("HUBMETER_SOCKET", socket);
        }
        assert_eq!(command.output().unwrap().status.code(), Some(9));
        assert_eq!(std::fs::read_dir(rig.home.path()).unwrap().count(), 0);
    }
    std::fs::set_permissions(rig.home.path(), std::fs::Permissions::from_mode(0o500)).unwrap();
    assert_eq!(rig.run(&["sh", "-c", "exit 9"]).status.code(), Some(9));
    let missing = rig
        .agent(&["sh", "-c", "exit 9"])
        .env("HOME", "/nonexistent")
        .output()
        .unwrap();
    assert_eq!(missing.status.code(), Some(9));
}

#[test]
fn a_server_that_ends_while_its_agent_is_hung_is_not_held_back_for_long() {
    // A collector that takes connections and says nothing, and two samples that wait for it.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let collector = format!("grpc://{}", listener.local_addr().unwrap());
    let rig = Rig::new();
    let mut running = {
        let script = "echo ready; sleep 1.2; exit 5";
        let command = rig.agent(&[
            "--collector",
            &collector,
            "--interval",
            "1",
            "--",
            "sh",
            "-c",
            script,
        ]);
        Running::start(command)
    };
    assert_eq!(running.code(), Some(5));
}

/// All samples that an agent keeps, oldest first.
fn recent(socket: &Path) -> Vec<serde_json::Value> {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream
        .write_all(b"GET /v1/recent HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    body["items"].as_array().unwrap().clone()
}

#[test]
fn an_agent_that_was_stopped_for_a_while_goes_on_with_one_sample_and_true_rates() {
    const STOPPED: Duration = Duration::from_millis(3_300);
    let rig = Rig::new();
    // One that works all the time, so that a rate over the wrong time would show.
    let script = "echo ready; while :; do :; done";
    let mut command = rig.agent(&["--interval", "1", "--", "bash", "-c", script]);
    command.stdin(Stdio::piped());
    let mut running = Running::start(command);
    let socket = rig.socket(running.agent.id());
    running.wait_for(&socket);
    let until = |count: usize| {
        while recent(&socket).len() < count {
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    until(2);
    running.kill("STOP");
    std::thread::sleep(STOPPED);
    running.kill("CONT");
    let before = recent(&socket).len();
    until(before + 3);
    let samples = recent(&socket);
    running.kill("TERM");
    assert_eq!(
        running.code(),
        None,
        "it ends as its server did, by the signal"
    );
    let distances: Vec<_> = samples
        .iter()
        .filter_map(|sample| sample["interval_ms"].as_u64())
        .collect();
    assert!(distances.iter().any(|ms| *ms >= 2_000), "{distances:?}");
    assert!(
        distances.iter().all(|ms| *ms >= 500),
        "made up for: {distances:?}"
    );
    for sample in &samples {
        let cores = sample["cpu_cores"].as_f64().unwrap_or(0.0);
        assert!(
            (0.0..=1.1).contains(&cores),
            "one loop took {cores} cores: {sample}"
        );
    }
}
