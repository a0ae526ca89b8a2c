//! Bytes → samples. Every byte is a stranger's: nothing is allocated before its length is known
//! to be within its bound, and what is wrong is told by its field.

use super::{
    BURST, Batch, DeltaError, ENDED, KNOT, ROSTER, SERVER, TIME, VITALS, WORKLOADS,
    chain::{Chain, Slot, Sums, Time, expected_of_server, expected_of_vitals},
    columns::{self, Column, Row},
    number::{take, take_text, take_text_of, take_u32, take_u64, unzigzag},
};
use crate::{
    limits::{
        ENDED_PER_SAMPLE_MAX, LABEL_BYTES_MAX, LIMIT_SOURCE_BYTES_MAX, SAMPLES_PER_REPORT_MAX,
        WORKLOADS_PER_SAMPLE_MAX,
    },
    v1,
};

/// Reads one batch after another of a stream.
#[derive(Clone, Debug, Default)]
pub struct Decoder {
    chain: Chain,
    /// The number of the sample that may follow; `None` where only a whole one may.
    next_seq: Option<u64>,
    /// Samples of the batch that were read.
    read: usize,
}

// === impl Decoder ===

impl Decoder {
    /// Something was left out: only a batch that begins whole may follow.
    pub fn interrupt(&mut self) {
        self.next_seq = None;
    }

    /// Goes on with `batch`.
    ///
    /// # Errors
    /// It is a difference to a sample that is not here.
    pub fn begin(&mut self, batch: &Batch<'_>) -> Result<(), DeltaError> {
        self.read = 0;
        if batch.whole {
            self.chain = Chain::default();
        } else if self.next_seq != Some(batch.first_seq) {
            self.interrupt();
            return Err(DeltaError::new("batch.first_seq", "does not follow"));
        }
        self.next_seq = Some(batch.first_seq);
        Ok(())
    }

    /// The next sample of the batch, and its number; `None` at its end.
    ///
    /// # Errors
    /// Which field is wrong.
    pub fn next(&mut self, batch: &mut Batch<'_>) -> Result<Option<(u64, v1::Sample)>, DeltaError> {
        let (Some(seq), false) = (self.next_seq, batch.rest.is_empty()) else {
            return Ok(None);
        };
        if self.read >= SAMPLES_PER_REPORT_MAX {
            self.interrupt();
            return Err(DeltaError::new("batch.samples", "are too many"));
        }
        self.read += 1;
        let sample = self.sample(&mut batch.rest).inspect_err(|_| {
            // What is half read is no ground to go on from.
            self.next_seq = None;
        })?;
        self.next_seq = seq.checked_add(1);
        Ok(Some((seq, sample)))
    }

