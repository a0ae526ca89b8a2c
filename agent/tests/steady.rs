//! What a tick costs when nothing happened in the tree: no open, one clock a process, few instructions.
//!
//! Other processes of the machine are born all the time, and of each that lives the sampler reads
//! whose child it is, once. The kernel's pid cursor tells: only ticks around which it stood still
//! are held to the promise.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout
)]

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use hubmeter_agent::{
    clock::Clock,
    sample::{MemorySource, Sample, calls::Calls},
    sampler::{PssMode, Sampler, Target},
};

/// Ticks after the first in which everybody's children are looked at again.
const SETTLING_TICKS: usize = 14;

/// Steady ticks that must be seen before a test has shown anything.
const STEADY_MIN: usize = 20;

/// Back-to-back ticks take some tens of microseconds: births fall into few of them.
const TICKS_MAX: usize = 100_000;

/// A clock by which no time passes, so that nothing is due.
struct Still;

impl Clock for Still {
    fn mono_ms(&self) -> u64 {
        1_000
    }

    fn wall_ms(&self) -> u64 {
        1_573_941_376_000
    }
}

/// A shell and its sleepers, idle for ever.
struct Idle(Child);

impl Idle {
    fn start(sleepers: usize, prepare: &str) -> Self {
        let script =
            format!("{prepare}\nfor n in $(seq {sleepers}); do sleep 1000 & done; echo up; read x");
        let mut child = Command::new("sh")
            .args(["-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let out = child.stdout.as_mut().unwrap();
        BufReader::new(out).read_line(&mut line).unwrap();
        assert_eq!(line, "up\n");
        let idle = Self(child);
        // Idle only when each has become its program and gone to sleep.
        let asleep = |pid: &String| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
            stat.contains("(sleep) S ")
        };
        while !idle.sleepers().iter().all(asleep) {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        idle
    }

    fn sampler(&self) -> Sampler {
        Sampler::new(Target::this_machine(self.0.id()), PssMode::Budget).unwrap()
    }

    fn sleepers(&self) -> Vec<String> {
        let pid = self.0.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        children.split_whitespace().map(str::to_owned).collect()
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        for pid in self.sleepers() {
            let pid = nix::unistd::Pid::from_raw(pid.parse().unwrap());
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn cursor() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap();
    text.split_whitespace().last().unwrap().to_owned()
}

/// Ticks until enough of them were steady, and returns what each of those asked of the kernel.
fn steady_ticks(sampler: &mut Sampler) -> Vec<Calls> {
    let mut steady = Vec::new();
    let mut before_previous = String::new();
    for tick in 0..TICKS_MAX {
        let before = cursor();
        let calls_before = Calls::so_far();
        sampler.tick(&Still).unwrap();
        let calls = Calls::so_far().since(calls_before);
        if tick == 0 {
            let opened = calls.opened;
            assert!(opened > 10, "the first tick finds everything: {opened}");
        }
        // Nobody was born from before the previous tick until after this one.
        if before_previous == cursor() && tick >= SETTLING_TICKS {
            steady.push(calls);
        }
        if steady.len() >= STEADY_MIN {
            return steady;
        }
        before_previous = before;
    }
    panic!("in {TICKS_MAX} ticks only {} were steady", steady.len());
}

fn assert_nothing_opened(ticks: &[Calls]) {
    assert!(ticks.iter().all(|calls| calls.opened == 0), "{ticks:?}");
}

/// Where our descriptors of these processes lead to.
fn held(pids: &[String]) -> BTreeSet<PathBuf> {
    let links = fs::read_dir("/proc/self/fd").unwrap().flatten();
    links
        .filter_map(|link| fs::read_link(link.path()).ok())
        .filter(|to| {
            pids.iter()
                .any(|pid| to.starts_with(Path::new("/proc").join(pid)))
        })
        .collect()
}

#[test]
fn a_tick_in_which_nobody_was_born_opens_no_file_and_holds_the_same_ones() {
    let idle = Idle::start(30, "");
    let mut sampler = idle.sampler();
    let sample: Sample = sampler.tick(&Still).unwrap();
    assert_eq!(sample.processes, 31);
    let mut pids = idle.sleepers();
    pids.push(idle.0.id().to_string());
    let before = held(&pids);
    assert_eq!(
        before.len(),
        3 * 31 + 1,
        "stat, statm, io, and the root's cgroup"
    );
    let mut again = idle.sampler();
    assert_nothing_opened(&steady_ticks(&mut again));
    // The other tests' samplers, on other threads, ask each newborn once whose child it is.
    let stays = |now: &BTreeSet<PathBuf>| now.is_subset(&before);
    let after = held(&pids);
    assert!(stays(&after), "{:?}", after.difference(&before));
    drop((sampler, again));
    assert!(held(&pids).len() <= 4);
}

/// Reads and clocks that do not depend on how many processes there are: the pid cursor, the root's
/// membership, the gauges of a cgroup, the agent's own clock.
const CALLS_FIXED_MAX: u64 = 12;

/// One resident set in this many is read at every tick.
const RESIDENT_SHARE: u64 = 12;

#[test]
fn a_tick_asks_one_clock_a_process_and_reads_a_twelfth_of_the_resident_sets() {
    const PROCESSES: u64 = 61;
    let idle = Idle::start(60, "");
    let mut sampler = idle.sampler();
    for calls in steady_ticks(&mut sampler) {
        let per_process = PROCESSES + PROCESSES.div_ceil(RESIDENT_SHARE);
        // The agent's own clock is asked now and then.
        let fixed = CALLS_FIXED_MAX + PROCESSES / 32;
        assert!(calls.all() <= per_process + fixed, "{calls:?}");
        assert!(calls.clocks >= PROCESSES, "{calls:?}");
    }
}

#[test]
fn processes_that_are_not_the_servers_cost_nothing_in_a_steady_tick() {
    let idle = Idle::start(20, "");
    let least = |ticks: Vec<Calls>| ticks.iter().map(|calls| calls.all()).min().unwrap();
    let alone = least(steady_ticks(&mut idle.sampler()));
    let others = Idle::start(200, "");
    let beside_others = least(steady_ticks(&mut idle.sampler()));
    assert_eq!(alone, beside_others);
    drop(others);
}

/// Instructions, user and kernel, that one more idle process may cost a tick.
const INSTRUCTIONS_PER_PROCESS_MAX: u64 = 1_500;

/// The fewest instructions that a steady tick takes.
fn instructions(sampler: &mut Sampler, counter: &mut perf_event::Counter) -> u64 {
    // One after the other, so that each share of the resident sets is in some.
    let shares: Vec<u64> = (0..RESIDENT_SHARE * 40)
        .map(|_| {
            let before = counter.read().unwrap();
            sampler.tick(&Still).unwrap();
            counter.read().unwrap() - before
        })
        .collect();
    // Births elsewhere, interrupts and other tests only add.
    let least = |phase: u64| {
        let of_phase = shares
            .iter()
            .zip(0..)
            .filter(|(_, tick)| tick % RESIDENT_SHARE == phase);
        of_phase.map(|(n, _)| *n).min().unwrap()
    };
    (0..RESIDENT_SHARE).map(least).sum::<u64>() / RESIDENT_SHARE
}

#[test]
fn an_idle_process_costs_few_instructions_a_tick() {
    if cfg!(debug_assertions) {
        println!("not checked: instructions of an unoptimized build say nothing");
        return;
    }
    let counter = perf_event::Builder::new(perf_event::events::Hardware::INSTRUCTIONS)
        .include_kernel()
        .build()
        .and_then(|mut counter| counter.enable().map(|()| counter));
    let mut counter = match counter {
        Ok(counter) => counter,
        Err(error) => {
            println!("not checked: instructions may not be counted here: {error}");
            return;
        }
    };
    let (few, many) = (Idle::start(10, ""), Idle::start(110, ""));
    let of_few = instructions(&mut few.sampler(), &mut counter);
    let of_many = instructions(&mut many.sampler(), &mut counter);
    let per_process = of_many.saturating_sub(of_few) / 100;
    println!("{per_process} instructions a process; 11 cost {of_few}, 111 {of_many}");
    assert!(per_process > 100, "nothing was counted");
    assert!(
        per_process <= INSTRUCTIONS_PER_PROCESS_MAX,
        "{per_process} instructions a process"
    );
}

/// A memory cgroup of version 1; taken away at the end.
struct Group(PathBuf);

impl Group {
    fn create(name: &str) -> Option<Self> {
        let dir = PathBuf::from("/sys/fs/cgroup/memory").join(name);
        match fs::create_dir(&dir) {
            Ok(()) => Some(Self(dir)),
            Err(error) => {
                println!(
                    "left out: cannot make the cgroup {}: {error}",
                    dir.display()
                );
                None
            }
        }
    }

    fn take(&self, pid: &str) {
        fs::write(self.0.join("cgroup.procs"), pid).unwrap();
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Busy for a moment after the last process went.
        for _ in 0..100 {
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

#[test]
fn an_own_cgroup_costs_no_open_either_and_a_server_that_is_moved_is_followed_at_once() {
    let name = format!("hubmeter-steady-{}", std::process::id());
    let (Some(group), Some(next)) = (Group::create(&name), Group::create(&format!("{name}-next")))
    else {
        return;
    };
    let procs = group.0.join("cgroup.procs");
    let idle = Idle::start(5, &format!("echo $$ > {}", procs.display()));
    let mut sampler = idle.sampler();
    assert_nothing_opened(&steady_ticks(&mut sampler));
    let sample = sampler.tick(&Still).unwrap();
    assert_eq!(sample.memory_source, MemorySource::Cgroup1);
    assert!(sample.memory_used_bytes > 0);

    // Nobody is born by that, and the old cgroup still answers.
    let mut pids = idle.sleepers();
    pids.push(idle.0.id().to_string());
    for pid in &pids {
        next.take(pid);
    }
    drop(group);
    fs::write(next.0.join("memory.limit_in_bytes"), "134217728").unwrap();
    let sample = sampler.tick(&Still).unwrap();
    assert_eq!(sample.memory_source, MemorySource::Cgroup1);
    let source = sample.memory_limit_source.unwrap();
    assert_eq!(source, format!("cgroup1:/{name}-next"));
    drop(idle);
}

#[test]
fn a_limit_that_others_share_costs_no_open_either() {
    let name = format!("hubmeter-shared-{}", std::process::id());
    let Some(all) = Group::create(&name) else {
        return;
    };
    fs::write(all.0.join("memory.limit_in_bytes"), "1073741824").unwrap();
    let below = |name: &str| {
        let group = Group(all.0.join(name));
        fs::create_dir(&group.0).unwrap();
        group
    };
    let (own, other) = (below("own"), below("other"));
    let start = |group: &Group| {
        let procs = group.0.join("cgroup.procs");
        Idle::start(2, &format!("echo $$ > {}", procs.display()))
    };
    let (idle, neighbour) = (start(&own), start(&other));
    let mut sampler = idle.sampler();
    assert_nothing_opened(&steady_ticks(&mut sampler));
    let sample = sampler.tick(&Still).unwrap();
    assert_eq!(sample.memory_source, MemorySource::Cgroup1);
    assert!(sample.memory_limit_shared);
    assert!(sample.memory_limit_used_bytes.unwrap() > sample.memory_used_bytes);
    drop((idle, neighbour));
    drop((own, other));
}
