//! Who a user is over time, and what becomes of what is kept under a name.
//!
//! A name alone does not say who somebody is: it can be given to another person, and a person can
//! get another name. A person is the name and the hub's time of making the user. Pure: lists in,
//! fates out.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use crate::{fact::ServerKey, hub::everybody::Everybody};

mod moving;

pub use moving::PeopleMove;

/// What becomes of what is kept under one user's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Nothing stays.
    Erased,
    /// The hub no longer knows the user: what stays has this pseudonym, and no names of notebooks.
    Deleted(Arc<str>),
    /// The user has this name now.
    Renamed(Arc<str>),
}

/// Fates by name, to be met all at once: names may change places.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fates(BTreeMap<Arc<str>, Fate>);

/// What a key becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Moved {
    /// It stays as it is.
    Stays,
    /// It is no more.
    Gone,
    /// It is this one now.
    To(ServerKey),
}

/// A name we keep something under, and who that is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// The hub's name, or a pseudonym of ours.
    pub user: Arc<str>,
    /// When the hub made the user, as far as we were told.
    pub created_us: Option<i64>,
    /// Complete lists in a row that lacked it; below zero for a pseudonym.
    pub missing: i64,
}

/// What a list of the hub's users means for those we know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Who is no longer who they were.
    pub fates: Fates,
    /// What is then known of whom: names as they are after the fates.
    pub known: Vec<Person>,
}

/// [`Person::missing`] of a pseudonym.
pub const PSEUDONYM: i64 = -1;

/// Complete lists in a row that must lack a user before it counts as deleted.
pub const MISSING_MAX: i64 = 2;

/// Random bytes of a pseudonym: nobody guesses or meets one.
const PSEUDONYM_BYTES: usize = 8;

/// What a pseudonym begins with.
pub const PSEUDONYM_PREFIX: &str = "deleted-";

/// A name that no hub gives: where a name waits until all have left theirs.
pub(crate) fn waiting(at: usize) -> String {
    format!("\u{1}{at}")
}

// === impl Fate ===

impl Fate {
    /// The name that what stays has.
    #[must_use]
    pub fn name(&self) -> Option<&Arc<str>> {
        match self {
            Self::Erased => None,
            Self::Deleted(name) | Self::Renamed(name) => Some(name),
        }
    }

    /// Its word in `state.db`.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Erased => "forget",
            Self::Deleted(_) => "deleted",
            Self::Renamed(_) => "renamed",
        }
    }

    /// The fate of that word.
    #[must_use]
    pub fn of(word: &str, name: Option<&str>) -> Option<Self> {
        match (word, name) {
            ("forget", _) => Some(Self::Erased),
            ("deleted", Some(name)) => Some(Self::Deleted(name.into())),
            ("renamed", Some(name)) => Some(Self::Renamed(name.into())),
            _ => None,
        }
    }

    /// A user who is gone, under a pseudonym that was never used.
    #[must_use]
    pub fn deleted() -> Self {
        let mut bytes = [0; PSEUDONYM_BYTES];
        if getrandom::fill(&mut bytes).is_err() {
            return Self::Erased; // without randomness a pseudonym would be a name
        }
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        Self::Deleted(format!("{PSEUDONYM_PREFIX}{hex}").into())
    }
}

// === impl Fates ===

impl Fates {
    /// One user's.
    #[must_use]
    pub fn one(user: &str, fate: Fate) -> Self {
        Self(BTreeMap::from([(user.into(), fate)]))
    }

    /// Adds one.
    pub fn set(&mut self, user: &str, fate: Fate) {
        self.0.insert(user.into(), fate);
    }

    /// Nobody's.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The fate of what is kept under `user`.
    #[must_use]
    pub fn of(&self, user: &str) -> Option<&Fate> {
        self.0.get(user)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Fate)> {
        self.0.iter()
    }

    /// What `key` becomes.
    #[must_use]
    pub fn moved(&self, key: &ServerKey) -> Moved {
        match self.of(&key.user) {
            None => Moved::Stays,
            Some(Fate::Erased) => Moved::Gone,
            Some(Fate::Deleted(name) | Fate::Renamed(name)) => Moved::To(ServerKey {
                user: name.clone(),
                server: key.server.clone(),
            }),
        }
    }

    /// Whether names of notebooks go, too.
    #[must_use]
    pub fn takes_titles(&self, user: &str) -> bool {
        matches!(self.of(user), Some(Fate::Deleted(_)))
    }
}

