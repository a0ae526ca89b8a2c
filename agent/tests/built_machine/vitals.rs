//! What else slows a server or ends it, on machines built of files with texts as kernels wrote them.

use std::fs;

use hubmeter_agent::sample::{
    Sample, WorkloadKind,
    vitals::{DiskSource, MachineUse, OpenFiles, Pressure, Vitals},
};

use super::machine::{At, MIB, Machine, Proc, TREE, find, server, v2_files};

/// Linux 6.18, a calm server.
const PRESSURE: &str = "some avg10=1.24 avg60=0.38 avg300=0.08 total=221045\n\
    full avg10=0.85 avg60=0.26 avg300=0.05 total=187113\n";

/// Linux 5.4 without `CONFIG_SWAP`'s accounting, cgroup version 1.
const V1_STAT: &str = "cache 40960\nrss 4096\nshmem 4096\nhierarchical_memory_limit 9\n\
    total_cache 73728\ntotal_shmem 69632\ntotal_inactive_file 8192\ntotal_active_file 0\n";

fn sample(machine: &Machine) -> Sample {
    machine.sampler(100).tick(&At(0)).unwrap()
}

fn vitals(machine: &Machine) -> Vitals {
    sample(machine).vitals
}

fn io(rchar: u64, wchar: u64, read: u64, write: u64) -> String {
    format!(
        "rchar: {rchar}\nwchar: {wchar}\nsyscr: 3\nsyscw: 4\nread_bytes: {read}\n\
         write_bytes: {write}\ncancelled_write_bytes: 0\n"
    )
}

