"""The agent is found, started, started again, and ended; whatever it does, we go on."""

from __future__ import annotations

import asyncio
import logging
import os
import stat
import threading
from pathlib import Path

import pytest
from conftest import DOUBLE, alive, lines, until

from hubmeter import agent as module
from hubmeter import local
from hubmeter.agent import Agent, AgentError, Backoff, LineBudget, find, socket_path


class Deaf:
    """Hears nothing of the agent's stream."""

    live = False

    async def silence(self):
        return


class Hears(Deaf):
    """Hears it all the time."""

    live = True

    async def silence(self):
        await asyncio.Event().wait()


@pytest.fixture
def agent(agent_env, jp_asyncio_loop):
    made = Agent(logging.getLogger("hubmeter.test"), Deaf(), dict(os.environ))
    yield made
    jp_asyncio_loop.run_until_complete(made.stop())


def starts(notes):
    return [int(line) for line in lines(notes / "starts")]


async def answering(agent):
    while agent.socket is None or not await module.answering(agent.socket):
        await asyncio.sleep(0.02)


async def test_a_dead_agent_is_started_again(agent, notes, monkeypatch):
    monkeypatch.setattr(Backoff, "next", lambda self: 0.01)
    agent.start()
    await until(lambda: starts(notes), "the first start")
    os.kill(starts(notes)[0], 9)
    await until(lambda: len(starts(notes)) == 2, "the second start")
    assert not alive(starts(notes)[0])


async def test_an_agent_that_crashes_at_once_is_told_of_once(agent, notes, monkeypatch, caplog):
    monkeypatch.setattr(Backoff, "next", lambda self: 0.01)
    agent._environ = {**agent._environ, "HUBMETER_TEST_AGENT": "crash"}
    agent.start()
    await until(lambda: len(starts(notes)) >= 4, "four starts")
    told = [r for r in caplog.records if r.levelno >= logging.WARNING]
    assert [r.getMessage() for r in told] == [
        "hubmeter: the agent ended with code 1; it will be started again"
    ]


@pytest.mark.parametrize("mode", ["hang", "mute"])
async def test_an_agent_that_does_not_answer_is_started_again(agent, notes, monkeypatch, mode):
    monkeypatch.setattr(Backoff, "next", lambda self: 0.01)
    monkeypatch.setattr(module, "CHECK_S", 0.05)
    monkeypatch.setattr(module, "HUNG_S_MIN", 1.0)  # longer than an interpreter takes to start
    monkeypatch.setattr(local, "ANSWER_S_MAX", 0.1)
    agent._environ = {**agent._environ, "HUBMETER_TEST_AGENT": mode}
    agent.start()
    await until(lambda: len(starts(notes)) >= 2, "the second start")
    await until(lambda: not alive(starts(notes)[0]), "the end of the first")


async def test_an_agent_that_answers_is_left_alone(agent, notes, monkeypatch):
    monkeypatch.setattr(module, "CHECK_S", 0.02)
    monkeypatch.setattr(module, "HUNG_S_MIN", 5.0)
    agent.start()
    await answering(agent)
    await asyncio.sleep(0.3)
    assert len(starts(notes)) == 1


async def test_an_agent_whose_stream_goes_on_is_asked_nothing(agent, notes, monkeypatch):
    asked = []
    monkeypatch.setattr(module, "CHECK_S", 0.01)
    monkeypatch.setattr(module, "HUNG_S_MIN", 0.01)
    monkeypatch.setattr(local, "answers", lambda path: asked.append(path))
    agent._ear = Hears()
    agent.start()
    await until(lambda: starts(notes), "the start")
    await asyncio.sleep(0.3)
    assert len(starts(notes)) == 1 and asked == []


async def test_stop_ends_an_agent_that_ignores_sigterm(agent, notes, monkeypatch):
    monkeypatch.setattr(module, "STOP_S_MAX", 0.1)
    agent._environ = {**agent._environ, "HUBMETER_TEST_AGENT": "hang"}
    agent.start()
    await until(lambda: starts(notes), "the start")
    await agent.stop()
    assert not alive(starts(notes)[0])


