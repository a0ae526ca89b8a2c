//! What ended, and whether memory was why: victims, near misses, and the server's own word.

use hubmeter_agent::{
    sample::{EndCause, Sample},
    sampler::Sampler,
    workload::told::{Told, ToldEnd, ToldKernel},
};

use super::machine::{At, MIB, Machine, Proc, assert_sums, server, v2_files};

const LIMIT: u64 = 1024 * MIB;

/// A machine whose server has a cgroup of its own, with a kill counter.
struct Bed {
    machine: Machine,
    processes: Vec<Proc>,
    sampler: Option<Sampler>,
    used: u64,
    kills: u32,
    now_ms: u64,
}

impl Bed {
    /// That uses so much of its limit.
    fn using(used: u64) -> Self {
        let mut bed = Self {
            machine: Machine::new(),
            processes: server(),
            sampler: None,
            used,
            kills: 2,
            now_ms: 0,
        };
        bed.write();
        bed.sampler = Some(bed.machine.sampler(100));
        bed
    }

    fn write(&self) {
        self.machine.run(&self.processes);
        let pids: Vec<u32> = self.processes.iter().map(|p| p.pid).collect();
        let pids: Vec<u32> = pids.into_iter().filter(|&p| p != 1 && p != 900).collect();
        self.machine.member(&pids, "0::/jo\n");
        let mut files = v2_files(self.used, 0, &LIMIT.to_string());
        files.retain(|(name, _)| *name != "memory.events");
        files.push(("memory.events", format!("oom_kill {}\n", self.kills)));
        self.machine.group("jo", &pids, &files);
    }

    fn of(&mut self, pid: u32) -> &mut Proc {
        self.processes.iter_mut().find(|p| p.pid == pid).unwrap()
    }

    fn take(&mut self, pid: u32) {
        self.processes.retain(|p| p.pid != pid);
    }

    fn tell(&mut self, told: Told) {
        self.sampler.as_mut().unwrap().told(told);
    }

    fn tick(&mut self) -> Sample {
        self.write();
        let sample = self
            .sampler
            .as_mut()
            .unwrap()
            .tick(&At(self.now_ms))
            .unwrap();
        self.now_ms += 5_000;
        assert_sums(&sample);
        sample
    }
}

fn causes(sample: &Sample) -> Vec<(&str, EndCause)> {
    sample
        .ended
        .iter()
        .map(|e| (e.id.as_str(), e.cause))
        .collect()
}

fn told(ended: &[ToldEnd]) -> Told {
    let kernel = |id: &str, pid| ToldKernel {
        id: id.to_owned(),
        pid: Some(pid),
        name: String::new(),
        notebook: None,
        state: None,
        idle_ms: None,
    };
    Told {
        kernels: vec![kernel("aaa", 110), kernel("bbb", 120)],
        ended: ended.to_vec(),
        ..Told::default()
    }
}

fn end(id: &str, pid: u32, asked: bool, signal: Option<u8>) -> ToldEnd {
    ToldEnd {
        id: id.to_owned(),
        pid,
        asked,
        signal,
    }
}

#[test]
fn a_worker_that_was_killed_is_no_end_and_takes_the_kill_with_it() {
    let mut bed = Bed::using(900 * MIB);
    bed.of(111).rss = 500 * MIB;
    bed.tick();
    // The pool's largest worker; its kernel goes on.
    bed.take(111);
    bed.kills += 1;
    let sample = bed.tick();
    assert_eq!(causes(&sample), []);
    assert_eq!(sample.oom_kills, Some(3));
    // A kernel that goes by itself right afterwards was not killed.
    bed.take(120);
    assert_eq!(causes(&bed.tick()), [("bbb", EndCause::Gone)]);
}

