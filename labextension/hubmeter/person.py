"""When a person last did something in this server, and what.

Jupyter's own `last_activity` mixes people with programs: output of a cell that runs by itself moves it, and
so does any request of a hidden tab. Here counts only what somebody must have been there for: a key or a
pointer in a visible tab (which the browser says), code that was begun, words typed into a terminal, a file
that was saved. Nothing is known before the first of these: then it is null, not "never".
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

SHOWN_MAX = 32  # notices in one message; as many as the agent takes
EPISODE_CHARS_MAX = 64
TOLD_EVERY_S = 30.0  # who types all day is not news every few seconds
KEPT_JITTER_S = 5.0  # the other end counts in whole seconds
KEPT_S_MAX = 366 * 24 * 3600.0
SAVED_MAX = 256  # files whose last save is remembered

#: A kernel's state and last activity, as its manager says.
Past = tuple[str | None, datetime | None]


class Person:
    """What is known of the people who use this server. Told of on the loop, looked at in our thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        #: When, and what; changed as one.
        self._last: tuple[float | None, str | None] = (None, None)
        self._told_at: float | None = None
        self._lock = threading.Lock()
        #: Notices that were on a screen, and not yet told.
        self._shown: dict[str, None] = {}
        self._kernels: dict[str, Past] | None = None
        self._typed: Mapping[str, float] | None = None
        self._saved: dict[str, datetime | None] = {}
        self._kept_until: float | None = None
        #: Whether a page is open that may show notices; None where nobody knows.
        self.page_open: bool | None = None

    def did(self, kind: str) -> None:
        """Somebody did something just now: typing, run, terminal, save."""
        self._last = (self._clock(), kind)

    def saw(self, episode: str) -> None:
        """A notice was on the screen of a visible tab."""
        with self._lock:
            self._shown[episode] = None
            while len(self._shown) > SHOWN_MAX:
                del self._shown[next(iter(self._shown))]

    def shown(self) -> list[str]:
        """What was on a screen, and is not yet told."""
        with self._lock:
            return list(self._shown)

    def look(self, kernels: Sequence[Mapping[str, Any]], typed: Mapping[str, float]) -> None:
        """Takes the kernels and terminals there are, and what has happened in them since the last look."""
        now = {row["id"]: (row["state"], row["last_activity"]) for row in kernels}
        if self._kernels is not None:
            if any(_ran(self._kernels.get(kernel), past) for kernel, past in now.items()):
                self.did("run")
            if self._typed is not None and _newer(self._typed, typed):
                self.did("terminal")
        self._kernels, self._typed = now, typed

    def saved(self, path: str, kernels: Sequence[Mapping[str, Any]]) -> None:
        """A file was saved. A notebook whose kernel wrote into it since may have saved itself."""
        used = [row["last_activity"] for row in kernels if row["notebook"] == path]
        busy = any(row["state"] == "busy" for row in kernels if row["notebook"] == path)
        last = max((one for one in used if one is not None), default=None)
        by_itself = busy or (last is not None and self._saved.get(path) != last)
        self._saved.pop(path, None)
        self._saved[path] = last
        while len(self._saved) > SAVED_MAX:
            del self._saved[next(iter(self._saved))]
        if not by_itself:
            self.did("save")

    def keep(self, seconds: float | None) -> None:
        """For how long jupyter-keepalive holds the server still."""
        if seconds is None:
            self._kept_until = None
            return
        until = self._clock() + seconds
        if self._kept_until is None or abs(until - self._kept_until) > KEPT_JITTER_S:
            self._kept_until = until

    def mark(self) -> tuple[Any, ...]:
        """Differs from the mark before when there is something new to tell."""
        at, _ = self._last
        if at is not None and (self._told_at is None or at - self._told_at >= TOLD_EVERY_S):
            self._told_at = at
        return self._told_at, self._kept_until, self.page_open

    def body(self) -> dict[str, Any]:
        """What the agent is told: ages, since clocks may differ."""
        (at, kind), now = self._last, self._clock()
        return {
            "input_ms": None if at is None else int((now - at) * 1000),
            "input_kind": kind,
            "shown": self.shown(),
            "kept_ms": None if self._kept_until is None else max(0, int((self._kept_until - now) * 1000)),
            "page_open": self.page_open,
        }

    def took(self, shown: Sequence[str]) -> None:
        """The agent has these."""
        with self._lock:
            for episode in shown:
                self._shown.pop(episode, None)


def kept_s(settings: Mapping[str, Any]) -> float | None:
    """What jupyter-keepalive says, where it is installed and was asked."""
    remaining = getattr(settings.get("keepalive_spinner"), "remaining", None)
    if isinstance(remaining, bool) or not isinstance(remaining, (int, float)) or not remaining > 0:
        return None
    return min(remaining, KEPT_S_MAX)


def _ran(before: Past | None, now: Past) -> bool:
    """Whether code was begun between two looks. What a kernel says while it starts, and output of what
    has run all the time, is nobody's doing."""
    state, last = now
    if before is None or before[0] != "busy":
        if state == "busy":
            return True
        # Begun and done between two looks.
        return before is not None and before[0] == state == "idle" and last != before[1]
    return False


def _newer(before: Mapping[str, float], now: Mapping[str, float]) -> bool:
    return any(name in before and at > before[name] for name, at in now.items())
