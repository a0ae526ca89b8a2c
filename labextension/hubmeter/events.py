"""What goes onto the server's event bus: trimmed, checked, bounded.

A sample comes from a process, names in it from users. Only what is listed here goes on, in the type
it should have; anything else becomes null or is left out.
"""

from __future__ import annotations

import math
import time
from collections.abc import Hashable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from jsonschema import validators
from jupyter_events import EventLogger
from jupyter_events.schema import EventSchema

SAMPLE_SCHEMA = "https://hubmeter.dev/events/sample/v1"
NOTICE_SCHEMA = "https://hubmeter.dev/events/notice/v1"

TEXT_CHARS_MAX = 255  # a file name's length; longer names are cut
NOTICE_CHARS_MAX = 1000  # a few sentences
ROWS_MAX = 5000  # workloads kept per sample: no server has so many kernels
ROWS_SENT_MAX = 100  # workloads per event: more than anybody scrolls through; every open tab gets each event

INTEGER_MAX = 2**63 - 1  # what the agent can say; a longer one is garbage

SEVERITIES = ("info", "warning", "critical")

_INTEGERS = (
    "interval_ms",
    "memory_used_bytes",
    "memory_working_set_bytes",
    "memory_age_ms",
    "memory_limit_bytes",
    "rss_bytes",
    "swap_bytes",
    "momentum_bytes",
    "cpu_millis",
    "processes",
)
_NUMBERS = (
    "trend_bytes_per_second",
    "seconds_to_limit",
    "seconds_to_limit_low",
    "seconds_to_limit_high",
    "cpu_cores",
)
_TEXTS = ("time", "memory_source", "memory_limit_source")
_FLAGS = ("memory_limit_enforced", "memory_limit_shared")
_ROW_INTEGERS = ("pid", "memory_used_bytes", "rss_bytes", "pss_bytes")
_ROW_NUMBERS = ("cpu_cores", "idle_seconds", "trend_bytes_per_second")
_ROW_TEXTS = ("kind", "id", "name", "notebook", "state")
#: What lies deeper in the agent's sample, and of what it is a part.
_DEEPER = {
    "shm_bytes": ("vitals", "shm_bytes"),
    "agent_cpu_millis": ("agent", "cpu_millis"),
    "agent_rss_bytes": ("agent", "rss_bytes"),
}
#: What only events have.
DRIFT = "drift_bytes_per_second"
_EXTRA = ("link_state", "job_ends_in_seconds", "agent_up_seconds", *_DEEPER)


def _checked(*_: Any) -> None:
    """Nothing left to check: `sample` has put each field into its type."""


#: The bus checks each event against its schema, which costs more than all the rest of a tick. Our fields
#: are checked where they are made; the tests hold them to the whole schema.
TRUSTING = validators.extend(
    validators.Draft7Validator, {"properties": _checked, "additionalProperties": _checked}
)


class Event(dict[str, Any]):
    """Made for the bus and for nobody else: it need not be copied value by value."""

    def __deepcopy__(self, _memo: dict[int, Any]) -> Event:
        return Event(self)


def register(bus: EventLogger) -> None:
    """Makes the schemas known; must come before the first `emit`."""
    folder = Path(__file__).parent / "schemas"
    for name in ("sample.v1.yaml", "notice.v1.yaml"):
        bus.register_event_schema(EventSchema(folder / name, validator_class=TRUSTING))


def is_sample(raw: Any) -> bool:
    """Whether this can be a sample of the agent's."""
    return isinstance(raw, Mapping) and _integer(raw.get("memory_used_bytes")) is not None


