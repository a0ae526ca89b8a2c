use std::collections::HashMap;

use super::*;

struct Fake(HashMap<&'static str, &'static str>);

impl Environment for Fake {
    fn get(&self, key: &str) -> Option<String> {
        self.0.get(key).map(|value| (*value).to_owned())
    }
}

fn gather(
    flags: &RunArgs,
    env: &[(&'static str, &'static str)],
    file: &str,
) -> (Settings, Vec<Mistake>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("agent.toml");
    std::fs::write(&path, file).unwrap();
    Settings::gather(flags, &Fake(env.iter().copied().collect()), &path)
}

fn interval(text: &str) -> RunArgs {
    RunArgs {
        interval: Some(text.to_owned()),
        ..RunArgs::default()
    }
}

#[test]
fn a_flag_wins_over_the_environment_and_that_over_the_file() {
    let file = "interval = 30\nname = \"file\"\nnames = \"none\"\n";
    let env = [("HUBMETER_INTERVAL", "20"), ("HUBMETER_NAME", "env")];
    let (settings, mistakes) = gather(&interval("10s"), &env, file);
    assert_eq!(mistakes, []);
    assert_eq!(settings.interval, Duration::from_secs(10));
    assert_eq!(settings.name, "env");
    assert_eq!(settings.names, Names::None);
    let (settings, _) = gather(&RunArgs::default(), &[], file);
    assert_eq!(settings.interval, Duration::from_secs(30));
}

#[test]
fn without_any_setting_it_stays_on_this_machine_at_five_seconds() {
    let missing = Path::new("/nonexistent/agent.toml");
    let (settings, mistakes) =
        Settings::gather(&RunArgs::default(), &Fake(HashMap::new()), missing);
    assert_eq!(mistakes, []);
    assert_eq!(settings.collector, None);
    assert_eq!(settings.interval, INTERVAL_DEFAULT);
}

#[test]
fn the_share_for_proportional_sets_comes_from_flag_environment_or_file() {
    let share = |text| PssShare::parse(text).unwrap();
    let flag = |text: &str| RunArgs {
        pss_budget: Some(text.to_owned()),
        ..RunArgs::default()
    };
    let env = [("HUBMETER_PSS_BUDGET", "0.5%")];
    let (settings, mistakes) = gather(&flag("0"), &env, "pss_budget = 0.1\n");
    assert_eq!(mistakes, []);
    assert_eq!(settings.pss_share, share("0"));
    let (settings, _) = gather(&RunArgs::default(), &env, "pss_budget = 0.1\n");
    assert_eq!(settings.pss_share, share("0.5"));
    for file in [
        "pss_budget = 2\n",
        "pss_budget = 2.0\n",
        "pss_budget = \"2 %\"\n",
    ] {
        let (settings, mistakes) = gather(&RunArgs::default(), &[], file);
        assert_eq!(
            (settings.pss_share, mistakes),
            (share("2"), vec![]),
            "{file}"
        );
    }
    for text in ["5.1", "-1", "much", "nan"] {
        let (settings, mistakes) = gather(&flag(text), &[], "");
        assert_eq!(settings.pss_share, PssShare::default());
        assert_eq!(mistakes.len(), 1, "{text}");
        assert!(
            mistakes[0].to_string().starts_with("--pss-budget: "),
            "{}",
            mistakes[0]
        );
    }
}

#[test]
fn an_interval_outside_its_bounds_is_refused_with_the_bounds() {
    for text in ["0", "0.9s", "61", "2m", "999ms", "-1", "5x", "", "s"] {
        let (_, mistakes) = gather(&interval(text), &[], "");
        assert_eq!(mistakes.len(), 1, "{text}");
        assert!(mistakes[0].by_flag);
    }
    let (_, mistakes) = gather(&interval("61s"), &[], "");
    assert_eq!(
        mistakes[0].to_string(),
        "--interval: `61s` is outside 1s to 60s"
    );
    for text in ["1", "1s", "60", "1m", "1000ms", "2.5"] {
        let (_, mistakes) = gather(&interval(text), &[], "");
        assert_eq!(mistakes, [], "{text}");
    }
}

