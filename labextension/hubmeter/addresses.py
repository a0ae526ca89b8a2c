"""Where the collector's HTTP API is, as far as a token may be sent there."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

URL_CHARS_MAX = 1024  # as long as the agent takes one
COLLECTORS_MAX = 8  # more than anybody sets


def addresses(environ: Mapping[str, str], link: Mapping[str, Any]) -> list[str]:
    """Where the collector's API may be, best first; each ends with a slash.

    What the operator says; else the road that carries the agent's own link, if that is the proxy's, since it
    is known to work from here; then where the collector says that people reach it, which from inside of a
    cluster may be nowhere.
    """
    free = environ.get("HUBMETER_ALLOW_PLAINTEXT", "").lower() in ("1", "true", "yes", "on")
    if asked := environ.get("HUBMETER_API_URL"):
        return [found] if (found := _address(asked, True)) else []
    collectors = f"{link.get('collector') or ''} {environ.get('HUBMETER_COLLECTOR', '')}".split()
    beside = [_beside(one) for one in collectors[:COLLECTORS_MAX]]
    told = link.get("api_url")
    # Only what the agent itself links to is known to be one that it may send the token to in the clear.
    clear = free or bool(link.get("collector"))
    found = [_address(one, clear) for one in beside[:1] if one]
    found.append(_address(told, free) if isinstance(told, str) else None)
    found += [_address(one, free) for one in beside[1:] if one]
    return list(dict.fromkeys(one for one in found if one))


def _beside(collector: str) -> str | None:
    """The API's address beside a link's that goes by WebSocket."""
    for scheme, web in (("wss://", "https://"), ("ws://", "http://")):
        if collector.startswith(scheme) and collector.rstrip("/").endswith("/link"):
            return web + collector[len(scheme) :].rstrip("/").removesuffix("link")
    return None


def _address(text: str, in_the_clear: bool) -> str | None:
    """An address that a token may be sent to."""
    if len(text) > URL_CHARS_MAX or not text.isascii() or not text.isprintable() or " " in text:
        return None
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return None
    if not host or parts.username is not None or parts.query or parts.fragment or "\\" in text:
        return None
    if parts.scheme != "https" and not (parts.scheme == "http" and (in_the_clear or _is_loopback(host))):
        return None
    return text if text.endswith("/") else f"{text}/"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
