//! Reports as CSV: what people used by day, week or month, and how many were active.

use std::{io, sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{RawQuery, State},
    http::{HeaderName, HeaderValue, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, mpsc},
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;

use super::{Site, guard::Sight, guard::Viewer, problem::Problem, query::Query, shape::rfc3339};
use crate::{
    report::{
        ReportError,
        hub_activity::{AGE_MS_MAX, Form},
        usage::{By, Question, UsageReport, is_asked_for},
    },
    usage::{Known, Reader, Window},
};

/// Reports made at once: each reads a file of its own for as long as its reader takes.
pub(super) const REPORTS_MAX: usize = 4;

/// Bytes of a report that go out together.
const PART_BYTES: usize = 64 * 1024;

/// Parts waiting for a reader.
const PARTS_QUEUED: usize = 4;

/// A reader that takes nothing for so long has gone.
const READER_STALLS: Duration = Duration::from_secs(30);

const USAGE_PARAMETERS: [&str; 6] = ["by", "window", "from", "to", "user", "group"];

const ACTIVITY_PARAMETERS: [&str; 1] = ["form"];

/// What a report is written into: parts that go out as they fill.
struct Parts {
    buffer: Vec<u8>,
    send: mpsc::Sender<io::Result<Bytes>>,
    runtime: Handle,
}

struct UsageQuestion {
    question: Question,
    user: Option<String>,
    group: Option<String>,
}

// === handlers ===

/// What users or groups used, measured, per day, week or month.
#[utoipa::path(
    get,
    path = "/api/v1/reports/usage.csv",
    params(
        ("by" = Option<String>, Query, description = "`user` or `group`; `user` unless told"),
        ("window" = Option<String>, Query, description = "`day`, `week` (from Monday) or `month`, of UTC; `day` unless told"),
        ("from" = Option<String>, Query, description = "A date, RFC 3339, or before now such as -30d; its window is the first. Unless told 30 days, 26 weeks or 12 months ago"),
        ("to" = Option<String>, Query, description = "The same, not included; now unless told. Its window is whole, too"),
        ("user" = Option<String>, Query, description = "Only this user's"),
        ("group" = Option<String>, Query, description = "Only users of this group"),
    ),
    responses((status = 200, content_type = "text/csv", body = String)),
)]
pub(crate) async fn usage(
    State(site): State<Arc<Site>>,
    viewer: Viewer,
    RawQuery(raw): RawQuery,
) -> Result<Response, Problem> {
    let asked = UsageQuestion::of(raw.as_deref(), site.clock.now_ms())?;
    let reporting = site.reporting.clone().acquire_owned().await;
    let reporting = reporting.map_err(|_| Problem::unavailable("the collector is stopping"))?;
    let report = {
        let site = site.clone();
        let open = move || open(&site, &viewer.sight, &asked);
        tokio::task::spawn_blocking(open).await
    };
    let report = report.map_err(|_| unreadable())??;
    Ok(csv_file("usage.csv", stream(report, reporting)))
}

/// How many people were active on this hub within a day, a week and a month.
#[utoipa::path(
    get,
    path = "/api/v1/reports/hub-activity.csv",
    params(
        ("form" = Option<String>, Query, description = "`scales`: a row each for a day, a week and a month; `unique`: distinct people of a month. `scales` unless told"),
    ),
    responses((status = 200, content_type = "text/csv", body = String)),
)]
pub(crate) async fn hub_activity(
    State(site): State<Arc<Site>>,
    RawQuery(raw): RawQuery,
) -> Result<Response, Problem> {
    let mut query = Query::parse(raw.as_deref())?;
    let form = query.take_word("form", &Form::ALL.map(Form::as_str))?;
    let form = Form::ALL
        .into_iter()
        .find(|known| Some(known.as_str()) == form);
    query.finish(&ACTIVITY_PARAMETERS)?;
    if site.verifier.is_none() {
        return Err(Problem::not_found("without a hub nobody counts its people"));
    }
    let now_ms = site.clock.now_ms();
    let fresh = |counted_ms: i64| now_ms.saturating_sub(counted_ms) <= AGE_MS_MAX;
    let activity = site.activity.get().filter(|found| fresh(found.counted_ms));
    let activity = activity.ok_or_else(|| {
        Problem::unavailable(
            "the hub has not told within a day when its users were last active; the collector's \
             log says why",
        )
    })?;
    let mut body = Vec::new();
    activity
        .write(&site.activity.labels, form.unwrap_or_default(), &mut body)
        .map_err(|_| unreadable())?;
    let mut response = csv_file("hub-activity.csv", Body::from(body));
    let counted = rfc3339(activity.counted_ms).and_then(|at| HeaderValue::try_from(at).ok());
    if let Some(counted) = counted {
        let name = HeaderName::from_static("hubmeter-counted-at");
        response.headers_mut().insert(name, counted);
    }
    let age_seconds = now_ms.saturating_sub(activity.counted_ms).max(0) / 1000;
    response
        .headers_mut()
        .insert(header::AGE, age_seconds.into());
    Ok(response)
}

