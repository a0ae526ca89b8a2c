"""The agent's local socket: the few lines of HTTP/1.1 over a Unix socket that we need.

Everything read is bounded: the other end is our own agent, but a socket can be anybody's.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")

HEAD_BYTES_MAX = 16 * 1024  # status line and headers; the agent sends some 200 bytes
LINE_BYTES_MAX = 1024 * 1024  # one sample line: some 400 bytes a workload, thousands of workloads
CANCEL_S = 1.0  # what is cancelled ends at once; if not we go on without it
ADDRESS_BYTES_MAX = 107  # sun_path less its final zero
ANSWER_S_MAX = 5.0  # the agent answers from memory; longer means that it hangs


class LocalError(Exception):
    """The other end of the socket did not speak as the agent does."""


class Refused(LocalError):
    """The agent will not have what we sent; sending it again changes nothing."""


class Answer:
    """One response, its body not yet read."""

    def __init__(self, status: int, headers: dict[str, str], reader: asyncio.StreamReader) -> None:
        self.status = status
        self._headers = headers
        self._reader = reader

    async def body(self, bytes_max: int = LINE_BYTES_MAX) -> bytes:
        """The whole body, at most so long."""
        parts, size = [], 0
        async for part in self.parts(bytes_max):
            size += len(part)
            if size > bytes_max:
                raise LocalError("answer is too long")
            parts.append(part)
        return b"".join(parts)

    async def parts(self, bytes_max: int = LINE_BYTES_MAX) -> AsyncIterator[bytes]:
        """The body as it comes in; what says itself that it is longer is not read at all."""
        if self.status in (204, 304):
            return
        if self._headers.get("transfer-encoding", "").lower() == "chunked":
            async for part in self._chunks():
                yield part
        elif "content-length" in self._headers:
            size = _number(self._headers["content-length"], 10, bytes_max)
            if size:
                yield await self._reader.readexactly(size)
        else:
            while part := await self._reader.read(64 * 1024):
                yield part

    async def _chunks(self) -> AsyncIterator[bytes]:
        while size := _number((await self._reader.readline()).split(b";")[0].decode("latin-1"), 16):
            yield await self._reader.readexactly(size)
            if await self._reader.readexactly(2) != b"\r\n":
                raise LocalError("chunk does not end where it says")


class Connection:
    """One request and its answer; closed on leaving."""

    def __init__(self, path: str, method: str, target: str, body: bytes = b"") -> None:
        self._path = path
        head = f"{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        if method == "PUT":
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        self._request = head.encode("latin-1") + b"\r\n" + body
        self._writer: asyncio.StreamWriter | None = None

    async def __aenter__(self) -> Answer:
        try:
            return await within(self._ask(), ANSWER_S_MAX)
        except BaseException:
            self._close()
            raise

    async def __aexit__(self, *_: object) -> None:
        self._close()

    def abort(self) -> None:
        """Ends it now; whoever reads finds that there is no more."""
        if self._writer is not None:
            self._writer.transport.abort()

    async def _ask(self) -> Answer:
        with address(self._path) as way:
            reader, self._writer = await asyncio.open_unix_connection(way, limit=HEAD_BYTES_MAX)
        self._writer.write(self._request)
        await self._writer.drain()
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        status_line, *lines = head.split("\r\n")
        version, _, rest = status_line.partition(" ")
        if not version.startswith("HTTP/1."):
            raise LocalError("answer is not HTTP")
        headers = {}
        for line in lines:
            name, colon, value = line.partition(":")
            if colon:
                headers[name.strip().lower()] = value.strip()
        return Answer(_number(rest.split(" ")[0], 10), headers, reader)

    def _close(self) -> None:
        if self._writer is not None:
            # Not waited for: the stream's other end may never finish.
            self._writer.close()


# What a request may end with, apart from an answer. ValueError is a limit overrun in `readline`.
FAILURES = (OSError, LocalError, EOFError, asyncio.TimeoutError, asyncio.LimitOverrunError, ValueError)


async def within(work: Awaitable[T], seconds: float) -> T:
    """`asyncio.wait_for` that cannot lose a cancellation, as that of Python before 3.12 can."""
    task = asyncio.ensure_future(work)
    # Who is cancelled in the moment the work fails does not look at how: that is no news for a log.
    task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
    try:
        if not (await asyncio.wait({task}, timeout=seconds))[0]:
            raise asyncio.TimeoutError
        return task.result()
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=CANCEL_S)


@contextlib.contextmanager
def address(path: str) -> Iterator[str]:
    """What to connect to: the path, or a short way there where it is longer than the kernel takes."""
    if len(os.fsencode(path)) <= ADDRESS_BYTES_MAX:
        yield path
        return
    folder, name = os.path.split(path)
    fd = os.open(folder, getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}/{name}"
    finally:
        os.close(fd)


async def answers(path: str) -> bool:
    """Whether an agent answers on this socket, be it only to say that it has no sample yet."""
    try:
        async with Connection(path, "GET", "/v1/sample") as answer:
            return answer.status in (200, 503)
    except FAILURES:
        return False


async def get(path: str, target: str, bytes_max: int) -> bytes:
    """The body of an answer; raises one of FAILURES when there is none."""
    async with Connection(path, "GET", target) as answer:
        if answer.status != 200:
            raise LocalError(f"{target} answered {answer.status}")
        return await answer.body(bytes_max)


async def put_json(path: str, target: str, value: Any) -> None:
    """Sends `value`; raises one of FAILURES when it was not taken."""
    async with Connection(path, "PUT", target, json.dumps(value, ensure_ascii=False).encode()) as answer:
        if 400 <= answer.status < 500:
            raise Refused(f"{target} answered {answer.status}")
        if answer.status >= 300:
            raise LocalError(f"{target} answered {answer.status}")


async def stream(path: str, target: str, quiet_s_max: Callable[[], float]) -> AsyncGenerator[bytes, None]:
    """The lines of an endless answer. Silence longer than `quiet_s_max()` is a TimeoutError."""
    connection = Connection(path, "GET", target)
    async with connection as answer:
        if answer.status != 200:
            raise LocalError(f"{target} answered {answer.status}")
        silence = Silence(connection.abort)
        rest = b""
        try:
            silence.begins(quiet_s_max())
            async for part in answer.parts():
                *lines, rest = (rest + part).split(b"\n")
                if len(rest) > LINE_BYTES_MAX:
                    raise LocalError("line is too long")
                for line in lines:
                    if line.strip():
                        yield line
                silence.begins(quiet_s_max())
        except (EOFError, LocalError):
            # What was cut off in the middle is no garbage.
            if silence.was_too_long:
                raise asyncio.TimeoutError from None
            raise
        finally:
            silence.ends()
        if silence.was_too_long:
            raise asyncio.TimeoutError


class Silence:
    """Ends a connection that says nothing. A timer that is pushed on and hardly ever rings: a task for each
    line would cost more than all that is done with it."""

    def __init__(self, abort: Callable[[], None]) -> None:
        self.was_too_long = False
        self._abort = abort
        self._timer: asyncio.TimerHandle | None = None

    def begins(self, seconds: float) -> None:
        self.ends()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._ring)

    def ends(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _ring(self) -> None:
        self.was_too_long = True
        self._abort()


def _number(text: str, base: int, most: int = LINE_BYTES_MAX) -> int:
    text = text.strip()
    # int() takes signs, underscores and any length; a peer's number is none of these.
    if not text or len(text) > 8 or not text.isalnum() or not text.isascii():
        raise LocalError("answer holds no length where one belongs")
    value = int(text, base)
    if value > most:
        raise LocalError("answer is too long")
    return value
