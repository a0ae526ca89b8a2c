#!/usr/bin/env python3
"""A stand-in for the agent's binary that speaks at the agent's pace; for `cost.py`."""

import asyncio
import json
import os
import signal
from pathlib import Path

from agent_sample import SAMPLE

SAYS = os.environ["HUBMETER_COST_SAYS"]
SOCKET = os.environ["HUBMETER_SOCKET"]
INTERVAL_S = 1.0 if SAYS in ("alarm", "swings") else 5.0
ROWS = 5
MIB = 1024 * 1024
LIMIT_BYTES = SAMPLE["memory_limit_bytes"]
#: So far it grows before it begins anew.
GROWN_BYTES_MAX = 3000 * MIB
RATE = 20 * MIB / INTERVAL_S


def grown_bytes(index: int) -> int:
    """`still` and `computes` move by pages, `grows` and `alarm` evenly, `swings` by a tenth of the limit."""
    if SAYS == "swings":
        return (index // 3 % 2) * LIMIT_BYTES // 10
    if SAYS in ("grows", "alarm"):
        # No kernel is a clock: some pages come early, some late.
        return (index * 20 * MIB + index % 3 * MIB) % GROWN_BYTES_MAX
    return (index % 7) * 4096


def sample(index: int) -> dict:
    grown = grown_bytes(index)
    cores = 0.0 if SAYS == "still" else 0.9 + (index % 5) * 0.05
    # Where the limit comes near, it does so from the first minute on.
    used = SAMPLE["memory_used_bytes"] + (900 * MIB if SAYS == "alarm" else 0) + grown
    rows = [
        {
            "kind": "kernel",
            "id": f"00000000-0000-0000-0000-00000000000{number}",
            "name": "python3",
            "notebook": f"work/{number}.ipynb",
            "pid": 100 + number,
            "memory_used_bytes": 43226112 + (grown if number == 0 else 0),
            "rss_bytes": 50000000,
            "pss_bytes": 43226112,
            "cpu_cores": cores if number == 0 else 0.0,
            "cpu_millis": index,
            "processes": 1,
            "threads": 10,
            "state": "idle" if SAYS == "still" or number else "busy",
            "idle_seconds": index * INTERVAL_S,
            "read_bytes": None,
            "written_bytes": None,
            "remote": False,
        }
        for number in range(ROWS)
    ]
    # A real agent measures its interval: it is rarely the same to a millisecond.
    interval_ms = int(1000 * INTERVAL_S) + index % 2
    over = {"interval_ms": interval_ms, "memory_used_bytes": used, "cpu_cores": cores}
    if SAYS in ("grows", "alarm"):
        over |= {"seconds_to_limit": (LIMIT_BYTES - used) / RATE, "trend_bytes_per_second": RATE}
    return {**SAMPLE, **over, "workloads": rows}


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    if head.startswith("PUT"):
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
    elif head.startswith("GET /v1/stream"):
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        index = 0
        while True:
            line = json.dumps({"type": "sample", "data": sample(index)}).encode() + b"\n"
            writer.write(b"%x\r\n%s\r\n" % (len(line), line))
            await writer.drain()
            await asyncio.sleep(INTERVAL_S)
            index += 1
    else:
        body = json.dumps(sample(0)).encode()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
    await writer.drain()
    writer.close()


async def main() -> None:
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, lambda: os._exit(0))
    server = await asyncio.start_unix_server(serve, SOCKET)
    async with server:
        while os.getppid() != 1 and Path(SOCKET).exists():
            await asyncio.sleep(1)


if __name__ == "__main__":
    asyncio.run(main())
