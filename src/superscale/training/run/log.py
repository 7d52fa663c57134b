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
from superscale.errors import TrainingError, install_line
from superscale.files import require_place_for_file, write_text
from superscale.image.captions import captioned
from superscale.image.io import Image, write_image
from superscale.image.resize import resize_to
from superscale.machine import processes
from superscale.training.run.live_table import LiveTable, Progress
from superscale.training.run.pace import Pace, hours

Array = NDArray[np.uint8]
SHEET_CROP_PX = 192
SHEET_GAP_PX = 4
SHEET_CAPTIONS = ("bicubic", "output", "original")


class RunLog:
    """The writer of one run directory.

    ``metrics.jsonl`` is the record of the run as if it had never been interrupted: going on from a state cuts it back to what
    it was then. ``health.jsonl`` is a diary: it tells every fault when it happens, and nothing is taken out of it.
    Of several processes only the first writes and speaks. ``stages``: name -> images, in their order.
    """

    def __init__(self, run_dir: Path, quiet: bool = False, stages: Mapping[str, int] | None = None) -> None:
        self.run_dir = run_dir
        self.first = processes.rank() == 0
        quiet = quiet or not self.first
        self.console = Console(stderr=True, quiet=quiet, highlight=False, soft_wrap=True)
        for name in ("metrics.jsonl", "health.jsonl", "environment.json"):
            # Opening a pipe would wait for its reader, and a folder is not met before the first fault.
            require_place_for_file(run_dir / name)
        self.jsonl = open(run_dir / "metrics.jsonl" if self.first else os.devnull, "a", encoding="utf-8")  # noqa: SIM115
        self.events = self._tensorboard() if self.first else None
        self.pace = Pace()
        self.progress = Progress()
        self.began = time.monotonic()
        self.stages = stages or {}
        self.table = LiveTable(self.console) if sys.stderr.isatty() and not quiet else None
        if self.first:
            write_text(run_dir / "environment.json", json.dumps(environment(), indent=1))

    def _tensorboard(self) -> Any:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            self.say(f"TensorBoard events are not written; to have them: {install_line('train')}")
            return None
        return SummaryWriter(str(self.run_dir))

    def say(self, text: str) -> None:
        """Print a line on stderr, unless the run is quiet."""
        self.console.print(text, markup=False)

    def warn(self, text: str) -> None:
        """Print a line on stderr, of a quiet run too."""
        if self.first:
            Console(stderr=True, highlight=False, soft_wrap=True).print(text, markup=False)

    def event(self, text: str, **facts: Any) -> None:
        """Say what happened to the run's health, and write it into the diary."""
        self.say(text)
        if not self.first:
            return
        with open(self.run_dir / "health.jsonl", "a", encoding="utf-8") as diary:
            diary.write(json.dumps({"text": text, **facts}) + "\n")

    def position(self) -> int:
        """How many bytes of metrics.jsonl are safely on disk. Raises TrainingError where it is not in the run directory any more."""
        self._require_place()
        self.jsonl.flush()
        os.fsync(self.jsonl.fileno())
        return os.fstat(self.jsonl.fileno()).st_size

    def _require_place(self) -> None:
        """A file that was deleted takes rows without an error, and they are lost."""
        if not self.first:
            return
        path = self.run_dir / "metrics.jsonl"
        if not path.exists() or os.fstat(self.jsonl.fileno()).st_nlink == 0:
            raise TrainingError(
                f"{path}: deleted or moved while the run went on, so that its rows would be lost; "
                "put it back, or choose another run directory, and run the command again"
            )

    def cut_back(self, position: int | None) -> None:
        """Drop the rows written after this position (None: unknown, keep all); a row cut in two goes as well."""
        if position is None or not self.first:
            return
        self.jsonl.flush()
        path = self.run_dir / "metrics.jsonl"
        data = path.read_bytes()
        if len(data) < position:
            self.warn(
                f"{path}: {position - len(data)} bytes shorter than when the state was saved: rows of this run are missing in it"
            )
        os.truncate(path, data[:position].rfind(b"\n") + 1)

    def begin(self, stage: str, *, images: int, total: int, step_images: int, best_psnr: float | None = None) -> None:
        """A stage begins, or goes on, at this image. ``best_psnr``: of its validations so far."""
        self.pace.begin(images, step_images)
        self.progress = Progress(stage, images, total, best_psnr=best_psnr, step_images=step_images, began=self.began)
        if stage in self.stages:
            names = list(self.stages)
            self.progress.number, self.progress.stages = names.index(stage) + 1, len(names)
            self.progress.images_after = sum(self.stages[name] for name in names[self.progress.number :])

    def step(self) -> None:
        """A step has ended."""
        self.pace.step()
        self.progress.images = self.pace.images
        self.progress.seconds_left = self.pace.seconds_left(self.progress.total)
        if self.table is not None:
            self.table.show(self.progress)

    def report(self, images: int, learning_rate: float, values: Mapping[str, float]) -> None:
        """Write the means of an interval, which were just read from the device, and the rates."""
        self.pace.catch_up()
        now = self.progress
        now.images, now.numbers, now.learning_rate = images, dict(values), learning_rate
        now.images_per_second, now.data_wait = self.pace.rates()
        now.seconds_left = self.pace.seconds_left(now.total)
        rates = {"learning_rate": learning_rate, "images_per_second": now.images_per_second, "data_wait": now.data_wait}
        self.write({"stage": now.stage, "images": images, **rates, **values})
        if self.table is not None:
            self.table.show(now, now=True)
        else:
            self.say(report_line(now, self.pace.seconds_a_step))

    def write(self, row: Mapping[str, Any]) -> None:
        """One line of metrics.jsonl, and its numbers as TensorBoard scalars; a validation's PSNR is remembered."""
        if (psnr := row.get("validation_psnr")) is not None:
            best = self.progress.best_psnr
            self.progress.psnr = psnr
            self.progress.best_psnr = psnr if best is None else max(psnr, best)
        self._require_place()
        self.jsonl.write(json.dumps(row) + "\n")
        self.jsonl.flush()
        if self.events is not None:
            for key, value in row.items():
                if isinstance(value, float):
                    self.events.add_scalar(f"{row['stage']}/{key}", value, row["images"])

    def close(self) -> None:
        """End the table and close the files."""
        if self.table is not None:
            self.table.close()
        try:
            self.jsonl.close()
        finally:
            if self.events is not None:
                self.events.close()


