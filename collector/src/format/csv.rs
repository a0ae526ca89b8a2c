//! A table as CSV (RFC 4180): the unknown is an empty cell, and no cell is a formula.

use std::io::{self, Write};

use super::{
    Cells,
    time::{Style, TimeText},
};
use crate::text;

/// Writes rows.
pub struct CsvTable<W: Write> {
    out: ::csv::Writer<W>,
    time: TimeText,
    cell: Vec<u8>,
}

// === impl CsvTable ===

impl<W: Write> CsvTable<W> {
    /// To `out`, times in `style`.
    pub fn new(out: W, style: Style) -> Self {
        Self {
            out: ::csv::Writer::from_writer(out),
            time: TimeText::new(style),
            cell: Vec::new(),
        }
    }

    /// Writes the names of the columns.
    ///
    /// # Errors
    /// What the writer says.
    pub fn header<'a>(&mut self, names: impl IntoIterator<Item = &'a str>) -> io::Result<()> {
        let names = names.into_iter().map(text::csv);
        self.out.write_record(names).map_err(io::Error::from)
    }

    /// Writes the rows of `columns`, which have as many cells each.
    ///
    /// # Errors
    /// What the writer says.
    pub fn rows(&mut self, columns: &[Cells<'_>]) -> io::Result<()> {
        for row in 0..columns.first().map_or(0, Cells::len) {
            for column in columns {
                self.cell.clear();
                self.fill(column, row)?;
                self.out.write_field(&self.cell)?;
            }
            self.out.write_record(None::<&[u8]>)?;
        }
        Ok(())
    }

    fn fill(&mut self, column: &Cells<'_>, row: usize) -> io::Result<()> {
        let cell = &mut self.cell;
        match column {
            Cells::Times(cells) => {
                let text = cells.get(row).and_then(|at_ms| self.time.of(*at_ms));
                cell.extend_from_slice(text.unwrap_or_default().as_bytes());
            }
            Cells::Integers(cells) => {
                if let Some(Some(value)) = cells.get(row) {
                    write!(cell, "{value}")?;
                }
            }
            Cells::Numbers(cells) => {
                if let Some(Some(value)) = cells.get(row)
                    && value.is_finite()
                {
                    write!(cell, "{value}")?;
                }
            }
            Cells::Flags(cells) => {
                if let Some(Some(value)) = cells.get(row) {
                    write!(cell, "{value}")?;
                }
            }
            Cells::Words(cells) => {
                let word = cells.get(row).map(|word| text::csv(word));
                cell.extend_from_slice(word.unwrap_or_default().as_bytes());
            }
        }
        Ok(())
    }

    /// Writes what is still held back.
    ///
    /// # Errors
    /// What the writer says.
    pub fn finish(mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(names: &[&str], columns: &[Cells<'_>]) -> String {
        let mut out = Vec::new();
        let mut table = CsvTable::new(&mut out, Style::Plain);
        table.header(names.iter().copied()).unwrap();
        table.rows(columns).unwrap();
        table.finish().unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_unknown_is_an_empty_cell_and_a_number_is_written_whole() {
        let text = written(
            &["timestamp", "rss", "cores", "burst"],
            &[
                Cells::Times(&[1_574_027_796_500, 1_574_027_801_000]),
                Cells::Integers(&[Some(i64::MIN), None]),
                Cells::Numbers(&[Some(0.1 + 0.2), Some(f64::NAN)]),
                Cells::Flags(&[Some(false), None]),
            ],
        );
        assert_eq!(
            text,
            "timestamp,rss,cores,burst\n\
             2019-11-17 21:56:36.500,-9223372036854775808,0.30000000000000004,false\n\
             2019-11-17 21:56:41.000,,,\n"
        );
    }

    #[test]
    fn no_name_and_no_word_can_be_a_formula_or_break_its_line() {
        let hostile = [
            "=cmd|' /C calc'!A0",
            "+1",
            "-1",
            "@SUM(A1)",
            "\t=1",
            "\r=1",
            "\n=1",
            "a,\"b\"\nc",
        ];
        let words = hostile.map(str::to_owned);
        for text in [
            written(&hostile, &[]),
            written(&["word"], &[Cells::Words(&words)]),
        ] {
            let mut read = ::csv::ReaderBuilder::new()
                .has_headers(false)
                .flexible(true)
                .from_reader(text.as_bytes());
            let cells: Vec<String> = read
                .records()
                .flat_map(|record| {
                    record
                        .unwrap()
                        .iter()
                        .map(str::to_owned)
                        .collect::<Vec<_>>()
                })
                .filter(|cell| cell != "word")
                .collect();
            assert_eq!(cells.len(), hostile.len(), "{text:?}");
            for (cell, hostile) in cells.iter().zip(hostile) {
                let first = cell.chars().next().expect("something");
                assert!(!"=+-@\t\r\n".contains(first), "{cell:?}");
                assert!(cell.ends_with(hostile), "{cell:?}");
            }
        }
    }
}
