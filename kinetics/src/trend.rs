//! Bytes per second over a horizon, robust against bursts and garbage collection.
//!
//! The slope is the median of the slopes between all pairs of at most [`POINTS_MAX`] points
//! (Theil–Sen), its interval Sen's: both are ranks, so one odd point moves them little. A lone
//! jump, one step up far out of line with the others, is taken out first: an array that was
//! allocated once is not a rate. Bounded work, no allocation, and the same bits for the same
//! points.

use std::cmp::Ordering;

/// Points one slope is made of: 120 pairs are sorted in well under a microsecond or two, and 16
/// points are enough for an interval of ranks.
pub const POINTS_MAX: usize = 16;

/// Below this many points nothing is known.
pub const POINTS_MIN: usize = 3;

/// Below this much time nothing is known.
pub const SPAN_MIN_MS: u64 = 10_000;

/// Horizon of the newest regime: three base intervals, or a burst's seconds.
pub const HORIZON_FAST_MS: u64 = 15_000;

/// Horizon that sees through a garbage collector's teeth.
pub const HORIZON_MIDDLE_MS: u64 = 60_000;

/// Horizon of slow leaks.
pub const HORIZON_LONG_MS: u64 = 300_000;

/// Normal quantile of the 80 % interval.
const Z_80: f64 = 1.281_551_565_545;

/// A step is a lone jump when it is out of line this many times more than any other.
const LONE_JUMP_RATIO: f64 = 4.0;

const PAIRS_MAX: usize = POINTS_MAX * (POINTS_MAX - 1) / 2;

/// A point of a series: when (milliseconds of the agent's monotonic clock) and how much.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Point {
    /// Milliseconds since boot.
    pub mono_ms: u64,
    /// Bytes in use.
    pub bytes: u64,
}

/// A robust slope with the interval it is believed in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trend {
    /// Median slope, bytes per second; negative when memory is given back.
    pub bytes_per_second: f64,
    /// Lower end of the believed interval (80 %).
    pub low_bytes_per_second: f64,
    /// Upper end of the believed interval (80 %).
    pub high_bytes_per_second: f64,
    /// Share of the steps inside the horizon that went up, 0..=1.
    pub rising_share: f64,
    /// How much time the points cover.
    pub span_ms: u64,
    /// How many points were used.
    pub points: usize,
}

/// A point as it is kept: corrections may take it below nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Kept {
    mono_ms: u64,
    bytes: i64,
}

/// The newest points of a series, oldest first, at most `N`; pushing to a full one forgets the
/// oldest. Settled points are at least `spacing_ms` apart: until then the newest one is
/// provisional and the next push replaces it. So a few points cover a long horizon whatever the
/// rhythm, and the newest reading is always there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Series<const N: usize> {
    points: [Kept; N],
    start: usize,
    len: usize,
    spacing_ms: u64,
}

/// What one memory series keeps for its trend: three rings, under a kilobyte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tracker {
    fast: Series<POINTS_MAX>,
    middle: Series<POINTS_MAX>,
    long: Series<POINTS_MAX>,
}

/// The robust slope of the points not older than `horizon_ms` before the newest. `points` come
/// oldest first; of more than [`POINTS_MAX`] the newest count. Unknown below [`POINTS_MIN`]
/// points or [`SPAN_MIN_MS`].
#[must_use]
pub fn trend(points: impl IntoIterator<Item = Point>, horizon_ms: u64) -> Option<Trend> {
    trend_of(points.into_iter().map(Kept::of), horizon_ms)
}

fn trend_of(points: impl Iterator<Item = Kept>, horizon_ms: u64) -> Option<Trend> {
    let mut newest = Series::<POINTS_MAX>::new(0);
    for point in points {
        newest.keep(point);
    }
    let window = Window::of(&newest, horizon_ms)?;
    Some(window.trend())
}

// === impl Kept ===

impl Kept {
    fn of(point: Point) -> Self {
        Self {
            mono_ms: point.mono_ms,
            // No memory is larger.
            bytes: i64::try_from(point.bytes).unwrap_or(i64::MAX),
        }
    }

    fn point(self) -> Point {
        Point {
            mono_ms: self.mono_ms,
            bytes: u64::try_from(self.bytes).unwrap_or(0),
        }
    }
}

// === impl Series ===

impl<const N: usize> Series<N> {
    /// An empty series whose settled points are at least `spacing_ms` apart.
    #[must_use]
    pub fn new(spacing_ms: u64) -> Self {
        const { assert!(N >= 2, "a series of one point has no slope") };
        Self {
            points: [Kept::default(); N],
            start: 0,
            len: 0,
            spacing_ms,
        }
    }

