"""A real hub on which starts of servers fail for a while: what its own counters say of it."""

from __future__ import annotations

import csv
import datetime
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

EVERY_SECONDS = 5
TOKEN = "for-this-recording-only"
COUNT = re.compile(r'^jupyterhub_server_spawn_duration_seconds_count\{.*status="(\w+)".*\} ([\d.]+)$', re.MULTILINE)
CONFIG = """
import os, sys
from jupyterhub.spawner import SimpleLocalProcessSpawner

class Breaks(SimpleLocalProcessSpawner):
    async def start(self):
        if os.path.exists("broken"):
            raise RuntimeError("no such image")
        return await super().start()

c.JupyterHub.spawner_class = Breaks
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.JupyterHub.bind_url = "http://127.0.0.1:{port}"
c.JupyterHub.hub_port = {hub_port}
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:{proxy_port}"
c.JupyterHub.authenticate_prometheus = False
c.JupyterHub.services = [{{"name": "starter", "api_token": "{token}", "admin": True}}]
c.Spawner.cmd = [sys.executable, "-m", "jupyterhub.singleuser"]
c.Spawner.args = ["--allow-root"]
c.Spawner.start_timeout = 120
c.Spawner.http_timeout = 120
"""
# When, in seconds after the first look, a user's server is started, and from when to when nothing starts.
STARTS = [10, 40, 70, 95, 120, 150, 190, 230]
BROKEN_SECONDS = (60, 180)


def start_failures(_agent: str, path: Path) -> None:
    """Users start their servers; for two minutes their image is not there."""
    folder = Path(tempfile.mkdtemp())
    port, hub_port, proxy_port = free_ports(3)
    config = CONFIG.format(port=port, hub_port=hub_port, proxy_port=proxy_port, token=TOKEN)
    (folder / "jupyterhub_config.py").write_text(config)
    with (folder / "log").open("wb") as log:
        command = [sys.executable, "-m", "jupyterhub"]
        hub = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, start_new_session=True)
    url = f"http://127.0.0.1:{port}/hub"
    try:
        wait_for(url)
        rows = watch(url, folder)
    finally:
        os.killpg(hub.pid, signal.SIGTERM)
        hub.wait()
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["timestamp", "starts_succeeded", "starts_failed"])
        writer.writerows(rows)


def watch(url: str, folder: Path) -> list[list[object]]:
    rows, due = [], list(enumerate(STARTS))
    begin = time.monotonic()
    while due or time.monotonic() - begin < STARTS[-1] + 60:
        passed = time.monotonic() - begin
        broken = BROKEN_SECONDS[0] <= passed < BROKEN_SECONDS[1]
        (folder / "broken").touch() if broken else (folder / "broken").unlink(missing_ok=True)
        while due and due[0][1] <= passed:
            number, _ = due.pop(0)
            ask(f"{url}/api/users/user{number}", b"")
            ask(f"{url}/api/users/user{number}/server", b"")
        counts = {status: int(float(count)) for status, count in COUNT.findall(ask(f"{url}/metrics"))}
        now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
        rows.append([now, counts.get("success", 0), counts.get("failure", 0)])
        time.sleep(EVERY_SECONDS - (time.monotonic() - begin) % EVERY_SECONDS)
    return rows


def ask(url: str, body: bytes | None = None) -> str:
    """What the hub answers, also where it says that it could not."""
    request = urllib.request.Request(url, body, {"Authorization": f"token {TOKEN}"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.read().decode()


def wait_for(url: str) -> None:
    for _ in range(180):
        try:
            ask(f"{url}/api/")
            return
        except OSError:
            time.sleep(1)
    raise RuntimeError("the hub did not start")


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for free in sockets:
        free.bind(("127.0.0.1", 0))
    ports = [free.getsockname()[1] for free in sockets]
    for free in sockets:
        free.close()
    return ports
