"""The collector's wheel, installed where there is nothing but what it asks for."""

from __future__ import annotations

import os
import subprocess
import tarfile
import zipfile
from email.parser import HeaderParser
from pathlib import Path

WHEEL = Path(os.environ["HUBMETER_COLLECTOR_WHEEL"])
SOURCE = Path(os.environ["HUBMETER_COLLECTOR_SOURCE"])
BIN = Path(os.environ["HUBMETER_COLLECTOR_BIN"])
#: Where wheels are made.
BUILDER_BIN = Path(os.environ["HUBMETER_WHEEL_BIN"])
VERSION = "0.1.0"
PROGRAM = f"hubmeter_collector-{VERSION}.data/scripts/hubmeter-collector"
#: Nobody listens there.
NOBODY = "http://127.0.0.1:1/services/hubmeter"

#: As jupyterhub-idle-culler asks of a server that is idle for long by the hub's word.
ASK = """
import asyncio
from datetime import timedelta
from hubmeter_collector.culler import arbiter

server = {"name": "", "full_name": "ann/", "url": "/user/ann/", "started": "2026-11-21T10:00:00Z"}
print(asyncio.run(arbiter(inactive=timedelta(days=9), inactive_limit=600, server=server)))
"""


def run(folder: Path, program: Path, *args: str, **more: str) -> subprocess.CompletedProcess[str]:
    """By no program and no settings but the environment's own."""
    environment = {"PATH": str(BIN), "HOME": str(folder), "LC_ALL": "C.UTF-8", **more}
    done = subprocess.run(
        [str(program), *args], env=environment, cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def test_the_collectors_wheel_holds_the_program_and_the_arbiter_and_nothing_else():
    info = f"hubmeter_collector-{VERSION}.dist-info"
    with zipfile.ZipFile(WHEEL) as wheel:
        assert sorted(wheel.namelist()) == sorted(
            [
                "hubmeter_collector/__init__.py",
                "hubmeter_collector/culler.py",
                "hubmeter_collector/py.typed",
                PROGRAM,
                f"{info}/METADATA",
                f"{info}/RECORD",
                f"{info}/WHEEL",
                f"{info}/licenses/LICENSE",
            ]
        )
        about = HeaderParser().parsestr(wheel.read(f"{info}/METADATA").decode())
        tagged = wheel.read(f"{info}/WHEEL").decode()
    needs = [need for need in about.get_all("Requires-Dist") if "extra ==" not in need]
    assert needs == ["tornado>=6.1"]
    assert "Root-Is-Purelib: false" in tagged
    assert "-py3-none-manylinux_2_" in WHEEL.name and os.uname().machine in WHEEL.name


def test_the_collectors_wheel_brings_a_program_that_runs(tmp_path):
    program = BIN / "hubmeter-collector"
    assert run(tmp_path, program, "--version").stdout.split() == ["hubmeter-collector", VERSION]
    with zipfile.ZipFile(WHEEL) as wheel:
        assert wheel.read(PROGRAM) == program.read_bytes(), "it is the one of the wheel"


def test_the_arbiter_spares_everybody_while_no_collector_answers(tmp_path):
    asked = {"HUBMETER_API_URL": NOBODY, "JUPYTERHUB_API_TOKEN": "secret"}
    done = run(tmp_path, BIN / "python", "-c", ASK, **asked)
    assert done.stdout.split() == ["False"]
    assert f"no answer from the collector at {NOBODY}, nothing is culled" in done.stderr
    assert "secret" not in done.stdout + done.stderr


def test_the_collectors_wheel_is_content_with_what_it_asked_for(tmp_path):
    run(tmp_path, BIN / "python", "-m", "pip", "check")
    listed = run(tmp_path, BIN / "python", "-m", "pip", "list", "--format=freeze").stdout.split()
    names = {line.partition("==")[0].lower() for line in listed} - {"pip", "setuptools", "wheel"}
    assert names == {"hubmeter-collector", "tornado"}


def test_the_collectors_source_archive_holds_no_program_and_becomes_a_wheel_for_every_machine(tmp_path):
    with tarfile.open(SOURCE) as archive:
        assert not [name for name in archive.getnames() if "/bin/" in name]
    args = ["--no-deps", "--no-index", "--no-build-isolation", "-w", str(tmp_path), str(SOURCE)]
    run(tmp_path, BUILDER_BIN / "python", "-m", "pip", "wheel", *args)
    (built,) = tmp_path.glob("*.whl")
    assert built.name == f"hubmeter_collector-{VERSION}-py3-none-any.whl"
    with zipfile.ZipFile(built) as wheel:
        assert PROGRAM not in wheel.namelist()
