"""An event goes out when somebody who looks would see a difference."""

from __future__ import annotations

import pytest
from agent_sample import SAMPLE

from hubmeter import notable

LIMIT = SAMPLE["memory_limit_bytes"]
ROW = {"kind": "kernel", "id": "k", "memory_used_bytes": 10**8, "cpu_cores": 0.0, "state": "idle"}
BEFORE = {**SAMPLE, "workloads": [ROW]}


def takes(sample, after_s=1.0):
    now = [0.0]
    one = notable.Notable(lambda: now[0])
    assert one.take(BEFORE), "the first always goes out"
    now[0] += after_s
    return one.take(sample)


@pytest.mark.parametrize(
    "over",
    [
        {},
        {"time": "2026-11-21T10:00:05.000Z", "cpu_millis": 7, "rss_bytes": 1},
        {"memory_used_bytes": SAMPLE["memory_used_bytes"] + LIMIT // 500},
        {"cpu_cores": 0.53},
        {"workloads": [{**ROW, "idle_seconds": 9.0}]},
    ],
)
def test_what_nobody_would_see_waits_for_a_minute(over):
    assert not takes({**BEFORE, **over})
    assert takes({**BEFORE, **over}, notable.QUIET_S)


@pytest.mark.parametrize(
    "over",
    [
        {"memory_used_bytes": SAMPLE["memory_used_bytes"] + LIMIT // 300},
        {"memory_used_bytes": SAMPLE["memory_used_bytes"] - LIMIT // 300},
        {"cpu_cores": 0.6},
        {"memory_limit_bytes": LIMIT * 2},
        {"memory_limit_enforced": True},
        {"seconds_to_limit": 90.0},
        {"link": {"state": "streaming"}},
        {"workloads": []},
        {"workloads": [{**ROW, "state": "busy"}]},
        {"workloads": [{**ROW, "notebook": "new.ipynb"}]},
        {"workloads": [{**ROW, "memory_used_bytes": 10**8 + LIMIT // 300}]},
        {"workloads": [ROW, {**ROW, "id": "l"}]},
    ],
)
def test_what_somebody_would_see_goes_out_at_once(over):
    assert takes({**BEFORE, **over})


def test_garbage_in_a_sample_ends_nothing():
    for odd in (None, "x", [1], {"a": 1}, 10**400, float("nan"), True):
        takes(
            {
                **BEFORE,
                "memory_limit_bytes": odd,
                "cpu_cores": odd,
                "workloads": [odd, {"id": odd, "kind": odd}],
            }
        )
        takes(
            {**BEFORE, "workloads": odd, "link": odd, "seconds_to_limit": odd, "memory_used_bytes": 10**400}
        )


def test_the_end_of_a_danger_goes_out_at_once():
    one = notable.Notable(lambda: 0.0)
    assert one.take({**BEFORE, "seconds_to_limit": 9.0}) and one.take(BEFORE) and not one.take(BEFORE)
