"""The agent is told which process is which, when it changes, and nobody counts as active for it."""

from __future__ import annotations

import asyncio
import json
import logging
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace

import pytest
from conftest import lines, until
from jupyter_client.provisioning import LocalProvisioner

from hubmeter import told


@pytest.fixture(autouse=True)
def _often(monkeypatch):
    monkeypatch.setattr(told, "LOOK_S", 0.05)


def puts(notes):
    return [json.loads(line) for line in lines(notes / "puts")]


def last(notes, name):
    return (puts(notes) or [{name: []}])[-1][name]


async def test_kernels_and_terminals_are_told_by_pid_and_name(meter, jp_serverapp, notes, jp_root_dir):
    (jp_root_dir / "deep").mkdir()
    session = await jp_serverapp.session_manager.create_session(
        path="deep/a b.ipynb", name="a b.ipynb", type="notebook", kernel_name="echo"
    )
    terminal = jp_serverapp.web_app.settings["terminal_manager"].create()
    await until(lambda: last(notes, "kernels") and last(notes, "terminals"), "both told")
    kernel_id = session["kernel"]["id"]
    (row,) = last(notes, "kernels")
    manager = jp_serverapp.kernel_manager.get_kernel(kernel_id)
    assert row["pid"] == manager.provisioner.pid
    assert (row["id"], row["name"], row["notebook"]) == (kernel_id, "echo", "a b.ipynb")
    assert row["state"] in ("starting", "idle", "busy") and row["idle_ms"] >= 0
    term = jp_serverapp.web_app.settings["terminal_manager"].terminals[terminal["name"]]
    assert last(notes, "terminals") == [{"name": terminal["name"], "pid": term.ptyproc.pid}]

    await jp_serverapp.session_manager.update_session(session["id"], path="deep/new.ipynb")
    await until(lambda: last(notes, "kernels")[0]["notebook"] == "new.ipynb", "the new name")
    await jp_serverapp.session_manager.delete_session(session["id"])
    await until(lambda: last(notes, "kernels") == [], "the end of the kernel")


async def test_nothing_is_told_while_nothing_changes(meter, jp_serverapp, notes):
    kernel_id = await jp_serverapp.kernel_manager.start_kernel(kernel_name="echo")
    await until(lambda: last(notes, "kernels"), "the kernel told")
    kernel = jp_serverapp.kernel_manager.get_kernel(kernel_id)

    def seen():
        return jp_serverapp.web_app.last_activity(), kernel.last_activity, kernel.execution_state

    # A kernel that comes up says several things; the promise is about one that says nothing.
    for _ in range(20):
        before = seen()
        await asyncio.sleep(0.2)
        told_of = len(puts(notes))
        await asyncio.sleep(0.5)
        if seen() == before:
            break
    assert seen() == before and len(puts(notes)) == told_of
    await jp_serverapp.kernel_manager.shutdown_kernel(kernel_id)


async def test_a_new_agent_is_told_again(meter, jp_serverapp, notes):
    kernel_id = await jp_serverapp.kernel_manager.start_kernel(kernel_name="echo")
    await until(lambda: last(notes, "kernels"), "the kernel told")
    (notes / "puts").unlink()
    meter._agent._process.kill()
    await until(lambda: last(notes, "kernels"), "the kernel told to the new agent")
    await jp_serverapp.kernel_manager.shutdown_kernel(kernel_id)


def kernel_of(provisioner, **over):
    one = SimpleNamespace(provisioner=provisioner, kernel_name="k", execution_state="idle", **over)
    manager = SimpleNamespace(list_kernel_ids=lambda: ["id"], get_kernel=lambda _: one)
    return told.kernels(SimpleNamespace(kernel_manager=manager), {})


def test_a_kernel_elsewhere_has_no_process_here():
    local = LocalProvisioner()
    local.pid = 42
    assert [row["pid"] for row in kernel_of(local)] == [42]
    assert kernel_of(SimpleNamespace(pid=42)) == []
    assert kernel_of(LocalProvisioner()) == []
    assert kernel_of(None) == []


def test_of_too_many_kernels_the_last_used_are_told():
    now = datetime.now(timezone.utc)

    def one(index):
        provisioner = LocalProvisioner()
        provisioner.pid = index + 1
        last = None if index == 0 else now + timedelta(seconds=index)
        return SimpleNamespace(
            provisioner=provisioner, kernel_name="k", execution_state="idle", last_activity=last
        )

    many = {str(index): one(index) for index in range(500)}
    manager = SimpleNamespace(list_kernel_ids=lambda: list(many), get_kernel=many.__getitem__)
    rows = told.kernels(SimpleNamespace(kernel_manager=manager), {})
    assert [row["pid"] for row in rows] == list(range(500, 500 - told.ROWS_MAX, -1))


def test_a_clock_that_went_back_makes_no_negative_idle_time():
    now = datetime.now(timezone.utc)
    row = {"state": "idle", "last_activity": now + timedelta(hours=1)}
    assert told._with_idle(row, now) == {"state": "idle", "idle_ms": 0}
    assert told._with_idle({"state": "idle", "last_activity": None}, now)["idle_ms"] is None


@pytest.mark.parametrize(
    ("session", "name"),
    [
        ({"type": "notebook", "path": "/home/jo/a/b.ipynb", "name": "b"}, "b.ipynb"),
        ({"type": "console", "path": "console-1-8a", "name": "Console 1"}, "Console 1"),
        ({"type": "notebook", "path": "x" * 4000, "name": ""}, "x" * 255),
        ({"type": "notebook", "path": "\u20ac" * 4000, "name": ""}, "\u20ac" * 85),
        ({"type": "notebook", "path": "\ud800.ipynb", "name": ""}, "?.ipynb"),
        ({"type": "notebook", "path": "", "name": ""}, None),
        ({}, None),
    ],
)
def test_a_notebook_is_named_without_its_folder(session, name):
    assert told.notebook(session) == name


async def test_what_the_agent_refuses_is_not_sent_again(socket_of, caplog):
    asked = []

    async def refuse(reader, writer):
        asked.append(1)
        writer.write(b"HTTP/1.1 413 Payload Too Large\r\n\r\n")

    path = await socket_of(refuse)
    manager = SimpleNamespace(list_kernel_ids=list)
    sessions = SimpleNamespace(list_sessions=list)
    server = SimpleNamespace(
        kernel_manager=manager, session_manager=sessions, web_app=SimpleNamespace(settings={})
    )
    feed = SimpleNamespace(sample={}, connections=1)
    teller = told.Teller(server, feed, logging.getLogger("test"), lambda: path)
    task = asyncio.create_task(teller.run())
    await until(lambda: asked, "the first try")
    await asyncio.sleep(0.5)
    task.cancel()
    assert len(asked) == 1
    assert "does not take" in caplog.text
