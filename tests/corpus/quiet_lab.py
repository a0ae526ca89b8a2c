"""Records JupyterLab servers in which nobody does anything, for hours.

    quiet_lab.py AGENT [--servers 4] [--hours 2] [--into traces]

Each server has language servers, Git and widgets installed as extensions, none to three kernels that imported something
and rest, and what an open tab asks for (`/api/kernels`, `/api/terminals`, `/api/sessions` every ten seconds). Traces are
`quiet_lab-N-5s.csv` and, of the first half hour, `quiet_lab-N-1s.csv`. Needs jupyterlab, jupyterlab-lsp,
python-lsp-server, jupyterlab-git, ipywidgets, ipykernel and numpy.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

from jupyter_client.blocking import BlockingKernelClient
from jupyter_core.paths import jupyter_runtime_dir
from record import HERE, Reader

FINE_SECONDS = 1800
ASKED_EVERY_SECONDS = 10
IMPORTS = ["import numpy", "import numpy, pandas", "import json"]
TOKEN = "for-this-recording"


class Server:
    """One JupyterLab."""

    def __init__(self, number: int) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.url = f"http://127.0.0.1:{free.getsockname()[1]}"
        self.number = number
        home = tempfile.mkdtemp()
        command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ServerApp.port_retries=0"]
        command += [f"--port={self.url.rpartition(':')[2]}", f"--ServerApp.root_dir={home}"]
        command += [f"--IdentityProvider.token={TOKEN}"]
        self.process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, "HOME": home}
        )

    def ask(self, path: str, body: dict[str, object] | None = None) -> object:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Authorization": f"token {TOKEN}"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def wait(self) -> None:
        for _ in range(120):
            try:
                self.ask("/api/status")
                return
            except OSError:
                time.sleep(1)
        raise SystemExit(f"JupyterLab {self.number} did not start")

    def start_kernels(self) -> None:
        for index in range(self.number % 4):
            self.ask("/api/kernels", {"name": "python3"})
            print(f"server {self.number}: kernel {index + 1}", flush=True)

    def look(self, until: float) -> None:
        while time.monotonic() < until:
            for path in ("/api/kernels", "/api/sessions", "/api/terminals"):
                self.ask(path)
            time.sleep(ASKED_EVERY_SECONDS)


def run_in_kernels(server: Server, home: Path) -> None:
    """Imports something in each, over the connection files of this server's kernels."""
    for index, kernel in enumerate(server.ask("/api/kernels")):  # type: ignore[arg-type]
        client = BlockingKernelClient(connection_file=str(home / f"kernel-{kernel['id']}.json"))
        client.load_connection_file()
        client.start_channels()
        client.wait_for_ready(timeout=120)
        client.execute(IMPORTS[index % len(IMPORTS)], reply=True, timeout=120)
        client.stop_channels()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("agent")
    parser.add_argument("--servers", type=int, default=4)
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--into", type=Path, default=HERE / "traces")
    asked = parser.parse_args()
    asked.into.mkdir(parents=True, exist_ok=True)
    os.environ["JUPYTER_RUNTIME_DIR"] = tempfile.mkdtemp()
    runtime = Path(jupyter_runtime_dir())
    servers = [Server(number) for number in range(asked.servers)]
    until = time.monotonic() + asked.hours * 3600
    coarse, fine = [], []
    for server in servers:
        server.wait()
        coarse.append(Reader(asked.agent, server.process.pid, 5, asked.into / f"quiet_lab-{server.number}-5s.csv"))
        fine.append(Reader(asked.agent, server.process.pid, 1, asked.into / f"quiet_lab-{server.number}-1s.csv"))
        server.start_kernels()
        run_in_kernels(server, runtime)
        threading.Thread(target=server.look, args=(until,), daemon=True).start()
    time.sleep(FINE_SECONDS)
    for reader in fine:
        reader.finish()
    time.sleep(max(0.0, until - time.monotonic()))
    for reader in coarse:
        reader.finish()
    for server in servers:
        server.process.terminate()
        server.process.wait()


if __name__ == "__main__":
    main()
