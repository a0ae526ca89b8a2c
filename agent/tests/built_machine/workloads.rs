//! Whose each process is: every style of kernel, wrappers, orphans, applications, aides.

use std::os::unix::fs::symlink;

use hubmeter_agent::{
    sample::{Workload, WorkloadKind, WorkloadState},
    sampler::{PssMode, Sampler, Target},
    workload::{
        Names,
        told::{Told, ToldApp, ToldKernel, ToldTerminal},
    },
};

use super::machine::{At, Machine, Proc, assert_sums, find, has, server};

const ID: &str = "303cc6cc-1f7e-4b62-9a43-d41f2e6b0a11";

fn told_kernel(id: &str, pid: Option<u32>) -> ToldKernel {
    ToldKernel {
        id: id.to_owned(),
        pid,
        name: "python3".to_owned(),
        notebook: None,
        state: None,
        idle_ms: None,
    }
}

/// Makes process `pid` listen on the socket `inode`, or only hold it.
fn socket(machine: &Machine, pid: u32, inode: u64, listens: bool) {
    let dir = machine.proc().join(pid.to_string());
    std::fs::create_dir_all(dir.join("fd")).unwrap();
    std::fs::create_dir_all(dir.join("net")).unwrap();
    symlink(format!("socket:[{inode}]"), dir.join("fd/5")).unwrap();
    let state = if listens { "0A" } else { "01" };
    let table = format!(
        "  sl  local_address rem_address   st\n   0: 0100007F:1F90 00000000:0000 {state} 00000000:00000000 00:00000000 00000000  1000        0 {inode} 1 0 100 0 0 10 0\n"
    );
    std::fs::write(dir.join("net/tcp"), table).unwrap();
}

#[test]
fn kernels_of_every_language_and_wrapper_are_one_workload_from_the_top_most_process_down() {
    let file = format!("/run/user/1000/jupyter/kernel-{ID}.json");
    let inner = format!("exec python -m ipykernel_launcher -f '{file}'");
    let styles: [Vec<&str>; 8] = [
        vec!["python", "-m", "ipykernel_launcher", "-f", &file],
        vec![
            "/usr/lib/R/bin/exec/R",
            "--slave",
            "-e",
            "IRkernel::main()",
            "--args",
            &file,
        ],
        vec!["julia", "-i", "--color=yes", "/opt/kernel.jl", &file],
        vec!["xcpp", "-f", &file],
        vec![
            "dotnet",
            "/opt/Microsoft.DotNet.Interactive.dll",
            "jupyter",
            &file,
        ],
        vec![
            "conda",
            "run",
            "-n",
            "x",
            "python",
            "-m",
            "ipykernel",
            "-f",
            &file,
        ],
        vec!["bash", "-c", &inner],
        vec!["srun", "--pty", "python", "-m", "bash_kernel", "-f", &file],
    ];
    for style in styles {
        let machine = Machine::new();
        machine.run(&[
            Proc::new(1, 0),
            Proc::new(100, 1).jupyter(),
            Proc::new(110, 100).arguments(&style),
            // What the wrapper starts names the same file.
            Proc::new(111, 110).arguments(&["python", "-f", &file]),
            Proc::new(112, 111),
        ]);
        let sample = machine.sampler(100).tick(&At(0)).unwrap();
        assert_sums(&sample);
        let kernel = find(&sample, WorkloadKind::Kernel, ID);
        assert_eq!((kernel.pid, kernel.processes), (110, 3), "{style:?}");
        assert_eq!(sample.workloads.len(), 2);
    }
}

#[test]
fn a_kernel_that_was_first_read_amid_its_exec_is_found_when_that_is_done() {
    let machine = Machine::new();
    let mut processes = server();
    processes.push(Proc::new(130, 100).kernel("ccc"));
    let last = processes.len() - 1;
    processes[last].in_exec = true;
    machine.run(&processes);
    let mut sampler = machine.sampler(100);
    let sample = sampler.tick(&At(0)).unwrap();
    assert!(
        !has(&sample, WorkloadKind::Kernel, "ccc"),
        "it says nothing"
    );
    processes[last].in_exec = false;
    machine.run(&processes);
    let sample = sampler.tick(&At(5_000)).unwrap();
    assert!(has(&sample, WorkloadKind::Kernel, "ccc"));
}

