"""How fast memory grows where it grows evenly.

A tab that knows this counts on by itself: most of what it would be told each second is what it expects.
Only memory that grew along a line is said to grow so: what comes in steps, or comes and goes, stands still
until it is told.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Mapping

#: A line is drawn through so many samples.
SAMPLES = 4
#: Those of a thread that was held up come all at once and are no line.
SPAN_S_MIN = 1.5
#: None may be further from the line than this share of the whole rise.
EVEN_SHARE = 0.2
#: For so long a tab counts on by itself, and never up to the limit; `sample.ts` has the same figures.
COUNTED_S_MAX = 30.0
COUNTED_SHARE_MAX = 0.99

#: When, and how many bytes.
Point = tuple[float, float]


class Drift:
    """The last samples, of the server and of each workload."""

    def __init__(self) -> None:
        self._points: dict[Hashable, deque[Point]] = {}

    def take(
        self, at_s: float, used: Mapping[Hashable, float], rise_min: float, leap: float
    ) -> dict[Hashable, float]:
        """Bytes a second of all that grows evenly.

        What rises by less than `rise_min` while it is counted on is as good as still, and what grows by
        `leap` from one sample to the next would be far off as soon as it stopped.
        """
        kept = {key: self._points.get(key) or deque(maxlen=SAMPLES) for key in used}
        drifts = {}
        for key, bytes_now in used.items():
            points = kept[key]
            points.append((at_s, bytes_now))
            rate = _rate(points)
            if rate * COUNTED_S_MAX >= rise_min and rate * (at_s - points[-2][0]) < leap:
                drifts[key] = rate
        self._points = kept
        return drifts

    def forget(self) -> None:
        """What comes next has nothing to do with what was."""
        self._points = {}


def _rate(points: deque[Point]) -> float:
    """The slope of the line from the first to the last, or 0 where the others are not on it."""
    (first_s, first), (last_s, last) = points[0], points[-1]
    span_s, rise = last_s - first_s, last - first
    if rise <= 0 or len(points) < SAMPLES or span_s < SPAN_S_MIN:
        return 0.0
    rate = rise / span_s
    even = all(abs(used - first - rate * (at_s - first_s)) <= EVEN_SHARE * rise for at_s, used in points)
    return rate if even else 0.0
