"""Starts that fail, as the hub's counters and as the hook in the hub tell them."""

from __future__ import annotations

import time

from bed import Bed, until

# Of somebody who is active anyway: who else is, is counted meanwhile.
USER, SERVER = "ann", "broken"
PATH = f"/users/{USER}/servers/{SERVER}"

# Some for each of two looks at the counters, should one come in between.
FAILURES = 4

# The counters are asked once a minute.
COUNTED_SECONDS = 90


def fail_uncounted(bed: Bed) -> None:
    """Right behind a start of the collector, which has a minute then until it looks again."""
    until("the collector is ready", lambda: bed.get("/readyz", None).status_code == 200)
    time.sleep(1)  # for its first look, with which it begins to count
    fail(bed, FAILURES)


def fail(bed: Bed, times: int) -> None:
    """The hub tries, and there is no program to start."""
    bed.broken.touch()
    try:
        for _ in range(times):
            # Whatever it answers: some versions say at once that it failed, some only to who asks.
            bed.hub("POST", PATH, ok=range(200, 600))
            servers = lambda: bed.hub("GET", f"/users/{USER}")["servers"]  # noqa: E731
            until("the hub is through with it", lambda: SERVER not in servers())
    finally:
        bed.broken.unlink()


def failing_starts(bed: Bed) -> list[str]:
    """What is not as it must be; the starts before this failed without the hook."""
    wrong = []
    counted = until("the hub's counters tell of it", lambda: _found(bed, True), COUNTED_SECONDS)
    if (counted["user"], counted["server"], counted["severity"]) != ("", "", "warning"):
        wrong.append(f"counters name somebody, or are sure: {counted}")
    if counted["evidence"]["failures"] < 2:
        wrong.append(f"counters: {counted['evidence']}")
    # From here on the hook is heard, and it alone counts.
    bed.hook_way.mode = "pass"
    fail(bed, 2)
    told = until("the hook tells of it", lambda: _found(bed, False))
    if (told["user"], told["server"], told["severity"]) != (USER, SERVER, "critical"):
        wrong.append(f"by the hook: {told}")
    if (told["evidence"]["failures"], told["evidence"]["servers"]) != (2, 1):
        wrong.append(f"by the hook: {told['evidence']}")
    bed.start_server(USER, SERVER)
    until("a server that starts ends it", lambda: _found(bed, False)["state"] == "cleared")
    bed.stop_server(USER, SERVER)
    if (status := bed.get("/api/v1/verdicts?rule=start_failures", bed.mint(USER)).json())["items"]:
        wrong.append(f"open still, for {USER}: {status}")
    print(
        f"starts that failed: {counted['evidence']['failures']} by the hub's counters (approximate), "
        f"{told['evidence']['failures']} of {USER}/{SERVER} by the hook; a start that worked ended it"
    )
    return wrong


def _found(bed: Bed, approximate: bool) -> dict | None:
    """The newest verdict of its kind, open or over."""
    rows = bed.get("/api/v1/verdicts?rule=start_failures&state=all", bed.reader).json()["items"]
    of = [row for row in rows if row["evidence"]["approximate"] is approximate]
    return max(of, key=lambda row: row["since"], default=None)
