//! Slices of samples as rows of a file.

use std::io::Write;

use hubmeter_kinetics::momentum::{gigabytes, momentum_gb};

use super::{
    ExportError,
    columns::{Column, Columns},
};
use crate::{
    fact::InstanceId,
    format::{Cells, Kind, csv::CsvTable, parquet::ParquetTable, time::Style},
    history::{self, ArchiveSlice},
};

/// Rows of a row group at least, but for the last: smaller ones squeeze worse.
const GROUP_ROWS: usize = 32 * 1024;

/// A file that is being written.
pub(super) struct Rows<W: Write + Send> {
    columns: Columns,
    out: Out<W>,
    notebook: Notebook,
    written: u64,
}

enum Out<W: Write + Send> {
    Csv(Box<CsvTable<W>>),
    Parquet {
        table: ParquetTable<W>,
        /// Of the next row group.
        waiting: Vec<Owned>,
    },
}

/// Cells of one column.
enum Owned {
    Times(Vec<i64>),
    Integers(Vec<Option<i64>>),
    Numbers(Vec<Option<f64>>),
    Flags(Vec<Option<bool>>),
    Words(Vec<String>),
}

/// The notebook's columns, from row to row.
#[derive(Default)]
struct Notebook {
    /// The newest base-interval rss of each instance so far.
    last: Vec<(InstanceId, u64)>,
}

// === impl Rows ===

impl<W: Write + Send> Rows<W> {
    pub(super) fn csv(out: W, columns: Columns, header: bool) -> Result<Self, ExportError> {
        let mut table = CsvTable::new(out, Style::Plain);
        if header {
            table.header(columns.0.iter().map(|(name, _)| name.as_str()))?;
        }
        Ok(Self::new(columns, Out::Csv(Box::new(table))))
    }

    pub(super) fn parquet(out: W, columns: Columns) -> Result<Self, ExportError> {
        let kinds = columns.0.iter().map(|(_, column)| kind(*column));
        let names = columns.0.iter().map(|(name, _)| name.clone());
        let schema: Vec<_> = names.zip(kinds).collect();
        let table = ParquetTable::new(out, &schema, &[])?;
        let waiting = Vec::new();
        Ok(Self::new(columns, Out::Parquet { table, waiting }))
    }

    fn new(columns: Columns, out: Out<W>) -> Self {
        Self {
            columns,
            out,
            notebook: Notebook::default(),
            written: 0,
        }
    }

    /// Adds the rows of `slice`.
    pub(super) fn put(&mut self, slice: ArchiveSlice) -> Result<(), ExportError> {
        self.written += slice.time.len() as u64;
        let cells = self.notebook.cells(&self.columns, slice);
        match &mut self.out {
            Out::Csv(table) => {
                let cells: Vec<Cells<'_>> = cells.iter().map(Owned::borrow).collect();
                table.rows(&cells)?;
            }
            Out::Parquet { table, waiting } => {
                if waiting.is_empty() {
                    *waiting = cells;
                } else {
                    for (all, more) in waiting.iter_mut().zip(cells) {
                        all.append(more);
                    }
                }
                if waiting
                    .first()
                    .is_some_and(|cells| cells.borrow().len() >= GROUP_ROWS)
                {
                    put_group(table, waiting)?;
                }
            }
        }
        Ok(())
    }

    /// Ends the file; returns how many rows it has.
    pub(super) fn finish(self) -> Result<u64, ExportError> {
        match self.out {
            Out::Csv(table) => table.finish()?,
            Out::Parquet {
                mut table,
                mut waiting,
            } => {
                if !waiting.is_empty() {
                    put_group(&mut table, &mut waiting)?;
                }
                table.finish()?;
            }
        }
        Ok(self.written)
    }
}

fn put_group<W: Write + Send>(
    table: &mut ParquetTable<W>,
    waiting: &mut Vec<Owned>,
) -> Result<(), ExportError> {
    let cells: Vec<Cells<'_>> = waiting.iter().map(Owned::borrow).collect();
    table.rows(&cells)?;
    waiting.clear();
    Ok(())
}

fn kind(column: Column) -> Kind {
    use history::Column as Kept;
    match column {
        Column::Timestamp => Kind::Time,
        Column::Instance => Kind::Word,
        Column::Kept(Kept::CpuCores)
        | Column::Mb
        | Column::Gb
        | Column::Momentum
        | Column::Speed => Kind::Number,
        Column::Kept(Kept::Burst) => Kind::Flag,
        Column::Kept(_) => Kind::Integer,
    }
}

