"""What the agent is told: which process is which kernel or terminal.

Read from the server's own managers, in this process: no request, no message to a kernel, nothing that
anybody could count as activity. Names of notebooks go without their folder.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

from jupyter_client.provisioning import LocalProvisioner
from jupyter_core.utils import ensure_async
from jupyter_server.serverapp import ServerApp

from . import local
from .stream import Feed

LOOK_S = 5.0  # the agent's own default interval: sooner would not be seen
ROWS_MAX = 256  # kernels, and terminals: as many as the agent takes; it finds the rest by itself
LABEL_BYTES_MAX = 255  # a file name's; the agent refuses a message with a longer one

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
        self._told: Any = None
        self._named: Any = None
        self._notebooks: dict[str, str] = {}

    async def run(self) -> None:
        while True:
            try:
                await self._look()
            except local.Refused as error:
                self._log.warning("hubmeter: the agent does not take what it is told: %s", error)
            except local.FAILURES as error:
                self._told = None
                self._log.debug("hubmeter: agent was not told: %s", error)
            except Exception:  # noqa: BLE001 - a manager of somebody else's making
                self._log.debug("hubmeter: cannot read the server's kernels", exc_info=True)
            await asyncio.sleep(LOOK_S)

    async def _look(self) -> None:
        socket = self._socket()
        if socket is None or self._feed.sample is None:
            return
        await self._name()
        now = datetime.now(timezone.utc)
        seen = (self._feed.connections, kernels(self._server, self._notebooks), terminals(self._server))
        if seen == self._told:
            return
        _, rows, ttys = seen
        body = {"kernels": [_with_idle(row, now) for row in rows], "terminals": ttys}
        self._told = seen
        await local.put_json(socket, "/v1/kernels", body)

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
    """Every kernel that is a process on this machine."""
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
        if not isinstance(provisioner, LocalProvisioner) or not isinstance(pid, int) or pid <= 0:
            continue
        rows.append(
            {
                "id": kernel_id,
                "pid": pid,
                "name": label(getattr(kernel, "kernel_name", "")),
                "notebook": notebooks.get(kernel_id),
                "state": _STATES.get(getattr(kernel, "execution_state", None) or ""),
                "last_activity": getattr(kernel, "last_activity", None),
            }
        )
    # Where there are too many, those that were used last matter most.
    rows.sort(key=lambda row: row["last_activity"] or _LONG_AGO, reverse=True)
    return rows[:ROWS_MAX]


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
    """The name a user knows a session by: a file without its folder, or what a console is called."""
    by_path = session.get("type") in ("notebook", "file")
    name = str((session.get("path") if by_path else session.get("name")) or "").rsplit("/", 1)[-1]
    return label(name) or None


def label(value: Any) -> str:
    """A name within its bound, cut between characters."""
    return str(value).encode("utf-8", "replace")[:LABEL_BYTES_MAX].decode("utf-8", "ignore")


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
