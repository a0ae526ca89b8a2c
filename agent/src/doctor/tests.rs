//! The page as a person sees it, word for word, on machines built of files.

use std::{fs, path::Path, sync::Arc};

use tokio::sync::oneshot;

use super::*;
use crate::{
    board::{Board, LinkState, LinkStatus, Reading},
    local::Local,
    machine::{At, MIB, Machine, TREE, server, v2_files},
    meter::Figures,
    settings::CollectorUrls,
};

/// No variables but the socket's place.
struct Nothing;

impl Environment for Nothing {
    fn get(&self, _: &str) -> Option<String> {
        None
    }
}

/// Variables as given.
struct Given(Vec<(&'static str, String)>);

impl Environment for Given {
    fn get(&self, key: &str) -> Option<String> {
        let found = self.0.iter().find(|(name, _)| *name == key);
        found.map(|(_, value)| value.clone())
    }
}

fn visit<E: Environment>(machine: &Machine, environment: &E) -> Report {
    let missing = Path::new("/nonexistent/agent.toml");
    let (mut settings, mistakes) = Settings::gather(&RunArgs::default(), environment, missing);
    settings.socket = Some(machine.dir.path().join("meter.sock"));
    let environment = Some(&Nothing);
    let visit = Visit {
        target: machine.target(100),
        found_by: FoundBy::Flag,
        settings,
        mistakes: mistakes.iter().map(ToString::to_string).collect(),
        environment,
    };
    let mut report = visit.report(&At(0)).unwrap();
    // What differs from machine to machine and from run to run.
    report.rss_exactness.kernel = "6.18".to_owned();
    report.cost = Cost::default();
    report.vitals = Vitals::default();
    report
}

/// The page, the machine's own folder and the version left out.
fn page(machine: &Machine, report: &Report) -> String {
    let dir = machine.dir.path().display().to_string();
    let words = report.words().replace(&dir, "DIR");
    words.replace(env!("CARGO_PKG_VERSION"), "VERSION")
}

#[test]
fn the_page_of_a_server_in_its_own_cgroup() {
    let machine = Machine::new();
    machine.run(&server());
    machine.group("hub/jo", &TREE, &v2_files(900 * MIB, MIB, "2147483648"));
    machine.member(&TREE, "0::/hub/jo\n");
    let report = visit(&machine, &Nothing);
    let expected = "\
agent      hubmeter-agent VERSION
server     pid 100 with 7 processes and 7 threads; a Jupyter server; named by --pid
             kernel thing aaa, 2 processes
             terminal pts/1, 2 processes
             the server itself, 2 processes
             kernel thing bbb, 1 process
memory     898 MiB: what the server's own cgroup cannot give back
             cgroup2:/hub/jo: holds all of the server and nobody else
             proportional sets: 7 read, 0 may not be read, 0 too small to be worth it yet
             resident sizes exact, checked on 7 processes (kernel 6.18)
limit      2.00 GiB from cgroup2:/hub/jo; passing it kills
cpu        complete: the tree's, and what cgroup2:/hub/jo counted beyond it
names      base: kernel specs and notebooks' file names leave this machine, folders do not
collector  no collector is set, samples stay on this machine: set HUBMETER_COLLECTOR (c.Spawner.environment on the hub) or `collector` in /etc/hubmeter/agent.toml
socket     DIR/meter.sock: no agent listens now
cost       the first sample took 0 µs of CPU and opened 0 files, the next 0 µs and 0
failed     no reading was refused or failed
unseen     nothing that we know of
verdict    all that should work does
";
    assert_eq!(page(&machine, &report), expected);
    assert!(report.is_well());
}

#[test]
fn the_page_of_a_server_of_which_little_can_be_seen_says_what_and_why() {
    let machine = Machine::new();
    let mut processes = server();
    processes[2].pss = None;
    machine.run(&processes);
    // Cut, as no kernel writes it; a directory in place of a file; no cgroups; no meminfo.
    fs::write(machine.proc().join("140/statm"), "99 10 5").unwrap();
    machine.mounts("");
    fs::remove_file(machine.proc().join("meminfo")).unwrap();
    let token = machine.dir.path().join("token");
    let authority = machine.dir.path().join("ca.pem");
    fs::write(&authority, "no certificate").unwrap();
    let environment = Given(vec![
        ("HUBMETER_COLLECTOR", "grpcs://hub:4443".to_owned()),
        ("HUBMETER_TOKEN_FILE", token.display().to_string()),
        ("HUBMETER_CA_FILE", authority.display().to_string()),
        ("HUBMETER_INTERVAL", "7h".to_owned()),
    ]);
    let report = visit(&machine, &environment);
    let page = page(&machine, &report);
    for line in [
        "memory     75.0 MiB: proportional set sizes over the tree, because no cgroup is mounted here",
        "             proportional sets: 5 read, 1 may not be read, 0 too small to be worth it yet",
        "limit      none is known",
        "collector  grpcs://hub:4443",
        "token      from DIR/token, cannot be used: cannot read the token file DIR/token: No such file or directory (os error 2)",
        "ca         from DIR/ca.pem, cannot be used: no certificate in PEM form is in it",
        "failed     3 readings: not offered here, last of DIR/proc/meminfo",
        "failed     1 reading: cut or malformed, last of DIR/proc/140/statm",
        "wrong      1 reading: cut or malformed, last of DIR/proc/140/statm",
        "mistake    HUBMETER_INTERVAL: `7h` is outside 1s to 60s",
        "unseen     1 process of the server that could not be read (another user's, as with sudo, or broken): neither memory nor CPU time of it is in the figures",
        "unseen     the share of 1 process in shared pages: its proportional set may not be read (a setuid program, one that may not be traced, or a kernel before 4.14)",
        "verdict    something that should work does not: see above",
    ] {
        assert!(page.lines().any(|said| said == line), "{line}\nin\n{page}");
    }
    assert!(!report.is_well());
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["processes_unread"], 1);
    assert_eq!(json["pss_denied"], 1);
    assert_eq!(json["readings_failed"]["malformed"], 1);
    assert_eq!(json["cpu_complete"], "tree");
    assert_eq!(json["found_by"], "flag");
    assert_eq!(json["failures"][1]["reason"], "malformed");
}

#[test]
fn without_settings_the_same_is_said_of_the_server() {
    let machine = Machine::new();
    machine.run(&server());
    let words = words_on(machine.target(100)).unwrap();
    assert!(
        words.contains("\nsocket     none: not looked for\n"),
        "{words}"
    );
    let of_server = |words: &str| {
        let until_limit = words.lines().take_while(|line| !line.starts_with("memory"));
        until_limit.map(str::to_owned).collect::<Vec<_>>()
    };
    let whole = visit(&machine, &Nothing).words();
    assert_eq!(of_server(&words), of_server(&whole));
}

#[test]
fn a_token_is_told_of_and_never_shown() {
    let machine = Machine::new();
    machine.run(&server());
    let environment = Given(vec![(
        "JUPYTERHUB_API_TOKEN",
        "b9f1c0ffee0123456789abcdef".to_owned(),
    )]);
    let report = visit(&machine, &environment);
    let words = report.words();
    let json = serde_json::to_string(&report).unwrap();
    assert!(words.contains("from JUPYTERHUB_API_TOKEN, can be used"));
    for shown in [words, json, format!("{report:?}")] {
        assert!(!shown.contains("c0ffee"), "{shown}");
    }
}

#[test]
fn without_processes_to_read_it_says_so_and_not_that_the_server_is_gone() {
    let machine = Machine::new();
    fs::remove_dir_all(machine.proc()).unwrap();
    let refused = Sampler::new(machine.target(100), PssMode::Budget).unwrap_err();
    assert!(
        refused.to_string().starts_with("no processes can be read"),
        "{refused}"
    );
}

/// An agent's socket where doctor looks for it, for as long as what is given back lives.
fn agent_beside(machine: &Machine, board: Arc<Board>) -> oneshot::Sender<()> {
    let path = machine.dir.path().join("meter.sock");
    let (until, ends) = oneshot::channel();
    let (tell_bound, bound) = std::sync::mpsc::sync_channel(1);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let local = Local::bind(Place::at(path)).unwrap();
            tell_bound.send(()).unwrap();
            let (told, _) = tokio::sync::mpsc::channel(1);
            tokio::select! {
                () = local.serve(board, told) => {}
                _ = ends => {}
            }
        });
    });
    bound.recv().unwrap();
    until
}

