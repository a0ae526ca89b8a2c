//! Random lives of a server: births, deaths, new parents, reused pids, new programs, kernels told
//! and untold. Whatever happens, every process is in exactly one workload, the sums are the
//! server's, and time never goes back.

use std::collections::{BTreeMap, BTreeSet};

use hubmeter_agent::{
    sample::{Sample, WorkloadKind, WorkloadState},
    sampler::{PssMode, Sampler, Target},
    workload::told::{Told, ToldApp, ToldEnd, ToldKernel, ToldTerminal},
};
use proptest::{collection::vec, prelude::*};

use super::machine::{At, MIB, Machine, Proc, assert_sums, server};

/// Lives of one test; each is some tens of ticks on a machine of files.
const LIVES: u32 = 12;

/// One thing that happens between two ticks. Processes are chosen by number, whatever there is.
#[derive(Clone, Debug)]
enum Event {
    /// A child of somebody, as this kind of program; pids come again soon.
    Birth {
        parent: usize,
        pid: u32,
        program: u8,
    },
    /// Dead, not waited for.
    Death { who: usize, code: u32 },
    /// Gone; its children go to pid 1, its time to its parent, if that waited for it.
    Gone { who: usize, waited: bool },
    /// Another program.
    Exec { who: usize, program: u8 },
    /// Somebody else is its parent now.
    NewParent { who: usize, parent: usize },
    /// It worked.
    Work {
        who: usize,
        ticks: u64,
        rss_mib: u64,
    },
    /// The extension spoke.
    Told {
        kernels: Vec<(usize, bool)>,
        apps: Vec<usize>,
        terminals: Vec<usize>,
        ended: Vec<(usize, bool)>,
    },
    /// The extension forgot everything.
    Untold,
    /// Time passes, and a sample is taken.
    Tick,
}

fn event() -> impl Strategy<Value = Event> {
    let who = || 0usize..40;
    let program = || 0u8..8;
    prop_oneof![
        4 => (who(), 100u32..130, program()).prop_map(|(parent, pid, program)| Event::Birth { parent, pid, program }),
        1 => (who(), prop_oneof![Just(0u32), Just(9), Just(256)]).prop_map(|(who, code)| Event::Death { who, code }),
        2 => (who(), any::<bool>()).prop_map(|(who, waited)| Event::Gone { who, waited }),
        1 => (who(), program()).prop_map(|(who, program)| Event::Exec { who, program }),
        1 => (who(), who()).prop_map(|(who, parent)| Event::NewParent { who, parent }),
        3 => (who(), 0u64..500, 0u64..300).prop_map(|(who, ticks, rss_mib)| Event::Work { who, ticks, rss_mib }),
        1 => (vec((who(), any::<bool>()), 0..4), vec(who(), 0..2), vec(who(), 0..2), vec((who(), any::<bool>()), 0..3))
            .prop_map(|(kernels, apps, terminals, ended)| Event::Told { kernels, apps, terminals, ended }),
        1 => Just(Event::Untold),
        4 => Just(Event::Tick),
    ]
}

/// What happened to the server so far.
struct Life {
    processes: Vec<Proc>,
    clock_ticks: u64,
}

// === impl Life ===

impl Life {
    fn new() -> Self {
        let mut processes = server();
        processes.retain(|p| p.pid != 900);
        Self {
            processes,
            clock_ticks: 100_000,
        }
    }

    /// Anybody but pid 1 and the server.
    fn at(&mut self, who: usize) -> Option<&mut Proc> {
        let mut others: Vec<&mut Proc> = self
            .processes
            .iter_mut()
            .filter(|p| ![1, 100].contains(&p.pid))
            .collect();
        let len = others.len();
        (len > 0).then(|| others.swap_remove(who % len))
    }

    fn pid(&mut self, who: usize) -> u32 {
        self.at(who).map_or(100, |p| p.pid)
    }

    fn dress(mut process: Proc, program: u8) -> Proc {
        let (arguments, environ): (&[&str], &[&str]) = match program {
            0 => (
                &["python", "-f", "/r/kernel-k0.json"],
                &["JPY_SESSION_NAME=/n/a.ipynb"],
            ),
            1 => (&["bash", "-c", "R --args /r/kernel-k1.json"], &[]),
            2 => (&["bash"], &["TERM=xterm", "JUPYTER_SERVER_URL=http://x/"]),
            3 => (
                &["python3", "/opt/bin/dashboard"],
                &["JPY_SESSION_NAME=/n/a.ipynb"],
            ),
            4 => (&["python3", "/opt/bin/jupyter-lab"], &[]),
            5 => (
                &["sleep", "9"],
                &["JUPYTERHUB_API_TOKEN=t", "JPY_PARENT_PID=100"],
            ),
            6 => (&[], &[]),
            _ => (&["make", "-j"], &[]),
        };
        process.tty = if program == 2 {
            34816 + process.pid % 3
        } else {
            0
        };
        process.arguments = arguments.iter().map(ToString::to_string).collect();
        process.environ = environ.iter().map(ToString::to_string).collect();
        process
    }

