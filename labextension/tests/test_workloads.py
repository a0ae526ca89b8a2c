"""Real kernels, terminals and a proxied application in a real server, told apart by the real agent.

`sample` is told nothing, so it shows what the agent finds by itself; its socket shows what it makes of what
the extension tells.
"""

from __future__ import annotations

import http.client
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from conftest import alive
from test_server import TOKEN, Server

AGENT = os.environ.get("HUBMETER_TEST_REAL_AGENT")
PROXY = importlib.util.find_spec("jupyter_server_proxy") is not None
LAUNCH = "import sys; from ipykernel.kernelapp import launch_new_instance as run; run(['-f', sys.argv[-1]])"

pytestmark = pytest.mark.skipif(AGENT is None, reason="HUBMETER_TEST_REAL_AGENT names no agent binary")

# Kernelspecs with the arguments of other languages' kernels and of wrappers, that run Python.
SPECS = {
    "plain": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
    "ir": ["{script}/R", "--slave", "-e", "IRkernel::main()", "--args", "{connection_file}"],
    "julia": ["{script}/julia", "-i", "--color=yes", "{script}/kernel.jl", "{connection_file}"],
    "equals": [sys.executable, "-m", "ipykernel_launcher", "--f={connection_file}"],
    "shell": ["bash", "-c", f"{sys.executable} -m ipykernel_launcher -f '{{connection_file}}'; echo over"],
    "replaced": ["bash", "-c", f"exec {sys.executable} -m ipykernel_launcher -f '{{connection_file}}'"],
    "apart": ["setsid", "-w", sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
}


@pytest.fixture
def server(tmp_path, agent_env):
    scripts = tmp_path / "scripts"
    scripts.mkdir()
    for name in ("R", "julia"):
        (scripts / name).write_text(f"#!{sys.executable}\n{LAUNCH}\n")
        (scripts / name).chmod(0o755)
    for name, argv in SPECS.items():
        folder = tmp_path / "DATA" / "kernels" / name
        folder.mkdir(parents=True)
        argv = [one.replace("{script}", str(scripts)) for one in argv]
        spec = {"argv": argv, "display_name": name, "language": "python"}
        (folder / "kernel.json").write_text(json.dumps(spec))
    config = tmp_path / "CONFIG"
    config.mkdir()
    command = [sys.executable, "-m", "http.server", "{port}", "--bind", "127.0.0.1"]
    servers = {"dash": {"command": command, "timeout": 30}}
    extensions = {"jupyter_server_terminals": True, "jupyter_server_proxy": PROXY}
    settings = {"ServerApp": {"jpserver_extensions": extensions}, "ServerProxy": {"servers": servers}}
    (config / "jupyter_server_config.json").write_text(json.dumps(settings))
    environ = {**os.environ, "HUBMETER_AGENT": AGENT, "HUBMETER_INTERVAL": "1"}
    one = Server(tmp_path, environ)
    yield one
    # The server would be killed, and leave these behind: some are in sessions of their own.
    try:
        for kind, key in (("kernels", "id"), ("terminals", "name")):
            for left in ask(one, "GET", f"api/{kind}"):
                ask(one, "DELETE", f"api/{kind}/{left[key]}")
        one.stop()
    finally:
        one.close()


def ask(server, method, path, body=None):
    request = urllib.request.Request(
        server.url + path,
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": f"token {TOKEN}"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        text = answer.read()
    return json.loads(text) if text[:1] in (b"{", b"[") else text


def session(server, path, spec):
    body = {"path": path, "name": path.rsplit("/")[-1], "type": "notebook", "kernel": {"name": spec}}
    return ask(server, "POST", "api/sessions", body)["kernel"]["id"]


def found(server):
    """What the agent finds by itself, by kind and id."""
    said = subprocess.run(
        [AGENT, "sample", "--pid", str(server.process.pid), "--format", "json"],
        capture_output=True,
        check=True,
        text=True,
    )
    sample = json.loads(said.stdout)
    rows = sample["workloads"]
    for field in ("processes", "threads", "rss_bytes", "cpu_millis"):
        assert sum(row[field] for row in rows) == sample[field], field
    assert len({(row["kind"], row["id"]) for row in rows}) == len(rows)
    return {(row["kind"], row["id"]): row for row in rows}


class Local(http.client.HTTPConnection):
    """The agent's socket, where it is found by the server's pid."""

    def __init__(self, server):
        super().__init__("localhost", timeout=10)
        self.path = Path(os.environ["XDG_RUNTIME_DIR"]) / "hubmeter" / f"{server.process.pid}.sock"

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(str(self.path))


def shown(server):
    """What the agent shows that the extension talks to, by kind and id."""
    connection = Local(server)
    try:
        connection.request("GET", "/v1/sample")
        rows = json.loads(connection.getresponse().read()).get("workloads", [])
    except OSError:
        rows = []
    finally:
        connection.close()
    return {(row["kind"], row["id"]): row for row in rows}


def test_every_kernel_is_one_workload_whatever_started_it(server):
    ids = {name: session(server, f"{name}.ipynb", name) for name in SPECS}
    kernels = {("kernel", kernel_id) for kernel_id in ids.values()}
    # Wrappers and what they start are up, and each child is with its kernel.
    server.wait(lambda: found(server)["kernel", ids["shell"]]["processes"] == 2, "the shell's child")
    server.wait(lambda: found(server)["kernel", ids["apart"]]["processes"] == 2, "the child in a new session")
    rows = found(server)
    assert {key for key in rows if key[0] == "kernel"} == kernels
    # The agent that the extension started is no part of what it measures; nothing is left over.
    assert rows["server", "server"]["processes"] == 1
    assert all(row["processes"] == 0 for key, row in rows.items() if key[0] == "other")
    expected = {ids[name]: (name, f"{name}.ipynb") for name in SPECS}

    def names():
        rows = [row for key, row in shown(server).items() if key[0] == "kernel"]
        return {row["id"]: (row["name"], row["notebook"]) for row in rows}

    server.wait(lambda: names() == expected, "all of them in the meter by their names")


def test_notebooks_of_one_name_restart_shut_down_and_die_apart(server):
    one, two = session(server, "one/n.ipynb", "plain"), session(server, "two/n.ipynb", "plain")
    rows = found(server)
    first = rows["kernel", one]["pid"]
    assert first != rows["kernel", two]["pid"]
    named = server.wait(
        lambda: (rows := shown(server)) and {("kernel", one), ("kernel", two)} <= rows.keys() and rows, "both"
    )
    assert named["kernel", one]["notebook"] == named["kernel", two]["notebook"] == "n.ipynb"

    ask(server, "POST", f"api/kernels/{one}/restart")
    second = found(server)["kernel", one]["pid"]
    assert second != first
    server.wait(lambda: shown(server)["kernel", one]["pid"] == second, "the restarted kernel in the meter")

    os.kill(second, signal.SIGKILL)
    server.wait(lambda: found(server).get(("kernel", one), {}).get("pid", second) != second, "its return")

    ask(server, "DELETE", f"api/kernels/{two}")
    assert ("kernel", two) not in found(server)
    server.wait(lambda: ("kernel", two) not in shown(server), "its end in the meter")
    assert alive(found(server)["kernel", one]["pid"])


def test_a_terminal_with_its_jobs_is_one_workload(server):
    name = ask(server, "POST", "api/terminals")["name"]
    terminal = server.wait(
        lambda: next((row for key, row in found(server).items() if key[0] == "terminal"), None), "it"
    )
    assert terminal["id"].startswith("pts/")
    row = server.wait(lambda: shown(server).get(("terminal", name)), "its name in the meter")
    assert row["pid"] == terminal["pid"]


@pytest.mark.skipif(not PROXY, reason="jupyter-server-proxy is not installed")
def test_a_proxied_application_is_found_by_its_socket_and_named_by_its_address(server):
    assert b"Directory listing" in ask(server, "GET", "dash/")
    rows = found(server)
    (app,) = [row for key, row in rows.items() if key[0] == "app"]
    assert (app["id"], app["name"], app["processes"]) == ("http.server", "http.server", 1)
    assert rows["server", "server"]["processes"] == 1
    row = server.wait(lambda: shown(server).get(("app", "dash")), "its name in the meter")
    assert row["pid"] == app["pid"]
