"""What the reports say of a hub, against the hub's own word."""

from __future__ import annotations

import csv
import re
import sqlite3
import subprocess
from datetime import datetime, timedelta, timezone

import requests
from bed import PATIENCE_SECONDS, Bed, Failed, until
from starts import fail_uncounted

SCALES = {"24h": "Daily", "7d": "Weekly", "30d": "Monthly"}

# Users without a server, by the days since they were last active; None for never.
AWAY = {"yan": 3, "=yin": 20, "zoe": 90, "zed": None}


def hub_reports(bed: Bed) -> list[str]:
    """What is not as the hub says."""
    for user, days in AWAY.items():
        path = f"/users/{requests.utils.quote(user)}"
        bed.hub("POST", path, ok=(201, 409))
        if days is not None:
            last = datetime.now(timezone.utc) - timedelta(days=days)
            bed.hub("POST", f"{path}/activity", {"last_activity": last.isoformat()})
    bed.hub("POST", "/groups/class-a", ok=(201, 409))
    bed.hub("POST", "/groups/class-a/users", {"users": ["ann", "bob"]})
    _ask_anew(bed)
    # What the hub's counters say of it is seen while the reports are waited for.
    fail_uncounted(bed)
    return _activity(bed) + _usage(bed)


def _ask_anew(bed: Bed) -> None:
    """The hub counts at its start; the collector asks when it knows nothing."""
    bed.stop("collector")
    bed.stop("hub")
    bed.start_hub()
    with sqlite3.connect(bed.dir / "collector" / "state.db") as state:
        state.execute("DELETE FROM hub_activity")
    bed.start_collector()


def _activity(bed: Bed) -> list[str]:
    path = "/api/v1/reports/hub-activity.csv"
    until("the collector has asked who was active", lambda: bed.get(path, bed.reader).status_code == 200)
    served = bed.get(path, bed.reader).text
    ours = {row["scale"]: int(row["users"]) for row in csv.DictReader(served.splitlines())}
    headers = {"Authorization": f"token {bed.secrets['prometheus']}"}
    metrics = requests.get(f"{bed.url}/hub/metrics", headers=headers, timeout=PATIENCE_SECONDS).text
    found = re.findall(r'jupyterhub_active_users\{period="(\w+)"\} ([\d.]+)', metrics)
    theirs = {SCALES[period]: int(float(users)) for period, users in found}
    print(f"active users by the hub's own metric {theirs}, by hub-activity.csv {ours}")
    wrong = [] if ours == theirs and len(set(ours.values())) == 3 else [f"{ours} is not the hub's {theirs}"]
    exported = _export(bed, "hub-activity")
    if exported != served:
        wrong.append(f"exported {exported!r}, served {served!r}")
    if (status := bed.get(path, bed.mint("bob")).status_code) != 403:
        wrong.append(f"hub-activity.csv is told to Bob: {status}")
    return wrong


def _usage(bed: Bed) -> list[str]:
    def rows(question: str, token: str) -> dict[str, dict[str, str]]:
        answer = bed.get(f"/api/v1/reports/usage.csv?{question}", token)
        if answer.status_code != 200:
            raise Failed(f"usage.csv?{question}: {answer.status_code} {answer.text}")
        by = "group" if "group" in question else "user"
        return {row[by]: row for row in csv.DictReader(answer.text.splitlines())}

    def complete() -> bool:
        groups = rows("by=group&window=month", bed.reader)
        return groups.get("class-a", {}).get("users") == "2" and "" in groups

    until("what was used is in the ledger, with groups", complete)
    users = rows("window=month", bed.reader)
    print("usage.csv by user: " + ", ".join(f"{user} {row['hours_covered']} h" for user, row in users.items()))
    wrong = []
    ann, nora = users["ann"], users["nora"]
    # The hub has run two servers of Ann's; agents reported for both, for seconds.
    if ann["servers"] != "2" or not 0 < float(ann["hours_covered"]) < 1 or not float(ann["memory_gib_hours"]) >= 0:
        wrong.append(f"ann's usage: {ann}")
    # No token of Nora's server is taken: it runs, and nobody measures.
    if nora["memory_gib_hours"] != "" or not float(nora["hours_unmeasured"]) > 0:
        wrong.append(f"nora's usage: {nora}")
    if set(own := rows("window=month", bed.mint("bob"))) != {"bob"}:
        wrong.append(f"Bob sees the usage of {set(own)}")
    exported = _export(bed, "usage", "--window", "month")
    names = {row["user"] for row in csv.DictReader(exported.splitlines())}
    if names != set(users):
        wrong.append(f"exported users {names}, served {set(users)}")
    return wrong


def _export(bed: Bed, *what: str) -> str:
    command = [bed.programs["collector"], "export", *what, "--data-dir", str(bed.dir / "collector")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, env={})
    if done.returncode != 0:
        raise Failed(f"export {what}: {done.stderr}")
    return done.stdout
