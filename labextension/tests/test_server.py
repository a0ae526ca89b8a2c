"""A real server process: it starts whatever the agent does, and the agent ends with it."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import PATIENCE_S, alive, lines

TOKEN = "t0ken"
# Ours alone: others write to the home.
EXTENSIONS = {"hubmeter": True, "jupyterlab": False, "jupyter_lsp": False, "notebook_shim": False}


class Server:
    def __init__(self, folder: Path, environ: dict[str, str]):
        self.home = folder / "home"
        self.home.mkdir()
        root = folder / "root"
        root.mkdir()
        self._log = open(folder / "log", "w+")
        environ = {
            **environ,
            "HOME": str(self.home),
            **{f"JUPYTER_{name}_DIR": str(folder / name) for name in ("CONFIG", "DATA", "RUNTIME")},
        }
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "jupyter_server",
                "--allow-root",
                "--no-browser",
                "--ip=127.0.0.1",
                "--port=0",
                f"--IdentityProvider.token={TOKEN}",
                f"--ServerApp.root_dir={root}",
                f"--ServerApp.jpserver_extensions={EXTENSIONS}",
            ],
            env=environ,
            cwd=root,
            stderr=self._log,
            stdout=self._log,
        )
        info = self.wait(lambda: list((folder / "RUNTIME").glob("jpserver-*.json")), "the server's own file")
        self.url = json.loads(self.wait(lambda: info[0].read_text(), "its content"))["url"]
        self.wait(lambda: self.get("api/status"), "an answer")

    def wait(self, condition, what):
        end = time.monotonic() + PATIENCE_S
        while not (value := condition()):
            assert time.monotonic() < end, f"waited in vain: {what}\n{self.log()}"
            time.sleep(0.05)
        return value

    def get(self, path):
        request = urllib.request.Request(self.url + path, headers={"Authorization": f"token {TOKEN}"})
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                return json.load(answer)
        except (urllib.error.URLError, ConnectionError):
            return None

    def log(self):
        self._log.flush()
        return Path(self._log.name).read_text()

    def stop(self, sign=signal.SIGTERM):
        self.process.send_signal(sign)
        self.process.wait(PATIENCE_S)

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._log.close()


@pytest.fixture
def server(tmp_path, agent_env):
    made = []

    def start(**over):
        made.append(Server(tmp_path, {**os.environ, **over}))
        return made[-1]

    yield start
    for one in made:
        one.close()


def started(server, notes):
    return int(server.wait(lambda: lines(notes / "starts"), "the agent")[0])


def test_the_agent_lives_with_the_server_and_home_stays_empty(server, notes):
    one = server()
    pid = started(one, notes)
    one.wait(lambda: one.get("api/metrics/v1"), "a figure")
    before = one.get("api/status")["last_activity"]
    for _ in range(5):
        assert one.get("api/metrics/v1")["rss"] == 130453504
    assert one.get("api/status")["last_activity"] == before
    assert alive(pid)
    one.stop()
    assert not alive(pid)
    assert list(one.home.iterdir()) == []
    assert "Traceback" not in one.log()


def test_a_killed_server_leaves_no_agent(server, notes):
    one = server()
    pid = started(one, notes)
    one.wait(lambda: one.get("api/metrics/v1"), "a figure")
    one.stop(signal.SIGKILL)
    one.wait(lambda: not alive(pid), "the agent's end")


@pytest.mark.parametrize("mode", ["crash", "hang", "mute"])
def test_the_server_works_with_a_bad_agent(server, notes, mode):
    one = server(HUBMETER_TEST_AGENT=mode)
    pid = started(one, notes)
    assert one.get("api/metrics/v1") is None
    assert one.get("api/kernels") == []
    one.stop()
    assert not alive(pid)
    assert "Traceback" not in one.log()


def test_the_server_works_without_an_agent_and_says_so_once(server, tmp_path):
    one = server(HUBMETER_AGENT=str(tmp_path / "none"))
    one.wait(lambda: "no memory meter" in one.log(), "the line in the log")
    assert one.get("api/kernels") == []
    time.sleep(3)  # two more tries
    assert one.log().count("no memory meter") == 1
    one.stop()
    assert "Traceback" not in one.log()


@pytest.mark.skipif(
    "HUBMETER_TEST_REAL_AGENT" not in os.environ, reason="HUBMETER_TEST_REAL_AGENT names no agent binary"
)
def test_the_real_agent_measures_this_server(server):
    one = server(HUBMETER_AGENT=os.environ["HUBMETER_TEST_REAL_AGENT"], HUBMETER_INTERVAL="1")
    body = one.wait(lambda: one.get("api/metrics/v1"), "a figure")
    assert body["pss"] > 10_000_000
    assert body["meter"]["memory_source"] in ("cgroup2", "cgroup1", "pss", "rss")
    children = subprocess.run(
        ["pgrep", "-P", str(one.process.pid)], capture_output=True, text=True, check=True
    ).stdout.split()
    one.stop()
    assert children and not any(alive(int(pid)) for pid in children)
    assert list(one.home.iterdir()) == []


def test_two_meters_are_told_of(meter, jp_serverapp, caplog, monkeypatch):

    others = {
        **jp_serverapp.extension_manager.extensions,
        "jupyter_resource_usage": SimpleNamespace(enabled=True),
    }
    fake = SimpleNamespace(extension_manager=SimpleNamespace(extensions=others), web_app=jp_serverapp.web_app)
    caplog.set_level(logging.WARNING)
    meter._say_whose_route(fake)
    assert "hubmeter answers api/metrics/v1" in caplog.text
