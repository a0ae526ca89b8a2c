"""Seven workloads on a real Jupyter server: what is said of them, and what the kernel charges.

A server with jupyter-resource-usage is started in a cgroup of its own. For each workload a new
kernel or a terminal does the work, and four are asked for the difference it made:
jupyter-resource-usage's API, psutil's sum of RSS, our agent beside it (by the cgroup; and, while
a stranger is in that cgroup, on the tree), and the cgroup's own account. Prints Markdown.

Run by `cargo xtask accuracy`, or by hand with a Python that has requirements.txt:

    python accuracy.py --agent target/release/hubmeter-agent
"""

import argparse
import json
import os
import platform
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import cgroups
import psutil
import websocket

MIB = 1 << 20
START_PATIENCE_S = 60
ANSWER_PATIENCE_S = 120
SETTLE_S = 1.5
POLL_S = 0.05

# Imported before anything is measured, so that a workload is its data alone.
PREPARE = "import mmap, multiprocessing, os, subprocess, sys, time; import numpy"


class Server:
    """A Jupyter server with jupyter-resource-usage, and a kernel that obeys."""

    def __init__(self, folder, group):
        self.port, self.token = free_port(), secrets.token_hex(16)
        self.folder = folder
        settings = [
            f"--ServerApp.port={self.port}",
            "--ServerApp.ip=127.0.0.1",
            f"--IdentityProvider.token={self.token}",
            f"--ServerApp.root_dir={folder}",
            "--ServerApp.open_browser=False",
            "--ServerApp.allow_root=True",
            "--ServerApp.terminado_settings={'shell_command': ['/bin/bash', '--norc']}",
            "--ResourceUseDisplay.track_cpu_percent=True",
        ]
        own = {
            "HOME": str(folder),
            "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
            "JUPYTER_CONFIG_DIR": str(folder / "config"),
            "JUPYTER_DATA_DIR": str(folder / "data"),
            "IPYTHONDIR": str(folder / "ipython"),
            "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}",
            # A pool of threads would be in every figure.
            "OPENBLAS_NUM_THREADS": "1",
        }
        kept = ("LANG", "LC_ALL", "TZ")
        own.update({name: os.environ[name] for name in kept if name in os.environ})
        self.log = open(folder / "server.log", "wb")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "jupyter_server", *settings],
            env=own,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
            start_new_session=True,
            preexec_fn=group.join if group else None,
        )
        self.wait(lambda: self.ask("/api"), START_PATIENCE_S)
        self.kernel = self.channel = None
        self.new_kernel()

    def wait(self, works, patience_s):
        end = time.monotonic() + patience_s
        while True:
            try:
                return works()
            except (OSError, websocket.WebSocketException):
                if time.monotonic() > end or self.process.poll() is not None:
                    log = (self.folder / "server.log").read_text(errors="replace")
                    raise SystemExit(f"the Jupyter server does not answer:\n{log[-4000:]}")
                time.sleep(POLL_S)

    def ask(self, path, body=None, method=None):
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"token {self.token}"},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=ANSWER_PATIENCE_S) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def connect(self, path):
        url = f"ws://127.0.0.1:{self.port}{path}"
        header = [f"Authorization: token {self.token}"]
        return self.wait(
            lambda: websocket.create_connection(url, header=header, timeout=ANSWER_PATIENCE_S),
            START_PATIENCE_S,
        )

    def new_kernel(self):
        """A kernel that holds nothing, in place of the one before."""
        if self.kernel is not None:
            self.channel.close()
            self.ask(f"/api/kernels/{self.kernel}", method="DELETE")
        self.kernel = self.ask("/api/kernels", {})["id"]
        self.channel = self.connect(f"/api/kernels/{self.kernel}/channels")
        self.run(PREPARE)

    def run(self, code):
        """Runs a cell to its end."""
        message = {
            "channel": "shell",
            "header": {
                "msg_id": secrets.token_hex(8),
                "msg_type": "execute_request",
                "session": "accuracy",
                "username": "accuracy",
                "version": "5.3",
            },
            "parent_header": {},
            "metadata": {},
            "content": {"code": code, "silent": False, "store_history": False},
        }
        self.channel.send(json.dumps(message))
        mine = message["header"]["msg_id"]
        while True:
            answer = json.loads(self.channel.recv())
            if answer.get("parent_header", {}).get("msg_id") != mine:
                continue
            if answer["msg_type"] == "error":
                raise SystemExit("\n".join(answer["content"]["traceback"]))
            if answer["msg_type"] == "execute_reply":
                return

    def stop(self):
        for child in psutil.Process(self.process.pid).children(recursive=True):
            with suppressed():
                child.kill()
        self.process.kill()
        self.process.wait()
        self.log.close()


