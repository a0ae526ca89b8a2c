"""The arbiter against a collector over real HTTP."""

from __future__ import annotations

import asyncio
import functools
import logging
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from collector_double import Double, collector

from hubmeter_collector import culler
from hubmeter_collector.culler import FAILED_S, FRESH_S, SILENT_SPARED_S, Arbiter

LIMIT = 600
LONG, SHORT = timedelta(hours=1), timedelta(minutes=1)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def server(full_name: str, url: str = "/", **more: Any) -> dict[str, Any]:
    _, _, name = full_name.partition("/")
    model = {"name": name, "full_name": full_name, "url": url, "started": "2026-11-21T10:00:00Z"}
    return {**model, "last_activity": "2026-11-21T21:14:36.956245Z", **more}


def asynchronous(test):
    @functools.wraps(test)
    def run(*args, **kwargs):
        asyncio.run(test(*args, **kwargs))

    return run


def arbiter_of(double: Double, clock: Clock | None = None) -> Arbiter:
    environ = {"HUBMETER_API_URL": f"{double.url}/", "JUPYTERHUB_API_TOKEN": "secret"}
    return Arbiter(environ, clock or Clock())


async def ask(arbiter: Arbiter, model: dict[str, Any], inactive: timedelta | None = LONG) -> bool:
    return await arbiter(inactive=inactive, inactive_limit=LIMIT, server=model)


@asynchronous
async def test_the_collector_decides_whatever_the_hub_thinks():
    async with collector() as double:
        double.row("ann", "", cull=True)
        double.row("bob", "gpu-1", cull=False)
        arbiter = arbiter_of(double)
        # A forgotten tab keeps Ann's server active for the hub; Bob's computes and says nothing.
        assert await ask(arbiter, server("ann/"), SHORT) is True
        assert await ask(arbiter, server("bob/gpu-1"), LONG) is False
        assert double.tokens == {"token secret"}


@asynchronous
async def test_a_round_is_one_question():
    async with collector() as double:
        for number in range(20):
            double.row(f"user-{number}", "", cull=True)
        double.slow_s = 0.05
        clock = Clock()
        arbiter = arbiter_of(double, clock)
        asked = [ask(arbiter, server(f"user-{number}/")) for number in range(20)]
        assert all(await asyncio.gather(*asked))
        assert double.asked == ["/services/hubmeter/api/v1/cull?limit=5000"]
        clock.now += FRESH_S
        await ask(arbiter, server("user-1/"))
        assert len(double.asked) == 2


@asynchronous
async def test_every_page_is_read():
    async with collector() as double:
        for number in range(7):
            double.row(f"user-{number}", "", cull=number == 6)
        double.page_rows = 2
        assert await ask(arbiter_of(double), server("user-6/"), SHORT) is True
        assert len(double.asked) == 4


@pytest.mark.parametrize(
    ("full_name", "url", "key"),
    [
        ("bob/", "/jh/user/bob/", ("bob", "")),
        ("ann.o@x.org/gpu-1", "/user/ann.o@x.org/gpu-1/", ("ann.o@x.org", "gpu-1")),
        (None, "/jh/user/%C3%BCser/", ("üser", "")),
        (None, "https://bob.hub.example.org/user/bob/a%2Fb/", ("bob", "a/b")),
        ("bob/a/b", "/user/bob/a%2Fb/", ("bob", "a/b")),
    ],
)
def test_whose_server_it_is_comes_from_its_name_or_its_address(full_name, url, key):
    model = {"name": key[1], "url": url}
    assert culler._key(model if full_name is None else {**model, "full_name": full_name}) == key


@asynchronous
async def test_what_the_collector_does_not_list_is_kept():
    async with collector() as double:
        assert await ask(arbiter_of(double), server("ann/")) is False


@asynchronous
async def test_a_server_that_was_started_anew_is_another_one():
    async with collector() as double:
        double.row("ann", "", cull=True)
        anew = server("ann/", started="2026-11-21T20:01:01Z")
        assert await ask(arbiter_of(double), anew) is False


