//! The keys below `policy`: how to judge everybody, and `policy.group.NAME` for a hub's group.

use std::{collections::BTreeMap, time::Duration};

use super::draft::{Draft, Place, Raw, Setting};
use crate::{
    limits,
    state::{Overrides, Policy},
    text::Label,
};

/// What a group's keys start with.
const GROUP: &str = "policy.group.";

/// What a group may have of its own.
const GROUP_KEYS: [&str; 13] = [
    "idle_after",
    "busy_without_cpu",
    "runaway_within",
    "runaway_cpu_after",
    "runaway_cpu_cores",
    "process_storm",
    "thread_storm",
    "idle_hog_after",
    "idle_hog_bytes",
    "idle_hog_share",
    "disk_near_limit_share",
    "overuse.cpu_cores",
    "overuse.memory_bytes",
];

/// Groups with something of their own.
const GROUPS_MAX: usize = 256;

/// Below this a storm would be an ordinary server.
const STORM_MIN: u32 = 20;

/// A number with or without a fraction.
struct Number(f64);

/// Bytes, with or without a unit.
struct Size(u64);

/// The keys of everybody (`policy.`) or of one group.
struct Keys<'a> {
    draft: &'a mut Draft,
    prefix: String,
}

pub(super) fn policy(draft: &mut Draft) -> Policy {
    let default = Policy::default();
    let groups = groups(draft);
    let names_kept_ms = super::read::millis(draft, "privacy.names_kept", default.names_kept_ms);
    let mut keys = Keys {
        draft,
        prefix: "policy.".to_owned(),
    };
    let set = keys.overrides();
    let base = Policy {
        gone_kept_ms: keys.millis("gone_kept").unwrap_or(default.gone_kept_ms),
        servers_max: limits::SERVERS_MAX,
        names_kept_ms,
        overuse_cpu_share: keys
            .share("overuse.cpu_share")
            .unwrap_or(default.overuse_cpu_share),
        overuse_memory_share: keys
            .share("overuse.memory_share")
            .unwrap_or(default.overuse_memory_share),
        overuse_rise_ms: keys
            .some_time("overuse.rise")
            .unwrap_or(default.overuse_rise_ms),
        overuse_fall_ms: keys
            .some_time("overuse.fall")
            .unwrap_or(default.overuse_fall_ms),
        ..default
    };
    let all = Label::clean("*", 1);
    let everybody = Policy {
        groups: BTreeMap::from([(all.clone(), set)]),
        ..base
    };
    Policy {
        groups,
        ..everybody.of_groups(&[all])
    }
}

/// What is set for groups, by their names as the hub's list has them.
fn groups(draft: &mut Draft) -> BTreeMap<Label, Overrides> {
    let mut names: Vec<(String, Place)> = Vec::new();
    for (key, place) in draft.keys_below(GROUP) {
        let rest = key.trim_start_matches(GROUP);
        let name = GROUP_KEYS.iter().find_map(|known| {
            let name = rest.strip_suffix(known)?.strip_suffix('.')?;
            (!name.is_empty()).then_some(name)
        });
        // What is no key of a group stays in the draft, and is told as unknown.
        if let Some(name) = name
            && !names.iter().any(|(known, _)| known == name)
        {
            names.push((name.to_owned(), place));
        }
    }
    if let Some((_, place)) = names.get(GROUPS_MAX) {
        let what = format!("policy.group: no more than {GROUPS_MAX} groups");
        draft.mistake(place.clone(), what);
    }
    let read = |(name, _): (String, Place)| {
        let mut keys = Keys {
            prefix: format!("{GROUP}{name}."),
            draft,
        };
        let group = Label::clean(&name, limits::HUB_NAME_BYTES_MAX);
        (group, keys.overrides())
    };
    names.into_iter().map(read).collect()
}

// === impl Keys ===

