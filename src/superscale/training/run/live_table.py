"""The table that a person at a terminal watches while a run goes."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from superscale.training.run.pace import hours

REFRESH_SECONDS = 0.5
BAR_COLUMNS = 40


@dataclass
class Progress:
    """Where a run stands. ``psnr``, ``best_psnr``: of validation, in dB; ``data_wait``: share of the time; ``numbers``: the losses.

    ``number``: of the stage, of so many ``stages``; ``images_after``: those of the stages after it; ``step_images``: of a step;
    ``began``: when this process began the run, by ``time.monotonic``.
    """

    stage: str = ""
    images: int = 0
    total: int = 0
    numbers: dict[str, float] = field(default_factory=dict)
    learning_rate: float = 0.0
    images_per_second: float = 0.0
    data_wait: float = 0.0
    seconds_left: float | None = None
    psnr: float | None = None
    best_psnr: float | None = None
    number: int = 1
    stages: int = 1
    images_after: int = 0
    step_images: int = 1
    began: float | None = None

    @property
    def seconds_left_in_all(self) -> float | None:
        """Until the end of the last stage, if its steps take as long as those of this one."""
        if self.seconds_left is None or not self.images_per_second:
            return None
        return self.seconds_left + self.images_after / self.images_per_second


def table(progress: Progress) -> Group:
    """A bar, then name and value in two columns."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(justify="right", style="dim")
    grid.add_column()
    for name, value in progress.numbers.items():
        grid.add_row(name.replace("_", " "), f"{value:.4g}")
    if progress.psnr is not None:
        grid.add_row("PSNR", f"{progress.psnr:.2f} dB, best {progress.best_psnr:.2f} dB")
    grid.add_row("learning rate", f"{progress.learning_rate:.3g}")
    rate = progress.images_per_second
    grid.add_row("images/s", f"{rate:.3g} ({rate / progress.step_images:.3g} steps/s)")
    grid.add_row("data wait", f"{progress.data_wait:.1%}")
    grid.add_row("left in stage", hours(progress.seconds_left) if progress.seconds_left is not None else "?")
    if progress.images_after:
        left = progress.seconds_left_in_all
        grid.add_row("left in all", f"{hours(left)} at this rate" if left is not None else "?")
    if progress.began is not None:
        grid.add_row("elapsed", hours(time.monotonic() - progress.began))
    line = Table.grid(padding=(0, 2))
    stage = f"{progress.stage} ({progress.number} of {progress.stages})" if progress.stages > 1 else progress.stage
    bar = ProgressBar(total=max(progress.total, 1), completed=progress.images, width=BAR_COLUMNS)
    line.add_row(Text(stage, style="bold"), bar, f"{progress.images:,} of {progress.total:,} images")
    return Group(line, grid)


class LiveTable:
    """Shows a `Progress` below what the console prints; redrawn when asked to, at most every half second."""

    def __init__(self, console: Console) -> None:
        self.live = Live(console=console, auto_refresh=False)
        self.drawn = 0.0
        self.live.start()

    def show(self, progress: Progress, now: bool = False) -> None:
        """Redraw the table if it is time to, or ``now``."""
        if now or time.monotonic() - self.drawn > REFRESH_SECONDS:
            self.live.update(table(progress), refresh=True)
            self.drawn = time.monotonic()

    def close(self) -> None:
        """Leave the last table on the screen and give the terminal back."""
        self.live.stop()
