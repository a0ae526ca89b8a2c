//! The sampler on machines built of files: every rule that a real machine shows only now and then.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    unreachable_pub
)]

#[path = "built_machine/correction.rs"]
mod correction;
#[path = "built_machine/ends.rs"]
mod ends;
#[path = "built_machine/faults.rs"]
mod faults;
#[path = "built_machine/histories.rs"]
mod histories;
#[path = "built_machine/machine.rs"]
mod machine;
#[path = "built_machine/memory.rs"]
mod memory;
#[path = "built_machine/trees.rs"]
mod trees;
#[path = "built_machine/vitals.rs"]
mod vitals;
#[path = "built_machine/workloads.rs"]
mod workloads;

use hubmeter_agent::{
    sample::{EndCause, WorkloadKind, WorkloadState},
    sampler::{PssMode, SampleError, Sampler, Target},
    workload::{
        Names,
        told::{Told, ToldKernel, ToldTerminal},
    },
};
use machine::{At, MIB, Machine, Proc, TREE, assert_sums, find, server, v2_files};

#[test]
fn every_process_is_in_exactly_one_workload() {
    let machine = Machine::new();
    machine.run(&server());
    let sample = machine.sampler(100).tick(&At(1000)).unwrap();
    assert_sums(&sample);
    assert_eq!(sample.processes, 7);
    assert_eq!(find(&sample, WorkloadKind::Kernel, "aaa").processes, 2);
    assert_eq!(find(&sample, WorkloadKind::Kernel, "bbb").processes, 1);
    assert_eq!(find(&sample, WorkloadKind::Terminal, "pts/1").processes, 2);
    // A child of Jupyter's that is none of these helps it.
    assert_eq!(find(&sample, WorkloadKind::Server, "server").processes, 2);
    assert_eq!(sample.interval_ms, None);
    assert_eq!(sample.cpu_cores, None);
    assert_eq!(sample.time.to_string(), "2019-11-16T21:56:17.000Z");
}

#[test]
fn without_children_files_the_same_tree_is_found() {
    let machine = Machine::new();
    machine.run(&server());
    let with = machine.sampler(100).tick(&At(0)).unwrap();
    machine.without_children_files(&[1, 100, 110, 111, 120, 130, 131, 140, 900]);
    let without = machine.sampler(100).tick(&At(0)).unwrap();
    assert_eq!(with, without);
}

#[test]
fn the_agent_below_the_server_is_not_part_of_it() {
    let machine = Machine::new();
    let mut processes = server();
    processes.extend([Proc::new(150, 100), Proc::new(151, 150)]);
    machine.run(&processes);
    let target = Target {
        own_pid: 150,
        ..machine.target(100)
    };
    let sample = Sampler::new(target, PssMode::Always)
        .unwrap()
        .tick(&At(0))
        .unwrap();
    assert_eq!(sample.processes, 7);
}

#[test]
fn orphans_that_came_to_the_agent_are_other_where_it_is_subreaper() {
    let machine = Machine::new();
    let processes = [
        Proc::new(50, 1),
        Proc::new(100, 50).jupyter(),
        Proc::new(160, 50),
        Proc::new(161, 160),
    ];
    machine.run(&processes);
    let target = Target {
        own_pid: 50,
        subreaper: true,
        ..machine.target(100)
    };
    let sample = Sampler::new(target, PssMode::Always)
        .unwrap()
        .tick(&At(0))
        .unwrap();
    assert_sums(&sample);
    assert_eq!(find(&sample, WorkloadKind::Other, "other").processes, 2);
}

#[test]
fn a_process_once_seen_stays_the_servers_when_it_is_orphaned() {
    let machine = Machine::new();
    machine.run(&server());
    let mut sampler = machine.sampler(100);
    let before = sampler.tick(&At(0)).unwrap();
    let mut processes = server();
    processes.retain(|p| p.pid != 110);
    processes.iter_mut().find(|p| p.pid == 111).unwrap().ppid = 1;
    machine.run(&processes);
    let after = sampler.tick(&At(5000)).unwrap();
    assert_sums(&after);
    assert_eq!(after.processes, before.processes - 1);
    assert_eq!(find(&after, WorkloadKind::Other, "other").processes, 1);
    assert!(after.cpu_millis >= before.cpu_millis);
    assert_eq!(after.ended.len(), 1);
    let ended = &after.ended[0];
    assert_eq!((ended.id.as_str(), ended.pid), ("aaa", 110));
    assert_eq!(ended.notebook.as_deref(), Some("train.ipynb"));
    assert_eq!(ended.cause, EndCause::Gone);
}

