//! The sampler on a machine that fails it: at every single step of reading, with every error;
//! and where whoever is read goes away between any two steps.

use std::{collections::BTreeMap, fs, io, path::Path};

use nix::libc;

use super::{PssMode, SampleError, Sampler};
use crate::machine::{At, MIB, Machine, Proc, TREE, assert_sums, server, v2_files};
use crate::sample::{Sample, WorkloadKind, faults::Faults, file::faulty};

/// What the system refuses with, and whether that means that what was read is gone.
const ERRORS: [(i32, bool); 6] = [
    (libc::ESRCH, true),
    (libc::ENOENT, true),
    (libc::EACCES, false),
    (libc::EIO, false),
    (libc::EINTR, false),
    (libc::ETIMEDOUT, false),
];

/// Everything of a sample but its rates, and what it says about each workload but its time:
/// that stays where it was counted first.
type Truth = (Vec<String>, BTreeMap<(WorkloadKind, String), Vec<u64>>);

fn truth(sample: &Sample) -> Truth {
    let server = vec![
        sample.memory_used_bytes.to_string(),
        format!("{:?}", sample.memory_working_set_bytes),
        format!("{:?}", sample.memory_source),
        format!("{:?}", sample.memory_limit_bytes),
        format!("{:?}", sample.memory_limit_source),
        format!("{:?}", sample.memory_limit_shared),
        format!("{:?}", sample.swap_bytes),
        format!("{:?}", sample.cpu_limit_millicores),
        format!("{:?}", sample.oom_kills),
        sample.rss_bytes.to_string(),
        sample.processes.to_string(),
        sample.threads.to_string(),
        sample.cpu_millis.to_string(),
    ];
    // Without a process it is there for its time alone.
    let workloads = sample.workloads.iter().filter(|w| w.processes > 0);
    let workloads = workloads.map(|w| {
        let figures = vec![
            w.pid.into(),
            w.rss_bytes,
            w.processes.into(),
            w.memory_used_bytes.unwrap(),
        ];
        ((w.kind, w.id.to_string()), figures)
    });
    (server, workloads.collect())
}

/// What must be right at once, whoever was taken for gone meanwhile: all but CPU time.
fn but_for_time((mut server, workloads): Truth) -> Truth {
    server.pop();
    (server, workloads)
}

/// A server in a cgroup of its own, in one with a limit that it shares, or without any.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    Own,
    Shared,
    Bare,
}

fn source(place: Place) -> &'static str {
    match place {
        Place::Own => "Cgroup2",
        Place::Shared | Place::Bare => "Pss",
    }
}

fn built(place: Place) -> Machine {
    let machine = Machine::new();
    let mut processes = server();
    if place == Place::Shared {
        // Older than the server: nobody's orphan.
        processes.last_mut().unwrap().start = 5;
    }
    machine.run(&processes);
    let loadavg = machine.proc().join("loadavg");
    fs::write(loadavg, "0.10 0.20 0.30 1/100 999\n").unwrap();
    let everybody: Vec<u32> = TREE.into_iter().chain([900]).collect();
    match place {
        Place::Own => machine.group("hub/jo", &TREE, &v2_files(900 * MIB, MIB, "2147483648")),
        Place::Shared => {
            machine.group(
                "hub/jo",
                &everybody,
                &v2_files(900 * MIB, MIB, "2147483648"),
            );
        }
        Place::Bare => return machine,
    }
    machine.group("hub", &[], &v2_files(950 * MIB, MIB, "max"));
    machine.group("hub/jo/inner", &[], &v2_files(MIB, 0, "max"));
    machine.member(&TREE, "0::/hub/jo\n");
    machine
}

/// How shares are read, and ticks before the one that is disturbed: the first finds everything,
/// the others find it again.
const WHEN: [(PssMode, u64); 2] = [(PssMode::Always, 0), (PssMode::Budget, 1)];

fn sampler_at(machine: &Machine, mode: PssMode, ticks: u64) -> Sampler {
    let mut sampler = Sampler::new(machine.target(100), mode).unwrap();
    for tick in 0..ticks {
        sampler.tick(&At(tick * 5000)).unwrap();
    }
    sampler
}

