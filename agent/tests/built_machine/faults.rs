//! Cgroups that are not there, may not be read, or go away: a figure all the same, and the reason
//! in doctor's words.

use std::{fs, path::PathBuf};

use hubmeter_agent::{
    doctor,
    sample::MemorySource,
    sampler::{PssMode, Sampler},
};

use super::machine::{At, MIB, Machine, TREE, assert_sums, server, v2_files};

/// A server in a cgroup of its own; a neighbour, and a limit on both.
fn machine() -> Machine {
    let machine = Machine::new();
    let mut processes = server();
    // Its parent is no relative of the server's, and it is older.
    processes.iter_mut().find(|p| p.pid == 900).unwrap().start = 1;
    machine.run(&processes);
    machine.member(&TREE, "0::/hub/jo\n");
    machine.group("hub/other", &[900], &v2_files(1, 0, "max"));
    machine.group("hub", &[], &v2_files(2000 * MIB, 0, "4294967296"));
    machine.group("hub/jo", &TREE, &v2_files(900 * MIB, 0, "max"));
    machine
}

fn file(machine: &Machine, name: &str) -> PathBuf {
    machine.cgroups().join("hub/jo").join(name)
}

#[test]
fn without_a_mount_the_figure_is_the_trees_and_doctor_says_why() {
    let machine = machine();
    for mounts in [
        "",
        "garbage\n",
        "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n",
    ] {
        machine.mounts(mounts);
        let sample = machine.sampler(100).tick(&At(0)).unwrap();
        assert_sums(&sample);
        assert_eq!(sample.memory_source, MemorySource::Pss);
        assert_eq!(sample.memory_limit_source.as_deref(), Some("machine"));
        assert_eq!(sample.oom_kills, None);
        let words = doctor::words_on(machine.target(100)).unwrap();
        let why = "because no cgroup is mounted here";
        assert!(words.contains(why), "{words}");
    }
}

#[test]
fn a_figure_that_is_missing_or_nonsense_is_no_figure_and_comes_back_with_its_file() {
    for (name, text) in [
        ("memory.current", ""),
        ("memory.current", "many\n"),
        ("memory.stat", "anon 1\n"),
        ("memory.stat", "inactive_file -1\nactive_file 2\n"),
    ] {
        let machine = machine();
        let path = file(&machine, name);
        let before = fs::read(&path).unwrap();
        let mut sampler = machine.sampler(100);
        assert_eq!(
            sampler.tick(&At(0)).unwrap().memory_source,
            MemorySource::Cgroup2
        );
        fs::write(&path, text).unwrap();
        // The tick that finds it has the tree's figure already.
        for at in [1_000, 2_000] {
            let sample = sampler.tick(&At(at)).unwrap();
            assert_sums(&sample);
            assert_ne!(sample.memory_used_bytes, 0);
            assert_ne!(
                (sample.memory_source, sample.memory_used_bytes),
                (MemorySource::Cgroup2, 900 * MIB - 4096),
                "{name} {text:?}"
            );
        }
        fs::write(&path, before).unwrap();
        let back = (3..20)
            .map(|at| sampler.tick(&At(at * 1_000)).unwrap())
            .any(|sample| sample.memory_used_bytes == 900 * MIB - 4096);
        assert!(back, "{name} {text:?}");
    }
}

#[test]
fn files_that_cannot_be_read_leave_the_trees_figure() {
    for name in ["memory.current", "memory.stat", "cgroup.procs"] {
        let machine = machine();
        // Permissions do not hold for root; that a directory is no file does.
        fs::remove_file(file(&machine, name)).unwrap();
        fs::create_dir(file(&machine, name)).unwrap();
        let sample = machine.sampler(100).tick(&At(0)).unwrap();
        assert_sums(&sample);
        assert_eq!(sample.memory_source, MemorySource::Pss, "{name}");
    }
}

#[test]
fn a_cgroup_that_is_removed_and_a_server_that_is_moved_are_followed_within_one_tick() {
    let machine = machine();
    let mut sampler = Sampler::new(machine.target(100), PssMode::Budget).unwrap();
    let first = sampler.tick(&At(0)).unwrap();
    assert_eq!(first.memory_source, MemorySource::Cgroup2);

    // Moved, and the old one removed.
    machine.group("other", &TREE, &v2_files(600 * MIB, 0, "2147483648"));
    machine.member(&TREE, "0::/other\n");
    fs::remove_dir_all(machine.cgroups().join("hub")).unwrap();
    let moved = sampler.tick(&At(5_000)).unwrap();
    assert_sums(&moved);
    assert_eq!(moved.memory_source, MemorySource::Cgroup2);
    assert_eq!(moved.memory_used_bytes, 600 * MIB - 4096);
    assert_eq!(moved.memory_limit_source.as_deref(), Some("cgroup2:/other"));
    assert!(moved.cpu_millis >= first.cpu_millis, "never backwards");

    // Moved to where nothing can be seen: as a container's runtime may hide it.
    machine.member(&TREE, "0::/../hidden\n");
    let hidden = sampler.tick(&At(10_000)).unwrap();
    assert_sums(&hidden);
    assert_eq!(hidden.memory_source, MemorySource::Pss);
    assert_eq!(hidden.memory_limit_source.as_deref(), Some("machine"));
    assert!(hidden.cpu_millis >= moved.cpu_millis);
}

#[test]
fn what_others_use_of_a_shared_limit_is_read_every_tick() {
    let machine = machine();
    let mut sampler = Sampler::new(machine.target(100), PssMode::Budget).unwrap();
    let sample = sampler.tick(&At(0)).unwrap();
    assert!(sample.memory_limit_shared);
    assert_eq!(sample.memory_source, MemorySource::Cgroup2);
    assert_eq!(sample.memory_limit_used_bytes, Some(2000 * MIB - 4096));

    machine.group("hub", &[], &v2_files(3000 * MIB, 0, "4294967296"));
    let sample = sampler.tick(&At(5_000)).unwrap();
    assert_eq!(sample.memory_limit_used_bytes, Some(3000 * MIB - 4096));
}
