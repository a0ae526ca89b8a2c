"""Who is stopped, and who is not: jupyterhub-idle-culler alone, with our hook, and our command.

    python scenarios.py DIR VENV PROXY AGENT COLLECTOR [quick | NAME…]

All three run at once against one real hub, each on servers of its own on which the same is done.
Prints the table; fails if ours stops somebody who works, or spares who does not. `quick` is the part
that every run of the tests can afford; names are those of `SCENARIOS`.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "identity"))

from bed import Failed
from people import Person
from stage import CULLERS, Stage

KEPT, STOPPED, WHILE = "kept", "stopped", "kept while that lasts, then stopped"


@dataclass(frozen=True)
class Scenario:
    """What people do, what must become of their servers with ours, and what does without."""

    title: str
    ours: str
    alone: str
    #: Our command is given a timeout here, which is an order and waits for no warning.
    command: str | None = None

    def must(self, culler: str) -> str:
        if culler == "alone":
            return self.alone
        return self.command or self.ours if culler == "command" else self.ours


SCENARIOS = {
    "idle": Scenario("nobody does anything", STOPPED, STOPPED),
    "bare": Scenario("the same, in a server without an agent", STOPPED, STOPPED),
    "computes": Scenario("a cell computes and says nothing, the browser is closed", KEPT, STOPPED),
    "tab": Scenario("a forgotten tab: sockets and polls, nobody there", STOPPED, KEPT),
    "opened": Scenario("the same, opened once both warnings were told", STOPPED, KEPT),
    "hidden": Scenario("the same, hidden all the time", STOPPED, KEPT),
    "reads": Scenario("a terminal reads a file, 300 KiB/s, and says nothing", KEPT, STOPPED),
    "writes": Scenario("a person types Markdown into an open tab, then leaves it", WHILE, KEPT),
    "hoards": Scenario("a kernel holds 300 MB and idles beside one that computes", KEPT, STOPPED),
    "holds": Scenario("the user asked to keep it until a time", WHILE, STOPPED),
    "mailed": Scenario("nobody does anything; its user can be warned by mail", STOPPED, STOPPED),
    "refused": Scenario("the same, and the mail server takes no mail to them", KEPT, STOPPED, STOPPED),
}

#: Where a tab is open, and shows warnings.
TABS = ("tab", "opened", "writes")

#: What the tests run every time. Whoever is stopped by ours is so after minutes: the start of a server
#: counts as work for five, and one without an agent is waited for.
QUICK = ["computes"]

#: How the hub misbehaves first, one after the other; nothing may be stopped meanwhile.
FAULTS = ["error", "hang", "garbage", "down"]


#: Each takes seconds of a core.
STARTS_AT_ONCE = 4


@dataclass(frozen=True)
class Pace:
    """How fast time runs, in seconds."""

    timeout: int
    fault: int
    lasts: int
    patience: int
    warn: tuple[int, ...]
    every: int


FULL = Pace(timeout=60, fault=25, lasts=240, patience=600, warn=(20, 10), every=3)
SOON = Pace(timeout=6, fault=3, lasts=0, patience=60, warn=(4, 2), every=1)


class Run:
    """One run on one hub."""

    def __init__(self, stage: Stage, names: list[str], pace: Pace):
        self.stage, self.names, self.pace = stage, names, pace
        self.gone_after: dict[str, float] = {}
        self.warned: set[str] = set()
        #: By user: who they are, the kernel that idles and the one that computes.
        self.kernels: dict[str, tuple[Person, str, str]] = {}
        self.freed_after: dict[str, float] = {}
        self.wrong: list[str] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._begun = time.monotonic()

    async def play(self) -> None:
        starting = asyncio.Semaphore(STARTS_AT_ONCE)

        async def start(user: str) -> None:
            async with starting:
                await asyncio.to_thread(self.stage.start_server, user)

        await asyncio.gather(*map(start, self.stage.users))
        self._say(f"{len(self.stage.users)} servers run")
        now = asyncio.get_running_loop().time()
        ends = now + self.pace.lasts
        until = (datetime.now(timezone.utc) + timedelta(seconds=self.pace.lasts)).strftime(
            "%Y-%m-%dT%H:%M:%SZ"
        )
        deeds: dict[str, Callable[[Person], Awaitable[None]]] = {
            "computes": Person.computes,
            "reads": Person.reads,
            "holds": lambda person: person.holds(until),
        }
        # Nothing is stopped before the hub is well, and by then everybody was warned who is idle.
        opens_s = (len(FAULTS) - 1) * self.pace.fault
        stays: dict[str, Callable[[Person], Awaitable[None]]] = {
            "tab": Person.leaves_a_tab,
            "opened": lambda person: person.leaves_a_tab(after_s=opens_s),
            "hidden": lambda person: person.leaves_a_tab(hidden=True),
            "writes": lambda person: person.writes(ends),
        }
        for user in self.stage.users:
            name = user.split("-")[0]
            person = Person(self.stage, user)
            if name in deeds:
                await deeds[name](person)
            if name == "hoards":
                self.kernels[user] = (person, *await person.hoards())
            if name in stays:
                self._tasks.append(asyncio.ensure_future(stays[name](person)))
        self._say("everybody is at it")
        await self._misbehave()
        self._say("the hub is well")
        await self._watch(ends)

    async def _misbehave(self) -> None:
        """Cullers begin while the hub is not well."""
        self.stage.door.mode = FAULTS[0]
        self.stage.start_cullers(self.pace.every)
        for mode in FAULTS:
            self.stage.door.mode = mode
            asked = self.stage.door.asked
            await asyncio.sleep(self.pace.fault)
            if self.stage.door.asked == asked:
                self.wrong.append(f"hub {mode}: no culler asked")
            stopped = self._all() - self.stage.running()
            self.wrong += [f"hub {mode}: {user} was stopped" for user, _ in sorted(stopped)]
        self.stage.door.mode = "pass"

    def _all(self) -> set[tuple[str, str]]:
        return {(user, "") for user in self.stage.users}

    async def _watch(self, ends: float) -> None:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        # Who is kept was kept for three timeouts, and until what lasted has ended.
        proven = max(begun, ends) + 3 * self.pace.timeout
        while loop.time() < begun + self.pace.patience:
            rows = await asyncio.to_thread(self.stage.rows_of_cull)
            self.warned |= {user for user, row in rows.items() if row["warned_at"]}
            running = await asyncio.to_thread(self.stage.running)
            for user, _ in self._all() - running:
                self._note(user, loop.time() - begun, loop.time() < ends)
            await self._look_at_kernels(loop.time() - begun)
            if ended := self.stage.ended():
                raise Failed(f"ended: {ended}")
            if loop.time() > proven and not self._missing():
                break
            await asyncio.sleep(1)
        else:
            for user in self._missing():
                what = "or its idle kernel " if user in self.kernels else ""
                self.wrong.append(f"{user} {what}was not stopped in {self.pace.patience} s: {rows.get(user)}")
        self.watched_s = loop.time() - begun
        await asyncio.to_thread(self._spared)

    async def _look_at_kernels(self, after_s: float) -> None:
        """Kernels that idle go, and no others. Asking counts as activity at the hub, so servers that are to
        go by that are not asked."""
        for user, (person, idle, busy) in self.kernels.items():
            if user.endswith("-alone") or user in self.gone_after or user in self.freed_after:
                continue
            there = await person.kernels()
            if idle not in there:
                self.freed_after[user] = after_s
                self._say(f"{user}'s idle kernel is shut down")
            if busy not in there:
                self.wrong.append(f"{user}'s kernel was shut down while it computed")

    def _say(self, what: str) -> None:
        print(f"{time.monotonic() - self._begun:4.0f} s  {what}", flush=True)

    def _note(self, user: str, after_s: float, lasts: bool) -> None:
        if user in self.gone_after:
            return
        self.gone_after[user] = after_s
        self._say(f"{user} is stopped")
        name, culler = user.split("-")
        must = SCENARIOS[name].must(culler)
        if culler != "alone" and (must == KEPT or (must == WHILE and lasts)):
            self.wrong.append(f"{user} was stopped after {after_s:.0f} s")
        # Our command was given a timeout, which is an order; by policy nobody is stopped whose tab is in
        # sight and did not show it first.
        if culler == "hook" and name in TABS and user not in self.warned:
            self.wrong.append(f"{user} was stopped without a warning")
        if user == "mailed-hook" and len(mails := self.stage.mails_to(user)) != len(self.pace.warn):
            self.wrong.append(f"{user} was stopped after {len(mails)} warnings by mail: {mails}")

    def _spared(self) -> None:
        """Whoever's warning no mail server takes, and what is said of it."""
        user = "refused-hook"
        if user not in self.stage.users:
            return
        row = self.stage.rows_of_cull().get(user, {})
        if not str(row.get("reason")).endswith("kept until its user's warning is delivered"):
            self.wrong.append(f"{user}: /api/v1/cull says {row}")
        # What the hub page lists.
        notices = [(each["outcome"], each["channel"]) for each in self.stage.notices(user)]
        if ("failing", "warning-mail") not in notices or ("sent", "warning-mail") in notices:
            self.wrong.append(f"{user}: /api/v1/notices says {notices}")

    def _missing(self) -> list[str]:
        """Who should have been stopped by now."""
        missing = []
        for user in self.stage.users:
            name, culler = user.split("-")
            if SCENARIOS[name].must(culler) != KEPT and user not in self.gone_after:
                missing.append(user)
            if user in self.kernels and culler != "alone" and user not in self.freed_after:
                missing.append(user)
        return missing

    def table(self) -> list[str]:
        rows = ["| in the server | idle culler alone | with our hook | our command |", "|---|---|---|---|"]
        for name in self.names:
            cells = [self._cell(f"{name}-{culler}") for culler in CULLERS]
            rows.append(f"| {SCENARIOS[name].title} | {' | '.join(cells)} |")
        return rows

    def _cell(self, user: str) -> str:
        after_s = self.gone_after.get(user)
        if after_s is None:
            freed_s = self.freed_after.get(user)
            freed = "" if freed_s is None else f", the kernel shut down after {freed_s:.0f} s"
            return f"kept ({self.watched_s:.0f} s){freed}"
        return f"{'warned, ' if user in self.warned else ''}stopped after {after_s:.0f} s"

    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        done = await asyncio.gather(*self._tasks, return_exceptions=True)
        self.wrong += [str(each) for each in done if isinstance(each, Failed)]


