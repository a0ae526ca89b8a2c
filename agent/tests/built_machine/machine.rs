//! A machine built of files: `/proc` and cgroups in a temporary directory.

use std::{fs, path::PathBuf};

use hubmeter_agent::{
    clock::Clock,
    sample::{Sample, Workload, WorkloadKind, limit::EnvLimits},
    sampler::{PssMode, Sampler, Target},
    workload::Names,
};
use tempfile::TempDir;

pub const PAGE: u64 = 4096;
pub const MIB: u64 = 1 << 20;

/// A clock that stands where it is put.
pub struct At(pub u64);

impl Clock for At {
    fn mono_ms(&self) -> u64 {
        self.0
    }

    fn wall_ms(&self) -> u64 {
        1_573_941_376_000 + self.0
    }
}

/// One process of the machine.
#[derive(Clone, Debug)]
pub struct Proc {
    pub pid: u32,
    pub ppid: u32,
    pub name: String,
    pub start: u64,
    pub state: char,
    pub tty: u32,
    pub own_ticks: u64,
    pub reaped_ticks: u64,
    pub threads: u32,
    pub rss: u64,
    pub shared: u64,
    pub pss: Option<u64>,
    /// As `wait` would give it; the kernel shows it of the dead.
    pub exit_code: u32,
    /// What nobody else maps; where it is not told all of the proportional set counts as that.
    pub private: Option<u64>,
    pub arguments: Vec<String>,
    pub environ: Vec<String>,
    /// In the middle of an `exec`: its arguments are placed, but not to be read yet.
    pub in_exec: bool,
    /// It ends: its memory is given back, and it is no zombie yet.
    pub in_exit: bool,
}

impl Proc {
    pub fn new(pid: u32, ppid: u32) -> Self {
        Self {
            pid,
            ppid,
            name: "thing".to_owned(),
            start: u64::from(pid) * 10,
            state: 'S',
            tty: 0,
            own_ticks: 10,
            reaped_ticks: 0,
            threads: 1,
            rss: 20 * MIB,
            shared: 5 * MIB,
            pss: Some(12 * MIB),
            exit_code: 0,
            private: None,
            arguments: vec!["/usr/bin/thing".to_owned()],
            environ: vec!["PATH=/bin".to_owned()],
            in_exec: false,
            in_exit: false,
        }
    }

    pub fn arguments(mut self, arguments: &[&str]) -> Self {
        self.arguments = arguments.iter().map(ToString::to_string).collect();
        self
    }

    pub fn environ(mut self, environ: &[&str]) -> Self {
        self.environ = environ.iter().map(ToString::to_string).collect();
        self
    }

    /// Over, but nobody waited for it yet: the kernel keeps its times, and nothing of its memory.
    pub fn die(&mut self) {
        self.state = 'Z';
        (self.rss, self.shared, self.pss) = (0, 0, None);
        (self.arguments, self.environ) = (Vec::new(), Vec::new());
    }

    /// Dead of a signal.
    pub fn die_of(&mut self, signal: u32) {
        self.die();
        self.exit_code = signal;
    }

    pub fn jupyter(self) -> Self {
        self.arguments(&["/opt/bin/python3", "/opt/bin/jupyter-labhub"])
    }

    pub fn kernel(self, id: &str) -> Self {
        let file = format!("/run/user/1000/jupyter/kernel-{id}.json");
        self.arguments(&["python", "-m", "ipykernel_launcher", "-f", &file])
    }
}

/// The machine.
pub struct Machine {
    pub dir: TempDir,
}

impl Machine {
    /// With cgroups of version 2 at the usual place and 16 GiB.
    pub fn new() -> Self {
        // In memory where there is room for that: some tests build thousands of machines.
        let dir = TempDir::new_in("/dev/shm").or_else(|_| TempDir::new());
        let machine = Self { dir: dir.unwrap() };
        fs::create_dir_all(machine.proc().join("self")).unwrap();
        fs::create_dir_all(machine.cgroups()).unwrap();
        machine.mounts(
            "31 23 0:28 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n",
        );
        let meminfo = "MemTotal:       16777216 kB\nSwapTotal:      1048576 kB\n";
        fs::write(machine.proc().join("meminfo"), meminfo).unwrap();
        machine
    }

