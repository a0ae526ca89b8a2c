use std::io::Write as _;

use super::*;

fn load(file: &str, environment: &[(&str, &str)], flags: Flags) -> Result<Config, String> {
    let mut on_disk = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    on_disk.write_all(file.as_bytes()).unwrap();
    let flags = Flags {
        config: Some(on_disk.path().to_owned()),
        ..flags
    };
    let environment = environment
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Config::load(&flags, environment).map_err(|e| {
        e.to_string()
            .replace(&on_disk.path().display().to_string(), "FILE")
    })
}

const HUB: [(&str, &str); 3] = [
    ("JUPYTERHUB_API_URL", "http://127.0.0.1:8081/hub/api"),
    ("JUPYTERHUB_API_TOKEN", "0123456789abcdef"),
    ("JUPYTERHUB_SERVICE_PREFIX", "/jh/services/hubmeter/"),
];

#[test]
fn all_mistakes_are_told_at_once_each_with_its_line() {
    let file = "listen = 7\n\n[link]\nlisten = \"127.0.0.1:1\"\nlissen = \"x\"\n\
                [policy]\nidle_after = \"soon\"\n";
    let told = load(file, &HUB, Flags::default()).unwrap_err();
    let lines: Vec<_> = told.lines().collect();
    assert_eq!(lines.len(), 3, "{told}");
    assert!(
        lines[0].starts_with("FILE:1: listen: expected text"),
        "{told}"
    );
    assert_eq!(lines[1], "FILE:5: unknown key link.lissen");
    assert!(
        lines[2].starts_with("FILE:7: policy.idle_after: expected a time"),
        "{told}"
    );
}

#[test]
fn a_file_that_is_not_toml_is_told_with_its_line() {
    let told = load("listen = \"127.0.0.1:1\"\n[link\n", &HUB, Flags::default()).unwrap_err();
    assert!(told.starts_with("FILE:2: "), "{told}");
}

#[test]
fn a_flag_beats_a_variable_beats_the_file_beats_the_hub() {
    let file = "listen = \"127.0.0.1:1\"\n[link]\nlisten = \"127.0.0.1:2\"\n";
    let mut environment = HUB.to_vec();
    environment.push(("HUBMETER_COLLECTOR_LISTEN", "127.0.0.1:3"));
    environment.push(("HUBMETER_COLLECTOR_LINK_LISTEN", "127.0.0.1:4"));
    environment.push(("JUPYTERHUB_SERVICE_URL", "http://127.0.0.1:5/jh/"));
    let flags = Flags {
        link_listen: Some("127.0.0.1:6".to_owned()),
        ..Flags::default()
    };
    let config = load(file, &environment, flags).unwrap();
    assert_eq!(config.listen.to_string(), "127.0.0.1:3");
    assert_eq!(config.link.listen.to_string(), "127.0.0.1:6");
    assert_eq!(config.prefix(), "/jh/services/hubmeter/");

    let mut environment = HUB.to_vec();
    environment.push(("JUPYTERHUB_SERVICE_URL", "http://127.0.0.1:5/jh/"));
    let config = load("", &environment, Flags::default()).unwrap();
    assert_eq!(config.listen.to_string(), "127.0.0.1:5");
}

#[test]
fn standalone_refuses_to_be_reached_from_elsewhere() {
    let flags = Flags {
        standalone: true,
        listen: Some("0.0.0.0:9640".to_owned()),
        link_listen: Some("unix:/run/hubmeter/link".to_owned()),
        ..Flags::default()
    };
    let told = load("", &[], flags).unwrap_err();
    assert_eq!(
        told,
        "--listen: standalone listens on loopback or a Unix socket only, not on 0.0.0.0:9640"
    );
}

#[test]
fn a_link_that_others_reach_needs_no_certificate_of_the_admins() {
    let file = "[link]\nlisten = \"0.0.0.0:9641\"\n";
    let config = load(file, &HUB, Flags::default()).unwrap();
    assert!(config.link.tls.is_none() && !config.link.allow_plaintext);
}