    /// About how many bytes it holds.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.chain.bytes()
    }

    fn sample(&mut self, bytes: &mut &[u8]) -> Result<v1::Sample, DeltaError> {
        let Some((head, rest)) = bytes.split_first() else {
            return Err(DeltaError::new("sample", "is cut off"));
        };
        *bytes = rest;
        let has = |bit: u8| head & bit != 0;
        let late_ms = match has(TIME) {
            true => unzigzag(take_u64(bytes, "sample.mono_ms")?).cast_unsigned(),
            false => 0,
        };
        let mono_ms = self.chain.expected_mono_ms().wrapping_add(late_ms);
        let time = self.chain.time(mono_ms, has(BURST));
        let sums_before = self.chain.sums();
        if has(ROSTER) {
            read_roster(&mut self.chain.slots, bytes)?;
        }
        let told = match has(WORKLOADS) {
            true => [(); 2].map(|()| take_u64(bytes, "sample.workloads")),
            false => [Ok(0), Ok(0)],
        };
        let [changed, same] = told;
        read_workloads(&mut self.chain.slots, (changed?, same?), time, bytes)?;
        let sums = (&sums_before, &self.chain.sums());
        self.read_server(has(SERVER), sums, time, bytes)?;
        self.read_vitals(has(VITALS), sums, time, bytes)?;
        let ended = match has(ENDED) {
            true => read_ended(bytes)?,
            false => Vec::new(),
        };
        self.chain.advance(time, has(BURST), has(KNOT));
        self.told(mono_ms, has(BURST), ended)
    }

    fn read_server(
        &mut self,
        is_told: bool,
        sums: (&Sums, &Sums),
        time: Time,
        bytes: &mut &[u8],
    ) -> Result<(), DeltaError> {
        use columns::server::{COLUMNS, COUNT};
        let before = &self.chain.server;
        let expect = |at, now: &Row<_>| expected_of_server(at, before, now, sums, time);
        let mask = match is_told {
            true => take_mask(COUNT + 1, bytes, "sample")?,
            false => 0,
        };
        self.chain.server = read_row(&COLUMNS, before, expect, mask, bytes)?;
        if mask >> COUNT != 0 {
            let field = "sample.memory_limit_source";
            self.chain.limit_source = take_text(bytes, LIMIT_SOURCE_BYTES_MAX, field)?;
        }
        Ok(())
    }

    fn read_vitals(
        &mut self,
        is_told: bool,
        sums: (&Sums, &Sums),
        time: Time,
        bytes: &mut &[u8],
    ) -> Result<(), DeltaError> {
        use columns::vitals::{COLUMNS, COUNT};
        let before = &self.chain.vitals;
        let expect = |at, _: &Row<_>| expected_of_vitals(at, before, sums, time);
        let mask = match is_told {
            true => take_mask(COUNT, bytes, "sample.vitals")?,
            false => 0,
        };
        self.chain.vitals = read_row(&COLUMNS, before, expect, mask, bytes)?;
        Ok(())
    }

    /// What was told, as a message of the first version.
    fn told(
        &self,
        mono_ms: u64,
        burst: bool,
        ended: Vec<v1::Ended>,
    ) -> Result<v1::Sample, DeltaError> {
        let mut vitals = v1::Vitals::default();
        columns::vitals::write(&self.chain.vitals, &mut vitals)?;
        let workloads = self.chain.slots.iter().map(Slot::told);
        let mut sample = v1::Sample {
            mono_ms,
            burst,
            memory_limit_source: self.chain.limit_source.clone(),
            vitals: Some(vitals),
            workloads: workloads.collect::<Result<_, _>>()?,
            ended,
            ..v1::Sample::default()
        };
        columns::server::write(&self.chain.server, &mut sample)?;
        Ok(sample)
    }
}

// === impl Slot ===

impl Slot {
    fn told(&self) -> Result<v1::Workload, DeltaError> {
        let mut workload = v1::Workload {
            kind: self.kind,
            id: self.id.clone(),
            name: self.name.clone(),
            notebook: self.notebook.clone(),
            ..v1::Workload::default()
        };
        columns::workload::write(&self.row, &mut workload)?;
        Ok(workload)
    }
}

fn read_roster(slots: &mut Vec<Slot>, bytes: &mut &[u8]) -> Result<(), DeltaError> {
    let went = take_u64(bytes, "sample.workloads.went")?;
    if beyond(went, slots.len()) {
        return Err(DeltaError::new("sample.workloads.went", "was never there"));
    }
    let mut place = 0;
    slots.retain(|_| {
        let stays = went & (1 << place) == 0;
        place += 1;
        stays
    });
    let came = take(bytes, "sample.workloads.came")?;
    let room = WORKLOADS_PER_SAMPLE_MAX - slots.len();
    let came = usize::try_from(came)
        .ok()
        .filter(|came| *came <= room)
        .ok_or(DeltaError::new("sample.workloads.came", "are too many"))?;
    for _ in 0..came {
        slots.push(Slot {
            kind: take_u32(bytes, "sample.workload.kind")?.cast_signed(),
            id: take_text(bytes, LABEL_BYTES_MAX, "sample.workload.id")?,
            ..Slot::default()
        });
    }
    Ok(())
}

