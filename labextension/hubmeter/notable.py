"""Which samples are worth an event.

An event wakes the server's loop and every open tab. So a sample goes out when it says something that a tab
does not show by itself: a tab counts on what grows evenly (`drift`), and the seconds to the limit down. What
a sample is compared with is not the last one that went out but what tabs make of it by now.

* At once: the state gets graver, the limit changes, a workload comes or goes.
* Within two seconds: any other change of state, a leap of memory, a jump, a kernel that begins to work. After
  many of these within five seconds, and what is no more than a jump waits longer.
* Every quarter of a minute: what creeps or jitters, memory by less than a jump and processors' shares.
* Once a minute: the rest. In tabs that nobody sees all that is not grave waits for it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .drift import COUNTED_S_MAX, COUNTED_SHARE_MAX, Drift
from .events import INTEGER_MAX, row_key

QUIET_S = 60.0
#: What tabs count on by themselves is told again well before they stop.
RENEW_S = 20.0
LIVELY_S = 15.0
APART_S = 2.0
LEAP_S = 5.0  # the usual interval: nobody is promised more
TICK_S = 0.5  # a sample that comes a little early is the one that was waited for

#: Jumps in a row that each get an event; then one in so many seconds does.
JUMPS_MAX = 6
JUMP_S = 12.0

#: Processors' shares, as cores and as a share of what is shown: a kernel that computes jitters by some percent.
CORES, CORES_SHARE = 0.05, 0.1
BYTES_MIN = 1024 * 1024
#: Steps of memory, as a share of the limit and at most. The line in the status bar has tenths of a GiB.
LEAP = (0.05, 500 * BYTES_MIN)
#: Where nobody looks, whoever comes back is first shown what is as near as this.
JUMP = (0.01, 100 * BYTES_MIN)
#: What somebody would see: a quarter of a percent is less than a pixel of the meter.
CREEP = (0.0025, 25 * BYTES_MIN)
#: A forecast is never exact: what is off by less is not told.
SECONDS_SHARE, SECONDS_MIN = 0.2, 3.0
#: And a pace of the same kind.
PACE_SHARE = 0.25

# How grave it is, as `levelOf` in `model.ts` has it: its figures are the same.
CALM, RISING, CRITICAL = range(3)
RISING_SHARE, CRITICAL_SHARE = 0.8, 0.95
RISING_S, CRITICAL_S = 15 * 60.0, 60.0
FORECAST_SHARE_MIN = 0.25

#: What is the same or is not, and no tab shows by a number.
_SAME = ("memory_source", "memory_limit_source", "memory_limit_enforced", "memory_limit_shared")


class Row(NamedTuple):
    """A workload, or the server itself."""

    used: float
    cores: float
    same: tuple[Any, ...]


class Seen(NamedTuple):
    """What a sample says, as far as a tab shows it."""

    rows: Mapping[Hashable, Row]
    limit: float
    trend: float
    seconds: float | None

    @property
    def used(self) -> float:
        return self.rows[None].used

    @property
    def level(self) -> int:
        if self.limit <= 0:
            return CALM
        share = self.used / self.limit
        left_s = math.inf if self.seconds is None or share < FORECAST_SHARE_MIN else self.seconds
        if share >= CRITICAL_SHARE or left_s <= CRITICAL_S:
            return CRITICAL
        return RISING if share >= RISING_SHARE or left_s <= RISING_S else CALM

    def step(self, share_and_most: tuple[float, float]) -> float:
        share, most = share_and_most
        return max(BYTES_MIN, min(share * (self.limit or self.used), most))


class Sent(NamedTuple):
    """What went out, and by what tabs go on from there."""

    at_s: float
    seen: Seen
    drifts: Mapping[Hashable, float]

    def by_now(self, at_s: float) -> Seen:
        """What tabs show: `countedOn` in `sample.ts` does the same."""
        passed_s = at_s - self.at_s
        seen, counted_s = self.seen, min(passed_s, COUNTED_S_MAX)
        rows = dict(seen.rows) if self.drifts else seen.rows
        for key, rate in self.drifts.items():
            row, most = rows[key], math.inf
            if key is None and seen.limit > 0:
                most = max(row.used, COUNTED_SHARE_MAX * seen.limit)
            rows[key] = Row(min(row.used + rate * counted_s, most), row.cores, row.same)
        seconds = None if seen.seconds is None else max(0.0, seen.seconds - passed_s)
        return Seen(rows, seen.limit, seen.trend, seconds)


@dataclass
class Jumps:
    """Whether one more may go out: a few may in a row, later one now and then."""

    #: When all of them may again.
    full_s: float = 0.0

    def any(self, at_s: float) -> bool:
        return self.full_s - at_s <= (JUMPS_MAX - 1) * JUMP_S + TICK_S

    def use(self, at_s: float) -> None:
        # Events that don't ask for leave make no debt that grows.
        self.full_s = min(max(self.full_s, at_s) + JUMP_S, at_s + JUMPS_MAX * JUMP_S)


@dataclass
class Notable:
    """Compares samples, as the agent gives them, with what tabs show."""

    clock: Callable[[], float] = time.monotonic
    _sent: Sent | None = None
    _drift: Drift = field(default_factory=Drift)
    _jumps: Jumps = field(default_factory=Jumps)

    @property
    def drifts(self) -> Mapping[Hashable, float]:
        """Bytes a second by which tabs count on from the last that went out; the server's is that of None."""
        return {} if self._sent is None else self._sent.drifts

    def take(self, raw: Mapping[str, Any], watched: bool = True) -> bool:
        """Whether this one shall go out; if so the next ones are compared with it."""
        now, at_s = _seen(raw), self.clock()
        used = {key: row.used for key, row in now.rows.items()}
        drifts = self._drift.take(at_s, used, now.step(CREEP), now.step(LEAP))
        if not self._is_due(now, at_s, watched):
            return False
        self._sent = Sent(at_s, now, drifts)
        self._jumps.use(at_s)
        return True

    def forget(self) -> None:
        """The next sample goes out whatever it says."""
        self._sent = None
        self._drift.forget()

    def _is_due(self, now: Seen, at_s: float, watched: bool) -> bool:
        if self._sent is None:
            return True
        shown, passed_s = self._sent.by_now(at_s), at_s - self._sent.at_s + TICK_S
        jumps = self._jumps.any(at_s)
        if passed_s >= QUIET_S or now.level > shown.level or now.limit != shown.limit:
            return True
        came = watched and now.rows.keys() != shown.rows.keys()
        if came and jumps:
            return True
        if passed_s < (APART_S if jumps else LEAP_S):
            return False
        if not watched:
            return _is_other(shown, now) or (passed_s >= LIVELY_S and _moved(shown, now, JUMP))
        if came or _is_other(shown, now) or _moved(shown, now, LEAP):
            return True
        if jumps and (_row_differs(shown, now, JUMP) or _time_differs(shown, now)):
            return True
        if passed_s >= RENEW_S and self._sent.drifts:
            return True
        return passed_s >= LIVELY_S and (_row_differs(shown, now, CREEP, CORES) or _pace_differs(shown, now))


