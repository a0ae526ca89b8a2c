//! A real kernel that dies of a real signal: what the kernel of the machine shows of the dead is
//! what the cause is told by.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)]

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

use hubmeter_agent::{
    clock::SystemClock,
    sample::{EndCause, Sample},
    sampler::{PssMode, Sampler, Target},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// Less than three small programs hold.
const NEAR_BYTES: u64 = 256 * 1024;

/// Waits for nobody: its children stay zombies until it ends.
struct Server {
    child: Child,
    kernel: Pid,
}

impl Server {
    /// With so many bytes given to it, which nobody enforces.
    fn start(limit_bytes: u64) -> Self {
        let script = "sh -c 'sleep 600; :' kernel kernel-real.json & echo $!; exec sleep 600";
        let mut child = Command::new("sh")
            .args(["-c", script])
            .env("MEM_LIMIT", limit_bytes.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let out = child.stdout.as_mut().unwrap();
        BufReader::new(out).read_line(&mut line).unwrap();
        let kernel = Pid::from_raw(line.trim().parse().unwrap());
        Self { child, kernel }
    }

    fn sampler(&self) -> Sampler {
        Sampler::new(Target::this_machine(self.child.id()), PssMode::Always).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Its own children first: what it leaves behind has nobody to end it.
        let pid = self.child.id();
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        for child in children.unwrap_or_default().split_whitespace() {
            let of = format!("/proc/{child}/task/{child}/children");
            for grandchild in std::fs::read_to_string(of)
                .unwrap_or_default()
                .split_whitespace()
            {
                let _ = kill(Pid::from_raw(grandchild.parse().unwrap()), Signal::SIGKILL);
            }
            let _ = kill(Pid::from_raw(child.parse().unwrap()), Signal::SIGKILL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The sample in which the kernel is found to have ended, after all those since it was found.
fn end(server: &Server, sampler: &mut Sampler, signal: Signal) -> Vec<Sample> {
    // Found once it has become its program. What has just become one holds next to nothing: killed
    // then, it was not near any limit.
    let mut samples = loop {
        let sample = sampler.tick(&SystemClock).unwrap();
        let found = sample.workloads.iter().any(|w| w.id == "real");
        if found && sample.memory_used_bytes >= NEAR_BYTES {
            break vec![sample];
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    };
    // The sleeper below it would outlive it.
    let below = format!("/proc/{0}/task/{0}/children", server.kernel);
    let sleeper = std::fs::read_to_string(below).unwrap();
    kill(server.kernel, signal).unwrap();
    loop {
        let sample = sampler.tick(&SystemClock).unwrap();
        let ended = !sample.ended.is_empty();
        samples.push(sample);
        if ended {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    for pid in sleeper.split_whitespace() {
        let _ = kill(Pid::from_raw(pid.parse().unwrap()), Signal::SIGKILL);
    }
    samples
}

#[test]
fn a_kernel_that_dies_of_sigkill_near_its_limit_is_told_so_and_of_another_signal_is_not() {
    for (limit_bytes, signal, cause) in [
        (NEAR_BYTES, Signal::SIGKILL, EndCause::KilledNearLimit),
        (NEAR_BYTES, Signal::SIGTERM, EndCause::Gone),
        (1 << 30, Signal::SIGKILL, EndCause::Gone),
    ] {
        let server = Server::start(limit_bytes);
        let mut sampler = server.sampler();
        let samples = end(&server, &mut sampler, signal);
        let sample = samples.last().unwrap();
        assert_eq!(sample.memory_limit_bytes, Some(limit_bytes));
        let [ended] = &sample.ended[..] else {
            panic!("{:?}", sample.ended)
        };
        assert_eq!(
            (ended.id.as_str(), ended.cause),
            ("real", cause),
            "{signal}: {samples:#?}"
        );
        assert!(ended.memory_used_bytes > 0, "the last figure is kept");
    }
}
