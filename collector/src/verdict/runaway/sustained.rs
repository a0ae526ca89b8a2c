//! The level that memory keeps: the least of the last seconds, so that no spike counts.

use hubmeter_kinetics::series::Point;

/// The least counts of at least this long,
const SUSTAINED_MS: u64 = 10_000;

/// and of at least so many samples, where they are far apart.
const SAMPLES_MIN: usize = 3;

/// Samples that are near each other share a place.
const PLACE_MS: u64 = 3_000;

/// So many places are enough for [`SUSTAINED_MS`], and one more for the newest sample.
const PLACES: usize = 5;

/// The least of the last samples.
#[derive(Clone, Debug, Default)]
pub(super) struct Sustained {
    /// Least of each place, by when it began; oldest first.
    places: [Point; PLACES],
    len: u8,
}

// === impl Sustained ===

impl Sustained {
    /// Takes `now` in; the least of the last seconds.
    pub(super) fn take(&mut self, now: Point) -> u64 {
        let shared = self.kept().last().map(|last| last.mono_ms);
        match shared {
            Some(began_ms) if now.mono_ms - began_ms < PLACE_MS => {
                let last = &mut self.places[usize::from(self.len) - 1];
                last.bytes = last.bytes.min(now.bytes);
            }
            _ => self.append(now),
        }
        self.forget(now.mono_ms);
        let least = self.kept().iter().map(|place| place.bytes).min();
        least.unwrap_or(now.bytes)
    }

    /// Moves every level by `bytes`.
    pub(super) fn correct(&mut self, bytes: i64) {
        for place in &mut self.places {
            place.bytes = place.bytes.saturating_add_signed(bytes);
        }
    }

    fn kept(&self) -> &[Point] {
        &self.places[..usize::from(self.len)]
    }

    fn append(&mut self, now: Point) {
        if usize::from(self.len) == PLACES {
            self.forget_oldest();
        }
        self.places[usize::from(self.len)] = now;
        self.len += 1;
    }

    fn forget(&mut self, now_ms: u64) {
        while usize::from(self.len) > SAMPLES_MIN && self.places[1].mono_ms + SUSTAINED_MS <= now_ms
        {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        self.places.copy_within(1.., 0);
        self.len -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn levels(every_ms: u64, used: &[u64]) -> Vec<u64> {
        let mut sustained = Sustained::default();
        (0..)
            .zip(used)
            .map(|(i, &bytes)| {
                let mono_ms = i * every_ms;
                sustained.take(Point { mono_ms, bytes })
            })
            .collect()
    }

    #[test]
    fn a_spike_is_no_level_and_what_stays_becomes_one() {
        assert_eq!(levels(5_000, &[5, 9, 5, 5, 8, 8, 8]), [5, 5, 5, 5, 5, 5, 8]);
    }

    #[test]
    fn every_second_the_least_of_ten_seconds_counts_and_little_more() {
        let used: Vec<u64> = [vec![5; 4], vec![8; 20]].concat();
        let levels = levels(1_000, &used);
        let rises = levels.iter().position(|&level| level == 8).unwrap();
        assert!((4 + 9..=4 + 13).contains(&rises), "{rises}");
    }
}
