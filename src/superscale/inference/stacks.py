"""Stacks: the pages of one file, each enlarged by itself, with the range of values of all; one in memory at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import IO

from superscale.image.io import Image, KeepOrStrip, made_from, stack_writer
from superscale.image.stack import Stack
from superscale.image.value_range import ValueRange, common_range

# type of samples -> the range of all pages of that type
Ranges = dict[str, ValueRange]


def enlarge_stack(
    stack: Stack,
    stream: IO[bytes],
    enlarge: Callable[..., Image],
    measure: Callable[[Image], ValueRange] | None,
    suffix: str,
    metadata: KeepOrStrip = "keep",
    source: str | None = None,
) -> Image:
    """Enlarge every page of a stack and write them to a stream, as the format of ``suffix`` holds them.

    ``measure``: the range of values of a page; that of the whole stack, a first reading of it, goes to ``enlarge`` as ``values``.
    ``source``: the fingerprint of the file, for `made_from`.
    Returns the last page, enlarged, with the notices and remarks of all. Raises ImageError; the stream is then no whole file.
    """
    writer = stack_writer(stream, suffix, stack.count)
    ranges = {} if measure is None else _ranges(stack, measure)
    notices: dict[str, None] = {}
    remarks: dict[str, None] = {f"{stack.count} pages, each by itself": None}
    for number in range(stack.count):
        page = stack.page(number)
        values = ranges.get(str(page.pixels.dtype))
        page = enlarge(page) if values is None else enlarge(page, values=values)
        notices |= dict.fromkeys(page.notices)
        remarks |= dict.fromkeys(page.remarks)
        kept = page.metadata.stripped() if metadata == "strip" else page.metadata
        said = replace(page, metadata=kept)
        writer.add(said if source is None else made_from(said, source))
    writer.finish()
    notices |= dict.fromkeys(writer.notices)
    return replace(page, notices=tuple(notices), remarks=tuple(remarks))


def _ranges(stack: Stack, measure: Callable[[Image], ValueRange]) -> Ranges:
    """For each type of samples, the range of its pages together; one whose samples are all equal tells nothing, unless all are."""
    told: dict[str, list[ValueRange]] = {}
    empty: Ranges = {}
    for number in range(stack.count):
        page = stack.page(number)
        kind = str(page.pixels.dtype)
        if page.pixels.min() == page.pixels.max():
            empty.setdefault(kind, measure(page))
        else:
            told.setdefault(kind, []).append(measure(page))
    return empty | {kind: common_range(ranges) for kind, ranges in told.items()}
