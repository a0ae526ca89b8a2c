"""An event goes out when somebody who looks would see a difference."""

from __future__ import annotations

import pytest
from agent_sample import SAMPLE

from hubmeter import notable, watch

LIMIT = SAMPLE["memory_limit_bytes"]
ROW = {"kind": "kernel", "id": "k", "memory_used_bytes": 10**8, "cpu_cores": 0.0, "state": "idle"}
BEFORE = {**SAMPLE, "workloads": [ROW]}


def takes(sample, after_s=1.0, watched=True):
    now = [0.0]
    one = notable.Notable(lambda: now[0])
    assert one.take(BEFORE), "the first always goes out"
    now[0] += after_s
    return one.take(sample, watched)


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
        {"memory_used_bytes": SAMPLE["memory_used_bytes"] + LIMIT // 90},
        {"memory_used_bytes": SAMPLE["memory_used_bytes"] - LIMIT // 90},
        {"memory_limit_bytes": LIMIT * 2},
        {"memory_limit_enforced": True},
        {"seconds_to_limit": 90.0},
        {"link": {"state": "streaming"}},
        {"workloads": []},
        {"workloads": [{**ROW, "state": "busy"}]},
        {"workloads": [{**ROW, "notebook": "new.ipynb"}]},
        {"workloads": [{**ROW, "memory_used_bytes": 10**8 + LIMIT // 90}]},
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


@pytest.mark.parametrize(
    "over",
    [
        {"memory_used_bytes": SAMPLE["memory_used_bytes"] + LIMIT // 300},
        {"workloads": [{**ROW, "memory_used_bytes": 10**8 - LIMIT // 300}]},
        {"cpu_cores": 0.6},
        {"workloads": [{**ROW, "cpu_cores": 0.1}]},
    ],
)
def test_what_creeps_goes_out_within_a_quarter_of_a_minute(over):
    assert not takes({**BEFORE, **over}, notable.LIVELY_S - 1)
    assert takes({**BEFORE, **over}, notable.LIVELY_S)


def test_on_a_machine_with_much_memory_what_the_line_can_show_goes_out_all_the_same():
    now = [0.0]
    one = notable.Notable(lambda: now[0])
    large = {**BEFORE, "memory_limit_bytes": 2**41}
    assert one.take(large)
    assert one.take({**large, "memory_used_bytes": SAMPLE["memory_used_bytes"] + 101 * 2**20})


def test_processors_that_jitter_go_out_four_times_a_minute():
    now = [0.0]
    one = notable.Notable(lambda: now[0])
    sent = []
    for index in range(61):
        now[0] = 5.0 * index + (-0.01, 0.01)[index % 2]
        if one.take({**BEFORE, "cpu_cores": 0.2 + (0.0, 0.3, 0.9)[index % 3]}):
            sent.append(index)
    # Five minutes; the one that is due may by chance be what was shown already.
    assert 10 <= len(sent) <= 21


@pytest.mark.parametrize(
    ("over", "goes"),
    [
        ({"memory_used_bytes": SAMPLE["memory_used_bytes"] + LIMIT // 300}, False),
        ({"workloads": [{**ROW, "state": "busy"}]}, False),
        ({"workloads": []}, False),
        ({"memory_used_bytes": SAMPLE["memory_used_bytes"] + LIMIT // 90}, True),
        ({"memory_limit_bytes": LIMIT * 2}, True),
        ({"link": {"state": "streaming"}}, True),
        ({"seconds_to_limit": 90.0}, True),
    ],
)
def test_where_nobody_looks_only_what_is_grave_goes_out_and_once_a_minute_the_rest(over, goes):
    assert takes({**BEFORE, **over}, watched=False) == goes
    assert takes({**BEFORE, **over}, notable.QUIET_S, watched=False)


@pytest.mark.parametrize("interval_s", [1, 5, 20, 60])
def test_a_tab_is_watched_while_its_server_is_asked_often_and_not_by_what_a_hidden_one_asks(interval_s):
    now, settings = [0.0], {}
    watched = watch.Watch(settings, lambda: now[0])
    assert watched(), "a server that has just started"

    def looks(asks_s, minutes=5):
        """What is thought, at each sample, of a tab that has asked so often for some minutes."""
        end_s, asked_s, thought = now[0] + 60 * minutes, now[0], []
        while now[0] < end_s:
            now[0] += interval_s
            while asked_s + asks_s <= now[0]:
                asked_s += asks_s
                settings["api_last_activity"] = -asked_s  # a clock that is set back is no matter
            thought.append(watched())
        return thought[len(thought) // 2 :]

    assert all(looks(10))
    assert not any(looks(10**9, minutes=15))
    if interval_s <= 5:
        assert not any(looks(60))
    assert all(looks(10))
