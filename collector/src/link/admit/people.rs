//! What people do and saw, from the wire.

use hubmeter_proto::{limits as wire, v1};

use super::{
    Admitted, ClockOffset,
    bounds::{label, maybe, out, text},
};
use crate::{
    fact::{Activity, InputKind, Job},
    text::Label,
};

/// Reads what people do.
pub(super) fn activity(
    activity: &v1::Activity,
    arrived_ms: i64,
    clock: ClockOffset,
) -> Admitted<Activity> {
    maybe("activity.input_mono_ms", activity.input_mono_ms)?;
    maybe("activity.kept_until_mono_ms", activity.kept_until_mono_ms)?;
    if activity.jobs.len() > wire::WORKLOADS_PER_SAMPLE_MAX {
        return Err(out("activity.jobs", "too many"));
    }
    let jobs = activity.jobs.iter().enumerate().map(|(i, job)| {
        let at = |field: &str| format!("activity.jobs[{i}].{field}");
        text(&at("terminal_id"), &job.terminal_id, wire::LABEL_BYTES_MAX)?;
        text(&at("program"), &job.program, wire::LABEL_BYTES_MAX)?;
        Ok(Job {
            terminal: label(&job.terminal_id),
            program: label(&job.program),
        })
    });
    let jobs: Admitted<Vec<Job>> = jobs.collect();
    let by_our_clock = |mono_ms: u64| {
        let mono_ms = i64::try_from(mono_ms).unwrap_or(i64::MAX);
        clock.offset_ms.saturating_add(mono_ms)
    };
    // However long ago it was; but nobody has done anything yet that they will do.
    let input_ms = activity.input_mono_ms.map(by_our_clock);
    let input_ms = input_ms.map(|input_ms| input_ms.min(arrived_ms));
    Ok(Activity {
        input_ms,
        input_kind: input_kind(activity.input_kind).filter(|_| input_ms.is_some()),
        kept_until_ms: activity.kept_until_mono_ms.map(by_our_clock),
        jobs: jobs?,
        page_open: activity.page_open,
    })
}

/// Reads which notices were seen.
pub(super) fn shown(shown: &v1::Shown) -> Admitted<Vec<Label>> {
    if shown.episodes.len() > wire::SHOWN_MAX {
        return Err(out("shown.episodes", "too many"));
    }
    let episodes = shown.episodes.iter().enumerate().map(|(i, episode)| {
        let field = format!("shown.episodes[{i}]");
        text(&field, episode, wire::EPISODE_BYTES_MAX)?;
        Ok(Label::clean(episode, wire::EPISODE_BYTES_MAX))
    });
    episodes.collect()
}

fn input_kind(kind: i32) -> Option<InputKind> {
    match v1::InputKind::try_from(kind) {
        Ok(v1::InputKind::Typing) => Some(InputKind::Typing),
        Ok(v1::InputKind::Run) => Some(InputKind::Run),
        Ok(v1::InputKind::Terminal) => Some(InputKind::Terminal),
        Ok(v1::InputKind::Save) => Some(InputKind::Save),
        Ok(v1::InputKind::Unspecified) | Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use prost::Message as _;

    use super::*;
    use crate::link::admit::{Incoming, read};

    const CLOCK: ClockOffset = ClockOffset {
        offset_ms: 1_000_000,
    };
    const NOW_MS: i64 = 1_100_000;

    fn said(body: v1::up::Body) -> Admitted<Incoming> {
        let up = v1::Up { body: Some(body) };
        read(&Bytes::from(up.encode_to_vec()), NOW_MS, CLOCK)
    }

    fn at_work() -> v1::Activity {
        v1::Activity {
            input_mono_ms: Some(90_000),
            input_kind: v1::InputKind::Save.into(),
            kept_until_mono_ms: Some(500_000),
            jobs: vec![v1::Job {
                terminal_id: "1".to_owned(),
                program: "rsync\n".to_owned(),
            }],
            page_open: Some(true),
        }
    }

    #[test]
    fn moments_are_by_our_clock_and_none_is_of_the_future_but_what_is_to_end() {
        let read = activity(&at_work(), NOW_MS, CLOCK).unwrap();
        assert_eq!(read.input_ms, Some(1_090_000));
        assert_eq!(read.input_kind, Some(InputKind::Save));
        assert_eq!(read.kept_until_ms, Some(1_500_000));
        assert_eq!(read.page_open, Some(true));
        let program = read.job_in(&label("1")).unwrap();
        assert!(!program.as_str().contains('\n'), "{program:?}");
        let ahead = v1::Activity {
            input_mono_ms: Some(103_000),
            ..at_work()
        };
        let read = activity(&ahead, NOW_MS, CLOCK).unwrap();
        assert_eq!(read.input_ms, Some(NOW_MS));
    }

    #[test]
    fn what_nobody_told_is_unknown_and_a_newer_agents_kind_too() {
        let none = activity(&v1::Activity::default(), NOW_MS, CLOCK).unwrap();
        assert_eq!(none, Activity::default());
        let newer = v1::Activity {
            input_kind: 99,
            ..at_work()
        };
        assert_eq!(activity(&newer, NOW_MS, CLOCK).unwrap().input_kind, None);
    }

    #[test]
    fn every_bound_is_held_before_anything_is_kept() {
        let refused = |body| said(body).unwrap_err().to_string();
        let many = v1::Activity {
            jobs: vec![v1::Job::default(); 65],
            ..v1::Activity::default()
        };
        let many = refused(v1::up::Body::Activity(many));
        assert_eq!(many, "activity.jobs is out of bounds: too many");
        let far = v1::Activity {
            input_mono_ms: Some(u64::MAX),
            ..v1::Activity::default()
        };
        let far = refused(v1::up::Body::Activity(far));
        assert!(far.starts_with("activity.input_mono_ms"), "{far}");
        let shown = |episodes| v1::up::Body::Shown(v1::Shown { episodes });
        let many = refused(shown(vec![String::new(); 33]));
        assert_eq!(many, "shown.episodes is out of bounds: too many");
        let long = refused(shown(vec!["x".repeat(65)]));
        assert_eq!(long, "shown.episodes[0] is out of bounds: too long");
        let taken = said(shown(vec!["e1".to_owned()])).unwrap();
        assert_eq!(taken, Incoming::Shown(vec![label("e1")]));
    }
}
