//! Reading the ledger: beside the writer, without waiting for it.

use std::{collections::HashMap, path::Path, sync::Arc};

use rusqlite::{Connection, Row};

use super::{FILE, SERVERS_FILE, UsageError, Window, date_of, ledger};
use crate::{database, fact::ServerKey, limits, text::Label};

/// Of one in so many servers or fewer, rows are looked up one by one; else a window is read whole.
const LOOK_UP_ONE_IN: usize = 4;

/// A server with a number.
#[derive(Clone, Debug, PartialEq)]
pub struct Known {
    /// Its number.
    pub id: i64,
    /// Which one.
    pub key: ServerKey,
    /// The user's groups, by the hub's newest word on a running server of theirs.
    pub groups: Vec<Label>,
}

/// What one user's servers used in one window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Servers that ran or were measured.
    pub servers: u32,
    /// Time that samples speak for.
    pub covered_ms: i64,
    /// Time that the hub says they ran and nobody measured; `None` where the hub said nothing.
    pub unmeasured_ms: Option<i64>,
    /// Memory × time.
    pub memory_kib_s: i64,
    /// Cores × time.
    pub core_ms: i64,
    /// The largest memory figure of a server; `None` where nothing was measured.
    pub memory_peak_bytes: Option<i64>,
}

/// The ledger, open for reading.
#[derive(Debug)]
pub struct Reader {
    usage: Connection,
    known: Vec<Known>,
}

/// Whose rows are wanted: users in order, each with their servers.
#[derive(Debug)]
pub struct Chosen {
    /// The users, in the order of their names.
    pub users: Vec<Arc<str>>,
    /// Their groups.
    pub groups: Vec<Vec<Label>>,
    servers: Vec<i64>,
    /// By a server's number: its user's place, and the window in which it was last counted.
    owners: HashMap<i64, (u32, u32)>,
    window: u32,
    totals: Vec<Totals>,
    one_by_one: bool,
}

/// One row of `day` or `month`.
struct Part {
    server: i64,
    totals: Totals,
}

// === impl Reader ===

impl Reader {
    /// Opens the ledger in `data_dir`'s `history/`; `None` where there is none yet.
    ///
    /// # Errors
    /// It is unfit, or of a newer program.
    pub fn open(data_dir: &Path) -> Result<Option<Self>, UsageError> {
        let dir = data_dir.join("history");
        let Some(usage) = database::open_read_only(&dir.join(FILE))? else {
            return Ok(None);
        };
        if ledger::schema(&usage)? == 0 {
            return Ok(None); // it is being made
        }
        let Some(servers) = database::open_read_only(&dir.join(SERVERS_FILE))? else {
            return Ok(None);
        };
        let known = known(&servers, &usage)?;
        Ok(Some(Self { usage, known }))
    }

    /// Every server that ever ran or reported.
    #[must_use]
    pub fn known(&self) -> &[Known] {
        &self.known
    }

    /// Those of `known` that `wanted` takes.
    pub fn choose(&self, wanted: impl Fn(&Known) -> bool) -> Chosen {
        let mut chosen: Vec<&Known> = self.known.iter().filter(|known| wanted(known)).collect();
        chosen.sort_by(|a, b| a.key.cmp(&b.key));
        let one_by_one = chosen.len() * LOOK_UP_ONE_IN <= self.known.len();
        Chosen::of(&chosen, one_by_one)
    }

    /// The first day that is in the ledger.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn first_day(&self) -> Result<Option<i64>, UsageError> {
        self.usage
            .query_row("SELECT min(day) FROM day", [], |row| row.get(0))
            .map_err(UsageError::sql("look for the first day"))
    }

    /// Reads into `chosen` what each of its users used in the window that begins on `day`.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(&self, window: Window, day: i64, chosen: &mut Chosen) -> Result<(), UsageError> {
        debug_assert_eq!(window.begin(day), day, "{}", date_of(day));
        let failed = UsageError::sql("read days");
        chosen.begin();
        let summed = window == Window::Month
            && self
                .usage
                .prepare_cached("SELECT 1 FROM summed WHERE month = ?1")
                .and_then(|mut select| select.exists([day]))
                .map_err(&failed)?;
        if summed {
            self.add(MONTH, day..day + 1, chosen).map_err(&failed)
        } else {
            let days = day..window.end(day);
            self.add(DAY, days, chosen).map_err(&failed)
        }
    }

    fn add(
        &self,
        [all, one]: [&str; 2],
        days: std::ops::Range<i64>,
        chosen: &mut Chosen,
    ) -> rusqlite::Result<()> {
        if chosen.one_by_one {
            let mut select = self.usage.prepare_cached(one)?;
            for day in days {
                for at in 0..chosen.servers.len() {
                    let mut rows = select.query([day, chosen.servers[at]])?;
                    if let Some(row) = rows.next()? {
                        chosen.add(&part(row)?);
                    }
                }
            }
            return Ok(());
        }
        let mut select = self.usage.prepare_cached(all)?;
        let mut rows = select.query([days.start, days.end])?;
        while let Some(row) = rows.next()? {
            chosen.add(&part(row)?);
        }
        Ok(())
    }
}

const DAY: [&str; 2] = [
    "SELECT server, covered_ms, memory_kib_s, core_ms, memory_peak_bytes,
        max(ran_ms - covered_ms, 0) FROM day WHERE day >= ?1 AND day < ?2",
    "SELECT server, covered_ms, memory_kib_s, core_ms, memory_peak_bytes,
        max(ran_ms - covered_ms, 0) FROM day WHERE day = ?1 AND server = ?2",
];

