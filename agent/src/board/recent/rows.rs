//! A queue of rows of integers, each kept as its difference to the one before.
//!
//! Only the oldest and the newest are kept whole. A difference is the bits that changed, column
//! by column: how many columns changed, then for each the columns passed over and the bits, all
//! as variable-length integers. A row shorter than its neighbour goes on with zeros.

use std::collections::VecDeque;

/// Room that is given back when so much more is held than used.
const SLACK: usize = 4;

/// Room that is never worth giving back.
const ROOM_BYTES_MIN: usize = 1024;

/// Bits of an integer in each byte.
const BITS: u32 = 7;

/// Set where more bytes follow.
const MORE: u8 = 1 << BITS;

/// The queue.
#[derive(Debug, Default)]
pub(super) struct Rows {
    oldest: Vec<u64>,
    newest: Vec<u64>,
    /// From the oldest to the newest, one difference after another.
    changes: VecDeque<u8>,
    len: usize,
}

// === impl Rows ===

impl Rows {
    /// Takes `row` as the newest, and leaves some other row's room in its place.
    pub(super) fn push(&mut self, row: &mut Vec<u64>) {
        if self.len == 0 {
            self.oldest.clone_from(row);
        } else {
            let len = row.len().max(used_len(&self.newest));
            self.newest.resize(len, 0);
            row.resize(len, 0);
            write_change(&self.newest, row, &mut self.changes);
        }
        std::mem::swap(&mut self.newest, row);
        self.len += 1;
    }

    /// Lets the oldest go.
    pub(super) fn pop(&mut self) {
        self.len = self.len.saturating_sub(1);
        if self.len == 0 {
            self.oldest.clear();
            self.changes.clear();
        } else {
            let mut bytes = self.changes.iter().copied();
            apply_change(&mut self.oldest, &mut bytes);
            let used = self.changes.len() - bytes.len();
            self.changes.drain(..used);
        }
        if self.changes.capacity() > ROOM_BYTES_MIN.max(SLACK * self.changes.len()) {
            self.changes.shrink_to(2 * self.changes.len());
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The oldest row, if there is one.
    pub(super) fn oldest(&self) -> Option<&[u64]> {
        (self.len > 0).then_some(&self.oldest)
    }

    /// Hands out every row, oldest first.
    pub(super) fn each(&self, mut take: impl FnMut(&[u64])) {
        let mut row = self.oldest.clone();
        let mut bytes = self.changes.iter().copied();
        for at in 0..self.len {
            if at > 0 {
                apply_change(&mut row, &mut bytes);
            }
            take(&row);
        }
    }

    /// Bytes held for the rows.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        let whole = self.oldest.capacity() + self.newest.capacity();
        self.changes.capacity() + whole * size_of::<u64>()
    }
}

/// How long a row is without the zeros that it goes on with.
fn used_len(row: &[u64]) -> usize {
    row.iter()
        .rposition(|bits| *bits != 0)
        .map_or(0, |at| at + 1)
}

/// The rows are as long as each other: where one ends earlier, it goes on with zeros.
fn write_change(before: &[u64], row: &[u64], out: &mut VecDeque<u8>) {
    let changes = before.iter().zip(row).map(|(before, now)| before ^ now);
    write_int(
        changes.clone().filter(|bits| *bits != 0).count() as u64,
        out,
    );
    let mut passed_over = 0;
    for bits in changes {
        if bits == 0 {
            passed_over += 1;
            continue;
        }
        write_int(passed_over, out);
        write_int(bits, out);
        passed_over = 0;
    }
}

fn apply_change(row: &mut Vec<u64>, bytes: &mut impl Iterator<Item = u8>) {
    let mut next = 0;
    for _ in 0..read_int(bytes) {
        let column = next + usize::try_from(read_int(bytes)).unwrap_or(0);
        if column >= row.len() {
            row.resize(column + 1, 0);
        }
        row[column] ^= read_int(bytes);
        next = column + 1;
    }
}

fn write_int(mut int: u64, out: &mut VecDeque<u8>) {
    while int >= u64::from(MORE) {
        out.push_back(int.to_le_bytes()[0] | MORE);
        int >>= BITS;
    }
    out.push_back(int.to_le_bytes()[0]);
}

fn read_int(bytes: &mut impl Iterator<Item = u8>) -> u64 {
    let mut int = 0;
    for shift in (0..u64::BITS).step_by(BITS as usize) {
        let byte = bytes.next().unwrap_or(0);
        int |= u64::from(byte & !MORE) << shift;
        if byte < MORE {
            break;
        }
    }
    int
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn without_zeros_at_the_end(row: &[u64]) -> &[u64] {
        let used = row.iter().rposition(|bits| *bits != 0);
        &row[..used.map_or(0, |at| at + 1)]
    }

    fn bits() -> impl Strategy<Value = u64> {
        prop_oneof![Just(0), Just(u64::MAX), 0..300u64, any::<u64>()]
    }

    proptest! {
        #[test]
        fn rows_of_any_length_and_number_come_back_in_order(
            rows in prop::collection::vec(prop::collection::vec(bits(), 0..20), 0..30),
            kept_max in 1usize..10,
        ) {
            let mut queue = Rows::default();
            for row in &rows {
                queue.push(&mut row.clone());
                if queue.len() > kept_max {
                    queue.pop();
                }
            }
            let mut given: Vec<Vec<u64>> = Vec::new();
            queue.each(|row| given.push(without_zeros_at_the_end(row).to_vec()));
            let from = rows.len().saturating_sub(kept_max);
            let kept: Vec<_> = rows[from..].iter().map(|row| without_zeros_at_the_end(row)).collect();
            prop_assert_eq!(given, kept);
        }
    }

    #[test]
    fn what_does_not_change_takes_one_byte_and_room_is_given_back() {
        let mut queue = Rows::default();
        for _ in 0..100 {
            queue.push(&mut vec![u64::MAX; 100]);
        }
        assert_eq!(queue.changes.len(), 99);
        for row in 0..100u64 {
            queue.push(&mut (0..100).map(|column| column << (row % 50)).collect());
        }
        let most = queue.bytes();
        while queue.len() > 0 {
            queue.pop();
        }
        assert!(queue.changes.capacity() <= ROOM_BYTES_MIN && most > 10 * ROOM_BYTES_MIN);
        assert!(queue.oldest().is_none());
    }
}
