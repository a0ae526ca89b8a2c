"""The thread beside the loop: it looks when it is rung, ends when it is told, and outlives the rest."""

from __future__ import annotations

import logging
import os
import threading

import pytest
from agent_sample import SAMPLE
from conftest import Bus, chunked, line_of, until

from hubmeter import local
from hubmeter.follower import Follower
from hubmeter.outlet import Outlet
from hubmeter.stream import Feed


class Looker:
    """Notes in which thread it looks."""

    def __init__(self, work=lambda: None):
        self.threads = []
        self._work = work

    def look(self):
        self.threads.append(threading.current_thread().name)
        self._work()

    def due_s(self):
        return 60.0


async def silent(reader, writer):
    """An agent that has said one thing."""
    writer.write(chunked(line_of("sample", SAMPLE)))
    await writer.drain()
    await reader.read()


@pytest.fixture
def made():
    """A follower of a socket, and the feed that it fills."""

    def make(path, looker=None):
        log = logging.getLogger("test")
        feed = Feed(Outlet(Bus(), log), log)
        return Follower(feed, looker or Looker(), log, lambda: path), feed

    return make


def threads():
    return [one for one in threading.enumerate() if one.name == "hubmeter stream"]


@pytest.mark.parametrize("there", [True, False])
async def test_it_ends_at_once_whether_it_listens_or_waits_for_an_agent(socket_of, made, there, tmp_path):
    follower, feed = made(await socket_of(silent) if there else str(tmp_path / "none"))
    follower.start()
    if there:
        await until(lambda: feed.live, "the sample")
    assert len(threads()) == 1
    await follower.stop()
    assert threads() == []
    await follower.stop()
    follower.wake()  # whoever rings too late does no harm


async def test_a_thread_that_hangs_is_not_waited_for_and_keeps_no_process(made, tmp_path, monkeypatch):
    monkeypatch.setattr(local, "CANCEL_S", 0.05)
    back = threading.Event()
    looker = Looker(lambda: back.wait(60))
    follower, _ = made(str(tmp_path / "none"), looker)
    follower.start()
    follower.wake()
    await until(lambda: looker.threads, "the look that hangs")
    await follower.stop()
    (thread,) = threads()
    assert thread.daemon
    back.set()
    await until(lambda: not thread.is_alive(), "its end")


async def test_whoever_rings_is_heard_in_the_thread_and_not_on_the_loop(socket_of, made):
    looker = Looker()
    follower, feed = made(await socket_of(silent), looker)
    follower.start()
    await until(lambda: feed.live, "the sample")
    for _ in range(10):
        follower.wake()
    await until(lambda: looker.threads, "the look")
    assert set(looker.threads) == {"hubmeter stream"}
    await follower.stop()
    assert len(looker.threads) < 10, "what happens at once is looked at once"


async def test_a_look_that_fails_does_not_end_it(socket_of, made):
    looker = Looker(lambda: 1 / 0)
    follower, feed = made(await socket_of(silent), looker)
    follower.start()
    for count in (1, 2, 3):
        follower.wake()
        await until(lambda count=count: len(looker.threads) >= count, "one more look")
    await until(lambda: feed.live, "the stream again")
    await follower.stop()


async def test_a_forked_child_neither_rings_nor_waits_for_its_parents_thread(socket_of, made):
    looker = Looker()
    follower, feed = made(await socket_of(silent), looker)
    follower.start()
    await until(lambda: feed.live, "the sample")
    child = os.fork()
    if child == 0:
        # Nothing of pytest's may run here.
        follower.wake()
        try:
            follower.stop().send(None)
        except StopIteration:
            os._exit(0)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert looker.threads == []
    assert feed.live and len(threads()) == 1
    await follower.stop()