const MONTH: [&str; 2] = [
    "SELECT server, covered_ms, memory_kib_s, core_ms, memory_peak_bytes, unmeasured_ms
        FROM month WHERE month >= ?1 AND month < ?2",
    "SELECT server, covered_ms, memory_kib_s, core_ms, memory_peak_bytes, unmeasured_ms
        FROM month WHERE month = ?1 AND server = ?2",
];

fn part(row: &Row<'_>) -> rusqlite::Result<Part> {
    Ok(Part {
        server: row.get(0)?,
        totals: Totals {
            servers: 1,
            covered_ms: row.get(1)?,
            memory_kib_s: row.get(2)?,
            core_ms: row.get(3)?,
            memory_peak_bytes: row.get(4)?,
            unmeasured_ms: row.get(5)?,
        },
    })
}

/// Every server with its user's groups: the newest that the hub told of any server of theirs.
fn known(servers: &Connection, usage: &Connection) -> Result<Vec<Known>, UsageError> {
    let failed = UsageError::sql("read the servers' names");
    let mut known = Vec::new();
    let mut select = servers
        .prepare("SELECT id, user, server FROM server")
        .map_err(&failed)?;
    let mut rows = select.query([]).map_err(&failed)?;
    while let Some(row) = rows.next().map_err(&failed)? {
        let one = || -> rusqlite::Result<Known> {
            let key = ServerKey::new(row.get_ref(1)?.as_str()?, row.get_ref(2)?.as_str()?);
            Ok(Known {
                id: row.get(0)?,
                key,
                groups: Vec::new(),
            })
        };
        known.push(one().map_err(&failed)?);
    }
    let told = told_groups(usage)?;
    let mut newest: HashMap<Arc<str>, &(i64, Vec<Label>)> = HashMap::new();
    for server in &known {
        if let Some(told) = told.get(&server.id) {
            let best = newest.entry(server.key.user.clone()).or_insert(told);
            if told.0 > best.0 {
                *best = told;
            }
        }
    }
    for server in &mut known {
        if let Some((_, groups)) = newest.get(&server.key.user) {
            server.groups.clone_from(groups);
        }
    }
    Ok(known)
}

/// By a server's number: when its user's groups were told, and which.
fn told_groups(usage: &Connection) -> Result<HashMap<i64, (i64, Vec<Label>)>, UsageError> {
    let failed = UsageError::sql("read the groups");
    let mut select = usage
        .prepare("SELECT server, told_ms, names FROM grouped")
        .map_err(&failed)?;
    let mut rows = select.query([]).map_err(&failed)?;
    let mut told = HashMap::new();
    while let Some(row) = rows.next().map_err(&failed)? {
        let one = || -> rusqlite::Result<(i64, (i64, Vec<Label>))> {
            Ok((
                row.get(0)?,
                (row.get(1)?, groups_of(row.get_ref(2)?.as_str()?)),
            ))
        };
        let (server, groups) = one().map_err(&failed)?;
        told.insert(server, groups);
    }
    Ok(told)
}

/// The groups as they were written; a list that is none has none.
fn groups_of(names: &str) -> Vec<Label> {
    let names: Vec<String> = serde_json::from_str(names).unwrap_or_default();
    let label = |name: &String| Label::clean(name, limits::HUB_NAME_BYTES_MAX);
    names.iter().map(label).collect()
}

// === impl Chosen ===

impl Chosen {
    /// Of servers in the order of their keys.
    fn of(servers: &[&Known], one_by_one: bool) -> Self {
        let mut chosen = Self {
            users: Vec::new(),
            groups: Vec::new(),
            servers: Vec::with_capacity(servers.len()),
            owners: HashMap::with_capacity(servers.len()),
            window: 0,
            totals: Vec::new(),
            one_by_one,
        };
        for server in servers {
            if chosen.users.last() != Some(&server.key.user) {
                chosen.users.push(server.key.user.clone());
                chosen.groups.push(server.groups.clone());
            }
            let owner = u32::try_from(chosen.users.len() - 1).unwrap_or(u32::MAX);
            chosen.servers.push(server.id);
            chosen.owners.insert(server.id, (owner, 0));
        }
        chosen
    }

    #[cfg(test)]
    pub(super) fn read_one_by_one(&mut self, one_by_one: bool) {
        self.one_by_one = one_by_one;
    }

    /// What each user used in the window last read, in their order.
    #[must_use]
    pub fn totals(&self) -> &[Totals] {
        &self.totals
    }

    /// A new window, in which nothing is known of anybody.
    fn begin(&mut self) {
        self.window += 1;
        self.totals.clear();
        self.totals.resize(self.users.len(), Totals::default());
    }

    fn add(&mut self, part: &Part) {
        let Some((owner, counted)) = self.owners.get_mut(&part.server) else {
            return; // not asked for
        };
        let first = std::mem::replace(counted, self.window) != self.window;
        let Some(totals) = self.totals.get_mut(*owner as usize) else {
            return;
        };
        let servers = totals.servers + u32::from(first);
        totals.add(&part.totals);
        totals.servers = servers;
    }
}

// === impl Totals ===

impl Totals {
    /// Adds what others used: sums, but the larger peak. What is known of one of them is known.
    pub fn add(&mut self, other: &Self) {
        self.servers += other.servers;
        self.covered_ms = self.covered_ms.saturating_add(other.covered_ms);
        self.memory_kib_s = self.memory_kib_s.saturating_add(other.memory_kib_s);
        self.core_ms = self.core_ms.saturating_add(other.core_ms);
        self.memory_peak_bytes = self.memory_peak_bytes.max(other.memory_peak_bytes);
        self.unmeasured_ms = match (self.unmeasured_ms, other.unmeasured_ms) {
            (Some(ours), Some(theirs)) => Some(ours.saturating_add(theirs)),
            (ours, theirs) => ours.or(theirs),
        };
    }
}
