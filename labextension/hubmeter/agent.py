"""The agent's life: found, started, watched, stopped with the server.

Nothing here may fail the server or keep it waiting: without an agent the meter says "no data", and
that is all that happens.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import shutil
import signal
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Protocol, TypeVar

from . import local

T = TypeVar("T")

BINARY = "hubmeter-agent"

BACKOFF_S_MIN, BACKOFF_S_MAX = 1.0, 60.0
SETTLED_S = 60.0  # an agent that lived this long starts again without delay
STOP_S_MAX = 2.0  # the agent drains for at most this long after SIGTERM
FIND_S_MAX = 10.0  # a dead network file system must not hang us
LOG_LINES_PER_MINUTE_MAX = 20  # the server's log belongs to the server
LOG_CHARS_MAX = 500
ATTACH_TRIES = 3  # an agent that started us may still be binding its socket
LEFT_S_MIN = 180.0  # an agent that is not ours makes a lost socket anew within a minute
HUNG_S_MIN = 60.0  # an agent whose socket was silent for this long is started anew
CHECK_S = 30.0


class AgentError(Exception):
    """The agent cannot be started here."""


class Ear(Protocol):
    """Whoever listens to the agent's stream."""

    @property
    def live(self) -> bool: ...

    async def silence(self) -> None: ...


