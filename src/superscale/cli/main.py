"""The `superscale` command: its subcommands, exit codes and error messages."""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

import typer

from superscale import __version__
from superscale.cli import streams
from superscale.cli.blend import blend
from superscale.cli.config import config
from superscale.cli.doctor import doctor
from superscale.cli.evaluate import evaluate
from superscale.cli.examples import examples
from superscale.cli.export import export
from superscale.cli.fit_niqe import fit_niqe
from superscale.cli.help import Command
from superscale.cli.models import models
from superscale.cli.plot import plot
from superscale.cli.prepare import prepare
from superscale.cli.progress import explained, say, shown
from superscale.cli.recipes import recipes
from superscale.cli.serve import serve
from superscale.cli.settings import defaults, plain_commands
from superscale.cli.train import train
from superscale.cli.upscale import upscale
from superscale.errors import Cancelled, OutputError, SuperscaleError, UsageError
from superscale.machine.threads import sleep_while_waiting

FAILED, USAGE, SIGNALLED = 1, 2, 128
EMPTY_OPTION = re.compile(r"--[a-z][a-z-]*=")
HELP = """Image super-resolution with SRGAN and ESRGAN.

\b
superscale upscale photo.jpg                  write photo_x4.jpg
superscale upscale photos/ -o upscaled/       upscale a folder
superscale prepare photos/ -o pack            pack photos for training
superscale train srgan_x4 --data pack         train, or resume
superscale evaluate --model srgan-x4 --data Set5
"""

app = typer.Typer(
    name="superscale",
    help=HELP,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # the boxes would take longer to import than all else that --help does
    context_settings={"help_option_names": ["-h", "--help"]},
)
# What the list of commands says of each, short enough for 80 columns; in the order in which people need them.
SUMMARIES: dict[Callable[..., None], str] = {
    upscale: "Upscale images",
    evaluate: "Measure models: PSNR, SSIM, LPIPS, NIQE and others",
    prepare: "Pack photographs for training",
    train: "Train a network, or resume",
    plot: "Plot the curves of training runs",
    export: "Write a model as ONNX, OpenVINO or ncnn",
    blend: "Interpolate between two models",
    serve: "Serve a web page and an HTTP API",
    fit_niqe: "Fit the NIQE metric to your own photographs",
    doctor: "Show versions, devices, backends and formats",
    examples: "Copy three photographs to try things with",
}
for command, summary in SUMMARIES.items():
    app.command(cls=Command, short_help=summary)(command)
app.add_typer(models, name="models", short_help="List, download and verify models")
app.add_typer(recipes, name="recipes", short_help="List, show and copy training recipes")
app.add_typer(config, name="config", short_help="Show settings and where they come from")


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"superscale {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    _version: bool = typer.Option(False, "--version", help="Print the version.", callback=_print_version, is_eager=True),
) -> None:
    commands = plain_commands(context.command)
    if context.invoked_subcommand in commands and "--help" not in sys.argv and "-h" not in sys.argv:
        context.default_map = dict(defaults(commands))


def _terminated(number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(SIGNALLED + number)


def main() -> None:
    """Run the command line. Exit codes: 0 success, 1 failure, 2 wrong usage, 130 Ctrl-C, 143 SIGTERM, 129 SIGHUP."""
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP; nohup has it ignored, and so it stays
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _terminated)
    sleep_while_waiting()  # nothing has imported torch yet
    try:
        with streams.repaired():
            _run()
    except OutputError as error:
        _fail(str(error), FAILED)


def _run() -> None:
    try:
        _refuse_empty(sys.argv[1:])
        app(standalone_mode=True)
    except (KeyboardInterrupt, Cancelled):
        _fail("interrupted", SIGNALLED + signal.SIGINT)
    except OutputError:
        raise
    except SuperscaleError as error:
        _fail(explained(error), USAGE if isinstance(error, UsageError) else FAILED)
    except OSError as error:
        # A full disk or a folder without permission: a line that says so, not a traceback.
        _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error), FAILED)


def _refuse_empty(arguments: list[str]) -> None:
    """An empty argument is a variable that was not set; as a path it would be the current folder."""
    for number, argument in enumerate(arguments, start=1):
        if not argument or EMPTY_OPTION.fullmatch(argument):
            before = f", after {arguments[number - 2]}" if number > 1 and not argument else ""
            raise UsageError(f"argument {number} is empty{before}; a variable that is not set?")


def _fail(text: str, code: int) -> NoReturn:
    for line in text.splitlines():
        say(f"superscale: {shown(line)}")
    raise SystemExit(code)