#[test]
fn all_mistakes_are_told_at_once_and_each_with_its_place() {
    let env = [
        ("HUBMETER_COLLECTOR", "https://hub/x"),
        ("HUBMETER_NAMES", "some"),
        ("HUBMETER_SOCKET", "a"),
    ];
    let (settings, mistakes) = gather(&interval("0"), &env, "");
    let places: Vec<_> = mistakes
        .iter()
        .map(|mistake| mistake.source_name.as_str())
        .collect();
    assert_eq!(
        places,
        [
            "HUBMETER_COLLECTOR",
            "--interval",
            "HUBMETER_SOCKET",
            "HUBMETER_NAMES"
        ]
    );
    assert_eq!(settings.collector, None);
}

#[test]
fn all_mistakes_of_the_file_are_told_at_once_each_with_its_line() {
    let file = "\n# the hub's\ncolector = \"grpc://localhost:1\"\ninterval = 90\nname = [1]\n\
                names = \"base\nsocket = \"/run/a.sock\"\n";
    let (settings, mistakes) = gather(&RunArgs::default(), &[], file);
    let told: Vec<_> = mistakes
        .iter()
        .map(|mistake| mistake.to_string())
        .map(|told| told.split_once("agent.toml:").unwrap().1.to_owned())
        .collect();
    assert_eq!(told.len(), 4, "{told:#?}");
    for (line, word) in [
        ("3: ", "colector"),
        ("5: ", "not array"),
        ("6: ", ""),
        ("4: interval: ", "1s to 60s"),
    ] {
        let found = told
            .iter()
            .any(|told| told.starts_with(line) && told.contains(word));
        assert!(found, "{line}{word}: {told:#?}");
    }
    // What is right counts.
    assert_eq!(settings.socket.as_deref(), Some(Path::new("/run/a.sock")));
}

#[test]
fn every_key_of_the_file_is_a_flag_and_a_variable_too() {
    use clap::CommandFactory;
    let command = crate::config::Cli::command();
    let run = command.find_subcommand("run").unwrap();
    for key in KEYS {
        let flag = key.replace('_', "-");
        let argument = run
            .get_arguments()
            .find(|flag_of| flag_of.get_long() == Some(&flag));
        let help = argument.expect(key).get_help().unwrap().to_string();
        let variable = format!("[env: HUBMETER_{}]", key.to_uppercase());
        assert!(help.contains(&variable), "{help}");
    }
}

#[test]
fn each_source_sets_every_key() {
    let file = "collector = \"grpc://10.0.0.1:1\"\ninterval = 2.5\nca_file = \"/a\"\nsocket = \"/b\"\n\
                token_file = \"/c\"\nname = \"d\"\nnames = \"full\"\napi_url = \"e\"\nallow_plaintext = true\n";
    let env = [
        ("HUBMETER_COLLECTOR", "grpc://10.0.0.1:1"),
        ("HUBMETER_INTERVAL", "2.5"),
        ("HUBMETER_CA_FILE", "/a"),
        ("HUBMETER_SOCKET", "/b"),
        ("HUBMETER_TOKEN_FILE", "/c"),
        ("HUBMETER_NAME", "d"),
        ("HUBMETER_NAMES", "full"),
        ("HUBMETER_API_URL", "e"),
        ("HUBMETER_ALLOW_PLAINTEXT", "1"),
    ];
    let text = |text: &str| Some(text.to_owned());
    let flags = RunArgs {
        collector: text("grpc://10.0.0.1:1"),
        interval: text("2.5"),
        ca_file: text("/a"),
        socket: text("/b"),
        token_file: text("/c"),
        name: text("d"),
        names: text("full"),
        api_url: text("e"),
        allow_plaintext: true,
        ..RunArgs::default()
    };
    let from = [
        gather(&RunArgs::default(), &[], file),
        gather(&RunArgs::default(), &env, ""),
        gather(&flags, &[], ""),
    ];
    for (settings, mistakes) in from {
        assert_eq!(mistakes, []);
        assert!(settings.collector.is_some());
        assert_eq!(settings.interval, Duration::from_millis(2_500));
        assert_eq!(settings.ca_file.as_deref(), Some(Path::new("/a")));
        assert_eq!(settings.socket.as_deref(), Some(Path::new("/b")));
        assert!(format!("{:?}", settings.credential).contains("\"/c\""));
        assert_eq!((settings.name.as_str(), settings.names), ("d", Names::Full));
        assert_eq!(settings.api_url.as_deref(), Some("e"));
    }
}

#[test]
fn a_token_never_shows_in_the_settings() {
    let (settings, _) = gather(
        &RunArgs::default(),
        &[("JUPYTERHUB_API_TOKEN", "s3cret")],
        "",
    );
    assert!(!format!("{settings:?}").contains("s3cret"));
}
