"""The agent is told which process is which, when it changes, and nobody counts as active for it."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
import threading
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace

import pytest
from conftest import lines, until
from jupyter_client.provisioning import LocalProvisioner

from hubmeter import ends, labels, proxied, told
from hubmeter.agent import aside


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
    assert (row["id"], row["name"], row["notebook"]) == (kernel_id, "echo", "deep/a b.ipynb")
    assert row["state"] in ("starting", "idle", "busy") and row["idle_ms"] >= 0
    term = jp_serverapp.web_app.settings["terminal_manager"].terminals[terminal["name"]]
    (shell,) = last(notes, "terminals")
    assert (shell["name"], shell["pid"]) == (terminal["name"], term.ptyproc.pid)

    await jp_serverapp.session_manager.update_session(session["id"], path="deep/new.ipynb")
    await until(lambda: last(notes, "kernels")[0]["notebook"] == "deep/new.ipynb", "the new name")
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
    return told.running(SimpleNamespace(kernel_manager=manager), {})


def test_a_kernel_elsewhere_has_no_process_here():
    local = LocalProvisioner()
    local.pid = 42
    assert [row["pid"] for row in kernel_of(local)] == [42]
    # Known all the same: another provisioner's pid is of another machine.
    (row,) = kernel_of(SimpleNamespace(pid=42))
    assert (row["id"], row["pid"]) == ("id", None)
    # Not started yet.
    assert kernel_of(LocalProvisioner()) == []
    assert kernel_of(None) == []


def test_a_gateways_kernel_is_known_to_run_elsewhere():
    from jupyter_server.gateway.managers import GatewayKernelManager

    one = GatewayKernelManager.__new__(GatewayKernelManager)
    one.kernel_name, one.execution_state = "python3", "idle"
    manager = SimpleNamespace(list_kernel_ids=lambda: ["id"], get_kernel=lambda _: one)
    (row,) = told.running(SimpleNamespace(kernel_manager=manager), {"id": "a.ipynb"})
    assert (row["pid"], row["notebook"]) == (None, "a.ipynb")


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
    rows = told.last_used(told.running(SimpleNamespace(kernel_manager=manager), {}))
    assert [row["pid"] for row in rows] == list(range(500, 500 - told.ROWS_MAX, -1))


def test_a_clock_that_went_back_makes_no_negative_idle_time():
    now = datetime.now(timezone.utc)
    row = {"state": "idle", "last_activity": now + timedelta(hours=1)}
    assert told._with_idle(row, now) == {"state": "idle", "idle_ms": 0}
    assert told._with_idle({"state": "idle", "last_activity": None}, now)["idle_ms"] is None


@pytest.mark.parametrize(
    ("session", "name"),
    [
        ({"type": "notebook", "path": "jo/a/b.ipynb", "name": "b"}, "jo/a/b.ipynb"),
        ({"type": "console", "path": "console-1-8a", "name": "Console 1"}, "Console 1"),
        ({"type": "notebook", "path": "x" * 4000, "name": ""}, "x" * 1024),
        ({"type": "notebook", "path": "x/" * 600 + "a.ipynb", "name": ""}, "a.ipynb"),
        ({"type": "notebook", "path": "\u20ac" * 4000, "name": ""}, "\u20ac" * 341),
        ({"type": "console", "name": "\u20ac" * 4000}, "\u20ac" * 85),
        ({"type": "notebook", "path": "\ud800.ipynb", "name": ""}, "?.ipynb"),
        ({"type": "notebook", "path": "", "name": ""}, None),
        ({}, None),
    ],
)
def test_a_notebook_is_named_from_the_servers_root(session, name):
    assert labels.notebook(session) == name


def test_a_message_is_never_longer_than_the_agent_takes():
    def row(index, notebook):
        return {"id": str(index), "pid": index, "name": "n" * 255, "notebook": notebook, "state": "idle"}

    rows = [row(index, f"{'d' * 900}/{index}.ipynb") for index in range(told.ROWS_MAX)]
    body = told.fitting({"kernels": rows, "terminals": [], "apps": [], "ended": []})
    assert [one["notebook"] for one in body["kernels"]] == [f"{i}.ipynb" for i in range(told.ROWS_MAX)]
    rows = [row(index, "\u20ac" * 341) for index in range(told.ROWS_MAX)]
    body = told.fitting({"kernels": rows, "terminals": [], "apps": [], "ended": []})
    assert told.size(body) <= told.BODY_BYTES_MAX
    assert [one["pid"] for one in body["kernels"]] == list(range(128)), "the last used stay"


async def test_a_kernel_that_is_killed_is_told_with_its_signal_and_one_that_is_shut_down_as_asked(
    meter, jp_serverapp, notes
):
    manager = jp_serverapp.kernel_manager
    kernel_id = await manager.start_kernel(kernel_name="echo")
    kernel = manager.get_kernel(kernel_id)
    first = kernel.provisioner.pid
    await until(lambda: last(notes, "kernels"), "the kernel told")
    os.kill(first, signal.SIGKILL)
    await until(lambda: last(notes, "ended"), "its end")
    assert last(notes, "ended") == [{"id": kernel_id, "pid": first, "asked": False, "signal": 9}]
    await until(lambda: [row["pid"] != first for row in last(notes, "kernels")] == [True], "its restart")
    second = kernel.provisioner.pid
    await manager.shutdown_kernel(kernel_id, now=True)
    await until(lambda: len(last(notes, "ended")) == 2, "the shutdown")
    asked = {"id": kernel_id, "pid": second, "asked": True, "signal": None}
    assert last(notes, "ended")[1] == asked


async def test_a_kernel_that_somebody_restarts_is_told_as_asked(meter, jp_serverapp, notes):
    manager = jp_serverapp.kernel_manager
    kernel_id = await manager.start_kernel(kernel_name="echo")
    first = manager.get_kernel(kernel_id).provisioner.pid
    await until(lambda: last(notes, "kernels"), "the kernel told")
    await manager.restart_kernel(kernel_id, now=True)
    await until(lambda: last(notes, "ended"), "its end")
    assert last(notes, "ended") == [{"id": kernel_id, "pid": first, "asked": True, "signal": None}]


def test_ends_are_told_for_a_while_and_bounded(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(ends.time, "monotonic", lambda: clock[0])
    watched = ends.Ends(SimpleNamespace(), lambda: None, logging.getLogger("test"))
    watched.look({str(index): index for index in range(1, 101)})
    watched.look({})
    assert [row["pid"] for row in watched.rows()] == list(range(37, 101))
    clock[0] = ends.KEPT_S + 1
    assert watched.rows() == []


def test_proxied_applications_are_told_by_the_name_in_their_address(monkeypatch):
    class Process:
        pid, returncode = 42, None

    def web_app(**state):
        rule = SimpleNamespace(target_kwargs={"state": state}, target=None)
        inner = SimpleNamespace(rules=[rule, SimpleNamespace(target_kwargs=None, target=None)])
        return SimpleNamespace(default_router=SimpleNamespace(rules=[SimpleNamespace(target=inner)]))

    monkeypatch.setitem(sys.modules, proxied.PACKAGE, SimpleNamespace())
    supervised = SimpleNamespace(proc=Process(), name="code-server")
    assert proxied.apps(web_app(proc=supervised)) == [{"name": "code-server", "pid": 42}]
    assert proxied.apps(web_app()) == []
    assert proxied.apps(web_app(proc="process not managed by jupyter-server-proxy")) == []
    supervised.proc.returncode = 0
    assert proxied.apps(web_app(proc=supervised)) == []
    assert proxied.apps(SimpleNamespace()) == []


async def test_what_the_agent_refuses_is_not_sent_again(socket_of, caplog):
    asked = []

    async def refuse(reader, writer):
        asked.append(1)
        writer.write(b"HTTP/1.1 413 Payload Too Large\r\n\r\n")

    path = await socket_of(refuse)
    manager = SimpleNamespace(list_kernel_ids=list)
    sessions = SimpleNamespace(list_sessions=list)
    server = SimpleNamespace(
        kernel_manager=manager,
        session_manager=sessions,
        web_app=SimpleNamespace(settings={}),
        event_logger=None,
    )
    feed = SimpleNamespace(live=True, connections=1)
    woken = threading.Event()
    teller = told.Teller(server, feed, logging.getLogger("test"), lambda: path, woken.set)
    task = asyncio.create_task(teller.run())
    await until(woken.is_set, "the loop's part")
    for _ in range(3):
        await aside(teller.look)
    task.cancel()
    assert len(asked) == 1
    assert "does not take" in caplog.text


async def test_a_table_of_sessions_that_does_not_say_when_it_changes_is_read_now_and_then(monkeypatch):
    monkeypatch.setattr(told, "NAMES_S", 0.0)
    read, woken = [], threading.Event()
    server = SimpleNamespace(
        kernel_manager=SimpleNamespace(list_kernel_ids=list),
        session_manager=SimpleNamespace(list_sessions=lambda: read.append(1) or []),
        web_app=SimpleNamespace(settings={}),
        event_logger=None,
    )
    feed = SimpleNamespace(live=True, connections=1)
    teller = told.Teller(server, feed, logging.getLogger("test"), lambda: None, woken.set)
    task = asyncio.create_task(teller.run())
    for count in (1, 2, 3):
        await until(lambda count=count: len(read) >= count and woken.is_set(), "one more reading")
        woken.clear()
        await aside(teller.look)
    task.cancel()


async def test_a_manager_that_fails_once_does_not_end_the_telling():
    woken, fails = threading.Event(), [True]

    def kernels():
        if fails:
            raise RuntimeError("away")
        return []

    server = SimpleNamespace(
        kernel_manager=SimpleNamespace(list_kernel_ids=kernels),
        session_manager=SimpleNamespace(list_sessions=list),
        web_app=SimpleNamespace(settings={}),
        event_logger=None,
    )
    feed = SimpleNamespace(live=True, connections=1)
    teller = told.Teller(server, feed, logging.getLogger("test"), lambda: None, woken.set)
    task = asyncio.create_task(teller.run())
    await asyncio.sleep(0.05)
    assert not task.done() and not woken.is_set()
    fails.clear()
    await aside(teller.look)
    await until(woken.is_set, "the loop's part")
    task.cancel()


async def test_a_server_where_nothing_happens_is_read_once(meter, jp_serverapp, monkeypatch):
    listed = []
    sessions = jp_serverapp.session_manager
    list_sessions = sessions.list_sessions

    def noting():
        listed.append(1)
        return list_sessions()

    monkeypatch.setattr(sessions, "list_sessions", noting)
    await until(lambda: meter._feed.live, "samples")
    await asyncio.sleep(1.0)
    before = len(listed)
    assert before <= 2
    await asyncio.sleep(1.0)
    assert len(listed) == before
    assert sessions.connection.execute("SELECT 1").fetchone()[0] == 1
    await asyncio.sleep(0.3)
    assert len(listed) == before, "a question to the table is no news"
