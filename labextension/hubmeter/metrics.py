"""`api/metrics/v1`: a drop-in for the front ends of jupyter-resource-usage.

Answered from the newest sample in memory: no process is read here, no kernel is asked. `rss` is the
sum of resident sizes as ever; what those front ends show, `pss`, is the true figure. No handler here
counts as activity: a meter must not keep a server alive.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from typing import Any

from jupyter_server.base.handlers import APIHandler
from tornado import web

from . import events
from .stream import Feed

WARN_SHARE = 0.1  # warn when less than this share of a limit is left; jupyter-resource-usage's default
TIMEOUT_MS = 10_000  # what its front end expects beside the reason "timeout"


class _Handler(APIHandler):
    _track_activity = False

    def initialize(self, feed: Feed) -> None:
        self._feed = feed

    def _log(self) -> None:
        """No line in the server's log for each poll of somebody's front end."""


class MetricsHandler(_Handler):
    """The whole server."""

    @web.authenticated
    async def get(self) -> None:
        sample = self._feed.sample
        if sample is None:
            # Not 200 with zeros: those front ends hide themselves on an error.
            self.set_status(503)
            self.finish(json.dumps({"message": "no data: hubmeter's agent is away", "reason": None}))
        else:
            self.finish(json.dumps(metrics(sample, os.environ)))


class KernelUsageHandler(_Handler):
    """One kernel."""

    @web.authenticated
    async def get(self, kernel_id: str) -> None:
        if kernel_id not in self.kernel_manager:
            raise web.HTTPError(404, f"Kernel does not exist: {kernel_id}")
        content = kernel_usage(self._feed.sample, kernel_id)
        self.finish(json.dumps({"content": content, "kernel_id": kernel_id}))


def routes(feed: Feed) -> list[tuple[str, type[APIHandler], dict[str, Any]]]:
    """The two addresses, under the server's base URL."""
    return [
        (r"/api/metrics/v1", MetricsHandler, {"feed": feed}),
        (r"/api/metrics/v1/kernel_usage/get_usage/(.+)", KernelUsageHandler, {"feed": feed}),
    ]


def metrics(sample: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, Any]:
    """The answer about the whole server; our own front end reads `meter`."""
    used, limit = sample["memory_used_bytes"], sample["memory_limit_bytes"] or 0
    memory: dict[str, Any] = {"rss": limit, "pss": limit}
    if limit:
        memory["warn"] = limit - used < limit * WARN_SHARE
    body: dict[str, Any] = {
        "rss": used if sample["rss_bytes"] is None else sample["rss_bytes"],
        "limits": {"memory": memory},
        "pss": used,
    }
    cores = sample["cpu_cores"]
    if cores is not None:
        body["cpu_percent"] = round(100.0 * cores, 1)
        body["cpu_count"] = os.cpu_count()
        if cpu_limit := _cpu_limit(environ):
            body["limits"]["cpu"] = {"cpu": cpu_limit, "warn": cpu_limit - cores < cpu_limit * WARN_SHARE}
    body["meter"] = events.sample_event(sample)
    return body


def kernel_usage(sample: Mapping[str, Any] | None, kernel_id: str) -> dict[str, Any]:
    """The answer about one kernel, in any language, without waking it."""
    if sample is None:
        return {"reason": "timeout", "timeout_ms": TIMEOUT_MS}
    for row in sample["workloads"]:
        if row["kind"] == "kernel" and row["id"] == kernel_id:
            memory = row["memory_used_bytes"]
            if memory is None:
                memory = row["rss_bytes"] if row["pss_bytes"] is None else row["pss_bytes"]
            if memory is None:
                break  # it runs elsewhere
            return {
                "hostname": socket.gethostname(),
                "pid": row["pid"],
                "kernel_cpu": None if row["cpu_cores"] is None else round(100.0 * row["cpu_cores"], 1),
                "kernel_memory": memory,
                "cpu_count": os.cpu_count(),
                # Figures of the host say nothing about this server; that front end then shows none.
                "host_usage_flag": False,
            }
    return {"reason": "no process on this machine"}


def _cpu_limit(environ: Mapping[str, str]) -> float | None:
    """`CPU_LIMIT` as a hub's spawner sets it, in cores."""
    try:
        cores = float(environ.get("CPU_LIMIT", ""))
    except ValueError:
        return None
    return cores if 0 < cores < float("inf") else None
