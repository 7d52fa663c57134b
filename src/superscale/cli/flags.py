"""The ways out that an error names, as options of `superscale train`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from superscale.errors import SuperscaleError

FLAGS = {"run_dir": "-o DIR", "fresh": "--fresh", "data.path": "--data DIR"}


def flags_line(ways_out: Iterable[str]) -> str:
    """A line with the options for these arguments and settings; empty when there are none."""
    flags = dict.fromkeys(FLAGS.get(way, f"--set {way}") for way in ways_out)
    return f"options for that: {', '.join(flags)}" if flags else ""


@contextmanager
def flags_named() -> Iterator[None]:
    """An error from inside is told with the options that would help."""
    try:
        yield
    except SuperscaleError as error:
        if line := flags_line(error.ways_out):
            error.args = (f"{error}\n{line}",)
        raise