#[test]
fn a_kernel_inside_a_kernel_or_a_terminal_is_theirs_and_in_an_application_its_own() {
    let machine = Machine::new();
    let mut processes = server();
    processes.extend([
        Proc::new(150, 110).kernel("inner"),
        Proc::new(151, 131).kernel("console"),
        Proc::new(160, 100).arguments(&["/lib/node", "/usr/lib/code-server"]),
        Proc::new(161, 160).arguments(&["python", "--f=/x/jupyter/runtime/kernel-v3abc.json"]),
        Proc::new(162, 161),
    ]);
    machine.run(&processes);
    let mut sampler = machine.sampler(100);
    sampler.told(Told {
        apps: vec![ToldApp {
            name: "vscode".to_owned(),
            pid: 160,
        }],
        ..Told::default()
    });
    let sample = sampler.tick(&At(0)).unwrap();
    assert_sums(&sample);
    assert_eq!(find(&sample, WorkloadKind::Kernel, "aaa").processes, 3);
    assert_eq!(find(&sample, WorkloadKind::Terminal, "pts/1").processes, 3);
    assert_eq!(find(&sample, WorkloadKind::App, "vscode").processes, 1);
    assert_eq!(find(&sample, WorkloadKind::Kernel, "v3abc").processes, 2);
}

#[test]
fn a_child_of_jupyter_that_listens_is_an_application_and_one_that_does_not_is_an_aide() {
    let machine = Machine::new();
    let mut processes = server();
    processes.extend([
        Proc::new(150, 100).arguments(&["python3", "/opt/bin/tensorboard", "--port", "1"]),
        Proc::new(151, 150),
        // Its child listens, not itself.
        Proc::new(160, 100).arguments(&["sh", "-c", "rserver"]),
        Proc::new(161, 160),
        Proc::new(170, 100).arguments(&["pylsp"]),
        Proc::new(171, 170),
        // One of the same program.
        Proc::new(180, 100).arguments(&["python3", "/opt/bin/tensorboard", "--port", "2"]),
    ]);
    let run = |processes: &[Proc]| {
        machine.run(processes);
        socket(&machine, 150, 4711, true);
        socket(&machine, 160, 1, false);
        socket(&machine, 161, 4712, true);
        std::fs::copy(
            machine.proc().join("161/net/tcp"),
            machine.proc().join("160/net/tcp"),
        )
        .unwrap();
        socket(&machine, 170, 4713, false);
        socket(&machine, 180, 4714, true);
    };
    run(&processes);
    let mut sampler = machine.sampler(100);
    let sample = sampler.tick(&At(0)).unwrap();
    assert_sums(&sample);
    assert_eq!(find(&sample, WorkloadKind::App, "tensorboard").processes, 2);
    assert_eq!(
        find(&sample, WorkloadKind::App, "tensorboard-180").processes,
        1
    );
    assert_eq!(find(&sample, WorkloadKind::App, "sh").processes, 2);
    // Jupyter, 140, and the language server with what it started.
    assert_eq!(find(&sample, WorkloadKind::Server, "server").processes, 4);

    // One that listens only after some time is found then, though nobody was born.
    socket(&machine, 171, 4715, true);
    std::fs::copy(
        machine.proc().join("171/net/tcp"),
        machine.proc().join("170/net/tcp"),
    )
    .unwrap();
    let sample = sampler.tick(&At(5_000)).unwrap();
    assert_sums(&sample);
    assert_eq!(find(&sample, WorkloadKind::App, "pylsp").processes, 2);
    assert!(sample.ended.is_empty(), "{:?}", sample.ended);
}

#[test]
fn an_application_is_called_by_its_proxied_name_if_that_is_told_and_by_none_if_names_stay() {
    for (names, id, name) in [
        (Names::Base, "code-server", "code-server"),
        (Names::None, "app-150", ""),
    ] {
        let machine = Machine::new();
        let mut processes = server();
        processes.push(Proc::new(150, 100).arguments(&["/lib/node", "/x/entry.js"]));
        machine.run(&processes);
        let target = Target {
            names,
            ..machine.target(100)
        };
        let mut sampler = Sampler::new(target, PssMode::Always).unwrap();
        sampler.told(Told {
            apps: vec![ToldApp {
                name: "code-server".to_owned(),
                pid: 150,
            }],
            ..Told::default()
        });
        let sample = sampler.tick(&At(0)).unwrap();
        let app = find(&sample, WorkloadKind::App, id);
        assert_eq!((app.name.as_str(), app.pid), (name, 150));
    }
}

