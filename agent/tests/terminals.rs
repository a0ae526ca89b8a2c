//! What runs in front in real terminals: real shells on real pseudo-terminals.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout
)]

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use hubmeter_agent::{
    clock::SystemClock,
    sample::{Workload, WorkloadKind, WorkloadState},
    sampler::{PssMode, Sampler, Target},
    workload::Names,
};

/// Looks at most so often for what is to come: a quarter of a minute, on a loaded machine too.
const LOOKS_MAX: usize = 150;

/// A "server" whose only terminal types what it reads.
const SERVER: &str = r#"
import os, pty, sys, threading
pid, terminal = pty.fork()
if pid == 0:
    os.environ.update(TERM="xterm", JUPYTER_SERVER_ROOT="/", PS1="$ ", HISTFILE="")
    os.execvp("bash", ["bash", "--norc", "--noprofile", "-i"])
def drain():
    try:
        while os.read(terminal, 65536):
            pass
    except OSError:
        pass
threading.Thread(target=drain, daemon=True).start()
print("up", flush=True)
for line in sys.stdin:
    os.write(terminal, line.encode().decode("unicode_escape").encode())
"#;

struct Terminal {
    server: Child,
    sampler: Sampler,
}

impl Terminal {
    /// `None` where there is no Python or no bash.
    fn open(names: Names) -> Option<Self> {
        for program in ["python3", "bash"] {
            let mut there = Command::new(program);
            let there = there.args(["-c", ""]).status();
            if !there.is_ok_and(|status| status.success()) {
                println!("left out: there is no {program} here");
                return None;
            }
        }
        let mut server = Command::new("python3")
            .args(["-c", SERVER])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut answers = BufReader::new(server.stdout.take().unwrap());
        answers.read_line(&mut line).unwrap();
        assert_eq!(line, "up\n");
        let target = Target {
            names,
            ..Target::this_machine(server.id())
        };
        Some(Self {
            sampler: Sampler::new(target, PssMode::Budget).unwrap(),
            server,
        })
    }

    fn types(&mut self, keys: &str) {
        writeln!(self.server.stdin.as_mut().unwrap(), "{keys}").unwrap();
    }

    /// The terminal as soon as `is_so`, or as it was last.
    fn until(&mut self, is_so: impl Fn(&Workload) -> bool) -> Workload {
        let mut seen = None;
        for _ in 0..LOOKS_MAX {
            let sample = self.sampler.tick(&SystemClock).unwrap();
            let mut workloads = sample.workloads.into_iter();
            seen = workloads.find(|workload| workload.kind == WorkloadKind::Terminal);
            if seen.as_ref().is_some_and(&is_so) {
                break;
            }
            thread::sleep(Duration::from_millis(100));
        }
        seen.expect("a terminal")
    }

    #[track_caller]
    fn until_job(&mut self, name: &str) {
        let terminal = self.until(|terminal| terminal.job.as_deref() == Some(name));
        assert_eq!(terminal.job.as_deref(), Some(name));
        assert_eq!(terminal.state, Some(WorkloadState::Busy));
    }

    #[track_caller]
    fn until_prompt(&mut self) -> Workload {
        let terminal = self.until(|terminal| terminal.state == Some(WorkloadState::Idle));
        assert_eq!(terminal.state, Some(WorkloadState::Idle), "{terminal:?}");
        assert_eq!(terminal.job, None);
        terminal
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // The shell ends with its terminal.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

#[test]
fn a_shell_at_its_prompt_is_no_job_and_what_runs_in_front_is_until_it_ends() {
    let Some(mut terminal) = Terminal::open(Names::Base) else {
        return;
    };
    terminal.until_prompt();
    terminal.types("sleep 1000\\r");
    terminal.until_job("sleep");
    terminal.types("\\x03");
    terminal.until_prompt();
    // Stopped, and later behind: there, but nobody's job now.
    terminal.types("sleep 1001\\r");
    terminal.until_job("sleep");
    terminal.types("\\x1a");
    assert_eq!(terminal.until_prompt().processes, 2);
    terminal.types("kill %1\\r");
    // A shell in the shell, and a script in that.
    terminal.types("bash --norc -i\\r");
    terminal.until_prompt();
    terminal.types("sh -c 'sleep 1002; true'\\r");
    terminal.until_job("sh");
    terminal.types("\\x03");
    terminal.until_prompt();
}

#[test]
fn what_a_job_in_a_terminal_reads_is_the_terminals() {
    let Some(mut terminal) = Terminal::open(Names::Base) else {
        return;
    };
    let before = terminal.until_prompt().read_bytes.unwrap();
    terminal.types("head -c 50000000 /dev/zero | tail -c 1 > /dev/null; sleep 1000\\r");
    terminal.until_job("sleep");
    let after = terminal.until(|terminal| {
        let read = terminal.read_bytes.unwrap_or(0);
        read >= before + 50_000_000
    });
    assert!(
        after.read_bytes.unwrap() >= before + 50_000_000,
        "{after:?}"
    );
}

#[test]
fn where_names_stay_here_a_job_is_told_without_its_own() {
    let Some(mut terminal) = Terminal::open(Names::None) else {
        return;
    };
    terminal.until_prompt();
    terminal.types("sleep 1000\\r");
    let busy = terminal.until(|terminal| terminal.state == Some(WorkloadState::Busy));
    assert_eq!((busy.state, busy.job), (Some(WorkloadState::Busy), None));
}