#[test]
fn of_several_that_went_the_largest_was_killed_unless_its_end_says_otherwise() {
    let mut bed = Bed::using(900 * MIB);
    bed.of(110).rss = 300 * MIB;
    bed.of(110).pss = Some(300 * MIB);
    bed.tick();
    bed.take(110);
    bed.take(111);
    bed.take(120);
    bed.kills += 1;
    let sample = bed.tick();
    let expected = [("aaa", EndCause::OutOfMemory), ("bbb", EndCause::Gone)];
    assert_eq!(causes(&sample), expected);

    // The large one went by itself, with exit code 1: it was the small one.
    let mut bed = Bed::using(900 * MIB);
    bed.of(110).rss = 300 * MIB;
    bed.tick();
    bed.of(110).die();
    bed.of(110).exit_code = 1 << 8;
    bed.take(120);
    bed.kills += 1;
    let sample = bed.tick();
    let cause = |id| causes(&sample).iter().find(|(of, _)| *of == id).unwrap().1;
    assert_eq!(cause("aaa"), EndCause::Gone);
    assert_eq!(cause("bbb"), EndCause::OutOfMemory);
}

#[test]
fn several_kills_at_once_have_several_victims() {
    let mut bed = Bed::using(900 * MIB);
    bed.tick();
    bed.of(110).die_of(9);
    bed.of(120).die_of(9);
    bed.kills += 2;
    let sample = bed.tick();
    assert_eq!(sample.ended.len(), 2);
    assert!(
        sample
            .ended
            .iter()
            .all(|e| e.cause == EndCause::OutOfMemory)
    );
}

#[test]
fn a_victim_that_takes_time_to_die_is_found_and_keeps_its_last_figure() {
    let mut bed = Bed::using(900 * MIB);
    bed.of(120).pss = Some(700 * MIB);
    bed.of(120).rss = 700 * MIB;
    bed.tick();
    // Counted, and its memory is being given back.
    bed.kills += 1;
    bed.of(120).rss = 0;
    bed.of(120).shared = 0;
    bed.of(120).pss = Some(0);
    assert_eq!(causes(&bed.tick()), []);
    bed.take(120);
    let sample = bed.tick();
    assert_eq!(causes(&sample), [("bbb", EndCause::OutOfMemory)]);
    assert_eq!(sample.ended[0].memory_used_bytes, 700 * MIB);
}

#[test]
fn a_victim_that_takes_time_to_die_was_killed_near_the_limit_though_nothing_is_near_it_now() {
    for (used, cause) in [
        (900 * MIB, EndCause::KilledNearLimit),
        (500 * MIB, EndCause::Gone),
    ] {
        let mut bed = Bed::using(used);
        bed.tick();
        // On its way out: it holds nothing, and is no zombie yet.
        (bed.of(120).rss, bed.of(120).shared, bed.of(120).pss) = (0, 0, Some(0));
        bed.of(120).in_exit = true;
        bed.used = 100 * MIB;
        for _ in 0..3 {
            assert_eq!(causes(&bed.tick()), []);
        }
        bed.of(120).die_of(9);
        assert_eq!(causes(&bed.tick()), [("bbb", cause)], "{used}");
    }
}

#[test]
fn one_that_gave_its_memory_back_since_it_was_read_ends_when_it_is_dead_and_of_its_signal() {
    let mut bed = Bed::using(900 * MIB);
    bed.tick();
    // The kernel shows an empty file of it, between the last of its memory and its end.
    bed.write();
    let rollup = bed.machine.proc().join("120/smaps_rollup");
    std::fs::write(rollup, "").unwrap();
    let sampler = bed.sampler.as_mut().unwrap();
    let sample = sampler.tick(&At(bed.now_ms)).unwrap();
    assert_eq!(causes(&sample), [], "of what it dies is not known yet");
    bed.now_ms += 5_000;
    bed.of(120).die_of(9);
    assert_eq!(causes(&bed.tick()), [("bbb", EndCause::KilledNearLimit)]);
}

#[test]
fn sigkill_near_the_limit_is_told_and_far_from_it_or_another_signal_is_not() {
    for (used, code, cause) in [
        (900 * MIB, 9, EndCause::KilledNearLimit),
        (500 * MIB, 9, EndCause::Gone),
        (900 * MIB, 15, EndCause::Gone),
        (900 * MIB, 11 | 128, EndCause::Gone),
        (900 * MIB, 0, EndCause::Gone),
    ] {
        let mut bed = Bed::using(used);
        bed.tick();
        bed.of(120).die_of(code);
        // What it held is given back by now.
        bed.used = 100 * MIB;
        assert_eq!(causes(&bed.tick()), [("bbb", cause)], "{used} {code}");
    }
}

