//! A table of history as the body of an answer.

use axum::{
    http::header,
    response::{IntoResponse, Response},
};
use serde::{Serialize, Serializer, ser::SerializeMap};
use utoipa::ToSchema;

use super::form::Form;
use crate::{
    format::{
        Cells,
        csv::CsvTable,
        parquet::ParquetTable,
        time::{Style, TimeText},
    },
    history::{ReadQuery, Table},
    serve::{problem::Problem, shape::rfc3339},
};

/// Bytes that a cell takes as JSON, more or less: a body that is large enough from the start is
/// not copied as it grows.
const JSON_CELL_BYTES: usize = 12;

/// The same of a time.
const JSON_TIME_BYTES: usize = 27;

/// An answer, and what of the question it lacks.
pub(super) struct Written {
    pub(super) response: Response,
    pub(super) rows: usize,
    pub(super) chunks_skipped: u32,
}

/// Rows of one server.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = History)]
pub(super) struct HistoryJson<'a> {
    /// From, included.
    from: Option<String>,
    /// To, not included.
    to: Option<String>,
    /// Length of a step, at least what was asked for; `null` when rows are the samples themselves.
    step_ms: Option<i64>,
    /// `time` and the columns asked for, all of the same length.
    #[schema(value_type = Object)]
    columns: Columns<'a>,
}

#[derive(Debug)]
struct Columns<'a>(&'a Table);

struct Times<'a>(&'a [i64]);

/// Writes `table`, the answer to `query`.
pub(super) fn write(table: &Table, query: &ReadQuery, form: Form) -> Result<Written, Problem> {
    let body = match form {
        Form::Json => json(table, query),
        Form::Csv => csv(table),
        Form::Parquet => parquet(table, query),
    };
    let body = body.map_err(|error| {
        tracing::error!(%error, form = form.as_str(), "cannot write history");
        Problem::internal(format!("cannot write history as {}", form.as_str()))
    })?;
    Ok(Written {
        response: respond(form, body),
        rows: table.time.len(),
        chunks_skipped: table.chunks_skipped,
    })
}

fn respond(form: Form, body: Vec<u8>) -> Response {
    let (media_type, disposition) = match form {
        Form::Json => (form.media_type(), None),
        Form::Csv => (
            "text/csv; charset=utf-8",
            Some("attachment; filename=\"history.csv\""),
        ),
        Form::Parquet => (
            form.media_type(),
            Some("attachment; filename=\"history.parquet\""),
        ),
    };
    let disposition = disposition.map(|value| [(header::CONTENT_DISPOSITION, value)]);
    let mut response = ([(header::CONTENT_TYPE, media_type)], body).into_response();
    for (name, value) in disposition.into_iter().flatten() {
        let value = header::HeaderValue::from_static(value);
        response.headers_mut().insert(name, value);
    }
    response
}

type Error = Box<dyn std::error::Error + Send + Sync>;

fn json(table: &Table, query: &ReadQuery) -> Result<Vec<u8>, Error> {
    let row_bytes = JSON_TIME_BYTES + table.columns.len() * JSON_CELL_BYTES;
    let mut body = Vec::with_capacity(row_bytes * table.time.len());
    let history = HistoryJson {
        from: rfc3339(query.from_ms),
        to: rfc3339(query.to_ms),
        step_ms: table.step_ms,
        columns: Columns(table),
    };
    serde_json::to_writer(&mut body, &history)?;
    Ok(body)
}

fn names(table: &Table) -> Vec<String> {
    let names = table.columns.iter().map(|(field, _)| field.name());
    std::iter::once("time".to_owned()).chain(names).collect()
}

fn cells(table: &Table) -> Vec<Cells<'_>> {
    let columns = table.columns.iter().map(|(_, cells)| cells.into());
    let time = Cells::Times(&table.time);
    std::iter::once(time).chain(columns).collect()
}

/// Times and numbers only: nothing in it is anybody's text. The unknown is an empty cell.
fn csv(table: &Table) -> Result<Vec<u8>, Error> {
    let mut body = Vec::new();
    let mut out = CsvTable::new(&mut body, Style::Rfc3339);
    out.header(names(table).iter().map(String::as_str))?;
    out.rows(&cells(table))?;
    out.finish()?;
    Ok(body)
}

fn parquet(table: &Table, query: &ReadQuery) -> Result<Vec<u8>, Error> {
    let cells = cells(table);
    let kinds = cells.iter().map(Cells::kind);
    let columns: Vec<_> = names(table).into_iter().zip(kinds).collect();
    let step = table
        .step_ms
        .map(|step_ms| ("step_ms", step_ms.to_string()));
    let mut about = vec![
        ("from", rfc3339(query.from_ms).unwrap_or_default()),
        ("to", rfc3339(query.to_ms).unwrap_or_default()),
    ];
    about.extend(step);
    let mut body = Vec::new();
    let mut out = ParquetTable::new(&mut body, &columns, &about)?;
    out.rows(&cells)?;
    out.finish()?;
    Ok(body)
}

// === impl Serialize ===

impl Serialize for Columns<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(table) = self;
        let mut map = serializer.serialize_map(Some(table.columns.len() + 1))?;
        map.serialize_entry("time", &Times(&table.time))?;
        for (field, cells) in &table.columns {
            let name = field.name();
            match cells.into() {
                Cells::Integers(cells) => map.serialize_entry(&name, cells)?,
                Cells::Numbers(cells) => map.serialize_entry(&name, cells)?,
                Cells::Flags(cells) => map.serialize_entry(&name, cells)?,
                Cells::Times(_) | Cells::Words(_) => {} // no column of history is
            }
        }
        map.end()
    }
}

impl Serialize for Times<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeSeq;
        let mut text = TimeText::new(Style::Rfc3339);
        let mut times = serializer.serialize_seq(Some(self.0.len()))?;
        for at_ms in self.0 {
            times.serialize_element(&text.of(*at_ms))?;
        }
        times.end()
    }
}
