//! What a server used before: columns as JSON, or a table as CSV.

use std::sync::Arc;

use axum::{
    Json,
    extract::{RawQuery, State},
    http::{HeaderMap, HeaderName, header},
    response::{IntoResponse, Response},
};
use serde::{Serialize, Serializer, ser::SerializeMap};
use utoipa::ToSchema;

use super::{
    Site,
    guard::Viewer,
    now::{ServerPath, UserPath, default_key, named_key, no_server},
    problem::Problem,
    query::Query,
    shape::rfc3339,
};
use crate::{
    fact::ServerKey,
    history::{Cells, Column, Field, HistoryError, ReadQuery, Table},
};

/// How far back an answer goes when nobody says.
const SPAN_DEFAULT_MS: i64 = 60 * 60 * 1000;
/// The shortest step: no base interval is shorter.
const STEP_MIN_MS: i64 = 1000;

const PARAMETERS: [&str; 5] = ["from", "to", "step", "fields", "format"];

/// Rows of one server.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = History)]
pub(crate) struct HistoryJson {
    /// From, included.
    from: Option<String>,
    /// To, not included.
    to: Option<String>,
    /// Length of a step, at least what was asked for; `null` when rows are the samples themselves.
    step_ms: Option<i64>,
    /// `time` and the columns asked for, all of the same length.
    #[schema(value_type = Object)]
    columns: Columns,
}

#[derive(Debug)]
struct Columns(Table);

struct Question {
    read: ReadQuery,
    csv: bool,
}

// === handlers ===

/// What a user's default server used before.
#[utoipa::path(
    get,
    path = "/api/v1/users/{user}/server/history",
    params(
        ("user" = String, Path, description = "The hub's name of the user"),
        ("from" = Option<String>, Query, description = "RFC 3339, or before now such as -1h"),
        ("to" = Option<String>, Query, description = "The same; now unless told"),
        ("step" = Option<String>, Query, description = "Length of a step; the samples unless told"),
        ("fields" = Option<String>, Query, description = "Columns, comma between; _min and _max behind a name for a step's extremes"),
        ("format" = Option<String>, Query, description = "`json` or `csv`, before Accept"),
    ),
    responses((status = 200, content((HistoryJson = "application/json"), (String = "text/csv")))),
)]
pub(crate) async fn default_history(
    State(site): State<Arc<Site>>,
    viewer: Viewer,
    path: UserPath,
    RawQuery(raw): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    answer(&site, &viewer, default_key(path)?, raw.as_deref(), &headers).await
}

/// What a user's named server used before.
#[utoipa::path(
    get,
    path = "/api/v1/users/{user}/servers/{name}/history",
    params(
        ("user" = String, Path, description = "The hub's name of the user"),
        ("name" = String, Path, description = "The server's name"),
        ("from" = Option<String>, Query, description = "RFC 3339, or before now such as -1h"),
        ("to" = Option<String>, Query, description = "The same; now unless told"),
        ("step" = Option<String>, Query, description = "Length of a step; the samples unless told"),
        ("fields" = Option<String>, Query, description = "Columns, comma between; _min and _max behind a name for a step's extremes"),
        ("format" = Option<String>, Query, description = "`json` or `csv`, before Accept"),
    ),
    responses((status = 200, content((HistoryJson = "application/json"), (String = "text/csv")))),
)]
pub(crate) async fn named_history(
    State(site): State<Arc<Site>>,
    viewer: Viewer,
    path: ServerPath,
    RawQuery(raw): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    answer(&site, &viewer, named_key(path)?, raw.as_deref(), &headers).await
}

async fn answer(
    site: &Site,
    viewer: &Viewer,
    key: ServerKey,
    raw: Option<&str>,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let now_ms = site.clock.now_ms();
    let question = Question::of(key, raw, headers, now_ms)?;
    let known = {
        let truth = site.state.read();
        if !viewer.sight.sees_key(&question.read.key, &truth) {
            return Err(no_server());
        }
        truth.servers.contains_key(&question.read.key)
    };
    site.agents
        .watch(std::iter::once(question.read.key.clone()));
    let table = read(site, question.read.clone()).await?;
    if !known && table.time.is_empty() {
        return Err(no_server());
    }
    let skipped = table.chunks_skipped;
    let mut response = match question.csv {
        true => csv(&table)?,
        false => Json(HistoryJson {
            from: rfc3339(question.read.from_ms),
            to: rfc3339(question.read.to_ms),
            step_ms: table.step_ms,
            columns: Columns(table),
        })
        .into_response(),
    };
    if skipped > 0 {
        let name = HeaderName::from_static("hubmeter-chunks-skipped");
        response.headers_mut().insert(name, skipped.into());
    }
    Ok(response)
}

async fn read(site: &Site, query: ReadQuery) -> Result<Table, Problem> {
    // The semaphore is never closed.
    let _reading = site.reading.acquire().await;
    let history = site.history.clone();
    let read = tokio::task::spawn_blocking(move || history.read(&query)).await;
    let failed = || Problem::internal("history cannot be read; the collector's log knows more");
    match read {
        Ok(Ok(table)) => Ok(table),
        Ok(Err(error @ HistoryError::TooManyRows { .. })) => {
            Err(Problem::bad_value("step", error.to_string()))
        }
        Ok(Err(error)) => {
            tracing::error!(%error, "cannot read history");
            Err(failed())
        }
        Err(_) => Err(failed()),
    }
}

