"""The collector's HTTP API, asked for this server's own rows.

With the server's own hub token, which goes to the collector's address and nowhere else: no redirect is
followed, and nothing is sent in the clear beyond this machine that the agent would not send so. Whatever
comes back is bounded, and is passed on only if it is about this server.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import pwd
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from tornado import httpclient, httputil, simple_httpclient

from . import __version__
from .addresses import addresses
from .agent import aside

ANSWER_BYTES_MAX = 1024 * 1024  # a day of samples, a few columns of it
HEAD_BYTES_MAX = 16 * 1024
CONNECT_S_MAX = 3.0  # an address that does not answer is passed over for the next
ANSWER_S_MAX = 10.0
FILE_S_MAX = 5.0  # a token or certificate on a file system that hangs
ASKING_MAX = 4  # at once; a panel asks three things
WAITING_MAX = 16  # of all tabs together
TOKEN_BYTES_MAX = 8 * 1024
DETAIL_CHARS_MAX = 500
VERDICTS_ASKED, VERDICTS_MAX = 500, 100

#: The collector's own refusals that are the asker's business. Any other is a fault of the set-up; but for a
#: hold 403 is policy.
PASSED_ON = (400, 404, 409, 422, 429)
PASSED_ON_OF_HOLDS = (*PASSED_ON, 403)


class Away(Exception):
    """There is no answer of the collector's; the text says why, for people."""


