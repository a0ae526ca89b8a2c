"""Tells hubmeter's collector how each start of a server ends.

In jupyterhub_config.py, with this file's folder on sys.path:

    import hubmeter_hub
    hubmeter_hub.tell_starts(c, "http://127.0.0.1:9640/services/hubmeter/", token)

The address is the collector's own (`listen`), the token that of the hub's service hubmeter. Put it
behind your own `c.Spawner.pre_spawn_hook`, which goes on as before. Nothing here delays or fails a
start: the collector is told when it is over, once, and not at all if it is away.
"""

import asyncio
import json
from typing import Any

from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from traitlets.config import Config, LazyConfigValue

SECONDS_MAX = 5


def tell_starts(c: Config, url: str, token: str) -> None:
    """Adds the hook to the hub's configuration."""
    theirs = c.Spawner.get("pre_spawn_hook")
    if isinstance(theirs, LazyConfigValue):
        theirs = None
    starts = url.rstrip("/") + "/api/v1/starts"

    def hook(spawner: Any) -> Any:
        try:
            _follow(spawner, starts, token)
        except Exception:
            spawner.log.exception("hubmeter: this start is not followed")
        return theirs(spawner) if theirs is not None else None

    c.Spawner.pre_spawn_hook = hook


def _follow(spawner: Any, url: str, token: str) -> None:
    # The hub's own future of this start: it fails when the start does, at whatever step.
    future = spawner._spawn_future
    if future is None:
        return
    about = {"user": spawner.user.name, "server": spawner.name}

    def ended(future: Any) -> None:
        if future.cancelled():
            return
        ok = future.exception() is None
        asyncio.ensure_future(_tell(spawner.log, url, token, {**about, "ok": ok}))

    future.add_done_callback(ended)


async def _tell(log: Any, url: str, token: str, body: dict[str, Any]) -> None:
    request = HTTPRequest(
        url,
        method="POST",
        headers={"Authorization": f"token {token}", "Content-Type": "application/json"},
        body=json.dumps(body),
        connect_timeout=SECONDS_MAX,
        request_timeout=SECONDS_MAX,
        follow_redirects=False,
    )
    try:
        await AsyncHTTPClient().fetch(request)
    except Exception as error:  # whatever it is, a start is no matter of ours
        log.warning("hubmeter: a start that ended is not told: %s", error)
