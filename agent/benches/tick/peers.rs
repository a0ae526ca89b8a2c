//! What others pay for the same two sums over the same tree.

use std::{
    collections::{HashMap, HashSet},
    env,
    process::Command,
};

use sysinfo::{ProcessRefreshKind, ProcessesToUpdate, System};

use crate::{
    machine::Tree,
    measure::{BATCH_NS, Measure, Row},
};

/// psutil as one would use it with care, and as jupyter-resource-usage 1.3 does: at each request of
/// its front end, and once a second for Prometheus by default, asked or not.
const PSUTIL: &str = r#"
import sys, time, statistics, psutil
root, cold, batch_ns = psutil.Process(int(sys.argv[1])), int(sys.argv[2]), int(sys.argv[3])
def careful():
    rss = cpu = 0
    for p in [root] + root.children(recursive=True):
        with p.oneshot():
            rss += p.memory_info().rss
            t = p.cpu_times()
            cpu += t.user + t.system
def handler():
    rss = pss = 0
    for p in [root] + root.children(recursive=True):
        try:
            m = p.memory_full_info()
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        rss, pss = rss + m.rss, pss + getattr(m, "pss", 0)
def prometheus():
    rss = 0
    for p in [root] + root.children(recursive=True):
        rss += p.memory_info().rss
def measure(f):
    f()
    out = []
    for _ in range(cold or 5):
        if cold:
            time.sleep(1)
        n, start = 0, time.process_time_ns()
        while True:
            f(); n += 1
            spent = time.process_time_ns() - start
            if cold or spent > batch_ns:
                break
        out.append(spent / n)
    return statistics.median(out)
for name, f in (("psutil " + psutil.__version__ + ", with care", careful),
                ("jupyter-resource-usage 1.3's metrics, its way", prometheus),
                ("jupyter-resource-usage 1.3's handler, its way", handler)):
    print(name, measure(f), sep="\t", flush=True)
"#;

/// The interpreter itself, not a shim that starts it.
pub fn python() -> Option<String> {
    let program = env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let out = Command::new(program)
        .args(["-c", "import sys; print(sys.executable)"])
        .output()
        .ok()?;
    let path = String::from_utf8(out.stdout).ok()?.trim().to_owned();
    (!path.is_empty()).then_some(path)
}

pub fn rows(tree: &Tree, python: Option<&str>, measure: &Measure) -> Vec<Row> {
    let root = i32::try_from(tree.pid()).unwrap();
    let mut system = System::new().unwrap();
    let mut rows = vec![
        measure.row("`procfs::all_processes`", || {
            assert_eq!(of_procfs(root), tree.processes);
        }),
        measure.row("`sysinfo`, memory and CPU only", || {
            assert_eq!(of_sysinfo(&mut system, tree.pid()), tree.processes);
        }),
    ];
    rows.extend(
        python
            .into_iter()
            .flat_map(|python| psutil(python, tree.pid(), measure)),
    );
    rows
}

/// Everybody below `root` by who is whose parent.
fn members(root: u32, parents: &HashMap<u32, u32>) -> HashSet<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for (&pid, &ppid) in parents {
        children.entry(ppid).or_default().push(pid);
    }
    let (mut members, mut to_visit) = (HashSet::new(), vec![root]);
    while let Some(pid) = to_visit.pop() {
        if members.insert(pid) {
            to_visit.extend(children.get(&pid).into_iter().flatten());
        }
    }
    members
}

fn of_procfs(root: i32) -> usize {
    let stats: HashMap<u32, procfs::process::Stat> = procfs::process::all_processes()
        .unwrap()
        .filter_map(|process| process.ok()?.stat().ok())
        .map(|stat| (u32::try_from(stat.pid).unwrap(), stat))
        .collect();
    let parents = stats
        .iter()
        .map(|(&pid, stat)| (pid, u32::try_from(stat.ppid).unwrap()))
        .collect();
    let members = members(u32::try_from(root).unwrap(), &parents);
    let (mut rss, mut cpu) = (0, 0);
    for stat in members.iter().filter_map(|pid| stats.get(pid)) {
        rss += stat.rss;
        cpu += stat.utime + stat.stime;
    }
    std::hint::black_box((rss, cpu));
    members.len()
}

fn of_sysinfo(system: &mut System, root: u32) -> usize {
    system.refresh_processes_specifics(
        ProcessesToUpdate::All,
        true,
        ProcessRefreshKind::nothing()
            .with_memory()
            .with_cpu()
            .without_tasks(),
    );
    let parents = system
        .processes()
        .values()
        .map(|p| (p.pid().as_u32(), p.parent().map_or(0, sysinfo::Pid::as_u32)))
        .collect();
    let members = members(root, &parents);
    let (mut rss, mut cpu) = (0, 0);
    for pid in &members {
        let process = system.process(sysinfo::Pid::from_u32(*pid)).unwrap();
        rss += process.memory();
        cpu += process.accumulated_cpu_time();
    }
    std::hint::black_box((rss, cpu));
    members.len()
}

/// Python's own rows; none where its interpreter has no psutil.
fn psutil(python: &str, pid: u32, measure: &Measure) -> Vec<Row> {
    let cold = match measure {
        Measure::Hot => 0,
        Measure::Cold(samples) => *samples,
    };
    let out = Command::new(python)
        .args(["-c", PSUTIL])
        .args([pid.to_string(), cold.to_string(), BATCH_NS.to_string()])
        .output()
        .unwrap();
    if !out.status.success() {
        println!("left out: {python} has no psutil (set PYTHON)");
    }
    let lines = String::from_utf8_lossy(&out.stdout).into_owned();
    lines
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .map(|(name, ns)| Row {
            name: name.to_owned(),
            ns: ns.parse().unwrap(),
            ..Row::default()
        })
        .collect()
}
