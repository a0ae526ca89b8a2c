"""A person's doing is told from what programs do by themselves."""

from __future__ import annotations

import os
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import lines, until
from test_told import last, puts

from hubmeter import pages, person, terminals, told
from hubmeter.person import Person

T0 = datetime(2026, 11, 21, 10, tzinfo=timezone.utc)


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def someone(clock):
    return Person(clock)


def row(state="idle", after_s=0, **over):
    return {
        "id": "k",
        "state": state,
        "last_activity": T0 + timedelta(seconds=after_s),
        "notebook": "a.ipynb",
        **over,
    }


def kind_after(someone, *looks):
    for one in looks:
        someone.look([one] if isinstance(one, dict) else one, {})
    return someone.body()["input_kind"]


def test_before_anybody_did_anything_it_is_unknown_and_not_zero(someone):
    assert someone.body() == {
        "input_ms": None,
        "input_kind": None,
        "shown": [],
        "kept_ms": None,
        "page_open": None,
    }


def test_input_is_told_by_its_age_on_a_clock_that_nobody_sets(someone, clock):
    someone.did("typing")
    clock.now += 61.5
    assert (someone.body()["input_ms"], someone.body()["input_kind"]) == (61_500, "typing")


@pytest.mark.parametrize(
    ("looks", "kind"),
    [
        # Begun, and begun and done between two looks.
        ([row(), row("busy", 1)], "run"),
        ([row(), row("idle", 3)], "run"),
        ([[], row("busy")], "run"),
        # It runs on and writes: nobody's doing.
        ([row("busy"), row("busy", 60), row("busy", 120)], None),
        # It ends.
        ([row("busy"), row("idle", 60)], None),
        # Nothing happens; a kernel starts, and is started again; it dies.
        ([row(), row(), row()], None),
        ([[], row("starting"), row("idle", 1)], None),
        ([row(), row("starting", 1), row("idle", 2)], None),
        ([row(), row("dead", 1)], None),
        # The first look knows nothing of before.
        ([row("busy", 5)], None),
    ],
)
def test_code_that_was_begun_is_input_and_code_that_runs_on_is_not(someone, looks, kind):
    assert kind_after(someone, *looks) == kind


def test_only_a_later_reading_of_a_terminal_is_input(someone):
    someone.look([], {"1": 8.0})
    someone.look([], {"1": 8.0, "2": 16.0})
    assert someone.body()["input_kind"] is None, "a new terminal has not been typed into"
    someone.look([], {"2": 16.0})
    someone.look([], {"2": 24.0})
    assert someone.body()["input_kind"] == "terminal"


def test_a_notebook_that_its_running_cell_made_save_itself_is_nobodys_doing(someone):
    someone.saved("a.ipynb", [row("busy")])
    someone.saved("a.ipynb", [row("idle", 9)])
    assert someone.body()["input_kind"] is None
    someone.saved("a.ipynb", [row("idle", 9)])
    assert someone.body()["input_kind"] == "save", "nothing ran since the save before"


def test_a_saved_file_without_a_kernel_is_input(someone):
    someone.saved("a.py", [row("busy")])
    assert someone.body()["input_kind"] == "save"


def test_of_many_saved_files_a_bounded_number_is_remembered(someone):
    for index in range(1000):
        someone.saved(f"{index}.py", [])
    assert len(someone._saved) == person.SAVED_MAX


def test_who_types_all_day_is_told_twice_a_minute(someone, clock):
    marks = set()
    for _ in range(60):
        someone.did("typing")
        marks.add(someone.mark())
        clock.now += 1
    assert len(marks) == 2


def test_shown_notices_are_bounded_and_told_until_taken(someone):
    for index in range(100):
        someone.saw(f"e{index}")
    shown = someone.body()["shown"]
    assert shown == [f"e{index}" for index in range(68, 100)]
    someone.saw("late")
    someone.took(shown)
    assert someone.body()["shown"] == ["late"]


def test_keepalive_is_told_by_what_is_left(someone, clock):
    someone.keep(3600)
    mark = someone.mark()
    clock.now += 60
    someone.keep(3539)
    assert someone.mark() == mark, "a rounded second is no news"
    assert someone.body()["kept_ms"] == 3_540_000
    someone.keep(None)
    assert someone.body()["kept_ms"] is None


@pytest.mark.parametrize("remaining", [0, -1, None, True, "1", float("nan")])
def test_a_keepalive_that_holds_nothing_is_null(remaining):
    assert person.kept_s({"keepalive_spinner": SimpleNamespace(remaining=remaining)}) is None
    assert person.kept_s({}) is None


async def test_what_is_typed_into_a_real_terminal_is_input_and_what_it_prints_is_not(
    meter, jp_serverapp, monkeypatch
):
    settings = jp_serverapp.web_app.settings
    name = settings["terminal_manager"].create()["name"]
    process = settings["terminal_manager"].terminals[name].ptyproc
    (shell,) = terminals.rows(settings)
    assert shell == {"name": name, "pid": process.pid, "busy": False}
    os.write(process.fd, b"cat > /dev/null\n")
    await until(lambda: terminals.rows(settings)[0]["busy"], "a job in front")
    # The kernel moves the time in steps of eight seconds; here the last step is long ago.
    tty = os.readlink(f"/proc/{process.pid}/fd/0")
    os.utime(tty, (1.0, 1.0))
    assert terminals.typed(settings)[name] == 1.0
    Path(tty).write_text("output of some program\n")
    assert terminals.typed(settings)[name] == 1.0
    os.write(process.fd, b"words\n")
    await until(lambda: terminals.typed(settings)[name] > 1.0, "the words")
    assert terminals.busy(SimpleNamespace(fd=-1, pid=1)) is None
    assert terminals.busy(SimpleNamespace()) is None


async def test_the_agent_is_told_of_people_and_of_what_they_saw(
    meter, jp_serverapp, jp_fetch, notes, monkeypatch
):
    monkeypatch.setattr(told, "LOOK_S", 0.05)
    await until(lambda: lines(notes / "puts"), "the first message")
    assert puts(notes)[-1]["input_ms"] is None
    for path in ("input", "shown/e-1"):
        answer = await jp_fetch("hubmeter/v1", path, method="POST", body="", raise_error=False)
        assert answer.code == 304
    await until(lambda: "e-1" in [one for put in puts(notes) for one in put["shown"]], "what was shown")
    assert last(notes, "input_kind") == "typing" and last(notes, "input_ms") >= 0
    await until(lambda: [put["shown"] for put in puts(notes)].count(["e-1"]) == 1, "it is told once")


async def test_a_page_is_open_for_as_long_as_it_holds_its_socket_for_events(
    meter, jp_serverapp, jp_ws_fetch, notes, monkeypatch
):
    monkeypatch.setattr(told, "LOOK_S", 0.05)
    await until(lambda: last(notes, "page_open") is False, "the first message, without a page")
    page = await jp_ws_fetch("api/events/subscribe")
    await until(lambda: last(notes, "page_open") is True, "the page")
    page.close()
    await until(lambda: last(notes, "page_open") is False, "its end")


@pytest.mark.parametrize("bus", [None, SimpleNamespace(), SimpleNamespace(_modified_listeners=None)])
def test_with_another_make_of_bus_nobody_knows_of_pages(bus):
    assert pages.is_open(bus) is None


async def test_a_save_on_the_servers_bus_is_input(meter, jp_serverapp, jp_fetch):
    body = '{"type": "file", "format": "text", "content": "x = 1"}'
    await jp_fetch("api/contents/a.py", method="PUT", body=body)
    await until(lambda: meter._teller.person.body()["input_kind"] == "save", "the save")
