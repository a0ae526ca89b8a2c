"""What people do in their servers, by the addresses that JupyterLab uses."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import Any

from bed import Failed
from stage import Stage
from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from tornado.websocket import WebSocketClientConnection, websocket_connect

#: Counts for ever and says nothing; a fifth of a core, so that three of them leave the others some.
COMPUTE = "import time\nwhile True:\n    sum(range(1_000_000))\n    time.sleep(0.1)\n"

#: Takes 300 MB, and then nothing is done with them.
HOARD = "x = bytearray(300_000_000)\nfor at in range(0, len(x), 4096):\n    x[at] = 1\n"

#: Reads for ever, 300 KiB a second, and says nothing: what `rsync --bwlimit=300` does, which is not
#: on every machine.
READ = (
    "python3 -c 'import time\n"
    "while True:\n"
    '  with open("/bin/bash", "rb", 0) as f:\n'
    "    while f.read(307200): time.sleep(1)' >/dev/null\r"
)

#: What a warning is, among the events of a server.
NOTICE = "https://hubmeter.dev/events/notice/v1"


class Person:
    """A user with a server."""

    def __init__(self, stage: Stage, user: str, name: str = ""):
        self.user, self.name = user, name
        self._stage = stage
        self._token = stage.mint(user)
        self.base = f"/user/{user}/{name}".rstrip("/")

    async def call(self, method: str, path: str, body: Any = None, whole: bool = False) -> Any:
        """The answer of the server, through the proxy."""
        url = f"{self._stage.url}{'' if whole else self.base}/{path}"
        request = HTTPRequest(
            url,
            method=method,
            headers={"Authorization": f"token {self._token}", "Content-Type": "application/json"},
            body=None if body is None else json.dumps(body),
            allow_nonstandard_methods=True,
            request_timeout=60,
        )
        answer = await AsyncHTTPClient().fetch(request, raise_error=False)
        if answer.code >= 400:
            raise Failed(f"{self.user}: {method} {path}: {answer.code} {answer.body[:300]!r}")
        return json.loads(answer.body) if answer.body else None

    async def socket(self, path: str) -> WebSocketClientConnection:
        url = f"{self._stage.url}{self.base}/{path}".replace("http", "ws", 1)
        headers = {"Authorization": f"token {self._token}"}
        return await websocket_connect(HTTPRequest(url, headers=headers, request_timeout=60))

    async def kernel(self) -> str:
        return (await self.call("POST", "api/kernels", {"name": "python3"}))["id"]

    async def computes(self) -> str:
        """Starts a cell that never ends, and closes the browser; gives its kernel."""
        return await self.leaves(COMPUTE)

    async def hoards(self) -> tuple[str, str]:
        """Leaves a kernel that holds much and idles beside one that computes; gives both."""
        return await self.leaves(HOARD), await self.computes()

    async def kernels(self) -> list[str]:
        return [kernel["id"] for kernel in await self.call("GET", "api/kernels")]

    async def leaves(self, code: str) -> str:
        """Starts a cell, and closes the browser; gives its kernel."""
        kernel = await self.kernel()
        (await self.runs(kernel, code)).close()
        return kernel

    async def runs(self, kernel: str, code: str) -> WebSocketClientConnection:
        """Starts a cell; the kernel's socket, once it has begun."""
        channels = await self.socket(f"api/kernels/{kernel}/channels")
        content = {"code": code, "silent": False, "store_history": True, "user_expressions": {}}
        header = {"msg_id": uuid.uuid4().hex, "msg_type": "execute_request", "session": "s", "username": "u"}
        header |= {"version": "5.3", "date": "2026-11-28T12:00:00Z"}
        message = {"header": header, "parent_header": {}, "metadata": {}, "content": content}
        await channels.write_message(json.dumps({**message, "channel": "shell", "buffers": []}))
        while True:
            said = await channels.read_message()
            if said is None:
                raise Failed(f"{self.user}: the kernel's socket was closed")
            if isinstance(said, str) and json.loads(said)["msg_type"] == "execute_input":
                return channels

    async def reads(self) -> None:
        """Starts a copy in a terminal, and closes the browser."""
        name = (await self.call("POST", "api/terminals", {}))["name"]
        terminal = await self.socket(f"terminals/websocket/{name}")
        await terminal.read_message()
        await asyncio.sleep(1)
        await terminal.write_message(json.dumps(["stdin", READ]))
        await asyncio.sleep(1)
        terminal.close()

    async def leaves_a_tab(self, *, after_s: float = 0, hidden: bool = False) -> None:
        """Has JupyterLab open, in sight unless it is hidden, until the server goes: its sockets, its polls, and
        its notices. Its kernel was there before."""
        kernel = await self.kernel()
        await asyncio.sleep(after_s)
        channels = await self.socket(f"api/kernels/{kernel}/channels")
        notices = asyncio.create_task(self.sees_notices(hidden))
        try:
            while True:
                for path in ("api/kernels", "api/sessions", "api/terminals"):
                    await self.call("GET", path)
                await asyncio.sleep(3)
        except (Failed, OSError):
            pass  # the server has gone, and its tab says so
        finally:
            notices.cancel()
            channels.close()

    async def sees_notices(self, hidden: bool) -> None:
        """As our extension does: says which notices were shown, and in a hidden tab none are."""
        events = await self.socket("api/events/subscribe")
        while (said := await events.read_message()) is not None:
            event = json.loads(said)
            if event["schema_id"] == NOTICE and not event["cleared"] and not hidden:
                await self.call("POST", f"hubmeter/v1/shown/{event['episode']}")

    async def writes(self, until_s: float) -> None:
        """Types Markdown into an open tab; our extension tells that somebody does."""
        tab = asyncio.create_task(self.leaves_a_tab())
        loop = asyncio.get_running_loop()
        while loop.time() < until_s:
            await self.call("POST", "hubmeter/v1/input")
            await asyncio.sleep(5)
        await tab

    async def holds(self, until: str) -> None:
        """Asks that the server be kept, as the meter does."""
        await self.call("PUT", "hubmeter/v1/hold", {"until": until})