    pub fn proc(&self) -> PathBuf {
        self.dir.path().join("proc")
    }

    pub fn cgroups(&self) -> PathBuf {
        self.dir.path().join("cgroup")
    }

    pub fn mounts(&self, text: &str) {
        fs::write(self.proc().join("self/mountinfo"), text).unwrap();
    }

    /// Writes these processes and their `children` files, and takes away all others.
    pub fn run(&self, processes: &[Proc]) {
        for entry in fs::read_dir(self.proc()).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if name.parse::<u32>().is_ok() {
                fs::remove_dir_all(path).unwrap();
            }
        }
        for process in processes {
            let dir = self.proc().join(process.pid.to_string());
            let task = dir.join(format!("task/{}", process.pid));
            fs::create_dir_all(&task).unwrap();
            let children: Vec<String> = processes
                .iter()
                .filter(|child| child.ppid == process.pid)
                .map(|child| format!("{} ", child.pid))
                .collect();
            fs::write(task.join("children"), children.concat()).unwrap();
            fs::write(dir.join("stat"), stat(process)).unwrap();
            let statm = format!(
                "99999 {} {} 1 0 9 0\n",
                process.rss / PAGE,
                process.shared / PAGE
            );
            fs::write(dir.join("statm"), statm).unwrap();
            let told = |_: &&String| !process.in_exec && !process.in_exit;
            let nul = |strings: &[String]| {
                let strings = strings.iter().filter(told);
                strings.map(|s| format!("{s}\0")).collect()
            };
            let (arguments, environ): (String, String) =
                (nul(&process.arguments), nul(&process.environ));
            fs::write(dir.join("cmdline"), arguments).unwrap();
            fs::write(dir.join("environ"), environ).unwrap();
            if let Some(pss) = process.pss {
                let private = process.private.map(|bytes| {
                    format!("Private_Clean: 0 kB\nPrivate_Dirty: {} kB\n", bytes / 1024)
                });
                let text = format!(
                    "Rss: {} kB\nPss: {} kB\n{}SwapPss: 4 kB\n",
                    process.rss / 1024,
                    pss / 1024,
                    private.unwrap_or_default()
                );
                fs::write(dir.join("smaps_rollup"), text).unwrap();
            }
        }
    }

    /// Takes the `children` files away, as a kernel without them.
    pub fn without_children_files(&self, pids: &[u32]) {
        for pid in pids {
            fs::remove_file(self.proc().join(format!("{pid}/task/{pid}/children"))).unwrap();
        }
    }

    /// Puts the processes into a cgroup, by the text of `/proc/<pid>/cgroup`.
    pub fn member(&self, pids: &[u32], cgroup: &str) {
        for pid in pids {
            fs::write(self.proc().join(format!("{pid}/cgroup")), cgroup).unwrap();
        }
    }

    /// Writes a cgroup's files.
    pub fn group(&self, path: &str, pids: &[u32], files: &[(&str, String)]) {
        let dir = self.cgroups().join(path.trim_matches('/'));
        fs::create_dir_all(&dir).unwrap();
        let pids: String = pids.iter().map(|pid| format!("{pid}\n")).collect();
        fs::write(dir.join("cgroup.procs"), pids).unwrap();
        for (file, text) in files {
            fs::write(dir.join(file), text).unwrap();
        }
    }

    pub fn target(&self, root_pid: u32) -> Target {
        Target {
            root_pid,
            proc_root: self.proc(),
            cgroup_root: self.cgroups(),
            environ: EnvLimits::default(),
            own_pid: 4_000_000,
            subreaper: false,
            names: Names::Base,
        }
    }

    pub fn sampler(&self, root_pid: u32) -> Sampler {
        Sampler::new(self.target(root_pid), PssMode::Always).unwrap()
    }
}

