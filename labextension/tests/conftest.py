"""Fixtures: a server with our extension, and an agent that does as it is told."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

pytest_plugins = ["pytest_jupyter.jupyter_server"]

DOUBLE = Path(__file__).parent / "agent_double.py"
PATIENCE_S = 60.0


async def until(condition: Callable[[], Any], what: str) -> Any:
    """Waits for `condition` to hold; a test that waits in vain fails by name."""
    loop = asyncio.get_running_loop()
    end = loop.time() + PATIENCE_S
    while not (value := condition()):
        assert loop.time() < end, f"waited in vain: {what}"
        await asyncio.sleep(0.02)
    return value


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    folder = tmp_path / "notes"
    folder.mkdir()
    return folder


@pytest.fixture
def agent_env(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, notes: Path) -> None:
    """The stand-in agent, with its socket in a folder of this test."""
    runtime = tmp_path / "run"
    runtime.mkdir(mode=0o700)
    monkeypatch.setenv("HUBMETER_AGENT", str(DOUBLE))
    monkeypatch.setenv("HUBMETER_TEST_DIR", str(notes))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    monkeypatch.delenv("HUBMETER_SOCKET", raising=False)
    monkeypatch.delenv("CPU_LIMIT", raising=False)


@pytest.fixture
def jp_server_config() -> dict[str, Any]:
    return {"ServerApp": {"jpserver_extensions": {"hubmeter": True}}}


@pytest.fixture
def meter(agent_env: None, jp_serverapp: Any, jp_asyncio_loop: Any) -> Any:
    """Our extension in a server that listens; stopped with the test."""
    (app,) = jp_serverapp.extension_manager.extension_apps["hubmeter"]
    jp_asyncio_loop.run_until_complete(jp_serverapp.extension_manager.start_all_extensions())
    yield app
    jp_asyncio_loop.run_until_complete(app.stop_extension())


@pytest.fixture
def events(jp_serverapp: Any) -> list[tuple[str, dict[str, Any]]]:
    """What is emitted on the bus, as a browser would get it."""
    seen: list[tuple[str, dict[str, Any]]] = []

    async def listen(logger: Any, schema_id: str, data: dict[str, Any]) -> None:
        seen.append((schema_id, data))

    from hubmeter.events import NOTICE_SCHEMA, SAMPLE_SCHEMA

    for schema in (SAMPLE_SCHEMA, NOTICE_SCHEMA):
        jp_serverapp.event_logger.add_listener(schema_id=schema, listener=listen)
    return seen


class Bus:
    """A bus that keeps what is emitted."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, dict[str, Any]]] = []

    def emit(self, *, schema_id: str, data: dict[str, Any]) -> None:
        self.seen.append((schema_id, data))


class Still:
    """Nothing is looked at beside the stream."""

    def look(self) -> None:
        return

    def due_s(self) -> float:
        return 60.0


@pytest.fixture
def follow(jp_asyncio_loop: Any) -> Any:
    """Follows a socket as a server does, in a thread; ended with the test."""
    from hubmeter.follower import Follower
    from hubmeter.outlet import Outlet
    from hubmeter.stream import Feed

    followers = []

    def start(path: str, bus: Any, teller: Any = None) -> Feed:
        log = logging.getLogger("test")
        outlet = Outlet(bus, log)
        outlet.begin()
        feed = Feed(outlet, log)
        followers.append(Follower(feed, teller or Still(), log, lambda: path))
        followers[-1].start()
        return feed

    yield start
    for follower in followers:
        jp_asyncio_loop.run_until_complete(follower.stop())


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture
def socket_of(tmp_path: Path, jp_asyncio_loop: Any) -> Any:
    """Starts a Unix socket that answers as the test says."""
    servers = []

    async def start(serve: Serve) -> str:
        async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await reader.readuntil(b"\r\n\r\n")
                await serve(reader, writer)
                await writer.drain()
            except (OSError, EOFError, asyncio.CancelledError):
                pass
            writer.close()

        path = str(tmp_path / f"s{len(servers)}")
        servers.append(await asyncio.start_unix_server(once, path))
        return path

    yield start
    for server in servers:
        server.close()


def chunked(*parts: bytes) -> bytes:
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)


def line_of(kind: str, data: Any) -> bytes:
    return json.dumps({"type": kind, "data": data}).encode() + b"\n"


os.environ.setdefault("JUPYTER_PLATFORM_DIRS", "1")
