//! What is remembered of memory's growth, and whether it goes on to the limit.

use hubmeter_kinetics::{series::Point, trend::Trend};

use super::{
    LATE_SHARE, NEAR_SHARE, STOPPED_AFTER_MS,
    burst::Burst,
    climb::{Climb, Step},
    excuse::Excuse,
    patience::Patience,
    sustained::Sustained,
    teeth::Teeth,
};

/// Now it rises at this share of the climb's pace at least, where a trend says so.
const ALIVE_SHARE: f64 = 0.4;

/// A climb has risen by this share of what is left, to be believed to go on to the limit.
const RISEN_SHARE_MIN: f64 = 0.3;

/// When it is late a climb that nobody was told of yet has risen for so long: one that came there slowly
/// goes on, one that came by a jump ends.
const WENT_ON_MS_LATE: u64 = 180_000;

/// From [`NEAR_SHARE`] of the limit on a climb goes on that has risen by so many times what is left.
const RISEN_SHARE_NEAR: f64 = 1.0;

/// Whoever watched for less does not know what is usual.
const WATCHED_MS: u64 = 10_000;

/// Everything about one server's growth.
#[derive(Clone, Debug, Default)]
pub(super) struct Growth {
    began_ms: Option<u64>,
    now: Point,
    sustained_bytes: u64,
    sustained: Sustained,
    climb: Option<Climb>,
    burst: Burst,
    excuse: Excuse,
    /// Boxed: most servers have no teeth.
    teeth: Option<Box<Teeth>>,
}

/// What is ahead of the newest sample.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ahead {
    pub(super) left_bytes: f64,
    pub(super) limit_bytes: f64,
    pub(super) trend: Option<Trend>,
    pub(super) seconds_to_limit: Option<f64>,
    pub(super) within_seconds: f64,
    pub(super) interval_ms: u32,
    pub(super) patience: Patience,
}

// === impl Ahead ===

impl Ahead {
    /// The share of the limit that is in use, by all who use it.
    pub(super) fn used_share(&self) -> f64 {
        1.0 - self.left_bytes / self.limit_bytes
    }

    /// Whether so much is in use that growth is believed.
    pub(super) fn is_enough_in_use(&self) -> bool {
        self.used_share() >= self.patience.used_share_min
    }

    /// Whether what nobody was told of yet is mostly over.
    pub(super) fn is_late(&self) -> bool {
        (LATE_SHARE..NEAR_SHARE).contains(&self.used_share())
    }
}

// === impl Growth ===

impl Growth {
    /// Takes the newest sample in; whether growth goes on.
    pub(super) fn follow(&mut self, now: Point, interval_ms: u32, workload_went: bool) -> bool {
        self.began_ms.get_or_insert(now.mono_ms);
        self.now = now;
        self.burst.take(now);
        self.excuse.take(now);
        self.sustained_bytes = self.sustained.take(now);
        let step = self.climbs(interval_ms);
        if workload_went {
            // What its process took with it did not come down by itself.
            self.excuse.forget();
            self.teeth = None;
        }
        match step {
            Step::GoesOn => true,
            // The program let go of a part; what it keeps grows on.
            Step::Undone => self.teeth.as_ref().is_some_and(|teeth| teeth.rise()),
            Step::Stopped => false,
        }
    }

    /// Follows the climb; one that ended makes way for a new one from here.
    fn climbs(&mut self, interval_ms: u32) -> Step {
        let now = self.now;
        let Some(climb) = &mut self.climb else {
            self.climb = Some(Climb::begin(now));
            return Step::Stopped;
        };
        let step = climb.follow(now, self.sustained_bytes, interval_ms);
        if step == Step::GoesOn {
            return step;
        }
        let ended = *climb;
        *climb = Climb::begin(now);
        if step == Step::Undone && ended.risen_bytes() > 0 {
            let top = Point {
                bytes: ended.top_bytes,
                ..ended.high
            };
            self.excuse.undone(top, ended.from_bytes);
            let before = self.teeth.as_deref();
            let teeth = Teeth::after(before, now.mono_ms, ended.from_bytes, ended.top_bytes);
            self.teeth = Some(Box::new(teeth));
        }
        step
    }