@asynchronous
async def test_a_server_that_was_started_a_moment_ago_is_not_the_one_that_was_too_old():
    async with collector() as double:
        # Too old, and somebody works there: idle since never.
        double.row("ann", "", cull=True, idle_since=None)
        arbiter = arbiter_of(double)
        now = datetime.now(timezone.utc)
        for ago_s, culled in ((90, False), (150, True)):
            started = (now - timedelta(seconds=ago_s)).isoformat().replace("+00:00", "Z")
            assert await ask(arbiter, server("ann/", started=started)) is culled


@asynchronous
async def test_watching_leaves_it_to_the_idle_culler_and_says_what_would_be(caplog):
    caplog.set_level(logging.INFO)
    for mode in ("watch", None):
        async with collector() as double:
            double.mode = mode
            double.row("ann", "", cull=True)
            double.row("bob", "", cull=False, reason="kernel \x1b[31m.ipynb busy")
            arbiter = arbiter_of(double)
            caplog.clear()
            assert await ask(arbiter, server("ann/"), SHORT) is False
            assert await ask(arbiter, server("bob/"), LONG) is True
            assert "it would stop ann: idle for 2 h" in caplog.text
            assert "it would keep bob: kernel \N{REPLACEMENT CHARACTER}[31m.ipynb busy" in caplog.text


@asynchronous
async def test_a_silent_collector_spares_for_an_hour_and_then_the_idle_culler_compares(caplog):
    clock = Clock()
    async with collector() as double:
        double.row("ann", "", cull=False)
        arbiter = arbiter_of(double, clock)
        double.status = 503
        for _ in range(20):
            assert await ask(arbiter, server("ann/")) is False
        assert len(double.asked) == 1, "no answer is remembered, too"
        assert "nothing is culled" in caplog.text
        clock.now += SILENT_SPARED_S
        assert await ask(arbiter, server("ann/")) is False
        clock.now += FAILED_S
        assert await ask(arbiter, server("ann/")) is True
        assert await ask(arbiter, server("ann/"), SHORT) is False
        assert await ask(arbiter, server("ann/"), None) is False
        assert "own comparison counts" in caplog.text
        double.status = 200
        clock.now += FAILED_S
        assert await ask(arbiter, server("ann/")) is False
        # The next silence has an hour of its own.
        double.status = 503
        clock.now += FRESH_S
        assert await ask(arbiter, server("ann/")) is False


@pytest.mark.parametrize(
    "body",
    [
        "not json",
        "[]",
        '{"items": [{"user": "ann", "server": "", "cull": true}], "next": null}',
        '{"items": [{"user": "ann", "server": "", "cull": true, "reason": "x", "idle_since": "soon"}],'
        ' "next": null}',
        '{"items": []}',
        '{"mode": "act", "items": [], "next": "0"}',  # without an end
    ],
)
@asynchronous
async def test_an_answer_that_makes_no_sense_is_none(body):
    async with collector() as double:
        double.body = body
        assert await ask(arbiter_of(double), server("ann/")) is False


@asynchronous
async def test_a_token_that_may_not_ask_is_told(caplog):
    async with collector() as double:
        double.status = 403
        assert await ask(arbiter_of(double), server("ann/")) is False
        assert "custom:hubmeter:read:all" in caplog.text
        assert "secret" not in caplog.text


@asynchronous
async def test_nobody_there_culls_nothing(caplog):
    async with collector() as double:
        gone = arbiter_of(double)
    assert await ask(gone, server("ann/")) is False
    assert "nothing is culled" in caplog.text


def test_the_address_is_the_service_on_this_machine_unless_told():
    assert Arbiter({})._url() == "http://127.0.0.1:9640/services/hubmeter"
    below = Arbiter({"JUPYTERHUB_BASE_URL": "/jh/"})
    assert below._url() == "http://127.0.0.1:9640/jh/services/hubmeter"


@asynchronous
async def test_settings_of_the_idle_culler_for_the_hub_are_not_ours():
    from tornado.httpclient import AsyncHTTPClient

    AsyncHTTPClient.configure(None, defaults={"request_timeout": 0.000001})
    try:
        async with collector() as double:
            double.row("ann", "", cull=True)
            assert await ask(arbiter_of(double), server("ann/")) is True
    finally:
        AsyncHTTPClient.configure(None)
