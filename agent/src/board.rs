//! What the agent shows on this machine: the newest sample, the last ten minutes, notices, and
//! how the link is.
//!
//! Whoever reads too slowly gets the newest and misses what lay between; nobody who reads can
//! hold back sampling.

mod recent;

use std::{collections::VecDeque, sync::Arc};

use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::{Notify, broadcast, watch};

use self::recent::Recent;
use crate::{
    meter::Figures,
    sample::{Sample, WallTime},
    settings::CollectorUrl,
};

/// How far back `recent` goes.
pub const RECENT_MS: u64 = 10 * 60 * 1000;

/// Readings kept at most: ten minutes of a burst.
pub const RECENT_MAX: usize = 600;

/// How often what need not be looked after with every sample is: nobody is woken for that alone.
pub const MINUTE_MS: u64 = 60_000;

/// Notices that are open at once; of more, the oldest are forgotten.
pub const NOTICES_MAX: usize = 32;

/// The rule of a notice that, with a time, has the server's extension shut a kernel down.
const ORDERING_RULE: &str = "idle_hog";

/// Bytes of a notice's text; more is cut.
pub const NOTICE_TEXT_BYTES_MAX: usize = 2 * 1024;

/// Bytes of what is told of an address that does not work: others' words are in it.
pub const WHY_BYTES_MAX: usize = 512;

/// One sample with the figures beside it.
#[derive(Debug)]
pub struct Reading {
    /// The sample.
    pub sample: Sample,
    /// What the meter shows beside it.
    pub figures: Figures,
}

/// A message for the person at the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Notice {
    /// The same episode is shown once.
    pub episode: String,
    /// Name of the rule.
    pub rule: String,
    /// `info`, `warning` or `critical`.
    pub severity: &'static str,
    /// One or two sentences.
    pub text: String,
    /// The workload it speaks of; `None` for the whole server.
    pub workload_id: Option<String>,
    /// The danger has passed: take the notice away.
    pub cleared: bool,
    /// When the server is stopped as idle, by this machine's clock.
    pub stops_at: Option<WallTime>,
    /// In how long the limit is reached.
    #[serde(rename = "seconds_to_limit", serialize_with = "in_seconds")]
    pub to_limit_ms: Option<u64>,
    /// How fast memory grows.
    pub trend_bytes_per_second: Option<i64>,
}

/// How the link is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LinkState {
    /// Reports go out and receipts come in.
    Streaming,
    /// There is a collector, but no stream to it now.
    Connecting,
    /// There is none, or another agent took over.
    #[default]
    Off,
}

/// How the link is, and with whom.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LinkStatus {
    /// Now.
    pub state: LinkState,
    /// Its address: the one that carries the link, or carried it last; before that all of them.
    pub collector: Option<String>,
    /// What carries it, or carried it last: `grpc` or `websocket`.
    pub carrier: Option<&'static str>,
    /// Addresses that did not work when they were tried last.
    pub passed_over: Vec<PassedOver>,
    /// Where people and scripts reach it.
    pub api_url: Option<String>,
}

/// An address of the collector that does not work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PassedOver {
    /// The address.
    pub collector: String,
    /// What went wrong.
    pub why: String,
}

/// Shared by the one who samples, the link and the local socket.
#[derive(Debug)]
pub struct Board {
    newest: watch::Sender<Option<Arc<Reading>>>,
    recent: Mutex<Recent>,
    minute: Minute,
    open_notices: Mutex<VecDeque<Arc<Notice>>>,
    notices: broadcast::Sender<Arc<Notice>>,
    link: Mutex<LinkStatus>,
}

/// Minutes, counted by samples.
#[derive(Debug, Default)]
struct Minute {
    begun_ms: Mutex<Option<u64>>,
    over: Notify,
}

// === impl Board ===

