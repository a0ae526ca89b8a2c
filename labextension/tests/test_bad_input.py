"""Whatever comes from the agent's socket, from users' names, or from clocks: sane, or nothing."""

from __future__ import annotations

import asyncio
import json
import logging
import random

import pytest
from agent_sample import SAMPLE
from conftest import Bus, chunked, line_of, until
from jupyter_events import EventLogger

from hubmeter import events, metrics, stream
from hubmeter.outlet import Outlet

HOSTILE = (
    "<img src=x onerror=alert(1)>",
    "x" * 4000,
    "\u202egnp.ipynb",
    "\u0645\u062b\u0627\u0644.ipynb",
    "a\x00b\x1b[31m\n",
    "\ud800",
    "../../etc/passwd",
    "{{7*7}}${7*7}%s",
    "",
)
ODD = (None, True, -1, 0, 10**400, 2**63, 1e400, float("nan"), "", "7", [], [[]], {}, {"a": {}}, *HOSTILE)


@pytest.fixture
def bus():
    """By the whole schema, and only what a browser's JSON can carry."""
    from pathlib import Path

    logger = EventLogger()
    for schema in (Path(events.__file__).parent / "schemas").iterdir():
        logger.register_event_schema(schema)
    return logger


def emitted(bus, event, schema=events.SAMPLE_SCHEMA):
    bus.schemas.validate_event(schema, event)
    text = json.dumps(event, allow_nan=False)
    assert len(text) < 200_000
    return json.loads(text)


async def test_any_field_may_be_anything(bus):
    chance = random.Random(7)
    row = {
        "kind": "kernel",
        "id": "k",
        "name": "n",
        "memory_used_bytes": 1,
        "cpu_cores": 0.1,
        "state": "idle",
    }
    fields = [*SAMPLE, "vitals", "swap_bytes", "cpu_millis", "seconds_to_limit"]
    log = logging.getLogger("test")
    outlet = Outlet(bus, log)
    outlet.begin()
    feed = stream.Feed(outlet, log)
    for _ in range(600):
        raw = {**SAMPLE, "workloads": [{**row, chance.choice([*row]): chance.choice(ODD)}]}
        raw[chance.choice(fields)] = chance.choice(ODD)
        raw["link"] = chance.choice(
            ({"state": chance.choice(ODD), "api_url": chance.choice(ODD)}, chance.choice(ODD))
        )
        feed.take(json.dumps({"type": "sample", "data": raw}).encode("utf-8", "surrogatepass"))
        assert feed.quiet_s() <= stream.FIRST_S_MAX * 3
        if (kept := events.sample(raw)) is not None:
            emitted(bus, events.sample_event(kept))
            json.dumps(metrics.metrics(kept, {"CPU_LIMIT": str(chance.choice(ODD))}), allow_nan=False)
            metrics.kernel_usage(kept, "k")
        feed._garbage = 0


def test_hostile_names_stay_text_within_their_bound(bus):
    rows = [
        {"kind": "kernel", "id": str(index), "notebook": name, "name": name}
        for index, name in enumerate(HOSTILE)
    ]
    sent = emitted(bus, events.sample_event(events.sample({**SAMPLE, "workloads": rows})))
    by_id = {row["id"]: row["notebook"] for row in sent["workloads"]}
    assert by_id == {str(index): name[: events.TEXT_CHARS_MAX] for index, name in enumerate(HOSTILE)}


def test_five_hundred_kernels_are_one_bounded_event_and_every_one_is_answered_for(bus):
    rows = [
        {"kind": "kernel", "id": f"k{index}", "pid": index, "memory_used_bytes": 10**9}
        for index in range(500)
    ]
    kept = events.sample({**SAMPLE, "workloads": rows})
    sent = emitted(bus, events.sample_event(kept))
    assert (len(sent["workloads"]), sent["workloads_left_out"]) == (events.ROWS_SENT_MAX, 400)
    assert all(metrics.kernel_usage(kept, f"k{index}")["pid"] == index for index in range(500))


def test_a_limit_below_what_is_used_and_none_at_all_are_said_as_they_are():
    over = metrics.metrics(events.sample({**SAMPLE, "memory_limit_bytes": 1}), {})
    assert over["limits"]["memory"] == {"rss": 1, "pss": 1, "warn": True}
    none = metrics.metrics(events.sample({**SAMPLE, "memory_limit_bytes": None}), {})
    assert none["limits"]["memory"] == {"rss": 0, "pss": 0}


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_clock_that_is_off_by_an_hour_changes_no_figure(monkeypatch, hours):
    now = events.time.time()
    monkeypatch.setattr(events.time, "time", lambda: now + 3600 * hours)
    kept = events.sample({**SAMPLE, "vitals": {"job_ends_ms": int((now + 600) * 1000)}})
    assert kept["time"] == SAMPLE["time"], "the agent's own, whatever our clock says"
    # Both are this machine's clock; a browser is told what is left, and never less than nothing.
    assert kept["job_ends_in_seconds"] == pytest.approx(max(0, 600 - 3600 * hours), abs=1)


async def test_a_stale_socket_and_one_of_somebody_else_give_no_number(tmp_path, socket_of, follow):
    async def other(reader, writer):
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n" * 1000)

    async def page(reader, writer):
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n<html>" + b"x" * 100_000)

    async def endless(reader, writer):
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nffffffffff\r\n")

    stale = tmp_path / "stale"
    (await asyncio.start_unix_server(lambda *_: None, str(stale))).close()
    paths = [str(stale), str(tmp_path / "none"), *[await socket_of(one) for one in (other, page, endless)]]
    feeds = [follow(path, Bus()) for path in paths]
    await asyncio.sleep(1)
    assert [(feed.live, feed.sample) for feed in feeds] == [(False, None)] * len(paths)


async def test_two_servers_of_one_user_have_an_agent_each_by_their_own_pid(socket_of, follow):
    """Each follows its own socket, and neither's figures reach the other's tabs."""

    def agent(used):
        async def serve(reader, writer):
            writer.write(chunked(line_of("sample", {**SAMPLE, "memory_used_bytes": used})))
            await writer.drain()
            await reader.read()

        return serve

    feeds = []
    for used in (10**8, 2 * 10**8):
        bus = EventLogger()
        events.register(bus)
        feeds.append(follow(await socket_of(agent(used)), bus))
    await until(lambda: all(feed.live for feed in feeds), "both")
    assert [feed.sample["memory_used_bytes"] for feed in feeds] == [10**8, 2 * 10**8]
