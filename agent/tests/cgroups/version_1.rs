//! Version 1: page cache, shared memory, limits above.

use hubmeter_agent::sample::MemorySource;

use super::bed::{Group, MIB, SLACK_BYTES, Server, flood_file, near, tick, tick_until};

#[test]
fn v1_a_flood_of_the_page_cache_does_not_move_the_figure() {
    let Some(group) = Group::version_1("flood") else {
        return;
    };
    group.set("memory.limit_in_bytes", "268435456");
    let mut server = Server::start(&group);
    server.tell("hold 60");
    let mut sampler = server.sampler();
    let before = tick(&mut sampler);
    assert_eq!(before.memory_source, MemorySource::Cgroup1);
    let file = flood_file();
    for how in ["read", "read", "map"] {
        server.ask(&format!("{how} {}", file.display()));
        let after = tick(&mut sampler);
        println!(
            "after {how}: used {} -> {}, rss {}, charged {:?}",
            before.memory_used_bytes,
            after.memory_used_bytes,
            after.rss_bytes,
            group.number("memory.usage_in_bytes")
        );
        assert!(
            near(before.memory_used_bytes, after.memory_used_bytes),
            "{how} moved {} to {}",
            before.memory_used_bytes,
            after.memory_used_bytes
        );
    }
    // The cache may be another group's, who read the file first; the mapping is resident anyway.
    let after = tick(&mut sampler);
    assert!(after.rss_bytes > before.rss_bytes + 100 * MIB);
}

#[test]
fn v1_files_in_shared_memory_count_though_nobody_maps_them() {
    let Some(group) = Group::version_1("shm") else {
        return;
    };
    let mut server = Server::start(&group);
    let mut sampler = server.sampler();
    let before = tick(&mut sampler);
    server.tell("shm 48");
    let after = tick(&mut sampler);
    let grown = after.memory_used_bytes - before.memory_used_bytes;
    assert!(near(grown, 48 * MIB), "{grown}");
    assert!(after.rss_bytes < before.rss_bytes + 8 * MIB);
}

#[test]
fn v1_a_limit_above_is_found_and_shared_as_soon_as_somebody_else_is_below_it() {
    let Some(job) = Group::version_1("job_17") else {
        return;
    };
    job.set("memory.use_hierarchy", "1");
    job.set("memory.limit_in_bytes", "402653184");
    let step = job.below("step_0");
    let task = step.below("task_0");
    let mut server = Server::start(&task);
    server.tell("hold 40");
    let mut sampler = server.sampler();
    let sample = tick(&mut sampler);
    assert_eq!(sample.memory_source, MemorySource::Cgroup1);
    assert_eq!(sample.memory_limit_source, Some(job.source().into()));
    assert!(!sample.memory_limit_shared);
    assert_eq!(sample.memory_limit_used_bytes, None);

    let extern_step = job.below("step_extern");
    let mut sibling = Server::start(&extern_step);
    sibling.tell("hold 64");
    let shared = tick_until(&mut sampler, |s| s.memory_limit_shared);
    assert_eq!(shared.memory_source, MemorySource::Cgroup1);
    let all = shared.memory_limit_used_bytes.unwrap();
    assert!(all >= shared.memory_used_bytes + 64 * MIB - SLACK_BYTES);
    sibling.tell("hold 32");
    let grown = tick(&mut sampler).memory_limit_used_bytes.unwrap() - all;
    assert!(near(grown, 32 * MIB), "{grown}");
    drop((server, sibling, extern_step, task, step));
}
