//! The agent on this machine where it is not let in: other users' processes, hidden ones, a
//! `/proc` with little or nothing in it; and among processes that end faster than they are read.
//!
//! Most of it needs root, to become somebody else. Where that is missing it is said and left out.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout
)]

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use hubmeter_agent::{
    clock::SystemClock,
    sample::{Sample, faults::Faults},
    sampler::{PssMode, Sampler, Target},
};
use serde_json::Value;

const MIB: u64 = 1 << 20;
const AGENT: &str = env!("CARGO_BIN_EXE_hubmeter-agent");

/// Somebody who is not us, and has no name on this machine.
const STRANGER_UID: &str = "61234";

/// A process group that ends with the test.
struct Group(Child);

impl Group {
    /// Starts it, and waits until it says `up`.
    fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert_eq!(line, "up\n");
        Self(child)
    }

    fn sh(script: &str) -> Self {
        Self::start(Command::new("sh").args(["-c", script]))
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }

    fn sampler(&self, mode: PssMode) -> Sampler {
        Sampler::new(Target::this_machine(self.pid()), mode).unwrap()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let group = nix::unistd::Pid::from_raw(-i32::try_from(self.pid()).unwrap());
        let _ = nix::sys::signal::kill(group, nix::sys::signal::Signal::SIGKILL);
        let _ = self.0.wait();
    }
}

fn assert_sums(sample: &Sample) {
    let workloads = &sample.workloads;
    let rss: u64 = workloads.iter().map(|w| w.rss_bytes).sum();
    let cpu: u64 = workloads.iter().map(|w| w.cpu_millis).sum();
    let processes: u32 = workloads.iter().map(|w| w.processes).sum();
    assert_eq!(rss, sample.rss_bytes);
    assert_eq!(cpu, sample.cpu_millis);
    assert_eq!(processes, sample.processes);
}

/// A copy of the agent that anybody may run; `None`, and said, where we cannot be anybody.
fn for_everybody() -> Option<(tempfile::TempDir, PathBuf)> {
    if !nix::unistd::geteuid().is_root() {
        println!("left out: only root can become somebody else");
        return None;
    }
    let dir = tempfile::Builder::new().tempdir_in("/tmp").unwrap();
    let copy = dir.path().join("hubmeter-agent");
    fs::copy(AGENT, &copy).unwrap();
    for path in [dir.path(), &copy] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    Some((dir, copy))
}

/// What `doctor` says to somebody else after `prepare` was done in a mount namespace of its own;
/// `None` where that cannot be prepared.
fn doctor(agent: &std::path::Path, prepare: &str, pid: u32) -> Option<(i32, String)> {
    let script = format!(
        "{{ {prepare}; }} || exit 99\nexec setpriv --reuid={STRANGER_UID} --regid={STRANGER_UID} \
         --clear-groups --inh-caps=-all --bounding-set=-all env -i {} doctor --pid {pid} --format json",
        agent.display()
    );
    let out = Command::new("unshare")
        .args(["-m", "sh", "-c", &script])
        .output()
        .unwrap();
    let (code, err) = (
        out.status.code().unwrap(),
        String::from_utf8_lossy(&out.stderr),
    );
    if code == 99 || err.contains("unshare") {
        println!("left out: cannot prepare `{prepare}`: {err}");
        return None;
    }
    let text = if out.stdout.is_empty() {
        err.into_owned()
    } else {
        String::from_utf8(out.stdout).unwrap()
    };
    Some((code, text))
}

/// A server of the stranger's with a child of root's.
fn mixed() -> Group {
    Group::sh(&format!(
        "setpriv --reuid={STRANGER_UID} --regid={STRANGER_UID} --clear-groups sleep 600 & echo up; \
         read x"
    ))
}

