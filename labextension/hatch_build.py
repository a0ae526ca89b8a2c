"""What is in a wheel, and which machines it is for.

The labextension must have been built before. With an agent in `hubmeter/bin` the wheel is for the machines
that this agent runs on: a static one needs no C library, so it runs on any Linux of its processor; any
other is for machines like the one that built it, and such a wheel is for copying, not for publishing.
Without an agent the wheel is for all: servers then find one by HUBMETER_AGENT or PATH.
"""

from __future__ import annotations

import os
import platform
import struct
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

AGENT = "hubmeter/bin/hubmeter-agent"
LABEXTENSION = "hubmeter/labextension/package.json"

#: By the number in the program's head. The glibc named is the oldest that installers of today know by.
MACHINES = {62: "x86_64", 183: "aarch64"}
STATIC = "manylinux_2_17_{0}.manylinux2014_{0}.musllinux_1_1_{0}"
NEEDS_A_LOADER = 3  # PT_INTERP


class WheelHook(BuildHookInterface):
    """Called by hatchling for wheels and source archives."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        root = Path(self.root)
        if not (root / LABEXTENSION).is_file():
            raise SystemExit(
                f"{root / LABEXTENSION} is missing: build the front end first (`cargo xtask wheel` does all "
                "of it; by hand `npm ci && npm run build`, which needs jupyter-builder on PATH)"
            )
        agent = root / AGENT
        if self.target_name == "wheel" and agent.is_file():
            if not os.access(agent, os.X_OK):
                raise SystemExit(f"{agent} may not be executed")
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-{platform_of(agent.read_bytes()[:4096], str(agent))}"


def platform_of(head: bytes, name: str) -> str:
    """The platforms that a program runs on, as a wheel's tag says them."""
    if head[:6] != b"\x7fELF\x02\x01" or len(head) < 64:
        raise SystemExit(f"{name} is no program for 64-bit Linux")
    (machine,) = struct.unpack_from("<H", head, 18)
    if machine not in MACHINES:
        raise SystemExit(f"{name} is for a processor that wheels have no name for ({machine})")
    (table,) = struct.unpack_from("<Q", head, 32)
    size, count = struct.unpack_from("<HH", head, 54)
    if size < 4 or table + size * count > len(head):
        raise SystemExit(f"{name} has no head that can be read")
    kinds = [struct.unpack_from("<I", head, table + size * index)[0] for index in range(count)]
    if NEEDS_A_LOADER not in kinds:
        return STATIC.format(MACHINES[machine])
    if sys.platform != "linux" or platform.machine() != MACHINES[machine]:
        raise SystemExit(f"{name} is not static, and not for this machine")
    return f"linux_{MACHINES[machine]}"
