//! A saw-tooth whose troughs rise: what each collection leaves behind.

use hubmeter_kinetics::series::Point;

use super::STOPPED_AFTER_MS;

/// So many troughs in a row, each higher than the one before, are a climb.
const RISES_MIN: u32 = 4;

/// The last of them rose by this share of their mean rise: what comes to rest rises no more.
const LAST_SHARE_MIN: f64 = 0.5;

/// With so many, falling back is part of it.
const RISING_FROM: u32 = 2;

/// The troughs must have risen by this share of what is left above the peaks.
const RISEN_SHARE_MIN: f64 = 0.5;

/// Of what they rose by a trough may give back this share.
const GIVEN_BACK_SHARE: f64 = 0.1;

/// A tooth is one of the row if it takes less than so many times the one before, or than this.
const LATE_TIMES: u64 = 3;
const LATE_MS: u64 = 90_000;

/// No tooth takes longer, as far as the next is waited for.
const PERIOD_MS_MAX: u64 = 600_000;

/// A row of teeth.
#[derive(Clone, Copy, Debug)]
pub(super) struct Teeth {
    rises: u32,
    /// What the last tooth rose by, bytes.
    last: u64,
    first: Point,
    trough_bytes: u64,
    peak_bytes: u64,
    fell_ms: u64,
    period_ms: u64,
}

// === impl Teeth ===

impl Teeth {
    /// Adds the tooth that rose from `trough_bytes` to `peak_bytes` and fell now; without a row before,
    /// or out of it, a new row begins.
    pub(super) fn after(
        before: Option<&Self>,
        now_ms: u64,
        trough_bytes: u64,
        peak_bytes: u64,
    ) -> Self {
        let since_ms = before.map_or(0, |teeth| now_ms - teeth.fell_ms);
        if let Some(teeth) = before.filter(|teeth| teeth.goes_on(since_ms, trough_bytes)) {
            return Self {
                rises: teeth.rises + u32::from(trough_bytes > teeth.trough_bytes),
                last: trough_bytes.saturating_sub(teeth.trough_bytes),
                trough_bytes: teeth.trough_bytes.max(trough_bytes),
                peak_bytes,
                fell_ms: now_ms,
                period_ms: since_ms,
                ..*teeth
            };
        }
        Self {
            rises: 0,
            last: 0,
            first: Point {
                mono_ms: now_ms,
                bytes: trough_bytes,
            },
            trough_bytes,
            peak_bytes,
            fell_ms: now_ms,
            period_ms: since_ms.min(PERIOD_MS_MAX),
        }
    }

    fn goes_on(&self, since_ms: u64, trough_bytes: u64) -> bool {
        let risen = self.trough_bytes.saturating_sub(self.first.bytes) as f64;
        let may_be = self.trough_bytes as f64 - GIVEN_BACK_SHARE * risen;
        trough_bytes as f64 >= may_be && since_ms <= (LATE_TIMES * self.period_ms).max(LATE_MS)
    }

    /// Whether its troughs rise, so that a fall undoes nothing.
    pub(super) fn rise(&self) -> bool {
        self.rises >= RISING_FROM
    }

    /// Seconds until the peaks reach the limit, of which `left_bytes` are left now, if the troughs
    /// have risen far enough to believe it; `trough_bytes` is the one of now.
    pub(super) fn seconds_to_limit(
        &self,
        now: Point,
        trough_bytes: u64,
        left_bytes: f64,
    ) -> Option<f64> {
        let above = self.peak_bytes.saturating_sub(now.bytes) as f64;
        let left = (left_bytes - above).max(0.0);
        let risen = trough_bytes.saturating_sub(self.first.bytes) as f64;
        let seconds = now.mono_ms.saturating_sub(self.first.mono_ms) as f64 / 1000.0;
        let waits_ms = (2 * self.period_ms).max(STOPPED_AFTER_MS);
        let rose = self.trough_bytes.saturating_sub(self.first.bytes) as f64;
        let believed = self.rises >= RISES_MIN
            && self.last as f64 * f64::from(self.rises) >= LAST_SHARE_MIN * rose
            && now.mono_ms - self.fell_ms <= waits_ms
            && risen > 0.0
            && risen >= RISEN_SHARE_MIN * left;
        believed.then(|| left * seconds / risen)
    }

    /// Moves its levels by `bytes`.
    pub(super) fn correct(&mut self, bytes: i64) {
        for level in [
            &mut self.first.bytes,
            &mut self.trough_bytes,
            &mut self.peak_bytes,
        ] {
            *level = level.saturating_add_signed(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Teeth of 50 MB, one in 20 s, from the troughs given in MB.
    fn row(troughs_mb: &[u64]) -> Teeth {
        let mut teeth: Option<Teeth> = None;
        for (i, mb) in (1_u64..).zip(troughs_mb) {
            let bytes = mb * 1_000_000;
            let next = Teeth::after(teeth.as_ref(), i * 20_000, bytes, bytes + 50_000_000);
            teeth = Some(next);
        }
        teeth.unwrap()
    }

    #[test]
    fn troughs_that_rise_are_a_climb_and_its_peaks_reach_the_limit() {
        let teeth = row(&[100, 105, 110, 115, 120]);
        assert!(teeth.rise());
        let now = Point {
            mono_ms: 105_000,
            bytes: 130_000_000,
        };
        // Peaks are at 170 MB; 25 MB took 85 s.
        let seconds = teeth.seconds_to_limit(now, 125_000_000, 80e6).unwrap();
        assert!((seconds - 40.0 * 85.0 / 25.0).abs() < 1.0, "{seconds}");
    }

    #[test]
    fn troughs_that_come_to_rest_are_believed_no_more() {
        let now = Point {
            mono_ms: 125_000,
            bytes: 160_000_000,
        };
        let of = |troughs_mb: &[u64]| row(troughs_mb).seconds_to_limit(now, 160_000_000, 60e6);
        assert!(of(&[100, 115, 130, 145, 160, 175]).is_some());
        assert!(of(&[100, 120, 140, 155, 160, 160]).is_none());
    }

    #[test]
    fn troughs_that_come_and_go_are_nothing() {
        let teeth = row(&[100, 105, 99, 103, 100, 104]);
        assert!(!teeth.rise());
    }
}
