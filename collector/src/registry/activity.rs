//! How many people were active, by the hub's newest word: one row.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, OptionalExtension as _, params};

use super::{Registry, RegistryError};
use crate::{
    database::{self, DatabaseError},
    limits,
    report::hub_activity::{Activity, Labels},
    text::Label,
};

const SELECT: &str =
    "SELECT counted_ms, daily, weekly, monthly, cluster, hub, chart FROM hub_activity";

impl Registry {
    /// Keeps the newest count in place of the one before.
    pub fn put_activity(&self, activity: &Activity, labels: &Labels) -> Result<(), RegistryError> {
        self.with("keep how many were active", |db| {
            db.execute(
                "INSERT OR REPLACE INTO hub_activity VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                params![
                    activity.counted_ms,
                    activity.daily,
                    activity.weekly,
                    activity.monthly,
                    labels.cluster.as_str(),
                    labels.hub.as_str(),
                    labels.chart.as_str()
                ],
            )
            .map(drop)
        })
    }

    /// The newest count, and what the hub was called then.
    pub fn activity(&self) -> Result<Option<(Activity, Labels)>, RegistryError> {
        self.with("read how many were active", activity)
    }
}

/// The newest count in `data_dir`, read beside a running collector; `None` where nothing was ever
/// counted.
///
/// # Errors
/// The file is there and cannot be read.
pub fn read_activity(data_dir: &Path) -> Result<Option<(Activity, Labels)>, RegistryError> {
    let path = data_dir.join("state.db");
    if !path.exists() {
        return Ok(None);
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let opened = || {
        let db = Connection::open_with_flags(&path, flags)?;
        db.busy_timeout(database::BUSY_TIMEOUT)?;
        // A collector of before the table was there may still be running.
        let table = "SELECT 1 FROM sqlite_schema WHERE name = 'hub_activity'";
        let there = db.prepare(table)?.exists([])?;
        Ok((db, there))
    };
    let (db, there) = opened().map_err(|source| DatabaseError::Open {
        path: path.clone(),
        source,
    })?;
    if !there {
        return Ok(None);
    }
    activity(&db).map_err(|source| RegistryError::Sql {
        what: "read how many were active",
        source,
    })
}

fn activity(db: &Connection) -> rusqlite::Result<Option<(Activity, Labels)>> {
    db.query_row(SELECT, [], |row| {
        let label = |at| -> rusqlite::Result<Label> {
            let text = row.get_ref(at)?.as_str()?;
            Ok(Label::clean(text, limits::HUB_NAME_BYTES_MAX))
        };
        let activity = Activity {
            counted_ms: row.get(0)?,
            daily: row.get(1)?,
            weekly: row.get(2)?,
            monthly: row.get(3)?,
        };
        let labels = Labels {
            cluster: label(4)?,
            hub: label(5)?,
            chart: label(6)?,
        };
        Ok((activity, labels))
    })
    .optional()
}