    /// Adds `point`. One that is not later than the newest is left out: time does not go back.
    pub fn push(&mut self, point: Point) -> bool {
        self.keep(Kept::of(point))
    }

    fn keep(&mut self, point: Kept) -> bool {
        if let Some(newest) = (self.len > 0).then(|| self.at(self.len - 1)) {
            if point.mono_ms <= newest.mono_ms {
                return false;
            }
            if self.len >= 2 && newest.mono_ms - self.at(self.len - 2).mono_ms < self.spacing_ms {
                let last = (self.start + self.len - 1) % N;
                self.points[last] = point;
                return true;
            }
        }
        let next = (self.start + self.len) % N;
        self.points[next] = point;
        if self.len < N {
            self.len += 1;
        } else {
            self.start = (self.start + 1) % N;
        }
        true
    }

    /// Moves every point by `bytes`: what is pushed from now on is counted by a better reading,
    /// and this is what it would have said more of the points before.
    pub fn correct(&mut self, bytes: i64) {
        if bytes == 0 {
            return;
        }
        // Those not in use are overwritten before they are read.
        for point in &mut self.points {
            point.bytes = point.bytes.saturating_add(bytes);
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.start = 0;
        self.len = 0;
    }

    /// How many points there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The newest point.
    #[must_use]
    pub fn newest(&self) -> Option<Point> {
        (self.len > 0).then(|| self.at(self.len - 1).point())
    }

    /// Every point, oldest first; one that was corrected to less than nothing is nothing.
    pub fn iter(&self) -> impl Iterator<Item = Point> + '_ {
        self.kept().map(Kept::point)
    }

    /// The points not older than `horizon_ms` before the newest, oldest first.
    pub fn within(&self, horizon_ms: u64) -> impl Iterator<Item = Point> + '_ {
        self.kept_within(horizon_ms).map(Kept::point)
    }

    /// [`trend`] of its points.
    #[must_use]
    pub fn trend(&self, horizon_ms: u64) -> Option<Trend> {
        trend_of(self.kept(), horizon_ms)
    }

    fn kept(&self) -> impl Iterator<Item = Kept> + '_ {
        (0..self.len).map(|i| self.at(i))
    }

    fn kept_within(&self, horizon_ms: u64) -> impl Iterator<Item = Kept> + '_ {
        let from_ms = self
            .newest()
            .map_or(0, |newest| newest.mono_ms.saturating_sub(horizon_ms));
        self.kept().filter(move |point| point.mono_ms >= from_ms)
    }

    fn at(&self, index: usize) -> Kept {
        self.points[(self.start + index) % N]
    }
}

// === impl Tracker ===

impl Default for Tracker {
    fn default() -> Self {
        let spacing = |horizon_ms: u64| horizon_ms / (POINTS_MAX as u64 - 1);
        Self {
            // A burst's seconds fit as they are; nothing comes faster.
            fast: Series::new(0),
            middle: Series::new(spacing(HORIZON_MIDDLE_MS)),
            long: Series::new(spacing(HORIZON_LONG_MS)),
        }
    }
}

impl Tracker {
    /// Adds `point` to every horizon; one that is not later than the newest is left out.
    pub fn push(&mut self, point: Point) -> bool {
        self.middle.push(point);
        self.long.push(point);
        self.fast.push(point)
    }

    /// Moves every point by `bytes`, before a point is pushed that is counted by a better reading:
    /// neither growth nor release is seen in the difference.
    pub fn correct(&mut self, bytes: i64) {
        self.fast.correct(bytes);
        self.middle.correct(bytes);
        self.long.correct(bytes);
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// The newest point.
    #[must_use]
    pub fn newest(&self) -> Option<Point> {
        self.fast.newest()
    }

    /// The last minute, oldest first, thinned to what fits.
    pub fn minute(&self) -> impl Iterator<Item = Point> + '_ {
        self.middle.within(HORIZON_MIDDLE_MS)
    }

    /// The trend in force: of the longest horizon that the shorter ones do not contradict. While
    /// nothing new happens that is the precise long one; when a kernel takes off, the seconds
    /// since then speak.
    #[must_use]
    pub fn trend(&self) -> Option<Trend> {
        let longer = [
            self.middle.trend(HORIZON_MIDDLE_MS),
            self.long.trend(HORIZON_LONG_MS),
        ];
        let mut best = self.fast.trend(HORIZON_FAST_MS);
        for longer in longer.into_iter().flatten() {
            match best {
                Some(shorter) if !shorter.agrees_with(&longer) => break,
                _ => best = Some(longer),
            }
        }
        best
    }
}

// === impl Trend ===

impl Trend {
    /// Whether the believed intervals have something in common.
    #[must_use]
    pub fn agrees_with(&self, other: &Self) -> bool {
        self.low_bytes_per_second <= other.high_bytes_per_second
            && other.low_bytes_per_second <= self.high_bytes_per_second
    }
}

