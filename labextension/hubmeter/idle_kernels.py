"""Shuts idle kernels down where the hub's policy says so, and the collector has told of it.

The collector orders by the notice that warns the user: of the rule `idle_hog`, with the kernel and when.
Only here is it known at that moment whether the kernel idles still, so it is done here: no token leaves
the hub, no request goes through its proxy, nothing counts as activity. What nobody can take back is not
done: while the agent or its collector is away, kernels stay. They stay as well once they were used. The agent
says again what is open whenever its stream begins: each order is decided once.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime, timezone
from typing import Any, NamedTuple

from jupyter_core.utils import ensure_async
from jupyter_server.serverapp import ServerApp

from . import events
from .stream import Feed
from .told import said

RULE = "idle_hog"
ORDERS_MAX = 64  # more than a server has verdicts
EPISODES_MAX = 64  # more than the agent says again
LEAD_S_MAX = 24 * 3600.0  # a time further away is a mistake


class Order(NamedTuple):
    """A kernel is to go."""

    episode: str
    #: What carries it out when it is time.
    task: asyncio.Task[None]


class IdleKernels:
    """Orders to shut kernels down, until they are carried out or taken back."""

    def __init__(self, server: ServerApp, feed: Feed, log: logging.Logger) -> None:
        self._server = server
        self._feed = feed
        self._log = log
        #: Kernel id → what is to be done.
        self._orders: dict[str, Order] = {}
        #: Episode → when it was said first; None: decided, taken back, or another took its place.
        self._heard: dict[str, datetime | None] = {}

    def start(self) -> None:
        bus = self._server.event_logger
        if bus is not None:
            bus.add_listener(schema_id=events.NOTICE_SCHEMA, listener=self._on_notice)

    def stop(self) -> None:
        bus = self._server.event_logger
        if bus is not None:
            bus.remove_listener(schema_id=events.NOTICE_SCHEMA, listener=self._on_notice)
        for order in self._orders.values():
            order.task.cancel()
        self._orders.clear()

    async def _on_notice(self, logger: Any, schema_id: str, data: dict[str, Any]) -> None:
        """A notice for the user of this server; most are of something else."""
        kernel_id, episode = data.get("workload_id"), data.get("episode")
        if data.get("rule") != RULE or not kernel_id or not episode:
            return
        ends_at = _time(data.get("stops_at"))
        if data.get("cleared"):
            self._take_back(kernel_id)
            self._hear(episode, None)
        elif ends_at is not None:
            # The offer to shut it down has no time, and says nothing about an order.
            self._order(kernel_id, episode, ends_at)

    def _order(self, kernel_id: str, episode: str, ends_at: datetime) -> None:
        now = datetime.now(timezone.utc)
        # "Used since" means since it was said first, however often it is said.
        told = self._heard.get(episode, now)
        if told is None:
            return
        self._take_back(kernel_id)
        wait_s = (ends_at - now).total_seconds()
        if wait_s > LEAD_S_MAX or len(self._orders) >= ORDERS_MAX:
            self._log.warning("hubmeter: kernel %s is not shut down: an order of ours is not so", kernel_id)
            return
        self._hear(episode, told)
        carry_out = self._carry_out(kernel_id, max(0.0, wait_s), told)
        task = asyncio.create_task(carry_out, name="hubmeter idle kernel")
        self._orders[kernel_id] = Order(episode, task)

    def _take_back(self, kernel_id: str) -> None:
        if (order := self._orders.pop(kernel_id, None)) is not None:
            order.task.cancel()
            self._hear(order.episode, None)

    def _hear(self, episode: str, told: datetime | None) -> None:
        self._heard.pop(episode, None)
        self._heard[episode] = told
        while len(self._heard) > EPISODES_MAX:
            del self._heard[next(iter(self._heard))]

    async def _carry_out(self, kernel_id: str, wait_s: float, told: datetime) -> None:
        heard_by = self._feed.connections
        await asyncio.sleep(wait_s)
        # From here on it is not taken back any more: shutting down cancels nothing half way.
        if (order := self._orders.pop(kernel_id, None)) is not None:
            self._hear(order.episode, None)
        why_not = self._obstacle(kernel_id, told)
        if self._feed.connections != heard_by:
            # What is open still came again by the new stream, and is waited for anew.
            why_not = "the agent was away and could not take it back"
        if why_not is not None:
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
