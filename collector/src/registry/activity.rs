//! How many people were active, by the hub's newest word: one row.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension as _, params};

use super::{Registry, RegistryError};
use crate::{
    database, limits,
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
    let Some(db) = database::open_read_only(&data_dir.join("state.db"))? else {
        return Ok(None);
    };
    let failed = |source| RegistryError::Sql {
        what: "read how many were active",
        source,
    };
    // A collector of before the table was there may still be running.
    let table = "SELECT 1 FROM sqlite_schema WHERE name = 'hub_activity'";
    let there = db
        .prepare(table)
        .and_then(|mut select| select.exists([]))
        .map_err(failed)?;
    if !there {
        return Ok(None);
    }
    activity(&db).map_err(failed)
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
