//! The newest points of a series, a few for a long time.

use crate::trend::{Trend, trend_of};

/// A point of a series: when (milliseconds of the agent's monotonic clock) and how much.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Point {
    /// Milliseconds since boot.
    pub mono_ms: u64,
    /// Bytes in use.
    pub bytes: u64,
}

/// A point as it is kept: corrections may take it below nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) mono_ms: u64,
    pub(crate) bytes: i64,
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

// === impl Kept ===

impl Kept {
    pub(crate) fn of(point: Point) -> Self {
        Self {
            mono_ms: point.mono_ms,
            // No memory is larger.
            bytes: i64::try_from(point.bytes).unwrap_or(i64::MAX),
        }
    }

    pub(crate) fn point(self) -> Point {
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

    pub(crate) fn keep(&mut self, point: Kept) -> bool {
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

    pub(crate) fn kept_within(&self, horizon_ms: u64) -> impl Iterator<Item = Kept> + '_ {
        let from_ms = self
            .newest()
            .map_or(0, |newest| newest.mono_ms.saturating_sub(horizon_ms));
        self.kept().filter(move |point| point.mono_ms >= from_ms)
    }

    fn at(&self, index: usize) -> Kept {
        self.points[(self.start + index) % N]
    }
}
