//! What else slows a server or ends it, on the machine the tests run on.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout
)]

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdout, Command, Stdio},
};

use hubmeter_agent::{
    clock::Clock,
    sample::{Sample, files_opened, vitals::Vitals},
    sampler::{PssMode, Sampler, Target},
};

/// A clock that stands where it is put.
struct At(u64);

impl Clock for At {
    fn mono_ms(&self) -> u64 {
        self.0
    }

    fn wall_ms(&self) -> u64 {
        1_573_941_376_000
    }
}

/// A shell that does something, says a word and waits to be let go.
struct Shell {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Shell {
    fn start(script: &str) -> Self {
        let mut child = Command::new("sh")
            .args(["-c", &format!("read go; {script}; echo done; read x")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Self { child, out }
    }

    fn go(&mut self) {
        self.child
            .stdin
            .as_mut()
            .unwrap()
            .write_all(b"go\n")
            .unwrap();
    }

    fn done(&mut self) {
        let mut line = String::new();
        self.out.read_line(&mut line).unwrap();
        assert_eq!(line, "done\n");
    }

    fn sampler(&self) -> Sampler {
        Sampler::new(Target::this_machine(self.child.id()), PssMode::Budget).unwrap()
    }

    fn file(&self, name: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{name}", self.child.id())).unwrap()
    }

    fn counter(&self, name: &str) -> u64 {
        let io = self.file("io");
        let value = io.lines().find_map(|line| line.strip_prefix(name));
        value.unwrap().trim().parse().unwrap()
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn vitals(sampler: &mut Sampler, ms: u64) -> Vitals {
    sampler.tick(&At(ms)).unwrap().vitals
}

#[test]
fn two_hundred_children_that_come_and_go_are_counted_once_each_and_never_back() {
    let each = 300_000;
    let script = format!(
        "n=0; while [ $n -lt 200 ]; do head -c {each} /dev/zero > /dev/null; n=$((n+1)); done"
    );
    let mut shell = Shell::start(&script);
    let mut sampler = shell.sampler();
    let before = vitals(&mut sampler, 0).read_bytes.unwrap();
    shell.go();
    let (mut seen_working, mut last) = (0, before);
    // By births, not by time: until all two hundred were there.
    while shell.counter("rchar:") < 200 * each {
        let sample: Sample = sampler.tick(&At(0)).unwrap();
        seen_working += u32::from(sample.processes > 1);
        // Unknown while one of them is between its birth and its program.
        if let Some(now) = sample.vitals.read_bytes {
            assert!(now >= last, "{last} and then {now}");
            last = now;
        }
    }
    shell.done();
    assert!(
        seen_working > 5,
        "hardly any child was seen alive: {seen_working}"
    );
    // Debts that nobody will pay are forgotten within a few ticks.
    for _ in 0..5 {
        sampler.tick(&At(0)).unwrap();
    }
    let counted = vitals(&mut sampler, 0).read_bytes.unwrap();
    let by_calls = shell.counter("rchar:");
    let by_storage = shell.counter("read_bytes:");
    assert!(by_calls >= 200 * each);
    assert!(
        (by_calls..=by_calls + by_storage).contains(&counted),
        "counted {counted}, the kernel {by_calls} by calls and {by_storage} from storage"
    );
}

#[test]
fn the_process_nearest_to_its_limit_on_open_files_is_found_with_what_it_holds() {
    let mut shell = Shell::start("ulimit -n 20; exec 3</dev/null 4</dev/null 5</dev/null");
    shell.go();
    shell.done();
    let mut sampler = shell.sampler();
    let files = vitals(&mut sampler, 0).open_files.unwrap();
    let held = fs::read_dir(format!("/proc/{}/fd", shell.child.id())).unwrap();
    assert_eq!(files.open, u32::try_from(held.count()).unwrap());
    assert_eq!((files.limit, files.pid), (20, shell.child.id()));
}

#[test]
fn this_machine_and_this_agent_are_known_and_the_slow_looks_open_files_once_a_minute() {
    let shell = Shell::start("true");
    let mut sampler = shell.sampler();
    let at_first = vitals(&mut sampler, 0);
    let machine = at_first.machine.unwrap();
    assert!(machine.memory_available_bytes <= machine.memory_bytes);
    assert!(machine.memory_bytes > 64 << 20);
    assert!(at_first.agent.rss_bytes.unwrap() > 1 << 20);
    assert!(at_first.agent.cpu_millis.is_some());
    // The home of whoever runs the tests: on a disk of this machine it is known at once.
    if let Some(disk) = at_first.disk {
        assert_eq!(disk.age_ms, 0);
        assert!(disk.used_bytes <= disk.limit_bytes);
        assert_eq!(vitals(&mut sampler, 30_000).disk.unwrap().age_ms, 30_000);
    } else {
        println!("left out: the home is on no disk of this machine");
    }
    let mut opened = |ms| {
        let before = files_opened();
        let cursor = || fs::read_to_string("/proc/loadavg").unwrap();
        let born = |text: String| text.split_whitespace().last().unwrap().to_owned();
        let births = born(cursor());
        vitals(&mut sampler, ms);
        (births == born(cursor())).then(|| files_opened() - before)
    };
    // Births elsewhere make the sampler look: only ticks without any are compared.
    let steady: Vec<u64> = (0..200).filter_map(|_| opened(59_999)).collect();
    if steady.len() < 20 {
        println!("left out: too many births on this machine");
        return;
    }
    assert!(steady.contains(&0), "{steady:?}");
    let due = (1..200).find_map(|minute| opened(minute * 60_000));
    assert!(due.unwrap() > 0, "what is due is looked at");
}
