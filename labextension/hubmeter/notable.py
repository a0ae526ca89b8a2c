"""Which samples are worth an event.

An event wakes the server's loop and every open tab. So a sample goes out at once when it says something new:
a jump, a kernel that came, went or began to work, a limit that comes near. What creeps or jitters, memory by
less than a jump and processors' shares, goes out every quarter of a minute: often enough for lines that live.
What nobody would see waits for the minute, and in tabs that nobody sees all that is not grave does.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

from .events import INTEGER_MAX

QUIET_S = 60.0
LIVELY_S = 15.0
CORES = 0.05
BYTES_MIN = 1024 * 1024
#: What a jump is, as a share of the limit and at most; where nobody looks, whoever comes back is first shown
#: what is as near as this. The line in the status bar has tenths of a GiB.
JUMP = (0.01, 100 * BYTES_MIN)
#: What somebody would see: a quarter of a percent is less than a pixel of the meter.
CREEP = (0.0025, 25 * BYTES_MIN)
TICK_S = 0.5  # a sample that comes a little early is the one that was waited for

#: What is the same or is not; the limit first.
_SAME = (
    "memory_limit_bytes",
    "interval_ms",
    "memory_source",
    "memory_limit_source",
    "memory_limit_enforced",
    "memory_limit_shared",
)

#: Bytes, cores, and what is the same or is not.
Seen = tuple[float, float, list[Any]]


class Notable:
    """Compares samples, as the agent gives them, with the last one that went out."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._sent_s: float | None = None
        self._before: dict[Any, Seen] = {}

    def take(self, raw: Mapping[str, Any], watched: bool = True) -> bool:
        """Whether this one shall go out; if so the next ones are compared with it."""
        now, at_s = _seen(raw), self._clock()
        if not self._is_due(raw, now, at_s, watched):
            return False
        self._before, self._sent_s = now, at_s
        return True

    def forget(self) -> None:
        """The next sample goes out whatever it says."""
        self._sent_s = None

    def _is_due(self, raw: Mapping[str, Any], now: Mapping[Any, Seen], at_s: float, watched: bool) -> bool:
        if self._sent_s is None:
            return True
        passed_s = at_s - self._sent_s + TICK_S
        # While a limit comes near, each second counts.
        if passed_s >= QUIET_S or raw.get("seconds_to_limit") is not None:
            return True
        if not watched:
            return _differs({None: self._before[None]}, {None: now[None]}, JUMP)
        if _differs(self._before, now, JUMP):
            return True
        return passed_s >= LIVELY_S and _differs(self._before, now, CREEP, CORES)


def _seen(raw: Mapping[str, Any]) -> dict[Any, Seen]:
    """What a sample says of the server and of each workload."""
    get = raw.get
    link, rows = get("link"), get("workloads")
    state = link.get("state") if isinstance(link, dict) else None
    same = [*map(get, _SAME), state, get("seconds_to_limit") is None]
    every: dict[Any, Seen] = {None: (_number(get("memory_used_bytes")), _number(get("cpu_cores")), same)}
    for row in rows if isinstance(rows, list) else ():
        if isinstance(row, dict):
            get = row.get
            key = f"{get('kind')} {get('id')}"
            moving = _number(get("memory_used_bytes")), _number(get("cpu_cores"))
            every[key] = (*moving, [get("notebook"), get("state")])
    return every


def _differs(
    before: Mapping[Any, Seen],
    now: Mapping[Any, Seen],
    bytes_min: tuple[float, float],
    cores_min: float = math.inf,
) -> bool:
    """Whether there is something new, or something moved by so much."""
    if before.keys() != now.keys():
        return True
    used, _, [limit, *_] = now[None]
    share, most = bytes_min
    step = max(BYTES_MIN, min(share * (_number(limit) or used), most))
    for key, (used, cores, same) in now.items():
        used_before, cores_before, same_before = before[key]
        if same != same_before or abs(used - used_before) >= step or abs(cores - cores_before) >= cores_min:
            return True
    return False


def _number(value: Any) -> float:
    return value if isinstance(value, (int, float)) and -INTEGER_MAX <= value <= INTEGER_MAX else 0.0