#[test]
fn without_a_hub_and_not_standalone_nothing_starts() {
    let told = load("", &[], Flags::default()).unwrap_err();
    assert!(told.starts_with("no hub: "), "{told}");
}

#[test]
fn secrets_do_not_show() {
    let config = load("", &HUB, Flags::default()).unwrap();
    assert_eq!(
        config.hub.as_ref().unwrap().api_token.expose(),
        "0123456789abcdef"
    );
    assert!(!format!("{config:?}").contains("0123456789abcdef"));
}

#[test]
fn variables_that_nobody_asked_for_are_named_not_refused() {
    let mut environment = HUB.to_vec();
    environment.push(("HUBMETER_COLLECTOR_SERVICE_HOST", "10.0.0.1"));
    let config = load("", &environment, Flags::default()).unwrap();
    assert_eq!(
        config.unknown_variables,
        ["HUBMETER_COLLECTOR_SERVICE_HOST"]
    );
}

#[test]
fn times_are_seconds_or_say_their_unit() {
    for (written, seconds) in [
        ("90", 90),
        ("\"90s\"", 90),
        ("\"10m\"", 600),
        ("\"2h\"", 7200),
    ] {
        let file = format!("[policy]\nidle_after = {written}\n");
        let config = load(&file, &HUB, Flags::default()).unwrap();
        assert_eq!(config.policy.idle_after_ms, seconds * 1000);
    }
}

#[test]
fn notices_are_set_up_and_their_password_does_not_show() {
    let mut password = tempfile::NamedTempFile::new().unwrap();
    writeln!(password, "hunter2").unwrap();
    let file = format!(
        "[notice]\nrules = [\"killed\", \"near_limit:critical\"]\n[notice.mail]\nhost = \"mx\"\n\
         from = \"a@x\"\nto = [\"b@x\"]\nusername = \"u\"\npassword_file = {:?}\n",
        password.path()
    );
    let config = load(&file, &HUB, Flags::default()).unwrap();
    let mail = config.notice.mail.as_ref().unwrap();
    assert_eq!(mail.password.as_deref(), Some("hunter2"));
    assert_eq!(config.notice.rules.len(), 2);
    assert!(!format!("{config:?}").contains("hunter2"));

    let told = load("[notice.mail]\nhost = \"mx\"\n", &HUB, Flags::default()).unwrap_err();
    assert_eq!(
        told,
        "notice.mail needs host, from and to (at least one address)"
    );
    let told = load("[notice]\nrules = [\"sad\"]\n", &HUB, Flags::default()).unwrap_err();
    assert!(told.starts_with("FILE:2: notice.rules: \"sad\""), "{told}");
}

#[test]
fn with_a_host_for_every_server_the_hubs_pages_are_on_the_hubs_own() {
    let mut environment = HUB.to_vec();
    environment.push(("JUPYTERHUB_BASE_URL", "/jh/"));
    let page = |environment: &[(&str, &str)]| {
        let config = load("", environment, Flags::default()).unwrap();
        config.hub.unwrap().page("home")
    };
    assert_eq!(page(&environment), "/jh/hub/home");
    environment.push(("JUPYTERHUB_HOST", "https://hub.example.org"));
    assert_eq!(page(&environment), "https://hub.example.org/jh/hub/home");
}

