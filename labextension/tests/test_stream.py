"""The feed: newest sample or none, never a stale one."""

from __future__ import annotations

import asyncio
import logging

from agent_sample import SAMPLE
from conftest import chunked, line_of, until

from hubmeter import stream
from hubmeter.events import NOTICE_SCHEMA, SAMPLE_SCHEMA


class Bus:
    def __init__(self):
        self.seen = []

    def emit(self, *, schema_id, data):
        self.seen.append((schema_id, data))


def feed_of(path):
    bus = Bus()
    return stream.Feed(bus, logging.getLogger("test"), lambda: path), bus


async def ended(task):
    task.cancel()
    await asyncio.wait({task}, timeout=1)


def states(bus):
    return [data["state"] for schema, data in bus.seen if schema == SAMPLE_SCHEMA]


async def test_a_broken_stream_leaves_no_number_and_is_taken_up_again(socket_of):
    async def serve(reader, writer):
        writer.write(chunked(line_of("sample", SAMPLE)))

    feed, bus = feed_of(await socket_of(serve))
    task = asyncio.create_task(feed.run())
    await until(lambda: states(bus)[:4] == ["live", "no_data", "live", "no_data"], "two streams")
    assert feed.connections >= 2
    await ended(task)


async def test_silence_leaves_no_number(socket_of, monkeypatch):
    monkeypatch.setattr(stream, "QUIET_S_MIN", 0.05)
    monkeypatch.setattr(stream, "QUIET_INTERVALS", 0)

    async def serve(reader, writer):
        writer.write(chunked(line_of("sample", SAMPLE)))
        await writer.drain()
        await reader.read()

    feed, bus = feed_of(await socket_of(serve))
    task = asyncio.create_task(feed.run())
    await until(lambda: "no_data" in states(bus), "the end of a silent stream")
    await ended(task)


async def test_garbage_lines_are_passed_over_and_too_many_end_the_stream(socket_of):
    garbage = b"not json\n[1]\n" + line_of("sample", {"memory_used_bytes": None}) + b"[" * 100_000 + b"\n"

    async def serve(reader, writer):
        writer.write(chunked(garbage, line_of("sample", SAMPLE), line_of("later", {}), b"x\n" * 50))
        await writer.drain()
        await reader.read()

    feed, bus = feed_of(await socket_of(serve))
    task = asyncio.create_task(feed.run())
    await until(lambda: states(bus)[:2] == ["live", "no_data"], "the sample between the garbage")
    await ended(task)


async def test_notices_are_passed_on(socket_of):
    notice = {"episode": "e", "rule": "killed", "severity": "critical", "text": "t", "workload_id": "k"}

    async def serve(reader, writer):
        writer.write(chunked(line_of("notice", notice), line_of("notice", {**notice, "cleared": True})))
        await writer.drain()
        await reader.read()

    feed, bus = feed_of(await socket_of(serve))
    task = asyncio.create_task(feed.run())
    await until(lambda: len(bus.seen) == 2, "both notices")
    assert [schema for schema, _ in bus.seen] == [NOTICE_SCHEMA] * 2
    assert [data["cleared"] for _, data in bus.seen] == [False, True]
    await ended(task)


async def test_a_bus_that_refuses_does_not_end_the_stream(socket_of):
    class Broken(Bus):
        def emit(self, **event):
            super().emit(**event)
            raise RuntimeError("listener")

    def grown(index):
        return {**SAMPLE, "memory_used_bytes": SAMPLE["memory_used_bytes"] + index * 100_000_000}

    async def serve(reader, writer):
        writer.write(chunked(*[line_of("sample", grown(index)) for index in range(3)]))
        await writer.drain()
        await reader.read()

    bus = Broken()
    path = await socket_of(serve)
    feed = stream.Feed(bus, logging.getLogger("test"), lambda: path)
    task = asyncio.create_task(feed.run())
    await until(lambda: states(bus) == ["live"] * 3, "three samples")
    await ended(task)
