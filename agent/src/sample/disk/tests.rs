use std::{
    os::{fd::AsRawFd, unix::fs::PermissionsExt},
    process::Command,
    time::Duration,
};

use nix::{
    sys::wait::{WaitPidFlag, waitpid},
    unistd::Pid,
};
use tempfile::TempDir;

use super::*;
use crate::sample::file::{FILE_BYTES_MAX, files_opened};

const LOCAL: &str = "27 1 254:0 / / rw,relatime - ext4 /dev/nowhere rw\n";
const SERVED: &str = "40 27 0:44 / /home rw,relatime - nfs4 nas:/export rw,hard\n";

/// A `/proc` with one process, whose home is on a file server, and a program that asks in our
/// place.
struct Fixture {
    dir: TempDir,
}

impl Fixture {
    fn new(script: &str) -> Self {
        let fixture = Self {
            dir: TempDir::new().unwrap(),
        };
        for of in ["100", "self"] {
            fs::create_dir_all(fixture.dir.path().join(of)).unwrap();
            fixture.mounts(of, &format!("{LOCAL}{SERVED}"));
        }
        let program = fixture.program();
        let script = format!("#!/bin/sh\n[ \"$1\" = ready ] && exit\n{script}\n");
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        // A child that another thread starts may hold it open for writing for a moment.
        until(|| Command::new(&program).arg("ready").status().is_ok());
        fixture
    }

    fn program(&self) -> PathBuf {
        self.dir.path().join("program")
    }

    fn mounts(&self, of: &str, table: &str) {
        fs::write(self.dir.path().join(of).join("mountinfo"), table).unwrap();
    }

    fn watch(&self) -> DiskWatch {
        DiskWatch::new(self.dir.path(), 100, Some(self.program()))
    }
}

/// Home of a server's user.
fn look(watch: &mut DiskWatch, now_ms: u64) -> Option<Disk> {
    watch.look(Some(Path::new("/home/jo")), now_ms)
}

/// The child that is asked now.
fn child(watch: &DiskWatch) -> Option<u32> {
    let fd = watch.probe.as_ref()?.descriptor().as_raw_fd();
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).unwrap();
    let pid = info.lines().find_map(|line| line.strip_prefix("Pid:"));
    Some(pid.unwrap().trim().parse().unwrap())
}