fn stat(p: &Proc) -> String {
    let arguments_bytes = p.arguments.iter().map(String::len).sum::<usize>();
    format!(
        "{} ({}) {} {} 1 1 {} 1 0 0 0 0 0 {} 0 {} 0 20 0 {} 0 {} {}{} 0 0 {} {}\n",
        p.pid,
        p.name,
        p.state,
        p.ppid,
        p.tty,
        p.own_ticks,
        p.reaped_ticks,
        p.threads,
        p.start,
        "0 ".repeat(25),
        // Another program's arguments lie elsewhere.
        if p.in_exit { 0 } else { arguments_bytes },
        if p.in_exec || p.in_exit { 0 } else { 7000 },
        p.exit_code
    )
}

/// Files of a version 2 cgroup that uses `current`, of which `file` bytes are cache in each list.
pub fn v2_files(current: u64, file: u64, max: &str) -> Vec<(&'static str, String)> {
    vec![
        ("cgroup.type", "domain\n".to_owned()),
        ("memory.current", format!("{current}\n")),
        ("memory.max", format!("{max}\n")),
        ("memory.swap.current", "8192\n".to_owned()),
        (
            "memory.stat",
            format!("anon 1\ninactive_file {file}\nactive_file {file}\nslab_reclaimable 4096\n"),
        ),
        ("memory.events", "oom 3\noom_kill 2\n".to_owned()),
        ("cpu.stat", "usage_usec 5000000\n".to_owned()),
        ("cpu.max", "150000 100000\n".to_owned()),
    ]
}

/// The promise that holds for every sample: workloads sum exactly to the server.
pub fn assert_sums(sample: &Sample) {
    let sum = |of: fn(&Workload) -> u64| -> u64 { sample.workloads.iter().map(of).sum() };
    assert_eq!(sum(|w| w.rss_bytes), sample.rss_bytes);
    assert_eq!(sum(|w| w.cpu_millis), sample.cpu_millis);
    assert_eq!(sum(|w| w.processes.into()), u64::from(sample.processes));
    assert_eq!(sum(|w| w.threads.into()), u64::from(sample.threads));
    let memory = i128::from(sum(|w| match w.remote {
        true => 0,
        false => w.memory_used_bytes.unwrap(),
    }));
    let unattributed = i128::from(sample.unattributed_bytes.unwrap());
    assert_eq!(memory + unattributed, i128::from(sample.memory_used_bytes));
    let mut ids: Vec<_> = sample.workloads.iter().map(|w| (w.kind, &w.id)).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), sample.workloads.len(), "ids are unique");
}

/// Whether there is such a workload.
pub fn has(sample: &Sample, kind: WorkloadKind, id: &str) -> bool {
    sample
        .workloads
        .iter()
        .any(|w| w.kind == kind && w.id == id)
}

pub fn find(sample: &Sample, kind: WorkloadKind, id: &str) -> Workload {
    sample
        .workloads
        .iter()
        .find(|w| w.kind == kind && w.id == id)
        .unwrap_or_else(|| panic!("no {kind:?} {id} in {:?}", sample.workloads))
        .clone()
}

/// A server 100 with two kernels, a worker in one of them, and a terminal with a job.
pub fn server() -> Vec<Proc> {
    let terminal = ["TERM=xterm", "JUPYTER_SERVER_URL=http://x/"];
    vec![
        Proc::new(1, 0),
        Proc::new(100, 1).jupyter(),
        Proc::new(110, 100)
            .kernel("aaa")
            .environ(&["JPY_SESSION_NAME=/home/jo/deep/train.ipynb"]),
        Proc::new(111, 110),
        Proc::new(120, 100).kernel("bbb"),
        Proc {
            tty: 34817,
            ..Proc::new(130, 100)
                .arguments(&["/bin/bash", "-l"])
                .environ(&terminal)
        },
        Proc::new(131, 130).arguments(&["vi", "kernel-notes.json"]),
        Proc::new(140, 100),
        Proc::new(900, 1),
    ]
}

/// Everything below the server, itself included.
pub const TREE: [u32; 7] = [100, 110, 111, 120, 130, 131, 140];