#[test]
fn memory_that_would_be_at_the_limit_in_two_intervals_is_near() {
    let mut bed = Bed::using(200 * MIB);
    bed.tick();
    bed.used = 500 * MIB;
    bed.tick();
    bed.of(120).die_of(9);
    assert_eq!(causes(&bed.tick()), [("bbb", EndCause::KilledNearLimit)]);
}

#[test]
fn a_kernel_that_somebody_shut_down_was_not_killed_whatever_else_happened() {
    let mut bed = Bed::using(900 * MIB);
    bed.tell(told(&[]));
    bed.tick();
    // Told before it is seen.
    bed.tell(told(&[end("bbb", 120, true, None)]));
    bed.of(120).die_of(9);
    bed.kills += 1;
    assert_eq!(causes(&bed.tick()), [("bbb", EndCause::Gone)]);
    for _ in 0..4 {
        bed.tick(); // whom that kill took is not asked any more
    }
    // Seen before it is told: it waits for the word, and is told once.
    bed.of(110).die_of(9);
    assert_eq!(causes(&bed.tick()), []);
    bed.tell(told(&[end("aaa", 110, true, None)]));
    assert_eq!(causes(&bed.tick()), [("aaa", EndCause::Gone)]);
    assert_eq!(causes(&bed.tick()), []);
}

#[test]
fn the_servers_word_that_it_died_of_sigkill_makes_the_cause_known() {
    let mut bed = Bed::using(900 * MIB);
    bed.tell(told(&[]));
    bed.tick();
    // Reaped before anybody saw it dead.
    bed.take(120);
    assert_eq!(causes(&bed.tick()), [], "its server is about to say why");
    bed.tell(told(&[end("bbb", 120, false, Some(9))]));
    let sample = bed.tick();
    assert_eq!(causes(&sample), [("bbb", EndCause::KilledNearLimit)]);
    assert_eq!(sample.ended[0].memory_used_bytes, 12 * MIB);

    // The word is about another life of the same kernel.
    bed.tell(told(&[end("aaa", 99, false, Some(9))]));
    bed.take(110);
    bed.take(111);
    assert_eq!(causes(&bed.tick()), []);
    assert_eq!(causes(&bed.tick()), [("aaa", EndCause::Gone)]);
}

#[test]
fn a_server_that_says_nothing_does_not_hold_an_end_back_for_ever() {
    let mut bed = Bed::using(900 * MIB);
    bed.tell(told(&[]));
    bed.tick();
    bed.of(120).die_of(9);
    assert_eq!(causes(&bed.tick()), []);
    assert_eq!(causes(&bed.tick()), [("bbb", EndCause::KilledNearLimit)]);
    assert_eq!(causes(&bed.tick()), []);
}

#[test]
fn without_a_cgroups_counter_the_machines_tells_of_victims_that_were_worth_it() {
    let vmstat = |machine: &Machine, kills: u32| {
        let text = format!("nr_free_pages 1\noom_kill {kills}\nswap_ra 2\n");
        std::fs::write(machine.proc().join("vmstat"), text).unwrap();
    };
    for (code, rss, cause) in [
        (Some(9), 20 * MIB, EndCause::OutOfMemory),
        // Gone before it was seen dead: only its size speaks.
        (None, 6000 * MIB, EndCause::OutOfMemory),
        (None, 20 * MIB, EndCause::Gone),
        (Some(15), 6000 * MIB, EndCause::Gone),
    ] {
        let machine = Machine::new();
        let mut processes = server();
        let kernel = |processes: &mut Vec<Proc>| processes.iter().position(|p| p.pid == 120);
        let at = kernel(&mut processes).unwrap();
        processes[at].rss = rss;
        machine.run(&processes);
        vmstat(&machine, 7);
        let mut sampler = machine.sampler(100);
        sampler.tick(&At(0)).unwrap();
        match code {
            Some(code) => processes[at].die_of(code),
            None => drop(processes.remove(at)),
        }
        machine.run(&processes);
        vmstat(&machine, 8);
        let sample = (1..=12)
            .map(|tick| sampler.tick(&At(tick * 5_000)).unwrap())
            .find(|sample| !sample.ended.is_empty())
            .unwrap();
        assert_eq!(causes(&sample), [("bbb", cause)], "{code:?} {rss}");
        assert_eq!(sample.oom_kills, None, "it is not the server's own count");
    }
}
