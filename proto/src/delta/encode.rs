//! Samples → bytes.

use super::{
    BURST, ENDED, KNOT, ROSTER, SERVER, TIME, VITALS, WORKLOADS,
    chain::{
        Chain, SERVER_GUESSED, Slot, Sums, Time, VITALS_GUESSED, WORKLOAD_GUESSED,
        expected_of_server, expected_of_vitals,
    },
    columns::{self, Column, Row},
    number::{put, put_text, zigzag},
};
use crate::{
    limits::{ENDED_PER_SAMPLE_MAX, WORKLOADS_PER_SAMPLE_MAX},
    v1,
};

/// Writes one sample after another, each as its difference to the one before.
#[derive(Clone, Debug, Default)]
pub struct Encoder {
    chain: Chain,
    /// Room for a part whose mask comes before it.
    part: Vec<u8>,
    /// For each slot its workload's place in the sample.
    places: Vec<usize>,
}

/// Sets the bit of a part that is there.
struct Head<'a> {
    out: &'a mut Vec<u8>,
    at: usize,
}

/// The columns of a row that are not as expected, and what is told of each.
struct Told<const N: usize> {
    mask: u64,
    folded: [u128; N],
}

// === impl Encoder ===

impl Encoder {
    /// Appends `sample` to `out`, for whoever has the one before.
    ///
    /// What is beyond the bounds of [`crate::limits`] is left out: keep them before. The wall clock
    /// is not told.
    pub fn encode(&mut self, sample: &v1::Sample, out: &mut Vec<u8>) {
        self.write(sample, false, out);
    }

    /// Begins anew: appends `sample` to `whole` for whoever has nothing, and to `out` for whoever
    /// has the one before. From there on both read the same bytes.
    pub fn begin(&mut self, sample: &v1::Sample, whole: &mut Vec<u8>, out: &mut Vec<u8>) {
        self.write(sample, true, out);
        // In the order of our list, which the one who comes from before has too.
        let workloads = self.places.iter().map(|at| sample.workloads[*at].clone());
        let ordered = v1::Sample {
            workloads: workloads.collect(),
            ..sample.clone()
        };
        let mut fresh = Self::default();
        fresh.write(&ordered, true, whole);
    }

    /// About how many bytes it holds.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let places = self.places.capacity() * size_of::<usize>();
        self.chain.bytes() + self.part.capacity() + places
    }

    fn write(&mut self, sample: &v1::Sample, knot: bool, out: &mut Vec<u8>) {
        let mut head = Head { at: out.len(), out };
        head.out.push(0);
        let time = self.chain.time(sample.mono_ms, sample.burst);
        if sample.burst {
            head.set(BURST);
        }
        if knot {
            head.set(KNOT);
        }
        let late_ms = sample.mono_ms.wrapping_sub(self.chain.expected_mono_ms());
        if late_ms != 0 {
            head.set(TIME);
            put(zigzag(late_ms.cast_signed()).into(), head.out);
        }
        let sums_before = self.chain.sums();
        self.write_roster(&sample.workloads, &mut head);
        self.write_workloads(sample, time, &mut head);
        let sums = (&sums_before, &self.chain.sums());
        self.write_server(sample, sums, time, &mut head);
        self.write_vitals(sample, sums, time, &mut head);
        write_ended(&sample.ended, &mut head);
        self.chain.advance(time, sample.burst, knot);
    }

    /// Says which workloads went and which came, and finds for each slot its workload's place.
    fn write_roster(&mut self, workloads: &[v1::Workload], head: &mut Head<'_>) {
        let count = workloads.len().min(WORKLOADS_PER_SAMPLE_MAX);
        let mut taken = 0u64;
        let mut find = |slot: &Slot| {
            let is = |(at, workload): &(usize, &v1::Workload)| {
                taken & (1 << at) == 0 && workload.kind == slot.kind && workload.id == slot.id
            };
            let (at, _) = workloads[..count].iter().enumerate().find(is)?;
            taken |= 1 << at;
            Some(at)
        };
        let places = &mut self.places;
        places.clear();
        let mut went = 0u64;
        let mut place = 0;
        self.chain.slots.retain(|slot| {
            let found = find(slot);
            went |= u64::from(found.is_none()) << place;
            place += 1;
            places.extend(found);
            found.is_some()
        });
        if went == 0 && places.len() == count {
            return;
        }
        head.set(ROSTER);
        put(went.into(), head.out);
        put((count - places.len()) as u128, head.out);
        for at in (0..count).filter(|at| taken & (1 << at) == 0) {
            let workload = &workloads[at];
            put(u128::from(workload.kind.cast_unsigned()), head.out);
            put_text(&workload.id, head.out);
            self.chain.slots.push(Slot {
                kind: workload.kind,
                id: workload.id.clone(),
                ..Slot::default()
            });
            places.push(at);
        }
    }

    fn write_workloads(&mut self, sample: &v1::Sample, time: Time, head: &mut Head<'_>) {
        self.part.clear();
        let (mut changed, mut same) = (0u64, 0u64);
        for (place, (slot, at)) in self.chain.slots.iter_mut().zip(&self.places).enumerate() {
            let workload = &sample.workloads[*at];
            let now = columns::workload::read(workload);
            let named = slot.name != workload.name;
            let noted = slot.notebook != workload.notebook;
            let texts = u64::from(named) | u64::from(noted) << 1;
            let before = &slot.row;
            let expect = |at, now: &Row<_>| slot.expected(at, now, time);
            let columns = (&columns::workload::COLUMNS, WORKLOAD_GUESSED);
            let told = Told::of(columns, before, &now, expect, texts);
            if told.mask != 0 {
                changed |= 1 << place;
                let is_same = told.mask == slot.mask;
                same |= u64::from(is_same) << place;
                if !is_same {
                    put(told.mask.into(), &mut self.part);
                }
                told.put(&mut self.part);
                slot.mask = told.mask;
            }
            slot.replace(now, time);
            if named {
                put_text(&workload.name, &mut self.part);
                slot.name.clone_from(&workload.name);
            }
            if noted {
                put_maybe_text(workload.notebook.as_deref(), &mut self.part);
                slot.notebook.clone_from(&workload.notebook);
            }
        }
        if changed != 0 {
            head.set(WORKLOADS);
            put(changed.into(), head.out);
            put(same.into(), head.out);
            head.out.append(&mut self.part);
        }
    }

    fn write_server(
        &mut self,
        sample: &v1::Sample,
        sums: (&Sums, &Sums),
        time: Time,
        head: &mut Head<'_>,
    ) {
        let now = columns::server::read(sample);
        let before = &self.chain.server;
        let named = self.chain.limit_source != sample.memory_limit_source;
        let expect = |at, now: &Row<_>| expected_of_server(at, before, now, sums, time);
        let columns = (&columns::server::COLUMNS, SERVER_GUESSED);
        if Told::of(columns, before, &now, expect, named.into()).write(head.out) {
            head.set(SERVER);
        }
        if named {
            put_text(&sample.memory_limit_source, head.out);
            self.chain
                .limit_source
                .clone_from(&sample.memory_limit_source);
        }
        self.chain.server = now;
    }

    fn write_vitals(
        &mut self,
        sample: &v1::Sample,
        sums: (&Sums, &Sums),
        time: Time,
        head: &mut Head<'_>,
    ) {
        let none = v1::Vitals::default();
        let now = columns::vitals::read(sample.vitals.as_ref().unwrap_or(&none));
        let before = &self.chain.vitals;
        let expect = |at, _: &Row<_>| expected_of_vitals(at, before, sums, time);
        let columns = (&columns::vitals::COLUMNS, VITALS_GUESSED);
        if Told::of(columns, before, &now, expect, 0).write(head.out) {
            head.set(VITALS);
        }
        self.chain.vitals = now;
    }
}