fn until(mut is_so: impl FnMut() -> bool) {
    while !is_so() {
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_server_is_asked_by_a_child_and_its_answer_comes_with_a_later_look() {
    let right = r#"[ "$1 $2 $3" = "disk -- /home/jo" ] && echo "5 9 1000000""#;
    let fixture = Fixture::new(right);
    let mut watch = fixture.watch();
    assert_eq!(look(&mut watch, 1_000), None);
    let pid = child(&watch).unwrap();
    until(|| look(&mut watch, 1_500).is_some());
    let disk = look(&mut watch, 2_000).unwrap();
    let expected = Disk {
        used_bytes: 5,
        limit_bytes: 9,
        source: DiskSource::Filesystem,
        age_ms: 1_000,
    };
    assert_eq!(disk, expected);
    assert_eq!(watch.children_ns(), 1_000_000);
    assert!(!Path::new(&format!("/proc/{pid}")).is_dir(), "a zombie");
}

#[test]
fn one_that_hangs_holds_nothing_up_is_alone_and_leaves_no_zombie() {
    let fixture = Fixture::new("exec sleep 1000");
    let mut watch = fixture.watch();
    assert_eq!(look(&mut watch, 0), None);
    let pid = child(&watch).unwrap();
    let stat = || fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    until(|| stat().contains("(sleep) S"));
    assert_eq!(look(&mut watch, 9_999), None);
    assert!(stat().contains("(sleep) S"), "it has ten seconds");
    // Nobody looked in between: the next one is due, and still there is one only.
    assert_eq!(look(&mut watch, 60_000), None);
    assert_eq!(child(&watch), Some(pid));
    until(|| {
        look(&mut watch, 60_000);
        child(&watch) != Some(pid)
    });
    assert_eq!(stat(), "", "killed and waited for");
    // It is asked again, and given up with the watch.
    let next = child(&watch).unwrap();
    drop(watch);
    let state = || fs::read_to_string(format!("/proc/{next}/stat")).unwrap_or_default();
    until(|| state().is_empty() || state().contains(") Z "));
    let _ = waitpid(
        Pid::from_raw(next.cast_signed()),
        Some(WaitPidFlag::WNOHANG),
    );
}

#[test]
fn an_answer_outlasts_a_server_that_dies_and_grows_old() {
    let fixture = Fixture::new("exit 1");
    let mut watch = fixture.watch();
    let answer = Answer {
        used_bytes: 5,
        limit_bytes: 9,
        quota: false,
    };
    watch.last = Some((0, answer));
    look(&mut watch, 0);
    until(|| {
        look(&mut watch, 1);
        child(&watch).is_none()
    });
    assert_eq!(look(&mut watch, 59_999).unwrap().age_ms, 59_999);
    assert_eq!(child(&watch), None, "one look a minute");
    assert_eq!(look(&mut watch, 900_000).unwrap().age_ms, 900_000);
    assert_eq!(look(&mut watch, 900_001), None);
}

#[test]
fn a_child_that_somebody_else_waited_for_is_heard_all_the_same() {
    let fixture = Fixture::new("echo 5 9 1");
    let mut watch = fixture.watch();
    look(&mut watch, 0);
    let pid = Pid::from_raw(child(&watch).unwrap().cast_signed());
    waitpid(pid, None).unwrap();
    assert_eq!(look(&mut watch, 0).unwrap().used_bytes, 5);
}

#[test]
fn what_is_no_answer_is_unknown() {
    for script in [
        "echo",
        "echo 5 9",
        "printf '5 9 1'",
        "echo many",
        "exit 3",
        "kill -9 $$",
    ] {
        let fixture = Fixture::new(script);
        let mut watch = fixture.watch();
        look(&mut watch, 0);
        until(|| {
            look(&mut watch, 0);
            child(&watch).is_none()
        });
        assert_eq!(look(&mut watch, 0), None, "{script}");
    }
}

#[test]
fn a_program_that_is_on_a_server_itself_is_not_started() {
    let fixture = Fixture::new("echo 5 9 1");
    fixture.mounts(
        "self",
        &format!("27 1 0:9 / / rw - nfs4 nas:/root rw\n{SERVED}"),
    );
    let mut watch = fixture.watch();
    look(&mut watch, 0);
    assert_eq!(child(&watch), None);
}

#[test]
fn a_table_that_is_too_long_to_be_read_whole_leaves_the_home_alone() {
    let fixture = Fixture::new("echo 5 9 1");
    let home = fixture.dir.path().join("home");
    fs::create_dir(&home).unwrap();
    let mut watch = fixture.watch();
    fixture.mounts("100", &LOCAL.repeat(FILE_BYTES_MAX / LOCAL.len() - 1));
    assert!(watch.look(Some(&home), 0).is_some());
    fixture.mounts("100", &LOCAL.repeat(FILE_BYTES_MAX / LOCAL.len() + 1));
    assert_eq!(watch.look(Some(&home), 60_000), None);
    assert_eq!(child(&watch), None);
}

#[test]
fn a_local_disk_is_asked_at_once_and_once_a_minute() {
    let fixture = Fixture::new("exit 1");
    let home = fixture.dir.path().join("home");
    fs::create_dir(&home).unwrap();
    let mut watch = fixture.watch();
    let disk = watch.look(Some(&home), 0).unwrap();
    let of = rustix::fs::statvfs(&home).unwrap();
    let total = of.f_blocks * of.f_frsize;
    assert!(disk.used_bytes > 0 && disk.used_bytes <= disk.limit_bytes);
    // What is kept for root is not to be had.
    assert!(disk.limit_bytes <= total);
    assert_eq!(disk.source, DiskSource::Filesystem);
    let opened = files_opened();
    assert_eq!(watch.look(Some(&home), 59_999).unwrap().age_ms, 59_999);
    assert_eq!(files_opened(), opened);
    assert_eq!(watch.look(Some(&home), 60_000).unwrap().age_ms, 0);
    assert!(files_opened() > opened);
    // Another home is another disk; none is none.
    watch.forget();
    assert_eq!(watch.look(Some(&home.join("gone")), 60_001), None);
    watch.forget();
    assert_eq!(watch.look(None, 60_002), None);
    assert_eq!(child(&watch), None);
}

#[test]
fn a_process_that_has_ended_is_no_failed_reading_before_and_after_it_was_waited_for() {
    let mut ended = Command::new("true").spawn().unwrap();
    let process = PathBuf::from(format!("/proc/{}", ended.id()));
    until(|| {
        let stat = fs::read_to_string(process.join("stat")).unwrap();
        stat.contains(") Z ")
    });
    let before = faults::Faults::so_far();
    assert!(table(&process).is_err());
    ended.wait().unwrap();
    assert!(table(&process).is_err());
    assert_eq!(faults::Faults::so_far().since(&before).total(), 0);
}
