use super::*;
use crate::config::{Config, Flags};

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;

fn load(text: &str) -> Result<CullConfig, String> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("collector.toml");
    std::fs::write(&file, text).unwrap();
    let told = Config::check(&file, []).map(|config| config.cull);
    told.map_err(|e| e.to_string().replace(&file.display().to_string(), "FILE"))
}

#[test]
fn without_a_word_it_only_watches_and_a_user_may_hold_for_a_day() {
    let cull = load("").unwrap();
    assert_eq!(cull.policy, CullPolicy::default());
    assert_eq!(cull.policy.mode, Mode::Watch);
    assert_eq!(cull.policy.hold_max_ms, 24 * HOUR_MS);
    assert_eq!(cull.policy.hold_total_max_ms, 72 * HOUR_MS);
    assert_eq!(cull.policy.idle_kernels, IdleKernels::Offer);
    assert_eq!(cull.policy.warn_ms, [15 * MINUTE_MS, 5 * MINUTE_MS]);
    assert!(cull.advice.is_empty());
}

#[test]
fn timeouts_groups_schedules_and_exemptions_are_read() {
    let file = "[cull]\nmode = \"act\"\ntimeout = \"45m\"\nmax_age = \"2d\"\nhold_max = \"8h\"\n\
                warn = [\"10m\", \"2m\"]\nzone = \"Europe/Zurich\"\n\
                [cull.group.gpu]\ntimeout = \"4h\"\nmax_age = 0\n\
                [cull.group.\"of.dots\"]\nhold_max = \"1h\"\nhold_total_max = \"5d\"\n\
                [[cull.schedule]]\ndays = \"mon-fri\"\nfrom = \"20:00\"\nto = \"07:00\"\n\
                timeout = \"20m\"\n\
                [[cull.schedule]]\ndays = [\"sat\", \"sun\"]\nzone = \"UTC\"\ntimeout = \"15m\"\n\
                groups = [\"gpu\"]\n\
                [cull.exempt]\nusers = [\"root\"]\ngroups = [\"staff\"]\n\
                servers = [\"*/keep\", \"ann/\"]\n";
    let policy = load(file).unwrap().policy;
    assert_eq!(policy.mode, Mode::Act);
    assert_eq!(policy.timeout_ms, Some(45 * MINUTE_MS));
    assert_eq!(policy.max_age_ms, Some(48 * HOUR_MS));
    assert_eq!(policy.warn_ms, [10 * MINUTE_MS, 2 * MINUTE_MS]);
    let group = |name: &str| policy.groups[&Label::clean(name, 128)];
    assert_eq!(group("gpu").timeout_ms, Some(4 * HOUR_MS));
    assert_eq!(group("gpu").max_age_ms, Some(None), "never");
    assert_eq!(group("of.dots").hold_max_ms, Some(HOUR_MS));
    assert_eq!(group("of.dots").hold_total_max_ms, Some(120 * HOUR_MS));
    let [nights, weekends] = &policy.schedules[..] else {
        panic!("{:?}", policy.schedules)
    };
    assert_eq!(nights.days, [true, true, true, true, true, false, false]);
    assert_eq!((nights.from_minutes, nights.to_minutes), (1_200, 420));
    assert_eq!(nights.zone.iana_name(), Some("Europe/Zurich"));
    assert_eq!(
        weekends.days,
        [false, false, false, false, false, true, true]
    );
    assert_eq!((weekends.from_minutes, weekends.to_minutes), (0, 1_440));
    assert_eq!(weekends.zone, TimeZone::UTC);
    assert_eq!(weekends.groups.len(), 1);
    assert!(policy.exempt.users.contains("root"));
    assert_eq!(policy.exempt.servers.len(), 2);
}

#[test]
fn every_mistake_is_told_at_once_with_its_line() {
    let file = "[cull]\nmode = \"kill\"\ntimeout = 0\nwarn = [\"5m\", \"15m\"]\nzone = \"Mars/Base\"\n\
                hold_max = \"90d\"\ntimeuot = 1\n\
                [cull.group.gpu]\ntimout = \"4h\"\n\
                [[cull.schedule]]\ndays = \"someday\"\nfrom = \"25:00\"\nto = 7\ntimeout = \"20m\"\n\
                [[cull.schedule]]\ndays = \"sun\"\nwhen = \"now\"\n\
                [cull.exempt]\nservers = [\"gpu\"]\n";
    let told = load(file).unwrap_err();
    let lines: Vec<_> = told.lines().collect();
    let expected = [
        "FILE:2: cull.mode: expected \"watch\" or \"act\"",
        "FILE:3: cull.timeout: expected more than no time",
        "FILE:4: cull.warn: the earliest first",
        "FILE:5: cull.zone: expected a time zone",
        "FILE:6: cull.hold_max: at most 31d",
        "FILE:7: unknown key cull.timeuot",
        "FILE:9: unknown key cull.group.gpu.timout",
        "FILE:11: cull.schedule.0.days: expected days such as",
        "FILE:12: cull.schedule.0.from: expected a time of day",
        "FILE:13: cull.schedule.0.to: expected a time of day",
        "FILE:16: cull.schedule.1.timeout: a schedule needs a timeout",
        "FILE:17: unknown key cull.schedule.1.when",
        "FILE:19: cull.exempt.servers: expected \"user/server\"",
    ];
    for (line, expected) in lines.iter().zip(expected) {
        assert!(
            line.starts_with(expected),
            "{line:?} is not {expected:?}: {told}"
        );
    }
    assert_eq!(lines.len(), expected.len(), "{told}");
}

