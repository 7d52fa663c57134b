"""The table that a person at a terminal watches while a run goes."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from superscale.training.run.pace import hours

REFRESH_SECONDS = 0.5
BAR_COLUMNS = 40


@dataclass
class Standing:
    """Where a run stands. ``psnr``, ``best_psnr``: of validation, in dB; ``data_wait``: share of the time; ``numbers``: the losses."""

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


def table(standing: Standing) -> Group:
    """A bar, then name and value in two columns."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(justify="right", style="dim")
    grid.add_column()
    for name, value in standing.numbers.items():
        grid.add_row(name.replace("_", " "), f"{value:.4g}")
    if standing.psnr is not None:
        grid.add_row("PSNR", f"{standing.psnr:.2f} dB, best {standing.best_psnr:.2f} dB")
    grid.add_row("learning rate", f"{standing.learning_rate:.3g}")
    grid.add_row("images/s", f"{standing.images_per_second:.3g}")
    grid.add_row("data wait", f"{standing.data_wait:.1%}")
    grid.add_row("left in stage", hours(standing.seconds_left) if standing.seconds_left is not None else "?")
    line = Table.grid(padding=(0, 2))
    bar = ProgressBar(total=max(standing.total, 1), completed=standing.images, width=BAR_COLUMNS)
    line.add_row(f"[bold]{standing.stage}[/]", bar, f"{standing.images:,} of {standing.total:,} images")
    return Group(line, grid)


class LiveTable:
    """Shows a `Standing` below what the console prints; redrawn when asked to, at most every half second."""

    def __init__(self, console: Console) -> None:
        self.live = Live(console=console, auto_refresh=False)
        self.drawn = 0.0
        self.live.start()

    def show(self, standing: Standing, now: bool = False) -> None:
        if now or time.monotonic() - self.drawn > REFRESH_SECONDS:
            self.live.update(table(standing), refresh=True)
            self.drawn = time.monotonic()

    def close(self) -> None:
        self.live.stop()