fn csv_file(name: &str, body: Body) -> Response {
    let disposition = format!("attachment; filename=\"{name}\"");
    let about = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8".to_owned()),
        (header::CONTENT_DISPOSITION, disposition),
    ];
    (about, body).into_response()
}

fn unreadable() -> Problem {
    Problem::internal("the report cannot be made; the collector's log knows more")
}

// === usage ===

impl UsageQuestion {
    fn of(raw: Option<&str>, now_ms: i64) -> Result<Self, Problem> {
        let mut query = Query::parse(raw)?;
        let by = query.take_word("by", &By::ALL.map(By::as_str))?;
        let by = By::ALL.into_iter().find(|known| Some(known.as_str()) == by);
        let window = query.take_word("window", &Window::ALL.map(Window::as_str))?;
        let window = Window::ALL
            .into_iter()
            .find(|known| Some(known.as_str()) == window);
        let to_ms = query.take_date_ms("to", now_ms)?.unwrap_or(now_ms + 1);
        let from_ms = query.take_date_ms("from", now_ms)?;
        if from_ms.is_some_and(|from_ms| from_ms >= to_ms) {
            return Err(Problem::bad_value("from", "from is before to, not after"));
        }
        let user = query.take("user");
        let group = query.take("group");
        query.finish(&USAGE_PARAMETERS)?;
        let (by, window) = (by.unwrap_or(By::User), window.unwrap_or(Window::Day));
        Ok(Self {
            question: Question::new(by, window, from_ms, to_ms),
            user,
            group,
        })
    }
}

/// What `asked` asks for, of what `sight` may see.
fn open(site: &Site, sight: &Sight, asked: &UsageQuestion) -> Result<UsageReport, Problem> {
    let Some(dir) = site.history.usage_dir() else {
        return Err(Problem::not_found(
            "usage is kept with history.mode = \"files\" only",
        ));
    };
    let failed = |error: ReportError| match error {
        ReportError::TooManyRows { .. } => Problem::bad_value("window", error.to_string()),
        error => {
            tracing::error!(%error, "cannot read the ledger of usage");
            unreadable()
        }
    };
    let reader = Reader::open(dir).map_err(|error| failed(error.into()))?;
    let reader = reader.ok_or_else(unreadable)?;
    // Whoever may see all waits for nobody.
    let truth = (*sight != Sight::All).then(|| site.state.read());
    let wanted = |known: &Known| {
        let seen = truth
            .as_ref()
            .is_none_or(|truth| sight.sees_former(&known.key, &known.groups, truth));
        seen && is_asked_for(known, asked.user.as_deref(), asked.group.as_deref())
    };
    UsageReport::new(reader, asked.question, wanted).map_err(failed)
}

/// Writes `report` on a thread of its own, as fast as its reader takes it. A report that fails on
/// the way is cut, so that nobody takes a part for the whole.
fn stream(report: UsageReport, reporting: OwnedSemaphorePermit) -> Body {
    let (send, receive) = mpsc::channel(PARTS_QUEUED);
    let parts = Parts {
        buffer: Vec::with_capacity(PART_BYTES),
        send: send.clone(),
        runtime: Handle::current(),
    };
    tokio::task::spawn_blocking(move || {
        let _reporting = reporting;
        match report.write(parts) {
            Ok(()) => {}
            // Whoever read has read enough.
            Err(ReportError::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => {}
            Err(error) => {
                tracing::error!(%error, "a report ends early");
                let _ = send.blocking_send(Err(io::Error::other("the report ends early")));
            }
        }
    });
    Body::from_stream(ReceiverStream::new(receive))
}

// === impl Parts ===

impl Parts {
    fn send(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let part = std::mem::replace(&mut self.buffer, Vec::with_capacity(PART_BYTES));
        let sent = timeout(READER_STALLS, self.send.send(Ok(part.into())));
        match self.runtime.block_on(sent) {
            Ok(Ok(())) => Ok(()),
            _ => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
}

impl io::Write for Parts {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= PART_BYTES {
            self.send()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.send()
    }
}
