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
