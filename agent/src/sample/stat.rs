//! `/proc/<pid>/stat` and `statm`: the few fields that count, parsed without allocating.
//!
//! The resident size is never taken from `stat`: that field is approximate, off by up to a
//! megabyte per process on small machines and far more on large ones.
//!
//! A line that was cut, or that says what no machine can, is refused whole: of a number's first
//! digits nobody can tell that the others are missing.

/// What a tick of `utime` and its like is worth. The kernel converts to `USER_HZ` for user space,
/// and that is 100 on every architecture Rust runs Linux on.
pub(crate) const TICK_NS: u64 = 10_000_000;

/// Clock ticks beyond anything: three centuries of one core.
const TICKS_MAX: u64 = 1_000_000_000_000;

/// Threads beyond anything: the kernel's own bound on pids.
const THREADS_MAX: u32 = 1 << 22;

/// Resident memory beyond anything: 256 TiB. So many processes as are followed sum to less than
/// 2⁶⁴ bytes of it.
pub(crate) const RESIDENT_BYTES_MAX: u64 = 1 << 48;

/// The fields of `stat` that count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    /// `Z` and `X` hold no memory any more.
    pub(crate) state: u8,
    pub(crate) ppid: u32,
    /// Its process group.
    pub(crate) group: u32,
    /// Controlling terminal; 0 is none.
    pub(crate) tty: u32,
    /// The process group in front of that terminal.
    pub(crate) front_group: Option<u32>,
    /// Own user and system time.
    pub(crate) own_ns: u64,
    /// Times of children that were waited for.
    pub(crate) reaped_ns: u64,
    pub(crate) threads: u32,
    /// Since boot, in ticks: with the pid it names a process for ever.
    pub(crate) start_ticks: u64,
    /// Where the arguments lie: moves when the process becomes another program.
    pub(crate) arg_start: u64,
    /// Where the environment ends. The kernel sets it last, when all of a new program's strings
    /// are to be read: in the middle of an `exec` it is zero, while `arg_start` is there already.
    pub(crate) env_end: u64,
    /// Whether it has memory at all: what ends gives it back, and its arguments with it, some time
    /// before it is a zombie.
    pub(crate) has_memory: bool,
    /// As `wait` would give it; zero while it lives, and where we may not look.
    pub(crate) exit_code: u32,
}

/// The fields of `statm` that count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Statm {
    pub(crate) resident_pages: u64,
    /// Of them, file and shared memory.
    pub(crate) shared_pages: u64,
}

// === impl Stat ===

impl Stat {
    /// Parses the whole file. The name in the second field may hold anything, parentheses too.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let line = text.strip_suffix(b"\n")?;
        let after_name = line.iter().rposition(|&byte| byte == b')')? + 1;
        let rest = std::str::from_utf8(line.get(after_name..)?).ok()?;
        let mut fields = rest.split_ascii_whitespace();
        // Numbered from 3 as in proc_pid_stat(5), each call skipping to the field wanted next.
        let &[state] = fields.next()?.as_bytes() else {
            return None;
        };
        let ppid = fields.next()?.parse().ok()?;
        let group: i64 = fields.next()?.parse().ok()?;
        let tty: i64 = fields.nth(1)?.parse().ok()?; // 7
        let front_group: i64 = fields.next()?.parse().ok()?; // below zero for none
        let utime: u64 = fields.nth(5)?.parse().ok()?; // 14
        let stime: u64 = fields.next()?.parse().ok()?;
        // Signed in the kernel's format, but never below zero.
        let cutime: u64 = fields.next()?.parse().ok()?;
        let cstime: u64 = fields.next()?.parse().ok()?;
        let threads = fields.nth(2)?.parse().ok()?; // 20
        let start_ticks = fields.nth(1)?.parse().ok()?; // 22
        let (own, reaped) = (utime.checked_add(stime)?, cutime.checked_add(cstime)?);
        if own.max(reaped).max(start_ticks) > TICKS_MAX || threads > THREADS_MAX {
            return None;
        }
        let virtual_bytes: u64 = fields.next().and_then(|at| at.parse().ok()).unwrap_or(0); // 23
        // 48; absent on old kernels, zero where we may not look.
        let arg_start = fields.nth(24).and_then(|at| at.parse().ok()).unwrap_or(0);
        let env_end = fields.nth(2).and_then(|at| at.parse().ok()).unwrap_or(0); // 51
        // 52, the last.
        let exit_code = fields
            .next()
            .and_then(|code| code.parse().ok())
            .unwrap_or(0);
        Some(Self {
            state,
            ppid,
            group: u32::try_from(group).unwrap_or(0),
            tty: u32::try_from(tty & 0xffff_ffff).unwrap_or(0),
            front_group: u32::try_from(front_group).ok().filter(|_| tty != 0),
            own_ns: own * TICK_NS,
            reaped_ns: reaped * TICK_NS,
            threads,
            start_ticks,
            arg_start,
            env_end,
            has_memory: virtual_bytes > 0 || arg_start > 0,
            exit_code,
        })
    }

    /// The signal that a zombie died of, 0 for none. A clean end looks like one that may not be
    /// looked at, so that is not told.
    pub(crate) fn death_signal(&self) -> Option<u8> {
        let signal = u8::try_from(self.exit_code & 0x7f).ok()?;
        (self.is_zombie() && self.exit_code != 0).then_some(signal)
    }

    /// Its parent has waited for it, and it is about to leave the table.
    pub(crate) fn is_waited_for(&self) -> bool {
        matches!(self.state, b'X' | b'x')
    }

    /// Whether it is dead, waited for or not.
    pub(crate) fn is_zombie(&self) -> bool {
        matches!(self.state, b'Z' | b'X' | b'x')
    }

    /// `pts/N` for a pseudo-terminal.
    pub(crate) fn terminal(&self) -> Option<String> {
        const PTS_MAJORS: std::ops::RangeInclusive<u32> = 136..=143;
        let major = (self.tty >> 8) & 0xfff;
        let minor = (self.tty & 0xff) | ((self.tty >> 12) & 0xfff00);
        PTS_MAJORS
            .contains(&major)
            .then(|| format!("pts/{}", (major - 136) * 256 + minor))
    }
}

