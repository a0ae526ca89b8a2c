"""Shuts idle kernels down where the hub's policy says so, and the collector has told of it.

The collector orders by the notice that warns the user: of the rule `idle_hog`, with the kernel and when.
Only here is it known at that moment whether the kernel idles still, so it is done here: no token leaves
the hub, no request goes through its proxy, nothing counts as activity. What nobody can take back is not
done: while the agent or its collector is away, kernels stay. They stay as well once they were used.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime, timezone
from typing import Any

from jupyter_core.utils import ensure_async
from jupyter_server.serverapp import ServerApp

from . import events
from .stream import Feed
from .told import said

RULE = "idle_hog"
ORDERS_MAX = 64  # more than a server has verdicts
LEAD_S_MAX = 24 * 3600.0  # a time further away is a mistake


class IdleKernels:
    """Orders to shut kernels down, until they are carried out or taken back."""

    def __init__(self, server: ServerApp, feed: Feed, log: logging.Logger) -> None:
        self._server = server
        self._feed = feed
        self._log = log
        #: Kernel id → when it is to go, and what carries that out.
        self._orders: dict[str, asyncio.Task[None]] = {}

    def start(self) -> None:
        bus = self._server.event_logger
        if bus is not None:
            bus.add_listener(schema_id=events.NOTICE_SCHEMA, listener=self._on_notice)

    def stop(self) -> None:
        bus = self._server.event_logger
        if bus is not None:
            bus.remove_listener(schema_id=events.NOTICE_SCHEMA, listener=self._on_notice)
        for task in self._orders.values():
            task.cancel()
        self._orders.clear()

    async def _on_notice(self, logger: Any, schema_id: str, data: dict[str, Any]) -> None:
        """A notice for the user of this server; most are of something else."""
        kernel_id = data.get("workload_id")
        if data.get("rule") != RULE or not kernel_id:
            return
        ends_at = _time(data.get("stops_at"))
        # The offer to shut it down has no time, and says nothing about an order.
        if ends_at is None and not data.get("cleared"):
            return
        if (before := self._orders.pop(kernel_id, None)) is not None:
            before.cancel()
        if data.get("cleared") or ends_at is None:
            return
        now = datetime.now(timezone.utc)
        wait_s = (ends_at - now).total_seconds()
        if wait_s > LEAD_S_MAX or len(self._orders) >= ORDERS_MAX:
            self._log.warning("hubmeter: kernel %s is not shut down: an order of ours is not so", kernel_id)
            return
        carry_out = self._carry_out(kernel_id, max(0.0, wait_s), now)
        self._orders[kernel_id] = asyncio.create_task(carry_out, name="hubmeter idle kernel")

    async def _carry_out(self, kernel_id: str, wait_s: float, told: datetime) -> None:
        await asyncio.sleep(wait_s)
        # From here on it is not taken back any more: shutting down cancels nothing half way.
        self._orders.pop(kernel_id, None)
        if (why_not := self._obstacle(kernel_id, told)) is not None:
            self._log.info("hubmeter: kernel %s is not shut down: %s", kernel_id, why_not)
            return
        try:
            await ensure_async(self._server.kernel_manager.shutdown_kernel(kernel_id))
        except Exception:  # noqa: BLE001 - a manager of somebody else's making
            self._log.warning("hubmeter: kernel %s cannot be shut down", kernel_id, exc_info=True)
            return
        self._log.warning(
            "hubmeter: kernel %s was idle and held much memory; the hub's policy had it shut down", kernel_id
        )

    def _obstacle(self, kernel_id: str, told: datetime) -> str | None:
        """What keeps a kernel from being shut down now."""
        if not self._feed.live or self._feed.link.get("state") != "streaming":
            return "the collector is away and could not take it back"
        try:
            kernel = self._server.kernel_manager.get_kernel(kernel_id)
        except KeyError:
            return "it is gone"
        if said(kernel, "execution_state") != "idle":
            return "it is at work, or not known to idle"
        last = said(kernel, "last_activity")
        if not isinstance(last, datetime):
            return "it is not known when it was used last"
        return "it was used since its user was told" if last >= told else None


def _time(text: Any) -> datetime | None:
    if not isinstance(text, str):
        return None
    try:
        # `Z` is read from Python 3.11 on.
        at = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return None
    return at if at.tzinfo is not None else None
