//! What the collector says, as the wire has it.

use hubmeter_proto::{limits as wire, v1};
use prost::{
    Message as _,
    encoding::{WireType, encode_key, encode_varint},
};

use super::{ByeReason, Notice, Outgoing};
use crate::verdict::{Severity, number_of};

/// The field of Down that nobody reads.
const PADDING: u32 = 15;

/// Writes one message.
#[must_use]
pub fn write(message: Outgoing) -> Vec<u8> {
    // Welcome is waited for; receipts can wait.
    let is_urgent = !matches!(message, Outgoing::Welcome { .. } | Outgoing::Receipt { .. });
    let body = match message {
        Outgoing::Welcome {
            protocol,
            resume_seq,
            interval_ms,
            api_url,
        } => v1::down::Body::Welcome(v1::Welcome {
            protocol,
            resume_seq,
            interval_ms,
            report_bytes_max: u32::try_from(wire::MESSAGE_BYTES_MAX).unwrap_or(u32::MAX),
            api_url,
            collector_version: env!("CARGO_PKG_VERSION").to_owned(),
            // A server that begins is looked at; leave to wait comes later.
            hold_ms: 0,
            urgent_bytes: u32::try_from(wire::URGENT_BYTES).unwrap_or(0),
            takes_activity: true,
        }),
        Outgoing::Receipt { through_seq } => v1::down::Body::Receipt(v1::Receipt { through_seq }),
        Outgoing::Pace {
            interval_ms,
            hold_ms,
        } => v1::down::Body::Pace(v1::Pace {
            interval_ms,
            hold_ms,
        }),
        Outgoing::Notice(notice) => v1::down::Body::Notice(write_notice(*notice)),
        Outgoing::Bye {
            reason,
            retry_after_ms,
        } => v1::down::Body::Bye(v1::Bye {
            reason: write_reason(reason).into(),
            retry_after_ms,
        }),
    };
    let mut bytes = v1::Down { body: Some(body) }.encode_to_vec();
    if is_urgent {
        pad(&mut bytes);
    }
    bytes
}

/// Zeros behind it, so that it is long enough to wake an agent that lets small messages wait.
fn pad(bytes: &mut Vec<u8>) {
    let short = wire::URGENT_BYTES.saturating_sub(bytes.len());
    if short > 0 {
        encode_key(PADDING, WireType::LengthDelimited, bytes);
        encode_varint(short as u64, bytes);
        bytes.resize(bytes.len() + short, 0);
    }
}

fn write_notice(notice: Notice) -> v1::Notice {
    let verdict = notice.verdict;
    let seconds_to_limit = number_of(&verdict, "seconds_to_limit");
    let trend = number_of(&verdict, "trend_bytes_per_second");
    v1::Notice {
        // Floats are cut to what fits.
        to_limit_ms: seconds_to_limit.map(|seconds| (seconds * 1_000.0) as u64),
        trend_bytes_per_second: trend.map(|trend| trend as i64),
        stops_in_ms: notice.stops_in_ms,
        episode: verdict.episode,
        rule: verdict.rule.as_str().to_owned(),
        severity: match verdict.severity {
            Severity::Info => v1::Severity::Info,
            Severity::Warning => v1::Severity::Warning,
            Severity::Critical => v1::Severity::Critical,
        }
        .into(),
        text: notice.text,
        workload_id: verdict
            .workload
            .map(|w| w.id.as_str().to_owned())
            .unwrap_or_default(),
        cleared: verdict.cleared_ms.is_some(),
    }
}

fn write_reason(reason: ByeReason) -> v1::bye::Reason {
    match reason {
        ByeReason::Shutdown => v1::bye::Reason::Shutdown,
        ByeReason::Superseded => v1::bye::Reason::Superseded,
        ByeReason::Unauthenticated => v1::bye::Reason::Unauthenticated,
        ByeReason::Protocol => v1::bye::Reason::Protocol,
        ByeReason::Quota => v1::bye::Reason::Quota,
        ByeReason::Busy => v1::bye::Reason::Busy,
        ByeReason::Silent => v1::bye::Reason::Silent,
        ByeReason::Version => v1::bye::Reason::Version,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(message: Outgoing) -> (usize, v1::down::Body) {
        let bytes = write(message);
        let down = v1::Down::decode(bytes.as_slice()).unwrap();
        (bytes.len(), down.body.unwrap())
    }

    #[test]
    fn what_must_not_wait_is_long_enough_to_wake_an_agent_and_says_the_same() {
        let pace = Outgoing::Pace {
            interval_ms: Some(5_000),
            hold_ms: Some(0),
        };
        let (length, body) = told(pace);
        assert!(length >= wire::URGENT_BYTES, "{length}");
        let expected = v1::Pace {
            interval_ms: Some(5_000),
            hold_ms: Some(0),
        };
        assert_eq!(body, v1::down::Body::Pace(expected));
        let (length, _) = told(Outgoing::Bye {
            reason: ByeReason::Shutdown,
            retry_after_ms: 4_000,
        });
        assert!(length >= wire::URGENT_BYTES, "{length}");
    }

    #[test]
    fn a_receipt_is_short_and_an_agent_is_told_that_it_may_lie_unread() {
        let (length, _) = told(Outgoing::Receipt { through_seq: 7 });
        assert!(length < 8, "{length}");
        let (_, body) = told(Outgoing::Welcome {
            protocol: 2,
            resume_seq: 1,
            interval_ms: 0,
            api_url: String::new(),
        });
        let v1::down::Body::Welcome(welcome) = body else {
            panic!("no Welcome: {body:?}");
        };
        assert_eq!(welcome.urgent_bytes as usize, wire::URGENT_BYTES);
    }
}