// === impl Head ===

impl Head<'_> {
    fn set(&mut self, bit: u8) {
        if let Some(head) = self.out.get_mut(self.at) {
            *head |= bit;
        }
    }
}

// === impl Told ===

impl<const N: usize> Told<N> {
    /// What of `now` is not as expected; `texts` are bits beyond the columns. Those that are not
    /// `guessed` are as expected where they did not move.
    fn of(
        (columns, guessed): (&[Column; N], u64),
        before: &Row<N>,
        now: &Row<N>,
        expect: impl Fn(usize, &Row<N>) -> u64,
        texts: u64,
    ) -> Self {
        let (mut mask, mut folded) = (texts << N, [0; N]);
        let mut left = guessed | now.moved(before);
        while left != 0 {
            let at = left.trailing_zeros() as usize;
            left &= left - 1;
            let (Some(column), Some(folded)) = (columns.get(at), folded.get_mut(at)) else {
                break;
            };
            let was_known = before.is_known(at);
            let expected = expect(at, now);
            let number = match (column.optional, now.get(at)) {
                (true, None) if !was_known => continue,
                (true, None) => 0,
                (true, Some(value)) if was_known && value == expected => continue,
                (true, Some(value)) => column.unit.fold(value.wrapping_sub(expected)) + 1,
                (false, value) if value.unwrap_or(0) == expected => continue,
                (false, value) => column.unit.fold(value.unwrap_or(0).wrapping_sub(expected)),
            };
            mask |= 1 << at;
            *folded = number;
        }
        Self { mask, folded }
    }

    /// Appends the numbers.
    fn put(&self, out: &mut Vec<u8>) {
        let mut left = self.mask;
        // Beyond the columns are texts.
        while let Some(folded) = self.folded.get(left.trailing_zeros() as usize) {
            put(*folded, out);
            left &= left - 1;
        }
    }

    /// Appends mask and numbers; nothing, and false, when all is as expected.
    fn write(&self, out: &mut Vec<u8>) -> bool {
        if self.mask == 0 {
            return false;
        }
        put(self.mask.into(), out);
        self.put(out);
        true
    }
}

fn write_ended(ended: &[v1::Ended], head: &mut Head<'_>) {
    let ended = &ended[..ended.len().min(ENDED_PER_SAMPLE_MAX)];
    if ended.is_empty() {
        return;
    }
    head.set(ENDED);
    let out = &mut *head.out;
    put(ended.len() as u128, out);
    for end in ended {
        put(end.kind.cast_unsigned().into(), out);
        put_text(&end.id, out);
        put_text(&end.name, out);
        put_maybe_text(end.notebook.as_deref(), out);
        put(end.pid.into(), out);
        put(end.cause.cast_unsigned().into(), out);
        put(end.memory_used_bytes.into(), out);
    }
}

/// A text with its length and one more before it, or 0.
fn put_maybe_text(text: Option<&str>, out: &mut Vec<u8>) {
    match text {
        None => put(0, out),
        Some(text) => {
            put(text.len() as u128 + 1, out);
            out.extend_from_slice(text.as_bytes());
        }
    }
}