class Agent:
    """One agent beside this server: started by us, or the one that started us."""

    def __init__(self, log: logging.Logger, ear: Ear, environ: Mapping[str, str] = os.environ) -> None:
        #: Where the agent listens; None until that is known.
        self.socket: str | None = None
        self._log = log
        self._ear = ear
        self._environ = environ
        self._process: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None
        self._lines = LineBudget(log)
        self._told: str | None = None
        self._started: float | None = None

    def up_s(self) -> float | None:
        """For how long the agent that we started has run."""
        started = self._started  # asked in another thread too
        return None if started is None else time.monotonic() - started

    def start(self) -> None:
        """Begins to watch over the agent; returns at once."""
        self._task = asyncio.create_task(self._run(), name="hubmeter agent")

    async def stop(self) -> None:
        """Ends the agent that we started: SIGTERM, then SIGKILL; in 2 * STOP_S_MAX at most."""
        if self._task is None:
            return
        self._task.cancel()
        # Asked once: it answers by ending its agent, and must not be disturbed in that.
        await asyncio.wait({self._task}, timeout=2 * STOP_S_MAX)
        self._task = None
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    async def _run(self) -> None:
        if await self._attach():
            await self._silent()
            self._tell(
                "the agent that started this server does not answer any more; one of our own is started"
            )
        backoff = Backoff()
        while True:
            started = asyncio.get_running_loop().time()
            try:
                binary, self.socket = await self._look_around()
                await self._live(binary, self.socket)
            except (AgentError, OSError) as error:
                self._tell(f"no memory meter: {error}")
            if asyncio.get_running_loop().time() - started > SETTLED_S:
                backoff, self._told = Backoff(), None
            await asyncio.sleep(backoff.next())

    async def _attach(self) -> bool:
        """Whether the server runs under an agent already (`hubmeter-agent run -- …`)."""
        for path in await aside(lambda: waiting(self._environ)):
            for _ in range(ATTACH_TRIES):
                if await answering(path):
                    self.socket = path
                    self._log.info("hubmeter: this server's agent is at %s", path)
                    return True
                await asyncio.sleep(0.3)
        return False

    async def _silent(self) -> None:
        """Waits until an agent that is not ours has said nothing for LEFT_S_MIN. It is not ours to end."""
        await self._unheard(LEFT_S_MIN)

    async def _unheard(self, seconds: float) -> None:
        """Waits until the agent has said nothing for so long. While its stream goes on there is no timer and
        no question: each would wake somebody for nothing."""
        while True:
            await self._ear.silence()
            since = time.monotonic()
            while not await self._is_heard():
                if time.monotonic() - since >= seconds:
                    return
                await asyncio.sleep(CHECK_S)
            if not self._ear.live:  # it answers, and has no sample yet
                await asyncio.sleep(CHECK_S)

    async def _is_heard(self) -> bool:
        return self._ear.live or (self.socket is not None and await answering(self.socket))

    async def _look_around(self) -> tuple[str, str]:
        """Binary and socket; in a thread, since a file system may hang."""
        looking = aside(lambda: (find(self._environ), socket_path(self._environ)))
        if not (await asyncio.wait({looking}, timeout=FIND_S_MAX))[0]:
            self._tell("no memory meter: the file system with the agent does not answer")
        return await looking

    async def _live(self, binary: str, socket: str) -> None:
        """One life of the agent."""
        process = await asyncio.create_subprocess_exec(
            binary,
            "run",
            "--pid",
            str(os.getpid()),
            env={**self._environ, "HUBMETER_SOCKET": socket},
            cwd="/",  # never the reason why a home cannot be unmounted
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            # Ctrl-C in a terminal asks the server "really?", and must not have ended the agent by then.
            start_new_session=True,
            limit=4 * LOG_CHARS_MAX,
        )
        self._process = process
        self._started = time.monotonic()
        self._log.debug("hubmeter: agent %s started as process %d", binary, process.pid)
        chores = [asyncio.create_task(self._pass_on_log(process)), asyncio.create_task(self._watch(process))]
        try:
            code = await process.wait()
            self._tell(f"the agent ended with code {code}; it will be started again")
        finally:
            await end(process)
            await cancel(chores)
            self._process = self._started = None

    async def _watch(self, process: asyncio.subprocess.Process) -> None:
        """Kills an agent that lives but has not answered for HUNG_S_MIN."""
        await self._unheard(HUNG_S_MIN)
        if process.returncode is not None:
            return
        self._tell("the agent does not answer; it will be started again")
        process.kill()

    async def _pass_on_log(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None  # noqa: S101 - asked for above
        while True:
            try:
                line = await process.stderr.readline()
            except ValueError:  # longer than the limit: the buffer was emptied
                continue
            if not line:
                return
            self._lines.write(line)

    def _tell(self, text: str) -> None:
        """Says it once: a reason that stays the same is not repeated at each try."""
        if text != self._told:
            self._told = text
            self._log.warning("hubmeter: %s", text)


class Backoff:
    """Delays that double up to a cap, with jitter, forever."""

    def __init__(self, first_s: float = BACKOFF_S_MIN, most_s: float = BACKOFF_S_MAX) -> None:
        self._next_s = first_s
        self._most_s = most_s

    def next(self) -> float:
        delay_s, self._next_s = self._next_s, min(2 * self._next_s, self._most_s)
        return delay_s * random.uniform(0.75, 1.25)  # noqa: S311 - jitter, nothing secret


class LineBudget:
    """Passes the agent's lines to the server's log, so many a minute; says how many it held back."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._minute = -1
        self._written = 0
        self._held_back = 0

    def write(self, line: bytes) -> None:
        minute = int(asyncio.get_running_loop().time() // 60)
        if minute != self._minute:
            if self._held_back:
                self._log.info("hubmeter-agent: %d more lines were not shown", self._held_back)
            self._minute, self._written, self._held_back = minute, 0, 0
        if self._written >= LOG_LINES_PER_MINUTE_MAX:
            self._held_back += 1
            return
        self._written += 1
        text = line.decode("utf-8", "replace").rstrip()[:LOG_CHARS_MAX]
        self._log.info("hubmeter-agent: %s", "".join(c if c.isprintable() else "?" for c in text))


def find(environ: Mapping[str, str]) -> str:
    """The agent's binary: `HUBMETER_AGENT`, then beside this package, then PATH."""
    if asked := environ.get("HUBMETER_AGENT"):
        if os.access(asked, os.X_OK) and os.path.isfile(asked):
            return asked
        raise AgentError(f"HUBMETER_AGENT names {asked}, which is no program")
    packaged = Path(__file__).parent / "bin" / BINARY
    if os.access(packaged, os.X_OK):
        return str(packaged)
    if found := shutil.which(BINARY, path=environ.get("PATH")):
        return found
    raise AgentError(f"{BINARY} is neither in this package nor in PATH")


def waiting(environ: Mapping[str, str]) -> list[str]:
    """Where an agent that started this server may listen: as told, else by our pid where agents do."""
    if asked := environ.get("HUBMETER_SOCKET"):
        return [asked]
    return [str(path) for path in _places(environ) if path.is_socket() and _ours(path.parent)]


def socket_path(environ: Mapping[str, str]) -> str:
    """Where the agent shall listen; makes the folder. Never under the user's home."""
    if asked := environ.get("HUBMETER_SOCKET"):
        return asked
    problem = "no folder for the agent's socket"
    for path in _places(environ):
        try:
            path.parent.mkdir(mode=0o700, exist_ok=True)
            if _ours(path.parent):
                return str(path)
            problem = f"{path.parent} does not belong to us alone"
        except OSError as error:
            problem = f"cannot make {path.parent}: {error.strerror}"
    raise AgentError(problem)


def _places(environ: Mapping[str, str]) -> list[Path]:
    """The sockets by our pid that the agent would choose too, best first."""
    runtime = environ.get("XDG_RUNTIME_DIR")
    folders = [Path(runtime) / "hubmeter"] if runtime and _usable(Path(runtime), environ) else []
    folders.append(Path("/tmp") / f"hubmeter-{os.getuid()}")  # noqa: S108 - made 0700, owner checked
    return [folder / f"{os.getpid()}.sock" for folder in folders]


def _ours(folder: Path) -> bool:
    seen = folder.lstat()
    return stat.S_ISDIR(seen.st_mode) and seen.st_uid == os.getuid() and not seen.st_mode & 0o077


def _usable(folder: Path, environ: Mapping[str, str]) -> bool:
    home = environ.get("HOME")
    try:
        if home and folder.resolve().is_relative_to(Path(home).resolve()):
            return False
        return folder.is_dir() and folder.stat().st_uid == os.getuid() and os.access(folder, os.W_OK)
    except OSError:
        return False


def aside(work: Callable[[], T]) -> asyncio.Future[T]:
    """Does `work` in a thread that the interpreter does not wait for when it exits."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: Exception | None) -> None:
        if not done.done():
            done.set_exception(error) if error else done.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        outcome: tuple[T | None, Exception | None]
        try:
            outcome = (work(), None)
        except Exception as error:  # noqa: BLE001 - handed to whoever awaits
            outcome = (None, error)
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody awaits any more
            loop.call_soon_threadsafe(settle, *outcome)

    threading.Thread(target=run, name="hubmeter", daemon=True).start()
    return done


async def answering(path: str) -> bool:
    """Whether an agent answers on this socket."""
    return await aside(lambda: local.answers(path))


async def cancel(tasks: Collection[asyncio.Task[None]]) -> None:
    """Ends tasks, and goes on without one that won't: a server that stops must not wait for us."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=local.CANCEL_S)


async def end(process: asyncio.subprocess.Process) -> None:
    """SIGTERM, at most STOP_S_MAX of patience, SIGKILL."""
    if process.returncode is not None:
        return
    for sign, patience_s in ((signal.SIGTERM, STOP_S_MAX), (signal.SIGKILL, STOP_S_MAX)):
        try:
            process.send_signal(sign)
            await local.within(process.wait(), patience_s)
            return
        except ProcessLookupError:
            return
        except asyncio.TimeoutError:
            continue
