"""The `superscale` command: its subcommands, and what an error looks like to a person."""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import NoReturn

import typer

from superscale import __version__
from superscale.cli.blend import blend
from superscale.cli.doctor import doctor
from superscale.cli.evaluate import evaluate
from superscale.cli.fit_niqe import fit_niqe
from superscale.cli.models import models
from superscale.cli.plot import plot
from superscale.cli.prepare import prepare
from superscale.cli.progress import explained, say, shown
from superscale.cli.train import train
from superscale.cli.upscale import upscale
from superscale.errors import Cancelled, SuperscaleError, UsageError

FAILED, USAGE, INTERRUPTED, TERMINATED = 1, 2, 130, 143

app = typer.Typer(
    name="superscale",
    help="Make small pictures large with SRGAN and ESRGAN: prepare, train, evaluate, upscale.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(upscale)
app.command()(prepare)
app.command()(train)
app.command()(plot)
app.command()(evaluate)
app.command()(fit_niqe)
app.command()(blend)
app.command()(doctor)
app.add_typer(models, name="models")


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"superscale {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(False, "--version", help="Print the version.", callback=_print_version, is_eager=True),
) -> None:
    pass


def _terminated(_number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(TERMINATED)


def main() -> None:
    """Run the command line. Exit codes: 0 all done, 1 something failed, 2 usage, 130 Ctrl-C, 143 SIGTERM."""
    signal.signal(signal.SIGTERM, _terminated)
    try:
        app(standalone_mode=True)
    except UsageError as error:
        _fail(str(error), USAGE)
    except (KeyboardInterrupt, Cancelled):
        _fail("interrupted", INTERRUPTED)
    except SuperscaleError as error:
        _fail(explained(error), FAILED)
    except BrokenPipeError:
        # The reader of our output went away (``| head``).
        sys.stderr.close()
        raise SystemExit(FAILED) from None
    except OSError as error:
        # A full disk, a folder without permission: what the caller can change, said in a line.
        _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error), FAILED)


def _fail(text: str, code: int) -> NoReturn:
    for line in text.splitlines():
        say(f"superscale: {shown(line)}")
    raise SystemExit(code)
