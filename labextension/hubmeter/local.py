"""The agent's local socket: the few lines of HTTP/1.1 over a Unix socket that we need.

It is read and written in threads, never on the server's event loop. Everything read is bounded, in size and
in time: the other end is our own agent, but a socket can be anybody's.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import time
from collections.abc import Awaitable, Iterator, Mapping
from typing import Any, TypeVar

T = TypeVar("T")

HEAD_BYTES_MAX = 16 * 1024  # status line and headers; the agent sends some 200 bytes
SIZE_BYTES_MAX = 1024  # the line before a chunk; the agent's has six characters
LINE_BYTES_MAX = 1024 * 1024  # one sample line: some 400 bytes a workload, thousands of workloads
READ_BYTES = 64 * 1024
CANCEL_S = 1.0  # what is cancelled ends at once; if not we go on without it
ADDRESS_BYTES_MAX = 107  # sun_path less its final zero
ANSWER_S_MAX = 5.0  # the agent answers from memory; longer means that it hangs


class LocalError(Exception):
    """The other end of the socket did not speak as the agent does."""


class Refused(LocalError):
    """The agent will not have what we sent; sending it again changes nothing."""


# What a request may end with, apart from an answer.
FAILURES = (OSError, LocalError, EOFError, asyncio.TimeoutError, ValueError)


class Body:
    """The body of an answer, taken out of its framing piece by piece as it comes in."""

    def __init__(self, status: int, headers: Mapping[str, str], bytes_max: int = LINE_BYTES_MAX) -> None:
        self.done = False
        self._held = bytearray()
        self._chunked = headers.get("transfer-encoding", "").lower() == "chunked"
        #: Bytes to the end of the chunk, or of the body; None: a chunk's size comes next, or there is no end.
        self._left: int | None = None
        if status in (204, 304):
            self.done = True
        elif not self._chunked and "content-length" in headers:
            # What says itself that it is too long is not read at all.
            self._left = _number(headers["content-length"], 10, bytes_max)
            self.done = self._left == 0

    def take(self, data: bytes) -> bytes:
        """What is in these bytes; none at all are the other end's end."""
        if not data:
            if self._chunked or self._left:
                raise EOFError("answer was cut off")
            self.done = True
            return b""
        if self._chunked:
            self._held += data
            return b"".join(self._parts())
        if self._left is None:
            return data
        part = data[: self._left]
        self._left -= len(part)
        self.done = self._left == 0
        return part

    def _parts(self) -> Iterator[bytes]:
        while not self.done:
            if self._left is None:
                end = self._held.find(b"\n")
                if max(end, len(self._held) if end < 0 else 0) > SIZE_BYTES_MAX:
                    raise LocalError("chunk has no size")
                if end < 0:
                    return
                size = _number(self._held[:end].split(b";")[0].decode("latin-1"), 16)
                del self._held[: end + 1]
                self._left, self.done = size, size == 0
            elif self._left > 0:
                part = bytes(self._held[: self._left])
                if not part:
                    return
                del self._held[: len(part)]
                self._left -= len(part)
                yield part
            else:
                if len(self._held) < 2:
                    return
                if self._held[:2] != b"\r\n":
                    raise LocalError("chunk does not end where it says")
                del self._held[:2]
                self._left = None


class Lines:
    """Whole lines of what comes in by pieces."""

    def __init__(self) -> None:
        self._rest = b""

    def take(self, part: bytes) -> list[bytes]:
        *lines, self._rest = (self._rest + part).split(b"\n")
        if len(self._rest) > LINE_BYTES_MAX:
            raise LocalError("line is too long")
        return [line for line in lines if line.strip()]


class Answer:
    """One response, its body not yet read."""

    def __init__(self, status: int, headers: Mapping[str, str], rest: bytes, link: Connection) -> None:
        self.status = status
        #: What came behind the head already.
        self.rest = rest
        self._headers = headers
        self._link = link

    def framing(self, bytes_max: int = LINE_BYTES_MAX) -> Body:
        """What takes the body out of its framing."""
        return Body(self.status, self._headers, bytes_max)

    def body(self, bytes_max: int = LINE_BYTES_MAX) -> bytes:
        """The whole body, at most so long."""
        framing, parts, size = self.framing(bytes_max), [], 0
        data = self.rest
        while not framing.done:
            part = framing.take(data or self._link.read())
            data = b""
            size += len(part)
            if size > bytes_max:
                raise LocalError("answer is too long")
            parts.append(part)
        return b"".join(parts)


class Connection:
    """One request and its answer, in ANSWER_S_MAX; closed on leaving."""

    def __init__(self, path: str, method: str, target: str, body: bytes = b"") -> None:
        self._path = path
        head = f"{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        if method == "PUT":
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        self._request = head.encode("latin-1") + b"\r\n" + body
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._deadline = 0.0

    def __enter__(self) -> Answer:
        try:
            return self._ask()
        except BaseException:
            self._socket.close()
            raise

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    def read(self) -> bytes:
        """What comes next, in what is left of the time for an answer."""
        self._wait()
        return self._socket.recv(READ_BYTES)

    def read_now(self) -> bytes:
        """What has come, where it is known that something has."""
        return self._socket.recv(READ_BYTES)

    def _wait(self) -> None:
        left_s = self._deadline - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("no answer in time")
        self._socket.settimeout(left_s)

    def _ask(self) -> Answer:
        self._deadline = time.monotonic() + ANSWER_S_MAX
        self._wait()
        with address(self._path) as way:
            self._socket.connect(way)
        self._socket.sendall(self._request)
        held = b""
        while (end := held.find(b"\r\n\r\n")) < 0:
            if len(held) > HEAD_BYTES_MAX:
                raise LocalError("answer has no end of its head")
            data = self.read()
            if not data:
                raise EOFError("no answer")
            held += data
        status_line, *lines = held[:end].decode("latin-1").split("\r\n")
        version, _, rest = status_line.partition(" ")
        if not version.startswith("HTTP/1."):
            raise LocalError("answer is not HTTP")
        headers = {}
        for line in lines:
            name, colon, value = line.partition(":")
            if colon:
                headers[name.strip().lower()] = value.strip()
        return Answer(_number(rest.split(" ")[0], 10), headers, held[end + 4 :], self)


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


def answers(path: str) -> bool:
    """Whether an agent answers on this socket, be it only to say that it has no sample yet."""
    try:
        with Connection(path, "GET", "/v1/sample") as answer:
            return answer.status in (200, 503)
    except FAILURES:
        return False


def get(path: str, target: str, bytes_max: int) -> bytes:
    """The body of an answer; raises one of FAILURES when there is none."""
    with Connection(path, "GET", target) as answer:
        if answer.status != 200:
            raise LocalError(f"{target} answered {answer.status}")
        return answer.body(bytes_max)


def put_json(path: str, target: str, value: Any) -> None:
    """Sends `value`; raises one of FAILURES when it was not taken."""
    with Connection(path, "PUT", target, json.dumps(value, ensure_ascii=False).encode()) as answer:
        if 400 <= answer.status < 500:
            raise Refused(f"{target} answered {answer.status}")
        if answer.status >= 300:
            raise LocalError(f"{target} answered {answer.status}")


def _number(text: str, base: int, most: int = LINE_BYTES_MAX) -> int:
    text = text.strip()
    # int() takes signs, underscores and any length; a peer's number is none of these.
    if not text or len(text) > 8 or not text.isalnum() or not text.isascii():
        raise LocalError("answer holds no length where one belongs")
    value = int(text, base)
    if value > most:
        raise LocalError("answer is too long")
    return value
