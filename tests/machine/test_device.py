from __future__ import annotations

from pathlib import Path

import pytest
import torch

from superscale.machine import memory
from superscale.machine.device import free_bytes

CPU = torch.device("cpu")


def test_free_memory_is_what_the_system_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 9000 kB\nMemFree: 7 kB\nMemAvailable:    3000 kB\n")
    monkeypatch.setattr(memory, "MEMINFO", meminfo)
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    assert free_bytes(CPU) == 3000 * 1024
    for name, text in (("max", "max"), ("current", "900000"), ("stat", "anon 5\ninactive_file 100000\n")):
        (tmp_path / f"memory.{name}").write_text(text)
    assert free_bytes(CPU) == 3000 * 1024
    (tmp_path / "memory.max").write_text("1000000\n")
    assert free_bytes(CPU) == 1_000_000 - 900_000 + 100_000
    meminfo.unlink()
    (tmp_path / "memory.max").unlink()
    assert (free_bytes(CPU) or 0) > 0
