"""The plane of perception and distortion (Blau, Michaeli 2018) as SVG: a point a model, ticks, and labels that do not cover one another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from math import floor, inf, log10
from pathlib import PurePath

from superscale.evaluation.table import Table
from superscale.metrics.notation import PERCEPTUAL, heading, number

WIDTH, HEIGHT = 460, 320
LEFT, RIGHT, TOP, BOTTOM = 66, 16, 16, 52
# The size of a label's letters, on which its place is computed.
LETTER_WIDTH, LINE_HEIGHT = 6.6, 15.0
RADIUS = 5


@dataclass(frozen=True)
class Box:
    """Left, top, right, bottom, in the units of the drawing."""

    left: float
    top: float
    right: float
    bottom: float

    def overlap(self, other: Box) -> float:
        """The area that two boxes share."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(0.0, width) * max(0.0, height)


DRAWING = Box(LEFT, 0, WIDTH, HEIGHT - BOTTOM + 8)


@dataclass(frozen=True)
class Axis:
    """Values -> places between ``start`` and ``stop``, with room at both ends."""

    low: float
    high: float
    start: float
    stop: float

    @classmethod
    def of(cls, values: Sequence[float], start: float, stop: float) -> Axis:
        """An axis that holds these values."""
        low, high = min(values), max(values)
        room = 0.12 * (high - low) or abs(high) * 0.05 or 1.0
        return cls(low - room, high + room, start, stop)

    def place(self, value: float) -> float:
        """Where a value lies."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.stop - self.start)

    def ticks(self) -> list[float]:
        """Three to eight round values inside."""
        rough = (self.high - self.low) / 5
        power = 10.0 ** floor(log10(rough))
        step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
        first = floor(self.low / step) + 1
        return [number * step for number in range(first, floor(self.high / step) + 1)]


def planes(table: Table) -> Iterator[str]:
    """A figure for each data set; none where PSNR or every perceptual metric was not measured."""
    perceptual = next((metric for metric in PERCEPTUAL if metric in table.metrics), None)
    if "psnr" not in table.metrics or perceptual is None:
        return
    for data in dict.fromkeys(row.data for row in table):
        means = {(row.model, row.metric): row.mean for row in table if row.data == data}
        models = dict.fromkeys(row.model for row in table if row.data == data)
        points = [(model, means[model, "psnr"], means[model, perceptual]) for model in models]
        if finite := [point for point in points if abs(point[1]) < inf and abs(point[2]) < inf]:
            yield _plane(data, perceptual, finite)


def _plane(data: str, perceptual: str, points: Sequence[tuple[str, float, float]]) -> str:
    across = Axis.of([point[1] for point in points], LEFT, WIDTH - RIGHT)
    # Lower is better: the best corner is at the right and below.
    down = Axis.of([point[2] for point in points], HEIGHT - BOTTOM, TOP)
    places = [(across.place(x), down.place(y)) for _, x, y in points]
    labels = _labels([PurePath(model).name for model, _, _ in points], places)
    marks = "".join(
        f'<circle cx="{left:.1f}" cy="{top:.1f}" r="{RADIUS}"><title>{_values(point, perceptual)}</title></circle>'
        for (left, top), point in zip(places, points, strict=True)
    )
    title = escape(f"{data}: perception against distortion")
    return (
        f'<figure class="plane"><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}">'
        f"{_grid(across, down)}{''.join(labels)}{marks}"
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 10}" text-anchor="middle">{heading("psnr")}</text>'
        f'<text transform="translate(14 {(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)" text-anchor="middle">'
        f"{heading(perceptual)}</text></svg><figcaption>{title}. Better is right and down.</figcaption></figure>"
    )


def _grid(across: Axis, down: Axis) -> str:
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = [f'<path class="axis" d="M{LEFT} {TOP}V{bottom}H{right}"/>']
    for value in across.ticks():
        x = across.place(value)
        parts.append(f'<path class="grid" d="M{x:.1f} {TOP}V{bottom}"/>')
        parts.append(f'<text class="tick" x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{value:.6g}</text>')
    for value in down.ticks():
        y = down.place(value)
        parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{right}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.6g}</text>')
    return "".join(parts)


def _labels(names: Sequence[str], places: Sequence[tuple[float, float]]) -> list[str]:
    """Each name beside its point, where it covers least of points and of the names before it."""
    taken = [Box(x - RADIUS, y - RADIUS, x + RADIUS, y + RADIUS) for x, y in places]
    texts = []
    for name, (x, y) in zip(names, places, strict=True):
        box, cost = None, inf
        for candidate, distance in _candidates(LETTER_WIDTH * len(name), x, y):
            outside = _area(candidate) - candidate.overlap(DRAWING)
            covered = sum(candidate.overlap(other) for other in taken) + 2 * outside + distance
            if covered < cost:
                box, cost = candidate, covered
        assert box is not None
        taken.append(box)
        lead = f'<path class="lead" d="M{x:.1f} {y:.1f}L{box.left if box.left > x else box.right:.1f} {box.bottom - 5:.1f}"/>'
        text = f'<text class="point" x="{box.left:.1f}" y="{box.bottom - 4:.1f}">{escape(name)}</text>'
        texts.append((lead if abs(box.bottom - 4 - y) > 2 * LINE_HEIGHT else "") + text)
    return texts


def _candidates(width: float, x: float, y: float) -> Iterator[tuple[Box, float]]:
    """Boxes for a label, the nearest first, with their distance."""
    for rows in range(6):
        for sign in (-1, 1) if rows else (1,):
            middle = y + sign * rows * LINE_HEIGHT
            lefts = (x + 9, x - 9 - width, x - width / 2) if rows else (x + 9, x - 9 - width)
            for left in lefts:
                yield Box(left, middle - LINE_HEIGHT / 2, left + width, middle + LINE_HEIGHT / 2), 4.0 * rows


def _area(box: Box) -> float:
    return (box.right - box.left) * (box.bottom - box.top)


def _values(point: tuple[str, float, float], perceptual: str) -> str:
    model, x, y = point
    return escape(f"{PurePath(model).name} ({number('psnr', x)}, {number(perceptual, y)})")
