//! The memory figure and the limit on machines built of files: cgroups of every kind, and none.

use super::machine::{At, MIB, Machine, Proc, TREE, assert_sums, server, v2_files};
use hubmeter_agent::{
    sample::MemorySource,
    sampler::{PssMode, Sampler},
};

#[test]
fn an_own_version_2_cgroup_is_the_true_number() {
    let machine = Machine::new();
    machine.run(&server());
    machine.member(&TREE, "0::/jupyter.slice/jo.service\n");
    let files = v2_files(900 * MIB, 100 * MIB, "2147483648");
    machine.group("jupyter.slice", &[], &v2_files(1, 0, "max"));
    machine.group("jupyter.slice/jo.service", &TREE, &files);
    let mut sampler = machine.sampler(100);
    let sample = sampler.tick(&At(0)).unwrap();
    assert_sums(&sample);
    assert_eq!(sample.memory_source, MemorySource::Cgroup2);
    assert_eq!(sample.memory_used_bytes, 700 * MIB - 4096);
    assert_eq!(sample.memory_working_set_bytes, Some(800 * MIB));
    assert_eq!(sample.swap_bytes, Some(8192));
    assert_eq!(sample.memory_limit_bytes, Some(2 << 30));
    let source = sample.memory_limit_source.as_deref();
    assert_eq!(source, Some("cgroup2:/jupyter.slice/jo.service"));
    assert!(sample.memory_limit_enforced && !sample.memory_limit_shared);
    assert_eq!(sample.oom_kills, Some(2));
    assert_eq!(sample.cpu_limit_millicores, Some(1500));
    assert_eq!(sample.rss_bytes, 140 * MIB);
    assert_eq!(sample.pss_bytes, Some(84 * MIB));

    // Half a second that no process of the tree shows.
    let mut files = files;
    files.retain(|(name, _)| *name != "cpu.stat");
    files.push(("cpu.stat", "usage_usec 5500000\n".to_owned()));
    machine.group("jupyter.slice/jo.service", &TREE, &files);
    let later = sampler.tick(&At(1000)).unwrap();
    assert_sums(&later);
    assert_eq!(later.cpu_millis, sample.cpu_millis + 500);
}

#[test]
fn a_stranger_in_the_cgroup_makes_the_figure_the_trees() {
    let machine = Machine::new();
    let mut processes = server();
    processes.push(Proc::new(901, 900));
    machine.run(&processes);
    machine.member(&TREE, "0::/jo\n");
    let mut pids = TREE.to_vec();
    pids.push(901);
    machine.group("jo", &pids, &v2_files(900 * MIB, 0, "1073741824"));
    let sample = machine.sampler(100).tick(&At(0)).unwrap();
    assert_sums(&sample);
    assert_eq!(sample.memory_source, MemorySource::Pss);
    assert_eq!(sample.memory_used_bytes, 84 * MIB);
    assert_eq!(sample.memory_limit_bytes, Some(1 << 30));
    assert!(sample.memory_limit_enforced && sample.memory_limit_shared);
}

#[test]
fn a_stranger_in_a_cgroup_below_counts_and_a_tree_spread_below_one_is_held_by_it() {
    let machine = Machine::new();
    machine.run(&server());
    machine.member(&TREE, "0::/jo/server\n");
    machine.group("jo", &[], &v2_files(900 * MIB, 0, "max"));
    machine.group("jo/server", &[100, 130, 131, 140], &v2_files(1, 0, "max"));
    machine.group("jo/kernels", &[110, 111, 120], &v2_files(1, 0, "max"));
    let sample = machine.sampler(100).tick(&At(0)).unwrap();
    assert_eq!(sample.memory_source, MemorySource::Cgroup2);
    assert_eq!(sample.memory_used_bytes, 900 * MIB - 4096);
    machine.group("jo/kernels/else", &[900], &v2_files(1, 0, "max"));
    let sample = machine.sampler(100).tick(&At(0)).unwrap();
    // 900's parent is pid 1 but it is there as a stranger only if it is older than the server.
    assert_eq!(sample.memory_source, MemorySource::Cgroup2);
    let mut processes = server();
    processes.iter_mut().find(|p| p.pid == 900).unwrap().start = 7;
    machine.run(&processes);
    machine.member(&TREE, "0::/jo/server\n");
    let sample = machine.sampler(100).tick(&At(0)).unwrap();
    assert_eq!(sample.memory_source, MemorySource::Pss);
}

#[test]
fn in_a_container_the_init_above_the_server_is_no_stranger_and_orphans_are_found() {
    let machine = Machine::new();
    machine.run(&server());
    machine.member(&TREE, "0::/\n");
    let mut pids = TREE.to_vec();
    pids.extend([1, 900]);
    machine.group("/", &pids, &v2_files(500 * MIB, 0, "1073741824"));
    let sample = machine.sampler(100).tick(&At(0)).unwrap();
    assert_sums(&sample);
    assert_eq!(sample.memory_source, MemorySource::Cgroup2);
    assert_eq!(sample.memory_limit_source.as_deref(), Some("cgroup2:/"));
    assert!(!sample.memory_limit_shared);
    // 900 was born after the server and came to init: nobody else can have started it.
    assert_eq!(sample.processes, 8);
}

