//! The keys below `cull`: who is stopped when. `cull.group.NAME` for a hub's group,
//! `[[cull.schedule]]` for nights and weekends.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::tz::TimeZone;

use super::draft::{Draft, Place, Raw, Setting};
use crate::{
    cull::{
        CullPolicy, Mode,
        policy::{Exempt, GroupTerms, IdleKernels, ServerPattern, WARNINGS_MAX},
        schedule::{DAY_MINUTES, Schedule},
    },
    limits,
    state::Policy,
    text::Label,
};

/// What a group's keys start with.
const GROUP: &str = "cull.group.";

/// What a group may have of its own.
const GROUP_KEYS: [&str; 4] = ["timeout", "max_age", "hold_total_max", "hold_max"];

/// Groups with something of their own.
const GROUPS_MAX: usize = 256;

/// What a schedule's keys start with, before its number.
const SCHEDULE: &str = "cull.schedule.";

/// Schedules: nights and weekends for some groups apart.
const SCHEDULES_MAX: usize = 16;

/// Users, groups and servers that are exempt.
const EXEMPT_MAX: usize = 10_000;

/// Bytes of the hub's settings that are looked at.
const HUB_CONFIG_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// What stops servers, and what there is to say about it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CullConfig {
    /// Who is stopped when.
    pub policy: CullPolicy,
    /// What is allowed and probably not meant, one sentence each.
    pub advice: Vec<String>,
}

/// Days of the week, Monday first.
struct Days([bool; 7]);

/// Minutes after midnight.
struct TimeOfDay(u16);

struct Zone(TimeZone);

pub(super) fn cull(draft: &mut Draft, judging: &Policy, by_mail: bool) -> CullConfig {
    let default = CullPolicy::default();
    let mode = draft.take("cull.mode").unwrap_or_default();
    let timeout_ms = some_time(draft, "cull.timeout");
    let max_age_ms = age(draft, "cull.max_age").flatten();
    let hold_max_ms = hold_max(draft, "cull.hold_max").unwrap_or(default.hold_max_ms);
    let hold_total_max_ms =
        hold_max(draft, "cull.hold_total_max").unwrap_or(default.hold_total_max_ms);
    let idle_kernels = draft.take("cull.idle_kernels").unwrap_or_default();
    let warn = draft.take_placed::<Vec<Duration>>("cull.warn");
    let zone = draft
        .take("cull.zone")
        .map_or(TimeZone::UTC, |Zone(zone)| zone);
    let groups = groups(draft);
    let schedules = schedules(draft, &zone);
    let exempt = exempt(draft);
    let hub_config: Option<PathBuf> = draft.take("cull.hub_config");
    let mut policy = CullPolicy {
        mode,
        timeout_ms,
        max_age_ms,
        hold_max_ms,
        hold_total_max_ms,
        idle_kernels,
        groups,
        schedules,
        exempt,
        warns_by_mail: by_mail,
        ..default
    };
    let shortest_ms = shortest_ms(&policy, judging);
    if let Some((warn, place)) = warn {
        policy.warn_ms = warn.into_iter().map(millis).collect();
        if let Some(wrong) = wrong_warnings(&policy.warn_ms, shortest_ms) {
            draft.mistake(place, format!("cull.warn: {wrong}"));
        }
    } else {
        // The defaults fit what most set; who sets less is warned later.
        policy.warn_ms.retain(|warn_ms| *warn_ms < shortest_ms);
    }
    let mut advice = advice(&policy);
    advice.extend(hub_config.and_then(|path| hub_advice(&path)));
    CullConfig { policy, advice }
}

