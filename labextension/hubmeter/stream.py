"""The agent's stream: keeps the newest sample, passes samples and notices to the event bus.

What is kept is never stale: as soon as the stream breaks or falls silent there is no sample, and the
bus is told so once. A sample is put into its types only when somebody wants it: most ticks nobody does.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from typing import Any

from jupyter_events import EventLogger

from . import events, local
from .agent import Backoff
from .notable import Notable

FIRST_S_MAX = 90.0  # the longest interval there is, and half of it
QUIET_S_MIN = 15.0
QUIET_INTERVALS = 3  # so many samples may be late before they are missing
INTERVAL_MS_MAX = 60_000  # the longest there is: a number beyond it must not make silence bearable
GARBAGE_LINES_MAX = 20  # in a row; then the other end is no agent of ours
RETRY_S_MAX = 5.0  # a socket on this machine: asking often costs nothing


class Feed:
    """What the agent says, as it says it."""

    def __init__(
        self,
        bus: EventLogger,
        log: logging.Logger,
        socket: Callable[[], str | None],
        up_s: Callable[[], float | None] = lambda: None,
    ) -> None:
        #: Rises with each stream that began; whoever tells the agent something must repeat it then.
        self.connections = 0
        #: Called at each sample, on the loop.
        self.on_sample: Callable[[], None] = lambda: None
        self._bus = bus
        self._log = log
        self._socket = socket
        self._up_s = up_s
        self._garbage = 0
        self._raw: Mapping[str, Any] | None = None
        self._sample: dict[str, Any] | None = None
        self._link: Mapping[str, Any] = {}
        self._notable = Notable()

    @property
    def live(self) -> bool:
        """Whether there is a sample."""
        return self._raw is not None

    @property
    def sample(self) -> dict[str, Any] | None:
        """The newest sample, checked and bounded."""
        if self._sample is None and (sample := events.sample(self._raw)):
            self._sample = {**sample, "agent_up_seconds": self._up_s()}
        return self._sample

    @property
    def link(self) -> Mapping[str, Any]:
        """How the agent stands with its collector, or stood when it was last heard; a mapping of anything."""
        return self._link

    async def run(self) -> None:
        """Follows the stream for as long as the server lives."""
        backoff = Backoff(0.25, RETRY_S_MAX)
        while True:
            if (socket := self._socket()) is not None:
                try:
                    await self._follow(socket)
                except local.FAILURES as error:
                    self._log.debug("hubmeter: stream ended: %s: %s", type(error).__name__, error)
                if self._lost():
                    backoff = Backoff(0.25, RETRY_S_MAX)
            await asyncio.sleep(backoff.next())

    async def _follow(self, socket: str) -> None:
        self._garbage = 0
        lines = local.stream(socket, "/v1/stream", self._quiet_s)
        try:
            async for line in lines:
                self._take(line)
        finally:
            await lines.aclose()

    def _quiet_s(self) -> float:
        """How long the stream may say nothing."""
        if self._raw is None:
            return FIRST_S_MAX
        interval_ms = self._raw.get("interval_ms")
        known = isinstance(interval_ms, int) and 0 < interval_ms <= INTERVAL_MS_MAX
        return max(QUIET_S_MIN, QUIET_INTERVALS * interval_ms / 1000 if known else 0)

    def _take(self, line: bytes) -> None:
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            message = None
        kind = message.get("type") if isinstance(message, dict) else None
        if kind == "sample" and events.is_sample(message.get("data")):
            self._take_sample(message["data"])
        elif kind == "notice" and (notice := events.notice(message.get("data"))):
            self._emit(events.NOTICE_SCHEMA, notice)
        elif kind is None or kind in ("sample", "notice"):
            self._garbage += 1
            if self._garbage > GARBAGE_LINES_MAX:
                raise local.LocalError("stream holds no samples")
            return
        # A type that we don't know is a newer agent's, and no garbage.
        self._garbage = 0

    def _take_sample(self, raw: Mapping[str, Any]) -> None:
        if self._raw is None:
            self.connections += 1
        self._raw, self._sample = raw, None
        self.on_sample()
        link = raw.get("link")
        self._link = link if isinstance(link, Mapping) else {}
        if self._notable.take(raw) and (sample := self.sample):
            self._emit(events.SAMPLE_SCHEMA, events.sample_event(sample))

    def _lost(self) -> bool:
        """Forgets the sample; whether there was one."""
        if self._raw is None:
            return False
        self._raw = self._sample = None
        self._notable.forget()
        self._emit(events.SAMPLE_SCHEMA, events.sample_event(None))
        return True

    def _emit(self, schema_id: str, data: dict[str, Any]) -> None:
        try:
            self._bus.emit(schema_id=schema_id, data=data)
        except Exception:  # noqa: BLE001 - somebody's listener or handler: not our stream's end
            self._log.debug("hubmeter: event was not taken", exc_info=True)
