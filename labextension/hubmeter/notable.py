"""Which samples are worth an event.

Every open tab gets every event, and an event costs the server's loop more than all the rest of a tick. So
a sample goes out when somebody who looks would see a difference, and else once a minute.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from .events import INTEGER_MAX

QUIET_S = 60.0
SHARE = 0.0025  # of the limit: a quarter of a percent is less than a pixel of the meter
BYTES_MIN = 1024 * 1024
CORES = 0.05

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
        self._next_s = 0.0
        self._before: dict[Any, Seen] = {}

    def take(self, raw: Mapping[str, Any]) -> bool:
        """Whether this one shall go out; if so the next ones are compared with it."""
        now = _seen(raw)
        # While a limit comes near, each second counts.
        due = self._clock() >= self._next_s or raw.get("seconds_to_limit") is not None
        if not due and not _differs(self._before, now):
            return False
        self._before, self._next_s = now, self._clock() + QUIET_S
        return True

    def forget(self) -> None:
        """The next sample goes out whatever it says."""
        self._next_s = 0.0


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


def _differs(before: Mapping[Any, Seen], now: Mapping[Any, Seen]) -> bool:
    if before.keys() != now.keys():
        return True
    used, _, [limit, *_] = now[None]
    step = max(BYTES_MIN, SHARE * (_number(limit) or used))
    for key, (used, cores, same) in now.items():
        used_before, cores_before, same_before = before[key]
        if same != same_before or abs(used - used_before) >= step or abs(cores - cores_before) >= CORES:
            return True
    return False


def _number(value: Any) -> float:
    return value if isinstance(value, (int, float)) and -INTEGER_MAX <= value <= INTEGER_MAX else 0.0