#[test]
fn an_orphan_stays_with_the_workload_it_was_seen_in_as_long_as_that_lives() {
    let machine = Machine::new();
    let mut processes = server();
    // A daemon's middle process and the daemon, in a kernel without a session and in a terminal.
    processes.extend([
        Proc::new(150, 120),
        Proc::new(151, 150),
        Proc::new(160, 130),
        Proc::new(161, 160),
    ]);
    machine.run(&processes);
    let mut sampler = machine.sampler(100);
    sampler.tick(&At(0)).unwrap();
    processes.retain(|p| ![150, 160].contains(&p.pid));
    for p in &mut processes {
        if [151, 161].contains(&p.pid) {
            p.ppid = 1;
        }
    }
    // Twice: it must not be forgotten at the second look.
    for tick in 1..=2 {
        processes.push(Proc::new(200 + u32::try_from(tick).unwrap(), 110));
        machine.run(&processes);
        let sample = sampler.tick(&At(tick * 5_000)).unwrap();
        assert_sums(&sample);
        assert_eq!(find(&sample, WorkloadKind::Kernel, "bbb").processes, 2);
        assert_eq!(find(&sample, WorkloadKind::Terminal, "pts/1").processes, 3);
    }
    processes.retain(|p| p.pid != 120);
    machine.run(&processes);
    let sample = sampler.tick(&At(20_000)).unwrap();
    assert_sums(&sample);
    assert_eq!(find(&sample, WorkloadKind::Other, "other").processes, 1);
}

#[test]
fn where_jupyter_is_pid_1_its_orphans_are_no_aides() {
    let machine = Machine::new();
    let terminal = ["TERM=xterm", "JUPYTER_SERVER_URL=http://x/"];
    let shell = Proc {
        tty: 34817,
        ..Proc::new(130, 1).environ(&terminal)
    };
    machine.run(&[
        Proc::new(1, 0).jupyter(),
        Proc::new(110, 1)
            .kernel("aaa")
            .environ(&["JPY_SESSION_NAME=/n/a.ipynb"]),
        shell.clone(),
        // Daemonised before anybody saw them.
        Proc::new(111, 1).environ(&["JPY_SESSION_NAME=/n/a.ipynb"]),
        Proc {
            pid: 131,
            start: 1310,
            ..shell
        },
    ]);
    let mut sampler = machine.sampler(1);
    sampler.told(Told {
        terminals: vec![ToldTerminal {
            name: "1".to_owned(),
            pid: Some(130),
        }],
        ..Told::default()
    });
    let sample = sampler.tick(&At(0)).unwrap();
    assert_sums(&sample);
    assert_eq!(find(&sample, WorkloadKind::Kernel, "aaa").processes, 2);
    assert_eq!(find(&sample, WorkloadKind::Terminal, "1").processes, 2);
    assert_eq!(find(&sample, WorkloadKind::Server, "server").processes, 1);
}

#[test]
fn an_orphan_in_a_kernels_own_cgroup_is_that_kernels() {
    let machine = Machine::new();
    machine.run(&[
        Proc::new(1, 0),
        Proc::new(100, 1)
            .jupyter()
            .environ(&["JUPYTERHUB_API_TOKEN=t"]),
        Proc::new(110, 100).kernel("aaa"),
        Proc::new(120, 100).kernel("bbb"),
        Proc::new(170, 1).environ(&["JUPYTERHUB_API_TOKEN=t"]),
        Proc::new(171, 1).environ(&["JUPYTERHUB_API_TOKEN=t"]),
    ]);
    machine.member(&[100, 110, 171], "0::/jo\n");
    machine.member(&[120, 170], "0::/jo/kernel-b.scope\n");
    let sample = machine.sampler(100).tick(&At(0)).unwrap();
    assert_sums(&sample);
    assert_eq!(find(&sample, WorkloadKind::Kernel, "aaa").processes, 1);
    assert_eq!(find(&sample, WorkloadKind::Kernel, "bbb").processes, 2);
    assert_eq!(find(&sample, WorkloadKind::Other, "other").pid, 171);
}

