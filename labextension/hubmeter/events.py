"""What goes onto the server's event bus: trimmed, checked, bounded.

A sample comes from a process, names in it from users. Only what is listed here goes on, in the type
it should have; anything else becomes null or is left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jupyter_events import EventLogger

SAMPLE_SCHEMA = "https://hubmeter.dev/events/sample/v1"
NOTICE_SCHEMA = "https://hubmeter.dev/events/notice/v1"

TEXT_CHARS_MAX = 255  # a file name's length; longer names are cut
NOTICE_CHARS_MAX = 1000  # a few sentences
ROWS_MAX = 5000  # workloads kept per sample: no server has so many kernels
ROWS_SENT_MAX = 20  # workloads per event: what a tooltip can use; every open tab gets each event

SEVERITIES = ("info", "warning", "critical")

_INTEGERS = (
    "interval_ms",
    "memory_used_bytes",
    "memory_working_set_bytes",
    "memory_age_ms",
    "memory_limit_bytes",
    "rss_bytes",
    "momentum_bytes",
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
_ROW_NUMBERS = ("cpu_cores", "idle_seconds")
_ROW_TEXTS = ("kind", "id", "name", "notebook", "state")


def register(bus: EventLogger) -> None:
    """Makes the schemas known; must come before the first `emit`."""
    folder = Path(__file__).parent / "schemas"
    for name in ("sample.v1.yaml", "notice.v1.yaml"):
        bus.register_event_schema(folder / name)


def sample(raw: Any) -> dict[str, Any] | None:
    """The agent's sample as we keep it, or None when it is none."""
    if not isinstance(raw, Mapping) or _integer(raw.get("memory_used_bytes")) is None:
        return None
    kept: dict[str, Any] = {"state": "live"}
    kept.update({name: _integer(raw.get(name)) for name in _INTEGERS})
    kept.update({name: _number(raw.get(name)) for name in _NUMBERS})
    kept.update({name: _text(raw.get(name)) for name in _TEXTS})
    kept.update({name: raw[name] if isinstance(raw.get(name), bool) else None for name in _FLAGS})
    link = raw.get("link")
    kept["link_state"] = _text(link.get("state")) if isinstance(link, Mapping) else None
    rows = raw.get("workloads")
    rows = [_row(row) for row in rows if isinstance(row, Mapping)] if isinstance(rows, list) else []
    rows.sort(key=lambda row: -(row["memory_used_bytes"] or row["rss_bytes"] or 0))
    kept["workloads"] = rows[:ROWS_MAX]
    return kept


def sample_event(kept: Mapping[str, Any] | None) -> dict[str, Any]:
    """The event for a kept sample; None is the event that says that there is no data."""
    if kept is None:
        empty = dict.fromkeys((*_INTEGERS, *_NUMBERS, *_TEXTS, *_FLAGS, "link_state"))
        return {**empty, "state": "no_data", "workloads": [], "workloads_left_out": 0}
    rows = kept["workloads"]
    return {
        **kept,
        "workloads": rows[:ROWS_SENT_MAX],
        "workloads_left_out": max(0, len(rows) - ROWS_SENT_MAX),
    }


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
        "cleared": raw.get("cleared") is True,
    }


def _row(raw: Mapping[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = {name: _text(raw.get(name)) for name in _ROW_TEXTS}
    row.update({name: _integer(raw.get(name)) for name in _ROW_INTEGERS})
    row.update({name: _number(raw.get(name)) for name in _ROW_NUMBERS})
    return row


def _integer(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return value


def _text(value: Any, chars_max: int = TEXT_CHARS_MAX) -> str | None:
    return value[:chars_max] if isinstance(value, str) else None
