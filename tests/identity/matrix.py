"""Who may report and who may read, by every kind of token, against a real hub and its real proxy.

    python matrix.py DIR VENV PROXY AGENT COLLECTOR [faults]

Prints the table, then that a stream through the proxy is nobody's activity, that reports say what the
hub says, that starts which fail are told and, with `faults`, what holds when the hub is away, slow,
lying or restarting. Fails if a cell is not what it must be.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from activity import no_activity
from bed import Agent, Bed, Failed
from faults import hub_faults
from reports import hub_reports
from starts import failing_starts
from tokens import Kind, all_kinds

ROUTES = [
    "/api/v1/servers",
    "/api/v1/users/ann/server",
    "/api/v1/users/bob/server",
    "/api/v1/cull",
    "/metrics",
]

# What an agent's log says when it is let in, or is not.
STREAMS, REFUSED, NO_STREAM = "streaming", "refused this server's token", "reports are kept"


def reported(bed: Bed, kind: Kind, collector: str) -> str:
    """Whose rows an agent with this token writes by this way, or why none."""
    before = {key: row["last_seen"] for key, row in bed.rows().items()}
    with Agent(bed, collector, kind.token) as agent:
        said = agent.hears(STREAMS, NO_STREAM)
        if STREAMS not in said:
            if REFUSED not in said or kind.why not in said:
                raise Failed(f"{kind.name} by {collector}: {said}")
            time.sleep(0.1)
            written = _written(bed, before)
            return "refused" if not written else f"refused, yet {written}"
        deadline = time.monotonic() + 20
        while not (written := _written(bed, before)) and time.monotonic() < deadline:
            time.sleep(0.1)
    return " ".join(f"{user}/{server}" for user, server in sorted(written))


def _written(bed: Bed, before: dict) -> list[tuple[str, str]]:
    return [key for key, row in bed.rows().items() if before.get(key) != row["last_seen"]]


def matrix(bed: Bed) -> list[str]:
    """Prints the table; what is not as it must be."""
    kinds = all_kinds(bed)
    wrong = []
    short = ["servers", "ann's", "bob's", "cull", "metrics"]
    print(f"{'token':<34} {'by gRPC':<12} {'by proxy':<12} " + " ".join(f"{name:>7}" for name in short))
    # Rows to read: what may be seen is told by status only where there is something to see.
    for kind in [each for each in kinds if each.writes]:
        reported(bed, kind, bed.by_grpc)
    for kind in kinds:
        wanted = "/".join(kind.writes) if kind.writes else "refused"
        cells = [reported(bed, kind, way) for way in (bed.by_grpc, bed.by_proxy)]
        reads = tuple(bed.get(route, kind.token).status_code for route in ROUTES)
        print(f"{kind.name:<34} {cells[0]:<12} {cells[1]:<12} " + " ".join(f"{status:>7}" for status in reads))
        wrong += [f"{kind.name}: writes {cell}, not {wanted}" for cell in cells if cell != wanted]
        if reads != kind.reads:
            wrong.append(f"{kind.name}: reads {reads}, not {kind.reads}")
    print(f"{len(kinds)} kinds of token x {2 + len(ROUTES)} ways in: {len(wrong)} surprises")
    log = (bed.dir / "collector.log").read_text()
    leaked = [kind.name for kind in kinds if kind.token and kind.token in log]
    return wrong + [f"{name}: the token is in the collector's log" for name in leaked]


def main(arguments: list[str]) -> int:
    work, venv, proxy, agent, collector, *more = arguments
    bed = Bed(Path(work), Path(venv), Path(proxy), {"agent": agent, "collector": collector})
    wrong = []
    try:
        bed.start()
        parts = [matrix, no_activity, hub_reports, failing_starts]
        for part in parts + ([hub_faults] if more == ["faults"] else []):
            begun = time.monotonic()
            wrong += part(bed)
            print(f"({part.__name__}: {time.monotonic() - begun:.0f} s)", flush=True)
    except Failed as failed:
        wrong.append(str(failed))
    finally:
        bed.close()
    for each in wrong:
        print(f"WRONG: {each}")
    return 1 if wrong else 0


if __name__ == "__main__":
    if len(sys.argv) not in (6, 7):
        print(__doc__, file=sys.stderr)
        sys.exit(64)
    sys.exit(main(sys.argv[1:]))
