"""Memory is that of the device that was used."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from superscale.evaluation.cost import peak_memory


def test_peak_memory_sees_what_a_model_held() -> None:
    """In a process of its own: this one may hold freed memory that the array would be given without growing."""
    code = (
        "import numpy as np\n"
        "from superscale.evaluation.cost import peak_memory\n"
        "with peak_memory() as idle: pass\n"
        "with peak_memory() as busy: np.ones(2**25)\n"
        "print(-1 if idle.bytes is None or busy.bytes is None else busy.bytes - idle.bytes)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    if int(result.stdout) == -1:
        pytest.skip("this system does not tell a process its peak memory")
    assert int(result.stdout) > 2**27


def test_the_peak_is_the_processs_on_a_cpu_though_there_is_a_gpu_and_the_named_gpus_on_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[object] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", asked.append)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 7)
    with peak_memory("cpu") as peak:
        pass
    assert peak.bytes is None or peak.bytes > 2**20
    assert asked == []
    with peak_memory("cuda:1") as peak:
        pass
    assert peak.bytes == 7
    assert asked == ["cuda:1"]
