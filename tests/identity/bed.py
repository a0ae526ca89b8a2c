"""The real hub, its real proxy, the real collector and agents, and what stands between them."""

from __future__ import annotations

import json
import os
import random
import secrets
import selectors
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import requests
from between import Between

HERE = Path(__file__).parent
USERS = ["ann", "bob", "tom", "nora", "admin"]

# No wait is longer; none is measured.
PATIENCE_SECONDS = 120.0


class Failed(Exception):
    """A promise does not hold; the text says which."""


def until(what: str, ask, seconds: float = PATIENCE_SECONDS):
    """What `ask` gives, once that is true."""
    deadline = time.monotonic() + seconds
    while True:
        if answer := ask():
            return answer
        if time.monotonic() > deadline:
            raise Failed(f"it never came to this: {what}")
        time.sleep(0.05)


class Agent:
    """A real agent with a token of the test's choice."""

    def __init__(self, bed: Bed, collector: str, token: str | None, log: str = "info"):
        self.runtime = tempfile.mkdtemp(prefix="hubmeter-")
        environment = {
            "PATH": os.environ["PATH"],
            "HUBMETER_COLLECTOR": collector,
            "HUBMETER_INTERVAL": "1",
            "HUBMETER_LOG": log,
            "XDG_RUNTIME_DIR": self.runtime,
        }
        if token is not None:
            environment["JUPYTERHUB_API_TOKEN"] = token
        self.process = subprocess.Popen(
            [bed.programs["agent"], "run", "--", "sleep", "600"],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        os.set_blocking(self.process.stderr.fileno(), False)
        self.said = ""

    def hears(self, *words: str, seconds: float = PATIENCE_SECONDS) -> str:
        """The first line of its log with one of `words`, from where the last one ended."""
        deadline = time.monotonic() + seconds
        with selectors.DefaultSelector() as ready:
            ready.register(self.process.stderr, selectors.EVENT_READ)
            while True:
                while "\n" in self.said:
                    line, _, self.said = self.said.partition("\n")
                    if any(word in line for word in words):
                        return line
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise Failed(f"the agent says none of {words}")
                if ready.select(0.2):
                    self.said += (self.process.stderr.read() or b"").decode()

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(PATIENCE_SECONDS)
        self.process.stderr.close()
        shutil.rmtree(self.runtime, ignore_errors=True)

    def __enter__(self) -> Agent:
        return self

    def __exit__(self, *_) -> None:
        self.stop()


class Bed:
    """Everything that runs, in a folder of its own."""

    # What the hub and the collector are started with, and whom the hub knows.
    config = HERE / "jupyterhub_config.py"
    collector_flags: tuple[str, ...] = ()
    users: list[str] = USERS
    more_secrets: tuple[str, ...] = ()

    def __init__(self, work: Path, venv: Path, proxy: Path, programs: dict[str, str]):
        self.dir, self.venv, self.proxy_program, self.programs = work, venv, proxy, programs
        shutil.rmtree(work, ignore_errors=True)
        (work / "tokens").mkdir(parents=True)
        self.ports = dict(zip(["public", "hub", "proxy", "service", "link"], free_ports(5)))
        names = ["proxy", "password", "service", "script", "tests", "prometheus", *self.more_secrets]
        self.secrets = {name: secrets.token_hex(16) for name in names}
        self.url = f"http://127.0.0.1:{self.ports['public']}"
        self.prefix = f"{self.url}/services/hubmeter"
        self.by_grpc = f"grpc://127.0.0.1:{self.ports['link']}"
        self.by_proxy = f"ws://127.0.0.1:{self.ports['public']}/services/hubmeter/link"
        self.between = Between(self.ports["hub"])
        # By this way the hub tells the collector of starts; away until a test wants it.
        self.hook_way = Between(self.ports["service"])
        self.hook_way.mode = "down"
        # While this file is there, no server of the hub's can be started.
        self.broken = work / "broken"
        # Whose token the rows are read with.
        self.reader = self.secrets["script"]
        self._running: dict[str, subprocess.Popen] = {}
        (work / "bed.json").write_text(
            json.dumps(
                {
                    "here": str(HERE),
                    "pid": os.getpid(),
                    "dir": str(work),
                    "ports": self.ports,
                    "secrets": self.secrets,
                    "proxy": str(proxy),
                    "users": self.users,
                    "hook": f"http://127.0.0.1:{self.hook_way.port}/services/hubmeter/",
                    "broken": str(self.broken),
                }
            )
        )

    # --- what runs ---

    def start(self) -> None:
        self.start_proxy()
        self.start_hub()
        self.start_collector()
        for user in self.users:
            self.hub("POST", f"/users/{user}", ok=(201, 409))

    def start_proxy(self) -> None:
        ports = self.ports
        self._start(
            "proxy",
            [
                str(self.proxy_program),
                *("--ip", "127.0.0.1", "--port", str(ports["public"])),
                *("--api-ip", "127.0.0.1", "--api-port", str(ports["proxy"])),
                *("--error-target", f"http://127.0.0.1:{ports['hub']}/hub/error"),
            ],
            {"CONFIGPROXY_AUTH_TOKEN": self.secrets["proxy"]},
        )

    def start_hub(self) -> None:
        program = self.venv / "bin/jupyterhub"
        self._start(
            "hub",
            [str(program), "--config", str(self.config)],
            {"IDENTITY_BED": str(self.dir / "bed.json"), "PYTHONDONTWRITEBYTECODE": "1"},
        )
        until("the hub answers", lambda: self._answers("hub", f"{self.url}/hub/api/"))

    def start_collector(self) -> None:
        self._start(
            "collector",
            [
                *(self.programs["collector"], "serve"),
                *("--data-dir", str(self.dir / "collector")),
                *("--listen", f"127.0.0.1:{self.ports['service']}"),
                *("--link-listen", f"127.0.0.1:{self.ports['link']}"),
                *self.collector_flags,
            ],
            {
                "JUPYTERHUB_API_URL": f"http://127.0.0.1:{self.between.port}/hub/api",
                "JUPYTERHUB_API_TOKEN": self.secrets["service"],
                "JUPYTERHUB_SERVICE_NAME": "hubmeter",
                "JUPYTERHUB_SERVICE_PREFIX": "/services/hubmeter/",
                "JUPYTERHUB_BASE_URL": "/",
                "JUPYTERHUB_CLIENT_ID": "service-hubmeter",
            },
        )
        ready = f"{self.prefix}/healthz"
        until("the collector answers", lambda: self._answers("collector", ready))
        log = self.dir / "collector.log"
        until("the collector is ready", lambda: '"ready"' in log.read_text())

    def stop(self, name: str, by: signal.Signals = signal.SIGTERM) -> None:
        process = self._running.pop(name)
        process.send_signal(by)
        process.wait(PATIENCE_SECONDS)

    def close(self) -> None:
        for name in reversed(list(self._running)):
            self.stop(name)
        self.between.close()
        self.hook_way.close()

    def _start(self, name: str, command: list[str], environment: dict[str, str]) -> None:
        path = f"{self.venv / 'bin'}{os.pathsep}{os.environ['PATH']}"
        with open(self.dir / f"{name}.log", "ab") as log:
            self._running[name] = subprocess.Popen(
                command,
                cwd=self.dir,
                env={"PATH": path, "HOME": str(self.dir), **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def _answers(self, name: str, url: str) -> bool:
        if self._running[name].poll() is not None:
            raise Failed(f"{name} has ended: {(self.dir / f'{name}.log').read_text()[-2000:]}")
        try:
            return requests.get(url, timeout=5).status_code == 200
        except requests.RequestException:
            return False

    # --- what the hub is asked ---

    def hub(self, method: str, path: str, body=None, token: str | None = None, ok=(200, 201, 202, 204)):
        """The answer of the hub's API, without anything in between."""
        answer = requests.request(
            method,
            f"http://127.0.0.1:{self.ports['hub']}/hub/api{path}",
            json=body,
            headers={"Authorization": f"token {token or self.secrets['tests']}"},
            timeout=PATIENCE_SECONDS,
        )
        if answer.status_code not in ok:
            raise Failed(f"{method} {path}: {answer.status_code} {answer.text[:300]}")
        return answer.json() if answer.content else None

    def start_server(self, user: str, name: str = "") -> str:
        """Its token, from its own environment."""
        path = f"/users/{user}/servers/{name}" if name else f"/users/{user}/server"
        self.hub("POST", path)
        full = lambda: self.hub("GET", f"/users/{user}")["servers"].get(name, {})  # noqa: E731
        until(f"{user}'s server {name!r} is ready", lambda: full().get("ready"))
        return (self.dir / "tokens" / f"{user}--{name}").read_text()

    def stop_server(self, user: str, name: str = "") -> None:
        path = f"/users/{user}/servers/{name}" if name else f"/users/{user}/server"
        self.hub("DELETE", path)
        gone = lambda: name not in self.hub("GET", f"/users/{user}")["servers"]  # noqa: E731
        until(f"{user}'s server {name!r} is gone", gone)

    def mint(self, user: str, scopes: list[str] | None = None, **more) -> str:
        """A token as its owner makes one."""
        body = {"note": "test", **more} | ({"scopes": scopes} if scopes else {})
        return self.hub("POST", f"/users/{user}/tokens", body)["token"]

    # --- what the collector is asked ---

    def get(self, path: str, token: str | None):
        headers = {"Authorization": f"token {token}"} if token is not None else {}
        return requests.get(f"{self.prefix}{path}", headers=headers, timeout=PATIENCE_SECONDS)

    def rows(self) -> dict[tuple[str, str], dict]:
        """Every server that an agent ever spoke for."""
        items = self.get("/api/v1/servers", self.reader).json()["items"]
        return {(row["user"], row["server"]): row for row in items if row["last_seen"]}

    def rss_kib(self, name: str) -> int:
        status = Path(f"/proc/{self._running[name].pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0])


def free_ports(count: int) -> list[int]:
    """Below what the kernel gives to outgoing connections: none of those takes one before it is listened on."""
    sockets: list[socket.socket] = []
    while len(sockets) < count:
        try:
            sockets.append(socket.create_server(("127.0.0.1", random.randrange(20_000, 32_000))))
        except OSError:
            continue  # taken
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