#[test]
fn among_processes_that_end_while_they_are_read_every_tick_is_a_sample_and_nothing_is_a_fault() {
    let storm =
        Group::sh("echo up; while :; do /bin/true & /bin/true & (/bin/true & ) ; wait; done");
    for mode in [PssMode::Always, PssMode::Budget] {
        let mut sampler = storm.sampler(mode);
        let before = Faults::so_far();
        let mut cpu_millis = 0;
        let mut most = 0;
        for _ in 0..1_500 {
            let sample = sampler.tick(&SystemClock).unwrap();
            assert_sums(&sample);
            assert!(sample.cpu_millis >= cpu_millis);
            cpu_millis = sample.cpu_millis;
            most = most.max(sample.processes);
        }
        assert!(most > 1, "somebody was seen");
        assert_eq!(Faults::so_far(), before, "to end is no fault");
    }
}

#[test]
fn memory_of_threads_that_outlive_the_main_thread_is_seen() {
    let script = "
import ctypes, sys, threading, time
def work():
    held = bytearray(80 << 20)
    held[::4096] = b'x' * len(held[::4096])
    print('up', flush=True)
    time.sleep(600)
threading.Thread(target=work).start()
ctypes.CDLL(None).pthread_exit(None)
";
    if Command::new("python3").arg("-V").output().is_err() {
        println!("left out: there is no python3 here");
        return;
    }
    let process = Group::start(Command::new("python3").args(["-c", script]));
    let pid = process.pid();
    let ended = || {
        fs::read_to_string(format!("/proc/{pid}/stat"))
            .unwrap()
            .contains(") Z ")
    };
    while !ended() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let mut sampler = process.sampler(PssMode::Always);
    let sample = sampler.tick(&SystemClock).unwrap();
    assert_sums(&sample);
    assert_eq!(sample.processes, 1);
    assert!(sample.rss_bytes > 80 * MIB, "{}", sample.rss_bytes);
    assert!(sample.pss_bytes.unwrap() > 80 * MIB);
    assert!(sample.memory_used_bytes > 80 * MIB);
}

#[test]
fn a_stopped_server_is_measured_and_costs_no_cpu() {
    let server = Group::sh("sleep 600 & echo up; read x");
    let group = nix::unistd::Pid::from_raw(-i32::try_from(server.pid()).unwrap());
    nix::sys::signal::kill(group, nix::sys::signal::Signal::SIGSTOP).unwrap();
    let mut sampler = server.sampler(PssMode::Budget);
    let first = sampler.tick(&SystemClock).unwrap();
    let second = sampler.tick(&SystemClock).unwrap();
    assert_eq!((first.processes, second.processes), (2, 2));
    assert_eq!(first.cpu_millis, second.cpu_millis);
    assert_eq!(first.rss_bytes, second.rss_bytes);
}

#[test]
fn of_another_users_process_size_and_time_are_told_and_its_share_is_named_as_unseen() {
    let Some((_dir, agent)) = for_everybody() else {
        return;
    };
    let server = mixed();
    let Some((code, text)) = doctor(&agent, "true", server.pid()) else {
        return;
    };
    let report: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(report["processes"], 2, "{text}");
    assert_eq!(report["processes_unread"], 0);
    // The environment of root's shell is not for others.
    assert!(report["readings_failed"]["denied"].as_u64().unwrap() > 0);
    assert_eq!(report["failures"][0]["reason"], "denied");
    assert_eq!(code, 0, "a limit of what may be read is no failure: {text}");
}