// === Window ===

/// The points of one horizon, relative to the first: seconds and bytes.
struct Window {
    seconds: [f64; POINTS_MAX],
    bytes: [f64; POINTS_MAX],
    len: usize,
    span_ms: u64,
}

impl Window {
    fn of(series: &Series<POINTS_MAX>, horizon_ms: u64) -> Option<Self> {
        let first = series.kept_within(horizon_ms).next()?;
        let mut window = Self {
            seconds: [0.0; POINTS_MAX],
            bytes: [0.0; POINTS_MAX],
            len: 0,
            span_ms: 0,
        };
        for point in series.kept_within(horizon_ms) {
            window.span_ms = point.mono_ms - first.mono_ms;
            window.seconds[window.len] = window.span_ms as f64 / 1000.0;
            window.bytes[window.len] = (i128::from(point.bytes) - i128::from(first.bytes)) as f64;
            window.len += 1;
        }
        (window.len >= POINTS_MIN && window.span_ms >= SPAN_MIN_MS).then_some(window)
    }

    fn trend(mut self) -> Trend {
        let steps = self.len - 1;
        let rising = (0..steps).filter(|&i| self.rise(i) > 0.0).count();
        self.take_out_lone_jump();

        let mut slopes = [0.0_f64; PAIRS_MAX];
        let mut pairs = 0;
        for later in 1..self.len {
            for earlier in 0..later {
                slopes[pairs] = (self.bytes[later] - self.bytes[earlier])
                    / (self.seconds[later] - self.seconds[earlier]);
                pairs += 1;
            }
        }
        let slopes = &mut slopes[..pairs];
        slopes.sort_unstable_by(f64::total_cmp);
        let (low, high) = interval_ranks(self.len);
        Trend {
            bytes_per_second: median_sorted(slopes),
            low_bytes_per_second: slopes[low],
            high_bytes_per_second: slopes[high],
            rising_share: rising as f64 / steps as f64,
            span_ms: self.span_ms,
            points: self.len,
        }
    }

    fn rise(&self, step: usize) -> f64 {
        self.bytes[step + 1] - self.bytes[step]
    }

    /// Replaces the one step up that is out of line, if there is exactly one and it stayed, by
    /// what the median step would have been. Steps down stay as they are: to forget them would
    /// make a climb of every saw-tooth.
    fn take_out_lone_jump(&mut self) {
        let steps = self.len - 1;
        let mut rates = [0.0_f64; POINTS_MAX];
        for (i, rate) in rates[..steps].iter_mut().enumerate() {
            *rate = self.rise(i) / (self.seconds[i + 1] - self.seconds[i]);
        }
        rates[..steps].sort_unstable_by(f64::total_cmp);
        let usual = median_sorted(&rates[..steps]);

        let excess = |window: &Self, i: usize| {
            window.rise(i) - usual * (window.seconds[i + 1] - window.seconds[i])
        };
        let by_size = |a: f64, b: f64| a.abs().total_cmp(&b.abs());
        let mut jump = (0, 0.0_f64);
        let mut next = 0.0_f64;
        for i in 0..steps {
            let e = excess(self, i);
            if by_size(e, jump.1) == Ordering::Greater {
                next = jump.1;
                jump = (i, e);
            } else if by_size(e, next) == Ordering::Greater {
                next = e;
            }
        }
        let (at, size) = jump;
        // More than half of the step must be excess: rounding is not a jump.
        let lone = size > 0.5 * self.rise(at).abs() && size >= LONE_JUMP_RATIO * next.abs();
        if size > 0.0 && lone {
            for bytes in &mut self.bytes[at + 1..self.len] {
                *bytes -= size;
            }
        }
    }
}

/// Sen's 80 % interval of the slope: the ranks, among the sorted slopes of all pairs of `points`
/// points, between which it lies.
fn interval_ranks(points: usize) -> (usize, usize) {
    let n = points as f64;
    let pairs = points * (points - 1) / 2;
    let spread = Z_80 * (n * (n - 1.0) * (2.0 * n + 5.0) / 18.0).sqrt();
    let low = ((pairs as f64 - spread) / 2.0).floor().max(0.0) as usize;
    (low, pairs - 1 - low)
}

/// The median of sorted, non-empty `values`.
fn median_sorted(values: &[f64]) -> f64 {
    let middle = values.len() / 2;
    if values.len() % 2 == 1 {
        values[middle]
    } else {
        let (a, b) = (values[middle - 1], values[middle]);
        // Halved after the difference, so that two equal values give that value exactly.
        a + (b - a) / 2.0
    }
}

#[cfg(test)]
mod tests;
