"""`superscale train`."""

from __future__ import annotations

import os
import re
import shlex
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from superscale.cli.completion import recipe_names
from superscale.cli.flags import flags_named
from superscale.cli.progress import say
from superscale.cli.rehearsal import rehearsal
from superscale.errors import UsageError

if TYPE_CHECKING:
    from superscale.training.recipe.schema import Recipe

RECIPE = "A bundled recipe's name (see: superscale recipes list), or a TOML file."
SHOW_CURSOR = b"\x1b[?25h\n"
STOPPING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
SAVING = tuple(getattr(signal, name) for name in ("SIGUSR1",) if hasattr(signal, name))
SECONDS = {"s": 1, "m": 60, "h": 3600}


@flags_named()
def train(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help=RECIPE, autocompletion=recipe_names)],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="DIR", help="Run directory. Default: runs/RECIPE.")
    ] = None,
    data: Annotated[str | None, typer.Option(metavar="PATH", help="Photos, or a pack made by prepare.")] = None,
    validation: Annotated[str | None, typer.Option(metavar="DIR", help="A folder of pictures to validate on.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="A setting of the recipe; repeatable. E.g. stage.gan.learning_rate=1e-4."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("-n", "--dry-run", help="Find everything that is wrong, try two steps of each stage, leave nothing.")
    ] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Delete what the run directory holds and start anew.")] = False,
    max_time: Annotated[str | None, typer.Option(metavar="TIME", help="Stop and save after this long, e.g. 90m or 2h.")] = None,
    device: Annotated[str, typer.Option(metavar="DEVICE", help="auto, cpu or cuda.")] = "auto",
    precision: Annotated[
        str | None, typer.Option(metavar="TYPE", help="fp32 or bf16, for stages that name none. Default: the recipe's.")
    ] = None,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print nothing but errors and the result.")] = False,
) -> None:
    """Train a network. The same command again resumes.

    \b
    superscale train srgan_x4 --data pack       train, or resume
    superscale train srgan_x4 --data pack -n    only check everything
    superscale train my.toml --set data.batch=8 --max-time 2h
    """
    for number in SAVING:
        if signal.getsignal(number) == signal.SIG_DFL:
            # Before the first step and after the last there is nothing to save, and nothing to end.
            signal.signal(number, _ignore)
    from superscale.machine import processes
    from superscale.machine.allocator import keep_freed_memory
    from superscale.training.loop.train import train as run
    from superscale.training.recipe.features import with_features_at_hand
    from superscale.training.recipe.parsing import assignment
    from superscale.training.recipe.schema import load_recipe

    keep_freed_memory()
    options = (("data.path", data), ("validation.path", validation), ("precision", precision))
    overrides = [*(settings or []), *(assignment(key, value) for key, value in options if value is not None)]
    if dry_run:
        if processes.launched():
            raise UsageError("--dry-run tries a step of one process: run it without torchrun")
        raise SystemExit(rehearsal(recipe, overrides, output, device))
    loaded, stand_ins = with_features_at_hand(load_recipe(recipe, overrides))
    run_dir = output or Path("runs") / loaded.name
    if fresh:
        _refuse_to_delete_what_is_needed(loaded, run_dir)
    seconds = _seconds(max_time)
    speaks = processes.rank() == 0
    for sentence in stand_ins if speaks and not quiet else ():
        say(f"note: {sentence}")
    with StopOnSignal(under_torchrun=processes.launched(), speaks=speaks) as stop:
        result = run(loaded, run_dir, device=device, stop=stop, save=stop.save, max_seconds=seconds, fresh=fresh, quiet=quiet)
    if not result.finished or result.model is None:
        if speaks:
            saved = f"at image {result.images}, saved; the same command goes on from there"
            say(f"stopped {saved if result.images else 'before the first step'}")
        raise SystemExit(stop.exit_code)
    if speaks:
        if not quiet:
            say(f"finished: {result.images:,} images")
        print(result.model)
        if not quiet:
            for lead, command in zip(("next: ", "      "), next_commands(loaded, result.model), strict=True):
                say(lead + shlex.join(command))
    if processes.launched():
        # All is written. At the interpreter's own end a thread of gloo's aborts the process now and then (torch 2.13), which
        # torchrun would report as a failure of a training that has none.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def _refuse_to_delete_what_is_needed(recipe: Recipe, run_dir: Path) -> None:
    weights = [stage.perceptual.weights for stage in recipe.stage.values() if stage.perceptual]
    sources = [source.path for source in recipe.data.more]
    for needed in (recipe.start, recipe.data.path, *sources, recipe.validation.path, *weights):
        path = Path(needed).resolve()
        if needed and path.exists() and path.is_relative_to(run_dir.resolve()):
            raise UsageError(f"--fresh would delete {needed}, which the run needs; choose another directory with -o")


