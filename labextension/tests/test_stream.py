"""The feed: newest sample or none, never a stale one."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading

from agent_sample import SAMPLE
from conftest import Bus, Still, chunked, line_of, until

from hubmeter import stream
from hubmeter.events import NOTICE_SCHEMA, SAMPLE_SCHEMA
from hubmeter.outlet import Outlet
from hubmeter.stream import Feed


def states(bus):
    return [data["state"] for schema, data in bus.seen if schema == SAMPLE_SCHEMA]


async def test_a_broken_stream_leaves_no_number_and_is_taken_up_again(socket_of, follow):
    bus = Bus()

    async def serve(reader, writer):
        writer.write(chunked(line_of("sample", SAMPLE)))
        await writer.drain()
        await until(lambda: states(bus)[-1:] == ["live"], "the sample on the bus")

    feed = follow(await socket_of(serve), bus)
    await until(lambda: states(bus).count("no_data") >= 2, "the ends of two streams")
    assert states(bus)[0] == "live" and feed.connections >= 2


async def test_silence_leaves_no_number(socket_of, follow, monkeypatch):
    monkeypatch.setattr(stream, "QUIET_S_MIN", 0.05)
    monkeypatch.setattr(stream, "QUIET_INTERVALS", 0)

    async def serve(reader, writer):
        writer.write(chunked(line_of("sample", SAMPLE)))
        await writer.drain()
        await reader.read()

    bus = Bus()
    follow(await socket_of(serve), bus)
    await until(lambda: "no_data" in states(bus), "the end of a silent stream")


def test_a_sample_that_is_lost_while_somebody_reads_it_stays_lost():
    log = logging.getLogger("test")
    code = Feed.sample.fget.__code__
    # Every opcode of the reading is a moment at which our thread may come between.
    for moment in range(10_000):
        feed = Feed(Outlet(Bus(), log), log)
        feed.take(line_of("sample", SAMPLE))
        passed = 0

        def trace(frame, event, _arg, moment=moment, feed=feed):
            nonlocal passed
            if frame.f_code is not code:
                return None
            frame.f_trace_opcodes = True
            if event == "opcode":
                if passed == moment:
                    feed.lose()
                passed += 1
            return trace

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            feed.sample  # noqa: B018 - what it leaves behind is looked at
        finally:
            sys.settrace(before)
        if passed <= moment:
            break  # there are no more
        assert not feed.live and feed.sample is None, moment
    assert moment > 10


async def test_what_came_while_our_thread_was_held_up_is_read_and_no_silence(socket_of, follow, monkeypatch):
    monkeypatch.setattr(stream, "QUIET_S_MIN", 0.2)
    monkeypatch.setattr(stream, "QUIET_INTERVALS", 0)
    back, held = threading.Event(), threading.Event()

    class Holds(Still):
        def due_s(self):
            return 0.0 if not held.is_set() and feeds and feeds[0].live else 60.0

        def look(self):
            held.set()
            back.wait(30)

    async def serve(reader, writer):
        writer.write(chunked(line_of("sample", SAMPLE)))
        while True:
            await writer.drain()
            await asyncio.sleep(0.02)
            writer.write(chunked(line_of("sample", SAMPLE)).split(b"\r\n\r\n", 1)[1])

    bus, feeds = Bus(), []
    feeds.append(follow(await socket_of(serve), bus, Holds()))
    await until(held.is_set, "the thread to be held up")
    await asyncio.sleep(0.4)
    back.set()
    await asyncio.sleep(0.3)
    assert feeds[0].live and feeds[0].connections == 1 and "no_data" not in states(bus)


async def test_garbage_lines_are_passed_over_and_too_many_end_the_stream(socket_of, follow):
    garbage = b"not json\n[1]\n" + line_of("sample", {"memory_used_bytes": None}) + b"[" * 100_000 + b"\n"

    bus = Bus()

    async def serve(reader, writer):
        writer.write(chunked(garbage, line_of("sample", SAMPLE), line_of("later", {})))
        await writer.drain()
        await until(lambda: states(bus) == ["live"], "the sample on the bus")
        writer.write(b"64\r\n" + b"x\n" * 50 + b"\r\n")
        await writer.drain()
        await reader.read()

    follow(await socket_of(serve), bus)
    await until(lambda: states(bus)[:2] == ["live", "no_data"], "the sample between the garbage")


async def test_notices_are_passed_on(socket_of, follow):
    notice = {"episode": "e", "rule": "killed", "severity": "critical", "text": "t", "workload_id": "k"}

    async def serve(reader, writer):
        writer.write(chunked(line_of("notice", notice), line_of("notice", {**notice, "cleared": True})))
        await writer.drain()
        await reader.read()

    bus = Bus()
    follow(await socket_of(serve), bus)
    await until(lambda: len(bus.seen) == 2, "both notices")
    assert [schema for schema, _ in bus.seen] == [NOTICE_SCHEMA] * 2
    assert [data["cleared"] for _, data in bus.seen] == [False, True]


async def test_a_bus_that_refuses_does_not_end_the_stream(socket_of, follow):
    class Broken(Bus):
        def emit(self, **event):
            super().emit(**event)
            raise RuntimeError("listener")

    def changed(index):
        """A limit that is another is told at once."""
        return {**SAMPLE, "memory_limit_bytes": SAMPLE["memory_limit_bytes"] + index}

    async def serve(reader, writer):
        writer.write(chunked(line_of("sample", changed(0))))
        for index in (1, 2):
            await until(lambda index=index: len(states(bus)) == index, "the sample before")
            writer.write(chunked(line_of("sample", changed(index))).split(b"\r\n\r\n", 1)[1])
        await writer.drain()
        await reader.read()

    bus = Broken()
    follow(await socket_of(serve), bus)
    await until(lambda: states(bus) == ["live"] * 3, "three samples")
