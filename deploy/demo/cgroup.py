"""A memory cgroup per demo server: found, made, entered, emptied, removed.

Version 2 where a parent hands on the memory controller (as root, or by delegation), version 1 where
the machine still has it. Nothing here raises for want of rights: `make` says why instead.

    python cgroup.py make NAME LIMIT_BYTES    one line of JSON: {"path": …} or {"why": …}
    python cgroup.py remove PATH              kills what is left in it, and removes it
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

# How long a group may take to become empty after SIGKILL.
EMPTY_SECONDS = 3.0


class Refused(Exception):
    """The machine does not let us; the text says what stood in the way."""


def make(name: str, limit_bytes: int) -> Path:
    """A group of ours in which servers get groups of their own, tried out with a real process."""
    reasons = []
    for base in _candidates(reasons):
        group = base / name
        _sweep(base)
        try:
            group.mkdir(exist_ok=True)
            if _version(group) == 2:
                (group / "cgroup.subtree_control").write_text("+memory")
            _try_out(group, limit_bytes)
            return group
        except (OSError, Refused) as error:
            reasons.append(f"{base}: {_short(error)}")
            remove(group)
    raise Refused(reasons[0] if reasons else "no memory cgroup is mounted")


def child(parent: Path, name: str, limit_bytes: int) -> Path:
    """A group in which what enters gets no more than this much memory."""
    group = parent / name
    group.mkdir(exist_ok=True)
    if _version(group) == 2:
        (group / "memory.max").write_text(str(limit_bytes))
        _write_if_there(group / "memory.swap.max", "0")
    else:
        (group / "memory.limit_in_bytes").write_text(str(limit_bytes))
        # Memory and swap together: without this the limit only moves pages to the disk.
        _write_if_there(group / "memory.memsw.limit_in_bytes", str(limit_bytes))
    return group


def enter(group: Path) -> None:
    """Moves the calling process; safe between fork and exec."""
    with open(group / "cgroup.procs", "w", encoding="ascii") as procs:
        procs.write(str(os.getpid()))


def processes(group: Path) -> list[int]:
    """Who is in it."""
    try:
        return [int(line) for line in (group / "cgroup.procs").read_text().split()]
    except OSError:
        return []


def kill(group: Path) -> None:
    """Ends whatever is still in it."""
    for pid in processes(group):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def remove_empty(group: Path) -> bool:
    """Removes it; false while somebody is still in it."""
    try:
        group.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def remove(group: Path) -> None:
    """Ends what is in it and below it, and removes all of it."""
    if not group.is_dir():
        return
    for below in [entry for entry in group.iterdir() if entry.is_dir()]:
        remove(below)
    deadline = time.monotonic() + EMPTY_SECONDS
    while not remove_empty(group) and time.monotonic() < deadline:
        kill(group)
        time.sleep(0.05)


def _candidates(reasons: list[str]):
    """Folders in which a group could be made, the nearest first."""
    version_1, version_2 = _mounts()
    own = _own_paths()
    if version_1 is not None:
        yield from _existing(version_1, own.get("memory", "/"))
    if version_2 is not None:
        for folder in _existing(version_2, own.get("", "/")):
            if "memory" in (folder / "cgroup.subtree_control").read_text().split():
                yield folder
            else:
                reasons.append(f"{folder} does not hand on the memory controller")


def _existing(mount: Path, own: str):
    """Our own group and its ancestors, as far as they can be seen from here."""
    folder = mount / own.lstrip("/")
    while True:
        if folder.is_dir():
            yield folder
        if folder == mount:
            return
        folder = folder.parent


def _mounts() -> tuple[Path | None, Path | None]:
    version_1 = version_2 = None
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, where, kind, options, *_ = line.split()
        if kind == "cgroup" and "memory" in options.split(","):
            version_1 = Path(where)
        elif kind == "cgroup2":
            version_2 = Path(where)
    return version_1, version_2


def _own_paths() -> dict[str, str]:
    paths = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            paths[controller] = path
    return paths


def _version(group: Path) -> int:
    return 2 if (group / "cgroup.controllers").exists() else 1


def _sweep(base: Path) -> None:
    """Removes what starts left that were killed outright: their process id ends the name."""
    for old in base.glob("hubmeter-*-*"):
        pid = old.name.rpartition("-")[2]
        if pid.isdigit() and not Path("/proc", pid).exists() and os.access(old, os.W_OK):
            remove(old)


def _try_out(group: Path, limit_bytes: int) -> None:
    trial = child(group, "trial", limit_bytes)
    sleeper = subprocess.Popen(["sleep", "60"])
    try:
        (trial / "cgroup.procs").write_text(str(sleeper.pid))
        if sleeper.pid not in processes(trial):
            raise Refused("a process did not stay in the group")
    finally:
        sleeper.kill()
        sleeper.wait()
        remove(trial)


def _write_if_there(file: Path, value: str) -> None:
    try:
        file.write_text(value)
    except OSError:
        pass  # swap is not accounted for here; the memory limit stands


def _short(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error)).lower()


def main(arguments: list[str]) -> int:
    match arguments:
        case ["make", name, limit]:
            try:
                print(json.dumps({"path": str(make(name, int(limit)))}))
            except Refused as why:
                print(json.dumps({"why": str(why)}))
            return 0
        case ["remove", path]:
            remove(Path(path))
            return 0
    print(__doc__, file=sys.stderr)
    return 64


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
