"""The agent's last ten minutes, in the shape of the collector's history."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from . import events, local
from .agent import aside

KEPT_S = 600.0  # what the agent keeps
BYTES_MAX = 8 * 1024 * 1024  # a sample a second with a few dozen workloads each
ROWS_MAX = 2000
PARSE_S_MAX = 10.0

#: The columns of the collector's history that a sample of the agent's has.
COLUMNS = (
    "interval_ms",
    "memory_used_bytes",
    "memory_working_set_bytes",
    "memory_limit_bytes",
    "rss_bytes",
    "swap_bytes",
    "shm_bytes",
    "momentum_bytes",
    "cpu_millis",
    "cpu_cores",
    "processes",
)

_UNITS_S = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_BEFORE = re.compile(r"-(\d{1,9})(s|m|h|d|)")


def covers(query: Mapping[str, str]) -> bool:
    """Whether the agent knows all that is asked for: from so long ago until now."""
    found = _BEFORE.fullmatch(query.get("from", ""))
    return found is not None and "to" not in query and int(found[1]) * _UNITS_S[found[2]] <= KEPT_S


async def table(socket: str | None, fields: str | None) -> dict[str, Any]:
    """Raises one of `local.FAILURES` when the agent does not say."""
    if socket is None:
        raise local.LocalError("there is none")
    # Megabytes of JSON take longer than anybody on the loop should wait.
    work = aside(lambda: columns(local.get(socket, "/v1/recent", BYTES_MAX), fields))
    return await local.within(work, local.ANSWER_S_MAX + PARSE_S_MAX)


def columns(body: bytes, fields: str | None) -> dict[str, Any]:
    """The agent's samples, each field a column."""
    try:
        items = json.loads(body)["items"]
        rows = [kept for raw in items[-ROWS_MAX:] if (kept := events.sample(raw))]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise local.LocalError("answer holds no samples") from error
    asked = COLUMNS if fields is None else tuple(dict.fromkeys(one.strip() for one in fields.split(",")))
    return {
        "from": rows[0]["time"] if rows else None,
        "to": rows[-1]["time"] if rows else None,
        "step_ms": None,
        "source": "agent",
        "columns": {
            "time": [row["time"] for row in rows],
            **{name: [row.get(_base(name)) for row in rows] for name in asked if _base(name) in COLUMNS},
        },
    }


def _base(name: str) -> str:
    """A sample is its own least and most."""
    return name.removesuffix("_min").removesuffix("_max")
