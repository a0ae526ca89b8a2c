#!/usr/bin/env python3
"""A stand-in for the agent's binary that can misbehave on demand; standard library only.

HUBMETER_TEST_AGENT: ok, crash, hang, mute. HUBMETER_TEST_DIR: where it notes each start and each PUT.
"""

import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path

from agent_sample import SAMPLE

MODE = os.environ.get("HUBMETER_TEST_AGENT", "ok")
NOTES = Path(os.environ["HUBMETER_TEST_DIR"])
SOCKET = os.environ["HUBMETER_SOCKET"]
SERVER_PID = int(sys.argv[sys.argv.index("--pid") + 1])


def note(name: str, line: str) -> None:
    with open(NOTES / name, "a") as file:
        file.write(line + "\n")


def sample() -> dict:
    kernels = []
    puts = NOTES / "puts"
    if puts.exists():
        kernels = json.loads(puts.read_text().splitlines()[-1])["kernels"]
    rows = [
        {
            "kind": "kernel",
            "id": k["id"],
            "name": k["name"],
            "notebook": k["notebook"],
            "pid": k["pid"],
            "memory_used_bytes": 43226112,
            "rss_bytes": 50000000,
            "pss_bytes": 43226112,
            "cpu_cores": 0.25,
            "state": k["state"],
            "idle_seconds": 1.5,
        }
        for k in kernels
    ]
    return {**SAMPLE, "workloads": rows}


def chunk(message: dict) -> bytes:
    line = json.dumps(message).encode() + b"\n"
    return b"%x\r\n%s\r\n" % (len(line), line)


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    method, target, _ = head.split(" ", 2)
    if MODE == "mute":
        await asyncio.sleep(3600)
    if method == "PUT":
        size = int(head.lower().split("content-length:")[1].split("\r\n")[0])
        note("puts", (await reader.readexactly(size)).decode())
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
    elif target == "/v1/sample":
        body = json.dumps(sample()).encode()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
    elif target == "/v1/recent":
        body = json.dumps({"items": [sample(), sample()]}).encode()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
    elif target == "/v1/stream":
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        while True:
            writer.write(chunk({"type": "sample", "data": sample()}))
            await writer.drain()
            await asyncio.sleep(0.1)
    await writer.drain()
    writer.close()


async def main() -> None:
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, lambda: os._exit(0))
    server = await asyncio.start_unix_server(serve, SOCKET)
    async with server:
        while Path(f"/proc/{SERVER_PID}").exists():
            await asyncio.sleep(0.1)
    os.unlink(SOCKET)


if __name__ == "__main__":
    note("starts", str(os.getpid()))
    print("a line of the agent\x1b[31m", file=sys.stderr, flush=True)
    if MODE == "crash":
        sys.exit(1)
    if MODE == "hang":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(3600)
    asyncio.run(main())
