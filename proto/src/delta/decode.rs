//! Bytes → samples. Every byte is a stranger's: nothing is allocated before its length is known
//! to be within its bound, and what is wrong is told by its field.

use super::{
    BURST, Batch, DeltaError, ENDED, KNOT, ROSTER, SERVER, TIME, VITALS, WORKLOADS,
    chain::{Chain, Slot, Sums, Time, base, expected_of_server, expected_of_vitals},
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
        let changed = match has(WORKLOADS) {
            true => take_u64(bytes, "sample.workloads")?,
            false => 0,
        };
        read_workloads(&mut self.chain.slots, changed, time, bytes)?;
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
        let before = &self.chain.server;
        let expect = |at, now: &Row<_>| expected_of_server(at, before, now, sums, time);
        let columns = ("sample", &columns::server::COLUMNS);
        let (row, texts) = read_row(columns, before, expect, is_told, 1, bytes)?;
        self.chain.server = row;
        if texts != 0 {
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
        let before = &self.chain.vitals;
        let expect = |at, _: &Row<_>| expected_of_vitals(at, before, sums, time);
        let columns = ("sample.vitals", &columns::vitals::COLUMNS);
        let (row, _) = read_row(columns, before, expect, is_told, 0, bytes)?;
        self.chain.vitals = row;
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
    changed: u64,
    time: Time,
    bytes: &mut &[u8],
) -> Result<(), DeltaError> {
    if beyond(changed, slots.len()) {
        return Err(DeltaError::new("sample.workloads", "has one never named"));
    }
    for (place, slot) in slots.iter_mut().enumerate() {
        let is_told = changed & (1 << place) != 0;
        let expect = |at, now: &Row<_>| slot.expected(at, now, time);
        let columns = ("sample.workload", &columns::workload::COLUMNS);
        let (row, texts) = read_row(columns, &slot.row, expect, is_told, 2, bytes)?;
        slot.replace(row);
        if texts & 0b01 != 0 {
            slot.name = take_text(bytes, LABEL_BYTES_MAX, "sample.workload.name")?;
        }
        if texts & 0b10 != 0 {
            slot.notebook = take_maybe_text(bytes, "sample.workload.notebook")?;
        }
    }
    Ok(())
}

/// A row by its mask, and the bits of the mask beyond its columns, of which there are `texts`.
fn read_row<const N: usize>(
    (field, columns): (&'static str, &[Column; N]),
    before: &Row<N>,
    expect: impl Fn(usize, &Row<N>) -> u64,
    is_told: bool,
    texts: usize,
    bytes: &mut &[u8],
) -> Result<(Row<N>, u64), DeltaError> {
    let mask = match is_told {
        true => take_u64(bytes, field)?,
        false => 0,
    };
    if beyond(mask, N + texts) {
        return Err(DeltaError::new(field, "has a column that is not known"));
    }
    let mut now = Row::default();
    for (at, column) in columns.iter().enumerate() {
        let was_known = before.is_known(at);
        let expected = base(column, was_known, expect(at, &now));
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
    Ok((now, mask >> N))
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