def next_commands(recipe: Recipe, model: Path) -> tuple[list[str], list[str]]:
    """What to type next, as lists of words: measure the model beside bicubic, and enlarge a picture with it."""
    from superscale.image.io import list_images

    validation = recipe.validation.path
    pictures = list_images(Path(validation)) if validation else []
    scale = ["--scale", str(recipe.scale)] if recipe.scale != 4 else []
    measure = ["superscale", "evaluate", "--model", "bicubic", "--model", str(model), "--data", validation or "DIR", *scale]
    return measure, ["superscale", "upscale", str(pictures[0]) if pictures else "PHOTO", "--model", str(model)]


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text)
    if match is None:
        raise UsageError(f"--max-time expects a number and s, m or h, such as 90m, got {text!r}")
    return float(match[1]) * SECONDS[match[2] or "s"]


class StopOnSignal:
    """Set by the first Ctrl-C, SIGTERM or SIGHUP, so that the loop saves and ends; the second ends the process at once.

    SIGUSR1, with which Slurm warns of a limit of time (``--signal``), has it save and go on.

    Under torchrun a second SIGTERM does not: Slurm sends one to torchrun and one to each of its processes, and torchrun passes
    its own on.

    Python runs a handler only between two of its own instructions, and one backward pass can be long: so a thread listens to
    what the interpreter writes into a pipe the moment a signal arrives.
    """

    def __init__(self, *, under_torchrun: bool = False, speaks: bool = True) -> None:
        self.exit_code = 0
        self.save_asked = False
        self.under_torchrun = under_torchrun
        self.speaks = speaks

    def __enter__(self) -> StopOnSignal:
        self._listening, self._speaking = os.pipe()
        os.set_blocking(self._speaking, False)
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        self._wakeup = signal.set_wakeup_fd(self._speaking)
        heeded = [
            number for number in (*STOPPING, *SAVING) if signal.getsignal(number) != signal.SIG_IGN
        ]  # as nohup leaves SIGHUP
        self._handlers = {number: signal.signal(number, _ignore) for number in heeded}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup)
        os.close(self._speaking)
        self._thread.join()
        os.close(self._listening)

    def _listen(self) -> None:
        while told := os.read(self._listening, 1):
            if told[0] in SAVING:
                self.save_asked = True
                self._say(b"saving the training state, and going on\n")
            if told[0] not in STOPPING:
                continue
            if self.exit_code:
                if self.under_torchrun and told[0] == signal.SIGTERM:
                    continue
                if self.speaks and sys.stderr.isatty():
                    os.write(2, SHOW_CURSOR)  # the live table hid it
                os._exit(self.exit_code)
            self.exit_code = 128 + told[0]
            self._say(b"stopping: saving the training state (again to stop at once)\n")

    def _say(self, text: bytes) -> None:
        with suppress(OSError):  # nobody may be listening
            if self.speaks:
                os.write(2, text)

    def save(self) -> bool:
        """Whether a state was asked for since the last time."""
        asked, self.save_asked = self.save_asked, False
        return asked

    def __call__(self) -> bool:
        """Whether a signal has come."""
        return self.exit_code != 0


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """A handler must be there for the interpreter to write into the pipe."""