#[test]
fn a_warning_is_shorter_than_any_timeout() {
    let told = load("[cull]\ntimeout = \"10m\"\nwarn = [\"15m\", \"5m\"]\n").unwrap_err();
    assert!(
        told.starts_with("FILE:3: cull.warn: a warning must be shorter"),
        "{told}"
    );
    let fits = load("[cull]\ntimeout = \"10m\"\n").unwrap();
    assert_eq!(
        fits.policy.warn_ms,
        [5 * MINUTE_MS],
        "of the defaults what fits"
    );
    let seconds = load("[cull]\ntimeout = 30\nwarn = [10, 5]\n").unwrap();
    assert_eq!(seconds.policy.warn_ms, [10_000, 5_000]);
}

#[test]
fn whoever_lets_it_act_is_told_who_is_not_warned() {
    let advice = |file: &str| load(file).unwrap().advice.join("\n");
    assert!(advice("[cull]\nmode = \"act\"\n").contains("in JupyterLab alone"));
    let none = advice("[cull]\nmode = \"act\"\ntimeout = \"2m\"\n");
    assert!(none.contains("without a warning"), "{none}");
    assert!(advice("[cull]\nmode = \"watch\"\n").is_empty());
}

#[test]
fn an_age_that_the_idle_culler_has_is_found_in_the_hubs_settings() {
    for (text, line) in [
        ("c.x = 1\n  '--max-age=86400',\n", Some(2)),
        ("c.IdleCuller.max_age = 3600\n", Some(1)),
        ("\"--max_age\", str(day)\n", Some(1)),
        ("'--max-age=0'\n", None),
        ("# '--max-age=86400'\n", None),
        ("c.JupyterHub.cookie_max_age_days = 14\n", None),
        ("c.HubAuth.cache_max_age = 60\n", None),
        ("'--timeout=3600'\n", None),
    ] {
        assert_eq!(max_age_line(text), line, "{text}");
    }
    let hub = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(hub.path(), "c.IdleCuller.max_age = 3600\n").unwrap();
    let file = format!("[cull]\nhub_config = {:?}\n", hub.path());
    let advice = load(&file).unwrap().advice;
    assert!(advice[0].contains(":1: the idle culler"), "{advice:?}");
    let none = load("[cull]\nhub_config = \"/no/such/file\"\n").unwrap();
    assert!(
        none.advice[0].contains("cannot read /no/such/file"),
        "it starts all the same"
    );
}

#[test]
fn days_may_go_over_the_end_of_the_week() {
    let days = |text: &str| Days::read(&Raw::Text(text.to_owned())).map(|Days(days)| days);
    assert_eq!(
        days("fri-mon"),
        Ok([true, false, false, false, true, true, true])
    );
    assert_eq!(days("Daily"), Ok([true; 7]));
    for bad in ["", "mon-", "monday", "1", "mon..fri"] {
        assert!(days(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn flags_and_variables_reach_it_like_any_setting() {
    let variable = ("HUBMETER_COLLECTOR_CULL_MODE".to_owned(), "act".to_owned());
    let flags = Flags {
        standalone: true,
        ..Flags::default()
    };
    let config = Config::load(&flags, [variable]).unwrap();
    assert_eq!(config.cull.policy.mode, Mode::Act);
}

#[test]
fn kernels_are_shut_down_only_where_that_is_said_in_so_many_words() {
    let read = |word: &str| load(&format!("[cull]\nidle_kernels = {word}\n"));
    let policy = read("\"shut_down\"").unwrap().policy;
    assert_eq!(policy.idle_kernels, IdleKernels::ShutDown);
    for word in ["true", "\"off\"", "\"shutdown\""] {
        let told = read(word).unwrap_err();
        let expected = "FILE:2: cull.idle_kernels: expected \"offer\" or \"shut_down\"";
        assert!(told.contains(expected), "{word}: {told}");
    }
}

#[test]
fn kernels_that_policy_would_shut_down_where_it_only_watches_are_told_of() {
    let advice = |mode: &str| {
        let file = format!("[cull]\nmode = \"{mode}\"\nidle_kernels = \"shut_down\"\n");
        load(&file).unwrap().advice.join("\n")
    };
    assert!(advice("watch").contains("idle_kernels"));
    assert!(!advice("act").contains("idle_kernels"));
}
