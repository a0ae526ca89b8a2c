"""Which applications jupyter-server-proxy started for this server: code-server, RStudio, TensorBoard.

It keeps each application's process in the state that it gives to its handlers, under the application's
name. Anything that does not look like that is left to the agent, which finds applications by their
listening sockets.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

PACKAGE = "jupyter_server_proxy"


def apps(web_app: Any) -> list[dict[str, Any]]:
    """Those that run, by the name in their address."""
    if PACKAGE not in sys.modules:
        return []
    found: dict[int, str] = {}
    for rule in _rules(getattr(web_app, "default_router", None)):
        state = (getattr(rule, "target_kwargs", None) or {}).get("state")
        if not isinstance(state, dict):
            continue
        supervised = state.get("proc")
        process, name = getattr(supervised, "proc", None), getattr(supervised, "name", None)
        pid = getattr(process, "pid", None)
        over = getattr(process, "returncode", None) is not None
        if isinstance(pid, int) and pid > 0 and not over and isinstance(name, str) and name:
            found[pid] = name
    return [{"name": name, "pid": pid} for pid, name in sorted(found.items())]


def _rules(router: Any) -> Iterator[Any]:
    for rule in getattr(router, "rules", ()):
        yield rule
        yield from _rules(getattr(rule, "target", None))
