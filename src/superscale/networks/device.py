"""Where a network runs, and how much memory there is."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import torch

from superscale.errors import UsageError

MEMINFO, CGROUP = Path("/proc/meminfo"), Path("/sys/fs/cgroup")


def pick_device(name: str) -> torch.device:
    """``auto``: the first GPU if there is one, else the CPU. Raises UsageError for a device that is not there."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"unknown device {name!r}; expected auto, cpu, cuda, cuda:1 or mps") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(f"no device {name}: this machine has {torch.cuda.device_count()} CUDA devices; use --device cpu")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UsageError("no mps device on this machine; use --device cpu")
    return device


def free_bytes(device: torch.device) -> int | None:
    """Memory that a network may still take on a device; None where the system does not tell."""
    if device.type == "cuda":
        # What torch holds for later, but does not use, is free as well.
        held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + held
    available = _available()
    return None if available is None else min(available, _left_to_the_group())


def _available() -> int | None:
    with suppress(OSError, ValueError, IndexError):
        line = next((line for line in MEMINFO.read_text().splitlines() if line.startswith("MemAvailable:")), "")
        return int(line.split()[1]) * 1024
    with suppress(AttributeError, OSError, ValueError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    return None


def _left_to_the_group() -> int:
    """What a container's limit (a control group of version 2) leaves; the page cache it holds would be given back."""
    try:
        limit = int((CGROUP / "memory.max").read_text())
        used = int((CGROUP / "memory.current").read_text())
        counts = dict(line.split() for line in (CGROUP / "memory.stat").read_text().splitlines())
        return max(0, limit - used + int(counts["inactive_file"]))
    except (OSError, ValueError, KeyError):  # no group, or "max": no limit
        return 2**63
