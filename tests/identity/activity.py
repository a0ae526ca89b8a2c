"""A stream through the hub's own proxy is nobody's activity."""

from __future__ import annotations

import time

import requests
from bed import Agent, Bed, until

# How long reports flow, one a second: some of the hub's looks at its proxy fall into it.
STREAM_SECONDS = 5


def no_activity(bed: Bed) -> list[str]:
    """What moved that must not have, read from the proxy's routes and the hub's own rows."""
    token = (bed.dir / "tokens/ann--").read_text()
    wrong = []
    settle(bed)
    with Agent(bed, bed.by_proxy, token) as agent:
        agent.hears("streaming")
        before, ours = activity(bed), route(bed, "/services/hubmeter/")
        time.sleep(STREAM_SECONDS)
        after = activity(bed)
    wrong += [f"{what} moved: {before[what]} to {after[what]}" for what in before if before[what] != after[what]]
    print(f"last_activity while reports flowed through the proxy: {after}, unmoved {not wrong}")
    # The measure measures: a stream's bytes count for our own route, a request for its server's.
    until("the proxy counted our own route", lambda: route(bed, "/services/hubmeter/") != ours)
    requests.get(f"{bed.url}/user/ann/", timeout=10)
    until("a request counted for Ann's route", lambda: activity(bed)["proxy"] != after["proxy"])
    until("and for her server", lambda: activity(bed)["server"] != after["server"])
    return wrong


def activity(bed: Bed) -> dict[str, str]:
    """What the proxy and the hub hold for the last activity of Ann and her server."""
    user = bed.hub("GET", "/users/ann")
    return {
        "proxy": route(bed, "/user/ann/"),
        "server": user["servers"][""]["last_activity"],
        "user": user["last_activity"],
    }


def route(bed: Bed, path: str) -> str:
    routes = bed.hub("GET", "/proxy")
    return routes[path]["data"]["last_activity"]


def settle(bed: Bed) -> None:
    """Until the hub has heard of everything that was before."""
    seen = activity(bed)
    since = time.monotonic()
    while time.monotonic() - since < 3:
        time.sleep(0.2)
        if (now := activity(bed)) != seen:
            seen, since = now, time.monotonic()
