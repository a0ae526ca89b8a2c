"""The way from our thread onto the server's event bus, and what it costs the loop.

`EventLogger.emit` checks, copies and turns into JSON once for each tab, all of it on the event loop. Where
only browsers listen, the text of an event is made in the thread, and the loop does no more than write it to
their sockets: the very bytes that they would get from `emit`. As soon as anybody else has part in it (a log
of events, a modifier, another extension's listener) the event goes through `emit`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import threading
from collections import deque
from typing import Any

from jupyter_events import EventLogger
from jupyter_server.services.events.handlers import SubscribeWebsocket
from tornado.websocket import WebSocketClosedError

WAITING_MAX = 64  # events while the loop is busy; of samples only the newest waits

#: Schema, data, the text that a browser gets.
Waiting = tuple[str, dict[str, Any], str]


class Outlet:
    """Sends events from a thread; the loop is woken only when there is one."""

    def __init__(self, bus: EventLogger, log: logging.Logger) -> None:
        self._bus = bus
        self._log = log
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()
        self._waiting: deque[Waiting] = deque(maxlen=WAITING_MAX)
        self._dropped = 0

    def begin(self) -> None:
        """Takes the loop that runs; before that nothing is sent."""
        self._loop = asyncio.get_running_loop()

    def is_heard(self, schema_id: str) -> bool:
        """Whether anybody listens. May be asked in any thread."""
        bus: Any = self._bus
        try:
            # They live as long as the bus; looking whether they are empty needs no lock.
            listeners = bus._modified_listeners.get(schema_id) or bus._unmodified_listeners.get(schema_id)
            return bool(listeners or bus.handlers)
        except AttributeError:  # another make of bus: it knows
            return True

    def send(self, schema_id: str, data: dict[str, Any], *, newest_only: bool = False) -> None:
        """Puts an event on the bus. `newest_only`: one of its kind that still waits is of no use any more."""
        if self._loop is None:
            return
        text = json.dumps({"schema_id": schema_id, **data})
        with self._lock:
            is_asked = bool(self._waiting)
            if newest_only:
                kept = [one for one in self._waiting if one[0] != schema_id]
                self._waiting.clear()
                self._waiting.extend(kept)
            self._dropped += len(self._waiting) == WAITING_MAX
            self._waiting.append((schema_id, data, text))
        # RuntimeError: the loop is closed, and nobody listens any more.
        if not is_asked:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._flush)

    def _flush(self) -> None:
        with self._lock:
            waiting, dropped = [*self._waiting], self._dropped
            self._waiting.clear()
            self._dropped = 0
        if dropped:
            self._log.warning("hubmeter: %d notices were not shown: the server's loop was busy", dropped)
        for schema_id, data, text in waiting:
            try:
                self._emit(schema_id, data, text)
            except Exception:  # noqa: BLE001 - somebody's listener or handler: not our stream's end
                self._log.debug("hubmeter: event was not taken", exc_info=True)

    def _emit(self, schema_id: str, data: dict[str, Any], text: str) -> None:
        listeners = self._browsers(schema_id)
        if listeners is None:
            self._bus.emit(schema_id=schema_id, data=data)
            return
        for listener in listeners:
            try:
                listener.__self__.write_message(text)
            except WebSocketClosedError:
                # As the listener itself would: a browser that went without a word.
                self._bus.remove_listener(listener=listener)
            except Exception:  # noqa: BLE001 - one browser's trouble is not the others'
                self._log.debug("hubmeter: event was not taken", exc_info=True)

    def _browsers(self, schema_id: str) -> list[Any] | None:
        """The listeners, if they are browsers' event sockets and nobody else has part in the event."""
        bus: Any = self._bus
        try:
            if bus.handlers or bus._modifiers.get(schema_id) or bus._unmodified_listeners.get(schema_id):
                return None
            listeners = list(bus._modified_listeners.get(schema_id, ()))
        except AttributeError:
            return None
        theirs = SubscribeWebsocket.event_listener
        return listeners if all(getattr(one, "__func__", None) is theirs for one in listeners) else None
