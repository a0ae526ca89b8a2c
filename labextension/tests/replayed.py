#!/usr/bin/env python3
"""How often tabs would be told of real kernels: `python tests/replayed.py`, where the package is installed.

Each recording of `tests/corpus/traces` is told by the collector's `replay`, with a limit just above the most
it used, so that the limit comes near in all of them, and compared as the server's extension compares samples.
Printed is how many events a minute that makes, and at how many of the samples a tab shows another figure than
was measured.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from hubmeter import drift, notable

TRACES = Path(__file__).parents[2] / "tests/corpus/traces"
LIMIT_SHARE = 1.05  # of the most that was used
OWN_BYTES = 60 * 1024 * 1024  # what Jupyter itself has; the kernel has the rest


@dataclass
class Told:
    """What came of one recording."""

    events_a_minute: float
    off_by_jump: float
    off_by_leap: float


def samples(path: Path, collector: str) -> Iterator[tuple[float, dict]]:
    """When each was taken, and what the agent would say then."""
    with path.open() as file:
        rows = list(csv.DictReader(file))
    limit = int(LIMIT_SHARE * max(int(row["rss"]) for row in rows))
    command = [collector, "replay", str(path), "--limit-bytes", str(limit), "--format", "json"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    begun = datetime.fromisoformat(rows[0]["timestamp"])
    for row, line in zip(rows, told, strict=True):
        at_s = (datetime.fromisoformat(row["timestamp"]) - begun).total_seconds()
        used, outlook = int(row["rss"]), json.loads(line)
        kernel = {"kind": "kernel", "id": "k", "memory_used_bytes": max(0, used - OWN_BYTES), "state": "busy"}
        names = ("trend_bytes_per_second", "seconds_to_limit")
        figures = {"memory_used_bytes": used, "memory_limit_bytes": limit, "workloads": [kernel]}
        yield at_s, {**figures, **{name: outlook[name] for name in names}}


def tell(path: Path, collector: str) -> Told:
    """A tab that somebody looks at, for as long as the recording is."""
    now_s, events, off = 0.0, 0, {notable.JUMP: 0, notable.LEAP: 0}
    one = notable.Notable(lambda: now_s)
    shown_from, every = (0.0, 0, 0.0), list(samples(path, collector))
    for now_s, sample in every:
        used, limit = sample["memory_used_bytes"], sample["memory_limit_bytes"]
        if one.take(sample):
            events += 1
            shown_from = now_s, used, one.drifts.get(None, 0.0)
        at_s, bytes_then, rate = shown_from
        grown = bytes_then + rate * min(now_s - at_s, drift.COUNTED_S_MAX)
        shown = min(grown, max(bytes_then, drift.COUNTED_SHARE_MAX * limit))
        for share, most in off:
            off[share, most] += abs(shown - used) >= max(notable.BYTES_MIN, min(share * limit, most))
    minutes = now_s / 60
    return Told(events / minutes, off[notable.JUMP] / len(every), off[notable.LEAP] / len(every))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--collector", default="hubmeter-collector", help="the program that replays")
    args = parser.parse_args()
    head = f"{'':22}{'recordings':>12}{'events/min':>12}{'p90':>8}{'most':>8}"
    print(f"{head}{'off by a jump':>16}{'a leap':>8}")
    for interval in ("5s", "1s"):
        every = [tell(path, args.collector) for path in sorted(TRACES.glob(f"*-{interval}.csv"))]
        rates = sorted(one.events_a_minute for one in every)
        middle, p90 = statistics.mean(rates), rates[int(0.9 * len(rates))]
        jump = statistics.mean(one.off_by_jump for one in every)
        leap = statistics.mean(one.off_by_leap for one in every)
        figures = f"{middle:12.1f}{p90:8.1f}{rates[-1]:8.1f}{100 * jump:14.1f} %{100 * leap:6.1f} %"
        print(f"a sample every {interval[0]} s    {len(every):12}{figures}", flush=True)


if __name__ == "__main__":
    main()
