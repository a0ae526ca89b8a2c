"""How kernels ended: by themselves, by which signal, or because somebody asked for it.

Jupyter's own watch over a kernel says when one died that nobody had asked to end, and only then can its
exit code be had. A process that is no longer a kernel's without that was asked to end: shut down,
restarted, culled.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

KEPT_S = 60.0  # the agent looks at least this often
KEPT_MAX = 64  # as many ends as a sample can carry


class Ends:
    """Watches over kernels' processes; on the loop, where Jupyter's watch is at home."""

    def __init__(self, manager: Any, wake: Callable[[], None], log: logging.Logger) -> None:
        self._manager = manager
        self._wake = wake
        self._log = log
        self._pids: dict[str, int] = {}
        #: (kernel id, pid) → until when it is told, and what.
        self._ended: dict[tuple[str, int], tuple[float, dict[str, Any]]] = {}

    def look(self, pids: Mapping[str, int]) -> None:
        """Takes the kernels there are, and their processes."""
        for kernel_id, pid in self._pids.items():
            if pids.get(kernel_id) != pid and (kernel_id, pid) not in self._ended:
                self._add(kernel_id, pid, asked=True, signal=None)
        for kernel_id in pids.keys() - self._pids.keys():
            for event in ("restart", "dead"):
                try:
                    self._manager.add_restart_callback(kernel_id, partial(self._died, kernel_id), event)
                except Exception:  # noqa: BLE001 - a manager of somebody else's making
                    self._log.debug("hubmeter: nobody tells when kernels die", exc_info=True)
        self._pids = dict(pids)

    def rows(self) -> list[dict[str, Any]]:
        """What is told, for a while."""
        now = time.monotonic()
        # Asked in our thread, while ends are added on the loop: copied at once, and nothing taken away here.
        return [row for until, row in list(self._ended.values()) if until > now]

    def _died(self, kernel_id: str) -> None:
        """Called by the kernel's restarter, before it starts the kernel anew."""
        provisioner = getattr(self._manager.get_kernel(kernel_id), "provisioner", None)
        pid = getattr(provisioner, "pid", None)
        if not isinstance(pid, int) or pid <= 0:
            return
        code = getattr(getattr(provisioner, "process", None), "returncode", None)
        signal = max(0, -code) if isinstance(code, int) else None
        self._add(kernel_id, pid, asked=False, signal=signal)
        self._wake()

    def _add(self, kernel_id: str, pid: int, *, asked: bool, signal: int | None) -> None:
        row = {"id": kernel_id, "pid": pid, "asked": asked, "signal": signal}
        now = time.monotonic()
        kept = {key: end for key, end in self._ended.items() if end[0] > now}
        self._ended = {**kept, (kernel_id, pid): (now + KEPT_S, row)}
        while len(self._ended) > KEPT_MAX:
            del self._ended[next(iter(self._ended))]
