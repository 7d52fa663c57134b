from __future__ import annotations

from pathlib import Path

import pytest

from superscale.machine import processor
from superscale.machine.threads import cores

# Two cores of two threads each, as Linux writes it.
TWO_OF_TWO = "".join(
    f"processor\t: {thread}\nmodel name\t: Some CPU @ 2 GHz\nphysical id\t: 0\ncore id\t\t: {thread % 2}\nflags\t\t: fpu {flag}\n\n"
    for thread in range(4)
    for flag in ("avx512_bf16",)
)


@pytest.fixture
def information(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "cpuinfo"
    monkeypatch.setattr(processor, "CPUINFO", path)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    return path


def test_name_cores_and_bf16_are_what_the_system_says(information: Path) -> None:
    information.write_text(TWO_OF_TWO)
    assert processor.name() == "Some CPU @ 2 GHz"
    assert processor.physical_cores() == 2
    assert processor.multiplies_bf16()
    assert cores() <= 2
    information.write_text(TWO_OF_TWO.replace(" avx512_bf16", ""))
    assert not processor.multiplies_bf16()


def test_where_the_system_does_not_tell_there_is_a_name_and_at_least_one_thread(information: Path) -> None:
    assert processor.name()
    assert not processor.multiplies_bf16()
    assert processor.physical_cores() == 0
    assert cores() >= 1
