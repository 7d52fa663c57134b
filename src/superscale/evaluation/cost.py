"""What a model costs on a data set: seconds and peak memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PROCESS = Path("/proc/self")


@dataclass(frozen=True)
class Cost:
    """``seconds`` for all pictures of the set; ``peak_bytes``: device memory on a GPU, else the whole process; None if unknown.

    Both are None for outputs that were made elsewhere.
    """

    model: str
    data: str
    seconds: float | None
    megapixels: float
    peak_bytes: int | None

    @property
    def time(self) -> str:
        """Seconds and megapixels a second, as tables print them."""
        if self.seconds is None:
            return "–"
        return f"{self.seconds:.2f} s ({self.megapixels / max(self.seconds, 1e-9):.2f} Mpx/s)"

    @property
    def memory(self) -> str:
        """The peak memory, as tables print it."""
        return "–" if self.peak_bytes is None else f"{self.peak_bytes / 2**20:.0f} MiB"


@dataclass
class Peak:
    """Filled when the block of `peak_memory` ends."""

    bytes: int | None = None


@contextmanager
def peak_memory(device: str = "cpu") -> Iterator[Peak]:
    """The most memory held inside the block: of a GPU if ``device`` is one, else resident memory of the process (Linux only)."""
    peak = Peak()
    if device.startswith("cuda"):
        import torch

        torch.cuda.reset_peak_memory_stats(device)
        yield peak
        peak.bytes = torch.cuda.max_memory_allocated(device)
        return
    known = True
    try:
        (PROCESS / "clear_refs").write_text("5")  # sets the high-water mark back to what is held now
    except OSError:
        known = False
    yield peak
    if known:
        lines = (PROCESS / "status").read_text().splitlines()
        marks = [line.split() for line in lines if line.startswith("VmHWM:")]
        peak.bytes = int(marks[0][1]) * 1024 if marks else None
