"""`hubmeter/v1/…`: what the meter in the browser asks and tells, besides the events it is sent.

Nothing here counts as activity of the server. An answer below 300 does at the hub's proxy, so what is told
without being asked for is answered with 304, and the rest is asked only when somebody opens the panel.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import APIHandler
from tornado import web

from . import local, recent
from .collector import Away, Collector, Refused
from .person import EPISODE_CHARS_MAX, Person

BODY_BYTES_MAX = 4 * 1024
VALUE_CHARS_MAX = 1000  # of a query's: every column there is has room in it
TIME_CHARS_MAX = 64
QUESTIONS = ("from", "to", "step", "fields")
FROM = "-10m"


class Parts:
    """What the handlers need of the extension."""

    def __init__(
        self, person: Person, wake: Callable[[], None], collector: Collector, socket: Callable[[], str | None]
    ) -> None:
        self.person = person
        self.wake = wake
        self.collector = collector
        self.socket = socket


class _Handler(APIHandler):
    _track_activity = False
    auth_resource = "hubmeter"

    def initialize(self, parts: Parts) -> None:
        self._parts = parts

    def _done(self) -> None:
        self.set_status(304)
        self.finish()

    def _problem(self, status: int, detail: str) -> None:
        title = HTTPStatus(status).phrase
        self.set_status(status)
        self.finish(
            json.dumps({"type": "about:blank", "title": title, "status": status, "detail": detail}),
            set_content_type="application/problem+json",
        )

    async def _pass_on(self, answer: Any) -> None:
        """Answers with what the collector says, or with why it says nothing."""
        try:
            value = await answer
        except Away as error:
            self._problem(503, str(error))
        except Refused as error:
            self._problem(error.status, str(error))
        else:
            self.finish(json.dumps(value))


class InputHandler(_Handler):
    """A person gave input in a visible tab."""

    @web.authenticated
    @authorized
    async def post(self) -> None:
        self._parts.person.did("typing")
        self._done()


class ShownHandler(_Handler):
    """A notice was shown in a visible tab."""

    @web.authenticated
    @authorized
    async def post(self, episode: str) -> None:
        self._parts.person.saw(episode)
        self._parts.wake()
        self._done()


class ServerHandler(_Handler):
    """The collector's row of this server."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        if not self._parts.collector.known:
            self.finish(json.dumps({"available": False, "reason": "no collector is known"}))
            return
        try:
            row = await self._parts.collector.server()
        except Refused as error:
            # Most of all 404: it has not heard of this server yet.
            self.finish(json.dumps({"available": False, "reason": str(error)}))
        except Away as error:
            self._problem(503, str(error))
        else:
            self.finish(json.dumps(row))


class HistoryHandler(_Handler):
    """What this server used before."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        query = {name: value for name in QUESTIONS if (value := self.get_query_argument(name, None))}
        if any(len(value) > VALUE_CHARS_MAX for value in query.values()):
            self._problem(422, f"a value is longer than {VALUE_CHARS_MAX} characters")
            return
        query.setdefault("from", FROM)
        if not self._parts.collector.known:
            await self._from_agent(query)
            return
        try:
            table = await self._parts.collector.history(query)
        except Refused as error:
            self._problem(error.status, str(error))
        except Away as error:
            # The agent beside us knows the last minutes whatever becomes of the collector.
            if recent.covers(query):
                await self._from_agent(query)
            else:
                self._problem(503, str(error))
        else:
            self.finish(json.dumps(table))

    async def _from_agent(self, query: dict[str, str]) -> None:
        try:
            table = await recent.table(self._parts.socket(), query.get("fields"))
        except local.FAILURES as error:
            self._problem(503, f"the agent does not answer: {str(error) or type(error).__name__}")
        else:
            self.finish(json.dumps(table))


class VerdictsHandler(_Handler):
    """What was said of this server."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        await self._pass_on(self._items())

    async def _items(self) -> dict[str, Any]:
        return {"items": await self._parts.collector.verdicts()}


class HoldHandler(_Handler):
    """The wish to keep this server."""

    @web.authenticated
    @authorized
    async def put(self) -> None:
        until = self._until()
        if until is None:
            self._problem(422, 'the body is {"until": a time as of RFC 3339}')
        else:
            await self._pass_on(self._parts.collector.hold(until))

    @web.authenticated
    @authorized
    async def delete(self) -> None:
        await self._pass_on(self._parts.collector.hold(None))

    def _until(self) -> str | None:
        try:
            body = json.loads(self.request.body) if len(self.request.body) <= BODY_BYTES_MAX else None
        except (ValueError, RecursionError):
            return None
        until = body.get("until") if isinstance(body, dict) else None
        return until if isinstance(until, str) and 0 < len(until) <= TIME_CHARS_MAX else None


def routes(parts: Parts) -> list[tuple[str, type[APIHandler], dict[str, Any]]]:
    """The addresses, under the server's base URL."""
    table: tuple[tuple[str, type[APIHandler]], ...] = (
        (r"/hubmeter/v1/input", InputHandler),
        (rf"/hubmeter/v1/shown/([A-Za-z0-9_.:-]{{1,{EPISODE_CHARS_MAX}}})", ShownHandler),
        (r"/hubmeter/v1/server", ServerHandler),
        (r"/hubmeter/v1/history", HistoryHandler),
        (r"/hubmeter/v1/verdicts", VerdictsHandler),
        (r"/hubmeter/v1/hold", HoldHandler),
    )
    return [(path, handler, {"parts": parts}) for path, handler in table]
