//! What a tick touches: lines of the processor's caches, and pages. Between two ticks others have
//! the caches, so each of them is fetched anew, and that is what a tick costs, more than what it
//! executes. Told by valgrind's lackey, which writes down every access, so the numbers depend on
//! neither the machine nor its load; the kernel's own are in none of them.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs::{self, File},
    io::{BufRead, BufReader},
    path::Path,
    thread,
};

use anyhow::{Context, Result};
use nix::{sys::stat::Mode, unistd::mkfifo};

use super::{Bed, sink::Sink};
use crate::{process::on_path, progress::Step, stop};

/// Ticks that are left out: what is found out once is no tick's.
const SKIPPED: u64 = 6;

/// Ticks that are counted.
const COUNTED: u64 = 14;

const LINE_SHIFT: u32 = 6;
const PAGE_SHIFT: u32 = 12;

/// Calls that wait: what lies between two of them is one wake-up.
const WAITS: [&str; 2] = ["sys_epoll_pwait", "sys_epoll_wait"];

/// A tick sets its timer once.
const TICKS: &str = "sys_timerfd_settime";

/// One tick's, in the mean.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Touched {
    /// Times that it was woken.
    pub(crate) wakeups: f64,
    /// Lines of code, each once a wake-up.
    pub(crate) code_lines: f64,
    /// Lines of data.
    pub(crate) data_lines: f64,
    /// Pages of both.
    pub(crate) pages: f64,
}

/// Follows what lackey says.
#[derive(Debug, Default)]
struct Follower {
    code: BTreeSet<u64>,
    data: BTreeSet<u64>,
    ticked: bool,
    ticks: u64,
    wakeups: u64,
    code_lines: u64,
    data_lines: u64,
    pages: u64,
}

// === impl Touched ===

impl Touched {
    /// Runs an agent under lackey; `None` without valgrind.
    pub(crate) fn of(bed: &Bed<'_>, sink: &mut Sink, step: &mut Step) -> Result<Option<Self>> {
        let Some(valgrind) = on_path("valgrind") else {
            return Ok(None);
        };
        let pipe = bed.space.target.join("footprint/touched.pipe");
        let _ = fs::remove_file(&pipe);
        mkfifo(&pipe, Mode::S_IRUSR | Mode::S_IWUSR)
            .with_context(|| format!("cannot make {}", pipe.display()))?;
        let mut tool = vec![valgrind.into_os_string()];
        tool.extend(
            ["--tool=lackey", "--trace-mem=yes", "--trace-syscalls=yes"].map(OsString::from),
        );
        tool.push(format!("--log-file={}", pipe.display()).into());
        sink.forget();
        let agent = bed.start(&tool, sink)?;
        let follower = {
            let pipe = pipe.clone();
            thread::spawn(move || follow(&pipe))
        };
        while !follower.is_finished() {
            stop::check()?;
            step.alive("counting what a tick touches");
            thread::sleep(stop::GLANCE);
        }
        drop(agent);
        let _ = fs::remove_file(&pipe);
        let followed = follower.join();
        followed.map_err(|_| anyhow::anyhow!("what lackey says was not understood"))?
    }
}

/// Reads until enough ticks have passed, or the agent ends.
fn follow(pipe: &Path) -> Result<Option<Touched>> {
    let file = File::open(pipe).with_context(|| format!("cannot read {}", pipe.display()))?;
    let mut follower = Follower::default();
    let mut reader = BufReader::new(file);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line)? > 0 {
        follower.take(&line);
        line.clear();
        if follower.ticks >= SKIPPED + COUNTED {
            break;
        }
    }
    Ok(follower.mean())
}

// === impl Follower ===

impl Follower {
    /// One line: an access (`I  04001000,3`, ` L 1ffe00,8`), or a call.
    fn take(&mut self, line: &[u8]) {
        let Ok(line) = std::str::from_utf8(line) else {
            return;
        };
        match line.as_bytes() {
            [b'I', ..] => self.touch(line, true),
            [b' ', ..] => self.touch(line, false),
            [b'S', ..] => self.call(line),
            _ => {}
        }
    }

    fn touch(&mut self, line: &str, is_code: bool) {
        if self.ticks < SKIPPED {
            return;
        }
        let Some((address, _)) = line.get(3..).and_then(|rest| rest.split_once(',')) else {
            return;
        };
        let Ok(address) = u64::from_str_radix(address, 16) else {
            return;
        };
        let lines = if is_code {
            &mut self.code
        } else {
            &mut self.data
        };
        lines.insert(address >> LINE_SHIFT);
    }

    /// `SYSCALL[12,1](281) sys_epoll_pwait ( … )`.
    fn call(&mut self, line: &str) {
        let name = line
            .split_once(')')
            .map_or("", |(_, rest)| rest.trim_start());
        self.ticked |= name.starts_with(TICKS);
        if WAITS.iter().any(|wait| name.starts_with(wait)) {
            self.wait();
        }
    }

    /// It goes to sleep.
    fn wait(&mut self) {
        let pages = |lines: &BTreeSet<u64>| {
            let pages = lines.iter().map(|line| line >> (PAGE_SHIFT - LINE_SHIFT));
            pages.collect::<BTreeSet<_>>().len() as u64
        };
        if self.ticks >= SKIPPED {
            self.wakeups += 1;
            self.code_lines += self.code.len() as u64;
            self.data_lines += self.data.len() as u64;
            self.pages += pages(&self.code) + pages(&self.data);
        }
        self.code.clear();
        self.data.clear();
        self.ticks += u64::from(std::mem::take(&mut self.ticked));
    }

    fn mean(&self) -> Option<Touched> {
        let ticks = self.ticks.checked_sub(SKIPPED).filter(|ticks| *ticks > 0)? as f64;
        Some(Touched {
            wakeups: self.wakeups as f64 / ticks,
            code_lines: self.code_lines as f64 / ticks,
            data_lines: self.data_lines as f64 / ticks,
            pages: self.pages as f64 / ticks,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_pages_are_counted_once_a_wake_up_and_only_of_ticks_that_count() {
        let mut follower = Follower::default();
        let tick = "SYSCALL[7,1](286) sys_timerfd_settime ( 9 ) --> [pre-success] Success(0x0)\n";
        let wait = "SYSCALL[7,1](281) sys_epoll_pwait ( 4, 0x4808110 ) --> [async] ...\n";
        for _ in 0..SKIPPED {
            for line in ["I  04001000,3\n", tick, wait] {
                follower.take(line.as_bytes());
            }
        }
        assert_eq!(follower.mean(), None);
        let accesses = [
            "I  04001000,3\n",
            "I  0400103f,2\n",
            "I  04001040,2\n",
            " L 1ffe001000,8\n",
            " S 1ffe003000,8\n",
        ];
        for line in accesses
            .into_iter()
            .chain([tick, wait, " M 1ffe001000,8\n", wait])
        {
            follower.take(line.as_bytes());
        }
        let expected = Touched {
            wakeups: 2.0,
            code_lines: 2.0,
            data_lines: 3.0,
            pages: 4.0,
        };
        assert_eq!(follower.mean(), Some(expected));
    }
}
