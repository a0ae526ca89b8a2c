//! Version 2: figure, page cache, shared memory, limits, strangers, namespaces, CPU time.

use hubmeter_agent::sample::{EndCause, MemorySource};

use super::bed::{AGENT, Group, MIB, SLACK_BYTES, Server, flood_file, near, tick, tick_until};

#[test]
fn v2_the_figure_is_what_the_kernel_cannot_take_back_from_the_own_cgroup() {
    let Some(group) = Group::version_2("figure") else {
        return;
    };
    group.set("memory.max", "268435456");
    let mut server = Server::start(&group);
    server.tell("hold 40");
    let sample = tick(&mut server.sampler());
    assert_eq!(sample.memory_source, MemorySource::Cgroup2);
    let stat = |key| group.field("memory.stat", key);
    let current = group.number("memory.current").unwrap();
    let given_back = stat("inactive_file") + stat("active_file") + stat("slab_reclaimable");
    assert!(
        near(sample.memory_used_bytes, current - given_back),
        "{sample:?}"
    );
    assert!(sample.memory_used_bytes >= 40 * MIB);
    assert_eq!(sample.memory_limit_bytes, Some(256 * MIB));
    assert_eq!(sample.memory_limit_source, Some(group.source().into()));
    assert!(sample.memory_limit_enforced && !sample.memory_limit_shared);
    assert_eq!(sample.memory_limit_used_bytes, None, "nobody shares it");
    server.tell("drop");
    let after = tick(&mut server.sampler());
    assert!(after.memory_used_bytes < sample.memory_used_bytes - 36 * MIB);
}

#[test]
fn v2_a_flood_of_the_page_cache_does_not_move_the_figure() {
    let Some(group) = Group::version_2("flood") else {
        return;
    };
    group.set("memory.max", "268435456");
    let mut server = Server::start(&group);
    server.tell("hold 60");
    let mut sampler = server.sampler();
    let before = tick(&mut sampler);
    let file = flood_file();
    for how in ["read", "read", "map"] {
        let answer = server.ask(&format!("{how} {}", file.display()));
        let bytes: u64 = answer.split(' ').nth(1).unwrap().parse().unwrap();
        assert!(bytes > 256 * MIB, "the file is larger than the limit");
        let after = tick(&mut sampler);
        println!(
            "after {how}: used {} -> {}, working set {:?}, rss {}, charged {:?}",
            before.memory_used_bytes,
            after.memory_used_bytes,
            after.memory_working_set_bytes,
            after.rss_bytes,
            group.number("memory.current")
        );
        let charged = group.number("memory.current").unwrap();
        assert!(
            charged > before.memory_used_bytes + 100 * MIB,
            "it was a flood: {charged}"
        );
        assert!(
            near(before.memory_used_bytes, after.memory_used_bytes),
            "{how} moved {} to {}",
            before.memory_used_bytes,
            after.memory_used_bytes
        );
    }
    let after = tick(&mut sampler);
    assert!(after.rss_bytes > before.rss_bytes + 100 * MIB);
    assert_eq!(group.field("memory.events", "oom_kill"), 0);
}

#[test]
fn v2_files_in_shared_memory_count_though_nobody_maps_them() {
    let Some(group) = Group::version_2("shm") else {
        return;
    };
    let mut server = Server::start(&group);
    let mut sampler = server.sampler();
    let before = tick(&mut sampler);
    server.tell("shm 48");
    let after = tick(&mut sampler);
    let grown = after.memory_used_bytes - before.memory_used_bytes;
    assert!(near(grown, 48 * MIB), "{grown}");
    assert!(
        after.rss_bytes < before.rss_bytes + 8 * MIB,
        "no resident set shows it"
    );
}

