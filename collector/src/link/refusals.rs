//! What a refusal leaves behind: a counter by reason, and a line of the log at most every
//! [`limits::REFUSAL_TOLD_EVERY_MS`] for each peer and reason. Nothing else, however often it
//! happens: whoever can be refused can be refused for ever.

use std::{collections::HashMap, fmt, net::IpAddr, sync::Arc};

use parking_lot::Mutex;

use crate::{
    clock::Clock,
    fact::ServerKey,
    limits,
    stats::{Reject, Stats},
    text::Label,
};

/// Who was refused, as far as that is known.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Who {
    /// A machine, or the proxy in front of many.
    Address(IpAddr),
    /// A user of this machine.
    Uid(u32),
    /// A server that proved to be one.
    Server(ServerKey),
    /// Nobody can tell.
    Unknown,
}

/// Counts and tells. Clones share everything.
#[derive(Clone)]
pub struct Refusals(Arc<Inner>);

struct Inner {
    stats: Stats,
    clock: Arc<dyn Clock>,
    told: Mutex<HashMap<(Who, Reject), Told>>,
}

/// The last line about one peer and reason.
struct Told {
    at_ms: i64,
    /// Refused since, without a line.
    since: u64,
}

// === impl Refusals ===

impl Refusals {
    /// Nothing was refused yet.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, stats: Stats) -> Self {
        Self(Arc::new(Inner {
            stats,
            clock,
            told: Mutex::default(),
        }))
    }

    /// Where they are counted.
    pub(crate) fn stats(&self) -> &Stats {
        &self.0.stats
    }

    /// `who` was refused for `reason`. `detail` may hold a peer's words.
    pub fn refuse(&self, who: Who, reason: Reject, detail: impl fmt::Display) {
        self.0.stats.reject(reason);
        let Some((who, more)) = self.is_due(who, reason) else {
            return;
        };
        let detail = Label::clean(&detail.to_string(), limits::LOGGED_BYTES_MAX);
        tracing::info!(reason = reason.as_str(), peer = %who, more, %detail, "refused");
    }

    /// Whom a line is due about, and how many were refused since the last one.
    fn is_due(&self, who: Who, reason: Reject) -> Option<(Who, u64)> {
        let now_ms = self.0.clock.now_ms();
        let is_over = |told: &Told| {
            now_ms.saturating_sub(told.at_ms).unsigned_abs() >= limits::REFUSAL_TOLD_EVERY_MS
        };
        let mut told = self.0.told.lock();
        let mut entry = (who, reason);
        if told.len() >= limits::REFUSALS_TOLD_MAX && !told.contains_key(&entry) {
            told.retain(|_, told| !is_over(told));
            if told.len() >= limits::REFUSALS_TOLD_MAX {
                // Too many peers to tell apart: all others share a line for each reason.
                entry.0 = Who::Unknown;
            }
        }
        let mut more = 0;
        if let Some(last) = told.get_mut(&entry) {
            if !is_over(last) {
                last.since += 1;
                return None;
            }
            more = last.since;
        }
        let at_ms = now_ms;
        told.insert(entry.clone(), Told { at_ms, since: 0 });
        Some((entry.0, more))
    }
}

