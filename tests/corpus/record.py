"""Records the corpus: real kernels that do real things, read by the real agent.

    record.py AGENT [--only FAMILY[/VARIANT]] [--at-once 8] [--into traces]

starts an IPython kernel per variant of `corpus.toml`, lets it rest for a while, runs the family's script in it, and
has two agents (`AGENT sample`) read it, at 1 s and at 5 s, until its time is over. Each writes one file:

    traces/FAMILY-VARIANT-1s.csv    timestamp,rss,cpu_millis,memory_used_bytes,processes,threads

which `hubmeter-collector replay` reads. Needs ipykernel, jupyter_client, numpy, pandas, matplotlib, joblib, scipy, scikit-learn,
pyarrow, pillow, polars and networkx.
A trace that is there already is not made again.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import os
import queue
import random
import subprocess
import sys
import threading
import time
import tomllib
import zlib
from dataclasses import dataclass
from pathlib import Path

from jupyter_client.manager import KernelManager

HERE = Path(__file__).resolve().parent
INTERVALS_SECONDS = (1, 5)
REST_SECONDS = (15, 60)
HEAD = ["timestamp", "rss", "cpu_millis", "memory_used_bytes", "processes", "threads"]
# The kernels are not to disturb the machine they run on, nor each other.
NICE = 12
# Of a whole session, where Linux shares the processor out between sessions first: there `NICE` counts within one alone.
SESSION_NICE = 19
# What corpus.toml says of a variant that is not for its script.
NOT_FOR_SCRIPTS = ("name", "seconds", "cross", "stay")


@dataclass(frozen=True)
class Variant:
    family: str
    name: str
    seconds: int
    parameters: dict[str, float]

    def trace(self, folder: Path, interval: int) -> Path:
        return folder / f"{self.family}-{self.name}-{interval}s.csv"

    def is_there(self, folder: Path) -> bool:
        return all(self.trace(folder, interval).exists() for interval in INTERVALS_SECONDS)

    def seed(self) -> int:
        return zlib.crc32(f"{self.family}-{self.name}".encode())

    def code(self) -> str:
        """The family's script, with this variant's values and a seed before it."""
        lines = [f"import random; random.seed({self.seed()})"]
        lines += [f"{name} = {as_written(value)}" for name, value in self.parameters.items()]
        return "\n".join([*lines, (HERE / "families" / f"{self.family}.py").read_text()])


class Reader:
    """One agent that reads one process tree and writes a trace."""

    def __init__(self, agent: str, pid: int, interval: int, path: Path) -> None:
        command = [agent, "sample", "--pid", str(pid), "--every", f"{interval}s", "--format", "json", "--pss", "budget"]
        self.path = path
        self.head = HEAD
        # In a session of its own, so that it waits for no other reader when the processor is wanted by many.
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True, preexec_fn=give_way
        )
        self.rows: list[list[object]] = []
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self) -> None:
        for line in self.process.stdout or ():
            self.rows.append(self.row(json.loads(line)))

    def row(self, sample: dict[str, object]) -> list[object]:
        names = ("rss_bytes", "cpu_millis", "memory_used_bytes", "processes", "threads")
        return [moment(sample), *(sample[name] for name in names)]

    def finish(self) -> None:
        self.process.terminate()
        self.process.wait()
        self.thread.join(timeout=10)
        if len(self.rows) < 10:
            raise RuntimeError(f"{self.path.name}: only {len(self.rows)} rows")
        partial = self.path.with_suffix(".part")
        with partial.open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(self.head)
            writer.writerows(self.rows)
        partial.rename(self.path)


def give_way() -> None:
    """For a process that has just begun a session."""
    with contextlib.suppress(OSError):  # a Linux without such groups
        Path("/proc/self/autogroup").write_text(str(SESSION_NICE))


def start_kernel_gently() -> None:
    os.nice(NICE)
    give_way()


def moment(sample: dict[str, object]) -> str:
    return str(sample["time"]).replace("T", " ").removesuffix("Z")


def as_written(value: float) -> str:
    return repr(int(value)) if float(value).is_integer() and abs(value) >= 10 else repr(value)


def variants(only: str | None) -> list[Variant]:
    corpus = tomllib.loads((HERE / "corpus.toml").read_text())
    found = []
    for family, about in corpus["family"].items():
        for variant in about.get("variants", ()):
            parameters = {k: v for k, v in variant.items() if k not in NOT_FOR_SCRIPTS}
            found.append(Variant(family, variant["name"], variant["seconds"], parameters))
    wanted = [v for v in found if only is None or only in (v.family, f"{v.family}/{v.name}")]
    if not wanted:
        raise SystemExit(f"corpus.toml has no variant {only}")
    return wanted


def record(agent: str, variant: Variant, folder: Path) -> None:
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=start_kernel_gently)
    client = manager.client()
    client.start_channels()
    readers: list[Reader] = []
    try:
        client.wait_for_ready(timeout=120)
        pid = manager.provisioner.pid
        readers = [Reader(agent, pid, i, variant.trace(folder, i)) for i in INTERVALS_SECONDS]
        time.sleep(random.Random(variant.seed()).uniform(*REST_SECONDS))
        client.execute(variant.code(), store_history=False)
        watch(client, variant)
    finally:
        for reader in readers:
            reader.finish()
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def watch(client: object, variant: Variant) -> None:
    """Waits for the end; a script that fails is no trace."""
    until = time.monotonic() + variant.seconds
    while time.monotonic() < until:
        try:
            message = client.get_iopub_msg(timeout=1)  # type: ignore[attr-defined]
        except queue.Empty:
            continue
        if message["msg_type"] == "error":
            text = message["content"]
            raise RuntimeError(f"{variant.family}/{variant.name}: {text['ename']}: {text['evalue']}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("agent")
    parser.add_argument("--only")
    parser.add_argument("--at-once", type=int, default=8)
    parser.add_argument("--into", type=Path, default=HERE / "traces")
    asked = parser.parse_args()
    asked.into.mkdir(parents=True, exist_ok=True)
    waiting: queue.Queue[Variant] = queue.Queue()
    # The longest first, so that none of them is left alone at the end.
    for variant in sorted(variants(asked.only), key=lambda v: -v.seconds):
        if not variant.is_there(asked.into):
            waiting.put(variant)
    failed: list[str] = []

    def work() -> None:
        while True:
            try:
                variant = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                record(asked.agent, variant, asked.into)
                print(f"{variant.family}/{variant.name}", flush=True)
            except Exception as error:  # noqa: BLE001: one that fails must not end the others
                failed.append(f"{variant.family}/{variant.name}: {error}")
                print(failed[-1], file=sys.stderr, flush=True)

    workers = [threading.Thread(target=work) for _ in range(asked.at_once)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
