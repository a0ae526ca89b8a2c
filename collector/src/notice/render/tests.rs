use super::*;
use crate::{
    fact::ServerKey,
    verdict::{Evidence, Rule, Severity, WorkloadName},
};

fn verdict(rule: Rule, evidence: Vec<(&'static str, Evidence)>) -> Verdict {
    Verdict {
        rule,
        episode: "e1".into(),
        key: ServerKey::new("alice", ""),
        workload: Some(WorkloadName {
            id: Label::clean("k", 128),
            title: Label::clean("train.ipynb", 128),
        }),
        severity: Severity::Critical,
        since_ms: 1_574_000_000_000,
        updated_ms: 1_574_000_000_000,
        cleared_ms: None,
        evidence,
        clears_when: "growth stops".into(),
    }
}

fn memory(used: i64, enforced: bool) -> Vec<(&'static str, Evidence)> {
    vec![
        ("memory_used_bytes", Evidence::Integer(used)),
        ("memory_limit_bytes", Evidence::Integer(2_000_000_000)),
        ("memory_limit_enforced", Evidence::Flag(enforced)),
        ("memory_limit_shared", Evidence::Flag(false)),
    ]
}

fn runaway(used: i64, enforced: bool) -> Verdict {
    let mut evidence = vec![
        ("trend_bytes_per_second", Evidence::Number(52.4e6)),
        ("seconds_to_limit", Evidence::Number(18.3)),
        ("workload_share", Evidence::Number(0.97)),
    ];
    evidence.extend(memory(used, enforced));
    verdict(Rule::RunawayMemory, evidence)
}

fn for_admin(verdict: &Verdict) -> String {
    let renderer = Renderer::new(&NoticeConfig::default()).unwrap();
    let notice = renderer.notice(verdict, Phase::Opened, Reader::Admin, None);
    notice.unwrap().text
}

#[test]
fn a_runaway_is_said_in_one_sentence_with_its_cause() {
    assert_eq!(
        for_admin(&runaway(1_100_000_000, true)),
        "alice's default server grows 50 MiB/s and reaches its 1.9 GiB limit in about 18 s; \
         the cause is train.ipynb (97 % of the growth)."
    );
    let mut with_memory = runaway(1_100_000_000, true);
    let bytes = Evidence::Integer(1_400_000_000);
    with_memory
        .evidence
        .push(("workload_memory_used_bytes", bytes));
    assert!(for_admin(&with_memory).ends_with("the cause is train.ipynb (1.3 GiB)."));
}

#[test]
fn a_limit_that_kills_nobody_is_what_was_given() {
    let said = for_admin(&runaway(1_100_000_000, false));
    assert!(
        said.contains("will be over the 1.9 GiB it was given in about 18 s"),
        "{said}"
    );
    let said = for_admin(&runaway(2_100_000_000, false));
    assert!(
        said.contains("is over the 1.9 GiB it was given; the cause"),
        "{said}"
    );
    let mut shared = memory(300_000_000, true);
    shared.pop();
    shared.extend([
        ("memory_limit_shared", Evidence::Flag(true)),
        ("memory_limit_used_bytes", Evidence::Integer(1_900_000_000)),
    ]);
    assert_eq!(
        for_admin(&verdict(Rule::NearLimit, shared)),
        "alice's default server is beside others in 1.8 GiB of a shared 1.9 GiB limit (95 %)."
    );
    let near = |used, enforced| for_admin(&verdict(Rule::NearLimit, memory(used, enforced)));
    assert_eq!(
        near(1_900_000_000, false),
        "alice's default server uses 1.8 GiB of the 1.9 GiB it was given (95 %)."
    );
    assert_eq!(
        near(2_300_000_000, false),
        "alice's default server uses 2.1 GiB, over the 1.9 GiB it was given."
    );
    assert_eq!(
        near(1_900_000_000, true),
        "alice's default server uses 1.8 GiB of its 1.9 GiB limit (95 %); \
         at the limit the system ends a process."
    );
}

#[test]
fn a_kill_names_its_victim_or_says_that_it_is_inferred() {
    let mut evidence = memory(1_990_000_000, true);
    evidence.push((
        "workload_memory_used_bytes",
        Evidence::Integer(1_700_000_000),
    ));
    assert_eq!(
        for_admin(&verdict(Rule::Killed, evidence)),
        "train.ipynb on alice's default server ran out of memory and was killed at 1.6 GiB; \
         the server's limit is 1.9 GiB."
    );
    let mut evidence = memory(1_990_000_000, true);
    evidence.push((
        "cause",
        Evidence::Word(Label::clean("killed_near_limit", 64)),
    ));
    assert_eq!(
        for_admin(&verdict(Rule::Killed, evidence)),
        "train.ipynb on alice's default server was killed near its memory limit; \
         the server used 1.9 GiB of 1.9 GiB. Who sent the signal is not known."
    );
    let mut evidence = memory(1_990_000_000, true);
    evidence.push(("inferred", Evidence::Flag(true)));
    let said = for_admin(&verdict(Rule::Killed, evidence));
    assert!(said.contains("most likely"), "{said}");
}

#[test]
fn what_takes_the_processor_or_multiplies_or_idles_is_said_in_a_sentence() {
    let time = |at: &str| Evidence::Word(Label::clean(at, 64));
    let since = ("cpu_since", time("2026-01-01T08:30:00.000Z"));
    let mut spin = vec![("cpu_cores", Evidence::Number(0.98)), since];
    assert_eq!(
        for_admin(&verdict(Rule::RunawayCpu, spin.clone())),
        "train.ipynb on alice's default server uses 0.98 cores since 2026-01-01 08:30 UTC \
         and runs no cell."
    );
    spin.push(("habit_cores", Evidence::Number(0.05)));
    let said = for_admin(&verdict(Rule::RunawayCpu, spin));
    assert!(
        said.ends_with("; usually it uses 0.05 cores at most."),
        "{said}"
    );
    let storm = vec![
        ("processes", Evidence::Integer(412)),
        ("processes_before", Evidence::Integer(8)),
    ];
    assert_eq!(
        for_admin(&verdict(Rule::ProcessStorm, storm)),
        "alice's default server has 412 processes, 8 a minute before; most are of train.ipynb."
    );
    let mut hog = memory(3_000_000_000, false);
    hog.push(("idle_since", time("2026-01-01T08:30:00.000Z")));
    hog.push((
        "workload_memory_used_bytes",
        Evidence::Integer(1_500_000_000),
    ));
    assert_eq!(
        for_admin(&verdict(Rule::IdleHog, hog)),
        "train.ipynb on alice's default server does nothing since 2026-01-01 08:30 UTC and \
         holds 1.4 GiB of the 1.9 GiB the server was given."
    );
    let mine = Renderer::new(&NoticeConfig::default()).unwrap();
    let mine = mine.for_user(&verdict(Rule::IdleHog, Vec::new())).unwrap();
    let offer = "Shutting it down gives that back, and your server goes on.";
    assert!(mine.ends_with(offer), "{mine}");
}

#[test]
fn shares_of_a_machine_and_of_a_disk_are_said_in_a_sentence() {
    let quotas = vec![
        ("cpu_mean_cores", Evidence::Number(12.4)),
        ("cpu_from_cores", Evidence::Number(1.8)),
        ("quota_cores", Evidence::Number(4.0)),
        ("memory_used_bytes", Evidence::Integer(1_000_000)),
        ("memory_mean_bytes", Evidence::Integer(3_000_000_000)),
        ("memory_from_bytes", Evidence::Integer(1_000_000_000)),
        ("quota_bytes", Evidence::Integer(2_000_000_000)),
    ];
    let mut memory_alone = quotas.clone();
    memory_alone.retain(|(name, _)| !name.contains("cpu"));
    assert_eq!(
        for_admin(&verdict(Rule::Overuse, quotas)),
        "alice's default server has used too much of the machine for too long: 12 cores, where \
         1.80 cores may be used for long; 2.8 GiB of memory, where 954 MiB may be; most by \
         train.ipynb."
    );
    assert_eq!(
        for_admin(&verdict(Rule::Overuse, memory_alone)),
        "alice's default server has used too much of the machine for too long: 2.8 GiB of \
         memory, where 954 MiB may be used for long; most by train.ipynb."
    );
    let disk = |quota| {
        let mut verdict = verdict(
            Rule::DiskNearLimit,
            vec![
                ("disk_used_bytes", Evidence::Integer(9_800_000_000)),
                ("disk_limit_bytes", Evidence::Integer(10_000_000_000)),
                ("disk_used_share", Evidence::Number(0.98)),
                ("disk_quota", Evidence::Flag(quota)),
            ],
        );
        verdict.workload = None;
        for_admin(&verdict)
    };
    assert_eq!(
        disk(true),
        "The home of alice's default server holds 9.1 GiB of its 9.3 GiB quota (98 %); when it \
         is full nothing can be saved."
    );
    assert!(
        disk(false).contains("with what others keep there"),
        "{}",
        disk(false)
    );
}

#[test]
fn the_user_is_spoken_to_as_the_user() {
    let renderer = Renderer::new(&NoticeConfig::default()).unwrap();
    let mut verdict = runaway(1_100_000_000, true);
    let said = renderer.for_user(&verdict).unwrap();
    assert!(said.starts_with("Your server grows 50 MiB/s"), "{said}");
    verdict.key = ServerKey::new("alice", "gpu");
    let said = renderer.for_user(&verdict).unwrap();
    assert!(said.starts_with("Your server gpu grows"), "{said}");
    verdict.cleared_ms = Some(verdict.since_ms + 240_000);
    assert_eq!(
        renderer.for_user(&verdict).unwrap(),
        "Over after 4 min: runaway memory, your server gpu."
    );
}

#[test]
fn every_rule_has_a_sentence_even_without_evidence() {
    for rule in Rule::ALL {
        let mut bare = verdict(rule, vec![]);
        bare.workload = None;
        let said = for_admin(&bare);
        assert!(said.contains("alice"), "{rule:?}: {said}");
        assert!(said.ends_with('.'), "{rule:?}: {said}");
        for broken in ["none", "undefined", "  ", " ."] {
            assert!(!said.contains(broken), "{rule:?}: {said}");
        }
    }
}

#[test]
fn links_come_from_the_settings_only() {
    let url = "https://hub.example.org/services/hubmeter/";
    let renderer = Renderer::new(&NoticeConfig {
        public_url: Some(url.into()),
        ..NoticeConfig::default()
    });
    let renderer = renderer.unwrap();
    let mut verdict = runaway(1_100_000_000, true);
    verdict.key = ServerKey::new("https://evil.example/", "<a href=x>");
    let notice = renderer.notice(&verdict, Phase::Opened, Reader::Admin, None);
    let notice = notice.unwrap();
    assert_eq!(notice.body_html.matches("href=\"").count(), 1);
    assert!(notice.body_html.contains(&format!("<a href=\"{url}\">")));
}

// === templates of an admin's ===

fn renderer_with(files: &[(&str, &str)]) -> (tempfile::TempDir, Result<Renderer, RenderError>) {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    let renderer = Renderer::new(&NoticeConfig {
        template_dir: Some(dir.path().to_owned()),
        ..NoticeConfig::default()
    });
    (dir, renderer)
}

#[test]
fn an_admins_template_goes_before_ours_and_cannot_switch_escaping_off() {
    let html = "<p>{{ user | safe }}</p>{% autoescape false %}{{ user }}{% endautoescape %}";
    let (_dir, renderer) = renderer_with(&[
        ("mail.html", html),
        ("subject.txt", "[hub]\n {{ rule_words }}\nBcc: x@y\n"),
    ]);
    let mut verdict = runaway(1_100_000_000, true);
    verdict.key = ServerKey::new("<b>", "");
    let notice = renderer
        .unwrap()
        .notice(&verdict, Phase::Opened, Reader::Admin, None)
        .unwrap();
    assert!(
        notice.body_html.starts_with("<p>&lt;b&gt;</p>"),
        "{}",
        notice.body_html
    );
    assert_eq!(notice.subject, "[hub] runaway memory Bcc: x@y");
    assert!(
        notice.body_text.starts_with("<b>'s default server"),
        "ours still"
    );
}

#[test]
fn a_template_that_fails_or_never_ends_gives_way_to_ours() {
    let endless = "{% for a in range(9000) %}{% for b in range(9000) %}x{% endfor %}{% endfor %}";
    let (_dir, renderer) = renderer_with(&[
        ("mail.txt", "{{ 1 / nothing.at.all }}"),
        ("mail.html", endless),
    ]);
    let letter = renderer
        .unwrap()
        .letter(&runaway(1, true), Phase::Opened, Reader::User, None, None)
        .unwrap();
    assert!(
        letter.text.starts_with("Your server grows"),
        "{}",
        letter.text
    );
    assert!(letter.html.contains("Your server grows"), "{}", letter.html);
}

#[test]
fn what_is_wrong_with_a_template_is_told_with_its_file_before_a_mail_is_to_go_out() {
    for (name, text, said) in [
        ("mail.html", "{% if %}", "mail.html: syntax error"),
        (
            "mail.htm",
            "x",
            "mail.htm: there is no template of that name",
        ),
    ] {
        let (_dir, renderer) = renderer_with(&[(name, text)]);
        let error = renderer.map(drop).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("digest.txt"), "{{ notices | nothing }}").unwrap();
    let error = crate::notice::rehearse(dir.path()).unwrap_err();
    let error = crate::causes::chain(&error);
    assert!(error.contains("unknown filter"), "{error}");
    std::fs::write(dir.path().join("digest.txt"), "{{ notices | length }}").unwrap();
    crate::notice::rehearse(dir.path()).unwrap();
}

#[test]
fn a_mail_to_a_user_speaks_to_them_and_shows_what_runs_and_what_to_do() {
    let renderer = Renderer::new(&NoticeConfig {
        runbooks: Runbooks {
            default: Some("https://wiki.example.org/{rule}".into()),
            rules: Vec::new(),
        },
        ..NoticeConfig::default()
    });
    let scene = Scene {
        from_ms: 0,
        to_ms: 2,
        memory: vec![(0, 1.0), (1, 2.0)],
        workloads: vec![("<i>.ipynb".into(), 1 << 30)],
        ..Scene::default()
    };
    let letter = renderer
        .unwrap()
        .letter(
            &runaway(1_100_000_000, true),
            Phase::Opened,
            Reader::User,
            None,
            Some(&scene),
        )
        .unwrap();
    assert_eq!(letter.subject, "hubmeter: runaway memory, your server");
    assert!(
        letter.text.contains("1.0 GiB  <i>.ipynb"),
        "{}",
        letter.text
    );
    assert!(letter.html.contains("&lt;i&gt;.ipynb"), "{}", letter.html);
    let runbook = "https://wiki.example.org/runaway_memory";
    assert!(letter.html.contains(&format!("<a href=\"{runbook}\">")));
    assert!(letter.html.contains("<img src=\"cid:picture@hubmeter\""));
    assert!(letter.picture.unwrap().starts_with(b"\x89PNG"));
    assert!(!letter.text.contains("alice"), "{}", letter.text);
}