impl Keys<'_> {
    fn overrides(&mut self) -> Overrides {
        Overrides {
            idle_after_ms: self.millis("idle_after"),
            busy_without_cpu_ms: self.some_time("busy_without_cpu"),
            runaway_within_ms: self.millis("runaway_within"),
            runaway_cpu_after_ms: self.some_time("runaway_cpu_after"),
            runaway_cpu_cores: self.checked("runaway_cpu_cores", |Number(cores)| {
                (cores > 0.0).then_some(cores).ok_or("more than 0 cores")
            }),
            process_storm: self.storm("process_storm"),
            thread_storm: self.storm("thread_storm"),
            idle_hog_after_ms: self.some_time("idle_hog_after"),
            idle_hog_bytes: self.checked("idle_hog_bytes", |Size(bytes)| Ok(bytes)),
            idle_hog_share: self.share("idle_hog_share"),
            disk_near_limit_share: self.share("disk_near_limit_share"),
            // None to count is more than any use.
            overuse_cpu_cores: self.checked("overuse.cpu_cores", |Number(cores)| {
                let quota = if cores == 0.0 { f64::INFINITY } else { cores };
                (cores >= 0.0).then_some(quota).ok_or("0 or more cores")
            }),
            overuse_memory_bytes: self.checked("overuse.memory_bytes", |Size(bytes)| {
                Ok(if bytes == 0 { u64::MAX } else { bytes })
            }),
        }
    }

    /// The value of `name`, if somebody set it and `check` has nothing against it.
    fn checked<T: Setting, U>(
        &mut self,
        name: &str,
        check: impl Fn(T) -> Result<U, &'static str>,
    ) -> Option<U> {
        let key = format!("{}{name}", self.prefix);
        let (value, place) = self.draft.take_placed(&key)?;
        match check(value) {
            Ok(value) => Some(value),
            Err(expected) => {
                let what = format!("{key}: expected {expected}");
                self.draft.mistake(place, what);
                None
            }
        }
    }

    fn millis(&mut self, name: &str) -> Option<i64> {
        self.checked(name, |time: Duration| {
            Ok(i64::try_from(time.as_millis()).unwrap_or(i64::MAX))
        })
    }

    /// A time that is not nothing.
    fn some_time(&mut self, name: &str) -> Option<i64> {
        self.checked(name, |time: Duration| {
            let ms = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
            (ms > 0).then_some(ms).ok_or("more than no time")
        })
    }

    fn share(&mut self, name: &str) -> Option<f64> {
        self.checked(name, |Number(share)| {
            (share > 0.0 && share <= 1.0)
                .then_some(share)
                .ok_or("a share: more than 0, at most 1")
        })
    }

    fn storm(&mut self, name: &str) -> Option<u32> {
        self.checked(name, |n: u32| {
            (n >= STORM_MIN).then_some(n).ok_or("20 or more")
        })
    }
}

// === impl Setting ===

impl Setting for Number {
    fn read(raw: &Raw) -> Result<Self, String> {
        match raw {
            Raw::Integer(text) | Raw::Float(text) | Raw::Text(text) => text
                .replace('_', "")
                .trim()
                .parse()
                .ok()
                .filter(|number: &f64| number.is_finite())
                .map(Self)
                .ok_or_else(|| format!("expected a number, found {text:?}")),
            other => Err(format!("expected a number, found {other}")),
        }
    }
}

impl Setting for Size {
    fn read(raw: &Raw) -> Result<Self, String> {
        const EXPECTED: &str = "expected bytes, such as 2147483648, \"2GiB\" or \"500MB\"";
        let (Raw::Integer(text) | Raw::Text(text)) = raw else {
            return Err(format!("{EXPECTED}, found {raw}"));
        };
        let text = text.trim();
        let split = text
            .find(|c: char| c.is_ascii_alphabetic())
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(split);
        let scale: u64 = match unit {
            "" | "B" => 1,
            "kB" => 1_000,
            "MB" => 1_000_000,
            "GB" => 1_000_000_000,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => return Err(format!("{EXPECTED}, found {text:?}")),
        };
        let number: Option<u64> = number.trim().replace('_', "").parse().ok();
        number
            .and_then(|n| n.checked_mul(scale))
            .map(Self)
            .ok_or_else(|| format!("{EXPECTED}, found {text:?}"))
    }
}
