"""The server's terminals: which processes they are, whether a job runs in front, when somebody typed.

Jupyter notes a terminal's output and a person's input as one and the same activity. The kernel keeps them
apart: a terminal's access time moves when its processes read what was typed (to within eight seconds),
which is what `w` calls idle.
"""

from __future__ import annotations

import fcntl
import os
import struct
import termios
from collections.abc import Iterator
from typing import Any

from .labels import label

ROWS_MAX = 256  # as many as the agent takes; it finds the rest by itself

#: What a pseudo-terminal's number is asked with; not every Python names it.
GET_NUMBER = getattr(termios, "TIOCGPTN", 0x80045430)


def rows(settings: Any) -> list[dict[str, Any]]:
    """Every terminal that is a process on this machine, as the agent is told of it."""
    return [
        {"name": label(name), "pid": process.pid, "busy": busy(process)}
        for name, process in _processes(settings)
    ]


def typed(settings: Any) -> dict[str, float]:
    """When each terminal last read what somebody typed; by the wall clock, so good for comparing only."""
    times = {}
    for name, process in _processes(settings):
        try:
            (number,) = struct.unpack("I", fcntl.ioctl(process.fd, GET_NUMBER, bytes(4)))
            times[name] = os.stat(f"/dev/pts/{number}").st_atime
        except (OSError, TypeError, ValueError, AttributeError):
            continue  # closed just now, or no pseudo-terminal of Linux
    return times


def busy(process: Any) -> bool | None:
    """Whether something other than the shell runs in front."""
    try:
        return os.tcgetpgrp(process.fd) != process.pid
    except (OSError, TypeError, ValueError, AttributeError):
        return None


def _processes(settings: Any) -> Iterator[tuple[str, Any]]:
    manager = settings.get("terminal_manager")
    for name, terminal in list(getattr(manager, "terminals", {}).items())[:ROWS_MAX]:
        process = getattr(terminal, "ptyproc", None)
        pid = getattr(process, "pid", None)
        if isinstance(pid, int) and pid > 0:
            yield name, process
