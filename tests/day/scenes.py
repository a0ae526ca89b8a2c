"""What people do in a day, each until what it leads to has come."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bed import Failed
from ledger import ACKNOWLEDGED, MESSAGE, MUTED, STOPPED
from people import NOTICE, Person

if TYPE_CHECKING:
    from day import Day

#: Grows by 40 MB a second.
LEAK = "import time\nkept = []\nwhile True:\n    kept.append(b'x' * 20_000_000)\n    time.sleep(0.5)\n"

#: Bounded, and gone after a while.
PROCESSES = (
    "import subprocess, time\nkept = []\n"
    "for _ in range(90):\n    kept.append(subprocess.Popen(['sleep', '300']))\n    time.sleep(0.1)\n"
    "time.sleep(20)\n"
    "for each in kept:\n    each.kill()\n    each.wait()\n"
)
THREADS = (
    "import threading, time\nover = threading.Event()\n"
    "for _ in range(800):\n    threading.Thread(target=over.wait, daemon=True).start()\n    time.sleep(0.02)\n"
    "time.sleep(20)\nover.set()\n"
)

TABLE = "table = b'x' * 400_000_000\n"

#: The cell ends, its thread does not; bounded in case that nobody restarts the kernel.
THREAD_WITHOUT_A_CELL = (
    "import threading, time\n"
    "def spin(ends=time.time() + 300):\n    while time.time() < ends:\n        sum(range(1000))\n"
    "threading.Thread(target=spin, daemon=True).start()\n"
)
BUSY = "import time\nends = time.time() + 500\nwhile time.time() < ends:\n    sum(range(1000))\n"

#: Fills the disk that holds the home up to a share of it.
FILL = (
    "import os, shutil\n"
    "disk = shutil.disk_usage('.')\n"
    "with open('data.bin', 'ab') as file:\n"
    "    file.write(b'x' * max(0, int(disk.total * {share}) - disk.used))\n"
)

#: An agent keeps silent for so long and more.
QUIET_S = 20

#: A look at the disk and the hub's list come once a minute, calm samples too; a busy machine starts a kernel
#: in half of one.
SOON_S, LATER_S, LATE_S = 60, 180, 330


class Guest(Person):
    """Somebody with JupyterLab open and in sight."""

    def __init__(self, day: Day, user: str):
        super().__init__(day, user)  # type: ignore[arg-type] # has what is asked of a stage here
        self._day = day

    async def watches(self) -> None:
        """Sees what JupyterLab shows, until the server goes."""
        events = await self.socket("api/events/subscribe")
        while (said := await events.read_message()) is not None:
            event = json.loads(said)
            if event["schema_id"] != NOTICE:
                continue
            self._day.ledger.saw(self.user, event)
            if not event["cleared"]:
                await self.call("POST", f"hubmeter/v1/shown/{event['episode']}")

    async def opens(self, notebook: str) -> str:
        """The kernel of a notebook."""
        body: dict[str, Any] = {"path": notebook, "name": notebook, "type": "notebook"}
        return (await self.call("POST", "api/sessions", {**body, "kernel": {"name": "python3"}}))["kernel"]["id"]

    async def computes_in(self, notebook: str, code: str) -> str:
        kernel = await self.opens(notebook)
        # Kept open: a browser that is not there is another story.
        self._day.sockets.append(await self.runs(kernel, code))
        return kernel


async def leak(day: Day) -> None:
    await day.people["ana"].computes_in("train.ipynb", LEAK)
    await day.ledger.verdict("runaway_memory", "ana", LATER_S)
    await day.ledger.verdict("near_limit", "ana", LATER_S)
    if day.place["no_cgroup"]:
        raise Failed(f"nothing can be killed: no memory cgroup here ({day.place['no_cgroup']})")
    await day.ledger.verdict("killed", "ana", LATER_S)


async def storms(day: Day) -> None:
    theo = day.people["theo"]
    await theo.computes_in("workers.ipynb", PROCESSES)
    await day.ledger.verdict("process_storm", "theo", SOON_S)
    await theo.computes_in("threads.ipynb", THREADS)
    await day.ledger.verdict("thread_storm", "theo", SOON_S)


async def hog(day: Day) -> None:
    """A table that nobody needs any more; an admin answers, and writes to everybody concerned."""
    await day.people["hana"].computes_in("table.ipynb", TABLE)
    # The start of a kernel reads for a minute or two, which is work.
    verdict = await day.ledger.verdict("idle_hog", "hana", LATE_S)
    episode = verdict["episode"]
    await day.ledger.ask("POST", f"/api/v1/notices/{episode}/ack")
    of = day.ledger.notices.values()
    acked = lambda: any(n["episode"] == episode and n["acknowledged"] for n in of)  # noqa: E731
    await day.ledger.until("the acknowledgement is listed", acked, SOON_S)
    day.ledger.done[ACKNOWLEDGED] = "by an admin"
    wish = {
        "subject": "Tomorrow",
        "text": "The hub is updated at 8.\n\nSave your work.",
        "filter": {"rule": "idle_hog"},
    }
    preview = await day.ledger.ask("POST", "/api/v1/messages?preview", wish)
    written = await day.ledger.ask("POST", "/api/v1/messages", wish)
    if preview["recipients"] != written["recipients"]:
        raise Failed("the preview of a message is not what became of it")
    shown = day.ledger.shown
    saw = lambda: any(event["rule"] == "message" for _, _, event in shown)  # noqa: E731
    await day.ledger.until("the message in JupyterLab", saw, SOON_S)
    mails = day.ledger.mails
    came = lambda: any("Tomorrow" in str(mail["Subject"]) for _, mail in mails)  # noqa: E731
    await day.ledger.until("the message by mail", came, SOON_S)
    day.ledger.done[MESSAGE] = "JupyterLab, mail"


async def disk(day: Day) -> None:
    """A small disk of her own where we may mount one."""
    dora = day.people["dora"]
    if day.no_mount:
        raise Failed(f"no small disk to fill: {day.no_mount}")
    kernel = await dora.opens("data.ipynb")
    day.sockets.append(await dora.runs(kernel, FILL.format(share=0.965)))
    await day.ledger.verdict("disk_near_limit", "dora", LATER_S)
    # Told before it gets worse, or there is nothing to compare.
    told = lambda: day.ledger.told("opened", "dora", "disk_near_limit")  # noqa: E731
    await day.ledger.until("the disk is told", told, LATER_S)
    day.sockets.append(await dora.runs(kernel, FILL.format(share=0.995)))
    worse = lambda: day.ledger.told("worse", "dora", "disk_near_limit")  # noqa: E731
    await day.ledger.until("that the disk is full is told", worse, LATER_S)
    day.sockets.append(await dora.runs(kernel, "os.remove('data.bin')\n"))


async def silence(day: Day) -> None:
    pid = agent_of("sid")
    os.kill(pid, signal.SIGSTOP)
    try:
        await day.ledger.verdict("silent", "sid", SOON_S)
        told = lambda: day.ledger.told("opened", "sid", "silent")  # noqa: E731
        await day.ledger.until("silence is told", told, LATER_S)
        await asyncio.sleep(QUIET_S)
    finally:
        os.kill(pid, signal.SIGCONT)
    await day.ledger.verdict("silent", "sid", SOON_S, over=True)


async def starts_fail(day: Day) -> None:
    broken = Path(day.place["broken"])
    broken.touch()
    try:
        for _ in range(2):
            await asyncio.to_thread(day.hub, "POST", "/users/finn/server", ok=range(200, 600))
            await day.idle_at_hub("finn")
        await day.ledger.verdict("start_failures", "finn", SOON_S)
        told = lambda: day.ledger.told("opened", "finn", "start_failures")  # noqa: E731
        await day.ledger.until("failed starts are told", told, SOON_S)
    finally:
        broken.unlink()
    await day.start("finn")
    await day.ledger.verdict("start_failures", "finn", SOON_S, over=True)


async def overuse(day: Day) -> None:
    """Muted by an admin once it is told: of its end nobody hears."""
    omar = day.people["omar"]
    kernel = await omar.computes_in("simulate.ipynb", BUSY)
    try:
        # In which groups somebody is, is known with the hub's list, once a minute.
        verdict = await day.ledger.verdict("overuse", "omar", LATER_S)
        # Muted sooner, what waits for its digest would not go out either.
        told = lambda: [  # noqa: E731
            notice for notice in day.ledger.told("opened", "omar", "overuse") if notice["channel"] == "mail"
        ]
        await day.ledger.until("overuse is told by mail", told, LATE_S)  # when quiet hours are over
        until = (datetime.now(timezone.utc) + timedelta(minutes=10)).strftime("%Y-%m-%dT%H:%M:%SZ")
        await day.ledger.ask("POST", f"/api/v1/notices/{verdict['episode']}/mute", {"until": until})
    finally:
        await omar.call("POST", f"api/kernels/{kernel}/interrupt")
    await day.ledger.verdict("overuse", "omar", LATER_S, over=True)
    ends = lambda: [  # noqa: E731
        notice
        for notice in day.ledger.notices.values()
        if notice["user"] == "omar" and notice["phase"] == "cleared" and notice["outcome"] == "dropped"
    ]
    kept_back = await day.ledger.until("its end is kept back", ends, LATER_S)
    day.ledger.done[MUTED] = f"its end is told nobody ({kept_back[0]['reason']})"


async def forgotten_thread(day: Day) -> None:
    cleo = day.people["cleo"]
    kernel = await cleo.computes_in("plot.ipynb", THREAD_WITHOUT_A_CELL)
    try:
        await day.ledger.verdict("runaway_cpu", "cleo", LATER_S)
    finally:
        await cleo.call("POST", f"api/kernels/{kernel}/restart")
    await day.ledger.verdict("runaway_cpu", "cleo", LATER_S, over=True)


async def goes_home(day: Day) -> None:
    """Warned twice, in a tab that is in sight and by mail, then stopped."""
    await day.ledger.verdict("idle", "ida", LATE_S)
    gone = lambda: "ida" not in day.running()  # noqa: E731
    while not await asyncio.to_thread(gone):
        if day.seconds() > day.seconds_max:
            raise Failed("ida's server was never stopped")
        await asyncio.sleep(2)
    day.ledger.say("ida's server is stopped")
    warnings = [event for _, user, event in day.ledger.shown if user == "ida" and event["stops_at"]]
    by_mail = [str(mail["Subject"]) for _, mail in day.ledger.mails if mail["To"] == "ida@example.org"]
    if len(warnings) != 2 or len(by_mail) < 2:
        raise Failed(f"ida was warned {len(warnings)} times in JupyterLab, {len(by_mail)} times by mail")
    day.ledger.done[STOPPED] = "twice in JupyterLab, twice by mail"


async def holds(day: Day) -> None:
    """Idle as ida is, and held."""
    until = (datetime.now(timezone.utc) + timedelta(minutes=45)).strftime("%Y-%m-%dT%H:%M:%SZ")
    await day.people["hugo"].holds(until)
    await day.ledger.verdict("idle", "hugo", LATE_S)


def agent_of(user: str) -> int:
    """The process of a user's agent."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            mine = f"JUPYTERHUB_USER={user}".encode() in (process / "environ").read_bytes().split(b"\0")
            if mine and os.readlink(process / "exe").endswith("/hubmeter-agent"):
                return int(process.name)
        except OSError:
            continue  # another's, or gone
    raise Failed(f"{user} has no agent")


def mount(place: Path) -> str | None:
    """A disk of 64 MB there; or why not."""
    place.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", "size=64m,mode=0700", "hubmeter-day", str(place)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        return str(error)
    return done.stderr.strip() or "mount failed" if done.returncode else None


def unmount(below: Path) -> None:
    """Takes away every disk of ours below a folder."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        source, where, *_ = line.split()
        if source == "hubmeter-day" and Path(where).is_relative_to(below):
            subprocess.run(["umount", "--lazy", where], check=False)
