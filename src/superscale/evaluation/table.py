"""Rows of numbers and the one convention that they were measured under; no number stands without it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from html import escape
from math import isfinite, nan, sqrt
from typing import TYPE_CHECKING, Any

from superscale.evaluation.cost import Cost
from superscale.image.pixels import PEAK_8BIT
from superscale.metrics.notation import METRICS, heading, number

if TYPE_CHECKING:
    from superscale.metrics.planes import Color


@dataclass(frozen=True, kw_only=True)
class Convention:
    """All that decides a number besides the pictures, whose high-res is cropped to a multiple of the scale.

    ``bits``: the depths of the pictures; ``peak``: the value that is white, None where each depth has its own.
    """

    scale: int
    color: Color
    border: int
    low_res: str
    bits: tuple[int, ...] = (8,)
    peak: int | None = None

    def __str__(self) -> str:
        colour = "Y (BT.601 studio swing)" if self.color == "y" else "RGB"
        return (
            f"×{self.scale}, {colour}, border {self.border} px, low-res: {self.low_res}, "
            f"{self._depth()}, high-res cropped to a multiple of {self.scale}"
        )

    def _depth(self) -> str:
        peaks = "".join(f", peak {peak}" for peak in self.peaks if peak != PEAK_8BIT)
        return f"{'- and '.join(map(str, self.bits))}-bit pictures{peaks}"

    @property
    def peaks(self) -> tuple[int, ...]:
        """What is white in the pictures."""
        return tuple(2**bits - 1 for bits in self.bits) if self.peak is None else (self.peak,)

    def to_dict(self) -> dict[str, Any]:
        """The convention as JSON has it; ``bits`` and ``peak`` are lists where pictures of several depths were measured."""
        several = {"bits": self.bits, "peak": self.peaks}
        plain = {name: found[0] if len(found) == 1 else list(found) for name, found in several.items()}
        return asdict(self) | plain | {"crop_to_multiple": self.scale, "text": str(self)}


@dataclass(frozen=True)
class Row:
    """One model on one data set by one metric; ``images``: name -> value."""

    model: str
    data: str
    metric: str
    images: dict[str, float]

    @property
    def mean(self) -> float:
        """The mean over the pictures."""
        return sum(self.images.values()) / len(self.images)

    @property
    def std(self) -> float:
        """Population standard deviation over the pictures; not a number where the mean is infinite."""
        mean = self.mean
        if not isfinite(mean):
            return nan
        return sqrt(sum((value - mean) ** 2 for value in self.images.values()) / len(self.images))

    @property
    def printed(self) -> str:
        """The mean as every table prints it."""
        return number(self.metric, self.mean)

    def of(self, name: str) -> str:
        """The value of a picture as every table prints it; the first frame of a clip has none over time."""
        return number(self.metric, self.images[name]) if name in self.images else "–"


class Table(list[Row]):
    """Rows, the one convention that all were measured under, and what they cost; printed, it is the command line's table."""

    def __init__(self, rows: Iterable[Row], convention: Convention, costs: Sequence[Cost] = ()) -> None:
        super().__init__(rows)
        self.convention = convention
        self.costs = list(costs)

    def __str__(self) -> str:
        return "\n".join([aligned(self.lines()), str(self.convention), *self.notes])

    def _repr_html_(self) -> str:
        """The table as notebooks show it."""
        head, *lines = [[escape(cell) for cell in line] for line in self.lines()]
        rows = ["<tr>" + "".join(f"<td>{cell}</td>" for cell in line) + "</tr>" for line in lines]
        said = "<br>".join(escape(line) for line in (str(self.convention), *self.notes))
        titles = "".join(f"<th>{cell}</th>" for cell in head)
        return f"<table><thead><tr>{titles}</tr></thead><tbody>{''.join(rows)}</tbody></table><p>{said}</p>"

    @property
    def metrics(self) -> list[str]:
        """The metrics that were measured, in their order."""
        return list(dict.fromkeys(row.metric for row in self))

    @property
    def notes(self) -> list[str]:
        """What the convention does not say of the metrics, a line each."""
        return [f"{metric}: {METRICS[metric].note}" for metric in self.metrics if METRICS[metric].note]

    def lines(self, cell: Callable[[Row], str] = lambda row: row.printed) -> list[list[str]]:
        """A heading, then a line for each data set and model with a cell for each metric; a data set's best mean has a star."""
        lines = [["data", "model", *map(heading, self.metrics)]]
        for data, model in dict.fromkeys((row.data, row.model) for row in self):
            rows = {row.metric: row for row in self if (row.data, row.model) == (data, model)}
            lines.append([data, model, *(cell(rows[metric]) + self._star(rows[metric]) for metric in self.metrics)])
        return lines

    def _star(self, row: Row) -> str:
        means = [other.mean for other in self if (other.data, other.metric) == (row.data, row.metric)]
        best = max(means) if METRICS[row.metric].higher_is_better else min(means)
        return "*" if len(means) > 1 and row.mean == best else ""


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """Lines of cells as text, every column as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)
