"""A collector that answers over real HTTP as it is told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.web import Application, RequestHandler


class Double:
    """What it says, and what it was asked."""

    def __init__(self) -> None:
        self.mode: str | None = "act"
        self.rows: list[dict[str, Any]] = []
        self.page_rows = 5000
        self.status = 200
        self.body: str | None = None
        self.slow_s = 0.0
        self.asked: list[str] = []
        self.tokens: set[str] = set()
        self.url = ""

    def row(self, user: str, server: str, cull: bool, **more: Any) -> None:
        reason = "idle for 2 h" if cull else "kernel train.ipynb busy for 3 h"
        since = "2026-11-21T20:00:00.000Z" if cull else None
        self.rows.append(
            {
                "user": user,
                "server": server,
                "idle_seconds": 7200 if cull else 0,
                "idle_since": since,
                "cull": cull,
                "reason": reason,
                "held_until": None,
                **more,
            }
        )

    def page(self, cursor: int) -> str:
        end = cursor + self.page_rows
        page: dict[str, Any] = {"items": self.rows[cursor:end]}
        page["next"] = f"{end}" if end < len(self.rows) else None
        if self.mode is not None:
            page["mode"] = self.mode
        return json.dumps(page)


class Cull(RequestHandler):
    async def get(self) -> None:
        double: Double = self.settings["double"]
        double.asked.append(self.request.uri or "")
        double.tokens.add(self.request.headers["Authorization"])
        await asyncio.sleep(double.slow_s)
        self.set_status(double.status)
        self.finish(double.body or double.page(int(self.get_query_argument("cursor", "0"))))


@asynccontextmanager
async def collector() -> AsyncIterator[Double]:
    double = Double()
    app = Application([("/services/hubmeter/api/v1/cull", Cull)], double=double)
    socket, port = bind_unused_port()
    double.url = f"http://127.0.0.1:{port}/services/hubmeter"
    server = HTTPServer(app)
    server.add_sockets([socket])
    try:
        yield double
    finally:
        server.stop()
        await server.close_all_connections()
