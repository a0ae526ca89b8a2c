"""A cgroup for one server, version 1 or 2, and what the kernel charges it."""

import os
import time
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
PARENT = "hubmeter-accuracy"


def maker():
    """Makes cgroups, and says which; or says why there are none."""
    if os.geteuid() != 0:
        return (lambda: None), "unknown, only root may make a cgroup"
    for kind in (Version2, Version1):
        if kind.works():
            return kind, f"a cgroup of version {kind.version}"
    return (lambda: None), "unknown, no memory cgroup is mounted writably"


def fields(file):
    pairs = (line.split() for line in file.read_text().splitlines())
    return {key: int(value) for key, value in pairs}


class Group:
    """Folders that a process joins, one for each hierarchy."""

    def join(self):
        for folder in self.folders:
            (folder / "cgroup.procs").write_text(str(os.getpid()))

    def pids(self, folder=None):
        text = ((folder or self.folders[0]) / "cgroup.procs").read_text()
        return [int(pid) for pid in text.split()]

    def remove(self):
        """Ends all that is in it, and takes it away."""
        for folder in self.folders:
            for _ in range(200):
                for pid in self.pids(folder):
                    try:
                        os.kill(pid, 9)
                    except ProcessLookupError:
                        pass
                try:
                    folder.rmdir()
                    break
                except OSError:
                    time.sleep(0.05)


class Version1(Group):
    version = 1

    @staticmethod
    def works():
        return all((ROOT / kind / "cgroup.procs").is_file() for kind in ("memory", "cpuacct"))

    def __init__(self):
        folder = f"{PARENT}-{os.getpid()}"
        self.memory, self.cpuacct = ROOT / "memory" / folder, ROOT / "cpuacct" / folder
        self.folders = [self.memory, self.cpuacct]
        for path in self.folders:
            path.mkdir()

    def charged(self):
        usage = int((self.memory / "memory.usage_in_bytes").read_text())
        return usage - self.cache()

    def cache(self):
        stat = fields(self.memory / "memory.stat")
        return stat["total_inactive_file"] + stat["total_active_file"]

    def cpu(self):
        return int((self.cpuacct / "cpuacct.usage").read_text()) / 1e9


class Version2(Group):
    version = 2

    @staticmethod
    def works():
        controllers = ROOT / "cgroup.subtree_control"
        return controllers.is_file() and "memory" in controllers.read_text().split()

    def __init__(self):
        self.folder = ROOT / f"{PARENT}-{os.getpid()}"
        self.folders = [self.folder]
        self.folder.mkdir()

    def charged(self):
        current = int((self.folder / "memory.current").read_text())
        return current - self.cache() - fields(self.folder / "memory.stat")["slab_reclaimable"]

    def cache(self):
        stat = fields(self.folder / "memory.stat")
        return stat["inactive_file"] + stat["active_file"]

    def cpu(self):
        return fields(self.folder / "cpu.stat")["usage_usec"] / 1e6