#[test]
fn an_orphan_is_found_by_the_environment_it_inherited_and_joins_its_kernel() {
    let machine = Machine::new();
    let mut processes = server();
    let marked = [
        "JPY_PARENT_PID=100",
        "JPY_SESSION_NAME=/home/jo/deep/train.ipynb",
    ];
    processes.push(Proc::new(170, 1).environ(&marked));
    // The same marks on one that is older than the server: a pid that was used before.
    processes.push(Proc {
        start: 5,
        ..Proc::new(171, 1).environ(&marked)
    });
    machine.run(&processes);
    let sample = machine.sampler(100).tick(&At(0)).unwrap();
    assert_sums(&sample);
    assert_eq!(find(&sample, WorkloadKind::Kernel, "aaa").processes, 3);
    assert_eq!(sample.processes, 8);
}

#[test]
fn what_is_told_wins_over_what_is_guessed_until_its_process_is_another() {
    let machine = Machine::new();
    machine.run(&server());
    let mut sampler = machine.sampler(100);
    sampler.told(Told {
        kernels: vec![ToldKernel {
            id: "told".to_owned(),
            pid: Some(140),
            name: "R".to_owned(),
            notebook: Some("/home/jo/b.ipynb".to_owned()),
            state: Some(WorkloadState::Busy),
            idle_ms: Some(7),
        }],
        terminals: vec![ToldTerminal {
            name: "1".to_owned(),
            pid: Some(130),
        }],
        ..Told::default()
    });
    let sample = sampler.tick(&At(0)).unwrap();
    assert_sums(&sample);
    let kernel = find(&sample, WorkloadKind::Kernel, "told");
    assert_eq!((kernel.pid, kernel.name.as_str()), (140, "R"));
    assert_eq!(kernel.notebook.as_deref(), Some("b.ipynb"));
    assert_eq!(kernel.state, Some(WorkloadState::Busy));
    assert_eq!(find(&sample, WorkloadKind::Terminal, "1").pid, 130);

    let mut processes = server();
    processes.iter_mut().find(|p| p.pid == 140).unwrap().start = 99_999;
    machine.run(&processes);
    let sample = sampler.tick(&At(5000)).unwrap();
    let told = |w: &hubmeter_agent::sample::Workload| w.id == "told";
    assert!(
        !sample.workloads.iter().any(told),
        "a reused pid is nobody's"
    );
}

#[test]
fn names_leave_only_as_far_as_allowed() {
    let machine = Machine::new();
    machine.run(&server());
    for (names, name, notebook) in [
        (Names::Base, "thing", Some("train.ipynb")),
        (Names::Full, "thing", Some("/home/jo/deep/train.ipynb")),
        (Names::None, "", None),
    ] {
        let target = Target {
            names,
            ..machine.target(100)
        };
        let sample = Sampler::new(target, PssMode::Always)
            .unwrap()
            .tick(&At(0))
            .unwrap();
        let kernel = find(&sample, WorkloadKind::Kernel, "aaa");
        assert_eq!(kernel.name, name);
        assert_eq!(kernel.notebook.as_deref(), notebook);
    }
}

#[test]
fn cpu_never_goes_back_and_ended_workloads_stay_in_other() {
    let machine = Machine::new();
    let mut processes = server();
    processes
        .iter_mut()
        .find(|p| p.pid == 120)
        .unwrap()
        .own_ticks = 5_000;
    machine.run(&processes);
    let mut sampler = machine.sampler(100);
    let before = sampler.tick(&At(0)).unwrap();
    assert_eq!(
        find(&before, WorkloadKind::Kernel, "bbb").cpu_millis,
        50_000
    );

    // It ends; the server has waited for it, and it had used 20 ms more.
    let mut processes = server();
    processes.retain(|p| p.pid != 120);
    processes
        .iter_mut()
        .find(|p| p.pid == 100)
        .unwrap()
        .reaped_ticks = 5_002;
    machine.run(&processes);
    let after = sampler.tick(&At(1000)).unwrap();
    assert_sums(&after);
    assert_eq!(after.cpu_millis, before.cpu_millis + 20);
    assert_eq!(after.cpu_cores, Some(0.02));
    let other = find(&after, WorkloadKind::Other, "other");
    assert_eq!(other.cpu_millis, 50_000);
    assert_eq!(other.cpu_cores, Some(0.0), "what moved was used before");
}

