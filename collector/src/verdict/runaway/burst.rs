//! Samples that rise one after the other: growth too fast to wait for a sustained level.

use hubmeter_kinetics::series::Point;

use super::FLOOR_BYTES_PER_SECOND;

/// A rise of which the one before was less than this share, per second, begins a burst.
const ALIKE_SHARE: f64 = 0.2;

/// So many rises say that it is a burst,
const RISES_MIN: u32 = 3;

/// if they went on for this long
const WENT_ON_MS: u64 = 5_000;

/// and are, without the largest, this share of what is left.
const RISEN_SHARE_MIN: f64 = 0.7;

/// A step that is this share of what is left may be the last but one.
const LAST_STEP_SHARE: f64 = 0.8;

/// From this share of the limit on two such rises are enough.
const NEAR_SHARE: f64 = 0.92;

/// Rises of the newest samples.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Burst {
    /// The sample before the first rise.
    from: Point,
    previous: Point,
    rises: u32,
    /// The largest and the last of them, bytes.
    largest: u64,
    last: u64,
    last_bytes_per_second: f32,
    seen: bool,
}

// === impl Burst ===

impl Burst {
    pub(super) fn take(&mut self, now: Point) {
        let previous = std::mem::replace(&mut self.previous, now);
        if !std::mem::replace(&mut self.seen, true) {
            return;
        }
        let seconds = (now.mono_ms - previous.mono_ms) as f64 / 1000.0;
        let rate = (now.bytes as f64 - previous.bytes as f64) / seconds;
        let rate_before = f64::from(std::mem::replace(
            &mut self.last_bytes_per_second,
            rate as f32,
        ));
        if rate <= FLOOR_BYTES_PER_SECOND {
            self.rises = 0;
            return;
        }
        if self.rises == 0 || rate_before < ALIKE_SHARE * rate {
            self.from = previous;
            self.rises = 0;
            self.largest = 0;
        }
        self.rises += 1;
        self.last = now.bytes - previous.bytes;
        self.largest = self.largest.max(self.last);
    }

    /// Whether it goes on to the limit, of which `left_bytes` are left, within so many seconds.
    pub(super) fn reaches(&self, left_bytes: f64, within_seconds: f64) -> bool {
        if self.rises < 2 {
            return false;
        }
        let now = self.previous;
        let limit_bytes = now.bytes as f64 + left_bytes;
        let near = now.bytes as f64 >= NEAR_SHARE * limit_bytes;
        let enough = near || self.rises >= RISES_MIN;
        let one_more = enough && self.last as f64 >= LAST_STEP_SHARE * left_bytes;
        // A large array among small rises says nothing of the next.
        let risen = now.bytes.saturating_sub(self.from.bytes);
        let trimmed = risen.saturating_sub(self.largest) as f64;
        let rose_ms = now.mono_ms - self.from.mono_ms;
        let goes_on = self.rises >= RISES_MIN
            && rose_ms >= WENT_ON_MS
            && trimmed >= RISEN_SHARE_MIN * left_bytes
            && left_bytes * rose_ms as f64 <= within_seconds * 1000.0 * risen as f64;
        one_more || goes_on
    }

    /// The pace of its last rise.
    pub(super) fn bytes_per_second(&self) -> Option<f64> {
        (self.rises > 0).then(|| f64::from(self.last_bytes_per_second))
    }

    /// Moves its levels by `bytes`.
    pub(super) fn correct(&mut self, bytes: i64) {
        for point in [&mut self.from, &mut self.previous] {
            point.bytes = point.bytes.saturating_add_signed(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: u64 = 1_000_000;
    const LIMIT_MB: u64 = 1_000;

    /// Megabytes at which it is said to reach the limit first, with samples a second apart.
    fn said_at(used_mb: &[u64]) -> Option<u64> {
        let mut burst = Burst::default();
        let said = (1_u64..).zip(used_mb).find(|(second, mb)| {
            burst.take(Point {
                mono_ms: second * 1_000,
                bytes: **mb * MB,
            });
            burst.reaches(((LIMIT_MB - **mb) * MB) as f64, 3_600.0)
        });
        said.map(|(_, mb)| *mb)
    }

    #[test]
    fn it_is_said_when_one_more_step_would_reach_the_limit() {
        assert_eq!(said_at(&[100, 100, 400, 650, 850]), Some(850));
        assert_eq!(said_at(&[100, 100, 500, 930]), Some(930));
    }

    #[test]
    fn two_gigabytes_a_second_are_too_fast_and_one_array_is_nothing() {
        assert_eq!(said_at(&[100, 100, 700, 700, 700]), None);
        assert_eq!(said_at(&[100, 100, 890, 895, 900, 905]), None);
    }

    #[test]
    fn what_rises_all_the_time_is_said_at_half_of_the_way() {
        let said = said_at(&(0..40).map(|i| 100 + i * 20).collect::<Vec<_>>());
        assert!((500..620).contains(&said.unwrap()), "{said:?}");
    }
}