impl Board {
    /// An empty board.
    #[must_use]
    pub fn new(link: LinkStatus) -> Self {
        Self {
            newest: watch::Sender::new(None),
            recent: Mutex::default(),
            minute: Minute::default(),
            open_notices: Mutex::default(),
            notices: broadcast::Sender::new(NOTICES_MAX),
            link: Mutex::new(link),
        }
    }

    /// Shows `reading` as the newest.
    pub fn show(&self, mut reading: Reading) {
        self.recent.lock().push(&mut reading);
        self.minute.pass(reading.sample.mono_ms);
        let newest = Some(Arc::new(reading));
        if self.newest.receiver_count() > 0 {
            self.newest.send_replace(newest);
        } else {
            // Nearly always: whoever comes finds it, and there is nobody to be told.
            self.newest.send_if_modified(|shown| {
                *shown = newest;
                false
            });
        }
    }

    /// Waits until a minute has passed since the last, by the samples: for one who looks after
    /// something.
    pub async fn minute_over(&self) {
        self.minute.over.notified().await;
    }

    /// Shows `notice`, or takes it away when it is cleared.
    pub fn notify(&self, notice: Notice) {
        let notice = Arc::new(notice);
        let mut open = self.open_notices.lock();
        open.retain(|other| other.episode != notice.episode);
        if !notice.cleared {
            if open.len() >= NOTICES_MAX {
                open.pop_front();
            }
            open.push_back(Arc::clone(&notice));
        }
        drop(open);
        // Nobody listening is the usual case.
        let _ = self.notices.send(notice);
    }

    /// The newest reading; follow it with `changed`.
    #[must_use]
    pub fn newest(&self) -> watch::Receiver<Option<Arc<Reading>>> {
        self.newest.subscribe()
    }

    /// The last ten minutes, oldest first.
    #[must_use]
    pub fn recent(&self) -> Vec<Reading> {
        self.recent.lock().readings()
    }

    /// Notices that are open now, and those to come.
    #[must_use]
    pub fn notices(&self) -> (Vec<Arc<Notice>>, broadcast::Receiver<Arc<Notice>>) {
        // In this order nothing falls between; an episode may come twice, and is shown once.
        let to_come = self.notices.subscribe();
        (self.open_notices.lock().iter().cloned().collect(), to_come)
    }

    /// Whether any notice is open now.
    #[must_use]
    pub fn has_notices(&self) -> bool {
        !self.open_notices.lock().is_empty()
    }

    /// How the link is.
    #[must_use]
    pub fn link(&self) -> LinkStatus {
        self.link.lock().clone()
    }

    /// The link is in another state now.
    pub fn set_link_state(&self, state: LinkState) {
        self.link.lock().state = state;
        self.take_orders_back();
    }

    /// Takes back what was ordered over a stream that is no more: its collector may have changed its
    /// mind meanwhile, and nobody would hear of it. It orders anew.
    fn take_orders_back(&self) {
        let open = self.open_notices.lock().clone();
        for order in open.iter().filter(|notice| notice.is_order()) {
            self.notify(Notice {
                cleared: true,
                ..Notice::clone(order)
            });
        }
    }

    /// Reports go out over `url`, by a new stream.
    pub fn streams_over(&self, url: &CollectorUrl) {
        self.take_orders_back();
        let mut link = self.link.lock();
        let collector = url.to_string();
        link.passed_over
            .retain(|other| other.collector != collector);
        link.state = LinkState::Streaming;
        link.carrier = Some(url.carrier());
        link.collector = Some(collector);
    }

    /// `url` does not work.
    pub fn passed_over(&self, url: &CollectorUrl, why: &str) {
        let collector = url.to_string();
        let why = why[..why.floor_char_boundary(WHY_BYTES_MAX)].replace(char::is_control, " ");
        let mut link = self.link.lock();
        link.passed_over
            .retain(|other| other.collector != collector);
        link.passed_over.push(PassedOver { collector, why });
    }

