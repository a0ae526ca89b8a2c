//! A table as Parquet: each column with its type, snappy, a row group for every batch.

use std::{io::Write, sync::Arc};

use ::parquet::{
    basic::{Compression, LogicalType, Repetition, TimeUnit, TimestampType, Type as Physical},
    data_type::{BoolType, ByteArray, ByteArrayType, DoubleType, Int64Type},
    errors::ParquetError,
    file::{
        metadata::KeyValue,
        properties::{WriterProperties, WriterVersion},
        writer::{SerializedColumnWriter, SerializedFileWriter},
    },
    schema::types::Type,
};

use super::{Cells, Kind};

/// Who made the file, in its footer.
const CREATED_BY: &str = concat!("hubmeter version ", env!("CARGO_PKG_VERSION"));

/// Definition levels of cells that are there and that are not.
const KNOWN: i16 = 1;
const UNKNOWN: i16 = 0;

/// Writes batches of rows.
pub struct ParquetTable<W: Write + Send> {
    out: SerializedFileWriter<W>,
}

// === impl ParquetTable ===

impl<W: Write + Send> ParquetTable<W> {
    /// To `out`, with columns of these names and kinds; `about` goes into the footer.
    ///
    /// # Errors
    /// What the writer says.
    pub fn new(
        out: W,
        columns: &[(String, Kind)],
        about: &[(&str, String)],
    ) -> Result<Self, ParquetError> {
        let fields = columns.iter().map(|(name, kind)| field(name, *kind));
        let schema = Type::group_type_builder("hubmeter")
            .with_fields(fields.collect::<Result<_, _>>()?)
            .build()?;
        let about = about
            .iter()
            .map(|(key, value)| KeyValue::new(format!("hubmeter.{key}"), value.clone()));
        let properties = WriterProperties::builder()
            .set_writer_version(WriterVersion::PARQUET_1_0) // what every reader knows
            .set_compression(Compression::SNAPPY)
            .set_created_by(CREATED_BY.to_owned())
            .set_key_value_metadata(Some(about.collect()))
            .build();
        let out = SerializedFileWriter::new(out, Arc::new(schema), Arc::new(properties))?;
        Ok(Self { out })
    }

    /// Writes the rows of `columns`, which have as many cells each, as one row group.
    ///
    /// # Errors
    /// What the writer says.
    pub fn rows(&mut self, columns: &[Cells<'_>]) -> Result<(), ParquetError> {
        let mut group = self.out.next_row_group()?;
        let mut columns = columns.iter();
        while let Some(mut out) = group.next_column()? {
            if let Some(cells) = columns.next() {
                put(&mut out, cells)?;
            }
            out.close()?;
        }
        group.close()?;
        Ok(())
    }

    /// Writes the footer, without which nobody can read the file.
    ///
    /// # Errors
    /// What the writer says.
    pub fn finish(self) -> Result<(), ParquetError> {
        self.out.into_inner()?.flush()?;
        Ok(())
    }
}

fn field(name: &str, kind: Kind) -> Result<Arc<Type>, ParquetError> {
    let (physical, logical, repetition) = match kind {
        Kind::Time => {
            let milliseconds = LogicalType::Timestamp(TimestampType {
                is_adjusted_to_u_t_c: true,
                unit: TimeUnit::MILLIS,
            });
            (Physical::INT64, Some(milliseconds), Repetition::REQUIRED)
        }
        Kind::Integer => (Physical::INT64, None, Repetition::OPTIONAL),
        Kind::Number => (Physical::DOUBLE, None, Repetition::OPTIONAL),
        Kind::Flag => (Physical::BOOLEAN, None, Repetition::OPTIONAL),
        Kind::Word => (
            Physical::BYTE_ARRAY,
            Some(LogicalType::String),
            Repetition::REQUIRED,
        ),
    };
    let field = Type::primitive_type_builder(name, physical)
        .with_logical_type(logical)
        .with_repetition(repetition)
        .build()?;
    Ok(Arc::new(field))
}

fn put(out: &mut SerializedColumnWriter<'_>, cells: &Cells<'_>) -> Result<(), ParquetError> {
    match cells {
        Cells::Times(cells) => {
            out.typed::<Int64Type>().write_batch(cells, None, None)?;
        }
        Cells::Integers(cells) => {
            let (values, levels) = levelled(cells);
            out.typed::<Int64Type>()
                .write_batch(&values, Some(&levels), None)?;
        }
        Cells::Numbers(cells) => {
            let (values, levels) = levelled(cells);
            out.typed::<DoubleType>()
                .write_batch(&values, Some(&levels), None)?;
        }
        Cells::Flags(cells) => {
            let (values, levels) = levelled(cells);
            out.typed::<BoolType>()
                .write_batch(&values, Some(&levels), None)?;
        }
        Cells::Words(cells) => {
            let words: Vec<ByteArray> = cells.iter().map(|word| word.as_str().into()).collect();
            out.typed::<ByteArrayType>()
                .write_batch(&words, None, None)?;
        }
    }
    Ok(())
}

/// The known values, and for each cell whether it is one.
fn levelled<T: Copy>(cells: &[Option<T>]) -> (Vec<T>, Vec<i16>) {
    let level = |cell: &Option<T>| if cell.is_some() { KNOWN } else { UNKNOWN };
    let levels = cells.iter().map(level).collect();
    (cells.iter().copied().flatten().collect(), levels)
}

#[cfg(test)]
mod tests {
    use ::parquet::{
        basic::{LogicalType, Repetition},
        file::reader::{FileReader, SerializedFileReader},
        record::Field,
    };

