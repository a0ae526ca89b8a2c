"""A collector and an agent as people start them, watching a process whose memory moves."""

import contextlib
import http.client
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = Path(os.environ.get("HUBMETER_PROGRAMS", ROOT / "target" / "debug"))

# Bases of a dozen samples, a second apart; longer than the collector keeps rows from the disk.
SAMPLES = 12
PATIENCE_S = 90

# Memory that comes and goes, in steps that a sample a second sees.
RESTLESS = """
import time
held = []
for step in range(10_000):
    held.append(bytearray(4_000_000 + step % 5 * 1_000_000))
    if step % 4 == 3:
        held.clear()
    time.sleep(0.7)
"""


class Local(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path):
        super().__init__("localhost", timeout=PATIENCE_S)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(PATIENCE_S)
        self.sock.connect(self.path)


class Bench:
    """The two programs, and ways to ask them."""

    user = pwd.getpwuid(os.geteuid()).pw_name

    def __init__(self, folder):
        self.folder = folder
        self.data = folder / "data"
        self.socket = folder / "http"
        link = folder / "link"
        self.log = open(folder / "log", "w")
        self.collector = subprocess.Popen(
            [
                PROGRAMS / "hubmeter-collector",
                *("serve", "--standalone", "--data-dir", self.data),
                *("--listen", f"unix:{self.socket}", "--link-listen", f"unix:{link}"),
            ],
            stderr=self.log,
        )
        self.until(self.socket.exists)
        self.agent = subprocess.Popen(
            [
                PROGRAMS / "hubmeter-agent",
                *("run", "--interval", "1s", "--collector", f"unix://{link}"),
                *("--socket", folder / "meter", "--", sys.executable, "-c", RESTLESS),
            ],
            stderr=self.log,
        )

    def until(self, true):
        end = time.monotonic() + PATIENCE_S
        while not true():
            assert time.monotonic() < end, (self.folder / "log").read_text()
            time.sleep(0.2)

    def get(self, path, accept="*/*"):
        connection = Local(self.socket)
        connection.request("GET", path, headers={"Accept": accept})
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        return answer.status, answer.headers, body

    def history(self, question="", accept="*/*"):
        status, headers, body = self.get(
            f"/api/v1/users/{self.user}/server/history?from=-1h{question}", accept
        )
        assert status == 200, body
        return headers, body

    def run(self, *arguments, code=0):
        done = subprocess.run(
            [PROGRAMS / "hubmeter-collector", *arguments],
            capture_output=True,
            timeout=PATIENCE_S,
        )
        assert done.returncode == code, done.stderr
        return done

    def export(self, *arguments, code=0):
        return self.run(
            *("export", "samples", "--data-dir", self.data, "--user", self.user, *arguments),
            code=code,
        )

    def stop(self):
        for program in (self.agent, self.collector):
            if program.poll() is None:
                program.send_signal(signal.SIGTERM)
                program.wait(timeout=PATIENCE_S)
        self.log.close()


@contextlib.contextmanager
def at_work():
    """A bench with some samples on the disk."""
    folder = Path(tempfile.mkdtemp(prefix="hubmeter-outlets-"))
    bench = Bench(folder)

    def rows_on_disk():
        if not (bench.data / "history" / "servers.db").exists():
            return 0
        done = subprocess.run(
            [
                PROGRAMS / "hubmeter-collector",
                *("export", "samples", "--data-dir", bench.data, "--user", bench.user),
            ],
            capture_output=True,
        )
        return done.stdout.count(b"\n")

    try:
        bench.until(lambda: rows_on_disk() > SAMPLES)
        yield bench
    finally:
        bench.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def running():
    """Both at work."""
    with at_work() as bench:
        yield bench


@pytest.fixture(scope="session")
def killed():
    """Another bench, whose collector was killed as it wrote; with the rows exported before."""
    with at_work() as bench:
        before = bench.export("--columns", "timestamp,rss").stdout
        bench.collector.kill()
        bench.collector.wait(timeout=PATIENCE_S)
        yield bench, before


@pytest.fixture(scope="session")
def stopped(running):
    """After both ended in order: what is exported then is all there was. Its tests come last."""
    running.agent.send_signal(signal.SIGTERM)
    running.agent.wait(timeout=PATIENCE_S)
    time.sleep(1)
    said = running.history()[1]
    running.collector.send_signal(signal.SIGTERM)
    running.collector.wait(timeout=PATIENCE_S)
    return running, said
