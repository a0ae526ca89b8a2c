"""Records what the pictures of docs/VERDICTS.md show and the corpus has not: real processes, read by the real agent.

    portraits.py AGENT [--only NAME …] [--into portraits]

Each writes `portraits/NAME-Ns.csv`, read every N seconds. Besides what the corpus has, a file has the columns that its rule looks
at: what the agent says of the kernel, of the limit and of the home's disk (`AGENT doctor`), and what Jupyter says of the kernel.
`killed` needs root and a memory controller of cgroup version 1, `disk_near_limit` root and a loop device, `runaway_cpu` root,
`start_failures` JupyterHub 5 and configurable-http-proxy on the PATH. A trace that is there already is not made again.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from jupyter_client.blocking import BlockingKernelClient
from jupyter_client.connect import write_connection_file
from portraits_hub import start_failures
from record import HEAD, HERE, Reader

MEMORY_CGROUPS = Path("/sys/fs/cgroup/memory")
LIMIT_BYTES = 400 << 20
DISK_BYTES = 96 << 20
# What stands for Jupyter: it starts its kernel again when that dies.
HOLDER = """
import subprocess, sys, time
while True:
    subprocess.run([sys.executable, "-m", "ipykernel_launcher", "-f", sys.argv[1]])
    time.sleep(3)
"""


class Portrait(Reader):
    """A reader of more columns: each has a name, and says its value from the agent's sample."""

    def __init__(self, agent: str, pid: int, interval: int, path: Path, **columns: Callable[[dict], object]) -> None:
        self.columns = columns
        super().__init__(agent, pid, interval, path)
        self.head = [*HEAD, *columns]

    def row(self, sample: dict[str, object]) -> list[object]:
        return [*super().row(sample), *(value(sample) for value in self.columns.values())]


class Kernel:
    """A kernel below what stands for Jupyter, and what Jupyter would know of it."""

    def __init__(self, before: Callable[[], None] | None = None, home: Path | None = None) -> None:
        self.state, self.client = "starting", None
        self.file = str(Path(tempfile.mkdtemp()) / f"kernel-{uuid.uuid4()}.json")
        write_connection_file(self.file)
        environment = {**os.environ, "HOME": str(home)} if home else None
        command = [sys.executable, "-c", HOLDER, self.file]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.holder = subprocess.Popen(command, preexec_fn=before, env=environment, start_new_session=True, **quiet)
        self.client = BlockingKernelClient(connection_file=self.file)
        self.client.load_connection_file()
        self.client.start_channels()
        self._wait()
        self.state = "idle"
        threading.Thread(target=self._listen, daemon=True).start()

    def __enter__(self) -> Kernel:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.stop_channels()
        os.killpg(self.holder.pid, signal.SIGKILL)
        self.holder.wait()

    def _wait(self) -> None:
        """`wait_for_ready` takes a kernel that is slow to start for dead."""
        for _ in range(60):
            self.client.kernel_info()
            try:
                self.client.get_shell_msg(timeout=3)
            except queue.Empty:
                continue
            return
        self.__exit__()
        raise RuntimeError("the kernel did not start")

    def _listen(self) -> None:
        while True:
            try:
                message = self.client.get_iopub_msg(timeout=1)
            except Exception:  # noqa: BLE001: nothing came, or it is over
                continue
            if message["msg_type"] == "status":
                self.state = message["content"]["execution_state"]

    def run(self, code: str) -> None:
        self.client.execute(code, store_history=False)

    def columns(self) -> dict[str, Callable[[dict], object]]:
        def of_kernel(name: str) -> Callable[[dict], object]:
            return lambda sample: next((w[name] for w in sample["workloads"] if w["kind"] == "kernel"), "")

        return {
            "kernel": lambda _: self.state,
            "kernel_pid": of_kernel("pid"),
            "kernel_memory_used_bytes": of_kernel("memory_used_bytes"),
            "kernel_cpu_millis": of_kernel("cpu_millis"),
        }


def killed(agent: str, path: Path) -> None:
    """A leak in a cgroup: the kernel's own out-of-memory killer takes it."""
    group = MEMORY_CGROUPS / f"hubmeter-portrait-{secrets.token_hex(4)}"
    group.mkdir()
    (group / "memory.limit_in_bytes").write_text(str(LIMIT_BYTES))

    def kills(_: dict) -> object:
        words = (group / "memory.oom_control").read_text().split()
        return words[words.index("oom_kill") + 1]

    def limit(sample: dict) -> object:
        return sample["memory_limit_bytes"]

    try:
        with Kernel(before=lambda: (group / "cgroup.procs").write_text(str(os.getpid()))) as kernel:
            reader = Portrait(agent, kernel.holder.pid, 2, path, **kernel.columns(), memory_limit_bytes=limit, oom_kills=kills)
            time.sleep(30)
            kernel.run("import os, time\nkept = []\nwhile True:\n    kept.append(os.urandom(4_000_000)); time.sleep(0.4)")
            time.sleep(240)
            reader.finish()
    finally:
        time.sleep(1)
        group.rmdir()


def runaway_cpu(agent: str, path: Path) -> None:
    """A cell starts a thread that never ends, and is done: the kernel idles, by its own word."""
    with Kernel() as kernel:
        # It is to get the core that it wants, also beside other work: priority is shared out by sessions first.
        Path(f"/proc/{kernel.holder.pid}/autogroup").write_text("-10")
        reader = Portrait(agent, kernel.holder.pid, 5, path, **kernel.columns())
        time.sleep(40)
        kernel.run("import threading\ngoes_on = True\ndef spin():\n    while goes_on: pass\nthreading.Thread(target=spin).start()")
        time.sleep(85)
        kernel.run("goes_on = False")
        time.sleep(100)
        reader.finish()


