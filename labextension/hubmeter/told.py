"""What the agent is told: which process is which kernel, terminal or proxied application, how kernels
ended, and when a person last did something.

Read from the server's own managers, in this process: no request, no message to a kernel, nothing that
anybody could count as activity. Notebooks go with their path from the server's root folder: how much of
it leaves this machine is the agent's to decide, by HUBMETER_NAMES.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

from jupyter_client.provisioning import LocalProvisioner
from jupyter_core.utils import ensure_async
from jupyter_server.serverapp import ServerApp
from traitlets import TraitError

from . import local, person, proxied, terminals
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
    """Tells the agent of kernels and terminals when they change."""

    def __init__(
        self, server: ServerApp, feed: Feed, log: logging.Logger, socket: Callable[[], str | None]
    ) -> None:
        self._server = server
        self._feed = feed
        self._log = log
        self._socket = socket
        self._wake = asyncio.Event()
        self._happened = False
        self._looked = 0.0
        self._ends = Ends(server.kernel_manager, self.wake, log)
        self.person = Person()
        self._told: Any = None
        self._named: Any = None
        self._notebooks: dict[str, str] = {}

    async def run(self) -> None:
        bus = self._server.event_logger
        listeners = ((ACTIONS, self._on_action), (CONTENTS, self._on_contents))
        for schema, listener in listeners if bus is not None else ():
            bus.add_listener(schema_id=schema, listener=listener)
        try:
            await self._tell()
        finally:
            for schema, listener in listeners if bus is not None else ():
                bus.remove_listener(schema_id=schema, listener=listener)

    def wake(self) -> None:
        """There is something to tell that should not wait for the next look."""
        self._happened = True
        self._wake.set()

    def tick(self) -> None:
        """A sample came: looking now costs less than waking up for it alone."""
        if asyncio.get_running_loop().time() - self._looked >= LOOK_S - SOON_S:
            self._wake.set()

    async def _tell(self) -> None:
        while True:
            self._wake.clear()
            self._looked = asyncio.get_running_loop().time()
            try:
                await self._look()
            except local.Refused as error:
                self._log.warning("hubmeter: the agent does not take what it is told: %s", error)
                self.person.took(list(self.person.shown))
            except local.FAILURES as error:
                self._told = None
                self._log.debug("hubmeter: agent was not told: %s", error)
            except Exception:  # noqa: BLE001 - a manager of somebody else's making
                self._log.debug("hubmeter: cannot read the server's kernels", exc_info=True)
            await self._pause()

    async def _pause(self) -> None:
        """Until the next sample, or until something happens: a kernel's end is told of at once, since the
        agent waits for why."""
        patience_s = LOOK_S * (MISSED if self._feed.live else 1)
        timer = asyncio.get_running_loop().call_later(patience_s, self._wake.set)
        try:
            await self._wake.wait()
        finally:
            timer.cancel()
        if self._happened:
            self._happened = False
            await asyncio.sleep(SOON_S)

    async def _on_action(self, logger: Any, schema_id: str, data: dict[str, Any]) -> None:
        """A kernel was started, restarted or shut down."""
        self.wake()

    async def _on_contents(self, logger: Any, schema_id: str, data: dict[str, Any]) -> None:
        """A file was read, written, moved."""
        if data.get("action") == "save":
            path = str(data.get("path") or "").strip("/")
            self.person.saved(path, running(self._server, self._notebooks))

    async def _look(self) -> None:
        settings = self._server.web_app.settings
        every = running(self._server, self._notebooks)
        self._ends.look({row["id"]: row["pid"] for row in every if row["pid"] is not None})
        self.person.look(every, terminals.typed(settings))
        self.person.keep(person.kept_s(settings))
        socket = self._socket()
        if socket is None or not self._feed.live:
            return
        if await self._name():
            every = running(self._server, self._notebooks)
        rows = last_used(every)
        ttys, apps = terminals.rows(settings), proxied.apps(self._server.web_app)
        ended = self._ends.rows()
        seen = (self._feed.connections, self.person.mark(), rows, ttys, apps, ended)
        if seen == self._told and not self.person.shown:
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
        await local.put_json(socket, "/v1/kernels", {**body, **said})
        # Not before the agent has it: what was shown is told once, but told.
        self.person.took(said["shown"])

    async def _name(self) -> bool:
        """Looks up notebooks' names, only when the table of sessions has changed; whether it has."""
        sessions = self._server.session_manager
        changes = getattr(getattr(sessions, "connection", None), "total_changes", None)
        mark = (changes, sorted(self._server.kernel_manager.list_kernel_ids()))
        if changes is not None and mark == self._named:
            return False
        names: dict[str, str] = {}
        for session in await ensure_async(sessions.list_sessions()):
            kernel, name = (session.get("kernel") or {}).get("id"), notebook(session)
            if kernel and name:
                names.setdefault(kernel, name)
        self._notebooks, self._named = names, mark
        return True


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
