"""What the agent is told: which process is which kernel, terminal or proxied application, how kernels
ended, and when a person last did something.

Read from the server's own managers, in this process: no request, no message to a kernel, nothing that
anybody could count as activity, and hardly anything that wakes the event loop. Notebooks go with their path
from the server's root folder: how much of it leaves this machine is the agent's to decide, by
HUBMETER_NAMES.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

from jupyter_client.provisioning import LocalProvisioner
from jupyter_core.utils import ensure_async
from jupyter_server.serverapp import ServerApp
from traitlets import TraitError

from . import local, pages, person, proxied, terminals
from .ends import Ends
from .labels import label, notebook
from .person import Person
from .stream import Feed

LOOK_S = 5.0  # the agent's own default interval: sooner would not be seen
MISSED = 3  # so much longer is waited for a sample to look along with
ROWS_MAX = 256  # kernels, and apps: as many as the agent takes; it finds the rest by itself
BODY_BYTES_MAX = 256 * 1024  # the agent refuses a longer message
PERSON_BYTES_MAX = 4 * 1024  # of that, what is said of people
SOON_S = 0.05  # several things that happen at once are told at once
NAMES_S = 30.0  # so often sessions are read whose table does not say when it changes
ACTIONS = "https://events.jupyter.org/jupyter_server/kernel_actions/v1"
CONTENTS = "https://events.jupyter.org/jupyter_server/contents_service/v1"

_LONG_AGO = datetime.min.replace(tzinfo=timezone.utc)

_STATES = {
    "idle": "idle",
    "busy": "busy",
    "starting": "starting",
    "restarting": "starting",
    "autorestarting": "starting",
    "dead": "dead",
}


class Teller:
    """Tells the agent of kernels, terminals and people when they change.

    Managers are read in our thread: names, numbers and times, which Python hands out whole. What belongs to
    the loop is done there, and only when something happened: the watch over kernels' ends, and the table of
    sessions. What happens is known by the server's own events and by the table's own word; a kernel that came
    or went without a word is seen by its process.
    """

    def __init__(
        self,
        server: ServerApp,
        feed: Feed,
        log: logging.Logger,
        socket: Callable[[], str | None],
        wake: Callable[[], None],
    ) -> None:
        self.person = Person()
        self._server = server
        self._feed = feed
        self._log = log
        self._socket = socket
        self._wake = wake
        self._loop: asyncio.AbstractEventLoop | None = None
        self._happened = asyncio.Event()
        self._ends = Ends(server.kernel_manager, self._happened.set, log)
        self._looked_s = time.monotonic()
        self._told: Any = None
        #: Kernels and their processes that the loop's part knows.
        self._settled: dict[str, int | None] | None = None
        self._settled_s = 0.0
        self._is_traced = False
        self._notebooks: dict[str, str] = {}

    async def run(self) -> None:
        """The loop's part. It sleeps, without a timer, until something happens."""
        self._loop = asyncio.get_running_loop()
        bus = self._server.event_logger
        listeners = ((ACTIONS, self._on_action), (CONTENTS, self._on_contents))
        for schema, listener in listeners if bus is not None else ():
            bus.add_listener(schema_id=schema, listener=listener)
        self._trace(self._on_statement)
        try:
            while True:
                await self._settle()
                await self._happened.wait()
                await asyncio.sleep(SOON_S)
                self._happened.clear()
        finally:
            self._trace(None)
            for schema, listener in listeners if bus is not None else ():
                bus.remove_listener(schema_id=schema, listener=listener)

    def look(self) -> None:
        """In our thread: looks at what there is, and tells what is new."""
        self._looked_s = time.monotonic()
        try:
            self._look()
        except local.Refused as error:
            self._log.warning("hubmeter: the agent does not take what it is told: %s", error)
            self.person.took(self.person.shown())
        except local.FAILURES as error:
            self._told = None
            self._log.debug("hubmeter: agent was not told: %s", error)
        except Exception:  # noqa: BLE001 - a manager of somebody else's making
            self._log.debug("hubmeter: cannot read the server's kernels", exc_info=True)

    def tick(self) -> None:
        """A sample came, in our thread: looking now costs less than waking up for it alone."""
        if time.monotonic() - self._looked_s >= LOOK_S - SOON_S:
            self.look()

    def due_s(self) -> float:
        """When to look although no sample came."""
        patience_s = LOOK_S * (MISSED if self._feed.live else 1)
        return max(0.0, self._looked_s + patience_s - time.monotonic())

    def _look(self) -> None:
        settings = self._server.web_app.settings
        every = running(self._server, self._notebooks)
        self.person.look(every, terminals.typed(settings))
        self.person.keep(person.kept_s(settings))
        self.person.page_open = pages.is_open(self._server.event_logger)
        if not self._is_settled(every):
            self._ask()
            return
        socket = self._socket()
        if socket is None or not self._feed.live:
            return
        rows = last_used(every)
        ttys, apps = terminals.rows(settings), proxied.apps(self._server.web_app)
        ended = self._ends.rows()
        seen = (self._feed.connections, self.person.mark(), rows, ttys, apps, ended)
        if seen == self._told and not self.person.shown():
            return
        now = datetime.now(timezone.utc)
        body = fitting(
            {
                "kernels": [_with_idle(row, now) for row in rows],
                "terminals": ttys,
                "apps": [{**app, "name": label(app["name"])} for app in apps[:ROWS_MAX]],
                "ended": ended,
            }
        )
        said = self.person.body()
        self._told = seen
        local.put_json(socket, "/v1/kernels", {**body, **said})
        # Not before the agent has it: what was shown is told once, but told.
        self.person.took(said["shown"])

    def _is_settled(self, every: list[dict[str, Any]]) -> bool:
        """Whether the loop's part knows of these kernels, and may know their notebooks."""
        if not self._is_traced and time.monotonic() - self._settled_s >= NAMES_S:
            return False
        return self._settled == _processes(every)

    def _ask(self) -> None:
        """Wakes the loop's part, which wakes us."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody asks any more
                self._loop.call_soon_threadsafe(self._happened.set)

    async def _settle(self) -> None:
        try:
            every = running(self._server, self._notebooks)
        except Exception:  # noqa: BLE001 - a manager of somebody else's making
            self._log.debug("hubmeter: cannot read the server's kernels", exc_info=True)
            return  # asked again at the next look
        try:
            self._ends.look({row["id"]: row["pid"] for row in every if row["pid"] is not None})
            self._notebooks = await self._names()
        except Exception:  # noqa: BLE001 - a manager of somebody else's making
            self._log.debug("hubmeter: cannot read the server's sessions", exc_info=True)
        self._settled, self._settled_s = _processes(every), time.monotonic()
        self._wake()

    async def _names(self) -> dict[str, str]:
        """What each kernel's notebook is called."""
        names: dict[str, str] = {}
        for session in await ensure_async(self._server.session_manager.list_sessions()):
            kernel, name = (session.get("kernel") or {}).get("id"), notebook(session)
            if kernel and name:
                names.setdefault(kernel, name)
        return names

    def _trace(self, callback: Callable[[str], None] | None) -> None:
        """Has the table of sessions, which is SQLite's in memory, say when it is changed."""
        try:
            self._server.session_manager.connection.set_trace_callback(callback)
            self._is_traced = callback is not None
        except Exception:  # noqa: BLE001 - a table of another make: it is read now and then
            self._is_traced = False

    def _on_statement(self, statement: str) -> None:
        if not statement.lstrip()[:6].upper().startswith("SELECT"):
            self._happened.set()

    async def _on_action(self, logger: Any, schema_id: str, data: dict[str, Any]) -> None:
        """A kernel was started, restarted or shut down."""
        self._happened.set()

    async def _on_contents(self, logger: Any, schema_id: str, data: dict[str, Any]) -> None:
        """A file was read, written, moved."""
        if data.get("action") == "save":
            path = str(data.get("path") or "").strip("/")
            self.person.saved(path, running(self._server, self._notebooks))


