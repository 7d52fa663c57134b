"""`superscale train`."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from superscale.cli.progress import say
from superscale.cli.rehearsal import rehearsal
from superscale.errors import UsageError

if TYPE_CHECKING:
    from superscale.training.config import Recipe

SHOW_CURSOR = b"\x1b[?25h\n"
SECONDS = {"s": 1, "m": 60, "h": 3600}


def train(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="A bundled recipe's name, or a TOML file.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Run directory; default: runs/{recipe}.")] = None,
    data: Annotated[str | None, typer.Option(help="Photos, or a pack made by prepare.")] = None,
    validation: Annotated[str | None, typer.Option(help="A folder of pictures to validate on.")] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="key=value, e.g. stage.gan.learning_rate=1e-4.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Find everything that is wrong, try two steps of each stage, leave nothing.")
    ] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Delete what the run directory holds and start anew.")] = False,
    max_time: Annotated[str | None, typer.Option(help="Stop and save after this long, e.g. 90m or 2h.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    precision: Annotated[str | None, typer.Option(help="fp32 or bf16; default: the recipe's.")] = None,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print nothing but errors and the result.")] = False,
) -> None:
    """Train a network; the same command again goes on where it stopped."""
    from superscale.training.config import load_recipe
    from superscale.training.loop import train as run

    overrides = list(settings or [])
    for key, value in (("data.path", data), ("validation.path", validation), ("precision", precision)):
        if value is not None:
            overrides.append(f"{key}={value!r}")
    if dry_run:
        raise SystemExit(rehearsal(recipe, overrides, output, device))
    loaded = load_recipe(recipe, overrides)
    run_dir = output or Path("runs") / loaded.name
    if fresh and loaded.start and Path(loaded.start).resolve().is_relative_to(run_dir.resolve()):
        raise UsageError(f"--fresh would delete {loaded.start}, which the run starts from; choose another directory with -o")
    if fresh and run_dir.exists():
        _remove_run(run_dir)
    stop = StopOnSignal()
    result = run(loaded, run_dir, device=device, stop=stop, max_seconds=_seconds(max_time), quiet=quiet)
    if not result.finished or result.model is None:
        say(f"stopped at image {result.images}, saved; the same command goes on from there")
        raise SystemExit(stop.exit_code)
    print(result.model)
    if not quiet:
        for lead, command in zip(("next: ", "      "), next_commands(loaded, result.model), strict=True):
            say(lead + shlex.join(command))


def next_commands(recipe: Recipe, model: Path) -> tuple[list[str], list[str]]:
    """What to type next, as lists of words: measure the model beside bicubic, and enlarge a picture with it."""
    from superscale.image.io import list_images

    validation = recipe.validation.path
    pictures = list_images(Path(validation)) if validation else []
    scale = ["--scale", str(recipe.scale)] if recipe.scale != 4 else []
    measure = ["superscale", "evaluate", "--model", "bicubic", "--model", str(model), "--data", validation or "DIR", *scale]
    return measure, ["superscale", "upscale", str(pictures[0]) if pictures else "PHOTO", "--model", str(model)]


def _remove_run(run_dir: Path) -> None:
    if not (run_dir / "recipe.toml").is_file():
        raise UsageError(f"--fresh deletes a run directory, and {run_dir} is none (no recipe.toml)")
    shutil.rmtree(run_dir)


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text)
    if match is None:
        raise UsageError(f"--max-time expects a number and s, m or h, such as 90m, got {text!r}")
    return float(match[1]) * SECONDS[match[2] or "s"]


class StopOnSignal:
    """Set by the first Ctrl-C or SIGTERM, so that the loop saves and ends; the second ends the process at once."""

    def __init__(self) -> None:
        self.exit_code = 0
        signal.signal(signal.SIGINT, self._handle)
        signal.signal(signal.SIGTERM, self._handle)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self.exit_code:
            if sys.stderr.isatty():
                os.write(2, SHOW_CURSOR)  # the live table hid it
            os._exit(self.exit_code)
        self.exit_code = 128 + number
        os.write(2, b"stopping: saving the training state (again to stop at once)\n")

    def __call__(self) -> bool:
        return self.exit_code != 0