    /// Whether it goes on to the limit.
    pub(super) fn reaches(&self, ahead: &Ahead) -> bool {
        let Some(climb) = self.climb.as_ref() else {
            return false;
        };
        let quickly = self.burst_reaches(ahead) || self.ends_near(climb, ahead);
        quickly || self.climb_reaches(climb, ahead) || {
            let seconds = self.teeth_seconds(ahead.left_bytes);
            seconds.is_some_and(|seconds| seconds <= ahead.within_seconds)
        }
    }

    fn climb_reaches(&self, climb: &Climb, ahead: &Ahead) -> bool {
        let (Some(pace), left) = (climb.bytes_per_second(), ahead.left_bytes) else {
            return false;
        };
        let seconds = ahead.seconds_to_limit.unwrap_or(f64::INFINITY);
        let risen = self.sustained_bytes.saturating_sub(climb.from_bytes) as f64;
        climb.is_steady(self.now.mono_ms, ahead.interval_ms)
            && ahead.is_enough_in_use()
            && (!ahead.is_late() || climb.rising_ms() >= WENT_ON_MS_LATE)
            && risen >= RISEN_SHARE_MIN * left
            && seconds.min(left / pace) <= ahead.within_seconds
            && ahead
                .trend
                .is_none_or(|trend| goes_on(&trend, pace, risen, left))
            && !self.excuse.excuses_climb(self.now.bytes, left)
    }

    fn burst_reaches(&self, ahead: &Ahead) -> bool {
        self.watched_for_long()
            && self.burst.reaches(ahead)
            && !self
                .excuse
                .excuses_samples(self.now.bytes, ahead.left_bytes)
    }

    /// Hardly anything is left, and it is as high as it ever was in a rise that large. One step is no rise.
    fn ends_near(&self, climb: &Climb, ahead: &Ahead) -> bool {
        let left = ahead.left_bytes;
        let pace = climb
            .bytes_per_second()
            .or_else(|| self.burst.bytes_per_second());
        let risen = self.now.bytes.saturating_sub(climb.from_bytes) as f64;
        let rises = climb.rising_ms() > 0 || self.burst.rises_again();
        self.watched_for_long()
            && rises
            && ahead.used_share() >= NEAR_SHARE
            && self.now.bytes >= climb.top_bytes
            && risen >= RISEN_SHARE_NEAR * left
            && pace.is_some_and(|pace| left <= ahead.within_seconds * pace)
            && !self.excuse.excuses_samples(self.now.bytes, left)
    }

    fn watched_for_long(&self) -> bool {
        let began_ms = self.began_ms.unwrap_or(self.now.mono_ms);
        self.now.mono_ms - began_ms >= WATCHED_MS
    }

    fn teeth_seconds(&self, left_bytes: f64) -> Option<f64> {
        let (teeth, climb) = (self.teeth.as_ref()?, self.climb?);
        teeth.seconds_to_limit(self.now, climb.from_bytes, left_bytes)
    }

    /// Without a new high for so long it has stopped.
    pub(super) fn stops_after_ms(&self, interval_ms: u32) -> u64 {
        let climb = self.climb.as_ref();
        climb.map_or(STOPPED_AFTER_MS, |climb| climb.stops_after_ms(interval_ms))
    }

    /// Bytes since growth began.
    pub(super) fn risen_bytes(&self) -> Option<u64> {
        let climb = self.climb?;
        Some(self.now.bytes.saturating_sub(climb.from_bytes))
    }

    /// Seconds to the limit by growth itself, for when no trend says.
    pub(super) fn seconds_to_limit(&self, left_bytes: f64) -> Option<f64> {
        let of_burst = || Some(left_bytes / self.burst.bytes_per_second()?);
        let of_climb = || Some(left_bytes / self.climb?.bytes_per_second()?);
        self.teeth_seconds(left_bytes)
            .or_else(of_climb)
            .or_else(of_burst)
    }

