//! Tables as files: JSON, CSV and Parquet, from columns as they are.
//!
//! What goes in are times, numbers, switches, and words that are ours; nothing in a table is
//! anybody's text. All the same a word passes `text.rs` on its way into CSV.

pub mod csv;
pub mod parquet;
pub mod time;

use crate::history;

/// Cells of one column, borrowed; `None` is unknown.
#[derive(Clone, Copy, Debug)]
pub enum Cells<'a> {
    /// Milliseconds since the Unix epoch, always known.
    Times(&'a [i64]),
    /// Whole numbers.
    Integers(&'a [Option<i64>]),
    /// Numbers.
    Numbers(&'a [Option<f64>]),
    /// Switches.
    Flags(&'a [Option<bool>]),
    /// Words.
    Words(&'a [String]),
}

/// What the cells of a column are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Of [`Cells::Times`].
    Time,
    /// Of [`Cells::Integers`].
    Integer,
    /// Of [`Cells::Numbers`].
    Number,
    /// Of [`Cells::Flags`].
    Flag,
    /// Of [`Cells::Words`].
    Word,
}

// === impl Cells ===

impl Cells<'_> {
    /// What they are.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Times(_) => Kind::Time,
            Self::Integers(_) => Kind::Integer,
            Self::Numbers(_) => Kind::Number,
            Self::Flags(_) => Kind::Flag,
            Self::Words(_) => Kind::Word,
        }
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Times(cells) => cells.len(),
            Self::Integers(cells) => cells.len(),
            Self::Numbers(cells) => cells.len(),
            Self::Flags(cells) => cells.len(),
            Self::Words(cells) => cells.len(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<'a> From<&'a history::Cells> for Cells<'a> {
    fn from(cells: &'a history::Cells) -> Self {
        match cells {
            history::Cells::Integers(cells) => Self::Integers(cells),
            history::Cells::Numbers(cells) => Self::Numbers(cells),
            history::Cells::Flags(cells) => Self::Flags(cells),
        }
    }
}