// === impl Question ===

impl Question {
    fn of(
        key: ServerKey,
        raw: Option<&str>,
        headers: &HeaderMap,
        now_ms: i64,
    ) -> Result<Self, Problem> {
        let mut query = Query::parse(raw)?;
        // Not included, so that a sample of this very millisecond is.
        let to_ms = query.take_time_ms("to", now_ms)?.unwrap_or(now_ms + 1);
        let from_ms = query.take_time_ms("from", now_ms)?;
        let from_ms = from_ms.unwrap_or(to_ms - SPAN_DEFAULT_MS);
        if from_ms >= to_ms {
            return Err(Problem::bad_value("from", "from is before to, not after"));
        }
        let step_ms = query.take_duration_ms("step")?;
        if step_ms.is_some_and(|step_ms| step_ms < STEP_MIN_MS) {
            return Err(Problem::bad_value("step", "step is at least 1 s"));
        }
        let fields = match query.take("fields") {
            Some(names) => fields(&names)?,
            None => Column::ALL.map(Field::from).to_vec(),
        };
        let csv = match query.take_word("format", &["json", "csv"])? {
            Some(format) => format == "csv",
            None => wants_csv(headers)?,
        };
        query.finish(&PARAMETERS)?;
        let read = ReadQuery {
            key,
            from_ms,
            to_ms,
            step_ms,
            fields,
        };
        Ok(Self { read, csv })
    }
}

fn fields(names: &str) -> Result<Vec<Field>, Problem> {
    let mut fields = Vec::new();
    for name in names.split(',').map(str::trim) {
        if name == "time" {
            continue; // always there
        }
        let field = Field::parse(name).filter(|field| !fields.contains(field));
        fields.push(field.ok_or_else(|| {
            let known = Column::ALL.map(Column::as_str).join(", ");
            let detail = format!(
                "fields holds each name once, of {known}, or those with _min or _max; not {name:?}"
            );
            Problem::bad_value("fields", detail)
        })?);
    }
    Ok(fields)
}

/// By Accept: JSON where it will do, else CSV. Whoever takes neither gets no file under another
/// one's name.
fn wants_csv(headers: &HeaderMap) -> Result<bool, Problem> {
    let accept = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok());
    let takes = |types: &[&str]| {
        let accept = accept.unwrap_or("*/*");
        types.iter().any(|known| accept.contains(known))
    };
    if takes(&["json"]) {
        return Ok(false);
    }
    if takes(&["text/csv"]) {
        return Ok(true);
    }
    if takes(&["*/*", "application/*"]) {
        return Ok(false);
    }
    if takes(&["text/*"]) {
        return Ok(true);
    }
    Err(Problem::not_acceptable(
        "history comes as application/json or text/csv",
    ))
}

// === shapes ===

impl Serialize for Columns {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(table) = self;
        let mut map = serializer.serialize_map(Some(table.columns.len() + 1))?;
        let time = table.time.iter().map(|at_ms| rfc3339(*at_ms));
        map.serialize_entry("time", &time.collect::<Vec<_>>())?;
        for (field, cells) in &table.columns {
            let name = field.name();
            match cells {
                Cells::Integers(cells) => map.serialize_entry(&name, cells)?,
                Cells::Numbers(cells) => map.serialize_entry(&name, cells)?,
                Cells::Flags(cells) => map.serialize_entry(&name, cells)?,
            }
        }
        map.end()
    }
}

/// Times and numbers only: nothing in it is anybody's text. The unknown is an empty cell.
fn csv(table: &Table) -> Result<Response, Problem> {
    let mut out = ::csv::Writer::from_writer(Vec::new());
    let unwritable = |_| Problem::internal("cannot write CSV");
    let names = table.columns.iter().map(|(field, _)| field.name());
    out.write_record(["time".to_owned()].into_iter().chain(names))
        .map_err(unwritable)?;
    for (row, at_ms) in table.time.iter().enumerate() {
        let time = rfc3339(*at_ms).unwrap_or_default();
        let cells = table.columns.iter().map(|(_, cells)| cell(cells, row));
        out.write_record([time].into_iter().chain(cells))
            .map_err(unwritable)?;
    }
    let body = out
        .into_inner()
        .map_err(|_| Problem::internal("cannot write CSV"))?;
    let about = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8"),
        (
            header::CONTENT_DISPOSITION,
            "attachment; filename=\"history.csv\"",
        ),
    ];
    Ok((about, body).into_response())
}

fn cell(cells: &Cells, row: usize) -> String {
    fn text<T: ToString>(cells: &[Option<T>], row: usize) -> String {
        let cell = cells.get(row).and_then(Option::as_ref);
        cell.map_or_else(String::new, T::to_string)
    }
    match cells {
        Cells::Integers(cells) => text(cells, row),
        Cells::Numbers(cells) => text(cells, row),
        Cells::Flags(cells) => text(cells, row),
    }
}