def sample(raw: Any) -> dict[str, Any] | None:
    """The agent's sample as we keep it, or None when it is none."""
    if not is_sample(raw):
        return None
    kept: dict[str, Any] = {"state": "live"}
    kept.update({name: _integer(raw.get(name)) for name in _INTEGERS})
    kept.update({name: _number(raw.get(name)) for name in _NUMBERS})
    kept.update({name: _text(raw.get(name)) for name in _TEXTS})
    kept.update({name: raw[name] if isinstance(raw.get(name), bool) else None for name in _FLAGS})
    kept.update({name: _integer(_part(raw, part).get(key)) for name, (part, key) in _DEEPER.items()})
    kept["link_state"] = _text(_part(raw, "link").get("state"))
    kept["job_ends_in_seconds"] = _job_ends(_part(raw, "vitals"))
    kept["agent_up_seconds"] = None
    rows = raw.get("workloads")
    rows = [_row(row) for row in rows if isinstance(row, Mapping)] if isinstance(rows, list) else []
    rows.sort(key=lambda row: -(row["memory_used_bytes"] or row["rss_bytes"] or 0))
    kept["workloads"] = rows[:ROWS_MAX]
    return kept


def sample_event(
    kept: Mapping[str, Any] | None, drifts: Mapping[Hashable, float] = MappingProxyType({})
) -> Event:
    """The event for a kept sample; None is the event that says that there is no data.

    `drifts` are bytes a second of what grows evenly, by `row_key`, and by None for the server.
    """
    if kept is None:
        empty = dict.fromkeys((*_INTEGERS, *_NUMBERS, *_TEXTS, *_FLAGS, *_EXTRA, DRIFT))
        return Event(empty, state="no_data", workloads=[], workloads_left_out=0)
    rows = kept["workloads"]
    left_out = max(0, len(rows) - ROWS_SENT_MAX)
    sent = [{**row, DRIFT: _drift(drifts, row_key(row))} for row in rows[:ROWS_SENT_MAX]]
    event = Event(kept, workloads=sent, workloads_left_out=left_out)
    event[DRIFT] = _drift(drifts, None)
    return event


def row_key(row: Mapping[str, Any]) -> str:
    """A workload has the same in every sample."""
    return f"{row.get('kind')} {row.get('id')}"


def notice(raw: Any) -> dict[str, Any] | None:
    """The event for an agent's notice, or None when it is none."""
    if not isinstance(raw, Mapping):
        return None
    episode, rule = _text(raw.get("episode")), _text(raw.get("rule"))
    if not episode or not rule or raw.get("severity") not in SEVERITIES:
        return None
    return {
        "episode": episode,
        "rule": rule,
        "severity": raw["severity"],
        "text": _text(raw.get("text"), NOTICE_CHARS_MAX) or rule,
        "workload_id": _text(raw.get("workload_id")),
        "workload_name": _text(raw.get("workload_name")),
        "seconds_to_limit": _number(raw.get("seconds_to_limit")),
        "trend_bytes_per_second": _number(raw.get("trend_bytes_per_second")),
        "stops_at": _text(raw.get("stops_at")),
        "cleared": raw.get("cleared") is True,
    }


def _drift(drifts: Mapping[Hashable, float], key: Hashable) -> int | None:
    rate = drifts.get(key)
    return None if rate is None else round(rate)


def _row(raw: Mapping[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = {name: _text(raw.get(name)) for name in _ROW_TEXTS}
    row.update({name: _integer(raw.get(name)) for name in _ROW_INTEGERS})
    row.update({name: _number(raw.get(name)) for name in _ROW_NUMBERS})
    return row


def _part(raw: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = raw.get(name)
    return part if isinstance(part, Mapping) else {}


def _job_ends(vitals: Mapping[str, Any]) -> float | None:
    """The agent says when, by the clock of this very machine; a browser's may be another."""
    ends_ms = _integer(vitals.get("job_ends_ms"))
    return None if ends_ms is None else max(0.0, round(ends_ms / 1000 - time.time(), 1))


def _integer(value: Any) -> int | None:
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) > INTEGER_MAX:
        return None
    return value


def _number(value: Any) -> float | None:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return _integer(value)


def _text(value: Any, chars_max: int = TEXT_CHARS_MAX) -> str | None:
    return value[:chars_max] if isinstance(value, str) else None