    use super::*;

    fn written(columns: &[(&str, Cells<'_>)], groups: usize) -> Vec<u8> {
        let schema = columns
            .iter()
            .map(|(name, cells)| ((*name).to_owned(), cells.kind()));
        let schema: Vec<_> = schema.collect();
        let cells: Vec<Cells<'_>> = columns.iter().map(|(_, cells)| *cells).collect();
        let mut out = Vec::new();
        let about = [("step_ms", "60000".to_owned())];
        let mut table = ParquetTable::new(&mut out, &schema, &about).unwrap();
        for _ in 0..groups {
            table.rows(&cells).unwrap();
        }
        table.finish().unwrap();
        out
    }

    #[test]
    fn every_kind_of_cell_reads_back_with_its_type_and_the_unknown_as_null() {
        let words = ["a".to_owned(), "=b".to_owned()];
        let bytes = written(
            &[
                ("time", Cells::Times(&[-1, 1_574_027_796_500])),
                ("bytes", Cells::Integers(&[Some(i64::MIN), None])),
                ("cores", Cells::Numbers(&[None, Some(0.1)])),
                ("burst", Cells::Flags(&[Some(true), None])),
                ("word", Cells::Words(&words)),
            ],
            2,
        );
        let reader = SerializedFileReader::new(bytes::Bytes::from(bytes)).unwrap();
        let footer = reader.metadata().file_metadata();
        let time = &footer.schema_descr().columns()[0];
        assert!(matches!(
            time.logical_type_ref(),
            Some(LogicalType::Timestamp(of)) if of.is_adjusted_to_u_t_c && of.unit == TimeUnit::MILLIS
        ));
        assert_eq!(
            time.self_type().get_basic_info().repetition(),
            Repetition::REQUIRED
        );
        let about = footer.key_value_metadata().unwrap();
        assert_eq!(about[0].key, "hubmeter.step_ms");
        assert_eq!(about[0].value.as_deref(), Some("60000"));
        let rows: Vec<Vec<Field>> = reader
            .get_row_iter(None)
            .unwrap()
            .map(|row| {
                row.unwrap()
                    .into_columns()
                    .into_iter()
                    .map(|(_, cell)| cell)
                    .collect()
            })
            .collect();
        let first = vec![
            Field::TimestampMillis(-1),
            Field::Long(i64::MIN),
            Field::Null,
            Field::Bool(true),
            Field::Str("a".to_owned()),
        ];
        let second = vec![
            Field::TimestampMillis(1_574_027_796_500),
            Field::Null,
            Field::Double(0.1),
            Field::Null,
            Field::Str("=b".to_owned()),
        ];
        assert_eq!(rows, [first.clone(), second.clone(), first, second]);
    }

    #[test]
    fn a_table_without_rows_still_has_its_columns() {
        let bytes = written(
            &[("time", Cells::Times(&[])), ("n", Cells::Integers(&[]))],
            1,
        );
        let reader = SerializedFileReader::new(bytes::Bytes::from(bytes)).unwrap();
        let footer = reader.metadata().file_metadata();
        assert_eq!(
            (footer.num_rows(), footer.schema_descr().num_columns()),
            (0, 2)
        );
    }
}
