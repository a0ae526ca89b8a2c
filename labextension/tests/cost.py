#!/usr/bin/env python3
"""What the extension costs the server's event loop: `python tests/cost.py`, where the package is installed.

A real server process, its tab played by a socket on `/api/events/subscribe`, an agent that speaks at the
agent's pace and says what the case asks for. Measured is the CPU time of the thread that the loop runs in,
and how often it slept and woke: what waking up with cold caches costs is in it. Each case is measured with
the extension and without, as often as `--times` says, in turn; the difference is ours. There are no
kernels, whose own watch would wake the loop much more often than anything here and hide it; the agent tells
of some.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

TOKEN = "t0ken"
HERE = Path(__file__).parent
START_S_MAX = 120.0
SETTLE_S = 40.0  # the agent's start is watched over for half a minute
POLL_S = 10.0  # as JupyterLab does

#: What the agent says in a case; whether there is a tab, and whether it can be seen.
CASES = {
    "no tab, a kernel grows": ("grows", False, False),
    "visible tab, nothing happens": ("still", True, True),
    "visible tab, a kernel computes": ("computes", True, True),
    "visible tab, a kernel grows": ("grows", True, True),
    "hidden tab, a kernel computes": ("computes", True, False),
    "hidden tab, a kernel grows": ("grows", True, False),
    "visible tab, the limit comes near": ("alarm", True, True),
    "visible tab, memory comes and goes": ("swings", True, True),
}


@dataclass
class Spent:
    """What the loop's thread has used, and how often it slept; what all others have used."""

    loop_ms: float
    woke: float
    beside_ms: float

    def since(self, before: Spent, seconds: float) -> Spent:
        scale = 60 / seconds
        return Spent(
            (self.loop_ms - before.loop_ms) * scale,
            (self.woke - before.woke) * scale,
            (self.beside_ms - before.beside_ms) * scale,
        )