// === impl Statm ===

impl Statm {
    /// Parses the whole file.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let line = std::str::from_utf8(text.strip_suffix(b"\n")?).ok()?;
        let mut fields = line.split_ascii_whitespace();
        let statm = Self {
            resident_pages: fields.nth(1)?.parse().ok()?,
            shared_pages: fields.next()?.parse().ok()?,
        };
        let pages = statm.resident_pages.max(statm.shared_pages);
        (pages <= RESIDENT_BYTES_MAX / page_bytes()).then_some(statm)
    }
}

/// What `statm` counts in.
pub(crate) fn page_bytes() -> u64 {
    rustix::param::page_size() as u64
}

/// The name in `stat`'s second field.
pub(crate) fn name(text: &[u8]) -> Option<String> {
    name_bytes(text).map(|name| String::from_utf8_lossy(name).into_owned())
}

/// The same as the kernel keeps it: any bytes but NUL.
pub(crate) fn name_bytes(text: &[u8]) -> Option<&[u8]> {
    let from = text.iter().position(|&byte| byte == b'(')? + 1;
    let to = text.iter().rposition(|&byte| byte == b')')?;
    text.get(from..to)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &[u8] = b"4321 (a) b) (c) S 17 4321 4321 34817 5000 4194304 1 2 3 4 150 25 30 7 20 0 9 0 887766 1000 2000 18446744073709551615 26 27 28 29 30 31 32 33 34 35 36 37 38 39 40 41 42 43 44 45 46 47 4848 49 50 51 0\n";

    #[test]
    fn a_name_with_parentheses_and_blanks_shifts_no_field() {
        let stat = Stat::parse(LINE).unwrap();
        assert_eq!(
            stat,
            Stat {
                state: b'S',
                ppid: 17,
                group: 4321,
                tty: 34817,
                front_group: Some(5000),
                own_ns: 175 * TICK_NS,
                reaped_ns: 37 * TICK_NS,
                threads: 9,
                start_ticks: 887_766,
                arg_start: 4848,
                env_end: 51,
                has_memory: true,
                exit_code: 0,
            }
        );
        assert_eq!(stat.terminal().as_deref(), Some("pts/1"));
        assert_eq!(name(LINE).as_deref(), Some("a) b) (c"));
    }

    #[test]
    fn the_signal_is_known_of_the_dead_only() {
        let of = |state: &str, code: &str| {
            let text = String::from_utf8(LINE.to_vec()).unwrap();
            let text = text.replace(") S ", &format!(") {state} "));
            let text = text.replace(" 51 0\n", &format!(" 51 {code}\n"));
            Stat::parse(text.as_bytes()).unwrap().death_signal()
        };
        assert_eq!(of("Z", "9"), Some(9));
        assert_eq!(of("Z", "137"), Some(9), "with a core");
        assert_eq!(of("Z", "256"), Some(0), "went by itself, with code 1");
        assert_eq!(of("Z", "0"), None);
        assert_eq!(of("S", "9"), None);
    }

    #[test]
    fn a_cut_or_foreign_line_is_refused() {
        assert_eq!(Stat::parse(b""), None);
        assert_eq!(Stat::parse(b"1 (x) S 1 2"), None);
        assert_eq!(Stat::parse(b"no parenthesis at all"), None);
        assert_eq!(Statm::parse(b"5"), None);
        assert_eq!(Statm::parse(b"5 6 7"), None, "7 of 78");
        assert_eq!(Stat::parse(&LINE[..LINE.len() - 1]), None, "0 of 07");
    }

    #[test]
    fn our_own_files_parse() {
        let stat = Stat::parse(&std::fs::read("/proc/self/stat").unwrap()).unwrap();
        assert!(stat.threads >= 1 && stat.start_ticks > 0 && stat.arg_start > 0);
        let statm = Statm::parse(&std::fs::read("/proc/self/statm").unwrap()).unwrap();
        assert!(statm.resident_pages > statm.shared_pages);
    }
}