/// Steps of the tick after `ticks`.
fn steps(machine: &Machine, mode: PssMode, ticks: u64) -> u64 {
    let mut sampler = sampler_at(machine, mode, ticks);
    let before = faulty::steps();
    sampler.tick(&At(ticks * 5000)).unwrap();
    faulty::steps() - before
}

#[test]
fn a_step_that_fails_costs_at_most_its_tick_is_counted_and_the_next_tick_is_right() {
    let mut cases = 0;
    let places = [Place::Own, Place::Shared, Place::Bare];
    for (place, (mode, ticks)) in places
        .into_iter()
        .flat_map(|place| WHEN.map(|when| (place, when)))
    {
        let machine = built(place);
        let mut undisturbed = sampler_at(&machine, mode, ticks + 1);
        let right = truth(&undisturbed.tick(&At((ticks + 1) * 5000)).unwrap());
        assert_eq!(right.0[2], source(place));
        for k in 0..steps(&machine, mode, ticks) {
            for (errno, gone) in ERRORS {
                cases += 1;
                let case = format!("{place:?} {mode:?} tick {ticks} step {k} errno {errno}");
                let mut sampler = sampler_at(&machine, mode, ticks);
                let before = Faults::so_far().total();
                let path = std::rc::Rc::new(std::cell::RefCell::new(String::new()));
                let seen = std::rc::Rc::clone(&path);
                faulty::at(k, move |path| {
                    path.display()
                        .to_string()
                        .clone_into(&mut seen.borrow_mut());
                    Err(io::Error::from_raw_os_error(errno))
                });
                let disturbed = sampler.tick(&At(ticks * 5000));
                assert!(!faulty::clear(), "{case}: no such step");
                let case = format!("{case} {}", path.borrow());
                match disturbed {
                    Ok(sample) => {
                        assert_sums(&sample);
                        assert!(sample.rss_bytes <= 7 * 20 * MIB, "{case}");
                        assert!(sample.processes <= 7, "{case}");
                    }
                    Err(SampleError::Gone { pid: 100 }) => assert!(gone, "{case}"),
                    Err(error) => assert!(error.to_string().contains("100/"), "{case}: {error}"),
                }
                // That others may not be looked at is no fault.
                let denied = errno == libc::EACCES;
                let theirs = denied && ["/900/", "/1/"].iter().any(|pid| case.contains(pid));
                let counted = Faults::so_far().total() - before;
                assert!(gone || theirs || counted > 0, "{case}: not counted");
                if gone {
                    // A lie, for it is there: found out when all is looked at again.
                    sampler.distrust();
                }
                let next = truth(&sampler.tick(&At((ticks + 1) * 5000)).unwrap());
                if gone {
                    assert_eq!(but_for_time(next), but_for_time(right.clone()), "{case}");
                } else {
                    assert_eq!(next, right, "{case}");
                }
            }
        }
    }
    assert!(cases > 2_000, "{cases}");
}

/// The process ends as the kernel ends it: its files go, and its children have another parent.
fn end(proc_root: &Path, pid: u32) {
    for other in fs::read_dir(proc_root).unwrap().flatten() {
        let stat = other.path().join("stat");
        let Ok(text) = fs::read_to_string(&stat) else {
            continue;
        };
        let moved = text.replacen(&format!(" {pid} 1 1 "), " 1 1 1 ", 1);
        if moved != text {
            fs::write(&stat, moved).unwrap();
        }
    }
    for children in fs::read_dir(proc_root).unwrap().flatten() {
        let id = children.file_name().into_string().unwrap();
        let file = children.path().join(format!("task/{id}/children"));
        if let Ok(text) = fs::read_to_string(&file) {
            fs::write(&file, text.replace(&format!("{pid} "), "")).unwrap();
        }
    }
    fs::remove_dir_all(proc_root.join(pid.to_string())).unwrap();
}