#[test]
fn policy_says_what_is_much_for_everybody_and_for_a_group() {
    let file = "[policy]\nidle_hog_bytes = \"2GiB\"\nidle_hog_share = 0.5\nprocess_storm = 400\n\
                runaway_cpu_after = \"10m\"\nnotice_within = \"5m\"\n\
                [policy.overuse]\ncpu_cores = 4\nmemory_bytes = \"16GB\"\n\
                [policy.group.physics]\nidle_after = \"8h\"\noveruse.cpu_cores = 0\n\
                [policy.group.\"of.dots\"]\nthread_storm = 5_000\n";
    let config = load(file, &HUB, Flags::default()).unwrap();
    let policy = &config.policy;
    assert_eq!(policy.idle_hog_bytes, 2 << 30);
    assert_eq!(policy.idle_hog_share.to_bits(), 0.5_f64.to_bits());
    assert_eq!((policy.process_storm, policy.thread_storm), (400, 1_000));
    assert_eq!(policy.runaway_cpu_after_ms, 600_000);
    assert_eq!(policy.overuse_cpu_cores.to_bits(), 4.0_f64.to_bits());
    assert_eq!(policy.overuse_memory_bytes, 16_000_000_000);
    assert_eq!(config.notice.within_ms, 300_000);
    let group = |name: &str| policy.of_groups(&[crate::text::Label::clean(name, 128)]);
    assert_eq!(group("physics").idle_after_ms, 8 * 3_600_000);
    assert_eq!(group("physics").idle_hog_bytes, 2 << 30, "everybody's");
    assert!(
        group("physics").overuse_cpu_cores.is_infinite(),
        "0 counts nothing"
    );
    assert_eq!(group("of.dots").thread_storm, 5_000);
    let mut environment = HUB.to_vec();
    environment.push(("HUBMETER_COLLECTOR_POLICY_OVERUSE_CPU_CORES", "2.5"));
    let config = load(file, &environment, Flags::default()).unwrap();
    assert_eq!(config.policy.overuse_cpu_cores.to_bits(), 2.5_f64.to_bits());
}

#[test]
fn a_policy_that_makes_no_sense_is_told_with_its_line() {
    let file = "[policy]\nidle_hog_share = 1.5\nprocess_storm = 3\nrunaway_cpu_cores = 0\n\
                disk_near_limit_share = \"much\"\nidle_hog_bytes = \"2 elephants\"\n\
                [policy.group.physics]\nidle_atfer = \"8h\"\nthread_storm = 1\n\
                [policy.overuse]\nrise = 0\n";
    let told = load(file, &HUB, Flags::default()).unwrap_err();
    let lines: Vec<_> = told.lines().collect();
    let expected = [
        "FILE:2: policy.idle_hog_share: expected a share",
        "FILE:3: policy.process_storm: expected 20 or more",
        "FILE:4: policy.runaway_cpu_cores: expected more than 0 cores",
        "FILE:5: policy.disk_near_limit_share: expected a number",
        "FILE:6: policy.idle_hog_bytes: expected bytes, such as",
        "FILE:8: unknown key policy.group.physics.idle_atfer",
        "FILE:9: policy.group.physics.thread_storm: expected 20 or more",
        "FILE:11: policy.overuse.rise: expected more than no time",
    ];
    assert_eq!(lines.len(), expected.len(), "{told}");
    for (line, expected) in lines.iter().zip(expected) {
        assert!(line.starts_with(expected), "{told}");
    }
}

#[test]
fn servers_have_series_of_their_own_only_where_the_settings_say_so() {
    let off = load("", &HUB, Flags::default()).unwrap();
    assert_eq!((off.per_user.on, off.per_user.servers_max), (false, 5_000));
    let file = "[metrics]\nper_user = true\nper_user_max = 200\n";
    let on = load(file, &HUB, Flags::default()).unwrap();
    assert_eq!((on.per_user.on, on.per_user.servers_max), (true, 200));
    let mut environment = HUB.to_vec();
    environment.push(("HUBMETER_COLLECTOR_METRICS_PER_USER", "false"));
    environment.push(("HUBMETER_COLLECTOR_METRICS_PER_USER_MAX", "7"));
    let set = load(file, &environment, Flags::default()).unwrap();
    assert_eq!((set.per_user.on, set.per_user.servers_max), (false, 7));
    for wrong in ["0", "100_001"] {
        let file = format!("[metrics]\nper_user_max = {wrong}\n");
        let told = load(&file, &HUB, Flags::default()).unwrap_err();
        assert_eq!(
            told,
            "FILE:2: metrics.per_user_max: expected 1 to 100000 servers"
        );
    }
}