#[test]
fn what_is_dead_is_no_workload_and_its_time_is_in_the_sum() {
    let machine = Machine::new();
    let mut processes = vec![
        Proc::new(1, 0),
        Proc::new(100, 1).jupyter(),
        Proc::new(110, 100).kernel("aaa"),
        Proc::new(111, 110),
        // Nobody waited for these yet.
        Proc::new(120, 100),
        Proc::new(130, 110),
    ];
    processes[4].die();
    processes[5].die();
    machine.run(&processes);
    let mut sampler = machine.sampler(100);
    let before = sampler.tick(&At(0)).unwrap();
    assert_sums(&before);
    assert_eq!(before.processes, 5);
    assert_eq!(before.workloads.len(), 2, "{:?}", before.workloads);
    assert_eq!(find(&before, WorkloadKind::Server, "server").processes, 2);
    assert_eq!(find(&before, WorkloadKind::Kernel, "aaa").processes, 3);

    // The worker loses its kernel and dies with pid 1 for a parent: `other` is there for the
    // kernel's time, for nothing else.
    processes.retain(|p| ![110, 120, 130].contains(&p.pid));
    let worker = processes.iter_mut().find(|p| p.pid == 111).unwrap();
    worker.ppid = 1;
    worker.die();
    machine.run(&processes);
    let after = sampler.tick(&At(5000)).unwrap();
    assert_sums(&after);
    assert_eq!(after.cpu_millis, before.cpu_millis);
    assert_eq!(find(&after, WorkloadKind::Server, "server").processes, 2);
    let other = find(&after, WorkloadKind::Other, "other");
    assert_eq!((other.processes, other.rss_bytes), (0, 0));
    assert_eq!(other.cpu_millis, 300);
}

#[test]
fn a_kernel_that_vanishes_as_the_kill_counter_moves_was_out_of_memory() {
    let machine = Machine::new();
    let set_up = |processes: &[Proc], pids: &[u32], kills: u32| {
        machine.run(processes);
        machine.member(pids, "0::/jo\n");
        let mut files = v2_files(900 * MIB, 0, "1073741824");
        files.retain(|(name, _)| *name != "memory.events");
        files.push(("memory.events", format!("oom_kill {kills}\n")));
        machine.group("jo", pids, &files);
    };
    set_up(&server(), &TREE, 2);
    let mut sampler = machine.sampler(100);
    sampler.tick(&At(0)).unwrap();

    // Killed, and a zombie until the server looks after it: told at once, with the figure it
    // was killed with.
    let mut processes = server();
    let kernel = processes.iter_mut().find(|p| p.pid == 120).unwrap();
    kernel.die();
    set_up(&processes, &TREE, 3);
    let sample = sampler.tick(&At(5000)).unwrap();
    assert_sums(&sample);
    assert_eq!(sample.ended.len(), 1);
    assert_eq!(sample.ended[0].id, "bbb");
    assert_eq!(sample.ended[0].cause, EndCause::OutOfMemory);
    assert_eq!(sample.ended[0].memory_used_bytes, 12 * MIB);

    processes.retain(|p| p.pid != 120);
    let left: Vec<u32> = TREE.into_iter().filter(|pid| *pid != 120).collect();
    set_up(&processes, &left, 3);
    let sample = sampler.tick(&At(10_000)).unwrap();
    assert!(sample.ended.is_empty(), "it is told once");

    // The next one goes by itself.
    processes.retain(|p| p.pid != 110 && p.pid != 111);
    let left: Vec<u32> = vec![100, 130, 131, 140];
    set_up(&processes, &left, 3);
    let sample = sampler.tick(&At(15_000)).unwrap();
    assert_eq!(sample.ended.len(), 1);
    assert_eq!(sample.ended[0].cause, EndCause::Gone);
}

#[test]
fn a_server_with_more_workloads_than_a_sample_holds_still_sums_exactly() {
    let machine = Machine::new();
    let mut processes = vec![Proc::new(1, 0), Proc::new(100, 1).jupyter()];
    processes.extend((0..100).map(|n| Proc {
        rss: u64::from(n) * MIB,
        ..Proc::new(200 + n, 100).kernel(&format!("k{n}"))
    }));
    machine.run(&processes);
    let sample = machine.sampler(100).tick(&At(0)).unwrap();
    assert_sums(&sample);
    assert_eq!(sample.processes, 101);
    assert_eq!(sample.workloads.len(), 64);
}

#[test]
fn a_root_that_is_gone_or_dead_is_named() {
    let machine = Machine::new();
    machine.run(&server());
    let mut sampler = machine.sampler(100);
    sampler.tick(&At(0)).unwrap();
    machine.run(&[Proc::new(1, 0)]);
    let error = sampler.tick(&At(1000)).unwrap_err();
    assert!(matches!(error, SampleError::Gone { pid: 100 }));
    assert_eq!(error.to_string(), "process 100 is gone");
    let refused = Sampler::new(machine.target(100), PssMode::Always).unwrap_err();
    assert!(matches!(refused, SampleError::Gone { pid: 100 }));
}