#[test]
fn v2_a_limit_above_is_found_and_shared_as_soon_as_somebody_else_is_below_it() {
    // As Slurm makes them: the limit is the job's, the server is in a task of one of its steps.
    let Some(job) = Group::version_2("job_17") else {
        return;
    };
    job.set("memory.max", "402653184");
    let step = job.below("step_0");
    let user = step.below("user");
    let task = user.below("task_0");
    let mut server = Server::start(&task);
    server.tell("hold 40");
    let mut sampler = server.sampler();
    let sample = tick(&mut sampler);
    assert_eq!(sample.memory_source, MemorySource::Cgroup2);
    assert_eq!(sample.memory_limit_bytes, Some(384 * MIB));
    assert_eq!(sample.memory_limit_source, Some(job.source().into()));
    assert!(!sample.memory_limit_shared);

    let extern_step = job.below("step_extern");
    let mut sibling = Server::start(&extern_step);
    sibling.tell("hold 64");
    let shared = tick_until(&mut sampler, |s| s.memory_limit_shared);
    assert_eq!(
        shared.memory_source,
        MemorySource::Cgroup2,
        "the task is still the server's own"
    );
    assert!(near(shared.memory_used_bytes, sample.memory_used_bytes));
    let all = shared.memory_limit_used_bytes.unwrap();
    assert!(all >= shared.memory_used_bytes + 64 * MIB - SLACK_BYTES);

    // What the sibling takes is gone for the server as well.
    sibling.tell("hold 32");
    let later = tick(&mut sampler);
    let grown = later.memory_limit_used_bytes.unwrap() - all;
    assert!(near(grown, 32 * MIB), "{grown}");
    assert!(near(later.memory_used_bytes, shared.memory_used_bytes));

    drop(sibling);
    let alone = tick_until(&mut sampler, |s| !s.memory_limit_shared);
    assert_eq!(alone.memory_limit_used_bytes, None);
    drop((server, extern_step, task, user, step));
}

#[test]
fn v2_while_a_stranger_is_in_the_cgroup_the_figure_is_the_trees() {
    let Some(group) = Group::version_2("stranger") else {
        return;
    };
    let Some(elsewhere) = Group::version_2("elsewhere") else {
        return;
    };
    let mut server = Server::start(&group);
    server.tell("hold 30");
    let mut sampler = server.sampler();
    assert_eq!(tick(&mut sampler).memory_source, MemorySource::Cgroup2);
    let stranger = Server::start(&elsewhere);
    group.take(stranger.pid());
    let with = tick_until(&mut sampler, |s| s.memory_source == MemorySource::Pss);
    assert!(with.memory_used_bytes >= 30 * MIB && with.memory_used_bytes < 40 * MIB);
    elsewhere.take(stranger.pid());
    tick_until(&mut sampler, |s| s.memory_source == MemorySource::Cgroup2);
    drop((server, stranger));
}

#[test]
fn v2_a_container_with_its_own_cgroup_namespace_sees_its_own_limit() {
    let Some(group) = Group::version_2("container") else {
        return;
    };
    group.set("memory.max", "201326592");
    let mut server = Server::with(&group, "", "contain");
    server.tell("hold 40");
    let answer = server.ask(&format!("run {AGENT} sample --pid 1 --format json"));
    let sample: serde_json::Value = serde_json::from_str(&answer).expect(&answer);
    assert_eq!(sample["memory_source"], "cgroup2", "{answer}");
    assert_eq!(sample["memory_limit_bytes"], 192 * MIB);
    assert_eq!(sample["memory_limit_source"], "cgroup2:/");
    assert_eq!(sample["memory_limit_enforced"], true);
    assert_eq!(sample["memory_limit_shared"], false);
    let used = sample["memory_used_bytes"].as_u64().unwrap();
    assert!((40 * MIB..150 * MIB).contains(&used), "{used}");
    assert_eq!(sample["processes"], 1);
    for pid in group.pids().into_iter().filter(|&pid| pid != server.pid()) {
        let pid = nix::unistd::Pid::from_raw(pid.cast_signed());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    }
}