impl FromIterator<(Arc<str>, Fate)> for Fates {
    fn from_iter<T: IntoIterator<Item = (Arc<str>, Fate)>>(fates: T) -> Self {
        Self(fates.into_iter().collect())
    }
}

// === planning ===

/// What `everybody` means for the persons we know. From a list that is not whole nobody is gone.
#[must_use]
pub fn plan(known: &[Person], everybody: &Everybody) -> Plan {
    let listed: HashMap<&str, Option<i64>> = everybody
        .users
        .iter()
        .map(|user| (&*user.name, user.created_us))
        .collect();
    // Two users made in the same microsecond tell nothing.
    let mut by_created: HashMap<i64, Option<&str>> = HashMap::new();
    for user in &everybody.users {
        if let Some(created_us) = user.created_us {
            by_created
                .entry(created_us)
                .and_modify(|name| *name = None)
                .or_insert(Some(&user.name));
        }
    }
    let taken: HashMap<&str, Option<i64>> = known
        .iter()
        .map(|person| (&*person.user, person.created_us))
        .collect();
    let mut known_by_created: HashMap<i64, usize> = HashMap::new();
    for created_us in known.iter().filter_map(|person| person.created_us) {
        *known_by_created.entry(created_us).or_default() += 1;
    }
    let mut plan = Plan::default();
    for person in known {
        let now = listed.get(&*person.user).copied();
        let elsewhere = person
            .created_us
            .filter(|created_us| known_by_created.get(created_us) == Some(&1))
            .and_then(|created_us| by_created.get(&created_us).copied().flatten())
            .filter(|name| **name != *person.user)
            // Something is kept under that name already as the same person's: two cannot be one.
            .filter(|name| match taken.get(name) {
                Some(Some(created_us)) => Some(*created_us) != person.created_us,
                Some(None) => false,
                None => true,
            });
        plan.judge(person, now, elsewhere, everybody.whole);
    }
    plan
}

// === impl Plan ===

impl Plan {
    /// Leaves those of `known`, whom this is about, as they are who `came` while the list was read,
    /// since they may be others than it says; and those who would take the name of one who stays.
    pub fn leave(&mut self, known: &[Person], came: &HashSet<Arc<str>>) {
        let mut stay: HashSet<Arc<str>> = came.clone();
        while !stay.is_empty() {
            let mut more = HashSet::new();
            for (next, person) in self.known.iter_mut().zip(known) {
                let fate = self.fates.of(&person.user);
                let name = fate.and_then(Fate::name);
                if stay.contains(&person.user) || name.is_some_and(|name| stay.contains(name)) {
                    if self.fates.0.remove(&person.user).is_some() {
                        more.insert(person.user.clone());
                    }
                    *next = person.clone();
                }
            }
            stay = more;
        }
    }

    fn judge(
        &mut self,
        person: &Person,
        now: Option<Option<i64>>,
        elsewhere: Option<&str>,
        whole: bool,
    ) {
        let mut next = person.clone();
        let fate = match now {
            // Somebody took a pseudonym of ours for a name.
            Some(_) if person.missing == PSEUDONYM => Some(Fate::deleted()),
            None if person.missing == PSEUDONYM => None,
            Some(created_us) if is_other(person.created_us, created_us) => {
                Some(elsewhere.map_or_else(Fate::deleted, |name| Fate::Renamed(name.into())))
            }
            Some(created_us) => {
                next.created_us = created_us.or(person.created_us);
                next.missing = 0;
                None
            }
            None => match elsewhere {
                Some(name) => Some(Fate::Renamed(name.into())),
                None if !whole => None,
                None => {
                    next.missing += 1;
                    (next.missing >= MISSING_MAX).then(Fate::deleted)
                }
            },
        };
        if let Some(fate) = fate {
            if let Some(name) = fate.name() {
                next.user = name.clone();
            }
            match fate {
                Fate::Renamed(_) => next.missing = 0,
                // When the hub made a user says who it was.
                Fate::Deleted(_) | Fate::Erased => {
                    next.missing = PSEUDONYM;
                    next.created_us = None;
                }
            }
            self.fates.set(&person.user, fate);
        }
        self.known.push(next);
    }
}

/// Whether two times of making are known and differ: two persons.
#[must_use]
pub fn is_other(before_us: Option<i64>, now_us: Option<i64>) -> bool {
    matches!((before_us, now_us), (Some(before_us), Some(now_us)) if before_us != now_us)
}

#[cfg(test)]
mod tests;