    fn happen(&mut self, event: &Event) -> Option<Told> {
        self.clock_ticks += 1;
        match *event {
            Event::Birth {
                parent,
                pid,
                program,
            } => {
                self.bear(parent, pid, program);
            }
            Event::Death { who, code } => {
                if let Some(p) = self.at(who) {
                    p.die_of(code);
                }
            }
            Event::Gone { who, waited } => {
                self.go(who, waited);
            }
            Event::Exec { who, program } => {
                if let Some(p) = self.at(who) {
                    *p = Self::dress(p.clone(), program);
                }
            }
            Event::NewParent { who, parent } => {
                let parent = self.pid(parent);
                if let Some(p) = self.at(who)
                    && p.pid != parent
                {
                    p.ppid = parent;
                }
            }
            Event::Work {
                who,
                ticks,
                rss_mib,
            } => {
                if let Some(p) = self.at(who)
                    && p.state != 'Z'
                {
                    p.own_ticks += ticks;
                    p.rss = (rss_mib + 5) * MIB;
                }
            }
            Event::Told {
                ref kernels,
                ref apps,
                ref terminals,
                ref ended,
            } => {
                return Some(self.tell(kernels, apps, terminals, ended));
            }
            Event::Untold => return Some(Told::default()),
            Event::Tick => {}
        }
        None
    }

    fn bear(&mut self, parent: usize, pid: u32, program: u8) {
        let ppid = match parent % 3 {
            0 => 100,
            _ => self.pid(parent),
        };
        let free = self.processes.iter().all(|p| p.pid != pid);
        if free && ppid != pid {
            let born = Proc {
                start: self.clock_ticks,
                ..Proc::new(pid, ppid)
            };
            self.processes.push(Self::dress(born, program));
        }
    }

    fn go(&mut self, who: usize, waited: bool) {
        let Some(p) = self.at(who).cloned() else {
            return;
        };
        self.processes.retain(|other| other.pid != p.pid);
        for other in &mut self.processes {
            if other.ppid == p.pid {
                other.ppid = 1;
            }
            if waited && other.pid == p.ppid {
                other.reaped_ticks += p.own_ticks + p.reaped_ticks;
            }
        }
    }

    /// The server's: all below it, and what was once.
    fn follow(&self, followed: &mut BTreeSet<(u64, u32)>) {
        let there = |key: &(u64, u32)| self.processes.iter().any(|p| (p.start, p.pid) == *key);
        followed.retain(there);
        loop {
            let below = |p: &&Proc| p.pid == 100 || followed.iter().any(|(_, pid)| *pid == p.ppid);
            let more: Vec<_> = self
                .processes
                .iter()
                .filter(below)
                .map(|p| (p.start, p.pid))
                .collect();
            let before = followed.len();
            followed.extend(more);
            if followed.len() == before {
                return;
            }
        }
    }

    fn tell(
        &mut self,
        kernels: &[(usize, bool)],
        apps: &[usize],
        terminals: &[usize],
        ended: &[(usize, bool)],
    ) -> Told {
        let kernel = |(at, &(who, here)): (usize, &(usize, bool))| ToldKernel {
            id: format!("k{at}"),
            pid: here.then(|| self.pid(who)),
            name: "python3".to_owned(),
            notebook: Some("n/a.ipynb".to_owned()),
            state: Some(WorkloadState::Busy),
            idle_ms: Some(0),
        };
        let kernels = kernels.iter().enumerate().map(kernel).collect();
        let app = |who: &usize| ToldApp {
            name: "app".to_owned(),
            pid: self.pid(*who),
        };
        let apps = apps.iter().map(app).collect();
        let terminal = |who: &usize| ToldTerminal {
            name: "1".to_owned(),
            pid: Some(self.pid(*who)),
        };
        let terminals = terminals.iter().map(terminal).collect();
        let end = |&(who, asked): &(usize, bool)| ToldEnd {
            id: format!("k{}", who % 3),
            pid: self.pid(who),
            asked,
            signal: Some(9),
        };
        let ended = ended.iter().map(end).collect();
        Told {
            kernels,
            terminals,
            apps,
            ended,
            ..Told::default()
        }
    }
}

fn time_by_id(sample: &Sample) -> BTreeMap<(WorkloadKind, String, u32), u64> {
    let of =
        |w: &hubmeter_agent::sample::Workload| ((w.kind, w.id.to_string(), w.pid), w.cpu_millis);
    sample.workloads.iter().map(of).collect()
}

fn live(events: &[Event], subreaper: bool) {
    let machine = Machine::new();
    let mut life = Life::new();
    machine.run(&life.processes);
    let target = Target {
        subreaper,
        ..machine.target(100)
    };
    let mut sampler = Sampler::new(target, PssMode::Always).unwrap();
    let mut now_ms = 0;
    let mut followed = BTreeSet::new();
    life.follow(&mut followed);
    let mut before = sampler.tick(&At(now_ms)).unwrap();
    for event in events {
        if let Some(told) = life.happen(event) {
            sampler.told(told);
        }
        if !matches!(event, Event::Tick) {
            continue;
        }
        now_ms += 5_000;
        machine.run(&life.processes);
        let sample = sampler.tick(&At(now_ms)).unwrap();
        assert_sums(&sample);
        assert!(
            sample.cpu_millis >= before.cpu_millis,
            "{before:?}\n{sample:?}"
        );
        let servers = sample
            .workloads
            .iter()
            .filter(|w| w.kind == WorkloadKind::Server);
        assert_eq!(servers.count(), 1);
        let earlier = time_by_id(&before);
        for (of, millis) in time_by_id(&sample) {
            // What `other` and the server have may go to a workload that is told of later; a
            // kernel's own time only grows while it is the same process.
            if of.0 == WorkloadKind::Kernel && of.2 != 0 {
                assert!(earlier.get(&of).is_none_or(|&ms| millis >= ms), "{of:?}");
            }
        }
        before = sample;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: LIVES, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_sums_are_exact_and_time_never_goes_back(
        events in vec(event(), 10..70),
        subreaper in any::<bool>(),
    ) {
        live(&events, subreaper);
    }
}
