"""The tiny HTTP client: what it takes, and what it does not fall for."""

from __future__ import annotations

import asyncio
import gc

import pytest
from conftest import chunked

from hubmeter import local
from hubmeter.agent import answering, aside


def read(path: str) -> list[bytes]:
    """All lines of an answer."""
    with local.Connection(path, "GET", "/v1/stream") as answer:
        if answer.status != 200:
            raise local.LocalError(str(answer.status))
        return local.Lines().take(answer.body() + b"\n")


async def take(path: str) -> list[bytes]:
    return await aside(lambda: read(path))


def answer(data: bytes):
    async def serve(reader, writer):
        writer.write(data)

    return serve


async def test_lines_are_found_whatever_the_chunks(socket_of):
    whole = chunked(b'{"a"', b":1}\n", b"\n{}\n{}", b"\n") + b"0\r\n\r\n"
    assert await take(await socket_of(answer(whole))) == [b'{"a":1}', b"{}", b"{}"]

    async def by_the_byte(reader, writer):
        for index in range(len(whole)):
            writer.write(whole[index : index + 1])
            await writer.drain()

    assert await take(await socket_of(by_the_byte)) == [b'{"a":1}', b"{}", b"{}"]


async def test_a_path_longer_than_the_kernel_takes_is_reached_through_its_folder(tmp_path):
    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    folder = tmp_path / ("d" * 120)
    folder.mkdir()
    path = str(folder / "a.sock")
    with local.address(path) as way:
        assert len(way) <= local.ADDRESS_BYTES_MAX
        server = await asyncio.start_unix_server(serve, way)
    assert await answering(path)
    server.close()


async def test_an_answer_that_trickles_is_given_up_in_time(socket_of, monkeypatch):
    monkeypatch.setattr(local, "ANSWER_S_MAX", 0.3)

    async def serve(reader, writer):
        while True:
            writer.write(b"HTTP/1.1 200 OK\r\nx: y\r\n"[:1])
            await writer.drain()
            await asyncio.sleep(0.01)

    path = await socket_of(serve)
    with pytest.raises(TimeoutError):
        await take(path)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 500 No\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000,
        b"HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nffffffff\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + b"1" * 100_000,
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n-5\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nabXX",
        chunked(*[b"x" * 300_000] * 4),
    ],
)
async def test_garbage_is_a_failure_and_no_crash(socket_of, data):
    path = await socket_of(answer(data))
    with pytest.raises(local.FAILURES):
        await take(path)


async def test_an_agent_without_a_sample_still_answers(socket_of):
    path = await socket_of(answer(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"))
    assert await answering(path)


async def test_nobody_does_not_answer(socket_of, tmp_path):
    assert not await answering(str(tmp_path / "none"))
    assert not await answering(await socket_of(answer(b"HTTP/1.1 404 Not Found\r\n\r\n")))


async def test_what_is_put_arrives(socket_of):
    got = asyncio.get_running_loop().create_future()

    async def serve(reader, writer):
        got.set_result(await reader.readexactly(len(b'{"kernels": []}')))
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")

    path = await socket_of(serve)
    await aside(lambda: local.put_json(path, "/v1/kernels", {"kernels": []}))
    assert await got == b'{"kernels": []}'


async def test_a_refused_put_is_a_failure(socket_of):
    path = await socket_of(answer(b"HTTP/1.1 400 Bad Request\r\n\r\n"))
    with pytest.raises(local.LocalError):
        await aside(lambda: local.put_json(path, "/v1/kernels", {}))


async def test_a_cancellation_is_not_lost_when_the_work_ends_at_the_same_time():
    async def endless(work):
        while True:
            await local.within(work(), 5.0)

    done = asyncio.get_running_loop().create_future()

    async def work():
        await done

    task = asyncio.create_task(endless(work))
    await asyncio.sleep(0.01)
    done.set_result(None)
    await asyncio.sleep(0)  # the work ends; whoever waits for it has not run yet
    task.cancel()
    await asyncio.wait({task}, timeout=1)
    assert task.cancelled()


async def test_who_is_cancelled_as_the_work_fails_leaves_nothing_in_the_log():
    told = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    fails = asyncio.get_running_loop().create_future()

    async def work():
        await fails

    task = asyncio.create_task(local.within(work(), 5.0))
    await asyncio.sleep(0.01)
    fails.set_exception(FileNotFoundError("no socket"))
    await asyncio.sleep(0)  # the work fails; whoever waits for it has not run yet
    task.cancel()
    await asyncio.wait({task}, timeout=1)
    assert task.cancelled()
    del task, work, fails
    gc.collect()
    assert told == []


async def test_work_that_takes_too_long_is_cancelled():
    ended = []

    async def work():
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(1)

    with pytest.raises(asyncio.TimeoutError):
        await local.within(work(), 0.01)
    assert ended
