"""Names that users gave, within the bounds the agent has for them."""

from __future__ import annotations

from typing import Any

LABEL_BYTES_MAX = 255  # a file name's; the agent refuses a message with a longer one
PATH_BYTES_MAX = 1024  # of a notebook; a longer one goes without its folder


def label(value: Any, bytes_max: int = LABEL_BYTES_MAX) -> str:
    """A name within its bound, cut between characters."""
    return str(value).encode("utf-8", "replace")[:bytes_max].decode("utf-8", "ignore")


def notebook(session: dict[str, Any]) -> str | None:
    """The name a user knows a session by: a file from the server's root, or what a console is called."""
    if session.get("type") not in ("notebook", "file"):
        return label(str(session.get("name") or "").rsplit("/", 1)[-1]) or None
    path = str(session.get("path") or "")
    if len(path.encode("utf-8", "replace")) > PATH_BYTES_MAX:
        path = path.rsplit("/", 1)[-1]
    return label(path, PATH_BYTES_MAX) or None
