"""What the agent is told: which process is which kernel, terminal or proxied application, and how
kernels ended.

Read from the server's own managers, in this process: no request, no message to a kernel, nothing that
anybody could count as activity. Notebooks go with their path from the server's root folder: how much of
it leaves this machine is the agent's to decide, by HUBMETER_NAMES.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

from jupyter_client.provisioning import LocalProvisioner
from jupyter_core.utils import ensure_async
from jupyter_server.serverapp import ServerApp
from traitlets import TraitError

from . import local, proxied
from .ends import Ends
from .stream import Feed

LOOK_S = 5.0  # the agent's own default interval: sooner would not be seen
ROWS_MAX = 256  # kernels, and terminals: as many as the agent takes; it finds the rest by itself
LABEL_BYTES_MAX = 255  # a file name's; the agent refuses a message with a longer one
PATH_BYTES_MAX = 1024  # of a notebook; a longer one goes without its folder
BODY_BYTES_MAX = 256 * 1024  # the agent refuses a longer message
SOON_S = 0.05  # several things that happen at once are told at once
ACTIONS = "https://events.jupyter.org/jupyter_server/kernel_actions/v1"

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
        self._ends = Ends(server.kernel_manager, self._wake.set, log)
        self._told: Any = None
        self._named: Any = None
        self._notebooks: dict[str, str] = {}

    async def run(self) -> None:
        bus = self._server.event_logger
        if bus is not None:
            bus.add_listener(schema_id=ACTIONS, listener=self._on_action)
        try:
            await self._tell()
        finally:
            if bus is not None:
                bus.remove_listener(schema_id=ACTIONS, listener=self._on_action)

    async def _tell(self) -> None:
        while True:
            self._wake.clear()
            try:
                await self._look()
            except local.Refused as error:
                self._log.warning("hubmeter: the agent does not take what it is told: %s", error)
            except local.FAILURES as error:
                self._told = None
                self._log.debug("hubmeter: agent was not told: %s", error)
            except Exception:  # noqa: BLE001 - a manager of somebody else's making
                self._log.debug("hubmeter: cannot read the server's kernels", exc_info=True)
            # A kernel that ended is told of at once: the agent waits for why.
            with contextlib.suppress(asyncio.TimeoutError):
                await local.within(self._wake.wait(), LOOK_S)
                await asyncio.sleep(SOON_S)

    async def _on_action(self, logger: Any, schema_id: str, data: dict[str, Any]) -> None:
        """A kernel was started, restarted or shut down."""
        self._wake.set()

    async def _look(self) -> None:
        every = running(self._server, self._notebooks)
        self._ends.look({row["id"]: row["pid"] for row in every if row["pid"] is not None})
        socket = self._socket()
        if socket is None or self._feed.sample is None:
            return
        await self._name()
        rows = kernels(self._server, self._notebooks)
        now = datetime.now(timezone.utc)
        seen = (
            self._feed.connections,
            rows,
            terminals(self._server),
            proxied.apps(self._server.web_app),
            self._ends.rows(),
        )
        if seen == self._told:
            return
        _, rows, ttys, apps, ended = seen
        body = {
            "kernels": [_with_idle(row, now) for row in rows],
            "terminals": ttys,
            "apps": [{**app, "name": label(app["name"])} for app in apps[:ROWS_MAX]],
            "ended": ended,
        }
        self._told = seen
        await local.put_json(socket, "/v1/kernels", fitting(body))

    async def _name(self) -> None:
        """Looks up notebooks' names, only when the table of sessions has changed."""
        sessions = self._server.session_manager
        changes = getattr(getattr(sessions, "connection", None), "total_changes", None)
        mark = (changes, sorted(self._server.kernel_manager.list_kernel_ids()))
        if changes is not None and mark == self._named:
            return
        names: dict[str, str] = {}
        for session in await ensure_async(sessions.list_sessions()):
            kernel, name = (session.get("kernel") or {}).get("id"), notebook(session)
            if kernel and name:
                names.setdefault(kernel, name)
        self._notebooks, self._named = names, mark


def kernels(server: ServerApp, notebooks: dict[str, str]) -> list[dict[str, Any]]:
    """As many kernels as the agent takes: where there are too many, those that were used last."""
    rows = running(server, notebooks)
    rows.sort(key=lambda row: row["last_activity"] or _LONG_AGO, reverse=True)
    return rows[:ROWS_MAX]


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


def terminals(server: ServerApp) -> list[dict[str, Any]]:
    """Every terminal that is a process on this machine."""
    manager = server.web_app.settings.get("terminal_manager")
    rows = []
    for name, terminal in list(getattr(manager, "terminals", {}).items())[:ROWS_MAX]:
        pid = getattr(getattr(terminal, "ptyproc", None), "pid", None)
        if isinstance(pid, int) and pid > 0:
            rows.append({"name": label(name), "pid": pid})
    return rows


def notebook(session: dict[str, Any]) -> str | None:
    """The name a user knows a session by: a file from the server's root, or what a console is called."""
    if session.get("type") not in ("notebook", "file"):
        return label(str(session.get("name") or "").rsplit("/", 1)[-1]) or None
    path = str(session.get("path") or "")
    if len(path.encode("utf-8", "replace")) > PATH_BYTES_MAX:
        path = path.rsplit("/", 1)[-1]
    return label(path, PATH_BYTES_MAX) or None


def label(value: Any, bytes_max: int = LABEL_BYTES_MAX) -> str:
    """A name within its bound, cut between characters."""
    return str(value).encode("utf-8", "replace")[:bytes_max].decode("utf-8", "ignore")


def fitting(body: dict[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    """The body within its bound: notebooks without their folders, then fewer rows."""
    while size(body) > BODY_BYTES_MAX:
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
