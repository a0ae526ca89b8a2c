use proptest::prelude::*;

use super::*;
use crate::history::chunk::Codec;

const STEP_MS: i64 = 60_000;

prop_compose! {
    fn row()(
        at_ms in 0..600_000_i64,
        instance in 0..3_u8,
        seq in 0..5_i64,
        mono_ms in prop_oneof![0..600_000_i64, any::<i64>()],
        burst in any::<bool>(),
        momentum_bytes in any::<Option<i64>>(),
        metrics in prop_oneof![
            any::<[Option<i64>; METRICS.len()]>(),
            any::<[Option<i16>; METRICS.len()]>().prop_map(|some| some.map(|n| n.map(i64::from))),
        ],
    ) -> Row {
        let id = RowId { at_ms, instance: [instance; 16], seq, index: 0 };
        Row { id, mono_ms, interval_ms: 5_000, burst, momentum_bytes, metrics }
    }
}

fn rows() -> impl Strategy<Value = Rows> {
    let rows = prop::collection::vec(row(), 0..50);
    rows.prop_map(|rows| {
        rows.into_iter()
            .map(|row| (row.id, Box::new(row)))
            .collect()
    })
}

fn columns() -> impl Strategy<Value = Vec<Column>> {
    prop::sample::subsequence(Column::ALL.to_vec(), 0..6)
}

fn fields(columns: &[Column]) -> Vec<Field> {
    let stats = [Stat::Mean, Stat::Min, Stat::Max];
    let of = |column: &Column| {
        stats.map(|stat| Field {
            column: *column,
            stat,
        })
    };
    columns.iter().flat_map(of).collect()
}

/// What the disk gives back of the first `columns`.
fn stored(chunk: &Chunk, columns: usize) -> Chunk {
    let mut codec = Codec::new().unwrap();
    let stored = codec.encode(chunk, tier::hint);
    codec.decode_first(&stored, columns).unwrap()
}

/// What a step says of a field, step by step and metric by metric.
fn told(step: &Step, field: Field) -> Option<i64> {
    let span = step.metrics[metric(field.column)?]?;
    Some(match field.stat {
        Stat::Mean if field.column.is_counter() => span.max,
        Stat::Mean => span.mean,
        Stat::Min => span.min,
        Stat::Max => span.max,
    })
}

/// Begins of steps of `length_ms` that hold one of `times`.
fn starts(times: impl Iterator<Item = i64>, length_ms: i64) -> Vec<i64> {
    let mut starts: Vec<i64> = times.map(|at_ms| tier::floor(at_ms, length_ms)).collect();
    starts.dedup();
    starts
}

proptest! {
    #[test]
    fn samples_in_steps_are_the_steps_of_their_rows(
        rows in rows(),
        columns in columns(),
        step_ms in prop_oneof![Just(1_000_i64), Just(STEP_MS), Just(STEP_MS * 60)],
    ) {
        let fields = fields(&columns);
        let mut gather = Gather::new(step_ms, &fields);
        let mut samples = Samples::default();
        samples.push_rows(&rows, &gather.wanted(), (0, 600_000));
        gather.push_samples(&samples);
        gather.close();
        let starts = starts(rows.keys().map(|id| id.at_ms), step_ms);
        prop_assert_eq!(&gather.time, &starts);
        for (place, start_ms) in starts.into_iter().enumerate() {
            let within = rows.range(RowId::first(start_ms)..RowId::first(start_ms + step_ms));
            let step = Step::of_rows(start_ms, within.map(|(_, row)| &**row));
            for (field, cells) in fields.iter().zip(&gather.cells) {
                prop_assert_eq!(cells[place], told(&step, *field), "{}", field.name());
            }
        }
    }

    #[test]
    fn samples_of_a_chunk_are_those_of_its_rows(
        rows in rows(),
        columns in columns(),
        within in (0..600_000_i64, 0..600_001_i64),
    ) {
        let wanted = Wanted::new(columns);
        let chunk = stored(&row::to_chunk(&rows, 0), wanted.columns_of_rows());
        let [mut of_chunk, mut of_rows] = [(); 2].map(|()| Samples::default());
        of_chunk.push_chunk(&chunk, 0, &wanted, within).unwrap();
        of_rows.push_rows(&rows, &wanted, within);
        prop_assert_eq!(of_chunk, of_rows);
    }

    #[test]
    fn steps_of_a_chunk_are_those_of_its_steps(
        rows in rows(),
        columns in columns(),
        step_ms in prop_oneof![Just(STEP_MS), Just(STEP_MS * 3)],
        within in (0..600_000_i64, 0..600_001_i64),
    ) {
        let minutes: Steps = crate::history::shelf::minutes_of(&rows, &rows).into_iter().collect();
        let fields = fields(&columns);
        let [mut of_chunk, mut of_steps] = [(); 2].map(|()| Gather::new(step_ms, &fields));
        let needed = of_chunk.wanted().columns_of_steps();
        let chunk = stored(&tier::to_chunk(&minutes, 0), needed);
        let added = of_chunk.push_chunk(&chunk, 0, within).unwrap();
        prop_assert_eq!(of_steps.push_steps(&minutes, within), added);
        of_chunk.close();
        of_steps.close();
        prop_assert_eq!(&of_chunk.time, &of_steps.time);
        prop_assert_eq!(&of_chunk.cells, &of_steps.cells);
        for (place, start_ms) in of_steps.time.iter().enumerate() {
            let end_ms = within.1.min(start_ms + step_ms);
            let steps = minutes.range(within.0.max(*start_ms)..end_ms);
            let step = Step::of_steps(*start_ms, steps.map(|(_, step)| step));
            for (field, cells) in fields.iter().zip(&of_steps.cells) {
                prop_assert_eq!(cells[place], told(&step, *field), "{}", field.name());
            }
        }
    }

    #[test]
    fn any_chunk_is_read_or_refused_without_a_panic_and_leaves_nothing_behind(
        columns in prop::collection::vec(prop::collection::vec(any::<Option<i64>>(), 3), 0..80),
    ) {
        let chunk = Chunk { rows: 3, columns, ..Chunk::default() };
        let fields = [Field::from(Column::RssBytes)];
        let mut gather = Gather::new(STEP_MS, &fields);
        if gather.push_chunk(&chunk, 0, (0, i64::MAX)).is_err() {
            gather.close();
            prop_assert!(gather.time.is_empty());
        }
        let mut samples = Samples::default();
        let wanted = Wanted::new([Column::RssBytes]);
        if samples.push_chunk(&chunk, 0, &wanted, (0, i64::MAX)).is_err() {
            prop_assert_eq!(samples, Samples::default());
        }
    }
}

#[test]
fn a_speed_looks_past_bursts_and_other_lives_to_the_next_of_its_own() {
    let sample = |life: u8, burst: bool, momentum: Option<i64>| (life, burst, momentum);
    let samples = |of: &[(u8, bool, Option<i64>)]| {
        let mut samples = Samples::default();
        for (life, burst, momentum) in of {
            samples.at_ms.push(0);
            samples.instances.push([*life; 16]);
            samples.burst.push(*burst);
            samples.momentum_bytes.push(*momentum);
        }
        samples
    };
    let these = samples(&[
        sample(1, false, None),
        sample(1, true, None),
        sample(2, false, None),
        sample(1, false, Some(-7)),
        sample(2, false, Some(i64::MIN)),
    ]);
    let after = samples(&[sample(1, true, None), sample(1, false, Some(5))]);
    let speeds = these.speeds(&after);
    assert_eq!(speeds, [Some(7), None, Some(i64::MAX), Some(5), None]);
}
