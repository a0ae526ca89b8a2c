//! The sentence of a notice, out of what its verdict rests on.

use std::{collections::BTreeMap, fmt::Write};

use minijinja::{Environment, Value};

use crate::{
    notice::{Phase, unit},
    text::Label,
    verdict::{Evidence, Verdict},
};

/// Bytes of a name in a notice.
const NAME_BYTES_MAX: usize = 128;

/// Whom a sentence speaks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reader {
    /// Whoever looks after the hub.
    Admin,
    /// Whose server it is.
    User,
}

/// One sentence, on one line whatever a template's author wrote.
pub(super) fn sentence(
    templates: &Environment<'static>,
    verdict: &Verdict,
    phase: Phase,
    reader: Reader,
) -> Result<String, minijinja::Error> {
    let words = words_of(verdict, phase, reader);
    let printed = templates.get_template("sentence.txt")?.render(words)?;
    Ok(printed.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn words_of(verdict: &Verdict, phase: Phase, reader: Reader) -> BTreeMap<&'static str, Value> {
    let find = |name: &str| {
        let item = verdict.evidence.iter().find(|(known, _)| *known == name);
        item.map(|(_, value)| value)
    };
    let number = |name: &str| find(name).and_then(unit::number);
    let flag = |name: &str| matches!(find(name), Some(Evidence::Flag(true)));
    let moment = |name: &str| match find(name) {
        Some(Evidence::Word(word)) => word.as_str().parse::<jiff::Timestamp>().ok(),
        _ => None,
    };
    let at = |name: &str| moment(name).map(|at| unit::time(at.as_millisecond()));
    // Of a shared limit all use is used up, whoever's it is.
    let all = number("memory_limit_used_bytes").filter(|_| flag("memory_limit_shared"));
    let used = all.or_else(|| number("memory_used_bytes"));
    let limit = number("memory_limit_bytes");
    let share = used.zip(limit).map(|(used, limit)| used / limit);
    let trend = number("trend_bytes_per_second").filter(|trend| *trend > 0.0);
    let lasted = verdict
        .cleared_ms
        .map(|cleared_ms| unit::seconds((cleared_ms - verdict.since_ms) as f64 / 1000.0));
    let mut words = BTreeMap::from([
        ("phase", Value::from(phase.as_str())),
        ("rule", Value::from(verdict.rule.as_str())),
        ("rule_words", Value::from(rule_words(verdict.rule.as_str()))),
        ("whose", Value::from(whose(verdict, reader))),
        ("mine", Value::from(reader == Reader::User)),
        ("enforced", Value::from(flag("memory_limit_enforced"))),
        ("shared", Value::from(flag("memory_limit_shared"))),
        ("inferred", Value::from(flag("inferred"))),
        ("near_limit", Value::from(killed_near_limit(verdict))),
        ("over", Value::from(share.is_some_and(|share| share > 1.0))),
    ]);
    let workload = verdict.workload.as_ref();
    let optional = [
        ("lasted", lasted),
        ("used", used.map(unit::bytes)),
        ("limit", limit.map(unit::bytes)),
        ("share", share.map(unit::share)),
        (
            "trend",
            trend.map(|trend| format!("{}/s", unit::bytes(trend))),
        ),
        ("left", number("seconds_to_limit").map(unit::seconds)),
        (
            "workload",
            workload.map(|workload| name(workload.title.as_str())),
        ),
        (
            "workload_memory",
            number("workload_memory_used_bytes").map(unit::bytes),
        ),
        ("workload_share", number("workload_share").map(unit::share)),
        ("idle_since", at("idle_since")),
        ("last_seen", at("last_seen")),
    ];
    let others = words_of_counts(&number);
    let since = at("cpu_since").or_else(|| at("job_ends"));
    for (name, value) in optional.into_iter().chain(others).chain([("at", since)]) {
        words.insert(name, value.map_or(Value::from(()), Value::from));
    }
    words.insert("disk_quota", Value::from(flag("disk_quota")));
    words
}

/// What rules beside memory count.
fn words_of_counts(number: &dyn Fn(&str) -> Option<f64>) -> Vec<(&'static str, Option<String>)> {
    let cores = |name: &str| number(name).map(unit::cores);
    let whole = |name: &str| number(name).map(|n| format!("{n:.0}"));
    let either = |a: &str, b: &str| whole(a).or_else(|| whole(b));
    let bytes = |name: &str| number(name).map(unit::bytes);
    vec![
        (
            "cores",
            cores("cpu_cores").or_else(|| cores("cpu_mean_cores")),
        ),
        ("usual_cores", cores("habit_cores")),
        ("quota_cores", cores("quota_cores")),
        ("quota", bytes("quota_bytes")),
        ("cores_from", cores("cpu_from_cores")),
        ("memory_mean", bytes("memory_mean_bytes")),
        ("memory_from", bytes("memory_from_bytes")),
        ("count", either("processes", "threads")),
        ("count_before", either("processes_before", "threads_before")),
        ("disk_used", bytes("disk_used_bytes")),
        ("disk_limit", bytes("disk_limit_bytes")),
        ("disk_share", number("disk_used_share").map(unit::share)),
    ]
}

fn killed_near_limit(verdict: &Verdict) -> bool {
    verdict.evidence.iter().any(|(name, value)| {
        matches!(value, Evidence::Word(word) if *name == "cause" && word.as_str() == "killed_near_limit")
    })
}

/// `alice's default server`, `alice's server gpu`; to its user `your server`.
pub(super) fn whose(verdict: &Verdict, reader: Reader) -> String {
    let server = name(&verdict.key.server);
    let mut whose = match reader {
        Reader::User => "your ".to_owned(),
        Reader::Admin => format!("{}'s ", name(&verdict.key.user)),
    };
    let _ = match (server.is_empty(), reader) {
        (true, Reader::User) => write!(whose, "server"),
        (true, Reader::Admin) => write!(whose, "default server"),
        (false, _) => write!(whose, "server {server}"),
    };
    whose
}

pub(super) fn name(raw: &str) -> String {
    Label::clean(raw, NAME_BYTES_MAX).as_str().to_owned()
}

pub(super) fn rule_words(rule: &str) -> String {
    rule.replace('_', " ")
}

/// Only our own words begin a sentence in lower case; a user's name stays as it is.
pub(super) fn capitalised(text: &str) -> String {
    match text.strip_prefix("your ") {
        Some(rest) => format!("Your {rest}"),
        None => text.to_owned(),
    }
}