fn read_workloads(
    slots: &mut [Slot],
    (changed, same): (u64, u64),
    time: Time,
    bytes: &mut &[u8],
) -> Result<(), DeltaError> {
    use columns::workload::{COLUMNS, COUNT};
    if beyond(changed | same, slots.len()) {
        return Err(DeltaError::new("sample.workloads", "has one never named"));
    }
    for (place, slot) in slots.iter_mut().enumerate() {
        let bit = 1 << place;
        let mask = match (changed & bit != 0, same & bit != 0) {
            (false, _) => 0,
            (true, true) => slot.mask,
            (true, false) => take_mask(COUNT + 2, bytes, "sample.workload")?,
        };
        let expect = |at, now: &Row<_>| slot.expected(at, now, time);
        let row = read_row(&COLUMNS, &slot.row, expect, mask, bytes)?;
        let texts = mask >> COUNT;
        if mask != 0 {
            slot.mask = mask;
        }
        slot.replace(row, time);
        if texts & 0b01 != 0 {
            slot.name = take_text(bytes, LABEL_BYTES_MAX, "sample.workload.name")?;
        }
        if texts & 0b10 != 0 {
            slot.notebook = take_maybe_text(bytes, "sample.workload.notebook")?;
        }
    }
    Ok(())
}

/// A mask of `count` bits at most.
fn take_mask(count: usize, bytes: &mut &[u8], field: &'static str) -> Result<u64, DeltaError> {
    let mask = take_u64(bytes, field)?;
    match beyond(mask, count) {
        true => Err(DeltaError::new(field, "has a column that is not known")),
        false => Ok(mask),
    }
}

/// A row by the mask of the columns that are told; the others are as expected.
fn read_row<const N: usize>(
    columns: &[Column; N],
    before: &Row<N>,
    expect: impl Fn(usize, &Row<N>) -> u64,
    mask: u64,
    bytes: &mut &[u8],
) -> Result<Row<N>, DeltaError> {
    let mut now = Row::default();
    for (at, column) in columns.iter().enumerate() {
        let was_known = before.is_known(at);
        let expected = expect(at, &now);
        let is_told = mask & (1 << at) != 0;
        if !is_told {
            let is_known = was_known || !column.optional;
            now.set(at, is_known.then_some(expected));
            continue;
        }
        let number = take(bytes, column.name)?;
        let folded = match (column.optional, number) {
            (true, 0) => {
                now.set(at, None);
                continue;
            }
            (true, number) => number - 1,
            (false, number) => number,
        };
        let difference = column
            .unit
            .unfold(folded)
            .ok_or(DeltaError::new(column.name, "is over 64 bits"))?;
        now.set(at, Some(expected.wrapping_add(difference)));
    }
    Ok(now)
}

fn read_ended(bytes: &mut &[u8]) -> Result<Vec<v1::Ended>, DeltaError> {
    let count = take(bytes, "sample.ended")?;
    let count = usize::try_from(count)
        .ok()
        .filter(|count| *count <= ENDED_PER_SAMPLE_MAX)
        .ok_or(DeltaError::new("sample.ended", "are too many"))?;
    let mut ended = Vec::new();
    for _ in 0..count {
        ended.push(v1::Ended {
            kind: take_u32(bytes, "sample.ended.kind")?.cast_signed(),
            id: take_text(bytes, LABEL_BYTES_MAX, "sample.ended.id")?,
            name: take_text(bytes, LABEL_BYTES_MAX, "sample.ended.name")?,
            notebook: take_maybe_text(bytes, "sample.ended.notebook")?,
            pid: take_u32(bytes, "sample.ended.pid")?,
            cause: take_u32(bytes, "sample.ended.cause")?.cast_signed(),
            memory_used_bytes: take_u64(bytes, "sample.ended.memory_used_bytes")?,
        });
    }
    Ok(ended)
}

fn take_maybe_text(bytes: &mut &[u8], field: &'static str) -> Result<Option<String>, DeltaError> {
    match take(bytes, field)? {
        0 => Ok(None),
        length => take_text_of(bytes, length - 1, LABEL_BYTES_MAX, field).map(Some),
    }
}

/// Whether a mask has bits at or above `count`.
fn beyond(mask: u64, count: usize) -> bool {
    u32::try_from(count)
        .ok()
        .and_then(|count| mask.checked_shr(count))
        .is_some_and(|above| above != 0)
}
