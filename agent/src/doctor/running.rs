//! What the agent that runs beside the server says of its link: asked on its socket, as the meter
//! asks it.

use std::{
    io::{Read as _, Write as _},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::words::Page;
use crate::local::place::Place;

/// Bytes of an answer: a sample with all its workloads.
const ANSWER_BYTES_MAX: u64 = 1024 * 1024;

/// Time for one read of the answer: the agent's beat may be under way.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

/// The link of an agent that runs.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Running {
    state: String,
    collector: Option<String>,
    carrier: Option<String>,
    #[serde(default)]
    passed_over: Vec<PassedOver>,
}

/// An address that does not work.
#[derive(Debug, Deserialize, Serialize)]
struct PassedOver {
    collector: String,
    why: String,
}

#[derive(Deserialize)]
struct Answer {
    link: Running,
}

// === impl Running ===

impl Running {
    /// Asks who listens at `place`; none when nobody does, or it says nothing of its link.
    pub(super) fn at(place: &Place) -> Option<Self> {
        let mut stream = place.connect()?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT)).ok()?;
        stream
            .write_all(b"GET /v1/sample HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            .ok()?;
        let mut answer = Vec::new();
        stream
            .take(ANSWER_BYTES_MAX)
            .read_to_end(&mut answer)
            .ok()?;
        let head = answer.windows(4).position(|end| end == b"\r\n\r\n")?;
        serde_json::from_slice::<Answer>(&answer[head + 4..])
            .ok()
            .map(|answer| answer.link)
    }

    /// Under the line that gives the collector's addresses.
    pub(super) fn say(&self, page: &mut Page) {
        let collector = self.collector.as_deref().unwrap_or_default();
        match (self.state.as_str(), self.carrier.as_deref()) {
            ("streaming", Some(carrier)) => {
                page.under(&format!("the agent streams to {collector} by {carrier}"));
            }
            ("off", _) => page.under(
                "the agent streams nowhere: another one took over, or it began without a collector",
            ),
            _ => page.under("the agent has no stream now; reports are kept and sent later"),
        }
        for over in &self.passed_over {
            page.under(&format!("not {}: {}", over.collector, over.why));
        }
    }

    /// What should work and does not: a fallback that carries the reports is no failure.
    pub(super) fn wrong(&self) -> Option<String> {
        let failing = self.state == "connecting" && !self.passed_over.is_empty();
        failing.then(|| "the agent that runs has no stream to the collector now".to_owned())
    }
}