#[test]
fn a_hidden_process_of_the_tree_is_counted_as_unread_and_hidden_others_keep_a_cgroup_shared() {
    let Some((_dir, agent)) = for_everybody() else {
        return;
    };
    // One of somebody else's that becomes root's, as with sudo.
    let setuid = agent.with_file_name("setuid-sleep");
    fs::copy("/bin/sleep", &setuid).unwrap();
    fs::set_permissions(&setuid, fs::Permissions::from_mode(0o4755)).unwrap();
    let script = format!("sleep 600 & {} 600 & echo up; read x", setuid.display());
    for option in ["hidepid=1", "hidepid=2"] {
        let server = Group::start(Command::new("setpriv").args([
            &format!("--reuid={STRANGER_UID}"),
            &format!("--regid={STRANGER_UID}"),
            "--clear-groups",
            "--inh-caps=-all",
            "sh",
            "-c",
            &script,
        ]));
        let became_root = || {
            let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", server.pid()));
            let children = children.unwrap();
            let mut statuses = children
                .split_whitespace()
                .map(|pid| fs::read_to_string(format!("/proc/{pid}/status")).unwrap());
            statuses.any(|status| status.contains(&format!("Uid:\t{STRANGER_UID}\t0\t")))
        };
        while !became_root() {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        let prepare = format!("mount -t proc -o {option} proc /proc");
        let Some((code, text)) = doctor(&agent, &prepare, server.pid()) else {
            return;
        };
        let report: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(report["processes"], 2, "{text}");
        assert_eq!(report["processes_unread"], 1, "{option}: {text}");
        assert!(report["readings_failed"]["denied"].as_u64().unwrap() > 0);
        assert_eq!(code, 0, "{text}");
        // We ourselves are in the same cgroups, and hidden from it: it is not the server's own.
        let source = report["memory_source"].as_str().unwrap();
        assert!(["pss", "rss"].contains(&source), "{option}: {text}");
        // Seen, its time and size are told; its share of shared pages is nobody else's business.
        let (code, text) = doctor(&agent, "true", server.pid()).unwrap();
        let report: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(report["processes"], 3, "{text}");
        assert_eq!(report["processes_unread"], 0, "{text}");
        assert_eq!(code, 0, "{text}");

        let hidden = mixed();
        let Some((code, text)) = doctor(&agent, &prepare, hidden.pid()) else {
            return;
        };
        // Root's own shell: hidden altogether, or there and not to be read.
        assert_eq!(code, 1, "{text}");
        assert!(
            text.contains("cannot read") || text.contains("is gone"),
            "{text}"
        );
    }
}

#[test]
fn with_little_or_nothing_in_proc_it_is_said_what_is_missing() {
    let Some((_dir, agent)) = for_everybody() else {
        return;
    };
    let server = mixed();
    if let Some((code, text)) = doctor(
        &agent,
        "mount -t proc -o subset=pid proc /proc",
        server.pid(),
    ) {
        let report: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(code, 0, "{text}");
        assert_eq!(report["processes"], 2);
        assert!(
            report["readings_failed"]["missing"].as_u64().unwrap() >= 2,
            "{text}"
        );
    }
    if let Some((code, text)) = doctor(&agent, "mount -t tmpfs none /proc", server.pid()) {
        assert_eq!(code, 1);
        assert!(text.contains("no processes can be read: /proc"), "{text}");
    }
}

#[path = "built_machine/machine.rs"]
#[allow(unreachable_pub, dead_code)]
mod machine;

/// Processes on a machine built of files, whose files are opened at every tick: as many as a debug
/// build takes in within ticks that have an allowance. Of thousands `crowd` tells.
const MANY: u32 = 400;

#[test]
fn a_tick_over_hundreds_opens_a_few_files_each_however_they_hang_together() {
    use hubmeter_agent::sample::files_opened;
    use machine::{At, Machine, Proc};

    /// A tick takes in as many as its time allows; a debug build on a busy machine few.
    const TICKS_MAX: u64 = 1_000;

    for (shape, parent) in [
        ("all of one parent", (|_| 100) as fn(u32) -> u32),
        ("each of the one before", |pid| pid - 1),
        ("two of each", |pid| 100 + (pid - 100) / 2),
    ] {
        let machine = Machine::new();
        let mut processes = vec![Proc::new(1, 0), Proc::new(100, 1).jupyter()];
        processes.extend((101..100 + MANY).map(|pid| Proc::new(pid, parent(pid))));
        machine.run(&processes);
        let mut sampler = Sampler::new(machine.target(100), PssMode::Budget).unwrap();
        let mut seen = 0;
        for tick in 0..TICKS_MAX {
            let before = files_opened();
            let sample = sampler.tick(&At(tick * 5000)).unwrap();
            let opened = files_opened() - before;
            assert_sums(&sample);
            // Two figures at every tick; of who is new arguments, environment, threads, children
            // and once the share; of who is looked at again threads and children.
            assert!(opened <= 16 * u64::from(MANY), "{shape}: {opened}");
            assert!(sample.processes >= seen, "{shape}: nobody is let go of");
            seen = sample.processes;
            if seen == MANY {
                break;
            }
        }
        assert_eq!(seen, MANY, "{shape}");
    }
}

#[test]
fn a_cgroup_path_may_hold_anything_and_is_believed_only_where_it_leads_to_the_server() {
    use hubmeter_agent::sample::MemorySource;
    use machine::{At, Machine, TREE, server, v2_files};

    for (path, own) in [
        ("/hub:1/a b,c/jo", true),
        ("/hub\\040/jo", true),
        ("/h\u{fc}b/jo", true),
        ("/hub/jo (deleted)", false),
        ("/../../hub/jo", false),
        ("/..", false),
        ("hub/jo", false),
        ("", false),
    ] {
        let machine = Machine::new();
        machine.run(&server());
        let files = v2_files(900 * MIB, MIB, "2147483648");
        machine.group(if own { path } else { "hub/jo" }, &TREE, &files);
        machine.member(&TREE, &format!("1:name=x:y:/z\n0::{path}\n"));
        let sample = machine.sampler(100).tick(&At(0)).unwrap();
        assert_sums(&sample);
        let source = sample.memory_limit_source.as_deref().unwrap();
        if own {
            assert_eq!(sample.memory_source, MemorySource::Cgroup2, "{path}");
            assert_eq!(source, format!("cgroup2:{path}"));
        } else {
            assert_eq!(sample.memory_source, MemorySource::Pss, "{path}");
            assert_eq!(source, "machine");
        }
    }
    let machine = Machine::new();
    machine.run(&server());
    for pid in TREE {
        fs::write(
            machine.proc().join(format!("{pid}/cgroup")),
            b"0::/\xff\xfe\n",
        )
        .unwrap();
    }
    let sample = machine.sampler(100).tick(&At(0)).unwrap();
    assert_eq!(sample.memory_source, MemorySource::Pss);
}

#[test]
fn a_server_as_old_as_the_machine_and_children_born_in_its_first_tick_are_told_apart() {
    use machine::{At, Machine, Proc};

    let machine = Machine::new();
    let born_at_0 = |process: Proc| Proc {
        start: 0,
        ..process
    };
    machine.run(&[
        born_at_0(Proc::new(1, 0)),
        born_at_0(Proc::new(100, 1).jupyter()),
        born_at_0(Proc::new(90, 100).kernel("aaa")),
        born_at_0(Proc::new(91, 90)),
    ]);
    let mut sampler = machine.sampler(100);
    for tick in 0..3 {
        let sample = sampler.tick(&At(tick * 5000)).unwrap();
        assert_sums(&sample);
        assert_eq!(sample.processes, 3);
        let kernel = sample.workloads.iter().find(|w| w.id == "aaa").unwrap();
        assert_eq!(kernel.cpu_millis + 100, sample.cpu_millis);
    }
}

#[test]
fn names_that_look_like_the_fields_after_them_change_no_figure() {
    use machine::{At, Machine, server};

    let machine = Machine::new();
    machine.run(&server());
    let right = machine.sampler(100).tick(&At(0)).unwrap();
    for name in [
        &b"a) R 1 ("[..],
        b") S 1 1 1 1 1 1",
        b"",
        b"(",
        b")",
        b"a\nb\n",
        b"\xff\xfe",
        b"a\0b",
        b"\x1b[31m\xe2\x80\xae",
    ] {
        machine.run(&server());
        for process in server() {
            let path = machine.proc().join(format!("{}/stat", process.pid));
            let stat = fs::read_to_string(&path).unwrap();
            let (before, after) = stat.split_once("thing").unwrap();
            let stat = [before.as_bytes(), name, after.as_bytes()].concat();
            fs::write(&path, stat).unwrap();
        }
        let sample = machine.sampler(100).tick(&At(0)).unwrap();
        assert_sums(&sample);
        assert_eq!(sample.rss_bytes, right.rss_bytes);
        assert_eq!(sample.cpu_millis, right.cpu_millis);
        assert_eq!(sample.processes, right.processes);
        for workload in &sample.workloads {
            assert!(!workload.name.contains(char::is_control), "{workload:?}");
        }
    }
}
