"""An event goes out when somebody who looks would see a difference."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
from agent_sample import SAMPLE

from hubmeter import drift, notable, watch

LIMIT = SAMPLE["memory_limit_bytes"]
ROW = {"kind": "kernel", "id": "k", "memory_used_bytes": 10**8, "cpu_cores": 0.0, "state": "idle"}
BEFORE = {**SAMPLE, "workloads": [ROW]}
HALF = {**BEFORE, "memory_used_bytes": LIMIT // 2}
DANGER = {"seconds_to_limit": 9.0, "trend_bytes_per_second": 2.0 * 1024**2}
MIB = 1024**2


def takes_from(before, sample, after_s, watched=True):
    now = [0.0]
    one = notable.Notable(lambda: now[0])
    assert one.take(before), "the first always goes out"
    now[0] += after_s
    return one.take(sample, watched)


def takes(sample, after_s=notable.APART_S, watched=True):
    return takes_from(BEFORE, sample, after_s, watched)


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
        {"memory_used_bytes": SAMPLE["memory_used_bytes"] + LIMIT // 20},
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


def test_a_danger_goes_out_at_once_and_its_end_within_two_seconds():
    now = [0.0]
    one = notable.Notable(lambda: now[0])
    assert one.take(HALF) and one.take({**HALF, **DANGER})
    assert not one.take(HALF) and not one.take({**HALF, **DANGER})
    now[0] = notable.APART_S
    assert one.take(HALF) and not one.take(HALF)


@pytest.mark.parametrize(
    ("over", "level"),
    [
        ({}, notable.CALM),
        ({"memory_used_bytes": 0.81 * LIMIT}, notable.RISING),
        ({"memory_used_bytes": 0.96 * LIMIT}, notable.CRITICAL),
        ({"memory_used_bytes": 9 * LIMIT, "memory_limit_bytes": None}, notable.CALM),
        ({"seconds_to_limit": 800.0, "trend_bytes_per_second": 1.0}, notable.RISING),
        ({"seconds_to_limit": 50.0, "trend_bytes_per_second": 1.0}, notable.CRITICAL),
        ({"seconds_to_limit": 50.0, "trend_bytes_per_second": -1.0}, notable.CALM),
        ({"seconds_to_limit": 50.0, "trend_bytes_per_second": 1.0, "memory_used_bytes": LIMIT // 5}, 0),
    ],
)
def test_it_is_as_grave_as_the_tab_shows(over, level):
    assert notable._seen({**HALF, **over}).level == level


def events_of(samples, interval_s=1.0, watched=True):
    """When an event goes out, and by what tabs then count on."""
    now = [0.0]
    one, sent = notable.Notable(lambda: now[0]), []
    for index, sample in enumerate(samples):
        now[0] = interval_s * index
        if one.take(sample, watched):
            sent.append((now[0], one.drifts))
    return sent


def growing(index, step=20 * MIB, start=LIMIT // 2, noise=0):
    """One more second of even growth towards the limit."""
    grown = index * step + (-noise, 0, noise, 0)[index % 4]
    used = start + grown
    row = {**ROW, "memory_used_bytes": 10**8 + grown, "state": "busy"}
    ends = {"seconds_to_limit": max(0.0, (LIMIT - used) / step), "trend_bytes_per_second": float(step)}
    return {**BEFORE, "memory_used_bytes": used, "workloads": [row], **ends}


@pytest.mark.parametrize("noise", [0, MIB])
def test_what_grows_evenly_is_told_a_few_times_a_minute_though_the_limit_comes_near(noise):
    sent = events_of(growing(index, 10 * MIB, noise=noise) for index in range(180))
    # Three to a minute, the first ones until the pace is known, and one as it becomes grave.
    assert len(sent) <= 9 + 4, [at for at, _ in sent]
    at_s, drifts = sent[-2]
    assert abs(drifts[None] - 10 * MIB) <= 1.1 * MIB and drifts.keys() == {None, "kernel k"}, at_s


def test_what_a_tab_shows_is_never_off_by_more_than_a_jump_where_memory_grows_evenly():
    now = [0.0]
    one, sent = notable.Notable(lambda: now[0]), None
    for index in range(100):
        now[0] = float(index)
        sample = growing(index)
        if one.take(sample):
            sent = (now[0], sample["memory_used_bytes"], one.drifts.get(None, 0.0))
        shown = sent[1] + sent[2] * (now[0] - sent[0])
        assert abs(shown - sample["memory_used_bytes"]) < max(LIMIT // 100, 2 * 20 * MIB), index


def test_growth_that_stops_is_told_as_soon_as_tabs_show_a_jump_too_much():
    samples = [growing(min(index, 30)) for index in range(60)]
    after = [at for at, _ in events_of(samples) if at > 30]
    assert after and after[0] <= 30 + 3 + notable.APART_S
    # And nothing counts on from there.
    assert events_of(samples)[-1][1] == {}


@pytest.mark.parametrize("index", range(1, 20))
def test_a_single_step_is_no_line_to_count_on(index):
    step = 30 * MIB
    samples = [growing(step if at >= index else 0, 1) for at in range(40)]
    assert all(drifts == {} for _, drifts in events_of(samples))


def test_samples_that_come_all_at_once_are_no_line():
    one = drift.Drift()
    for index in range(8):
        drifts = one.take(index * 0.001, {None: index * 20.0 * MIB}, MIB, LIMIT)
    assert drifts == {}


def test_memory_that_comes_and_goes_is_told_some_times_a_minute_and_by_leaps_within_an_interval():
    def swinging(share):
        used = [LIMIT // 2, int((0.5 + share) * LIMIT)]
        return [{**BEFORE, "memory_used_bytes": used[index // 3 % 2]} for index in range(600)]

    jumps, leaps = (len(events_of(swinging(share))) for share in (0.03, 0.1))
    assert jumps <= notable.JUMPS_MAX + 600 / notable.JUMP_S + 1
    assert jumps < leaps <= notable.JUMPS_MAX + 600 / notable.LEAP_S
    seldom = [swinging(0.1)[index] for index in range(0, 600, 5)]
    turns = sum(a != b for a, b in zip(seldom, seldom[1:]))
    assert len(events_of(seldom, 5.0)) == 1 + turns, "the usual interval misses none"


def test_the_time_that_is_left_is_told_when_it_is_another_than_a_tab_counts_down_to():
    grave = {**HALF, **DANGER, "seconds_to_limit": 50.0}
    assert not takes_from(grave, {**grave, "seconds_to_limit": 42.0}, 5.0)
    assert takes_from(grave, {**grave, "seconds_to_limit": 30.0}, 5.0)
    assert takes_from(grave, {**grave, "seconds_to_limit": 70.0}, 5.0)
    calm = {**BEFORE, **DANGER}
    assert not takes_from(calm, {**calm, "seconds_to_limit": 1.0}, 5.0), "none is shown while all is calm"


def test_an_interval_that_is_a_millisecond_longer_is_nothing_to_tell():
    assert not takes({**BEFORE, "interval_ms": SAMPLE["interval_ms"] + 1}, notable.LIVELY_S)


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
    large = {**BEFORE, "memory_limit_bytes": 2**41}
    used = SAMPLE["memory_used_bytes"] + 101 * MIB
    assert takes_from(large, {**large, "memory_used_bytes": used}, notable.APART_S)


def test_a_kernel_that_comes_goes_out_at_once_even_right_after_another_event():
    assert takes({**BEFORE, "workloads": [ROW, {**ROW, "id": "l"}]}, 0.1)
    assert not takes({**BEFORE, "workloads": [{**ROW, "state": "busy"}]}, 0.1)


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


def test_a_kernel_that_computes_on_and_on_goes_out_once_a_minute():
    busy = {**BEFORE, "cpu_cores": 3.9, "workloads": [{**ROW, "cpu_cores": 3.9, "state": "busy"}]}
    less = {**busy, "cpu_cores": 3.6, "workloads": [{**busy["workloads"][0], "cpu_cores": 3.6}]}
    half = {**busy, "workloads": [{**busy["workloads"][0], "cpu_cores": 2.0}]}
    assert not takes_from(busy, less, notable.QUIET_S - 1)
    assert takes_from(busy, half, notable.LIVELY_S)


@pytest.mark.parametrize(
    ("over", "goes"),
    [
        ({"memory_used_bytes": SAMPLE["memory_used_bytes"] + LIMIT // 300}, False),
        ({"workloads": [{**ROW, "state": "busy"}]}, False),
        ({"workloads": []}, False),
        ({"memory_used_bytes": SAMPLE["memory_used_bytes"] + LIMIT // 90}, False),
        ({"memory_used_bytes": int(0.9 * LIMIT)}, True),
        ({"memory_limit_bytes": LIMIT * 2}, True),
        ({"link": {"state": "streaming"}}, True),
        ({"memory_used_bytes": LIMIT // 2, **DANGER}, True),
    ],
)
def test_where_nobody_looks_only_what_is_grave_goes_out_and_once_a_minute_the_rest(over, goes):
    assert takes({**BEFORE, **over}, watched=False) == goes
    # By a jump at most whoever comes back is shown it too low or too high.
    used = SAMPLE["memory_used_bytes"]
    jumped = over.get("memory_used_bytes", used) - used >= LIMIT // 100
    assert takes({**BEFORE, **over}, notable.LIVELY_S, watched=False) == (goes or jumped)
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


def of_the_tab(file, name):
    text = (Path(__file__).parent.parent / "src" / file).read_text()
    found = re.search(rf"^const {name} = ([0-9. *_]+);$", text, re.MULTILINE)
    assert found, f"{file} has no number {name}"
    return math.prod(float(factor) for factor in found[1].replace("_", "").split("*"))


@pytest.mark.parametrize(
    ("file", "name", "here"),
    [
        ("sample.ts", "COUNTED_SECONDS_MAX", drift.COUNTED_S_MAX),
        ("sample.ts", "COUNTED_SHARE_MAX", drift.COUNTED_SHARE_MAX),
        ("model.ts", "RISING_SHARE", notable.RISING_SHARE),
        ("model.ts", "CRITICAL_SHARE", notable.CRITICAL_SHARE),
        ("model.ts", "RISING_SECONDS", notable.RISING_S),
        ("model.ts", "CRITICAL_SECONDS", notable.CRITICAL_S),
        ("model.ts", "FORECAST_SHARE_MIN", notable.FORECAST_SHARE_MIN),
    ],
)
def test_the_tab_judges_by_the_same_figures(file, name, here):
    assert of_the_tab(file, name) == here