    /// Moves what is remembered by what a better reading would have said then.
    pub(super) fn correct(&mut self, bytes: i64) {
        if bytes == 0 {
            return;
        }
        self.sustained.correct(bytes);
        self.burst.correct(bytes);
        self.excuse.correct(bytes);
        if let Some(climb) = &mut self.climb {
            climb.correct(bytes);
        }
        if let Some(teeth) = &mut self.teeth {
            teeth.correct(bytes);
        }
    }
}

/// Whether a climb by `risen` bytes, `pace` bytes a second on average, goes on for `left` bytes by what the
/// trend says of now. What slows down is taken for an exponential that ends where such paces lead to: a
/// cache that fills, a search that has nearly seen all.
fn goes_on(trend: &Trend, pace: f64, risen: f64, left: f64) -> bool {
    let at_most = trend.high_bytes_per_second.max(trend.bytes_per_second) / pace;
    let reaches = at_most >= 1.0 || at_most * risen >= 2.0 * (1.0 - at_most) * left;
    reaches && trend.bytes_per_second >= ALIVE_SHARE * pace
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trend(bytes_per_second: f64) -> Trend {
        Trend {
            bytes_per_second,
            low_bytes_per_second: bytes_per_second,
            high_bytes_per_second: bytes_per_second,
            rising_share: 1.0,
            span_ms: 60_000,
            points: 10,
        }
    }

    #[test]
    fn a_climb_that_slows_down_goes_on_for_as_long_as_an_exponential_would() {
        // 1000 · (1 − e^(−t/100)): where it is after so many seconds, and how fast on average and now.
        for (seconds, until) in [(30.0, 1_300.0), (70.0, 1_150.0), (110.0, 1_100.0)] {
            let share = (-seconds / 100.0_f64).exp();
            let (risen, now) = (1_000.0 * (1.0 - share), trend(10.0 * share));
            let pace = risen / seconds;
            assert!(goes_on(&now, pace, risen, 0.8 * (1_000.0 - risen)));
            assert!(!goes_on(&now, pace, risen, until - risen), "{seconds} s");
        }
    }

    /// The second at which a server with a limit of 1 GB is first said to reach it.
    fn said_at(used_kb: impl Fn(u64) -> u64) -> Option<u64> {
        let mut growth = Growth::default();
        (0..600).find(|second| {
            let now = Point {
                mono_ms: second * 1_000,
                bytes: used_kb(*second) * 1_000,
            };
            growth.follow(now, 1_000, false);
            growth.reaches(&Ahead {
                left_bytes: 1e9 - now.bytes as f64,
                limit_bytes: 1e9,
                trend: None,
                seconds_to_limit: None,
                within_seconds: 3_600.0,
                interval_ms: 1_000,
                patience: Patience::default(),
            })
        })
    }

    #[test]
    fn a_climb_is_said_once_so_much_is_in_use_that_it_is_no_load() {
        // 2 MB/s from 100 MB on.
        let said_s = said_at(|second| 100_000 + second * 2_000).unwrap();
        assert!((265..285).contains(&said_s), "{said_s}");
    }

    #[test]
    fn a_climb_that_is_first_seen_late_is_said_when_it_goes_on_for_minutes() {
        // 200 kB/s from 830 MB on: 92 % is reached after 450 s.
        let said_s = said_at(|second| 830_000 + second * 200).unwrap();
        assert!((180..300).contains(&said_s), "{said_s}");
        assert_eq!(said_at(|second| 830_000 + second.min(150) * 200), None);
    }

    #[test]
    fn what_keeps_its_pace_goes_on_for_ever_and_what_nearly_rests_for_nothing() {
        assert!(goes_on(&trend(10.0), 10.0, 1.0, 1e12));
        assert!(!goes_on(&trend(3.0), 10.0, 1e12, 1.0));
    }
}