fn write(machine: &Machine, path: &str, text: &str) {
    let path = machine.proc().join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// The whole tree in an own cgroup of version 2 with these files besides the usual.
fn own_v2(machine: &Machine, more: &[(&'static str, &str)]) {
    machine.member(&TREE, "0::/jo\n");
    let mut files = v2_files(900 * MIB, 100 * MIB, "2147483648");
    files.retain(|(name, _)| !more.iter().any(|(other, _)| other == name));
    files.extend(more.iter().map(|(name, text)| (*name, (*text).to_owned())));
    machine.group("jo", &TREE, &files);
}

#[test]
fn where_nothing_can_be_known_everything_is_unknown_and_nothing_is_0() {
    let machine = Machine::new();
    machine.run(&server());
    let sample = sample(&machine);
    assert_eq!(sample.vitals, Vitals::default());
    assert!(sample.workloads.iter().all(|w| w.read_bytes.is_none()));
}

#[test]
fn bytes_read_and_written_belong_to_workloads_and_stay_when_a_child_is_waited_for() {
    let machine = Machine::new();
    let mut processes = server();
    machine.run(&processes);
    for pid in TREE {
        write(&machine, &format!("{pid}/io"), &io(1_000, 100, 0, 0));
    }
    // A worker that read through a map: storage alone counts it.
    write(&machine, "111/io", &io(0, 0, 50_000, 8_192));
    let mut sampler = machine.sampler(100);
    let first = sampler.tick(&At(0)).unwrap();
    let kernel = find(&first, WorkloadKind::Kernel, "aaa");
    assert_eq!(kernel.read_bytes, Some(51_000));
    assert_eq!(kernel.written_bytes, Some(8_292));
    assert_eq!(first.vitals.read_bytes, Some(56_000));
    assert_eq!(first.vitals.written_bytes, Some(8_792));

    // The worker ends, after 7,000 more; the kernel waited for it and read 500 itself.
    processes.retain(|process| process.pid != 111);
    machine.run(&processes);
    for pid in TREE.into_iter().filter(|pid| *pid != 111) {
        write(&machine, &format!("{pid}/io"), &io(1_000, 100, 0, 0));
    }
    write(&machine, "110/io", &io(1_500, 100, 57_000, 8_192));
    let second = sampler.tick(&At(5_000)).unwrap();
    let kernel = find(&second, WorkloadKind::Kernel, "aaa");
    assert_eq!(kernel.read_bytes, Some(51_000 + 7_000));
    assert_eq!(kernel.written_bytes, Some(8_292));
    let workloads = second.workloads.iter().map(|w| w.read_bytes.unwrap());
    assert_eq!(second.vitals.read_bytes, Some(workloads.sum()));
}

#[test]
fn a_process_that_does_not_tell_makes_its_workload_and_the_sum_unknown() {
    let machine = Machine::new();
    machine.run(&server());
    for pid in TREE.into_iter().filter(|pid| *pid != 131) {
        write(&machine, &format!("{pid}/io"), &io(1_000, 100, 0, 0));
    }
    let sample = sample(&machine);
    let of = |kind, id| find(&sample, kind, id).read_bytes;
    assert_eq!(of(WorkloadKind::Kernel, "aaa"), Some(2_000));
    assert_eq!(of(WorkloadKind::Terminal, "pts/1"), None);
    assert_eq!(sample.vitals.read_bytes, None);
}

#[test]
fn an_own_version_2_cgroup_tells_shared_memory_pressure_and_swap() {
    let machine = Machine::new();
    machine.run(&server());
    let stat = "anon 1\nfile 9\nshmem 33554432\ninactive_file 4096\nactive_file 0\n";
    let known = [("memory.stat", stat), ("memory.pressure", PRESSURE)];
    own_v2(&machine, &known);
    write(&machine, "pressure/memory", &PRESSURE.replace('1', "9"));
    let sample = sample(&machine);
    assert_eq!(sample.swap_bytes, Some(8192));
    assert_eq!(sample.vitals.shm_bytes, Some(32 * MIB));
    let expected = Pressure {
        some_bp: 124,
        full_bp: 85,
    };
    assert_eq!(sample.vitals.memory_pressure, Some(expected));
}

#[test]
fn an_own_cgroup_without_pressure_or_swap_does_not_borrow_the_machines() {
    let machine = Machine::new();
    machine.run(&server());
    own_v2(&machine, &[]);
    fs::remove_file(machine.cgroups().join("jo/memory.swap.current")).unwrap();
    write(&machine, "pressure/memory", PRESSURE);
    let sample = sample(&machine);
    assert_eq!(sample.vitals.memory_pressure, None);
    assert_eq!(sample.vitals.shm_bytes, None, "this kernel's stat has none");
    // Over the tree every process was read.
    assert_eq!(sample.swap_bytes, Some(7 * 4096));
}

#[test]
fn version_1_tells_shared_memory_with_all_below_and_no_swap_it_does_not_count() {
    let machine = Machine::new();
    machine.mounts("35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n");
    machine.run(&[Proc {
        pss: None,
        ..Proc::new(100, 1).jupyter()
    }]);
    machine.member(&[100], "4:memory:/jo\n");
    let files = [
        ("memory.stat", V1_STAT.to_owned()),
        ("memory.usage_in_bytes", "1048576\n".to_owned()),
        ("memory.limit_in_bytes", "2097152\n".to_owned()),
    ];
    machine.group("memory/jo", &[100], &files);
    write(&machine, "pressure/memory", PRESSURE);
    let of_group = sample(&machine);
    assert_eq!(of_group.vitals.shm_bytes, Some(69_632));
    assert_eq!(of_group.swap_bytes, None);
    assert_eq!(
        of_group.vitals.memory_pressure, None,
        "its limit is not the machine"
    );
    let stat = format!("{V1_STAT}total_swap 12288\n");
    machine.group("memory/jo", &[100], &[("memory.stat", stat)]);
    assert_eq!(sample(&machine).swap_bytes, Some(12_288));
}

#[test]
fn the_machines_pressure_is_the_servers_only_where_the_machine_is_its_limit() {
    let machine = Machine::new();
    let mut processes = server();
    machine.run(&processes);
    write(&machine, "pressure/memory", PRESSURE);
    assert_eq!(vitals(&machine).memory_pressure.unwrap().some_bp, 124);
    processes[1] = processes[1].clone().environ(&["MEM_LIMIT=1073741824"]);
    machine.run(&processes);
    assert_eq!(vitals(&machine).memory_pressure, None);
}

#[test]
fn the_machine_is_told_when_both_its_memory_and_its_load_are_known() {
    let machine = Machine::new();
    machine.run(&server());
    write(&machine, "loadavg", "0.07 0.30 12.25 2/345 6789\n");
    assert_eq!(
        vitals(&machine).machine,
        None,
        "no MemAvailable before Linux 3.14"
    );
    let meminfo = "MemTotal:       24682416 kB\nMemFree:        21190428 kB\n\
        MemAvailable:   22801160 kB\nSwapTotal:             0 kB\n";
    write(&machine, "meminfo", meminfo);
    let mut sampler = machine.sampler(100);
    let expected = MachineUse {
        memory_bytes: 24_682_416 * 1024,
        memory_available_bytes: 22_801_160 * 1024,
        load_hundredths: 7,
    };
    assert_eq!(sampler.tick(&At(0)).unwrap().vitals.machine, Some(expected));
    // The kernel adds it up for everybody who asks: once a second is enough.
    write(
        &machine,
        "meminfo",
        &meminfo.replace("22801160", "11400580"),
    );
    let at = |sampler: &mut hubmeter_agent::sampler::Sampler, ms| {
        let machine = sampler.tick(&At(ms)).unwrap().vitals.machine;
        machine.unwrap().memory_available_bytes / 1024
    };
    assert_eq!(at(&mut sampler, 899), 22_801_160);
    assert_eq!(at(&mut sampler, 900), 11_400_580);
}

#[test]
fn the_end_of_the_job_and_the_disk_of_the_home_are_those_of_the_program_that_runs() {
    let machine = Machine::new();
    machine.mounts("27 1 254:0 / / rw,relatime - ext4 /dev/nowhere rw,discard\n");
    let (old, new) = (
        machine.dir.path().join("old"),
        machine.dir.path().join("new"),
    );
    fs::create_dir(&new).unwrap();
    let home = |path: &std::path::Path| format!("HOME={}", path.display());
    let root = |environ: &[&str]| Proc::new(100, 1).jupyter().environ(environ);
    machine.run(&[root(&[&home(&old), "SLURM_JOB_END_TIME=1792598400"])]);
    let mut sampler = machine.sampler(100);
    let vitals = sampler.tick(&At(0)).unwrap().vitals;
    assert_eq!(vitals.job_ends_ms, Some(1_792_598_400_000));
    assert_eq!(vitals.disk, None, "there is no such folder");

    // Another program, by its name, long before the disk would be due.
    machine.run(&[root(&[&home(&new)])]);
    let stat = machine.proc().join("100/stat");
    let text = fs::read_to_string(&stat)
        .unwrap()
        .replace("(thing)", "(other)");
    fs::write(&stat, text).unwrap();
    let vitals = sampler.tick(&At(5_000)).unwrap().vitals;
    assert_eq!(vitals.job_ends_ms, None);
    let disk = vitals.disk.unwrap();
    assert_eq!((disk.source, disk.age_ms), (DiskSource::Filesystem, 0));
    assert!(disk.used_bytes > 0 && disk.used_bytes <= disk.limit_bytes);
    assert_eq!(
        sampler
            .tick(&At(9_000))
            .unwrap()
            .vitals
            .disk
            .unwrap()
            .age_ms,
        4_000
    );
}

#[test]
fn without_home_the_users_entry_tells_it() {
    let machine = Machine::new();
    machine.mounts("27 1 254:0 / / rw,relatime - ext4 /dev/nowhere rw,discard\n");
    machine.run(&[Proc::new(100, 1).jupyter()]);
    let uid = nix::unistd::geteuid();
    let passwd = format!("jo:x:{uid}:100::{}:/bin/sh\n", machine.dir.path().display());
    write(&machine, "self/root/etc/passwd", &passwd);
    assert!(vitals(&machine).disk.is_some());
}

#[test]
fn everybodys_open_files_are_counted_once_a_minute_a_few_at_a_tick() {
    let machine = Machine::new();
    let processes: Vec<Proc> = std::iter::once(Proc::new(100, 1).jupyter())
        .chain((101..180).map(|pid| Proc::new(pid, 100)))
        .collect();
    machine.run(&processes);
    let opens = |pid: u32, files: u32, limit: &str| {
        write(
            &machine,
            &format!("{pid}/limits"),
            &format!("Limit\nMax open files {limit} 9 files\n"),
        );
        for file in 0..files {
            write(&machine, &format!("{pid}/fd/{file}"), "");
        }
    };
    opens(100, 40, "1024");
    opens(150, 9, "unlimited");
    opens(179, 7, "8");
    let mut sampler = machine.sampler(100);
    let mut at = |ms| sampler.tick(&At(ms)).unwrap().vitals.open_files;
    let (root, last) = (
        OpenFiles {
            open: 40,
            limit: 1024,
            pid: 100,
        },
        OpenFiles {
            open: 7,
            limit: 8,
            pid: 179,
        },
    );
    // 32, 32 and 16 of 80.
    assert_eq!(
        [at(0), at(5_000), at(10_000)],
        [Some(root), Some(root), Some(last)]
    );
    opens(100, 1_000, "1024");
    assert_eq!(at(59_999), Some(last), "not yet");
    assert_eq!(
        at(60_000).map(|files| files.pid),
        Some(100),
        "0.98 is nearer than 0.88"
    );
}
