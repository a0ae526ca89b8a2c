"""The arbiter of jupyterhub-idle-culler 2: hubmeter's collector says who may be stopped.

    # idle_culler_config.py
    from hubmeter_collector.culler import arbiter

    c.IdleCuller.cull_arbiter_hook = arbiter

The collector is at `HUBMETER_API_URL` (with its prefix, `http://…/services/hubmeter`), else the
service of that name on this machine. It is asked with the idle culler's own `JUPYTERHUB_API_TOKEN`,
once per round for everybody.

What nobody knows is kept. A collector that does not answer spares everybody for an hour; after that
the idle culler's own comparison counts, as it does while the collector only watches
(`[cull] mode = "watch"`); then the log says what would have been otherwise. An exception from here
means "not culled" to the idle culler. Needs nothing but tornado, so this one file can be copied.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.simple_httpclient import SimpleAsyncHTTPClient

#: Where the collector listens when nobody says otherwise, before its prefix.
COLLECTOR_DEFAULT = "http://127.0.0.1:9640"

#: An answer is as good as new for this long: a round, or a part of one that is slow to stop servers.
FRESH_S = 10.0
#: No answer is remembered as long: otherwise each server of a round would wait for the next.
FAILED_S = 30.0
#: A collector that is silent for no longer spares everybody.
SILENT_SPARED_S = 3600.0

CONNECT_S_MAX = 5.0
ANSWER_S_MAX = 10.0
#: Rows of a page, the most that the collector gives; and what they take with the longest names.
PAGE_ROWS = 5000
PAGE_BYTES_MAX = 32 * 1024 * 1024
#: More servers than the collector keeps.
PAGES_MAX = 100
#: Clocks of hub and collector differ by less.
CLOCKS = timedelta(minutes=1)

#: The collector may know of a new start as late as this: it reads the hub's list once a minute.
ANEW = timedelta(minutes=2)

#: What can go wrong with a question; anything else is a fault of ours, and culls nothing.
TROUBLES = (HTTPClientError, OSError, ValueError, LookupError, TypeError, AttributeError)

Key = tuple[str, str]  # user, server


class Answer:
    """What the collector says of every running server."""

    def __init__(self) -> None:
        self.acts = False
        self.rows: dict[Key, Mapping[str, Any]] = {}

    def add(self, page: Mapping[str, Any]) -> str | None:
        """Takes in a page; where the next one begins."""
        # A collector that does not know of modes only watches.
        self.acts = page.get("mode", "watch") == "act"
        for row in page["items"]:
            # Read here, so that an answer that makes no sense is none at all.
            bool(row["cull"]), str(row["reason"]), _time(row["idle_since"])
            self.rows[row["user"], row["server"]] = row
        cursor: str | None = page["next"]
        return cursor


class Arbiter:
    """Asks once per round, and remembers since when there is no answer."""

    def __init__(
        self, environ: Mapping[str, str] = os.environ, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._environ = environ
        self._clock = clock
        self._answer: Answer | None = None
        self._good_until = float("-inf")
        self._silent_since: float | None = None
        self._asking: asyncio.Task[None] | None = None

    async def __call__(
        self, *, inactive: timedelta | None, inactive_limit: float, server: Mapping[str, Any], **_: Any
    ) -> bool:
        """Whether the idle culler shall stop `server`."""
        own = inactive is not None and inactive.total_seconds() >= inactive_limit
        await self._refresh()
        if self._answer is None:
            since = self._silent_since
            return own if since is not None and self._clock() - since > SILENT_SPARED_S else False
        user, name = _key(server)
        cull, reason = _judge(self._answer, (user, name), server)
        shown = _clean(f"{user}/{name}" if name else user)
        if not self._answer.acts:
            if cull != own:
                would = "stop" if cull else "keep"
                _log().info("hubmeter only watches; it would %s %s: %s", would, shown, _clean(reason))
            return own
        if cull != own:
            does = "lets go" if cull else "keeps"
            _log().info("hubmeter %s %s: %s", does, shown, _clean(reason))
        return cull

    async def _refresh(self) -> None:
        """Asks anew if the answer is old; all who wait meanwhile wait for the same one."""
        if self._clock() < self._good_until:
            return
        if self._asking is None or self._asking.done():
            self._asking = asyncio.ensure_future(self._ask())
        await asyncio.shield(self._asking)

    async def _ask(self) -> None:
        url, answer = self._url(), Answer()
        try:
            await self._read(url, answer)
        except TROUBLES as error:
            now = self._clock()
            if self._silent_since is None:
                self._silent_since = now
            self._answer, self._good_until = None, now + FAILED_S
            after = "the idle culler's own comparison counts"
            before = "nothing is culled"
            means = after if now - self._silent_since > SILENT_SPARED_S else before
            _log().warning("hubmeter: no answer from the collector at %s, %s: %s", url, means, _why(error))
        else:
            self._answer, self._silent_since = answer, None
            self._good_until = self._clock() + FRESH_S

    async def _read(self, url: str, answer: Answer) -> None:
        token = self._environ["JUPYTERHUB_API_TOKEN"]
        # An instance of its own: the idle culler's settings for the hub (certificates, for one) are not ours.
        client = SimpleAsyncHTTPClient(force_instance=True, max_body_size=PAGE_BYTES_MAX)
        try:
            cursor: str | None = ""
            for _ in range(PAGES_MAX):
                more = f"&cursor={quote(cursor, safe='')}" if cursor else ""
                request = HTTPRequest(
                    f"{url}/api/v1/cull?limit={PAGE_ROWS}{more}",
                    headers={"Authorization": f"token {token}"},
                    connect_timeout=CONNECT_S_MAX,
                    request_timeout=ANSWER_S_MAX,
                    follow_redirects=False,
                )
                cursor = answer.add(json.loads((await client.fetch(request)).body))
                if cursor is None:
                    return
            raise ValueError("more pages than any hub has servers")
        finally:
            client.close()

    def _url(self) -> str:
        told = self._environ.get("HUBMETER_API_URL")
        base = self._environ.get("JUPYTERHUB_BASE_URL") or "/"
        return (told or f"{COLLECTOR_DEFAULT}{base}services/hubmeter").rstrip("/")


def _judge(answer: Answer, key: Key, server: Mapping[str, Any]) -> tuple[bool, str]:
    row = answer.rows.get(key)
    if row is None:
        return False, "unknown, so kept: the collector does not list it"
    since, started = _time(row["idle_since"]), _time(server.get("started"))
    if row["cull"] and started is not None:
        # Somebody works there: it was too old, if it is still the same.
        anew = datetime.now(timezone.utc) - started < ANEW if since is None else since + CLOCKS < started
        if anew:
            return False, "it was started anew meanwhile"
    return bool(row["cull"]), str(row["reason"])


def _key(server: Mapping[str, Any]) -> Key:
    """Whose server it is: the idle culler does not say, but its names and addresses do."""
    name = server["name"]
    user, _, rest = (server.get("full_name") or "").partition("/")  # no user's name has a slash
    if user and rest == name:
        return user, name
    parts = urlsplit(server["url"]).path.rstrip("/").split("/")
    return unquote(parts[-2] if name else parts[-1]), name


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text.replace("Z", "+00:00"))


def _clean(text: str) -> str:
    """For a log: one line, whatever a user called things."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _why(error: BaseException) -> str:
    if isinstance(error, HTTPClientError) and error.code in (401, 403):
        return f"{error} (the token needs custom:hubmeter:read:all, or list:users and read:servers)"
    return f"{type(error).__name__}: {_clean(str(error))}"


def _log() -> logging.Logger:
    """Ours, or the idle culler's where nobody would read ours."""
    ours = logging.getLogger(__name__)
    config = sys.modules.get("traitlets.config")
    if config is None or ours.hasHandlers() or not config.Application.initialized():
        return ours
    log: logging.Logger = config.Application.instance().log
    return log


_arbiter = Arbiter()


async def arbiter(
    *, inactive: timedelta | None, inactive_limit: float, server: Mapping[str, Any], **more: Any
) -> bool:
    """For `c.IdleCuller.cull_arbiter_hook`."""
    return await _arbiter(inactive=inactive, inactive_limit=inactive_limit, server=server, **more)
