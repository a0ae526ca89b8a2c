"""What the agent says: the newest sample or none, and which of it goes onto the event bus.

What is kept is never stale: as soon as the stream breaks or falls silent there is no sample, and the
bus is told so once. A sample is put into its types only when somebody wants it: most ticks nobody does.
Lines are taken in our thread; the event loop only reads what is kept, and is woken for what a tab would show.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Callable, Mapping
from typing import Any

from . import events, local
from .notable import Notable
from .outlet import Outlet

FIRST_S_MAX = 90.0  # the longest interval there is, and half of it
QUIET_S_MIN = 15.0
QUIET_INTERVALS = 3  # so many samples may be late before they are missing
INTERVAL_MS_MAX = 60_000  # the longest there is: a number beyond it must not make silence bearable
GARBAGE_LINES_MAX = 20  # in a row; then the other end is no agent of ours


class Newest:
    """A sample as the agent said it, and as we keep it once somebody asked."""

    def __init__(self, raw: Mapping[str, Any]) -> None:
        self.raw = raw
        self.kept: dict[str, Any] | None = None


class Feed:
    """What the agent says, as it says it."""

    def __init__(
        self,
        outlet: Outlet,
        log: logging.Logger,
        up_s: Callable[[], float | None] = lambda: None,
        watched: Callable[[], bool] = lambda: True,
    ) -> None:
        #: Rises with each stream that began; whoever tells the agent something must repeat it then.
        self.connections = 0
        #: Called at each sample, in our thread.
        self.on_sample: Callable[[], None] = lambda: None
        self._outlet = outlet
        self._log = log
        self._up_s = up_s
        self._watched = watched
        self._garbage = 0
        #: Only our thread sets it: whoever else put something here might put back what was lost meanwhile.
        self._newest: Newest | None = None
        self._link: Mapping[str, Any] = {}
        self._notable = Notable()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._silent = asyncio.Event()

    @property
    def live(self) -> bool:
        """Whether there is a sample."""
        return self._newest is not None

    @property
    def sample(self) -> dict[str, Any] | None:
        """The newest sample, checked and bounded."""
        newest = self._newest
        if newest is None:
            return None
        if newest.kept is None and (made := events.sample(newest.raw)):
            newest.kept = {**made, "agent_up_seconds": self._up_s()}
        return newest.kept

    @property
    def link(self) -> Mapping[str, Any]:
        """How the agent stands with its collector, or stood when it was last heard; a mapping of anything."""
        return self._link

    async def silence(self) -> None:
        """Ends when there is no sample. No timer, no question: while the agent speaks this costs nothing."""
        self._loop = asyncio.get_running_loop()
        self._silent.clear()
        # In this order: what happens in between sets it again.
        if self.live:
            await self._silent.wait()

    def begin(self) -> None:
        """A stream begins."""
        self._garbage = 0

    def quiet_s(self) -> float:
        """How long the stream may say nothing."""
        newest = self._newest
        if newest is None:
            return FIRST_S_MAX
        interval_ms = newest.raw.get("interval_ms")
        known = isinstance(interval_ms, int) and 0 < interval_ms <= INTERVAL_MS_MAX
        return max(QUIET_S_MIN, QUIET_INTERVALS * interval_ms / 1000 if known else 0)

    def take(self, line: bytes) -> None:
        """Takes a line of the stream; raises LocalError after too many that are none of the agent's."""
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            message = None
        kind = message.get("type") if isinstance(message, dict) else None
        if kind == "sample" and events.is_sample(message.get("data")):
            self._take_sample(message["data"])
        elif kind == "notice" and (notice := events.notice(message.get("data"))):
            self._outlet.send(events.NOTICE_SCHEMA, notice)
        elif kind is None or kind in ("sample", "notice"):
            self._garbage += 1
            if self._garbage > GARBAGE_LINES_MAX:
                raise local.LocalError("stream holds no samples")
            return
        # A type that we don't know is a newer agent's, and no garbage.
        self._garbage = 0

    def lose(self) -> bool:
        """Forgets the sample; whether there was one."""
        if not self.live:
            return False
        self._newest = None
        self._notable.forget()
        self._outlet.send(events.SAMPLE_SCHEMA, events.sample_event(None), newest_only=True)
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self._loop.call_soon_threadsafe(self._silent.set)
        return True

    def _take_sample(self, raw: Mapping[str, Any]) -> None:
        if not self.live:
            self.connections += 1
        self._newest = Newest(raw)
        link = raw.get("link")
        self._link = link if isinstance(link, Mapping) else {}
        # Before the loop is woken: it would find the interpreter taken, and sleep and wake once more.
        self.on_sample()
        if not self._outlet.is_heard(events.SAMPLE_SCHEMA):
            # Whoever comes asks for the newest, and gets the next one whatever it says.
            self._notable.forget()
        elif self._notable.take(raw, self._watched()) and (sample := self.sample):
            event = events.sample_event(sample, self._notable.drifts)
            self._outlet.send(events.SAMPLE_SCHEMA, event, newest_only=True)
