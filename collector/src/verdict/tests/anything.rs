//! Samples that no server ever sent: nothing breaks, and what opens closes.

use super::*;

/// A sample of anything.
fn any_sample() -> impl Strategy<Value = (u64, u64, u64, u32, u32, bool, Option<bool>, Option<u64>)>
{
    (
        1_u64..200_000,
        0_u64..4_000,
        0_u64..400_000,
        0_u32..5_000,
        0_u32..5_000,
        any::<bool>(),
        any::<Option<bool>>(),
        prop::option::of(0_u64..1_200),
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn whatever_comes_nothing_breaks_and_all_that_opened_closes_when_the_server_stops(
        samples in prop::collection::vec(any_sample(), 1..120),
    ) {
        let judged = || {
            let mut state = State::new(Policy {
                overuse_cpu_cores: 2.0,
                overuse_memory_bytes: 1_000 * MB,
                ..Policy::default()
            });
            let (mut at_ms, mut cpu_millis, mut told) = (0, 0, Vec::new());
            state.apply(&connected(1, 0));
            for (seq, any) in (1..).zip(&samples) {
                let (step_ms, used_mb, cpu, processes, threads, burst, busy, disk) = *any;
                at_ms += step_ms;
                cpu_millis += cpu;
                let mut sample = sample(at_ms, used_mb * MB);
                sample.burst = burst;
                sample.interval_ms = u32::try_from(step_ms).unwrap();
                sample.cpu_millis = cpu_millis;
                (sample.processes, sample.threads) = (processes, threads);
                let kernel = &mut sample.workloads[0];
                kernel.cpu_millis = cpu_millis;
                (kernel.processes, kernel.threads) = (processes, threads);
                kernel.state = busy.map(|busy| if busy { WorkloadState::Busy } else { WorkloadState::Idle });
                kernel.idle_ms = (burst && busy == Some(false)).then_some(at_ms * 3);
                sample.vitals.disk = disk.map(|used| Disk {
                    used_bytes: used,
                    limit_bytes: used_mb % 1_000,
                    quota: burst,
                    age_ms: processes * 2_000,
                });
                told.extend(state.apply(&report(1, seq, vec![sample])).verdicts);
                assert_eq!(invariants::check(&state), Ok(()));
            }
            let ended = state.apply(&disconnected(1, at_ms as i64 + 1, true));
            assert!(ended.verdicts.iter().all(|verdict| verdict.cleared_ms.is_some()));
            let open = &server(&state).verdicts;
            assert!(open.iter().all(|verdict| verdict.rule == Rule::Killed), "{open:?}");
            told.extend(ended.verdicts);
            told
        };
        let told = judged();
        prop_assert!(told == judged(), "the same samples give other verdicts");
        for opened in told.iter().filter(|verdict| verdict.cleared_ms.is_none()) {
            let closes = |other: &Verdict| {
                other.episode == opened.episode && other.cleared_ms.is_some()
            };
            prop_assert!(told.iter().any(closes), "{opened:?} never ends");
        }
    }
}
