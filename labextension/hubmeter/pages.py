"""Whether a page of this server is open that may show a notice.

Seen or not: a tab that is hidden is open, too. Only what the event bus knows counts, which costs nobody a
request: a page holds a socket for events as long as it lives.
"""

from __future__ import annotations

from typing import Any

from jupyter_server.services.events.handlers import SubscribeWebsocket

from . import events


def is_open(bus: Any) -> bool | None:
    """In any thread. None: another make of bus, or none, and nobody knows."""
    try:
        listeners = list(bus._modified_listeners.get(events.NOTICE_SCHEMA, ()))
    except AttributeError:
        return None
    theirs = SubscribeWebsocket.event_listener
    return any(getattr(one, "__func__", None) is theirs for one in listeners)
