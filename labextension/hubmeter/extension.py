"""The Jupyter Server extension: joins agent, stream, kernels and addresses to one server.

A failure in here is a line in the log, never a server that does not start.
"""

from __future__ import annotations

import asyncio
from typing import Any

from jupyter_server.extension.application import ExtensionApp
from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine

from . import events, metrics, routes
from .agent import Agent, cancel
from .collector import Collector
from .follower import Follower
from .idle_kernels import IdleKernels
from .outlet import Outlet
from .stream import Feed
from .told import Teller
from .watch import Watch


class Hubmeter(ExtensionApp):
    """A memory meter for JupyterLab that is true and warns in time."""

    name = "hubmeter"

    # Set in `initialize_settings`; a server whose load of us failed still calls `stop_extension`.
    _agent: Agent | None = None
    _outlet: Outlet
    _feed: Feed
    _teller: Teller
    _follower: Follower | None = None
    _collector: Collector | None = None
    _idle_kernels: IdleKernels | None = None
    _tasks: tuple[asyncio.Task[None], ...] = ()

    def initialize_settings(self) -> None:
        """Makes the parts; starts none."""
        assert self.serverapp is not None  # noqa: S101 - set by the server before it calls this
        bus = self.serverapp.event_logger
        assert bus is not None  # noqa: S101 - made before any extension is loaded
        self._outlet = Outlet(bus, self.log)
        watched = Watch(self.serverapp.web_app.settings)
        self._feed = Feed(self._outlet, self.log, self._up_s, watched)
        self._agent = Agent(self.log, self._feed)
        self._teller = Teller(self.serverapp, self._feed, self.log, self._socket, self._wake)
        self._feed.on_sample = self._teller.tick
        self._follower = Follower(self._feed, self._teller, self.log, self._socket)
        self._collector = Collector(lambda: self._feed.link, self.log)
        events.register(bus)
        self._idle_kernels = IdleKernels(self.serverapp, self._feed, self.log)

    def initialize_handlers(self) -> None:
        assert self._collector is not None  # noqa: S101 - made just before
        parts = routes.Parts(self._teller.person, self._wake, self._collector, self._socket)
        self.handlers.extend(metrics.routes(self._feed))
        self.handlers.extend(routes.routes(parts))

    async def _start_jupyter_server_extension(self, serverapp: Any) -> None:
        """Called when the server listens; returns at once."""
        if self._agent is None or self._follower is None:  # loading failed, and the log says why
            return
        self._agent.start()
        if self._idle_kernels is not None:
            self._idle_kernels.start()
        self._outlet.begin()
        self._tasks = (asyncio.create_task(self._teller.run(), name="hubmeter teller"),)
        self._follower.start()
        self._say_whose_route(serverapp)

    async def stop_extension(self) -> None:
        if self._follower is not None:
            await self._follower.stop()
        await cancel(self._tasks)
        self._tasks = ()
        if self._idle_kernels is not None:
            self._idle_kernels.stop()
        if self._collector is not None:
            self._collector.close()
        if self._agent is not None:
            await self._agent.stop()

    def _socket(self) -> str | None:
        return None if self._agent is None else self._agent.socket

    def _up_s(self) -> float | None:
        return None if self._agent is None else self._agent.up_s()

    def _wake(self) -> None:
        if self._follower is not None:
            self._follower.wake()

    def _say_whose_route(self, serverapp: Any) -> None:
        """Two meters on one address: one line says which one answers and how to have one only."""
        if "jupyter_resource_usage" not in serverapp.extension_manager.extensions:
            return
        other = serverapp.extension_manager.extensions["jupyter_resource_usage"]
        if not other.enabled:
            return
        answers = "hubmeter" if self._answers(serverapp) else "jupyter_resource_usage"
        self.log.warning(
            "hubmeter: jupyter_resource_usage is enabled too; %s answers api/metrics/v1. Switch the other "
            'one off with {"ServerApp": {"jpserver_extensions": {"jupyter_resource_usage": false}}}',
            answers,
        )

    def _answers(self, serverapp: Any) -> bool:
        """Whether our handler is the first that matches."""
        uri = serverapp.web_app.settings["base_url"].rstrip("/") + "/api/metrics/v1"
        line = RequestStartLine("GET", uri, "HTTP/1.1")
        nobody: Any = _NoConnection()
        request = HTTPServerRequest(start_line=line, headers=HTTPHeaders(Host="localhost"), connection=nobody)
        found = serverapp.web_app.find_handler(request)
        return issubclass(getattr(found, "handler_class", object), metrics.MetricsHandler)


class _NoConnection:
    """Enough of a connection to ask the router a question."""

    context = None

    def set_close_callback(self, _callback: Any) -> None:
        return
