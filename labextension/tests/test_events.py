"""Only what is listed goes onto the bus, in its type and within its bounds."""

from __future__ import annotations

from pathlib import Path

import pytest
from agent_sample import SAMPLE
from jupyter_events import EventLogger

from hubmeter import events


@pytest.fixture
def bus():
    logger = EventLogger()
    # By the whole schema: in a server the bus leaves our fields to us.
    for schema in (Path(events.__file__).parent / "schemas").iterdir():
        logger.register_event_schema(schema)
    logger.seen = []

    async def listen(logger, schema_id, data):
        logger.seen.append(data)

    for schema in (events.SAMPLE_SCHEMA, events.NOTICE_SCHEMA):
        logger.add_listener(schema_id=schema, listener=listen)
    return logger


def row(**over):
    return {"kind": "kernel", "id": "k", "name": "python3", "memory_used_bytes": 1, **over}


async def test_a_sample_and_no_sample_pass_their_schema(bus):
    for kept in (events.sample(SAMPLE), None):
        assert bus.emit(schema_id=events.SAMPLE_SCHEMA, data=events.sample_event(kept)) is not None


def test_no_data_holds_no_number():
    event = events.sample_event(None)
    assert event.pop("state") == "no_data"
    assert event.pop("workloads") == [] and event.pop("workloads_left_out") == 0
    assert set(event.values()) == {None}
    assert set(event) | {"state", "workloads", "workloads_left_out"} == set(
        events.sample_event(events.sample(SAMPLE))
    )


@pytest.mark.parametrize(
    "raw", [None, 3, [], "x", {}, {"memory_used_bytes": "1"}, {"memory_used_bytes": True}]
)
def test_what_is_no_sample_is_none(raw):
    assert events.sample(raw) is None


async def test_wrong_types_become_unknown(bus):
    kept = events.sample(
        {
            **SAMPLE,
            "rss_bytes": "many",
            "trend_bytes_per_second": float("nan"),
            "memory_limit_enforced": "yes",
            "memory_source": 7,
            "link": [],
            "workloads": [None, 4, row(name=["x"], memory_used_bytes=None, cpu_cores=float("inf"))],
            "secret": "token",
        }
    )
    assert kept["rss_bytes"] is None and kept["trend_bytes_per_second"] is None
    assert kept["memory_limit_enforced"] is None and kept["memory_source"] is None
    assert "secret" not in kept
    assert len(kept["workloads"]) == 1 and kept["workloads"][0]["name"] is None
    assert bus.emit(schema_id=events.SAMPLE_SCHEMA, data=events.sample_event(kept)) is not None


def test_many_workloads_are_bounded_and_counted():
    rows = [row(id=str(i), memory_used_bytes=i) for i in range(500)]
    event = events.sample_event(events.sample({**SAMPLE, "workloads": rows}))
    assert [r["memory_used_bytes"] for r in event["workloads"]] == list(range(499, 399, -1))
    assert event["workloads_left_out"] == 400


async def test_how_fast_it_grows_is_in_the_event_and_only_in_there(bus):
    kept = events.sample({**SAMPLE, "drift_bytes_per_second": 9, "workloads": [row(), row(id="l")]})
    event = events.sample_event(kept, {None: 2.5e6, "kernel l": 1e6, "kernel gone": 1.0})
    assert event["drift_bytes_per_second"] == 2_500_000
    assert [one["drift_bytes_per_second"] for one in event["workloads"]] == [None, 1_000_000]
    assert bus.emit(schema_id=events.SAMPLE_SCHEMA, data=event) is not None
    still = events.sample_event(kept)
    assert still["drift_bytes_per_second"] is None, "the agent's own word is not asked for"
    assert all(one["drift_bytes_per_second"] is None for one in still["workloads"])


def test_a_long_name_is_cut():
    kept = events.sample({**SAMPLE, "workloads": [row(notebook="n" * 4000)]})
    assert kept["workloads"][0]["notebook"] == "n" * 255


async def test_a_notice_passes_its_schema(bus):
    event = events.notice(
        {"episode": "e", "rule": "near_limit", "severity": "warning", "text": "<b>x</b>", "workload_id": None}
    )
    assert event["cleared"] is False and event["text"] == "<b>x</b>"
    assert bus.emit(schema_id=events.NOTICE_SCHEMA, data=event) is not None


@pytest.mark.parametrize("over", [{"episode": ""}, {"severity": "loud"}, {"rule": None}])
def test_half_a_notice_is_none(over):
    whole = {"episode": "e", "rule": "near_limit", "severity": "warning", "text": "x"}
    assert events.notice(whole) is not None
    assert events.notice({**whole, **over}) is None