#[test]
fn of_several_addresses_the_one_in_use_is_named_and_why_the_others_are_not() {
    let machine = Machine::new();
    machine.run(&server());
    let urls = "grpcs://hub:4443 wss://hub/services/hubmeter/link";
    let environment = Given(vec![("HUBMETER_COLLECTOR", urls.to_owned())]);
    let board = Arc::new(Board::new(LinkStatus::default()));
    board.show(Reading {
        sample: crate::link::encode::tests::sample(1, 1),
        figures: Figures::default(),
    });
    let _agent = agent_beside(&machine, Arc::clone(&board));
    let parsed = CollectorUrls::parse(urls, false).unwrap();
    let [direct, proxied] = parsed.as_slice() else {
        panic!("{parsed}");
    };
    board.passed_over(direct, "cannot connect\u{1b}[31m in time");
    board.streams_over(proxied);
    let report = visit(&machine, &environment);
    let page = report.words();
    let said = format!(
        "\ncollector  {urls}\n             the agent streams to {proxied} by websocket\n             \
         not {direct}: cannot connect [31m in time\n"
    );
    assert!(page.contains(&said), "{page}");
    assert!(report.is_well(), "{page}");
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["running"]["carrier"], "websocket");

    board.set_link_state(LinkState::Connecting);
    let report = visit(&machine, &environment);
    let page = report.words();
    assert!(page.contains("the agent has no stream now"), "{page}");
    assert!(!report.is_well());
}