class Agent:
    """Our agent on that server, one row at a time."""

    def __init__(self, program, pid, every="500ms"):
        command = [program, "sample", "--pid", str(pid), "--format", "json"]
        self.process = subprocess.Popen(
            [*command, "--every", every, "--pss", "budget"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.rows = self.process.stdout

    def newest(self):
        """The row after this moment."""
        now = time.time()
        while True:
            row = json.loads(self.rows.readline())
            taken = row["time"].rstrip("Z")
            seconds = time.mktime(time.strptime(taken[:19], "%Y-%m-%dT%H:%M:%S"))
            if seconds - time.timezone + float(taken[19:]) >= now:
                return row

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.rows.close()


@contextmanager
def suppressed():
    try:
        yield
    except (psutil.Error, ProcessLookupError):
        pass


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Bed:
    """A server, and all who measure it."""

    def __init__(self, program, group):
        self.folder = Path(tempfile.mkdtemp(prefix="hubmeter-accuracy-"))
        self.group = group
        self.server = Server(self.folder, group)
        pid = self.server.process.pid
        self.agent = Agent(program, pid)
        self.files = []

    def clear(self):
        """Ends what the last workload left behind."""
        server = psutil.Process(self.server.process.pid)
        agents = (self.agent.process.pid,)
        members = self.group.pids() if self.group else []
        for pid in members:
            if pid != server.pid and pid not in agents:
                with suppressed():
                    psutil.Process(pid).kill()
        for file in (*self.files, *self.folder.glob("*.bin")):
            Path(file).unlink(missing_ok=True)
        self.files = []
        self.server.new_kernel()

    def measure(self):
        """What each says now."""
        time.sleep(SETTLE_S)
        peer = self.server.ask("/api/metrics/v1")
        root = psutil.Process(self.server.process.pid)
        tree = [root, *root.children(recursive=True)]
        rss = cpu = 0
        for process in tree:
            with suppressed():
                rss += process.memory_info().rss
                times = process.cpu_times()
                cpu += times.user + times.system
        ours = self.agent.newest()
        return {
            "peer_pss": peer.get("pss"),
            "peer_rss": peer["rss"],
            "psutil_rss": rss,
            "psutil_cpu": cpu,
            "ours": ours["memory_used_bytes"],
            "ours_source": ours["memory_source"],
            "ours_cpu": ours["cpu_millis"] / 1000,
            "kernel": self.group.charged() if self.group else None,
            "kernel_cache": self.group.cache() if self.group else None,
            "kernel_cpu": self.group.cpu() if self.group else None,
        }

    def shared(self):
        """What we say when somebody else is in the cgroup: on the tree."""
        if not self.group:
            return None
        stranger = subprocess.Popen(["sleep", "300"], preexec_fn=self.group.join)
        try:
            deadline = time.monotonic() + 15
            while time.monotonic() < deadline:
                row = self.agent.newest()
                if row["memory_source"] in ("pss", "rss"):
                    return row["memory_used_bytes"]
            return None
        finally:
            stranger.kill()
            stranger.wait()

    def stop(self):
        self.agent.stop()
        self.server.stop()
        if self.group:
            self.group.remove()
        for file in self.files:
            Path(file).unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)


def numpy_array(bed):
    bed.server.run("held = numpy.ones(300 << 17)  # 300 MiB")


def forked_workers(bed):
    bed.server.run(
        "held = numpy.ones(300 << 17)\n"
        "workers = []\n"
        "for _ in range(4):\n"
        "    pid = os.fork()\n"
        "    if pid == 0:\n"
        "        held.sum(); time.sleep(600); os._exit(0)\n"
        "    workers.append(pid)\n"
    )
    time.sleep(2)


def dev_shm(bed):
    name = f"/dev/shm/hubmeter-accuracy-{os.getpid()}"
    bed.files.append(name)
    bed.server.run(
        f"with open({name!r}, 'wb') as out:\n"
        "    for _ in range(300): out.write(b'x' * (1 << 20))\n"
    )


def mapped_file(bed):
    bed.server.run(
        "with open('mapped.bin', 'wb') as out:\n"
        "    for _ in range(300): out.write(b'x' * (1 << 20))\n"
        "    out.flush(); os.fsync(out.fileno())\n"
        "held = numpy.memmap('mapped.bin', dtype='u1', mode='r')\n"
        "held[::4096].sum()\n"
    )


def cache_flood(bed):
    bed.server.run(
        "with open('flood.bin', 'wb') as out:\n"
        "    for _ in range(1000): out.write(b'x' * (1 << 20))\n"
        "    out.flush(); os.fsync(out.fileno())\n"
        "for _ in range(2):\n"
        "    with open('flood.bin', 'rb') as held:\n"
        "        while held.read(1 << 20): pass\n"
    )


def terminal_job(bed):
    """A job in a terminal, which is closed: the job is nobody's child any more."""
    terminal = bed.server.ask("/api/terminals", {})["name"]
    channel = bed.server.connect(f"/terminals/websocket/{terminal}")
    script = bed.folder / "job.py"
    script.write_text(
        "import time\nheld = b'x' * (300 << 20)\nopen('up', 'w').close()\ntime.sleep(600)\n"
    )
    channel.send(json.dumps(["stdin", f"nohup {sys.executable} job.py >/dev/null 2>&1 &\r"]))
    wait_for(bed.folder / "up")
    channel.close()
    bed.server.ask(f"/api/terminals/{terminal}", method="DELETE")
    time.sleep(1)


def short_lived(bed):
    bed.server.run(
        "spin = 'import time\\nwhile time.process_time() < 0.04: pass'\n"
        "for _ in range(200): subprocess.run([sys.executable, '-S', '-E', '-c', spin])\n"
    )


def wait_for(file):
    deadline = time.monotonic() + ANSWER_PATIENCE_S
    while not file.is_file():
        if time.monotonic() > deadline:
            raise SystemExit(f"{file.name} did not come")
        time.sleep(POLL_S)


SHORT_LIVED = "200 processes of 40 ms"

MEMORY = {
    "numpy array, 300 MiB": numpy_array,
    "300 MiB shared by 5 forks": forked_workers,
    "300 MiB in /dev/shm": dev_shm,
    "300 MiB file, mapped and read": mapped_file,
    "1000 MiB file, read twice": cache_flood,
    "300 MiB job, its terminal closed": terminal_job,
}


def difference(before, after, key):
    if before[key] is None or after[key] is None:
        return None
    return after[key] - before[key]


def mib(value):
    return "unknown" if value is None else f"{value / MIB:.0f}"


def memory_row(name, work, bed):
    on_tree_before = bed.shared()
    before = bed.measure()
    work(bed)
    after = bed.measure()
    on_tree_after = bed.shared()
    tree = None
    if on_tree_before is not None and on_tree_after is not None:
        tree = on_tree_after - on_tree_before
    ours = difference(before, after, "ours")
    if after["ours_source"] in ("pss", "rss"):
        ours, tree = None, ours
    cells = [
        difference(before, after, "peer_rss"),
        difference(before, after, "peer_pss"),
        difference(before, after, "psutil_rss"),
        tree,
        ours,
        difference(before, after, "kernel"),
        difference(before, after, "kernel_cache"),
    ]
    return "| " + " | ".join([name, *map(mib, cells)]) + " |"


def cpu_row(bed):
    bed.server.ask("/api/metrics/v1")
    before = bed.measure()
    peer = watch_peer(bed, lambda: short_lived(bed))
    after = bed.measure()
    ours = difference(before, after, "ours_cpu")
    living = difference(before, after, "psutil_cpu")
    kernel = difference(before, after, "kernel_cpu")
    kernel = "unknown" if kernel is None else f"{kernel:.2f}"
    return f"| {SHORT_LIVED} | {peer:.2f} | {living:.2f} | {ours:.2f} | {kernel} |"


def watch_peer(bed, work):
    """CPU seconds by jupyter-resource-usage: its percentage, polled as its front end does."""
    done, sums = threading.Event(), [0.0]

    def poll():
        last = time.monotonic()
        while not done.wait(1):
            percent = bed.server.ask("/api/metrics/v1").get("cpu_percent") or 0
            now = time.monotonic()
            sums[0] += percent / 100 * (now - last)
            last = now

    thread = threading.Thread(target=poll)
    thread.start()
    try:
        work()
    finally:
        done.set()
        thread.join()
    return sums[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--agent", required=True, help="path of hubmeter-agent")
    parser.add_argument("--only", help="part of a workload's name")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    make_group, why = cgroups.maker()
    print(
        f"Linux {platform.release()}, {os.cpu_count()} CPUs, Python {platform.python_version()}, "
        f"jupyter-resource-usage 1.3, psutil {psutil.__version__}; the kernel's column: {why}.\n"
    )
    bed = Bed(options.agent, make_group())
    try:
        tables(bed, options.only or "")
    finally:
        bed.stop()


def tables(bed, only):
    print("Differences that the workload made, MiB:\n")
    head = [
        "workload",
        "jupyter-resource-usage `rss`",
        "its `pss`, which it shows",
        "psutil, sum of RSS",
        "ours, on the tree",
        "ours, by the cgroup",
        "kernel: cannot be given back",
        "kernel: cache beside it",
    ]
    print("| " + " | ".join(head) + " |")
    print("|" + "---|" + "---:|" * (len(head) - 1))
    for name, work in MEMORY.items():
        if only in name:
            print(memory_row(name, work, bed), flush=True)
            bed.clear()
    if only in SHORT_LIVED:
        print("\nCPU seconds that the workload used:\n")
        print("| workload | jupyter-resource-usage | psutil, who lives | ours | kernel |")
        print("|---|---:|---:|---:|---:|")
        print(cpu_row(bed), flush=True)


if __name__ == "__main__":
    main()
