"""What the browser asks: for the server's own people only, and never as activity."""

from __future__ import annotations

import json

import pytest
from agent_sample import SAMPLE
from conftest import until

from hubmeter import recent
from hubmeter.collector import Away, Refused

ROUTES = (
    ("POST", "hubmeter/v1/input"),
    ("POST", "hubmeter/v1/shown/e"),
    ("GET", "hubmeter/v1/server"),
    ("GET", "hubmeter/v1/history"),
    ("GET", "hubmeter/v1/verdicts"),
    ("PUT", "hubmeter/v1/hold"),
    ("DELETE", "hubmeter/v1/hold"),
    ("GET", "api/metrics/v1"),
    ("GET", "api/metrics/v1/kernel_usage/get_usage/x"),
)


class Double:
    """The collector as a test wants it."""

    def __init__(self):
        self.known, self.error, self.asked = True, None, []

    def close(self):
        pass

    async def _say(self, *asked):
        self.asked.append(asked)
        if self.error is not None:
            raise self.error
        return {"columns": {"time": []}, "held_until": None, "user": "jo"}

    async def server(self):
        return await self._say("server")

    async def history(self, query):
        return await self._say("history", query)

    async def verdicts(self):
        return [await self._say("verdicts")]

    async def hold(self, until):
        return await self._say("hold", until)


@pytest.fixture
def collector(meter, monkeypatch):
    one = Double()
    for rule in meter.handlers:
        if "parts" in (rule[2] if len(rule) > 2 else {}):
            monkeypatch.setattr(rule[2]["parts"], "collector", one)
    return one


@pytest.fixture
def ask(jp_fetch):
    async def ask(path, method="GET", body=None, **params):
        if method in ("POST", "PUT") and body is None:
            body = ""
        answer = await jp_fetch(path, method=method, body=body, params=params, raise_error=False)
        return answer.code, json.loads(answer.body) if answer.body else None

    return ask


def test_the_list_above_has_every_route(meter):
    patterns = {rule[0] for rule in meter.handlers if "static" not in rule[0]}
    assert len(patterns) == len({path for _, path in ROUTES})


async def test_nobody_without_the_servers_token_gets_in_and_no_cookie_alone_tells_anything(
    meter, http_server_client, jp_base_url
):
    for method, path in ROUTES:
        for headers in ({}, {"Authorization": "token wrong"}, {"Cookie": "username-127-0-0-1=x; _xsrf=y"}):
            refused = await http_server_client.fetch(
                jp_base_url + path,
                method=method,
                body="" if method in ("POST", "PUT") else None,
                headers=headers,
                follow_redirects=False,
                raise_error=False,
            )
            assert refused.code in (401, 403), (method, path, headers)
    assert meter._teller.person.body()["input_kind"] is None


async def test_no_route_counts_as_activity(collector, jp_serverapp, ask):
    before = jp_serverapp.web_app.last_activity()
    for method, path in ROUTES:
        await ask(path, method)
    assert jp_serverapp.web_app.last_activity() == before


async def test_what_the_collector_says_is_passed_on(collector, ask):
    assert await ask("hubmeter/v1/server") == (
        200,
        {"columns": {"time": []}, "held_until": None, "user": "jo"},
    )
    assert (await ask("hubmeter/v1/verdicts"))[1]["items"][0]["user"] == "jo"
    query = {"from": "-1h", "step": "60", "fields": "rss_bytes", "format": "csv", "secret": "x"}
    assert (await ask("hubmeter/v1/history", **query))[0] == 200
    assert collector.asked[-1] == ("history", {"from": "-1h", "step": "60", "fields": "rss_bytes"})
    assert (await ask("hubmeter/v1/hold", "PUT", '{"until": "2026-11-22T00:00:00Z"}'))[0] == 200
    assert (await ask("hubmeter/v1/hold", "DELETE"))[1]["held_until"] is None
    assert collector.asked[-2:] == [("hold", "2026-11-22T00:00:00Z"), ("hold", None)]


async def test_a_hold_that_says_no_time_is_not_passed_on(collector, ask):
    long = '{"until": "' + "x" * 99 + '"}'
    for body in ("", "{", "[]", '{"until": 3}', '{"until": ""}', long, "[" * 4000, "x" * 9999):
        status, problem = await ask("hubmeter/v1/hold", "PUT", body)
        assert status == 422 and problem["status"] == 422, body
    assert collector.asked == []


async def test_a_collector_that_is_away_is_said_and_why(collector, ask):
    collector.error = Away("the collector cannot be reached: <b>no</b>")
    for method, path in ROUTES[2:7]:
        body = '{"until": "2026-11-22T00:00:00Z"}' if method == "PUT" else None
        status, problem = await ask(path, method, body, **({"from": "-1d"} if "history" in path else {}))
        assert (status, problem["detail"]) == (503, "the collector cannot be reached: <b>no</b>"), path


async def test_a_refusal_keeps_its_status(collector, ask):
    collector.error = Refused(422, "until is after what policy allows")
    status, problem = await ask("hubmeter/v1/hold", "PUT", '{"until": "2036-11-22T00:00:00Z"}')
    assert (status, problem["detail"]) == (422, "until is after what policy allows")
    collector.error = Refused(404, "there is no such server")
    assert await ask("hubmeter/v1/server") == (200, {"available": False, "reason": "there is no such server"})


async def test_without_a_collector_the_agents_last_minutes_are_shown(collector, meter, ask):
    collector.known = False
    assert await ask("hubmeter/v1/server") == (200, {"available": False, "reason": "no collector is known"})
    await until(lambda: meter._feed.live, "the agent")
    status, table = await ask(
        "hubmeter/v1/history", fields="memory_used_bytes,memory_used_bytes_max,nonsense"
    )
    assert (status, table["source"]) == (200, "agent")
    assert set(table["columns"]) == {"time", "memory_used_bytes", "memory_used_bytes_max"}
    assert table["columns"]["memory_used_bytes"] == [SAMPLE["memory_used_bytes"]] * 2
    # The collector's ten minutes are the agent's too.
    collector.known, collector.error = True, Away("gone")
    assert (await ask("hubmeter/v1/history", **{"from": "-600"}))[1]["source"] == "agent"
    assert (await ask("hubmeter/v1/history", **{"from": "-11m"}))[0] == 503


async def test_a_question_has_a_bound(collector, ask):
    for query in ({"from": "x" * 2000}, {"fields": "a," * 600}):
        assert (await ask("hubmeter/v1/history", **query))[0] == 422


async def test_what_is_no_episode_is_not_taken(meter, http_server_client, jp_base_url, jp_auth_header):
    for episode in ("x" * 65, "a%2Fb", "%3Cb", ""):
        answer = await http_server_client.fetch(
            f"{jp_base_url}hubmeter/v1/shown/{episode}",
            method="POST",
            body="",
            headers=jp_auth_header,
            raise_error=False,
        )
        assert answer.code in (403, 404), episode
    assert meter._teller.person.shown() == []


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"items": 3}', b"[" * 99_999])
def test_a_table_is_made_of_samples_only(body):
    from hubmeter import local

    with pytest.raises(local.FAILURES):
        recent.columns(body, None)
    assert recent.columns(b'{"items": [3, {}]}', None)["columns"]["time"] == []
