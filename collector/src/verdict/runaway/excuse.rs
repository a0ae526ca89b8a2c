//! Memory was this high before, and came down by itself: no reason to cry.

use hubmeter_kinetics::series::Point;

use super::{PEAK_KEPT_MS, UNDONE_SHARE};

/// A peak that left less than this of the limit excuses nothing.
const ROOM_SHARE_MIN: f64 = 0.08;

/// A peak excuses what goes beyond it by up to this share of its rise,
const BEYOND_SHARE: f64 = 0.1;

/// and of the room that it left.
const BEYOND_ROOM_SHARE: f64 = 0.75;

/// Peaks that came down.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Excuse {
    /// The lowest and highest sample since the last such peak.
    low: Option<u64>,
    high: Point,
    /// The highest sample that came down.
    of_samples: Option<Peak>,
    /// The highest climb that was undone.
    of_climbs: Option<Peak>,
}

/// A peak, and where its rise began.
#[derive(Clone, Copy, Debug)]
struct Peak {
    at: Point,
    from_bytes: u64,
}

// === impl Excuse ===

impl Excuse {
    pub(super) fn take(&mut self, now: Point) {
        let low = self.low.map_or(now.bytes, |low| low.min(now.bytes));
        self.low = Some(low);
        if now.bytes > self.high.bytes {
            self.high = now;
        }
        let rise = self.high.bytes - low;
        let given_back = self.high.bytes.saturating_sub(now.bytes);
        if rise > 0 && given_back as f64 >= UNDONE_SHARE * rise as f64 {
            keep_higher(&mut self.of_samples, self.high, low);
            self.high = now;
        }
        for peak in [&mut self.of_samples, &mut self.of_climbs] {
            *peak = peak.filter(|peak| now.mono_ms.saturating_sub(peak.at.mono_ms) <= PEAK_KEPT_MS);
        }
    }

    /// A climb to `top` from `from_bytes` was undone.
    pub(super) fn undone(&mut self, top: Point, from_bytes: u64) {
        keep_higher(&mut self.of_climbs, top, from_bytes);
    }

    /// Forgets them.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Whether single samples were as high as `used_bytes` before.
    pub(super) fn excuses_samples(&self, used_bytes: u64, left_bytes: f64) -> bool {
        self.of_samples
            .is_some_and(|peak| peak.excuses(used_bytes, left_bytes))
    }

    /// Whether memory climbed to `used_bytes` before. A spike that high says nothing of a climb: it came
    /// and went another way.
    pub(super) fn excuses_climb(&self, used_bytes: u64, left_bytes: f64) -> bool {
        self.of_climbs
            .is_some_and(|peak| peak.excuses(used_bytes, left_bytes))
    }

    /// Moves its levels by `bytes`.
    pub(super) fn correct(&mut self, bytes: i64) {
        let levels = self.low.iter_mut().chain([&mut self.high.bytes]);
        let peaks = [&mut self.of_samples, &mut self.of_climbs];
        let of_peaks = peaks.into_iter().flatten();
        let of_peaks = of_peaks.flat_map(|peak| [&mut peak.at.bytes, &mut peak.from_bytes]);
        for level in levels.chain(of_peaks) {
            *level = level.saturating_add_signed(bytes);
        }
    }
}

fn keep_higher(kept: &mut Option<Peak>, at: Point, from_bytes: u64) {
    if kept.is_none_or(|peak| peak.at.bytes < at.bytes) {
        *kept = Some(Peak { at, from_bytes });
    }
}

// === impl Peak ===

impl Peak {
    fn excuses(&self, used_bytes: u64, left_bytes: f64) -> bool {
        let (used, top) = (used_bytes as f64, self.at.bytes as f64);
        let limit = used + left_bytes;
        let room = limit - top;
        let rise = self.at.bytes.saturating_sub(self.from_bytes) as f64;
        let beyond = (BEYOND_SHARE * rise).min(BEYOND_ROOM_SHARE * room);
        room >= ROOM_SHARE_MIN * limit && used <= top + beyond
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64, mb: u64) -> Point {
        Point {
            mono_ms: second * 1_000,
            bytes: mb * 1_000_000,
        }
    }

    #[test]
    fn a_spike_excuses_samples_as_high_and_no_climb() {
        let mut excuse = Excuse::default();
        for (second, mb) in (0..).zip([100, 100, 900, 100, 100]) {
            excuse.take(at(second, mb));
        }
        assert!(excuse.excuses_samples(900_000_000, 100e6));
        assert!(!excuse.excuses_climb(900_000_000, 100e6));
        excuse.undone(at(5, 900), 100_000_000);
        assert!(excuse.excuses_climb(900_000_000, 100e6));
    }

    #[test]
    fn a_peak_excuses_little_beyond_it_and_nothing_once_it_is_forgotten() {
        let mut excuse = Excuse::default();
        excuse.undone(at(0, 600), 100_000_000);
        assert!(excuse.excuses_climb(650_000_000, 350e6));
        assert!(!excuse.excuses_climb(651_000_000, 349e6));
        excuse.take(at(PEAK_KEPT_MS / 1_000 + 1, 100));
        assert!(!excuse.excuses_climb(600_000_000, 400e6));
    }
}
