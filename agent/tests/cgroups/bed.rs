//! Groups that are taken away again, and a server that obeys.

use std::{
    cell::Cell,
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    sync::OnceLock,
    thread,
    time::Duration,
};

use hubmeter_agent::{
    clock::{Clock, SystemClock},
    sample::Sample,
    sampler::{PssMode, Sampler, Target},
};

pub const MIB: u64 = 1 << 20;
pub const AGENT: &str = env!("CARGO_BIN_EXE_hubmeter-agent");

/// What the kernel counts late or for itself: per-CPU batches of 64 pages, page tables.
pub const SLACK_BYTES: u64 = 4 * MIB;

/// Where nothing of this version may be left out: the virtual machine sets it.
const REQUIRED: &str = "HUBMETER_TEST_REQUIRES_CGROUP2";

/// The server's program where it cannot be compiled: the virtual machine has no compiler.
const SERVER: &str = "HUBMETER_TEST_SERVER";

/// A block device or file on a disk, larger than the limits here, to flood the page cache with.
const FLOOD: &str = "HUBMETER_TEST_FLOOD";

/// How large a file is made where none is given.
const FLOOD_BYTES: usize = 400 << 20;

/// One cgroup, taken away at the end.
pub struct Group(pub PathBuf);

impl Group {
    /// A group of version 2 right below the mount, with memory and CPU controllers.
    pub fn version_2(name: &str) -> Option<Self> {
        let required = std::env::var_os(REQUIRED).is_some();
        let made = Self::make_version_2(name);
        match made {
            Ok(group) => Some(group),
            Err(why) => {
                assert!(!required, "version 2 is required here: {why}");
                println!("left out: {why}");
                None
            }
        }
    }

    fn make_version_2(name: &str) -> Result<Self, String> {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let mount = mounts
            .lines()
            .map(|line| line.split(' ').collect::<Vec<_>>())
            .find(|words| words.get(2) == Some(&"cgroup2"))
            .ok_or("no cgroups of version 2 are mounted")?;
        let mount = Path::new(mount[1]);
        let controllers =
            fs::read_to_string(mount.join("cgroup.controllers")).map_err(|e| e.to_string())?;
        if !controllers.contains("memory") {
            return Err("version 2 is mounted without the memory controller".to_owned());
        }
        // Refused where it is not ours to give; then the group has no figure.
        let _ = fs::write(mount.join("cgroup.subtree_control"), "+memory +cpu");
        let dir = mount.join(format!("hubmeter-test-{}-{name}", std::process::id()));
        fs::create_dir(&dir)
            .map_err(|error| format!("cannot make the cgroup {}: {error}", dir.display()))?;
        let group = Self(dir);
        if group.number("memory.current").is_none() {
            return Err("a new cgroup of version 2 has no memory controller".to_owned());
        }
        Ok(group)
    }