#[test]
fn v2_a_limit_that_is_changed_is_seen() {
    let Some(group) = Group::version_2("changed") else {
        return;
    };
    group.set("memory.max", "268435456");
    let server = Server::start(&group);
    let mut sampler = server.sampler();
    assert_eq!(tick(&mut sampler).memory_limit_bytes, Some(256 * MIB));
    for (max, bytes) in [("134217728", 128 * MIB), ("402653184", 384 * MIB)] {
        group.set("memory.max", max);
        tick_until(&mut sampler, |s| s.memory_limit_bytes == Some(bytes));
    }
    group.set("memory.max", "max");
    let none = tick_until(&mut sampler, |s| {
        s.memory_limit_source != Some(group.source().into())
    });
    assert_eq!(none.memory_limit_source.as_deref(), Some("machine"));
    drop(server);
}

#[test]
fn v2_cpu_time_of_children_that_nobody_waited_for_is_counted() {
    let Some(group) = Group::version_2("cpu") else {
        return;
    };
    let mut server = Server::start(&group);
    let mut sampler = server.sampler();
    tick(&mut sampler);
    for (how, count) in [("spin", 100), ("ignored", 100), ("orphans", 100)] {
        let charged_before = group.field("cpu.stat", "usage_usec");
        let before = tick(&mut sampler).cpu_millis;
        let answer = server.ask(&format!("{how} {count} 20"));
        let used_ms = answer.parse::<u64>().unwrap() / 1_000_000;
        let counted_ms = tick(&mut sampler).cpu_millis - before;
        let charged_ms = (group.field("cpu.stat", "usage_usec") - charged_before) / 1000;
        println!(
            "{how}: {counted_ms} ms counted, {used_ms} ms used by the children, \
             {charged_ms} ms charged by the kernel"
        );
        assert!(used_ms >= count * 20);
        assert!(
            counted_ms * 100 >= used_ms * 99,
            "{how}: {counted_ms} ms of {used_ms} ms"
        );
        // Nothing is counted twice; a process' own clock is read apart from the group's.
        assert!(counted_ms <= charged_ms + charged_ms / 100 + 20);
    }
}

#[test]
fn v2_a_server_that_is_moved_is_followed_and_a_cgroup_that_is_gone_is_let_go() {
    let Some(first) = Group::version_2("first") else {
        return;
    };
    let Some(second) = Group::version_2("second") else {
        return;
    };
    first.set("memory.max", "268435456");
    second.set("memory.max", "134217728");
    let mut server = Server::start(&first);
    server.tell("hold 20");
    let mut sampler = server.sampler();
    let before = tick(&mut sampler);
    assert_eq!(before.memory_limit_source, Some(first.source().into()));
    second.take(server.pid());
    drop(first);
    let after = tick(&mut sampler);
    assert_eq!(after.memory_source, MemorySource::Cgroup2);
    assert_eq!(after.memory_limit_source, Some(second.source().into()));
    assert!(after.cpu_millis >= before.cpu_millis, "never backwards");
    // What was charged stays with the old cgroup: the new one begins with what is touched in it.
    server.tell("hold 20");
    let later = tick(&mut sampler);
    let grown = later.memory_used_bytes - after.memory_used_bytes;
    assert!(near(grown, 20 * MIB), "{grown}");
    drop(server);
}

#[test]
fn v2_the_kernel_that_the_out_of_memory_killer_took_is_named() {
    let Some(group) = Group::version_2("victim") else {
        return;
    };
    group.set("memory.max", "134217728");
    let _ = std::fs::write(group.0.join("memory.swap.max"), "0");
    let mut server = Server::start(&group);
    server.tell("hold 10");
    server.tell("kernel real-1");
    server.tell("kernel! hold 60");
    let mut sampler = server.sampler();
    let kills = tick(&mut sampler).oom_kills.expect("the counter");
    assert_eq!(server.ask("kernel! hold 400"), "killed 9");
    let sample = tick(&mut sampler);
    assert_eq!(sample.oom_kills, Some(kills + 1));
    assert_eq!(sample.ended.len(), 1, "{:?}", sample.ended);
    assert_eq!(sample.ended[0].id, "real-1");
    assert_eq!(sample.ended[0].cause, EndCause::OutOfMemory);
    assert!(sample.ended[0].memory_used_bytes > 60 * MIB);
}
