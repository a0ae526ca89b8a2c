//! Counts what a message says it holds, before it is decoded.
//!
//! An empty sub-message is two bytes on the wire and some hundred in memory: 64 KiB of them would
//! become 25 MB before anybody could count them. Walking over the bytes costs a part of decoding.

use hubmeter_proto::limits as wire;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

use super::{
    Admitted, Refusal,
    bounds::{cut, out},
};

// Numbers of `link.proto`, which never change.
const UP_REPORT: u32 = 2;
const REPORT_SAMPLES: u32 = 2;
const SAMPLE_WORKLOADS: u32 = 24;
const SAMPLE_ENDED: u32 = 25;
const UP_ACTIVITY: u32 = 6;
const ACTIVITY_JOBS: u32 = 4;
const UP_SHOWN: u32 = 7;
const SHOWN_EPISODES: u32 = 1;

/// Refuses a message with more samples, or a sample with more workloads, than there may be.
pub(super) fn check(message: &[u8]) -> Admitted<()> {
    // A report that comes in parts is one report.
    let mut samples = 0;
    each(message, |number, report| {
        match number {
            UP_REPORT => {}
            UP_ACTIVITY => {
                let jobs_max = wire::WORKLOADS_PER_SAMPLE_MAX;
                return at_most(report, ACTIVITY_JOBS, jobs_max, "activity.jobs");
            }
            UP_SHOWN => return at_most(report, SHOWN_EPISODES, wire::SHOWN_MAX, "shown.episodes"),
            _ => return Ok(()),
        }
        each(report, |number, sample| {
            if number != REPORT_SAMPLES {
                return Ok(());
            }
            samples += 1;
            if samples > wire::SAMPLES_PER_REPORT_MAX {
                return Err(out("report.samples", "too many"));
            }
            check_sample(sample, samples - 1)
        })
    })
}

fn check_sample(sample: &[u8], place: usize) -> Admitted<()> {
    let (mut workloads, mut ended) = (0, 0);
    each(sample, |number, _| {
        let (count, most, name) = match number {
            SAMPLE_WORKLOADS => (&mut workloads, wire::WORKLOADS_PER_SAMPLE_MAX, "workloads"),
            SAMPLE_ENDED => (&mut ended, wire::ENDED_PER_SAMPLE_MAX, "ended"),
            _ => return Ok(()),
        };
        *count += 1;
        if *count > most {
            return Err(out(&format!("report.samples[{place}].{name}"), "too many"));
        }
        Ok(())
    })
}

/// Refuses a message with more than `most` of one of its fields.
fn at_most(message: &[u8], field: u32, most: usize, name: &str) -> Admitted<()> {
    let mut count = 0;
    each(message, |number, _| {
        count += usize::from(number == field);
        match count > most {
            true => Err(out(name, "too many")),
            false => Ok(()),
        }
    })
}

/// Every field of `message` that has a length, with its number.
fn each<'a>(
    mut message: &'a [u8],
    mut take: impl FnMut(u32, &'a [u8]) -> Admitted<()>,
) -> Admitted<()> {
    let undecodable = |error: prost::DecodeError| Refusal::Undecodable(cut(&error.to_string()));
    while !message.is_empty() {
        let (number, kind) = decode_key(&mut message).map_err(undecodable)?;
        if kind != WireType::LengthDelimited {
            skip_field(kind, number, &mut message, DecodeContext::default())
                .map_err(undecodable)?;
            continue;
        }
        let bytes = decode_varint(&mut message).map_err(undecodable)?;
        let field = usize::try_from(bytes)
            .ok()
            .and_then(|bytes| message.split_at_checked(bytes));
        let Some((field, rest)) = field else {
            let why = "a field is longer than what is left of its message";
            return Err(Refusal::Undecodable(why.to_owned()));
        };
        take(number, field)?;
        message = rest;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use hubmeter_proto::v1;
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;

    fn message(samples: Vec<v1::Sample>) -> Vec<u8> {
        let report = v1::Report { seq: 1, samples };
        let body = Some(v1::up::Body::Report(report));
        v1::Up { body }.encode_to_vec()
    }

    fn of_workloads(count: usize) -> v1::Sample {
        v1::Sample {
            workloads: vec![v1::Workload::default(); count],
            ..v1::Sample::default()
        }
    }

    fn of_ended(count: usize) -> v1::Sample {
        v1::Sample {
            ended: vec![v1::Ended::default(); count],
            ..v1::Sample::default()
        }
    }

    #[test]
    fn as_many_as_may_be_pass_and_one_more_is_refused_by_name() {
        let refused = |field: &str| Err(out(field, "too many"));
        let samples = |count| message(vec![v1::Sample::default(); count]);
        assert_eq!(check(&samples(wire::SAMPLES_PER_REPORT_MAX)), Ok(()));
        let many = samples(wire::SAMPLES_PER_REPORT_MAX + 1);
        assert_eq!(check(&many), refused("report.samples"));

        let workloads = |count| message(vec![v1::Sample::default(), of_workloads(count)]);
        assert_eq!(check(&workloads(wire::WORKLOADS_PER_SAMPLE_MAX)), Ok(()));
        let many = workloads(wire::WORKLOADS_PER_SAMPLE_MAX + 1);
        assert_eq!(check(&many), refused("report.samples[1].workloads"));

        let ended = |count| message(vec![of_ended(count)]);
        assert_eq!(check(&ended(wire::ENDED_PER_SAMPLE_MAX)), Ok(()));
        let many = ended(wire::ENDED_PER_SAMPLE_MAX + 1);
        assert_eq!(check(&many), refused("report.samples[0].ended"));
    }

    #[test]
    fn a_report_in_many_parts_is_counted_as_the_one_it_becomes() {
        let part = message(vec![v1::Sample::default(); wire::SAMPLES_PER_REPORT_MAX]);
        let parts = [part.clone(), part].concat();
        assert_eq!(check(&parts), Err(out("report.samples", "too many")));
    }

    proptest! {
        #[test]
        fn whatever_decodes_within_the_bounds_passes_and_nothing_else_panics(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            if let Ok(v1::Up { body: Some(v1::up::Body::Report(_)) }) = v1::Up::decode(&bytes[..]) {
                prop_assert_eq!(check(&bytes), Ok(()));
            } else {
                let _ = check(&bytes);
            }
        }
    }
}
