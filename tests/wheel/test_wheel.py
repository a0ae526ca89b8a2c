"""The wheel, installed where there is no Node, in a real JupyterLab without a hub and beside the other meter."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tarfile
import time
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

import pytest

WHEEL = Path(os.environ["HUBMETER_WHEEL"])
SOURCE = Path(os.environ["HUBMETER_SOURCE"])
BIN = Path(os.environ["HUBMETER_WHEEL_BIN"])
TOKEN = "t0ken"
PATIENCE_S = 90.0
FRONT_END = "hubmeter-0.1.0.data/data/share/jupyter/labextensions/hubmeter/package.json"


def environment(folder: Path) -> dict[str, str]:
    """No program but the environment's own."""
    names = {name: str(folder / name) for name in ("CONFIG", "DATA", "RUNTIME")}
    return {
        "PATH": str(BIN),
        "HOME": str(folder),
        "LC_ALL": "C.UTF-8",
        "JUPYTER_PLATFORM_DIRS": "1",
        "HUBMETER_INTERVAL": "1",
        **{f"JUPYTER_{name}_DIR": path for name, path in names.items()},
    }


def run(folder: Path, program: str, *args: str) -> str:
    done = subprocess.run(
        [str(BIN / program), *args],
        env=environment(folder),
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


class Lab:
    """A plain `jupyter lab`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._log = open(folder / "log", "w")
        args = [
            "--allow-root",
            "--no-browser",
            "--ip=127.0.0.1",
            "--port=0",
            f"--IdentityProvider.token={TOKEN}",
        ]
        self.process = subprocess.Popen(
            [str(BIN / "jupyter"), "lab", *args],
            env=environment(folder),
            cwd=folder,
            stdout=self._log,
            stderr=self._log,
        )
        (info,) = self.wait(
            lambda: list((folder / "RUNTIME").glob("jpserver-*.json")), "the server's own file"
        )
        self.url = json.loads(self.wait(info.read_text, "its content"))["url"]

    def wait(self, condition, what):
        end = time.monotonic() + PATIENCE_S
        while not (value := condition()):
            assert time.monotonic() < end, f"waited in vain: {what}\n{self.log()}"
            time.sleep(0.1)
        return value

    def ask(self, path, data=None):
        headers = {"Authorization": f"token {TOKEN}"}
        request = urllib.request.Request(self.url + path, data=data, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                body = answer.read()
        except (urllib.error.URLError, ConnectionError):
            return None
        return json.loads(body) if answer.headers.get_content_type() == "application/json" else body.decode()

    def log(self):
        return (self.folder / "log").read_text()

    def children(self):
        pid = self.process.pid
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [os.readlink(f"/proc/{child}/exe") for child in found]

    def close(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(PATIENCE_S)
        self._log.close()


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    one = Lab(tmp_path_factory.mktemp("lab"))
    yield one
    one.close()


def test_there_is_no_node_here():
    assert shutil.which("node", path=str(BIN)) is None


def test_the_wheel_is_for_the_machines_that_its_agent_runs_on():
    with zipfile.ZipFile(WHEEL) as wheel:
        (agent,) = [one for one in wheel.infolist() if one.filename == "hubmeter/bin/hubmeter-agent"]
        assert (agent.external_attr >> 16) & 0o111, "the agent may be executed"
        names = wheel.namelist()
        assert FRONT_END in names
        assert sum("labextension" in name and name.startswith("hubmeter/") for name in names) == 0, "once"
        about = wheel.read("hubmeter-0.1.0.dist-info/WHEEL").decode()
    assert "Root-Is-Purelib: false" in about
    assert "-py3-none-" in WHEEL.name and not WHEEL.name.endswith("-any.whl")


#: The head of a program: its processor, then the kinds of its parts.
PLATFORM_OF = """
import struct, sys
sys.path.insert(0, sys.argv[1])
from hatch_build import platform_of

def head(machine, kinds, magic=b"\\x7fELF\\x02\\x01"):
    start = magic.ljust(18, b"\\0") + struct.pack("<H", machine)
    start = start.ljust(32, b"\\0") + struct.pack("<Q", 64)
    start = start.ljust(54, b"\\0") + struct.pack("<HH", 56, len(kinds))
    return start.ljust(64, b"\\0") + b"".join(struct.pack("<I", kind).ljust(56, b"\\0") for kind in kinds)

def said(data):
    try:
        return platform_of(data, "agent")
    except SystemExit as error:
        return str(error)

for data in (head(62, [1, 2]), head(183, [1]), head(62, [1, 3]), head(3, [1]), head(62, [1], b"MZ"), head(62, [1])[:70], b""):
    print(said(data))
"""


def test_a_static_agent_is_for_every_linux_of_its_processor_and_any_other_for_machines_like_this(tmp_path):
    with tarfile.open(SOURCE) as archive:
        archive.extractall(tmp_path, filter="data")
    (package,) = tmp_path.iterdir()
    every = "manylinux_2_17_{0}.manylinux2014_{0}.musllinux_1_1_{0}"
    here = os.uname().machine
    assert run(tmp_path, "python", "-c", PLATFORM_OF, str(package)).splitlines() == [
        every.format("x86_64"),
        every.format("aarch64"),
        "linux_x86_64" if here == "x86_64" else "agent is not static, and not for this machine",
        "agent is for a processor that wheels have no name for (3)",
        "agent is no program for 64-bit Linux",
        "agent has no head that can be read",
        "agent is no program for 64-bit Linux",
    ]


def test_the_source_archive_is_installed_without_node_and_holds_no_agent(tmp_path):
    with tarfile.open(SOURCE) as archive:
        names = archive.getnames()
    assert not [name for name in names if "/bin/" in name]
    args = (
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-index",
        "--no-build-isolation",
        "-w",
        str(tmp_path),
        str(SOURCE),
    )
    run(tmp_path, "python", *args)
    (built,) = tmp_path.glob("*.whl")
    assert built.name == "hubmeter-0.1.0-py3-none-any.whl"
    with zipfile.ZipFile(built) as wheel:
        assert FRONT_END in wheel.namelist()


def test_a_package_without_its_front_end_is_not_built(tmp_path):
    with tarfile.open(SOURCE) as archive:
        archive.extractall(tmp_path, filter="data")
    (package,) = tmp_path.iterdir()
    shutil.rmtree(package / "hubmeter/labextension")
    args = [str(BIN / "python"), "-m", "hatchling", "build", "-t", "wheel"]
    done = subprocess.run(
        args, cwd=package, env=environment(tmp_path), capture_output=True, text=True, check=False
    )
    assert done.returncode != 0 and "cargo xtask wheel" in done.stderr


def test_both_extensions_are_enabled_by_their_files_alone(lab):
    listed = run(lab.folder, "jupyter", "labextension", "list")
    (line,) = [line for line in listed.splitlines() if "hubmeter v" in line]
    assert "enabled" in line and "OK" in line
    assert "hubmeter" in run(lab.folder, "jupyter", "server", "extension", "list")


def test_a_plain_lab_is_measured_by_the_agent_in_the_wheel(lab):
    body = lab.wait(lambda: lab.ask("api/metrics/v1"), "a figure")
    assert body["pss"] > 10_000_000 and body["meter"]["state"] == "live"
    (agent,) = [exe for exe in lab.children() if exe.endswith("/hubmeter-agent")]
    assert agent.startswith(str(BIN.parent.resolve())) and "/site-packages/hubmeter/bin/" in agent
    table = lab.ask("hubmeter/v1/history?fields=memory_used_bytes")
    assert table["source"] == "agent" and table["columns"]["memory_used_bytes"][-1] > 10_000_000
    assert lab.ask("hubmeter/v1/server") == {"available": False, "reason": "no collector is known"}


def test_beside_the_other_meter_ours_answers_and_the_log_says_so(lab):
    lab.wait(lambda: "hubmeter answers api/metrics/v1" in lab.log(), "the line in the log")
    assert "Traceback" not in lab.log()


def test_a_kernel_of_any_language_has_its_figure_without_being_woken(lab):
    kernel = lab.ask("api/kernels", b'{"name": "python3"}')
    path = f"api/metrics/v1/kernel_usage/get_usage/{kernel['id']}"
    content = lab.wait(
        lambda: lab.ask(path)["content"].get("kernel_memory") and lab.ask(path)["content"], "it"
    )
    before = lab.ask(f"api/kernels/{kernel['id']}")["last_activity"]
    # What jupyter-resource-usage's panel of one kernel reads.
    assert content["pid"] > 0 and content["kernel_memory"] > 1_000_000 and content["host_usage_flag"] is False
    assert lab.ask(path)["kernel_id"] == kernel["id"]
    assert lab.ask(f"api/kernels/{kernel['id']}")["last_activity"] == before


def test_notebook_and_classic_notebook_come_up_with_it(lab):
    page = lab.ask("tree")
    assert '"name": "hubmeter"' in page, "Notebook 7 loads the extension"
    assert "jupyter_resource_usage" in lab.ask("nbclassic/tree") or lab.ask("nbclassic/tree") is not None


def test_nothing_was_written_into_the_home(lab):
    ours = [path for path in lab.folder.rglob("*hubmeter*")]
    assert ours == []