#[test]
fn whoever_ends_between_any_two_steps_is_missed_quietly_and_nobody_else_is() {
    let machine = built(Place::Own);
    for (mode, ticks) in [(PssMode::Always, 0), (PssMode::Budget, 1)] {
        let steps = steps(&machine, mode, ticks);
        for pid in [100, 110, 111, 130] {
            for k in 0..steps {
                let case = format!("{mode:?} tick {ticks} step {k} pid {pid}");
                machine.run(&server());
                machine.member(&TREE, "0::/hub/jo\n");
                let mut sampler = sampler_at(&machine, mode, ticks);
                let before = Faults::so_far();
                let proc_root = machine.proc();
                faulty::at(k, move |_| {
                    end(&proc_root, pid);
                    Ok(())
                });
                let during = sampler.tick(&At(ticks * 5000));
                assert!(!faulty::clear(), "{case}: no such step");
                let after = sampler.tick(&At((ticks + 1) * 5000));
                assert_eq!(Faults::so_far(), before, "{case}: to end is no fault");
                if pid == 100 {
                    assert!(
                        matches!(after, Err(SampleError::Gone { pid: 100 })),
                        "{case}"
                    );
                    continue;
                }
                let (during, after) = (during.unwrap(), after.unwrap());
                assert_sums(&during);
                assert_sums(&after);
                assert!(after.cpu_millis >= during.cpu_millis, "{case}");
                assert!((5..=7).contains(&during.processes), "{case}");
                // Those below it stay where they were seen before; else its cgroup shows them.
                assert_eq!(after.processes, 6, "{case}");
                assert_eq!(after.rss_bytes, 6 * 20 * MIB, "{case}");
            }
        }
    }
}

#[test]
fn what_can_never_be_read_is_left_out_and_the_rest_is_measured_without_looking_for_it_always() {
    let machine = built(Place::Bare);
    let mut sampler = sampler_at(&machine, PssMode::Budget, 0);
    faulty::always(|path| {
        let denied = path.starts_with("/") && path.to_string_lossy().contains("/proc/130/");
        if denied {
            return Err(io::Error::from_raw_os_error(libc::EACCES));
        }
        Ok(())
    });
    let mut steps = Vec::new();
    for tick in 0..30 {
        let before = faulty::steps();
        let sample = sampler.tick(&At(tick * 5000)).unwrap();
        steps.push(faulty::steps() - before);
        assert_sums(&sample);
        // Its child is not seen either: who it is stands in what may not be read.
        assert_eq!(sample.processes, 5);
    }
    faulty::clear();
    assert_eq!(sampler.tree.unread(), 1);
    let quiet = steps.iter().filter(|&&n| n < steps[1]).count();
    assert!(quiet >= 24, "the fault is not chased: {steps:?}");
    let sample = sampler.tick(&At(200_000)).unwrap();
    assert!(sample.processes >= 5);
}

#[test]
fn a_process_that_becomes_another_program_in_mid_tick_is_that_from_then_on() {
    let before: Vec<Proc> = server();
    let mut after = server();
    let execed = after.iter_mut().find(|p| p.pid == 140).unwrap();
    *execed = execed.clone().kernel("ccc");
    let machine = built(Place::Bare);
    for k in 0..steps(&machine, PssMode::Always, 1) {
        machine.run(&before);
        let mut sampler = sampler_at(&machine, PssMode::Always, 1);
        let dir = machine.proc().join("140");
        let arguments = execed_arguments(&after);
        faulty::at(k, move |_| {
            let stat = fs::read_to_string(dir.join("stat")).unwrap();
            fs::write(dir.join("stat"), stat.replace("(thing)", "(python)")).unwrap();
            fs::write(dir.join("cmdline"), &arguments).unwrap();
            Ok(())
        });
        let sample = sampler.tick(&At(5000)).unwrap();
        assert_sums(&sample);
        let sample = sampler.tick(&At(10_000)).unwrap();
        assert_sums(&sample);
        assert!(sample.workloads.iter().any(|w| w.id == "ccc"), "step {k}");
        assert_eq!(sample.processes, 7);
    }
}

fn execed_arguments(processes: &[Proc]) -> String {
    let execed = processes.iter().find(|p| p.pid == 140).unwrap();
    execed.arguments.iter().map(|a| format!("{a}\0")).collect()
}
