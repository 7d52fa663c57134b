"""What a run tells: lines on stderr, metrics.jsonl, TensorBoard events, sample sheets."""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console

from superscale import __version__
from superscale.image.io import Image, write_bytes, write_image
from superscale.image.resize import resize_to
from superscale.training.distributed import rank, world_size

Array = NDArray[np.uint8]
SHEET_CROP_PX = 192
SHEET_GAP_PX = 4


class RunLog:
    """The writer of one run directory.

    ``metrics.jsonl`` is the record of the run as if it had never been interrupted: going on from a state cuts it back to what
    it was then. ``health.jsonl`` is a diary: it tells every fault when it happens, and nothing is taken out of it.
    Of several processes only the first writes and speaks.
    """

    def __init__(self, run_dir: Path, quiet: bool = False) -> None:
        self.run_dir, self.first = run_dir, rank() == 0
        self.console = Console(stderr=True, quiet=quiet or not self.first, highlight=False, soft_wrap=True)
        self.jsonl = open(run_dir / "metrics.jsonl" if self.first else os.devnull, "a", encoding="utf-8")  # noqa: SIM115
        self.events = self._tensorboard() if self.first else None
        self.started = time.monotonic()
        self.images_at_start: int | None = None
        if self.first:
            (run_dir / "environment.json").write_text(json.dumps(environment(), indent=1))

    def _tensorboard(self) -> Any:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            self.say("TensorBoard events are not written; to have them: pip install 'superscale[train]'")
            return None
        return SummaryWriter(str(self.run_dir))

    def say(self, text: str) -> None:
        self.console.print(text, markup=False)

    def event(self, text: str, **facts: Any) -> None:
        """Say what happened to the run's health, and write it into the diary."""
        self.say(text)
        if not self.first:
            return
        with open(self.run_dir / "health.jsonl", "a", encoding="utf-8") as diary:
            diary.write(json.dumps({"text": text, **facts}) + "\n")

    def position(self) -> int:
        """How many bytes of metrics.jsonl are safely on disk."""
        self.jsonl.flush()
        os.fsync(self.jsonl.fileno())
        return os.fstat(self.jsonl.fileno()).st_size

    def cut_back(self, position: int | None) -> None:
        """Drop the rows written after this position (None: unknown, keep all); a row cut in two goes as well."""
        if position is None or not self.first:
            return
        self.jsonl.flush()
        path = self.run_dir / "metrics.jsonl"
        os.truncate(path, path.read_bytes()[:position].rfind(b"\n") + 1)

    def report(
        self, stage: str, images: int, total: int, learning_rate: float, seconds_a_step: float, values: Mapping[str, float]
    ) -> None:
        """Write the means of an interval."""
        self.write({"stage": stage, "images": images, "learning_rate": learning_rate, **values})
        eta = self._eta(images, total)
        losses = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
        self.say(f"{stage} {images}/{total}  {losses}  {1000 * seconds_a_step:.0f} ms/step  {eta}")

    def _eta(self, images: int, total: int) -> str:
        if self.images_at_start is None or images <= self.images_at_start:
            self.images_at_start, self.started = images, time.monotonic()
            return ""
        seconds = (time.monotonic() - self.started) / (images - self.images_at_start) * (total - images)
        return f"{int(seconds // 3600)}:{int(seconds % 3600 // 60):02d}:{int(seconds % 60):02d} left in this stage"

    def write(self, row: Mapping[str, Any]) -> None:
        """One line of metrics.jsonl, and its numbers as TensorBoard scalars."""
        self.jsonl.write(json.dumps(row) + "\n")
        self.jsonl.flush()
        if self.events is not None:
            for key, value in row.items():
                if isinstance(value, float):
                    self.events.add_scalar(f"{row['stage']}/{key}", value, row["images"])

    def close(self) -> None:
        self.jsonl.close()
        if self.events is not None:
            self.events.close()


def write_sample_sheet(path: Path, rows: list[tuple[Array, Array, Array]]) -> None:
    """A PNG of crops, one row a picture: bicubic | output | truth. Each row is (low_res, super_res, high_res), uint8 (H, W, 3)."""
    strips = []
    for low_res, super_res, high_res in rows:
        height, width = high_res.shape[:2]
        bicubic = resize_to(low_res, height, width)
        side = min(SHEET_CROP_PX, height, width)
        top, left = (height - side) // 2, (width - side) // 2
        crops = [picture[top : top + side, left : left + side] for picture in (bicubic, super_res, high_res)]
        strip = np.concatenate([np.pad(crop, ((0, 0), (0, SHEET_GAP_PX), (0, 0))) for crop in crops], axis=1)
        strips.append(np.pad(strip, ((0, SHEET_GAP_PX), (0, 3 * SHEET_CROP_PX - 3 * side), (0, 0))))
    write_image(path, Image(np.concatenate(strips, axis=0)))


def versions() -> dict[str, str]:
    """What a result depends on besides the recipe and the hardware."""
    return {
        "superscale": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }


def environment() -> dict[str, Any]:
    """Versions and hardware of this run, for environment.json and model cards."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
    return {
        **versions(),
        "platform": platform.platform(),
        "device": device,
        "processes": world_size(),
        "command": " ".join(sys.argv),
    }


def write_text(path: Path, text: str) -> None:
    """Replace a small text file in one step."""
    write_bytes(path, text.encode())