class Refused(Exception):
    """The collector answered, and said no."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


class Collector:
    """The collector, as this server may ask it."""

    def __init__(
        self,
        link: Callable[[], Mapping[str, Any]],
        log: logging.Logger,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self._link = link
        self._log = log
        self._environ = environ
        self._client: simple_httpclient.SimpleAsyncHTTPClient | None = None
        self._waiting = 0
        self._last: str | None = None
        self._trust: tuple[Any, ssl.SSLContext] | None = None

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    @property
    def known(self) -> bool:
        """Whether there is one at all."""
        return bool(addresses(self._environ, self._link()))

    async def server(self) -> dict[str, Any]:
        """This server's row."""
        row = await self._ask("GET", self._own())
        if not isinstance(row, dict) or not self._is_ours(row):
            raise Away("the collector answered about another server")
        return row

    async def history(self, query: Mapping[str, str]) -> dict[str, Any]:
        """What this server used before, in columns."""
        table = await self._ask("GET", f"{self._own()}/history", query)
        columns = table.get("columns") if isinstance(table, dict) else None
        if not isinstance(columns, dict) or not all(isinstance(one, list) for one in columns.values()):
            raise Away("the collector's answer holds no columns")
        if len({len(one) for one in columns.values()}) > 1:
            raise Away("the columns of the collector's answer are not of one length")
        return table

    async def verdicts(self) -> list[dict[str, Any]]:
        """What was said of this server, newest first."""
        query = {"state": "all", "user": self._user(), "limit": str(VERDICTS_ASKED)}
        page = await self._ask("GET", "api/v1/verdicts", query)
        items = page.get("items") if isinstance(page, dict) else None
        if not isinstance(items, list):
            raise Away("the collector's answer holds no list")
        ours = [one for one in items if isinstance(one, dict) and self._is_ours(one)]
        return ours[:VERDICTS_MAX]

    async def hold(self, until: str | None) -> dict[str, Any]:
        """Asks to keep this server until then, or no longer."""
        body = None if until is None else json.dumps({"until": until}).encode()
        answer = await self._ask("DELETE" if until is None else "PUT", f"{self._own()}/hold", body=body)
        held = answer.get("held_until") if isinstance(answer, dict) else None
        if held is not None and not isinstance(held, str):
            raise Away("the collector's answer holds no time")
        return {"held_until": held}

    async def _ask(
        self, method: str, path: str, query: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> Any:
        if self._waiting >= WAITING_MAX:
            raise Refused(429, f"{WAITING_MAX} questions wait for the collector already")
        self._waiting += 1
        try:
            return await self._ask_somewhere(method, path + (f"?{urlencode(query)}" if query else ""), body)
        finally:
            self._waiting -= 1

    async def _ask_somewhere(self, method: str, path: str, body: bytes | None) -> Any:
        """At the address that answered last, then at the others."""
        known = addresses(self._environ, self._link())
        if not known:
            raise Away("no collector is known")
        known.sort(key=lambda address: address != self._last)
        why = ""
        for address in known:
            try:
                answer = await self._ask_at(address, method, path, body)
            except Away as error:
                why = why or str(error)
                self._log.debug("hubmeter: %s: %s", address, error)
                continue
            except Refused:
                self._last = address
                raise
            self._last = address
            return answer
        raise Away(why)

    async def _ask_at(self, address: str, method: str, path: str, body: bytes | None) -> Any:
        headers = {"Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if token := await self._token():
            headers["Authorization"] = f"token {token}"
        request = httpclient.HTTPRequest(
            f"{address}{path}",
            method=method,
            headers=httputil.HTTPHeaders(headers),
            body=body,
            follow_redirects=False,  # or the token would go where the answer says
            decompress_response=False,  # a bound on what is sent is a bound on what is read
            connect_timeout=CONNECT_S_MAX,
            request_timeout=ANSWER_S_MAX,
            user_agent=f"hubmeter/{__version__}",
            ssl_options=await self._certificates() if address.startswith("https:") else None,
        )
        try:
            answer = await self._asker().fetch(request, raise_error=False)
        except (OSError, httpclient.HTTPError, httputil.HTTPInputError, ValueError) as error:
            raise Away(f"the collector cannot be reached: {_said(error)}") from error
        return _read(answer, PASSED_ON if method == "GET" else PASSED_ON_OF_HOLDS)

    def _asker(self) -> simple_httpclient.SimpleAsyncHTTPClient:
        """Made when first needed: it belongs to the loop that runs then."""
        if self._client is None:
            self._client = simple_httpclient.SimpleAsyncHTTPClient(
                force_instance=True,
                max_clients=ASKING_MAX,
                max_body_size=ANSWER_BYTES_MAX,
                max_header_size=HEAD_BYTES_MAX,
            )
        return self._client

    async def _token(self) -> str | None:
        """The server's own; None without a hub, where the collector knows us by our socket."""
        path = self._environ.get("HUBMETER_TOKEN_FILE")
        if path:
            token = (await _within(lambda: _start(path), "token")).strip()
        else:
            token = self._environ.get("JUPYTERHUB_API_TOKEN", "").strip()
        if len(token) > TOKEN_BYTES_MAX or not (token.isascii() and (token.isprintable() or not token)):
            raise Away("this server's token is too long, or has characters that no header may carry")
        return token or None

    async def _certificates(self) -> ssl.SSLContext:
        """Whom to trust: HUBMETER_CA_FILE in place of the machine's, as the agent does."""
        path = self._environ.get("HUBMETER_CA_FILE") or None
        self._trust = await _within(lambda: _trust(path, self._trust), "certificates")
        return self._trust[1]

    def _own(self) -> str:
        name = self._name()
        tail = f"servers/{quote(name, safe='')}" if name else "server"
        return f"api/v1/users/{quote(self._user(), safe='')}/{tail}"

    def _user(self) -> str:
        return self._environ.get("JUPYTERHUB_USER") or _login()

    def _name(self) -> str:
        if "JUPYTERHUB_USER" in self._environ:
            return self._environ.get("JUPYTERHUB_SERVER_NAME", "")
        return self._environ.get("HUBMETER_NAME", "")

    def _is_ours(self, row: Mapping[str, Any]) -> bool:
        return row.get("user") == self._user() and row.get("server") == self._name()


def _read(answer: httpclient.HTTPResponse, passed_on: tuple[int, ...]) -> Any:
    """The JSON of an answer; raises Away for what is none, Refused for a refusal."""
    kind = answer.headers.get("Content-Type", "").split(";")[0].strip().lower()
    body = answer.body or b""
    if answer.error is not None and answer.code == 599:
        raise Away(f"the collector cannot be reached: {_said(answer.error)}")
    if kind == "application/problem+json" and answer.code in passed_on:
        raise Refused(answer.code, _detail(body) or "the collector refuses")
    if answer.code in (401, 403):
        raise Away("the collector does not accept this server's token")
    if answer.code != 200:
        raise Away(f"the collector answered with status {answer.code}")
    if kind != "application/json":
        raise Away("what answers at the collector's address is no collector")
    return _json(body)


def _json(body: bytes) -> Any:
    try:
        return json.loads(body, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise Away("the collector's answer is no JSON") from error


def _no_number(text: str) -> Any:
    raise ValueError(text)


def _detail(body: bytes) -> str | None:
    try:
        problem = json.loads(body)
    except (ValueError, RecursionError):
        return None
    detail = problem.get("detail") if isinstance(problem, dict) else None
    return detail[:DETAIL_CHARS_MAX] if isinstance(detail, str) else None


def _said(error: BaseException) -> str:
    text = str(error) or type(error).__name__
    return "".join(c if c.isprintable() else " " for c in text)[:DETAIL_CHARS_MAX]


async def _within(work: Callable[[], Any], what: str) -> Any:
    """Reads a file aside: a file system may hang."""
    reading = aside(work)
    if not (await asyncio.wait({reading}, timeout=FILE_S_MAX))[0]:
        raise Away(f"the file system with the {what} does not answer")
    try:
        return reading.result()
    except (OSError, UnicodeDecodeError) as error:
        raise Away(f"cannot read the {what}: {_said(error)}") from error


def _start(path: str) -> str:
    with open(path, "rb") as file:
        return file.read(TOKEN_BYTES_MAX + 2).decode()


def _trust(path: str | None, before: tuple[Any, ssl.SSLContext] | None) -> tuple[Any, ssl.SSLContext]:
    """Made once, and again when the file has changed."""
    mark = (path, Path(path).stat().st_mtime_ns if path else 0)
    if before is not None and before[0] == mark:
        return before
    return mark, ssl.create_default_context(cafile=path)


def _login() -> str:
    """Who this process is, as a collector without a hub knows people."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError as error:
        raise Away("the user of this server has no name on this machine") from error
