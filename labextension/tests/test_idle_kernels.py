"""Kernels that the hub's policy ends: those that idle still, when it is time, and no others."""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import until

from hubmeter import events
from hubmeter.idle_kernels import EPISODES_MAX, IdleKernels

SOON_S = 0.3


def now() -> datetime:
    return datetime.now(timezone.utc)


def notice(kernel_id: str, in_s: float | None, **more: Any) -> dict[str, Any]:
    stops_at = None if in_s is None else (now() + timedelta(seconds=in_s)).isoformat().replace("+00:00", "Z")
    data = events.notice(
        {
            "episode": "e1",
            "rule": "idle_hog",
            "severity": "warning",
            "text": "train.ipynb is shut down in 15 min",
            "workload_id": kernel_id,
            "stops_at": stops_at,
            **more,
        }
    )
    assert data is not None
    return data


@pytest.fixture
def feed() -> SimpleNamespace:
    return SimpleNamespace(live=True, link={"state": "streaming"}, connections=1)


@pytest.fixture
def kernel_id(jp_serverapp, jp_asyncio_loop):
    manager = jp_serverapp.kernel_manager
    kernel_id = jp_asyncio_loop.run_until_complete(manager.start_kernel(kernel_name="echo"))
    yield kernel_id
    if kernel_id in manager.list_kernel_ids():
        jp_asyncio_loop.run_until_complete(manager.shutdown_kernel(kernel_id, now=True))


@pytest.fixture
def tell(jp_serverapp, feed, kernel_id):
    """Puts notices on the bus, where the orders are taken from; started and ended with the test."""
    orders = IdleKernels(jp_serverapp, feed, logging.getLogger("test"))
    orders.start()

    async def tell(in_s: float | None, **more: Any) -> None:
        jp_serverapp.event_logger.emit(schema_id=events.NOTICE_SCHEMA, data=notice(kernel_id, in_s, **more))
        await asyncio.sleep(0.05)

    tell.orders = orders
    yield tell
    orders.stop()


def idles(server, kernel_id: str, state: str = "idle", for_s: float = 7200) -> Any:
    # The echo kernel of these tests never says anything of itself.
    kernel = server.kernel_manager.get_kernel(kernel_id)
    kernel.execution_state, kernel.last_activity = state, now() - timedelta(seconds=for_s)
    return kernel


def runs(server, kernel_id: str) -> bool:
    return kernel_id in server.kernel_manager.list_kernel_ids()


async def decided(tell) -> None:
    await until(lambda: not tell.orders._orders, "the order to be carried out or not")
    await asyncio.sleep(0.1)


async def test_an_idle_kernel_is_shut_down_when_it_is_time_and_not_before(jp_serverapp, tell, kernel_id):
    idles(jp_serverapp, kernel_id)
    await tell(60)
    assert runs(jp_serverapp, kernel_id) and tell.orders._orders
    # The newest word counts.
    await tell(SOON_S)
    await until(lambda: not runs(jp_serverapp, kernel_id), "the end of the kernel")
    assert not tell.orders._orders


@pytest.mark.parametrize(
    "change",
    [
        lambda server, feed, kernel: setattr(kernel, "execution_state", "busy"),
        lambda server, feed, kernel: setattr(kernel, "execution_state", None),
        lambda server, feed, kernel: setattr(kernel, "last_activity", now()),
        lambda server, feed, kernel: setattr(feed, "live", False),
        lambda server, feed, kernel: setattr(feed, "link", {"state": "connecting"}),
        lambda server, feed, kernel: setattr(feed, "link", {}),
        lambda server, feed, kernel: setattr(feed, "connections", 2),
    ],
    ids=["busy", "unknown", "used", "agent away", "collector away", "no collector", "agent was away"],
)
async def test_a_kernel_that_works_or_was_used_or_whose_order_nobody_could_take_back_stays(
    jp_serverapp, feed, tell, kernel_id, change
):
    idles(jp_serverapp, kernel_id)
    await tell(SOON_S)
    change(jp_serverapp, feed, jp_serverapp.kernel_manager.get_kernel(kernel_id))
    await decided(tell)
    assert runs(jp_serverapp, kernel_id)


async def test_an_order_that_is_taken_back_is_not_carried_out(jp_serverapp, tell, kernel_id):
    idles(jp_serverapp, kernel_id)
    await tell(SOON_S)
    await tell(None, cleared=True)
    assert not tell.orders._orders
    await asyncio.sleep(2 * SOON_S)
    assert runs(jp_serverapp, kernel_id)


async def test_an_order_that_is_said_again_counts_from_the_first_time(jp_serverapp, tell, kernel_id):
    kernel = idles(jp_serverapp, kernel_id)
    await tell(60)
    kernel.last_activity = now()
    await tell(SOON_S)  # the agent's stream began anew
    await decided(tell)
    assert runs(jp_serverapp, kernel_id)


@pytest.mark.parametrize("ends", ["decided", "taken back", "another came"])
async def test_an_order_that_is_over_is_not_carried_out_when_it_is_said_again(
    jp_serverapp, feed, tell, kernel_id, ends
):
    idles(jp_serverapp, kernel_id)
    if ends == "decided":
        # The collector is away, comes back, and does not know of it: nobody takes it back.
        feed.link = {"state": "connecting"}
        await tell(0)
        await decided(tell)
        feed.link = {"state": "streaming"}
    elif ends == "taken back":
        await tell(60)
        await tell(None, cleared=True)
    else:
        await tell(60)
        await tell(60, episode="e2")
    before = dict(tell.orders._orders)
    await tell(-600)
    await asyncio.sleep(0.2)
    assert runs(jp_serverapp, kernel_id) and tell.orders._orders == before


async def test_as_many_orders_are_remembered_as_the_agent_says_again_and_no_more(tell, kernel_id):
    for number in range(2 * EPISODES_MAX):
        await tell.orders._on_notice(None, "", notice(kernel_id, 60, episode=f"e{number}"))
    assert len(tell.orders._heard) == EPISODES_MAX and len(tell.orders._orders) == 1


async def test_an_offer_or_another_rule_or_a_time_that_is_none_orders_nothing(jp_serverapp, tell, kernel_id):
    await tell(None)
    await tell(SOON_S, rule="idle")
    await tell(None, stops_at="soon")
    await tell(None, stops_at="2027-01-15T08:00:00")  # of which zone?
    await tell(10 * 24 * 3600)
    assert not tell.orders._orders
    # Nor does an offer undo an order.
    await tell(60)
    await tell(None)
    assert tell.orders._orders


async def test_a_kernel_that_is_gone_or_cannot_be_shut_down_is_nobodys_trouble(
    jp_serverapp, tell, kernel_id, monkeypatch
):
    idles(jp_serverapp, kernel_id)
    await tell(SOON_S, workload_id="no-such-kernel")
    await decided(tell)

    def refuse(kernel_id):
        raise RuntimeError("no")

    with monkeypatch.context() as patch:
        patch.setattr(jp_serverapp.kernel_manager, "shutdown_kernel", refuse)
        await tell(SOON_S)
        await decided(tell)
    assert runs(jp_serverapp, kernel_id)


async def test_what_is_ordered_ends_with_the_server(jp_serverapp, tell, kernel_id):
    await tell(60)
    (order,) = tell.orders._orders.values()
    tell.orders.stop()
    await asyncio.sleep(0.05)
    assert order.task.cancelled()
    await tell(60)
    assert not tell.orders._orders