// === impl Who ===

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "{address}"),
            Self::Uid(uid) => write!(f, "uid {uid}"),
            Self::Server(key) => {
                let name = format!("{}/{}", key.user, key.server);
                write!(
                    f,
                    "server {}",
                    Label::clean(&name, limits::LOGGED_BYTES_MAX)
                )
            }
            Self::Unknown => f.write_str("somebody"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{io, net::Ipv4Addr};

    use tracing_subscriber::fmt::MakeWriter;

    use super::*;
    use crate::clock::ManualClock;

    /// The log as the program writes it, in memory.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Log {
        type Writer = Self;

        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    /// What is logged while `refuse` refuses, line by line.
    fn lines(refuse: impl FnOnce(&Refusals, &ManualClock)) -> (Vec<String>, Stats) {
        let (log, stats) = (Log::default(), Stats::new());
        let clock = Arc::new(ManualClock::at(1_000));
        let refusals = Refusals::new(clock.clone(), stats.clone());
        let subscriber = tracing_subscriber::fmt()
            .with_writer(log.clone())
            .json()
            .finish();
        tracing::subscriber::with_default(subscriber, || refuse(&refusals, &clock));
        let text = String::from_utf8(log.0.lock().clone()).unwrap();
        (text.lines().map(str::to_owned).collect(), stats)
    }

    fn address(number: u32) -> Who {
        Who::Address(Ipv4Addr::from_bits(number).into())
    }

    #[test]
    fn a_hundred_thousand_refusals_are_counted_and_leave_a_few_lines() {
        let (lines, stats) = lines(|refusals, clock| {
            for number in 0..100_000_u32 {
                // Half a minute of it, from four peers.
                if number % 10_000 == 9_999 {
                    clock.advance(3_000);
                }
                refusals.refuse(
                    address(number % 4),
                    Reject::UnknownToken,
                    "x".repeat(10_000),
                );
            }
        });
        assert_eq!(stats.rejected(Reject::UnknownToken), 100_000);
        assert!((4..=16).contains(&lines.len()), "{} lines", lines.len());
        let bytes: usize = lines.iter().map(String::len).sum();
        assert!(bytes < 16 * 1024, "{bytes} bytes");
        // No refusal is left out of the sum that the lines tell.
        let told = lines.iter().map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            1 + line["fields"]["more"].as_u64().unwrap()
        });
        assert!(told.sum::<u64>() > 50_000);
    }

    #[test]
    fn a_hundred_thousand_peers_leave_no_more_than_the_table_holds() {
        let (lines, stats) = lines(|refusals, _| {
            for number in 0..100_000 {
                refusals.refuse(address(number), Reject::Handshake, "in time");
            }
        });
        assert_eq!(stats.rejected(Reject::Handshake), 100_000);
        assert_eq!(lines.len(), limits::REFUSALS_TOLD_MAX + 1);
        assert!(lines.last().unwrap().contains("somebody"));
    }

    #[test]
    fn each_reason_and_each_peer_has_its_line_and_the_next_one_after_ten_seconds() {
        let every_ms = i64::try_from(limits::REFUSAL_TOLD_EVERY_MS).unwrap();
        let (lines, _) = lines(|refusals, clock| {
            for (wait_ms, times) in [(every_ms - 1, 3), (1, 1), (0, 5)] {
                for _ in 0..times {
                    refusals.refuse(address(1), Reject::Quota, "");
                    refusals.refuse(address(2), Reject::Quota, "");
                    refusals.refuse(address(1), Reject::Silent, "");
                }
                clock.advance(wait_ms);
            }
        });
        // At 0 ms the first, at 9,999 ms none, at 10,000 ms the second.
        assert_eq!(lines.len(), 6, "{lines:#?}");
    }

    #[test]
    fn a_clock_that_goes_back_silences_nobody_for_long() {
        let (lines, _) = lines(|refusals, clock| {
            refusals.refuse(address(1), Reject::Quota, "");
            clock.advance(-3_600_000);
            refusals.refuse(address(1), Reject::Quota, "");
        });
        assert_eq!(lines.len(), 2);
    }

    #[test]
    fn what_a_peer_says_stays_one_line_of_harmless_text() {
        let (lines, _) = lines(|refusals, _| {
            let key = ServerKey::new("a\u{202e}b\n", "\u{1b}[31m");
            refusals.refuse(
                Who::Server(key),
                Reject::Undecodable,
                "x\r\n{\"level\":\"ERROR\"}",
            );
        });
        assert_eq!(lines.len(), 1);
        let line: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
        let fields = line["fields"].to_string();
        assert!(
            !fields.contains("\\u001b") && !fields.contains('\u{202e}'),
            "{fields}"
        );
        assert_eq!(line["level"], "INFO");
    }
}
