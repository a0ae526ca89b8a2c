"""The wheel is for the machines that its program runs on; without a program, for all."""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PROGRAM = "hubmeter-collector"

#: ELF's numbers for processors.
PROCESSORS = {62: "x86_64", 183: "aarch64"}


class ProgramHook(BuildHookInterface):
    """Adds the program that the build put into `bin/`."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        program = Path(self.root, "bin", PROGRAM)
        if not program.is_file():
            return
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{platforms(program.read_bytes())}"
        build_data["shared_scripts"][str(program)] = PROGRAM


def platforms(program: bytes) -> str:
    """The platform tags of a Linux program: those with at least the C library that it asks for."""
    if program[:4] != b"\x7fELF":
        raise ValueError(f"bin/{PROGRAM} is no Linux program")
    processor = PROCESSORS[struct.unpack_from("<H", program, 18)[0]]
    asked = [int(minor) for minor in re.findall(rb"GLIBC_2\.(\d+)", program)]
    if not asked:  # one static file: any C library will do
        return f"manylinux_2_17_{processor}.musllinux_1_1_{processor}"
    return f"manylinux_2_{max(17, *asked)}_{processor}"