def report_line(progress: Progress, seconds_a_step: float) -> str:
    """A report where nobody watches: one plain line."""
    losses = "  ".join(f"{name} {value:.4g}" for name, value in progress.numbers.items())
    rates = (
        f"{1000 * seconds_a_step:.0f} ms/step  {progress.images_per_second:.3g} images/s  {progress.data_wait:.1%} data wait"
    )
    left = f"  {hours(progress.seconds_left)} left in this stage" if progress.seconds_left else ""
    return f"{progress.stage} {progress.images}/{progress.total}  {losses}  {rates}{left}"


def write_sample_sheet(path: Path, rows: list[tuple[Array, Array, Array]]) -> None:
    """A PNG of crops below their names, one row a picture: bicubic, output, original.

    Each row is (low_res, super_res, high_res), uint8 (H, W, 3).
    """
    strips: list[Array] = []
    for low_res, super_res, high_res in rows:
        height, width = high_res.shape[:2]
        bicubic = resize_to(low_res, height, width)
        side = min(SHEET_CROP_PX, height, width)
        top, left = (height - side) // 2, (width - side) // 2
        crops = [picture[top : top + side, left : left + side] for picture in (bicubic, super_res, high_res)]
        around = ((0, SHEET_GAP_PX), (0, SHEET_CROP_PX - side + SHEET_GAP_PX), (0, 0))
        strips.append(np.concatenate([np.pad(crop, around) for crop in crops], axis=1))
    sheet = np.concatenate(strips, axis=0)
    write_image(path, Image(captioned(sheet, SHEET_CAPTIONS, SHEET_CROP_PX + SHEET_GAP_PX)))


def versions() -> dict[str, str]:
    """What a result depends on besides the recipe and the hardware."""
    return {
        "superscale": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }


def what_computes(device: torch.device) -> dict[str, str]:
    """What the last bits of a result depend on: versions, the device, and on a CPU the threads that share its sums."""
    if device.type == "cpu":
        return {**versions(), "device": "cpu", "threads": str(torch.get_num_threads())}
    return {**versions(), "device": torch.cuda.get_device_name() if device.type == "cuda" else device.type}


def environment() -> dict[str, Any]:
    """Versions and hardware of this run, for environment.json and model cards."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
    return {
        **versions(),
        "platform": platform.platform(),
        "device": device,
        "processes": processes.world_size(),
        "command": " ".join(sys.argv),
    }
