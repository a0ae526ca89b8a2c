"""A day in the life of the demo hub, in fast motion: every rule and every notice, for real.

    python day.py --play FILE     plays it on the hub that FILE says (`cargo xtask up --demo-day`)
    python day.py --clear DIR     takes away the disk that a run which was killed left mounted

Ends with 1 when a rule was not raised or somebody was not told, and says which.
"""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
for near in ("identity", "culling", "e2e"):
    sys.path.insert(0, str(HERE.parent / near))

import requests  # noqa: E402 (what is near is found only now)
import scenes  # noqa: E402
from bed import Failed  # noqa: E402
from ledger import CAPPED, DIGEST, HELD, QUIET, Ledger  # noqa: E402
from scenes import Guest  # noqa: E402
from sinks import Mail, Web  # noqa: E402

#: Each takes seconds of a core.
STARTS_AT_ONCE = 3

#: A busy machine starts ten servers at once.
START_S_MAX = 180

#: The whole day; what has not come by then is missing. What is open is told again after ten minutes.
DAY_S_MAX = 14 * 60

#: Without a server at first.
LATE = "finn"


class Day:
    """The people, and what is known of them."""

    seconds_max = DAY_S_MAX

    def __init__(self, place: dict[str, Any]):
        self.place, self.url = place, place["url"]
        self.dir = Path(place["dir"])
        self.cast: dict[str, Any] = json.loads((HERE / "cast.json").read_text())
        self.mail = Mail(self.dir / "mail", place["mail_port"])
        self.ledger = Ledger(place, self.mail)
        self.web = Web(place["web_port"], self.ledger.posted)
        self.people: dict[str, Guest] = {}
        # Of kernels that run.
        self.sockets: list[Any] = []
        self.no_mount: str | None = None
        self._begun = time.monotonic()
        self._culler: subprocess.Popen[bytes] | None = None
        self._tasks: list[asyncio.Task[None]] = []

    # --- what the hub is asked; also for the people ---

    def hub(self, method: str, path: str, body: Any = None, ok: Any = range(200, 300)) -> Any:
        answer = requests.request(
            method,
            f"http://127.0.0.1:{self.place['hub_port']}/hub/api{path}",
            json=body,
            headers={"Authorization": f"token {self.place['test_token']}"},
            timeout=START_S_MAX,
        )
        if answer.status_code not in ok:
            raise Failed(f"{method} {path}: {answer.status_code} {answer.text[:300]}")
        return answer.json() if answer.content else None

    def mint(self, user: str) -> str:
        return self.hub("POST", f"/users/{user}/tokens", {"note": "day"})["token"]

    def running(self) -> set[str]:
        return {user["name"] for user in self.hub("GET", "/users?state=active&limit=200") if user["servers"]}

    async def start(self, user: str) -> None:
        await asyncio.to_thread(self.hub, "POST", f"/users/{user}/server")
        late = time.monotonic() + START_S_MAX
        while not (await self._servers(user)).get("", {}).get("ready"):
            if time.monotonic() > late:
                raise Failed(f"{user}'s server did not start in {START_S_MAX} s")
            await asyncio.sleep(1)

    async def idle_at_hub(self, user: str) -> None:
        """Until the hub is through with a start that failed."""
        while await self._servers(user):
            await asyncio.sleep(0.5)

    async def _servers(self, user: str) -> dict[str, Any]:
        return (await asyncio.to_thread(self.hub, "GET", f"/users/{user}"))["servers"]

    def seconds(self) -> float:
        return time.monotonic() - self._begun

    # --- the day ---

    async def play(self) -> bool:
        await self.ledger.look()
        self._tasks.append(asyncio.create_task(self.ledger.follow()))
        await self._morning()
        parts: list[tuple[Callable[[Day], Awaitable[None]], ...]] = [
            (scenes.leak,),
            (scenes.storms,),
            (scenes.hog,),
            (scenes.disk,),
            (scenes.silence, scenes.starts_fail),
            (scenes.goes_home,),
            (scenes.holds,),
            # Each wants a core of its own.
            (scenes.overuse, scenes.forgotten_thread),
        ]
        self._cull()
        await asyncio.gather(*map(self._play, parts))
        await self._evening()
        return self._tell()

    async def _morning(self) -> None:
        self.no_mount = scenes.mount(self.dir / "home/dora")
        starting = asyncio.Semaphore(STARTS_AT_ONCE)

        async def start(user: str) -> None:
            async with starting:
                await self.start(user)
                self.ledger.say(f"{user} is here: {self.cast['people'][user]}")
                self.people[user] = Guest(self, user)
                self._tasks.append(asyncio.create_task(self.people[user].watches()))

        await asyncio.gather(*(start(user) for user in self.cast["people"] if user != LATE))

    async def _play(self, part: tuple[Callable[[Day], Awaitable[None]], ...]) -> None:
        for scene in part:
            try:
                await scene(self)
            except (Failed, OSError) as error:
                self.ledger.say(f"!! {scene.__name__}: {error}")

    async def _evening(self) -> None:
        """Waits for what is on its way: digests come once a minute."""
        while True:
            held = "hugo" in await asyncio.to_thread(self.running)
            idle = any(v["rule"] == "idle" and v["user"] == "hugo" for v in self.ledger.verdicts.values())
            self.ledger.done[HELD] = "it is" if held and idle else "–"
            found = [file for file, mail in self.ledger.mails if ".digest-" in str(mail["Message-ID"])]
            self.ledger.done[DIGEST] = f"{len(found)} mails, the first {found[0]}" if found else "–"
            self.ledger.done[QUIET], self.ledger.done[CAPPED] = self.ledger.quiet(), self.ledger.capped()
            if not self.ledger.missing() or self.seconds() > self.seconds_max:
                return
            await asyncio.sleep(2)

    def _cull(self) -> None:
        """Our own culler, by policy: it stops nobody unwarned."""
        command = [self.place["collector"], "cull", "--cull-every", "3"]
        command += ["--url", f"http://127.0.0.1:{self.place['hub_port']}/hub/api"]
        command += ["--collector", f"http://127.0.0.1:{self.place['service_port']}/services/hubmeter"]
        with (self.dir / "cull.log").open("wb") as log:
            self._culler = subprocess.Popen(
                command,
                env={"JUPYTERHUB_API_TOKEN": self.place["script_token"]},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def _tell(self) -> bool:
        missing = self.ledger.missing()
        minutes, seconds = divmod(int(self.seconds()), 60)
        said = ["", *self.ledger.table(), "", *self.ledger.kinds(), ""]
        said += [f"MISSING: {each}" for each in missing]
        said.append(f"{minutes} min {seconds:02} s; times are minutes and seconds since the day began.")
        text = "\n".join(said)
        (self.dir / "day.md").write_text(text + "\n")
        print(text)
        print(f"Hub page   {self.url}/services/hubmeter/ (log in as admin: {self.place['password']})")
        print(f"Mails      {self.mail.folder}/*.eml, and *.html for a browser")
        print(f"This       {self.dir}/day.md, its log day.log, the culler's cull.log, the hub's jupyterhub.log")
        return not missing

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._culler is not None:
            self._culler.terminate()
            self._culler.wait()
        self.mail.close()
        self.web.close()


async def play(place: dict[str, Any]) -> bool:
    day = Day(place)
    try:
        return await day.play()
    finally:
        day.close()


def main(arguments: list[str]) -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # by way of `finally`: nothing stays behind
    match arguments:
        case ["--clear", folder]:
            scenes.unmount(Path(folder).resolve())
            return 0
        case ["--play", file]:
            try:
                return 0 if asyncio.run(play(json.loads(Path(file).read_text()))) else 1
            except Failed as failed:
                print(f"MISSING: everything: {failed}")
                return 1
    print(__doc__, file=sys.stderr)
    return 64


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