#[test]
fn version_1_on_a_hybrid_machine_keeps_shared_memory_in_and_ignores_unlimited() {
    let machine = Machine::new();
    machine.mounts(concat!(
        "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n",
        "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n",
        "36 31 0:33 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n",
        "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
    ));
    machine.run(&server());
    machine.member(&TREE, "4:memory:/hub/jo\n3:cpu,cpuacct:/\n0::/\n");
    machine.group("unified", &TREE, &[]);
    machine.group("cpu,cpuacct", &TREE, &[("release_agent", String::new())]);
    machine.group("memory", &[], &[("release_agent", String::new())]);
    let files = |limit: &str| {
        vec![
            ("memory.usage_in_bytes", format!("{}\n", 800 * MIB)),
            ("memory.limit_in_bytes", format!("{limit}\n")),
            ("memory.use_hierarchy", "1\n".to_owned()),
            (
                "memory.oom_control",
                "oom_kill_disable 0\nunder_oom 0\noom_kill 4\n".to_owned(),
            ),
            (
                "memory.stat",
                format!(
                    "cache {}\nshmem 1\ntotal_shmem {}\ntotal_inactive_file {}\ntotal_active_file {}\ntotal_swap 0\n",
                    300 * MIB,
                    200 * MIB,
                    60 * MIB,
                    40 * MIB
                ),
            ),
        ]
    };
    machine.group("memory/hub", &[], &files("3221225472"));
    machine.group("memory/hub/jo", &TREE, &files("9223372036854771712"));
    let sample = machine.sampler(100).tick(&At(0)).unwrap();
    assert_sums(&sample);
    assert_eq!(sample.memory_source, MemorySource::Cgroup1);
    assert_eq!(sample.memory_used_bytes, 700 * MIB);
    assert_eq!(sample.memory_working_set_bytes, Some(740 * MIB));
    assert_eq!(sample.memory_limit_bytes, Some(3 << 30));
    let source = sample.memory_limit_source.as_deref();
    assert_eq!(source, Some("cgroup1:/hub"));
    assert_eq!(sample.oom_kills, Some(4));
    assert_eq!(sample.swap_bytes, Some(0));
}

#[test]
fn the_environments_limit_is_in_force_if_smallest_and_nobody_enforces_it() {
    let machine = Machine::new();
    let mut processes = server();
    processes[1].environ = vec![
        "MEM_LIMIT=1073741824".to_owned(),
        "MEM_GUARANTEE=536870912".to_owned(),
        "CPU_LIMIT=2.0".to_owned(),
        "CPU_GUARANTEE=0.5".to_owned(),
    ];
    machine.run(&processes);
    let sample = machine.sampler(100).tick(&At(0)).unwrap();
    assert_eq!(sample.memory_limit_bytes, Some(1 << 30));
    assert_eq!(sample.memory_limit_source.as_deref(), Some("env"));
    assert!(!sample.memory_limit_enforced && !sample.memory_limit_shared);
    assert_eq!(sample.memory_guarantee_bytes, Some(1 << 29));
    assert_eq!(sample.cpu_limit_millicores, Some(2000));
    assert_eq!(sample.cpu_guarantee_millicores, Some(500));

    processes[1].environ = vec!["MEM_LIMIT=99999999999999".to_owned()];
    machine.run(&processes);
    let sample = machine.sampler(100).tick(&At(0)).unwrap();
    assert_eq!(sample.memory_limit_source.as_deref(), Some("machine"));
    assert!(sample.memory_limit_enforced);
}

#[test]
fn without_proportional_sets_the_figure_is_the_resident_sum_and_says_so() {
    let machine = Machine::new();
    let mut processes = server();
    for process in &mut processes {
        process.pss = None;
    }
    machine.run(&processes);
    let sample = machine.sampler(100).tick(&At(0)).unwrap();
    assert_sums(&sample);
    assert_eq!(sample.memory_source, MemorySource::Rss);
    assert_eq!(sample.memory_used_bytes, 140 * MIB);
    assert_eq!(sample.pss_bytes, None);
    assert_eq!(sample.unattributed_bytes, Some(0));
}

#[test]
fn between_readings_a_figure_moves_with_the_resident_set() {
    let machine = Machine::new();
    machine.run(&server());
    let mut sampler = Sampler::new(machine.target(100), PssMode::Budget).unwrap();
    let first = sampler.tick(&At(0)).unwrap();
    assert_eq!(first.memory_source, MemorySource::Pss);
    assert_eq!(first.memory_used_bytes, 84 * MIB);
    let mut processes = server();
    let kernel = processes.iter_mut().find(|p| p.pid == 120).unwrap();
    kernel.rss += 300 * MIB;
    kernel.pss = Some(1);
    machine.run(&processes);
    let second = sampler.tick(&At(5000)).unwrap();
    assert_eq!(second.memory_used_bytes, 384 * MIB);
    assert_eq!(second.memory_age_ms, 5000);
    assert_eq!(second.pss_bytes, None, "nothing was read at this tick");
    assert_eq!(second.rss_bytes, first.rss_bytes + 300 * MIB);
}