async def run(stage: Stage, names: list[str], pace: Pace) -> list[str]:
    play = Run(stage, names, pace)
    try:
        await play.play()
    finally:
        await play.end()
    print(f"idle timeout {pace.timeout} s; before, the hub was {', '.join(FAULTS)}, {pace.fault} s each")
    print("\n".join(play.table()))
    return play.wrong


def main(arguments: list[str]) -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # by way of `finally`: nothing stays behind
    work, venv, proxy, agent, collector, *more = arguments
    names, pace = (QUICK, SOON) if more == ["quick"] else (more or list(SCENARIOS), FULL)
    programs = {"agent": agent, "collector": collector}
    stage = Stage(Path(work), Path(venv), Path(proxy), programs, names, pace.timeout, pace.warn)
    begun = time.monotonic()
    wrong: list[str] = []
    try:
        stage.start()
        wrong += asyncio.run(run(stage, names, pace))
    except Failed as failed:
        wrong.append(str(failed))
    finally:
        stage.close()
    for each in wrong:
        print(f"WRONG: {each}")
    print(f"({time.monotonic() - begun:.0f} s)")
    return 1 if wrong else 0


if __name__ == "__main__":
    if len(sys.argv) < 6:
        print(__doc__, file=sys.stderr)
        sys.exit(64)
    sys.exit(main(sys.argv[1:]))
