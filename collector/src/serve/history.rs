//! What a server used before: columns as JSON, a table as CSV or Parquet.

mod answer;
mod form;

use std::sync::Arc;

use axum::{
    extract::{RawQuery, State},
    http::{HeaderMap, HeaderName},
    response::Response,
};
use utoipa::IntoParams;

use self::{answer::HistoryJson, form::Form};
use super::{
    Site,
    guard::Viewer,
    now::{ServerPath, UserPath, default_key, named_key, no_server},
    problem::Problem,
    query::Query,
};
use crate::{
    fact::ServerKey,
    history::{Column, Field, HistoryError, ReadQuery},
};

/// How far back an answer goes when nobody says.
const SPAN_DEFAULT_MS: i64 = 60 * 60 * 1000;
/// The shortest step: no base interval is shorter.
const STEP_MIN_MS: i64 = 1000;

const PARAMETERS: [&str; 5] = ["from", "to", "step", "fields", "format"];

/// What both routes take, for the document alone: [`Question`] reads it.
#[allow(dead_code)]
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
struct HistoryParameters {
    /// RFC 3339, or before now such as -1h
    from: Option<String>,
    /// The same; now unless told
    to: Option<String>,
    /// Length of a step; the samples unless told
    step: Option<String>,
    /// Columns, comma between; _min and _max behind a name for a step's extremes
    fields: Option<String>,
    /// `json`, `csv` or `parquet`, before Accept
    format: Option<String>,
}

struct Question {
    read: ReadQuery,
    form: Form,
}

// === handlers ===

/// What a user's default server used before.
#[utoipa::path(
    get,
    path = "/api/v1/users/{user}/server/history",
    params(("user" = String, Path, description = "The hub's name of the user"), HistoryParameters),
    responses((status = 200, content(
        (HistoryJson = "application/json"),
        (String = "text/csv"),
        (Vec<u8> = "application/vnd.apache.parquet"),
    ))),
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
        HistoryParameters,
    ),
    responses((status = 200, content(
        (HistoryJson = "application/json"),
        (String = "text/csv"),
        (Vec<u8> = "application/vnd.apache.parquet"),
    ))),
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
    let read = read(site, question).await?;
    if !known && read.rows == 0 {
        return Err(no_server());
    }
    let mut response = read.response;
    if read.chunks_skipped > 0 {
        let name = HeaderName::from_static("hubmeter-chunks-skipped");
        let skipped = read.chunks_skipped.into();
        response.headers_mut().insert(name, skipped);
    }
    Ok(response)
}

/// Reads and writes the answer, both on a thread that may wait.
async fn read(site: &Site, question: Question) -> Result<answer::Written, Problem> {
    // The semaphore is never closed.
    let _reading = site.reading.acquire().await;
    let history = site.history.clone();
    let work = move || {
        let table = history.read(&question.read)?;
        Ok(answer::write(&table, &question.read, question.form))
    };
    let failed = || Problem::internal("history cannot be read; the collector's log knows more");
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(written)) => written,
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
        let form = match query.take_word("format", &Form::ALL.map(Form::as_str))? {
            Some(name) => Form::named(name),
            None => Form::by_accept(headers)?,
        };
        query.finish(&PARAMETERS)?;
        let read = ReadQuery {
            key,
            from_ms,
            to_ms,
            step_ms,
            fields,
        };
        Ok(Self { read, form })
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