// === impl Owned ===

impl Owned {
    fn borrow(&self) -> Cells<'_> {
        match self {
            Self::Times(cells) => Cells::Times(cells),
            Self::Integers(cells) => Cells::Integers(cells),
            Self::Numbers(cells) => Cells::Numbers(cells),
            Self::Flags(cells) => Cells::Flags(cells),
            Self::Words(cells) => Cells::Words(cells),
        }
    }

    /// Adds cells of the same column.
    fn append(&mut self, more: Self) {
        match (self, more) {
            (Self::Times(all), Self::Times(more)) => all.extend(more),
            (Self::Integers(all), Self::Integers(more)) => all.extend(more),
            (Self::Numbers(all), Self::Numbers(more)) => all.extend(more),
            (Self::Flags(all), Self::Flags(more)) => all.extend(more),
            (Self::Words(all), Self::Words(more)) => all.extend(more),
            _ => {} // a column does not change its kind
        }
    }
}

// === impl Notebook ===

impl Notebook {
    /// The cells of each of `columns`.
    fn cells(&mut self, columns: &Columns, slice: ArchiveSlice) -> Vec<Owned> {
        let rss = match slice.columns.last() {
            Some(history::Cells::Integers(rss)) => rss.as_slice(),
            _ => &[], // it was asked for last
        };
        let wants = |wanted: Column| columns.0.iter().any(|(_, column)| *column == wanted);
        let momentum = if wants(Column::Momentum) {
            self.momentum(&slice, rss)
        } else {
            Vec::new()
        };
        let mut kept = slice.columns.iter();
        let number = |unit: fn(u64) -> f64| {
            let bytes = rss
                .iter()
                .map(|rss| rss.and_then(|rss| u64::try_from(rss).ok()));
            bytes.map(|bytes| bytes.map(unit)).collect()
        };
        let one = |(_, column): &(String, Column)| match column {
            Column::Timestamp => Owned::Times(slice.time.clone()),
            Column::Instance => {
                let digits = |id: &InstanceId| {
                    let digits = id.0.iter().map(|byte| format!("{byte:02x}"));
                    digits.collect()
                };
                Owned::Words(slice.instances.iter().map(digits).collect())
            }
            Column::Mb => Owned::Numbers(number(|bytes| bytes as f64 / 1000.0_f64.powi(2))),
            Column::Gb => Owned::Numbers(number(gigabytes)),
            Column::Momentum => Owned::Numbers(momentum.clone()),
            Column::Speed => Owned::Numbers(speed(&slice, rss)),
            Column::Kept(_) => match kept.next() {
                Some(history::Cells::Integers(cells)) => Owned::Integers(cells.clone()),
                Some(history::Cells::Numbers(cells)) => Owned::Numbers(cells.clone()),
                Some(history::Cells::Flags(cells)) => Owned::Flags(cells.clone()),
                None => Owned::Integers(Vec::new()), // as many came as were asked for
            },
        };
        columns.0.iter().map(one).collect()
    }

    /// Change since the base-interval row before of the same instance, 0 for its first; bursts
    /// take no part.
    fn momentum(&mut self, slice: &ArchiveSlice, rss: &[Option<i64>]) -> Vec<Option<f64>> {
        let mut momentum = Vec::with_capacity(rss.len());
        for (row, rss) in rss.iter().enumerate() {
            let now = rss.and_then(|rss| u64::try_from(rss).ok());
            let Some(now) = now.filter(|_| !slice.burst[row]) else {
                momentum.push(None);
                continue;
            };
            let instance = slice.instances[row];
            let known = self.last.iter_mut().rev().find(|(of, _)| *of == instance);
            momentum.push(Some(if let Some((_, last)) = known {
                momentum_gb(std::mem::replace(last, now), now)
            } else {
                self.last.push((instance, now));
                0.0
            }));
        }
        momentum
    }
}

/// Size of the change to the base-interval row after, 0 for an instance's last in the file.
fn speed(slice: &ArchiveSlice, rss: &[Option<i64>]) -> Vec<Option<f64>> {
    let whole = |bytes: Option<i64>| bytes.and_then(|bytes| u64::try_from(bytes).ok());
    let one = |(row, rss): (usize, &Option<i64>)| {
        let now = whole(*rss).filter(|_| !slice.burst[row])?;
        let next = whole(slice.next_rss_bytes[row]);
        Some(next.map_or(0.0, |next| momentum_gb(now, next).abs()))
    };
    rss.iter().enumerate().map(one).collect()
}