@pytest.mark.parametrize("told", [True, False])
async def test_an_agent_that_is_there_already_is_used(agent, notes, socket_of, tmp_path, told):
    """The agent that started us says where it listens, or listens where agents do, by our pid."""

    async def serve(reader, writer):
        writer.write(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n")

    path = await socket_of(serve)
    if told:
        agent._environ = {**agent._environ, "HUBMETER_SOCKET": path}
    else:
        (tmp_path / "run" / "hubmeter").mkdir(mode=0o700)
        path = os.rename(path, to := str(tmp_path / "run" / "hubmeter" / f"{os.getpid()}.sock")) or to
    agent.start()
    await until(lambda: agent.socket == path, "the agent's socket")
    await asyncio.sleep(0.2)
    assert starts(notes) == []


async def test_an_agent_that_started_us_and_is_gone_is_followed_by_one_of_our_own(
    agent, notes, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(module, "CHECK_S", 0.02)
    monkeypatch.setattr(module, "LEFT_S_MIN", 0.5)
    path = str(tmp_path / "theirs")

    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n")
        writer.close()

    theirs = await asyncio.start_unix_server(serve, path)
    agent._environ = {**agent._environ, "HUBMETER_SOCKET": path}
    agent.start()
    await until(lambda: agent.socket == path, "the agent's socket")
    await asyncio.sleep(0.7)
    assert starts(notes) == [] and agent.up_s() is None
    theirs.close()
    os.unlink(path)
    await until(lambda: starts(notes), "our own")
    await answering(agent)
    assert "does not answer any more" in caplog.text
    assert agent.up_s() > 0


async def test_a_socket_that_nobody_answers_on_gets_an_agent(agent, notes, tmp_path):
    path = str(tmp_path / "stale")
    agent._environ = {**agent._environ, "HUBMETER_SOCKET": path}
    agent.start()
    await until(lambda: Path(path).is_socket(), "an agent on the socket that was asked for")


async def test_a_talkative_agent_does_not_fill_the_log(caplog, jp_asyncio_loop):
    caplog.set_level(logging.INFO)
    budget = LineBudget(logging.getLogger("hubmeter.test"))
    for _ in range(1000):
        budget.write(b"\x1b[31m" + b"x" * 5000 + b"\xff\n")
    shown = [r.getMessage() for r in caplog.records]
    assert len(shown) <= 2 * module.LOG_LINES_PER_MINUTE_MAX + 1  # the minute may turn meanwhile
    assert all(len(line) < 600 and line.isprintable() for line in shown)


def test_the_binary_is_found_by_setting_then_package_then_path(tmp_path, monkeypatch):
    other = tmp_path / "hubmeter-agent"
    other.write_text("")
    other.chmod(0o700)
    monkeypatch.setattr(module, "__file__", str(tmp_path / "nowhere" / "agent.py"))
    assert find({"HUBMETER_AGENT": str(DOUBLE), "PATH": str(tmp_path)}) == str(DOUBLE)
    assert find({"PATH": str(tmp_path)}) == str(other)
    packaged = tmp_path / "nowhere" / "bin" / "hubmeter-agent"
    packaged.parent.mkdir(parents=True)
    packaged.write_text("")
    packaged.chmod(0o700)
    assert find({"PATH": str(tmp_path)}) == str(packaged)


@pytest.mark.parametrize(
    "environ", [{"PATH": ""}, {"HUBMETER_AGENT": "/no/such"}, {"HUBMETER_AGENT": "/tmp"}]
)
def test_a_missing_binary_is_said(environ, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "__file__", str(tmp_path / "agent.py"))
    with pytest.raises(AgentError):
        find(environ)


def test_the_socket_is_in_a_folder_of_ours_alone(tmp_path):
    tmp_path.chmod(0o700)
    path = Path(socket_path({"XDG_RUNTIME_DIR": str(tmp_path), "HOME": "/home/nobody"}))
    assert path.parent == tmp_path / "hubmeter"
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_the_socket_is_never_under_home(tmp_path):
    runtime = tmp_path / "home" / "run"
    runtime.mkdir(parents=True)
    path = socket_path({"XDG_RUNTIME_DIR": str(runtime), "HOME": str(tmp_path / "home")})
    assert path.startswith(f"/tmp/hubmeter-{os.getuid()}/")
    assert list(runtime.iterdir()) == []


def test_a_folder_that_others_can_enter_is_not_used(tmp_path, monkeypatch):
    (tmp_path / "hubmeter").mkdir()
    (tmp_path / "hubmeter").chmod(0o755)
    path = socket_path({"XDG_RUNTIME_DIR": str(tmp_path), "HOME": "/home/nobody"})
    assert not path.startswith(str(tmp_path))


def test_a_link_in_place_of_the_folder_is_not_followed(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    (tmp_path / "hubmeter").symlink_to(elsewhere)
    path = socket_path({"XDG_RUNTIME_DIR": str(tmp_path), "HOME": "/home/nobody"})
    assert not path.startswith(str(tmp_path))


def test_a_path_longer_than_the_kernel_takes_is_used_as_the_agent_does(tmp_path):
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    path = socket_path({"XDG_RUNTIME_DIR": str(deep), "HOME": "/home/nobody"})
    assert path.startswith(str(deep))


def test_backoff_grows_to_its_cap_and_stays():
    backoff = Backoff(1.0, 60.0)
    delays = [backoff.next() for _ in range(20)]
    assert 0.75 <= delays[0] <= 1.25
    assert all(45.0 <= delay <= 75.0 for delay in delays[8:])


async def test_a_file_system_that_hangs_is_said_and_waited_for(agent, notes, monkeypatch, caplog):
    back = threading.Event()
    really = module.find
    monkeypatch.setattr(module, "FIND_S_MAX", 0.05)
    monkeypatch.setattr(module, "find", lambda environ: back.wait(10) and really(environ))
    agent.start()
    await until(lambda: "does not answer" in caplog.text, "the line in the log")
    back.set()
    await until(lambda: starts(notes), "the agent, once it can be found")
