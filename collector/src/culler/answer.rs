//! What the collector says of every running server.

use std::{collections::BTreeMap, time::Duration};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Deserializer, de::Error as _};

use super::{Settings, judge::Wanted};
use crate::{
    config::Secret,
    hub::reach::{Api, GetError, Reach},
};

/// The collector answers in milliseconds; one that needs longer is not well.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);

/// Rows of a page: the most that the collector gives.
const PAGE_ROWS: usize = 5_000;

/// One page: rows with the longest names and reasons there are.
const PAGE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Pages of one answer: more servers than the collector keeps.
const PAGES_MAX: usize = 100;

/// Bytes of the collector's own words in an error.
const WORDS_BYTES_MAX: usize = 200;

/// The collector, and the question.
pub(super) struct Collector {
    api: Api,
    token: Secret,
    question: String,
}

/// One answer, whole.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// By user and server.
    pub(super) rows: BTreeMap<(String, String), Row>,
}

/// What it says of one server.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Row {
    user: String,
    server: String,
    pub(super) idle_seconds: Option<u64>,
    #[serde(rename = "idle_since", deserialize_with = "time_ms")]
    pub(super) idle_since_ms: Option<i64>,
    pub(super) cull: bool,
    pub(super) reason: String,
    pub(super) held_until: Option<String>,
}

/// There is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    #[error("no answer from the collector to GET /api/v1/cull: {0}")]
    None(#[source] GetError),
    #[error("the collector answered GET /api/v1/cull with status {status}{hint}{detail}")]
    Status {
        status: u16,
        hint: &'static str,
        detail: String,
    },
    #[error("the collector's answer to GET /api/v1/cull cannot be read: {0}")]
    Malformed(String),
}

#[derive(Deserialize)]
struct Page {
    items: Vec<Row>,
    next: Option<String>,
}

#[derive(Deserialize)]
struct Problem {
    detail: Option<String>,
}

// === impl Collector ===

impl Collector {
    pub(super) fn new(settings: &Settings, wanted: &Wanted) -> Result<Self, String> {
        let reach = Reach {
            request_timeout: ASK_TIMEOUT,
            internal: None,
        };
        let mut question = format!("/api/v1/cull?limit={PAGE_ROWS}");
        for (name, value_ms) in [
            ("timeout", wanted.timeout_ms),
            ("max_age", wanted.max_age_ms),
        ] {
            if let Some(value_ms) = value_ms {
                question.push_str(&format!("&{name}={value_ms}ms"));
            }
        }
        Ok(Self {
            api: reach.open(&settings.collector_url)?,
            token: settings.token.clone(),
            question,
        })
    }

    /// Asks for every running server. Either the whole answer or an error.
    pub(super) async fn ask(&self) -> Result<Answer, AskError> {
        let mut answer = Answer::default();
        let mut cursor = String::new();
        for _ in 0..PAGES_MAX {
            let page = self.page(&cursor).await?;
            let rows = page.items.into_iter();
            answer
                .rows
                .extend(rows.map(|row| ((row.user.clone(), row.server.clone()), row)));
            let Some(next) = page.next else {
                return Ok(answer);
            };
            cursor = format!("&cursor={}", utf8_percent_encode(&next, NON_ALPHANUMERIC));
        }
        let why = "it has more pages than any hub has servers".to_owned();
        Err(AskError::Malformed(why))
    }

    async fn page(&self, cursor: &str) -> Result<Page, AskError> {
        let path = format!("{}{cursor}", self.question);
        let asked = self.api.get(&path, self.token.expose(), PAGE_BYTES_MAX);
        let (status, body) = asked.await.map_err(AskError::None)?;
        if status != 200 {
            return Err(refused(status, &body));
        }
        serde_json::from_slice(&body).map_err(|e| AskError::Malformed(e.to_string()))
    }
}

fn time_ms<'de, D: Deserializer<'de>>(from: D) -> Result<Option<i64>, D::Error> {
    let text: Option<String> = Option::deserialize(from)?;
    let time = text.map(|text| text.parse::<jiff::Timestamp>()).transpose();
    time.map(|time| time.map(jiff::Timestamp::as_millisecond))
        .map_err(D::Error::custom)
}

fn refused(status: u16, body: &[u8]) -> AskError {
    let hint = match status {
        401 => " (it does not know the token)",
        403 => {
            " (the token needs custom:hubmeter:read:all, or list:users and read:servers without a filter)"
        }
        404 => " (is this the collector's address, with its prefix?)",
        _ => "",
    };
    let problem: Option<Problem> = serde_json::from_slice(body).ok();
    let detail = problem.and_then(|problem| problem.detail);
    AskError::Status {
        status,
        hint,
        detail: detail.map_or_else(String::new, |detail| {
            let detail = crate::text::Label::clean(&detail, WORDS_BYTES_MAX);
            format!(": {detail}")
        }),
    }
}