fn groups(draft: &mut Draft) -> BTreeMap<Label, GroupTerms> {
    let mut names: BTreeMap<String, Place> = BTreeMap::new();
    for (key, place) in draft.keys_below(GROUP) {
        let rest = key.trim_start_matches(GROUP);
        let name = GROUP_KEYS.iter().find_map(|known| {
            let name = rest.strip_suffix(known)?.strip_suffix('.')?;
            (!name.is_empty()).then_some(name)
        });
        // What is no key of a group stays in the draft, and is told as unknown.
        if let Some(name) = name {
            names.entry(name.to_owned()).or_insert(place);
        }
    }
    if let Some(place) = names.values().nth(GROUPS_MAX) {
        let what = format!("cull.group: no more than {GROUPS_MAX} groups");
        draft.mistake(place.clone(), what);
    }
    let read = |name: String| {
        let key = |of: &str| format!("{GROUP}{name}.{of}");
        let terms = GroupTerms {
            timeout_ms: some_time(draft, &key("timeout")),
            max_age_ms: age(draft, &key("max_age")),
            hold_max_ms: hold_max(draft, &key("hold_max")),
            hold_total_max_ms: hold_max(draft, &key("hold_total_max")),
        };
        (Label::clean(&name, limits::HUB_NAME_BYTES_MAX), terms)
    };
    names.into_keys().map(read).collect()
}

fn schedules(draft: &mut Draft, zone: &TimeZone) -> Vec<Schedule> {
    let mut numbers: BTreeMap<usize, Place> = BTreeMap::new();
    for (key, place) in draft.keys_below(SCHEDULE) {
        let number = key[SCHEDULE.len()..].split('.').next();
        if let Some(number) = number.and_then(|number| number.parse().ok()) {
            numbers.entry(number).or_insert(place);
        }
    }
    if let Some(place) = numbers.values().nth(SCHEDULES_MAX) {
        let what = format!("cull.schedule: no more than {SCHEDULES_MAX} schedules");
        draft.mistake(place.clone(), what);
    }
    let mut schedules = Vec::new();
    for (number, place) in numbers {
        let key = |of: &str| format!("{SCHEDULE}{number}.{of}");
        let days = draft
            .take(&key("days"))
            .map_or([true; 7], |Days(days)| days);
        let from = draft.take(&key("from")).map_or(0, |TimeOfDay(at)| at);
        let to = draft
            .take(&key("to"))
            .map_or(DAY_MINUTES, |TimeOfDay(at)| at);
        let own = draft.take(&key("zone")).map(|Zone(zone)| zone);
        let groups: Option<Vec<String>> = draft.take(&key("groups"));
        let was = draft.mistakes();
        match some_time(draft, &key("timeout")) {
            Some(timeout_ms) => schedules.push(Schedule {
                days,
                from_minutes: from % DAY_MINUTES,
                to_minutes: to,
                zone: own.unwrap_or_else(|| zone.clone()),
                timeout_ms,
                groups: labels(groups.unwrap_or_default()),
            }),
            None if draft.mistakes() == was => {
                let what = format!("{}: a schedule needs a timeout", key("timeout"));
                draft.mistake(place, what);
            }
            None => {}
        }
    }
    schedules
}

fn exempt(draft: &mut Draft) -> Exempt {
    let mut take = |key: &str| -> Vec<String> {
        let Some((names, place)) = draft.take_placed::<Vec<String>>(key) else {
            return Vec::new();
        };
        if names.len() > EXEMPT_MAX {
            draft.mistake(
                place,
                format!("{key}: no more than {EXEMPT_MAX}; use a group"),
            );
        }
        names
    };
    Exempt {
        users: take("cull.exempt.users").into_iter().collect(),
        groups: labels(take("cull.exempt.groups")),
        servers: draft.take("cull.exempt.servers").unwrap_or_default(),
    }
}

