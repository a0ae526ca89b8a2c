"""The drop-in: the shape that jupyter-resource-usage's front ends read, and no activity."""

from __future__ import annotations

import json

import pytest
import tornado.httpclient
from agent_sample import SAMPLE
from conftest import until

from hubmeter import events, metrics, notable

# What jupyter-resource-usage 1.3.0 answers, MEM_LIMIT=4294967296 CPU_LIMIT=2, CPU and disk tracked.
CAPTURED = {
    "rss": 130453504,
    "limits": {
        "memory": {"rss": 4294967296, "pss": 4294967296, "warn": False},
        "cpu": {"cpu": 2.0, "warn": True},
        "disk": {"disk": 270553174016, "warn": False},
    },
    "pss": 109147136,
    "cpu_percent": 223.1,
    "cpu_count": 2,
    "disk_used": 19359031296,
    "disk_total": 270553174016,
}
CAPTURED_KERNEL = {
    "hostname": "vm",
    "pid": 21957,
    "kernel_cpu": 0.0,
    "kernel_memory": 43226112,
    "cpu_count": 2,
    "host_cpu_percent": 12.3,
    "host_virtual_memory": {"total": 1},
    "host_usage_flag": True,
}


def kept(**over):
    return events.sample({**SAMPLE, **over})


def same_shape(ours, theirs):
    """Whatever we say is there in theirs, in the same type."""
    for key, value in ours.items():
        assert key in theirs, key
        assert type(value) is type(theirs[key]), key
        if isinstance(value, dict):
            same_shape(value, theirs[key])


def test_the_answer_has_the_captured_shape():
    body = metrics.metrics(kept(), {"CPU_LIMIT": "2"})
    meter = body.pop("meter")
    same_shape(body, CAPTURED)
    assert set(CAPTURED) - set(body) == {"disk_used", "disk_total"}
    assert (body["rss"], body["pss"]) == (CAPTURED["rss"], CAPTURED["pss"])
    assert body["limits"]["memory"] == CAPTURED["limits"]["memory"]
    assert meter["state"] == "live" and meter["memory_used_bytes"] == body["pss"]


def test_no_limit_is_shown_where_none_is_known():
    body = metrics.metrics(kept(memory_limit_bytes=None), {})
    assert body["limits"] == {"memory": {"rss": 0, "pss": 0}}


@pytest.mark.parametrize(("used", "warn"), [(89, False), (90, False), (91, True), (120, True)])
def test_memory_warns_by_the_figure_that_is_shown(used, warn):
    body = metrics.metrics(kept(memory_used_bytes=used, rss_bytes=1, memory_limit_bytes=100), {})
    assert body["limits"]["memory"]["warn"] is warn


@pytest.mark.parametrize(("cores", "warn"), [(0.5, False), (1.9, True)])
def test_cpu_is_compared_in_cores(cores, warn):
    body = metrics.metrics(kept(cpu_cores=cores), {"CPU_LIMIT": "2"})
    assert body["limits"]["cpu"] == {"cpu": 2.0, "warn": warn}
    assert body["cpu_percent"] == 100 * cores


@pytest.mark.parametrize("limit", ["", "0", "-1", "nan", "inf", "two"])
def test_no_cpu_limit_is_made_up(limit):
    assert "cpu" not in metrics.metrics(kept(), {"CPU_LIMIT": limit})["limits"]


def test_a_kernel_has_the_captured_shape():
    row = {"kind": "kernel", "id": "k", "pid": 7, "memory_used_bytes": 43226112, "cpu_cores": 0.0}
    content = metrics.kernel_usage(kept(workloads=[row]), "k")
    same_shape(content, CAPTURED_KERNEL)
    assert content["host_usage_flag"] is False and content["kernel_memory"] == 43226112


def test_a_kernel_without_a_figure_gets_a_reason():
    assert metrics.kernel_usage(None, "k")["reason"] == "timeout"
    assert metrics.kernel_usage(kept(), "k") == {"reason": "no process on this machine"}


async def test_both_addresses_answer_and_nothing_is_activity(
    meter, jp_serverapp, jp_fetch, events, monkeypatch
):
    monkeypatch.setattr(notable, "QUIET_S", 0.0)
    kernel_id = await jp_serverapp.kernel_manager.start_kernel(kernel_name="echo")
    await until(lambda: meter._feed.sample and meter._feed.sample["workloads"], "the kernel in a sample")
    kernel = jp_serverapp.kernel_manager.get_kernel(kernel_id)
    before = jp_serverapp.web_app.last_activity(), kernel.last_activity
    for _ in range(3):
        body = json.loads((await jp_fetch("api", "metrics", "v1", params={"1700000000000": ""})).body)
        assert body["limits"]["memory"]["rss"] == 4294967296
        path = ("api", "metrics", "v1", "kernel_usage", "get_usage", kernel_id)
        body = json.loads((await jp_fetch(*path)).body)
        assert body["kernel_id"] == kernel_id and body["content"]["kernel_memory"] == 43226112
    seen = len(events)
    await until(lambda: len(events) > seen + 5, "events")
    assert (jp_serverapp.web_app.last_activity(), kernel.last_activity) == before
    await jp_serverapp.kernel_manager.shutdown_kernel(kernel_id)


async def test_a_usual_address_does_count_here(meter, jp_serverapp, jp_fetch):
    """The test above can fail: this server does notice activity."""
    before = jp_serverapp.web_app.last_activity()
    await jp_fetch("api", "kernels")
    assert jp_serverapp.web_app.last_activity() > before


async def test_an_unknown_kernel_is_404(meter, jp_fetch):
    with pytest.raises(tornado.httpclient.HTTPClientError) as error:
        await jp_fetch("api", "metrics", "v1", "kernel_usage", "get_usage", "no-such")
    assert error.value.code == 404
    assert "does not exist" in json.loads(error.value.response.body)["message"]


@pytest.mark.parametrize("tail", ["", "/kernel_usage/get_usage/x"])
async def test_nothing_without_a_login(meter, jp_fetch, tail):
    with pytest.raises(tornado.httpclient.HTTPClientError) as error:
        await jp_fetch("api/metrics/v1" + tail, headers={"Authorization": "token wrong"})
    assert error.value.code == 403


async def test_no_number_when_the_agent_is_away(jp_serverapp, jp_fetch, agent_env):
    with pytest.raises(tornado.httpclient.HTTPClientError) as error:
        await jp_fetch("api", "metrics", "v1")
    assert error.value.code == 503
    assert "agent" in json.loads(error.value.response.body)["message"]