    /// The collector said where it is reached.
    pub fn set_api_url(&self, url: String) {
        self.link.lock().api_url = Some(url);
    }
}

// === impl Notice ===

impl Notice {
    fn is_order(&self) -> bool {
        self.rule == ORDERING_RULE && self.stops_at.is_some()
    }
}

// === impl Minute ===

impl Minute {
    fn pass(&self, now_ms: u64) {
        let mut begun_ms = self.begun_ms.lock();
        let since_ms = *begun_ms.get_or_insert(now_ms);
        if now_ms.saturating_sub(since_ms) >= MINUTE_MS {
            *begun_ms = Some(now_ms);
            self.over.notify_one();
        }
    }
}

#[allow(clippy::ref_option)] // serde hands over what the field is
fn in_seconds<S: serde::Serializer>(ms: &Option<u64>, serializer: S) -> Result<S::Ok, S::Error> {
    ms.map(|ms| ms as f64 / 1_000.0).serialize(serializer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::encode::tests::sample;

    fn board() -> Board {
        Board::new(LinkStatus::default())
    }

    fn notice(episode: &str, cleared: bool) -> Notice {
        Notice {
            episode: episode.to_owned(),
            rule: "near_limit".to_owned(),
            severity: "warning",
            text: String::new(),
            workload_id: None,
            cleared,
            stops_at: None,
            to_limit_ms: None,
            trend_bytes_per_second: None,
        }
    }

    #[test]
    fn recent_is_bounded_in_time_and_number() {
        let board = board();
        let show = |at_ms| {
            board.show(Reading {
                sample: sample(at_ms, 1),
                figures: Figures::default(),
            });
        };
        for second in 0..2_000 {
            show(second * 1_000);
        }
        assert_eq!(board.recent().len(), RECENT_MAX);
        for tick in 0..1_000 {
            show(2_000_000 + tick * 5_000);
        }
        let recent = board.recent();
        assert_eq!(recent.len(), 121);
        assert!(recent.is_sorted_by_key(|reading| reading.sample.mono_ms));
    }

    #[test]
    fn a_cleared_notice_is_no_longer_open_and_many_do_not_grow() {
        let board = board();
        for episode in 0..100 {
            board.notify(notice(&episode.to_string(), false));
        }
        assert_eq!(board.notices().0.len(), NOTICES_MAX);
        board.notify(notice("99", false));
        board.notify(notice("98", true));
        let (open, _) = board.notices();
        assert_eq!(open.len(), NOTICES_MAX - 1);
        assert!(open.iter().all(|notice| notice.episode != "98"));
    }

    #[test]
    fn what_a_collector_ordered_goes_with_its_stream_and_what_it_only_told_stays() {
        let board = board();
        let url = CollectorUrl::parse("grpc://127.0.0.1:1", false).unwrap();
        board.streams_over(&url);
        let timed = |episode: &str, rule: &str| Notice {
            rule: rule.to_owned(),
            stops_at: Some(WallTime(1)),
            ..notice(episode, false)
        };
        let tell = || {
            board.notify(timed("order", ORDERING_RULE));
            board.notify(timed("warning", "idle"));
            let offer = ORDERING_RULE.to_owned();
            board.notify(Notice {
                rule: offer,
                ..notice("offer", false)
            });
        };
        let breaks: [&dyn Fn(); 2] = [&|| board.set_link_state(LinkState::Connecting), &|| {
            board.streams_over(&url);
        }];
        for breaks in breaks {
            tell();
            let (open, mut to_come) = board.notices();
            assert_eq!(open.len(), 3);
            breaks();
            let told = to_come.try_recv().unwrap();
            assert_eq!((told.episode.as_str(), told.cleared), ("order", true));
            assert!(to_come.try_recv().is_err());
            let (open, _) = board.notices();
            let open: Vec<_> = open.iter().map(|notice| notice.episode.as_str()).collect();
            assert_eq!(open, ["warning", "offer"]);
        }
    }
}
