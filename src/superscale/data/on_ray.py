"""`prepare` on a Ray cluster: workers read and cut photos, and the driver writes what they send into the pack, in its order.

A pack is one file of samples whose places depend on which photos are damaged: it has one writer. What takes time is the workers': decoding,
reducing and comparing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from superscale.data.layout import Layout
from superscale.data.photos import Left, Photo, Photos, Wider
from superscale.data.sources import open_source
from superscale.errors import DataError
from superscale.machine.ray_pool import Cluster, Works, on_ray

# So many photos wait in memory for one before them; no more are begun then.
AHEAD = 64


@dataclass(frozen=True)
class _Answer:
    """Of the photo of this number: the layout and what was cut, None if it was left out; ``wider``: all are needed in that layout."""

    number: int
    left: Left
    cut: tuple[Layout, list[Any]] | None = None
    wider: Layout | None = None


@dataclass(frozen=True)
class _Worker(Works):
    """What an actor holds."""

    photos: Photos
    layout: Layout | None
    pieces: Callable[[Photo], Iterable[Any]]

    def do(self, number: int) -> _Answer:
        """Read and cut a photo."""
        left = Left()
        try:
            photo = self.photos.one(self.photos.high_res.names[number], self.layout, left)
        except Wider as found:
            return _Answer(number, left, wider=found.layout)
        return _Answer(number, left, None if photo is None else (photo.layout, list(self.pieces(photo))))


def _worker(photos: Photos, layout: Layout | None, pieces: Callable[[Photo], Iterable[Any]], _name: str) -> _Worker:
    for source in (photos.high_res, photos.low_res):
        if source is not None and open_source(source.place).names != source.names:
            raise DataError(f"{source.place}: a worker sees another folder; with --on ray all machines must see the same")
    return _Worker(photos, layout, pieces)


def cut_by_workers(
    photos: Photos,
    layout: Layout | None,
    left: Left,
    progress: Callable[[int, int], None] | None,
    pieces: Callable[[Photo], Iterable[Any]],
    cluster: Cluster,
) -> Iterator[tuple[Layout, list[Any]]]:
    """Each photo's layout and ``pieces``, in the order of the photos, as one machine has them. Raises Wider as `Photos.read`."""
    names = photos.high_res.names
    if layout is None and (first := next(photos.read(None, Left(), None), None)) is not None:
        layout = first.layout
    held: dict[int, _Answer] = {}
    make = partial(_worker, photos, layout, pieces)

    def lost(number: int, text: str) -> _Answer:
        return _Answer(number, Left(skipped=[(names[number], text)]))

    numbers = range(len(names))
    cluster = replace(cluster, takes_gpus=False)
    due = 0
    with closing(on_ray(make, numbers, lost, cluster, may_begin=lambda: len(held) < AHEAD)) as answers:
        for answer in answers:
            held[answer.number] = answer
            while (one := held.pop(due, None)) is not None:
                if one.wider is not None:
                    raise Wider(one.wider)
                left.add(one.left)
                if one.cut is not None:
                    yield one.cut
                due += 1
                if progress is not None:
                    progress(due, len(names))
    left.skipped += photos.alone()
