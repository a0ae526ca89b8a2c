#!/usr/bin/env python3
"""What the extension costs the server's event loop: `python tests/cost.py`, where the package is installed.

CPU time, not wall time, of one tab on the event bus and of three kernels and a terminal; a minute has as many
ticks as the agent's default interval makes.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from datetime import datetime, timezone
from types import SimpleNamespace

from agent_sample import SAMPLE
from jupyter_client.provisioning import LocalProvisioner
from jupyter_events import EventLogger

from hubmeter import events, told
from hubmeter.stream import Feed

TICKS_PER_MINUTE = 12
EVENTS_PER_MINUTE = 1  # where nothing changes that a meter shows
TIMES = 2000


def line(index: int, grown: int) -> bytes:
    rows = [
        {
            **{
                "kind": "kernel",
                "id": f"kernel-{number}",
                "name": "python3",
                "notebook": f"work/{number}.ipynb",
            },
            **{
                "pid": 100 + number,
                "memory_used_bytes": 43226112 + index,
                "rss_bytes": 50000000,
                "state": "idle",
            },
            **{"pss_bytes": 43226112, "cpu_cores": 0.01, "cpu_millis": index, "processes": 1, "threads": 10},
            **{"idle_seconds": index / 2, "read_bytes": None, "written_bytes": None, "remote": False},
        }
        for number in range(5)
    ]
    used = SAMPLE["memory_used_bytes"] + index * (4096 + grown)
    return json.dumps(
        {"type": "sample", "data": {**SAMPLE, "memory_used_bytes": used, "workloads": rows}}
    ).encode()


async def spent_us(work, settle=True) -> float:
    """CPU time of one, tasks that it begins included."""
    begun = time.process_time()
    for index in range(TIMES):
        await work(index)
        if settle:
            await asyncio.sleep(0)
    return (time.process_time() - begun) / TIMES * 1e6


def server() -> SimpleNamespace:
    def kernel(pid: int) -> SimpleNamespace:
        provisioner = LocalProvisioner()
        provisioner.pid = pid
        last = datetime.now(timezone.utc)
        return SimpleNamespace(
            provisioner=provisioner, kernel_name="python3", execution_state="idle", last_activity=last
        )

    kernels = {f"kernel-{number}": kernel(100 + number) for number in range(3)}
    manager = SimpleNamespace(
        list_kernel_ids=lambda: list(kernels),
        get_kernel=kernels.__getitem__,
        add_restart_callback=lambda *_: None,
    )
    terminal = SimpleNamespace(ptyproc=SimpleNamespace(pid=7, fd=-1))
    return SimpleNamespace(
        kernel_manager=manager,
        session_manager=SimpleNamespace(
            connection=SimpleNamespace(total_changes=1), list_sessions=lambda: []
        ),
        web_app=SimpleNamespace(settings={"terminal_manager": SimpleNamespace(terminals={"1": terminal})}),
        event_logger=None,
    )


async def main() -> None:
    bus = EventLogger()
    events.register(bus)

    async def tab(logger: EventLogger, schema_id: str, data: dict) -> None:
        json.dumps(dict(schema_id=schema_id, **data))

    bus.add_listener(schema_id=events.SAMPLE_SCHEMA, listener=tab)
    log = logging.getLogger("cost")
    feed = Feed(bus, log, lambda: None)

    quiet_lines = [line(index % 50, 0) for index in range(TIMES)]
    moving_lines = [line(index, 100_000_000) for index in range(TIMES)]

    async def take(lines: list[bytes], index: int) -> None:
        feed._take(lines[index])

    quiet = await spent_us(lambda index: take(quiet_lines, index))
    event = await spent_us(lambda index: take(moving_lines, index))

    async def put(*_: object) -> None:
        return

    told.local.put_json = put
    teller = told.Teller(server(), SimpleNamespace(live=True, connections=1), log, lambda: "")
    look = await spent_us(lambda _: teller._look())
    print(f"a tick that shows nothing new  {quiet:7.0f} µs")
    print(f"a tick that is sent to a tab   {event:7.0f} µs")
    print(f"a look at kernels              {look:7.0f} µs")
    still = TICKS_PER_MINUTE * (quiet + look) + EVENTS_PER_MINUTE * (event - quiet)
    moving = TICKS_PER_MINUTE * (event + look)
    print(f"a quiet minute                 {still / 1000:7.2f} ms")
    print(f"a minute of steady change      {moving / 1000:7.2f} ms")


if __name__ == "__main__":
    asyncio.run(main())
