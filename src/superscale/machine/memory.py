"""Free memory of the machine, within the limit of a container."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

MEMINFO, CGROUP = Path("/proc/meminfo"), Path("/sys/fs/cgroup")


def free_bytes() -> int | None:
    """Return the bytes that this process may still take, or None where the system does not say."""
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
    """Return the bytes left under a container's limit (cgroup version 2); its page cache counts as free."""
    try:
        limit = int((CGROUP / "memory.max").read_text())
        used = int((CGROUP / "memory.current").read_text())
        counts = dict(line.split() for line in (CGROUP / "memory.stat").read_text().splitlines())
        return max(0, limit - used + int(counts["inactive_file"]))
    except (OSError, ValueError, KeyError):  # no group, or "max": no limit
        return 2**63