fn labels(names: Vec<String>) -> BTreeSet<Label> {
    let label = |name: String| Label::clean(&name, limits::HUB_NAME_BYTES_MAX);
    names.into_iter().map(label).collect()
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

/// A time that is not nothing: who is to be spared is exempt.
fn some_time(draft: &mut Draft, key: &str) -> Option<i64> {
    let (time, place) = draft.take_placed::<Duration>(key)?;
    if time.is_zero() {
        let what = format!("{key}: expected more than no time; cull.exempt spares whom you name");
        draft.mistake(place, what);
        return None;
    }
    Some(millis(time))
}

/// An age; 0 is never.
fn age(draft: &mut Draft, key: &str) -> Option<Option<i64>> {
    let age: Duration = draft.take(key)?;
    Some((!age.is_zero()).then(|| millis(age)))
}

fn hold_max(draft: &mut Draft, key: &str) -> Option<i64> {
    let (time, place) = draft.take_placed::<Duration>(key)?;
    let ms = millis(time);
    if ms > limits::HOLD_MS_MAX {
        draft.mistake(
            place,
            format!("{key}: at most 31d; cull.exempt spares whom you name"),
        );
        return None;
    }
    Some(ms)
}

/// The shortest time without work after which policy stops anybody.
fn shortest_ms(policy: &CullPolicy, judging: &Policy) -> i64 {
    let own = policy.groups.values().filter_map(|group| group.timeout_ms);
    let scheduled = policy.schedules.iter().map(|schedule| schedule.timeout_ms);
    let base_ms = policy.timeout_ms.unwrap_or(judging.idle_after_ms);
    own.chain(scheduled).fold(base_ms, i64::min)
}

fn wrong_warnings(warn_ms: &[i64], shortest_ms: i64) -> Option<String> {
    if warn_ms.len() > WARNINGS_MAX {
        return Some(format!("at most {WARNINGS_MAX} warnings"));
    }
    if !warn_ms.is_sorted_by(|a, b| a > b) || warn_ms.last() == Some(&0) {
        return Some("the earliest first, and each before the end: [\"15m\", \"5m\"]".to_owned());
    }
    let first_ms = warn_ms.first().copied().unwrap_or(0);
    (first_ms >= shortest_ms && first_ms > 0).then(|| {
        let seconds = shortest_ms / 1000;
        format!("a warning must be shorter than the shortest timeout, {seconds} s")
    })
}

// === advice ===

impl CullConfig {
    /// Says on standard error what is probably not meant.
    #[allow(clippy::print_stderr)] // whoever checks settings reads it there
    pub fn advise(&self) {
        for advice in &self.advice {
            eprintln!("note: {advice}");
        }
    }
}

fn advice(policy: &CullPolicy) -> Vec<String> {
    let mut advice = Vec::new();
    if policy.mode == Mode::Watch {
        if policy.idle_kernels == IdleKernels::ShutDown {
            let idle = "cull.idle_kernels: no kernel is shut down while cull.mode is \"watch\"";
            advice.push(idle.to_owned());
        }
        return advice;
    }
    if policy.warn_ms.is_empty() {
        let nobody = "cull.warn is empty or no warning is shorter than the shortest timeout: users \
                      are stopped without a warning";
        advice.push(nobody.to_owned());
    } else if !policy.warns_by_mail {
        let tab = "cull: users are warned in JupyterLab alone; where a server has no agent, or no \
                   page of it is open, nobody sees the warning and the server is stopped in time";
        advice.push(tab.to_owned());
    }
    advice
}

/// What the hub's own settings say about stopping servers: a search for words, no more.
fn hub_advice(path: &Path) -> Option<String> {
    let small = std::fs::metadata(path).and_then(|about| {
        if about.len() > HUB_CONFIG_BYTES_MAX {
            return Err(std::io::ErrorKind::FileTooLarge.into());
        }
        std::fs::read_to_string(path)
    });
    match small {
        Ok(text) => {
            let line = max_age_line(&text)?;
            Some(format!(
                "{}:{line}: the idle culler seems to have a max_age of its own: it stops servers of \
                 that age whatever is held, exempt or warned here. Set cull.max_age instead",
                path.display()
            ))
        }
        // The collector starts without it.
        Err(e) => Some(format!(
            "cull.hub_config: cannot read {}: {e}",
            path.display()
        )),
    }
}

/// The first line that sets a `max_age` which is not 0, outside of comments.
fn max_age_line(text: &str) -> Option<usize> {
    let sets = |line: &str| {
        let line = line.split('#').next().unwrap_or_default();
        let at = line.find("max_age").or_else(|| line.find("max-age"))?;
        let cookie = line[..at].contains("cookie") || line[..at].ends_with("cache_");
        let value = line[at + "max_age".len()..].trim_start_matches(|c: char| {
            c.is_whitespace() || matches!(c, '=' | ':' | '"' | '\'' | ',')
        });
        let number: String = value.chars().take_while(char::is_ascii_digit).collect();
        let never = !number.is_empty() && number.bytes().all(|digit| digit == b'0');
        (!cookie && !value.is_empty() && !never).then_some(())
    };
    let at = text.lines().position(|line| sets(line).is_some())?;
    Some(at + 1)
}

// === impl Setting ===

impl Setting for Mode {
    fn read(raw: &Raw) -> Result<Self, String> {
        match raw {
            Raw::Text(text) if text == "watch" => Ok(Self::Watch),
            Raw::Text(text) if text == "act" => Ok(Self::Act),
            _ => Err("expected \"watch\" or \"act\"".to_owned()),
        }
    }
}

impl Setting for IdleKernels {
    fn read(raw: &Raw) -> Result<Self, String> {
        match raw {
            Raw::Text(text) if text == "offer" => Ok(Self::Offer),
            Raw::Text(text) if text == "shut_down" => Ok(Self::ShutDown),
            _ => Err("expected \"offer\" or \"shut_down\"".to_owned()),
        }
    }
}

impl Setting for Days {
    /// `mon-fri`, `sat,sun`, `daily`, or a list of such.
    fn read(raw: &Raw) -> Result<Self, String> {
        const NAMES: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
        let mut days = [false; 7];
        for text in Vec::<String>::read(raw)? {
            let text = text.to_ascii_lowercase();
            let day = |name: &str| NAMES.iter().position(|known| *known == name.trim());
            let bad = || {
                format!(
                    "expected days such as \"sat,sun\", \"mon-fri\" or \"daily\", found {text:?}"
                )
            };
            let (first, last) = match text.split_once('-') {
                _ if text == "daily" => (0, 6),
                Some((first, last)) => (day(first).ok_or_else(bad)?, day(last).ok_or_else(bad)?),
                None => {
                    let only = day(&text).ok_or_else(bad)?;
                    (only, only)
                }
            };
            // fri-mon goes over the end of the week.
            let count = (last + 7 - first) % 7;
            for at in first..=first + count {
                days[at % 7] = true;
            }
        }
        Ok(Self(days))
    }
}

impl Setting for TimeOfDay {
    fn read(raw: &Raw) -> Result<Self, String> {
        let read = |text: &str| {
            let (hour, minute) = text.split_once(':')?;
            let two = |part: &str| {
                let digits = part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
                digits.then(|| part.parse::<u16>().ok()).flatten()
            };
            let (hour, minute) = (two(hour)?, two(minute)?);
            let at = hour * 60 + minute;
            (minute < 60 && at <= DAY_MINUTES).then_some(Self(at))
        };
        match raw {
            Raw::Text(text) => read(text),
            _ => None,
        }
        .ok_or_else(|| format!("expected a time of day such as \"07:30\", found {raw}"))
    }
}

impl Setting for Zone {
    fn read(raw: &Raw) -> Result<Self, String> {
        let text = String::read(raw)?;
        TimeZone::get(&text)
            .map(Self)
            .map_err(|_| format!("expected a time zone such as \"Europe/Zurich\", found {text:?}"))
    }
}

impl Setting for ServerPattern {
    /// `user/server`, `user/` for a default server; `*` for any.
    fn read(raw: &Raw) -> Result<Self, String> {
        let text = String::read(raw)?;
        let Some((user, server)) = text.split_once('/') else {
            return Err(format!(
                "expected \"user/server\", \"user/\" or \"*/server\", found {text:?}"
            ));
        };
        if (user, server) == ("*", "*") || user.is_empty() {
            return Err(format!(
                "expected one user or one server's name, found {text:?}"
            ));
        }
        let part = |part: &str| (part != "*").then(|| part.to_owned());
        Ok(Self {
            user: part(user),
            server: part(server),
        })
    }
}

#[cfg(test)]
mod tests;