def _processes(rows: list[dict[str, Any]]) -> dict[str, int | None]:
    return {row["id"]: row["pid"] for row in rows}


def last_used(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """As many kernels as the agent takes: where there are too many, those that were used last."""
    return sorted(rows, key=lambda row: row["last_activity"] or _LONG_AGO, reverse=True)[:ROWS_MAX]


def running(server: ServerApp, notebooks: dict[str, str]) -> list[dict[str, Any]]:
    """Every kernel that runs, with its process if that is on this machine."""
    rows = []
    manager = server.kernel_manager
    for kernel_id in manager.list_kernel_ids():
        try:
            kernel = manager.get_kernel(kernel_id)
        except KeyError:
            continue
        provisioner = getattr(kernel, "provisioner", None)
        pid = getattr(provisioner, "pid", None)
        # Any other provisioner's process is on another machine or in another pid namespace.
        if elsewhere(kernel, provisioner):
            pid = None
        elif not isinstance(pid, int) or pid <= 0:
            continue  # not started yet
        rows.append(
            {
                "id": kernel_id,
                "pid": pid,
                "name": label(getattr(kernel, "kernel_name", "")),
                "notebook": notebooks.get(kernel_id),
                "state": _STATES.get(said(kernel, "execution_state") or ""),
                "last_activity": said(kernel, "last_activity"),
            }
        )
    return rows


def elsewhere(kernel: Any, provisioner: Any) -> bool:
    """Whether a kernel's process is not on this machine, as far as its manager says."""
    if provisioner is None:
        return type(kernel).__module__.startswith("jupyter_server.gateway.")
    return not isinstance(provisioner, LocalProvisioner)


def said(kernel: Any, trait: str) -> Any:
    """What a kernel's manager says; a gateway's raises as long as it does not know."""
    try:
        return getattr(kernel, trait, None)
    except TraitError:
        return None


def fitting(body: dict[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    """The body within its bound: notebooks without their folders, then fewer rows."""
    while size(body) > BODY_BYTES_MAX - PERSON_BYTES_MAX:
        rows = body["kernels"]
        if any("/" in (row["notebook"] or "") for row in rows):
            rows = [{**row, "notebook": (row["notebook"] or "").rsplit("/", 1)[-1] or None} for row in rows]
            body = {**body, "kernels": rows}
        else:
            body = {name: rows[: len(rows) // 2] for name, rows in body.items()}
    return body


def size(body: Any) -> int:
    return len(json.dumps(body, ensure_ascii=False).encode())


def _with_idle(row: dict[str, Any], now: datetime) -> dict[str, Any]:
    """The row as the agent takes it: an age instead of a time, since clocks may differ."""
    row = dict(row)
    last = row.pop("last_activity")
    idle_ms = None
    if row["state"] == "busy":
        idle_ms = 0
    elif isinstance(last, datetime):
        idle_ms = max(0, int((now - last).total_seconds() * 1000))
    return {**row, "idle_ms": idle_ms}