class Server:
    """A server process with our extension, another meter, or neither."""

    def __init__(self, folder: Path, meter: str, says: str) -> None:
        self.folder = folder
        folder.mkdir()
        for name in ("home", "root", "run"):
            (folder / name).mkdir(mode=0o700)
        extensions = {"jupyterlab": False, "jupyter_lsp": False, "notebook_shim": False}
        extensions |= {"hubmeter": meter == "ours", "jupyter_resource_usage": meter == "peer"}
        environ = {
            **os.environ,
            "HOME": str(folder / "home"),
            "HUBMETER_AGENT": str(HERE / "cost_agent.py"),
            "HUBMETER_COST_SAYS": says,
            "XDG_RUNTIME_DIR": str(folder / "run"),
            **{f"JUPYTER_{name}_DIR": str(folder / name) for name in ("CONFIG", "DATA", "RUNTIME")},
        }
        environ.pop("HUBMETER_SOCKET", None)
        options = [
            "--allow-root",
            "--no-browser",
            "--ip=127.0.0.1",
            "--port=0",
            f"--IdentityProvider.token={TOKEN}",
            f"--ServerApp.root_dir={folder / 'root'}",
            f"--ServerApp.jpserver_extensions={extensions}",
        ]
        self._log = open(folder / "log", "w")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "jupyter_server", *options],
            env=environ,
            cwd=folder / "root",
            stdout=self._log,
            stderr=self._log,
        )
        info = self.wait(lambda: list((folder / "RUNTIME").glob("jpserver-*.json")))[0]
        self.url = self.wait(lambda: json.loads(info.read_text() or "{}"))["url"]
        self.wait(lambda: self.ask("api/status"))

    def wait(self, condition):
        end = time.monotonic() + START_S_MAX
        while not (value := condition()):
            if self.process.poll() is not None or time.monotonic() > end:
                raise SystemExit(f"the server does not come up: {(self.folder / 'log').read_text()}")
            time.sleep(0.1)
        return value

    def ask(self, path: str, body: object = None):
        request = urllib.request.Request(
            self.url + path,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"token {TOKEN}"},
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)
        except OSError:
            return None

    def spent(self) -> Spent:
        tasks = Path(f"/proc/{self.process.pid}/task")
        cpu_ms = {
            int(one.name): int((one / "schedstat").read_text().split()[0]) / 1e6 for one in tasks.iterdir()
        }
        loop_ms = cpu_ms.pop(self.process.pid)
        status = (tasks / str(self.process.pid) / "status").read_text()
        (woke,) = [line for line in status.splitlines() if line.startswith("voluntary_ctxt_switches")]
        return Spent(loop_ms, int(woke.split()[1]), sum(cpu_ms.values()))

    def close(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(START_S_MAX)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._log.close()


async def tab(server: Server, visible: bool, over: asyncio.Event, heard: list[float]) -> None:
    """What a tab does: it listens, and asks for kernels and sessions while it can be seen."""
    from tornado.httpclient import AsyncHTTPClient, HTTPRequest
    from tornado.websocket import websocket_connect

    headers = {"Authorization": f"token {TOKEN}"}
    url = f"ws{server.url.removeprefix('http')}api/events/subscribe"
    socket = await websocket_connect(HTTPRequest(url, headers=headers))

    async def listen() -> None:
        while await socket.read_message() is not None:
            heard.append(time.monotonic())

    async def poll() -> None:
        while True:
            await AsyncHTTPClient().fetch(HTTPRequest(f"{server.url}api/terminals", headers=headers))
            await asyncio.sleep(POLL_S)

    tasks = [asyncio.create_task(listen())]
    if visible:
        tasks.append(asyncio.create_task(poll()))
    await over.wait()
    for task in tasks:
        task.cancel()
    socket.close()


async def measure(server: Server, has_tab: bool, visible: bool, seconds: float) -> tuple[Spent, float]:
    over, heard = asyncio.Event(), []
    tabs = [asyncio.create_task(tab(server, visible, over, heard))] if has_tab else []
    await asyncio.sleep(SETTLE_S)
    before, begun = server.spent(), time.monotonic()
    await asyncio.sleep(seconds)
    passed_s = time.monotonic() - begun
    spent = server.spent().since(before, passed_s)
    over.set()
    await asyncio.gather(*tabs)
    events = sum(begun <= at_s <= begun + passed_s for at_s in heard)
    return spent, 60 * events / passed_s


def once(meter: str, case: str, seconds: float) -> tuple[Spent, float]:
    says, has_tab, visible = CASES[case]
    with tempfile.TemporaryDirectory(prefix="hm") as folder:
        server = Server(Path(folder) / "s", meter, says)
        try:
            return asyncio.run(measure(server, has_tab, visible, seconds))
        finally:
            server.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--times", type=int, default=1)
    parser.add_argument("--case", choices=CASES, action="append")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # no server is left behind
    columns = ("off", "ours", "adds", "off", "ours", "beside", "events")
    print(f"{'':34}{'loop, ms/min':>24}{'wake-ups/min':>16}{'ms/min':>8}{'a min':>8}")
    print(f"{'':34}" + "".join(f"{one:>8}" for one in columns))
    for case in args.case or CASES:
        runs: dict[str, list[tuple[Spent, float]]] = {"off": [], "ours": []}
        for _ in range(args.times):
            for meter, done in runs.items():
                done.append(once(meter, case, args.seconds))

        def middle(meter: str, what: str, runs=runs) -> float:
            return statistics.median(getattr(spent, what) for spent, _ in runs[meter])

        off, ours = middle("off", "loop_ms"), middle("ours", "loop_ms")
        figures = (
            f"{off:8.2f}{ours:8.2f}{ours - off:8.2f}{middle('off', 'woke'):8.0f}{middle('ours', 'woke'):8.0f}"
        )
        beside = middle("ours", "beside_ms") - middle("off", "beside_ms")
        heard = statistics.median(heard for _, heard in runs["ours"])
        print(f"{case:34}{figures}{beside:8.2f}{heard:8.0f}", flush=True)


if __name__ == "__main__":
    main()
