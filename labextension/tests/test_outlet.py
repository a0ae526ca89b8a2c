"""Events leave our thread for the loop only when somebody listens, and reach a tab unchanged."""

from __future__ import annotations

import asyncio
import json
import logging
import threading

import pytest
from agent_sample import SAMPLE
from conftest import Bus, chunked, line_of, until
from tornado.websocket import WebSocketError

from hubmeter import events
from hubmeter.agent import aside
from hubmeter.outlet import WAITING_MAX, Outlet

EVENT = events.sample_event(events.sample({**SAMPLE, "workloads": [{"kind": "kernel", "id": "\ud800<b>"}]}))


@pytest.fixture
def bus(jp_serverapp, monkeypatch):
    """A server's own bus, with a note of what goes through its checks."""
    bus = jp_serverapp.event_logger
    bus.emitted = []
    emit = bus.emit

    def noting(**event):
        bus.emitted.append(event["schema_id"])
        return emit(**event)

    monkeypatch.setattr(bus, "emit", noting)
    return bus


@pytest.fixture
def outlet(bus):
    return Outlet(bus, logging.getLogger("test"))


async def other(logger, schema_id, data):
    return


async def test_a_tab_gets_the_same_bytes_whether_it_listens_alone_or_not(outlet, bus, jp_ws_fetch):
    outlet.begin()
    tab = await jp_ws_fetch("api", "events", "subscribe")
    assert outlet.is_heard(events.SAMPLE_SCHEMA)
    await aside(lambda: outlet.send(events.SAMPLE_SCHEMA, EVENT))
    alone = await tab.read_message()
    assert bus.emitted == [], "the loop only wrote what was ready"
    bus.add_listener(schema_id=events.SAMPLE_SCHEMA, listener=other)
    await aside(lambda: outlet.send(events.SAMPLE_SCHEMA, EVENT))
    assert await tab.read_message() == alone
    assert bus.emitted == [events.SAMPLE_SCHEMA]
    assert json.loads(alone) == {"schema_id": events.SAMPLE_SCHEMA, **EVENT}
    bus.remove_listener(schema_id=events.SAMPLE_SCHEMA, listener=other)
    tab.close()


async def test_whoever_changes_or_logs_events_is_not_passed_by(outlet, bus, jp_ws_fetch):
    outlet.begin()
    tab = await jp_ws_fetch("api", "events", "subscribe")

    def without_rows(schema_id, data):
        return {**data, "workloads": []}

    bus.add_modifier(schema_id=events.SAMPLE_SCHEMA, modifier=without_rows)
    outlet.send(events.SAMPLE_SCHEMA, EVENT)
    assert json.loads(await tab.read_message())["workloads"] == []
    bus.remove_modifier(schema_id=events.SAMPLE_SCHEMA, modifier=without_rows)
    tab.close()


async def test_a_tab_that_went_without_a_word_is_forgotten(outlet, bus, jp_ws_fetch):
    outlet.begin()
    tab = await jp_ws_fetch("api", "events", "subscribe")
    (listener,) = bus._modified_listeners[events.SAMPLE_SCHEMA]
    listener.__self__.ws_connection = None
    outlet.send(events.SAMPLE_SCHEMA, EVENT)
    await until(lambda: not outlet.is_heard(events.SAMPLE_SCHEMA), "the end of its listener")
    assert bus.emitted == []
    try:
        tab.close()
    except WebSocketError:
        pass


async def test_of_samples_that_wait_for_a_busy_loop_only_the_newest_goes_out_and_notices_all(caplog):
    bus = Bus()
    outlet = Outlet(bus, logging.getLogger("test"))
    outlet.begin()
    for used in range(3):
        outlet.send(events.SAMPLE_SCHEMA, {"used": used}, newest_only=True)
        outlet.send(events.NOTICE_SCHEMA, {"episode": used})
    await until(lambda: bus.seen, "the events")
    assert [data for _, data in bus.seen] == [{"episode": 0}, {"episode": 1}, {"used": 2}, {"episode": 2}]
    for episode in range(2 * WAITING_MAX):
        outlet.send(events.NOTICE_SCHEMA, {"episode": episode})
    bus.seen.clear()
    await until(lambda: bus.seen, "the newest of too many")
    assert [data["episode"] for _, data in bus.seen] == list(range(WAITING_MAX, 2 * WAITING_MAX))
    assert f"{WAITING_MAX} notices were not shown" in caplog.text, "what is dropped is counted"


async def test_one_tab_that_takes_nothing_keeps_no_other_from_it(outlet, bus, jp_ws_fetch, monkeypatch):
    outlet.begin()
    tabs = [await jp_ws_fetch("api", "events", "subscribe") for _ in range(2)]
    # Whichever of the two comes first.
    (first, second) = bus._modified_listeners[events.SAMPLE_SCHEMA]

    def refuse(text):
        raise RuntimeError("buffer is full")

    for broken, other in ((first, second), (second, first)):
        with monkeypatch.context() as patch:
            patch.setattr(broken.__self__, "write_message", refuse)
            written = []
            patch.setattr(other.__self__, "write_message", written.append)
            outlet.send(events.SAMPLE_SCHEMA, EVENT)
            await until(lambda written=written: written, "the other tab's event")
    assert outlet.is_heard(events.SAMPLE_SCHEMA)
    for tab in tabs:
        tab.close()


async def test_samples_that_nobody_would_see_do_not_wake_the_loop(
    outlet, bus, socket_of, follow, jp_asyncio_loop, monkeypatch
):
    woken, over = [], threading.Event()
    wake = jp_asyncio_loop.call_soon_threadsafe

    def noting(callback, *args, **over):
        woken.append(callback)
        return wake(callback, *args, **over)

    async def serve(reader, writer):
        writer.write(chunked(line_of("sample", SAMPLE)))
        for index in range(50):
            sample = {**SAMPLE, "memory_used_bytes": SAMPLE["memory_used_bytes"] + index * 100_000_000}
            writer.write(chunked(line_of("sample", sample)).split(b"\r\n\r\n", 1)[1])
        await writer.drain()
        over.set()
        await reader.read()

    path = await socket_of(serve)
    monkeypatch.setattr(jp_asyncio_loop, "call_soon_threadsafe", noting)
    feed = follow(path, bus)  # nobody listens to it
    await until(lambda: feed.live and feed.sample["memory_used_bytes"] > 4_900_000_000, "the last of them")
    assert woken == []
    assert over.is_set()


async def test_whoever_begins_to_listen_gets_the_next_sample_whatever_it_says(
    bus, socket_of, follow, jp_serverapp
):
    async def serve(reader, writer):
        writer.write(chunked(line_of("sample", SAMPLE)))
        while True:
            writer.write(chunked(line_of("sample", SAMPLE)).split(b"\r\n\r\n", 1)[1])
            await writer.drain()
            await asyncio.sleep(0.02)

    feed = follow(await socket_of(serve), bus)
    await until(lambda: feed.live, "the first sample")
    seen = []

    async def listen(logger, schema_id, data):
        seen.append(data["state"])

    bus.add_listener(schema_id=events.SAMPLE_SCHEMA, listener=listen)
    await until(lambda: seen == ["live"], "the next one")
    bus.remove_listener(schema_id=events.SAMPLE_SCHEMA, listener=listen)
