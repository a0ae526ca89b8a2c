//! On real processes: bounds that a whole tree would take too long to reach.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, Command, Stdio},
};

use super::*;

/// A shell and its sleepers.
struct Sleepers(Child);

impl Sleepers {
    fn start(count: usize) -> Self {
        let script = format!(
            "for n in $(seq {count}); do sleep 1000 >&- & done; echo up\n\
            read x; sleep 1000 >&- & read x"
        );
        let mut child = Command::new("sh")
            .args(["-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert_eq!(line, "up\n");
        Self(child)
    }

    fn pids(&self) -> Vec<u32> {
        let pid = self.0.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        let words = children.split_whitespace();
        words.map(|pid| pid.parse().unwrap()).collect()
    }

    fn end(pid: u32) {
        let pid = Pid::from_raw(i32::try_from(pid).unwrap());
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
    }

    fn tree(&self) -> Tree {
        Tree::new(Path::new("/proc"), self.0.id(), std::process::id(), false).unwrap()
    }
}

impl Drop for Sleepers {
    fn drop(&mut self) {
        for pid in self.pids() {
            Self::end(pid);
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn kept_descriptors_are_at_most_half_of_those_allowed() {
    for descriptors in [0, 3, 64, 256, 1024, 4096, 1 << 20] {
        let kept = kept_of(descriptors);
        assert!(kept <= KEPT_PROCESSES_MAX);
        let held = kept * PROCESS_DESCRIPTORS + OTHER_DESCRIPTORS;
        assert!(
            kept == 0 || held <= descriptors / 2,
            "{descriptors}: {held}"
        );
    }
    assert!(kept_of(1024) >= 150, "a usual server is kept open whole");
}

#[test]
fn a_tick_that_costs_too_much_is_cut_and_the_next_goes_on_until_the_tree_is_known() {
    let sleepers = Sleepers::start(30);
    let mut tree = sleepers.tree();
    tree.allowance_ns = 0;
    let mut ticks = 0;
    let news = loop {
        ticks += 1;
        match tree.update(1_000).unwrap() {
            None => assert!(tree.beyond() > 0, "what waits is counted"),
            Some(news) => break news,
        }
        assert!(
            ticks < 100,
            "{} of 31 after {ticks} ticks",
            tree.processes.len()
        );
    };
    assert_eq!(news, News::Resync, "nobody looked at the cgroups yet");
    assert!(ticks > 3 && tree.ticks_cut() == ticks - 1, "{ticks}");
    assert_eq!((tree.processes.len(), tree.beyond()), (31, 0));
}

#[test]
fn where_everybody_is_read_at_every_tick_those_who_are_new_are_taken_in_all_the_same() {
    let sleepers = Sleepers::start(150);
    let mut tree = sleepers.tree();
    // As of a copied `/proc`.
    tree.clocks = false;
    tree.allowance_ns = 0;
    let mut ticks = 0;
    while tree.processes.len() < 151 {
        tree.update(1_000).unwrap();
        ticks += 1;
        assert!(ticks < 500, "{} of 151", tree.processes.len());
    }
    // And whoever is born later: the turn of its parent comes.
    sleepers.0.stdin.as_ref().unwrap().write_all(b"\n").unwrap();
    while tree.processes.len() < 152 {
        tree.update(1_000).unwrap();
        ticks += 1;
        assert!(ticks < 1_000, "{} of 152", tree.processes.len());
    }
}

#[test]
fn a_reading_that_was_cut_goes_on_where_it_stopped() {
    let sleepers = Sleepers::start(150);
    let mut tree = sleepers.tree();
    while tree.update(1_000).unwrap().is_none() {}
    assert_eq!(tree.processes.len(), 151);
    tree.allowance_ns = 0;
    for pid in sleepers.pids() {
        Sleepers::end(pid);
    }
    let mut left = vec![tree.processes.len()];
    let is_zombie = |pid: &u32| read_stat(Path::new("/proc"), *pid).is_none_or(|s| s.is_zombie());
    while !sleepers.pids().iter().all(is_zombie) {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    // Their clocks moved as they died, so each is read once.
    let living = |tree: &Tree| tree.readings().filter(|r| !r.zombie).count();
    while living(&tree) > 1 && left.len() < 200 {
        tree.update(1_000).unwrap();
        left.push(living(&tree));
    }
    assert_eq!(left.last(), Some(&1), "{left:?}");
    assert!(left.len() > 3, "some at every tick: {left:?}");
    assert!(
        left.is_sorted_by(|a, b| a > b),
        "every tick gets on: {left:?}"
    );
}

#[test]
fn who_is_beyond_the_number_that_is_followed_is_counted_and_moves_up_when_there_is_room() {
    let sleepers = Sleepers::start(12);
    let mut tree = sleepers.tree();
    tree.followed_max = 5;
    tree.update(1_000).unwrap();
    assert_eq!((tree.processes.len(), tree.beyond()), (5, 8));
    let pids = sleepers.pids();
    assert!(
        pids.iter().all(|&pid| tree.contains(pid)),
        "known, if not followed"
    );
    // Reaped by their shell only when it looks: a zombie is followed still.
    let gone: Vec<Key> = tree.processes.keys().skip(1).take(2).copied().collect();
    tree.bury(&gone);
    tree.update(2_000).unwrap();
    assert_eq!((tree.processes.len(), tree.beyond()), (5, 6));
}

#[test]
fn a_resident_set_that_the_kernel_shrinks_is_seen_within_twelve_ticks() {
    let sleepers = Sleepers::start(3);
    let mut tree = sleepers.tree();
    while tree.update(1_000).unwrap().is_none() {}
    // As if what was read before had been more.
    for process in tree.processes.values_mut() {
        process.reading.rss_bytes = 1 << 40;
    }
    let mut fresh_at = Vec::new();
    for tick in 1..=RESYNC_TICKS {
        tree.update(1_000).unwrap();
        let fresh = tree.readings().filter(|r| r.rss_bytes < 1 << 40).count();
        fresh_at.push((tick, fresh));
    }
    assert_eq!(fresh_at.last(), Some(&(RESYNC_TICKS, 4)), "{fresh_at:?}");
    let at_once = fresh_at.windows(2).any(|pair| pair[1].1 - pair[0].1 > 1);
    assert!(!at_once, "a share at every tick: {fresh_at:?}");
}
