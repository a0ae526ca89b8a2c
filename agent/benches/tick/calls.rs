//! `--calls`: what the kernel alone takes for a tick of six processes, one second apart: the calls
//! that an agent makes, by a program that does nothing else, and one TLS record. Whatever an agent
//! does about a tick comes on top of it.

use std::{
    fs::File,
    hint::black_box,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    os::unix::fs::FileExt as _,
    thread,
};

use nix::{
    time::{ClockId, clock_getcpuclockid, clock_gettime},
    unistd::Pid,
};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

use crate::machine::Tree;

const PROCESSES: usize = 6;
const TICKS: usize = 40;

/// A report that goes alone, in its frame.
const REPORT_BYTES: usize = 20;

/// A step of the tick.
type Step = (&'static str, Box<dyn FnMut()>);

/// Prints the median of each step, and of all together.
pub fn run() {
    let tree = Tree::start(PROCESSES, None);
    let mut steps = steps(&tree);
    let timer = timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::CLOEXEC).unwrap();
    let moment = |tv_sec| Timespec { tv_sec, tv_nsec: 0 };
    let next = Itimerspec {
        it_interval: moment(0),
        it_value: moment(1),
    };
    let mut spent = vec![Vec::new(); steps.len() + 1];
    let mut whole = Vec::new();
    for tick in 0..TICKS {
        let begun_ns = cpu_ns();
        timerfd_settime(&timer, TimerfdTimerFlags::empty(), &next).unwrap();
        rustix::io::read(&timer, &mut [0; 8]).unwrap();
        let mut last_ns = cpu_ns();
        spent[0].push(last_ns - begun_ns);
        // The first of them finds what all need cold: each is it in turn.
        for step in 0..steps.len() {
            let step = (step + tick) % steps.len();
            (steps[step].1)();
            let now_ns = cpu_ns();
            spent[step + 1].push(now_ns - last_ns);
            last_ns = now_ns;
        }
        whole.push(last_ns - begun_ns);
    }
    println!("\n| of a tick, the kernel's part, cold | µs |\n|---|---:|");
    let names = ["set the timer, sleep, wake, read it"].into_iter();
    let names = names.chain(steps.iter().map(|(name, _)| *name));
    for (name, spent) in names.zip(&mut spent) {
        println!("| {name} | {:.1} |", median_us(spent));
    }
    println!("| all together | {:.1} |", median_us(&mut whole));
}

fn steps(tree: &Tree) -> Vec<Step> {
    let clocks: Vec<ClockId> = tree
        .pids()
        .into_iter()
        .map(|pid| clock_getcpuclockid(Pid::from_raw(pid.cast_signed())).unwrap())
        .collect();
    let read = |name: &'static str, path: String| -> Step {
        let file = File::open(path).unwrap();
        let mut page = [0; 8192];
        let step = move || _ = black_box(file.read_at(&mut page, 0).unwrap());
        (name, Box::new(step))
    };
    let mut connection = connection();
    let key = UnboundKey::new(&AES_256_GCM, &[7; 32]).unwrap();
    let key = LessSafeKey::new(key);
    let report = move || {
        let mut record = vec![1; REPORT_BYTES];
        let nonce = Nonce::assume_unique_for_key([0; 12]);
        key.seal_in_place_append_tag(nonce, Aad::empty(), &mut record)
            .unwrap();
        connection.write_all(&record).unwrap();
    };
    vec![
        (
            "six CPU clocks",
            Box::new(move || {
                for clock in &clocks {
                    black_box(clock_gettime(*clock).unwrap());
                }
            }),
        ),
        read("pid cursor and load", "/proc/loadavg".to_owned()),
        read("a resident set", format!("/proc/{}/statm", tree.pid())),
        read("the machine's memory", "/proc/meminfo".to_owned()),
        read("pressure", "/proc/pressure/memory".to_owned()),
        (
            "one TLS record over loopback TCP, its receipt left unread",
            Box::new(report),
        ),
    ]
}

/// To somebody who reads.
fn connection() -> TcpStream {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let connection = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    connection.set_nodelay(true).unwrap();
    thread::spawn(move || {
        let (mut theirs, _) = listener.accept().unwrap();
        let mut page = [0; 1024];
        while theirs.read(&mut page).is_ok_and(|bytes| bytes > 0) {}
    });
    connection
}

/// Of this thread: who reads what we send is not part of it.
fn cpu_ns() -> i64 {
    let spent = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap();
    spent.tv_sec() * 1_000_000_000 + spent.tv_nsec()
}

fn median_us(spent_ns: &mut [i64]) -> f64 {
    spent_ns.sort_unstable();
    spent_ns[spent_ns.len() / 2] as f64 / 1e3
}