def idle_hog(agent: str, path: Path) -> None:
    """A table is loaded, looked at, and forgotten."""
    with Kernel() as kernel:
        reader = Portrait(agent, kernel.holder.pid, 5, path, **kernel.columns())
        time.sleep(20)
        kernel.run("import numpy, time\nparts = []\nfor _ in range(30):\n    parts.append(numpy.ones(1_500_000)); time.sleep(0.5)")
        time.sleep(30)
        kernel.run("[part.mean() for part in parts]; time.sleep(5)")
        time.sleep(270)
        kernel.run("del parts")
        time.sleep(60)
        reader.finish()


def storm(agent: str, path: Path, breaks_out: str, ends: str) -> None:
    """A kernel at rest, in which something breaks out that somebody ends after a while."""
    with Kernel() as kernel:
        reader = Portrait(agent, kernel.holder.pid, 5, path, **kernel.columns())
        time.sleep(30)
        kernel.run(breaks_out)
        time.sleep(110)
        kernel.run(ends)
        time.sleep(120)
        reader.finish()


def process_storm(agent: str, path: Path) -> None:
    """Commands started in a loop that does not wait for them, until somebody interrupts it."""
    loop = "import subprocess, time\nrunning = []\nfor _ in range(260):\n"
    start = "    running.append(subprocess.Popen(['sleep', '600'])); time.sleep(0.25)"
    storm(agent, path, loop + start, "for process in running: process.kill()\nfor process in running: process.wait()")


def thread_storm(agent: str, path: Path) -> None:
    """Threads that wait for a lock nobody gives back, until somebody does."""
    wait = "import threading, time\nlock = threading.Lock(); lock.acquire()\ndef wait():\n    with lock: pass\n"
    start = "for _ in range(1300):\n    threading.Thread(target=wait, daemon=True).start(); time.sleep(0.05)"
    storm(agent, path, wait + start, "lock.release()")


def silent(agent: str, path: Path) -> None:
    """The agent is stopped for a while; what it reads goes on."""
    with Kernel() as kernel:
        reader = Portrait(agent, kernel.holder.pid, 5, path, **kernel.columns())
        work = "import numpy, random, time\nkept = [0] * 8\nwhile True:\n"
        kernel.run(work + "    kept[random.randrange(8)] = numpy.ones(random.randrange(4_000_000)); time.sleep(random.uniform(1, 6))")
        time.sleep(100)
        reader.process.send_signal(signal.SIGSTOP)
        time.sleep(75)
        reader.process.send_signal(signal.SIGCONT)
        time.sleep(65)
        reader.finish()


def disk_near_limit(agent: str, path: Path) -> None:
    """Results are written to a small disk until nothing more fits, and half of them are deleted."""
    folder = Path(tempfile.mkdtemp())
    image, home = folder / "disk.img", folder / "home"
    home.mkdir()
    with image.open("wb") as file:
        file.truncate(DISK_BYTES)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", str(image)], check=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(home)], check=True)
    last: dict[str, object] = {}

    def disk(name: str) -> Callable[[dict], object]:
        return lambda _: last.get(name, "")

    try:
        with Kernel(home=home) as kernel:
            asks = [agent, "doctor", "--format", "json", "--pid", str(kernel.holder.pid)]

            def used(_: dict) -> object:
                said = subprocess.run(asks, capture_output=True, text=True).stdout
                last.update(json.loads(said)["vitals"]["disk"] or {})
                return last.get("used_bytes", "")

            columns = {"disk_used_bytes": used, "disk_limit_bytes": disk("limit_bytes")}
            reader = Portrait(agent, kernel.holder.pid, 5, path, **columns)
            time.sleep(20)
            work = f"import os, time\nfor n in range(400):\n    name = os.path.join({str(home)!r}, f'result-{{n}}')\n"
            work += "    try:\n        with open(name, 'wb') as file: file.write(os.urandom(500_000))\n"
            kernel.run(work + "    except OSError: break\n    time.sleep(1)")
            time.sleep(230)
            clean = f"names = sorted(os.listdir({str(home)!r}))\nfor name in names[::2]:\n    if name.startswith('result'):"
            kernel.run(clean + f" os.remove(os.path.join({str(home)!r}, name))")
            time.sleep(50)
            reader.finish()
    finally:
        subprocess.run(["umount", str(home)], check=True)
        image.unlink()


# Every trace, and how often it is read.
PORTRAITS: dict[str, Callable[[str, Path], None]] = {
    "killed-2s": killed,
    "runaway_cpu-5s": runaway_cpu,
    "idle_hog-5s": idle_hog,
    "process_storm-5s": process_storm,
    "thread_storm-5s": thread_storm,
    "silent-5s": silent,
    "disk_near_limit-5s": disk_near_limit,
    "start_failures-5s": start_failures,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("agent")
    parser.add_argument("--only", nargs="+", choices=PORTRAITS, default=list(PORTRAITS))
    parser.add_argument("--into", type=Path, default=HERE / "portraits")
    asked = parser.parse_args()
    asked.into.mkdir(parents=True, exist_ok=True)
    failed: list[str] = []

    def make(name: str) -> None:
        path = asked.into / f"{name}.csv"
        if path.exists():
            return
        try:
            PORTRAITS[name](asked.agent, path)
            print(name, flush=True)
        except Exception as error:  # noqa: BLE001: one that fails must not end the others
            failed.append(name)
            print(f"{name}: {error!r}", file=sys.stderr, flush=True)

    threads = [threading.Thread(target=make, args=(name,)) for name in asked.only]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