#[test]
fn a_kernel_that_runs_elsewhere_is_known_and_not_measured() {
    let machine = Machine::new();
    machine.run(&server());
    let mut sampler = machine.sampler(100);
    sampler.told(Told {
        kernels: vec![
            ToldKernel {
                notebook: Some("far/away.ipynb".to_owned()),
                state: Some(WorkloadState::Busy),
                idle_ms: Some(0),
                ..told_kernel("far", None)
            },
            // Its client runs here, and that is measured.
            told_kernel("aaa", None),
        ],
        ..Told::default()
    });
    let sample = sampler.tick(&At(0)).unwrap();
    assert_sums(&sample);
    let far = find(&sample, WorkloadKind::Kernel, "far");
    assert!(far.remote);
    assert_eq!(
        (far.pid, far.processes, far.memory_used_bytes),
        (0, 0, None)
    );
    assert_eq!(far.notebook.as_deref(), Some("away.ipynb"));
    assert_eq!(far.state, Some(WorkloadState::Busy));
    assert!(!find(&sample, WorkloadKind::Kernel, "aaa").remote);
    assert!(sample.unattributed_bytes.is_some());
    sampler.told(Told::default());
    let sample = sampler.tick(&At(5_000)).unwrap();
    assert!(!has(&sample, WorkloadKind::Kernel, "far"));
    assert!(sample.ended.is_empty(), "nobody saw it end");
}

#[test]
fn a_restarted_kernel_goes_on_with_its_id_and_cpu_time_never_goes_back() {
    let machine = Machine::new();
    let mut processes = server();
    processes
        .iter_mut()
        .find(|p| p.pid == 120)
        .unwrap()
        .own_ticks = 700;
    machine.run(&processes);
    let mut sampler = machine.sampler(100);
    let before = sampler.tick(&At(0)).unwrap();
    processes.retain(|p| p.pid != 120);
    processes.push(Proc::new(220, 100).kernel("bbb"));
    machine.run(&processes);
    let after = sampler.tick(&At(5_000)).unwrap();
    assert_sums(&after);
    assert!(after.cpu_millis >= before.cpu_millis);
    let kernel = find(&after, WorkloadKind::Kernel, "bbb");
    assert_eq!((kernel.pid, kernel.cpu_millis), (220, 100));
    assert_eq!(after.ended.len(), 1);
    assert_eq!(
        (after.ended[0].id.as_str(), after.ended[0].pid),
        ("bbb", 120)
    );
}

#[test]
fn two_notebooks_of_one_name_are_two_workloads() {
    let machine = Machine::new();
    machine.run(&[
        Proc::new(1, 0),
        Proc::new(100, 1).jupyter(),
        Proc::new(110, 100)
            .kernel("a")
            .environ(&["JPY_SESSION_NAME=/x/one/n.ipynb"]),
        Proc::new(120, 100)
            .kernel("b")
            .environ(&["JPY_SESSION_NAME=/x/two/n.ipynb"]),
        Proc::new(170, 1).environ(&["JPY_SESSION_NAME=/x/two/n.ipynb", "JPY_PARENT_PID=100"]),
    ]);
    let sample = machine.sampler(100).tick(&At(0)).unwrap();
    assert_sums(&sample);
    let of = |id| -> Workload { find(&sample, WorkloadKind::Kernel, id) };
    assert_eq!(of("a").notebook, of("b").notebook);
    assert_eq!((of("a").processes, of("b").processes), (1, 2));
}

#[test]
fn what_goes_on_under_another_name_has_not_ended() {
    let machine = Machine::new();
    machine.run(&server());
    let mut sampler = machine.sampler(100);
    sampler.told(Told {
        kernels: vec![told_kernel("told", Some(140))],
        ..Told::default()
    });
    sampler.tick(&At(0)).unwrap();
    sampler.told(Told::default());
    let sample = sampler.tick(&At(5_000)).unwrap();
    assert!(!has(&sample, WorkloadKind::Kernel, "told"));
    assert!(sample.ended.is_empty(), "{:?}", sample.ended);
}
