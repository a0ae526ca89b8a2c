//! The columns of an export, by name.

use crate::history::{self, Stat};

/// What `replay` reads, under the names it knows.
pub(super) const DEFAULT: &str = "timestamp,rss,cpu_millis,limit_bytes";

/// Stands for [`Column::ALL`].
const ALL: &str = "all";

/// What a column shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Column {
    /// The time.
    Timestamp,
    /// Which life of the agent, 32 hexadecimal digits.
    Instance,
    /// What history keeps.
    Kept(history::Column),
    /// rss in the notebook's units, and its differences from row to row of one instance in this
    /// file.
    Mb,
    Gb,
    Momentum,
    Speed,
}

/// Names and what they stand for, in the order they are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Columns(pub(super) Vec<(String, Column)>);

/// Names beside those of history's columns; of two for the same thing the first is shown.
const NAMES: [(&str, Column); 10] = [
    ("timestamp", Column::Timestamp),
    ("instance", Column::Instance),
    ("rss", Column::Kept(history::Column::RssBytes)),
    (
        "limit_bytes",
        Column::Kept(history::Column::MemoryLimitBytes),
    ),
    ("mb", Column::Mb),
    ("gb", Column::Gb),
    ("momentum", Column::Momentum),
    ("momentum_gb", Column::Momentum),
    ("speed", Column::Speed),
    ("speed_gb", Column::Speed),
];

// === impl Columns ===

impl Columns {
    /// Reads names with commas between.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let mut columns = Vec::new();
        for name in text.split(',').map(str::trim) {
            if name == ALL {
                columns.extend(Column::all());
                continue;
            }
            let column = Column::named(name).ok_or_else(|| {
                let known: Vec<&str> = Column::names().collect();
                let known = known.join(", ");
                format!("--columns: {name:?} is no column; there are all, {known}")
            })?;
            columns.push((name.to_owned(), column));
        }
        for (at, (name, _)) in columns.iter().enumerate() {
            if columns[..at].iter().any(|(known, _)| known == name) {
                return Err(format!("--columns: {name:?} is given twice"));
            }
        }
        Ok(Self(columns))
    }

    /// What has to be read of history.
    pub(super) fn kept(&self) -> Vec<history::Column> {
        let kept = self.0.iter().filter_map(|(_, column)| match column {
            Column::Kept(column) => Some(*column),
            _ => None,
        });
        // The notebook's columns are of it.
        kept.chain([history::Column::RssBytes]).collect()
    }
}

// === impl Column ===

impl Column {
    fn all() -> impl Iterator<Item = (String, Self)> {
        let first = [Self::Timestamp, Self::Instance].map(|column| {
            let name = if column == Self::Timestamp {
                "timestamp"
            } else {
                "instance"
            };
            (name.to_owned(), column)
        });
        let kept =
            history::Column::ALL.map(|column| (column.as_str().to_owned(), Self::Kept(column)));
        first.into_iter().chain(kept)
    }

    fn named(name: &str) -> Option<Self> {
        let own = NAMES.iter().find(|(known, _)| *known == name);
        own.map(|(_, column)| *column).or_else(|| {
            let field = history::Field::parse(name)?;
            // A sample has no extremes.
            (field.stat == Stat::Mean).then_some(Self::Kept(field.column))
        })
    }

    fn names() -> impl Iterator<Item = &'static str> {
        let own = NAMES.iter().map(|(name, _)| *name);
        own.chain(history::Column::ALL.map(history::Column::as_str))
    }
}
