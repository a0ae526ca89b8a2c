//! Samples that rise one after the other: growth too fast to wait for a sustained level.

use hubmeter_kinetics::series::Point;

use super::{FLOOR_BYTES_PER_SECOND, growth::Ahead};

/// A rise of which the one before was less than this share, per second, begins a burst.
const ALIKE_SHARE: f64 = 0.2;

/// So many rises say that it is a burst,
const RISES_MIN: u32 = 3;

/// if they went on for this long
const WENT_ON_MS: u64 = 5_000;

/// and are, without the largest, this share of what is left,
const RISEN_SHARE_MIN: f64 = 0.5;

/// and the last of them has this share of their mean pace: it does not end.
const LAST_SHARE_MIN: f64 = 0.5;

/// Or so many more like the last reach the limit: after two rises, and after more.
const STEPS_LEFT_OF_TWO: f64 = 2.0;
const STEPS_LEFT: f64 = 3.0;

/// When it is late it must be of so many rises, and the next step says nothing.
const RISES_MIN_LATE: u32 = 4;

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

    /// Whether it goes on to the limit.
    pub(super) fn reaches(&self, ahead: &Ahead) -> bool {
        if !self.rises_again() {
            return false;
        }
        let (now, left_bytes) = (self.previous, ahead.left_bytes);
        if !ahead.is_enough_in_use() {
            return false;
        }
        let late = ahead.is_late();
        let steps_left = if self.rises < RISES_MIN {
            STEPS_LEFT_OF_TWO
        } else {
            STEPS_LEFT
        };
        let few_more = !late && steps_left * self.last as f64 >= left_bytes;
        // A large array among small rises says nothing of the next.
        let risen = now.bytes.saturating_sub(self.from.bytes);
        let trimmed = risen.saturating_sub(self.largest) as f64;
        let rose_ms = now.mono_ms - self.from.mono_ms;
        // By pace, since samples come closer when it matters.
        let mean_bytes_per_second = risen as f64 * 1000.0 / rose_ms.max(1) as f64;
        let goes_on = self.rises >= if late { RISES_MIN_LATE } else { RISES_MIN }
            && rose_ms >= WENT_ON_MS
            && trimmed >= RISEN_SHARE_MIN * left_bytes
            && f64::from(self.last_bytes_per_second) >= LAST_SHARE_MIN * mean_bytes_per_second
            && left_bytes * rose_ms as f64 <= ahead.within_seconds * 1000.0 * risen as f64;
        few_more || goes_on
    }

    /// Whether more than one sample rose.
    pub(super) fn rises_again(&self) -> bool {
        self.rises >= 2
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
    use super::{super::patience::Patience, *};

    const MB: u64 = 1_000_000;
    const LIMIT_MB: u64 = 1_000;

    /// What is ahead at so many megabytes.
    fn ahead(used_mb: u64) -> Ahead {
        Ahead {
            left_bytes: (LIMIT_MB.saturating_sub(used_mb) * MB) as f64,
            limit_bytes: (LIMIT_MB * MB) as f64,
            trend: None,
            seconds_to_limit: None,
            within_seconds: 3_600.0,
            interval_ms: 1_000,
            patience: Patience::default(),
        }
    }

    /// Megabytes at which it is said to reach the limit first, with samples a second apart.
    fn said_at(used_mb: &[u64]) -> Option<u64> {
        let mut burst = Burst::default();
        let said = (1_u64..).zip(used_mb).find(|(second, mb)| {
            burst.take(Point {
                mono_ms: second * 1_000,
                bytes: **mb * MB,
            });
            burst.reaches(&ahead(**mb))
        });
        said.map(|(_, mb)| *mb)
    }

    #[test]
    fn it_is_said_when_few_more_steps_like_the_last_reach_the_limit() {
        assert_eq!(said_at(&[100, 100, 400, 650, 850]), Some(650));
        assert_eq!(said_at(&[100, 100, 500, 930]), Some(930));
        assert_eq!(said_at(&[100, 100, 350, 500, 650, 800]), Some(650));
    }

    #[test]
    fn nothing_is_said_while_most_is_left_nor_of_one_step() {
        assert_eq!(said_at(&[100, 100, 350, 600, 600, 600]), None);
        assert_eq!(said_at(&[100, 100, 700, 700, 700]), None);
        assert_eq!(said_at(&[100, 100, 890, 895, 900, 905]), None);
    }

    #[test]
    fn from_four_fifths_on_only_many_rises_that_do_not_dwindle_are_said() {
        assert_eq!(said_at(&[100, 100, 500, 880]), None);
        assert_eq!(said_at(&[600, 600, 690, 730, 830, 840, 845, 850]), None);
        let many = [450, 450, 520, 580, 630, 710, 790, 850, 910];
        assert!(said_at(&many).is_some_and(|mb| mb < 910));
    }

    #[test]
    fn what_rises_all_the_time_is_said_at_two_thirds_of_the_way() {
        let said = said_at(&(0..40).map(|i| 100 + i * 20).collect::<Vec<_>>());
        assert!((640..680).contains(&said.unwrap()), "{said:?}");
    }

    #[test]
    fn a_burst_does_not_dwindle_because_samples_come_closer_when_it_matters() {
        let mut burst = Burst::default();
        let mut said_mb = None;
        // 20 MB a second: every 5 s up to half of the limit, then every second.
        for second in (0..25).step_by(5).chain(25..60) {
            let mb = 50 + second * 20;
            burst.take(Point {
                mono_ms: second * 1_000,
                bytes: mb * MB,
            });
            if burst.reaches(&ahead(mb)) {
                said_mb = said_mb.or(Some(mb));
            }
        }
        assert!((630..680).contains(&said_mb.unwrap()), "{said_mb:?}");
    }
}