def _seen(raw: Mapping[str, Any]) -> Seen:
    """What a sample says of the server and of each workload."""
    get = raw.get
    link, every = get("link"), get("workloads")
    state = link.get("state") if isinstance(link, dict) else None
    same = (*map(get, _SAME), state)
    own = Row(_number(get("memory_used_bytes")), _number(get("cpu_cores")), same)
    rows: dict[Hashable, Row] = {None: own}
    for row in every if isinstance(every, list) else ():
        if isinstance(row, dict):
            get_of = row.get
            moving = _number(get_of("memory_used_bytes")), _number(get_of("cpu_cores"))
            rows[row_key(row)] = Row(*moving, (get_of("notebook"), get_of("state")))
    trend, seconds = _number(get("trend_bytes_per_second")), get("seconds_to_limit")
    # Only growth fills memory: a forecast beside a falling trend is none.
    left = None if seconds is None or trend <= 0 else _number(seconds)
    return Seen(rows, _number(get("memory_limit_bytes")), trend, left)


def _is_other(shown: Seen, now: Seen) -> bool:
    """What is told in words is told in others."""
    return now.level != shown.level or now.rows[None].same != shown.rows[None].same


def _moved(shown: Seen, now: Seen, step: tuple[float, float]) -> bool:
    return abs(now.used - shown.used) >= now.step(step)


def _row_differs(shown: Seen, now: Seen, bytes_min: tuple[float, float], cores_min: float = math.inf) -> bool:
    """Whether something moved by so much, or is called or does something else."""
    step = now.step(bytes_min)
    for key, row in now.rows.items():
        before = shown.rows.get(key)
        if before is None or row.same != before.same or abs(row.used - before.used) >= step:
            return True
        if abs(row.cores - before.cores) >= max(cores_min, CORES_SHARE * before.cores):
            return True
    return False


def _time_differs(shown: Seen, now: Seen) -> bool:
    """Whether the time that is left is another; where all is calm none is shown."""
    if now.level == CALM:
        return False
    if shown.seconds is None or now.seconds is None:
        return shown.seconds is not now.seconds
    return abs(now.seconds - shown.seconds) >= max(SECONDS_MIN, SECONDS_SHARE * shown.seconds)


def _pace_differs(shown: Seen, now: Seen) -> bool:
    return now.level != CALM and abs(now.trend - shown.trend) >= PACE_SHARE * max(abs(shown.trend), BYTES_MIN)


def _number(value: Any) -> float:
    return value if isinstance(value, (int, float)) and -INTEGER_MAX <= value <= INTEGER_MAX else 0.0
