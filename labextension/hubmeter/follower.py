"""The thread that listens to the agent, and tells it things.

It sleeps in the kernel until the agent says something or somebody wakes it. The server's event loop has no
part in it: it is woken for events that a tab shows, and for nothing else. The thread is a daemon and holds
nothing that a fork or an end of the process would wait for.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import socket
import threading
import time
from collections.abc import Callable
from typing import Protocol

from . import local
from .agent import Backoff, aside
from .stream import Feed

RETRY_S_MIN, RETRY_S_MAX = 0.25, 5.0  # a socket on this machine: asking often costs nothing
SOON_S = 0.05  # several things that happen at once are told at once


class Looks(Protocol):
    """What is looked at beside the stream, in the same thread."""

    def look(self) -> None: ...

    def due_s(self) -> float: ...


class Follower:
    """Follows the agent's stream for as long as the server lives."""

    def __init__(
        self, feed: Feed, teller: Looks, log: logging.Logger, path: Callable[[], str | None]
    ) -> None:
        self._feed = feed
        self._teller = teller
        self._log = log
        self._path = path
        self._over = False
        self._thread: threading.Thread | None = None
        self._bell, self._ringer = socket.socketpair()
        for end in (self._bell, self._ringer):
            end.setblocking(False)
        self._pid = os.getpid()

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="hubmeter stream", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """Ends the thread, and goes on without it if it won't end: the other end of a socket may hang."""
        self._over = True
        if self._thread is None or not self._thread.is_alive() or self._pid != os.getpid():
            return
        self.wake()
        thread, self._thread = self._thread, None
        await aside(lambda: thread.join(local.CANCEL_S))
        if not thread.is_alive():
            self._bell.close()
            self._ringer.close()

    def wake(self) -> None:
        """There is something to look at that should not wait for the next sample. From any thread."""
        # A forked child has the same bell and no thread: it must not ring for its parent.
        if self._pid == os.getpid():
            with contextlib.suppress(OSError):  # it rings already, or is gone
                self._ringer.send(b"\0")

    def _run(self) -> None:
        backoff = Backoff(RETRY_S_MIN, RETRY_S_MAX)
        while not self._over:
            try:
                if (path := self._path()) is not None:
                    self._follow(path)
            except local.FAILURES as error:
                self._log.debug("hubmeter: stream ended: %s: %s", type(error).__name__, error)
            except Exception:  # noqa: BLE001 - a thread that ended would be a meter that lies still
                self._log.debug("hubmeter: stream ended", exc_info=True)
            if self._over:
                return
            if self._feed.lose():
                backoff = Backoff(RETRY_S_MIN, RETRY_S_MAX)
            self._pause(backoff.next())

    def _follow(self, path: str) -> None:
        self._feed.begin()
        connection = local.Connection(path, "GET", "/v1/stream")
        with connection as answer:
            if answer.status != 200:
                raise local.LocalError(f"/v1/stream answered {answer.status}")
            framing, lines = answer.framing(), local.Lines()
            data, heard_s = answer.rest, time.monotonic()
            while not self._over:
                if data:
                    heard_s = time.monotonic()
                    for line in lines.take(framing.take(data)):
                        self._feed.take(line)
                if framing.done:
                    return
                left_s = heard_s + self._feed.quiet_s() - time.monotonic()
                data = b""
                # Who was held up itself looks at what lies there before it calls that silence.
                if self._wait(left_s, connection):
                    data = connection.read_now()
                    if not data:
                        framing.take(data)
                elif left_s <= 0:
                    raise TimeoutError("the agent says nothing")

    def _pause(self, seconds: float) -> None:
        """Between two streams; what is looked at meanwhile is not told."""
        end_s = time.monotonic() + seconds
        while not self._over and (left_s := end_s - time.monotonic()) > 0:
            self._wait(left_s, None)

    def _wait(self, seconds: float, connection: local.Connection | None) -> bool:
        """Until the agent says something (then it is true), somebody rings, or it is time; looks when due."""
        poll = select.poll()
        poll.register(self._bell, select.POLLIN)
        if connection is not None:
            poll.register(connection, select.POLLIN)
        ready = [fd for fd, _ in poll.poll(1000 * max(0.0, min(seconds, self._teller.due_s())))]
        if self._bell.fileno() in ready:
            self._hear_bell()
        elif not ready and self._teller.due_s() <= 0:
            self._look()
        return connection is not None and connection.fileno() in ready

    def _hear_bell(self) -> None:
        if self._over:
            return
        time.sleep(SOON_S)
        with contextlib.suppress(BlockingIOError):
            while self._bell.recv(4096):
                pass
        self._look()

    def _look(self) -> None:
        try:
            self._teller.look()
        except Exception:  # noqa: BLE001 - it must end neither the stream nor the thread
            self._log.debug("hubmeter: cannot look", exc_info=True)
