"""The processor, as the system describes it: its name, its physical cores, and whether it multiplies bf16."""

from __future__ import annotations

import platform
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
# As x86 and ARM call the instructions.
BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})


def name() -> str:
    """What the system calls it."""
    return next((value for key, value in _facts() if key == "model name"), platform.processor() or platform.machine())


def multiplies_bf16() -> bool:
    """Whether it says that it has instructions for bf16."""
    flags = next((value for key, value in _facts() if key in ("flags", "Features")), "")
    return not BF16_FLAGS.isdisjoint(flags.split())


def physical_cores() -> int:
    """How many cores it has, each of which may run two threads; 0 where the system does not tell."""
    named = [(key, value) for key, value in _facts() if key in ("physical id", "core id")]
    return len(set(zip(named[::2], named[1::2], strict=False)))


def _facts() -> list[tuple[str, str]]:
    try:
        parts = [line.partition(":") for line in CPUINFO.read_text().splitlines()]
    except OSError:
        return []
    return [(key.strip(), value.strip()) for key, _, value in parts]