    /// A memory group of version 1.
    pub fn version_1(name: &str) -> Option<Self> {
        let name = format!("hubmeter-test-{}-{name}", std::process::id());
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

    /// One below, with the same controllers.
    pub fn below(&self, name: &str) -> Self {
        if self.0.join("cgroup.subtree_control").is_file() {
            self.set("cgroup.subtree_control", "+memory +cpu");
        }
        let dir = self.0.join(name);
        fs::create_dir(&dir).unwrap();
        Self(dir)
    }

    pub fn set(&self, file: &str, value: &str) {
        let path = self.0.join(file);
        fs::write(&path, value).unwrap_or_else(|e| panic!("{} = {value}: {e}", path.display()));
    }

    pub fn take(&self, pid: u32) {
        self.set("cgroup.procs", &pid.to_string());
    }

    pub fn number(&self, file: &str) -> Option<u64> {
        let text = fs::read_to_string(self.0.join(file)).ok()?;
        text.trim().parse().ok()
    }

    /// A line of `memory.stat`, `memory.events` and their like.
    pub fn field(&self, file: &str, key: &str) -> u64 {
        let text = fs::read_to_string(self.0.join(file)).unwrap();
        let mut words = text.split_ascii_whitespace();
        words.find(|word| *word == key).unwrap();
        words.next().unwrap().parse().unwrap()
    }

    /// As a sample names it.
    pub fn source(&self) -> String {
        let version = match self.0.strip_prefix("/sys/fs/cgroup/memory") {
            Ok(path) => return format!("cgroup1:/{}", path.display()),
            Err(_) => "cgroup2",
        };
        let path = self.0.strip_prefix("/sys/fs/cgroup").unwrap();
        format!("{version}:/{}", path.display())
    }

    pub fn pids(&self) -> Vec<u32> {
        let text = fs::read_to_string(self.0.join("cgroup.procs")).unwrap_or_default();
        text.lines().map(|pid| pid.parse().unwrap()).collect()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Busy for a moment after the last process went.
        for _ in 0..100 {
            if fs::remove_dir(&self.0).is_ok() || !self.0.is_dir() {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// The server; it ends with the test.
pub struct Server {
    pub child: Child,
    answers: BufReader<ChildStdout>,
}

impl Server {
    /// Starts it in `group`.
    pub fn start(group: &Group) -> Self {
        Self::with(group, "", "")
    }

    /// Starts it in `group`, behind the words of `wrapper` and with `words`.
    pub fn with(group: &Group, wrapper: &str, words: &str) -> Self {
        let procs = group.0.join("cgroup.procs");
        let script = format!(
            "echo $$ > {}; exec {wrapper} {} {words}",
            procs.display(),
            program().display()
        );
        let mut command = Command::new("sh");
        command.args(["-c", &script]);
        Self::of(command)
    }

    /// Starts it in no group of its own.
    pub fn at_home(home: &Path) -> Self {
        let mut command = Command::new(program());
        command.env("HOME", home);
        Self::of(command)
    }

    fn of(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        let mut server = Self { child, answers };
        assert_eq!(server.answer(), "up");
        server
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    pub fn ask(&mut self, what: &str) -> String {
        writeln!(self.child.stdin.as_mut().unwrap(), "{what}").unwrap();
        self.answer()
    }

    /// Has it do something that cannot fail.
    pub fn tell(&mut self, what: &str) {
        assert_eq!(self.ask(what), "done", "{what}");
    }

    pub fn sampler(&self) -> Sampler {
        Sampler::new(Target::this_machine(self.pid()), PssMode::Always).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Its kernel reads from a pipe of the server's and ends with it.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let shm = format!("/dev/shm/hubmeter-test-{}", self.pid());
        let _ = fs::remove_file(shm);
    }
}

thread_local! {
    /// What was not waited for: ticks follow each other at once here.
    static AHEAD_MS: Cell<u64> = const { Cell::new(0) };
}

/// The machine's clock, and what was not waited for.
struct Ahead;

impl Clock for Ahead {
    fn mono_ms(&self) -> u64 {
        SystemClock.mono_ms() + AHEAD_MS.get()
    }

    fn wall_ms(&self) -> u64 {
        SystemClock.wall_ms() + AHEAD_MS.get()
    }
}

pub fn tick(sampler: &mut Sampler) -> Sample {
    let sample = sampler.tick(&Ahead).unwrap();
    let rss: u64 = sample.workloads.iter().map(|w| w.rss_bytes).sum();
    let cpu: u64 = sample.workloads.iter().map(|w| w.cpu_millis).sum();
    assert_eq!(
        (rss, cpu),
        (sample.rss_bytes, sample.cpu_millis),
        "workloads sum to the server"
    );
    sample
}

/// Ticks until `wanted`, for at most the ticks after which everything is looked at again.
pub fn tick_until(sampler: &mut Sampler, wanted: impl Fn(&Sample) -> bool) -> Sample {
    const RESYNC_TICKS: usize = 12;
    const INTERVAL_MS: u64 = 5_000;
    for _ in 0..RESYNC_TICKS {
        AHEAD_MS.set(AHEAD_MS.get() + INTERVAL_MS);
        let sample = tick(sampler);
        if wanted(&sample) {
            return sample;
        }
    }
    panic!("not seen within {RESYNC_TICKS} ticks: {:?}", tick(sampler));
}

pub fn near(left: u64, right: u64) -> bool {
    left.abs_diff(right) <= SLACK_BYTES
}

/// What to flood the page cache with.
pub fn flood_file() -> PathBuf {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    if let Some(given) = std::env::var_os(FLOOD) {
        return given.into();
    }
    let made = MADE.get_or_init(|| {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("flood");
        if fs::metadata(&path).map_or(0, |meta| meta.len()) != FLOOD_BYTES as u64 {
            fs::write(&path, vec![1; FLOOD_BYTES]).unwrap();
        }
        path
    });
    // What is cached already was charged to whoever read or wrote it first.
    let file = fs::File::open(made).unwrap();
    file.sync_all().unwrap();
    let forget = nix::fcntl::PosixFadviseAdvice::POSIX_FADV_DONTNEED;
    nix::fcntl::posix_fadvise(&file, 0, 0, forget).unwrap();
    made.clone()
}

/// The server's program, compiled where it is not given.
fn program() -> &'static Path {
    static COMPILED: OnceLock<PathBuf> = OnceLock::new();
    COMPILED.get_or_init(|| {
        if let Some(given) = std::env::var_os(SERVER) {
            return given.into();
        }
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cgroups/server.c");
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let (program, mine) = (
            dir.join("obeying-server"),
            dir.join(format!("obeying-server-{}", std::process::id())),
        );
        let done = Command::new("cc")
            .args(["-O1", "-o"])
            .args([&mine, &source])
            .status()
            .expect("a C compiler, which the build needs too");
        assert!(done.success());
        // Another test process may have it running.
        fs::rename(&mine, &program).unwrap();
        program
    })
}
