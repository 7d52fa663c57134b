"""The parts of one large scene on a Ray cluster: workers read the scene and compute, and the driver puts what they send in its place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from superscale.errors import ImageError, SuperscaleError
from superscale.image.scene import Scene
from superscale.inference.upscaler import Upscaler
from superscale.machine.ray_pool import Cluster, Works, on_ray
from superscale.options import UpscaleOptions
from superscale.reading import fingerprint

# Makes a part of a scene with a network: its samples, alpha among them, and its mask.
Made = tuple[NDArray[Any], NDArray[np.bool_] | None]
Make = Callable[[Scene, Any, int], Made]


@dataclass(frozen=True)
class Order:
    """What a worker has to know. ``source``: what all nodes see under this path; ``seen``: its fingerprint; ``make``: makes a part."""

    source: Path
    seen: str
    model: Any
    options: UpscaleOptions
    make: Make


@dataclass(frozen=True)
class Answer:
    """A part, or what went wrong with it; ``computed_by``: the library and the kind of device."""

    number: int
    computed_by: str
    made: Made | None = None
    error: SuperscaleError | None = None


class Worker(Works):
    """Does one part after another. Raises ImageError where it sees another scene, and what `Upscaler` and `Scene` raise."""

    def __init__(self, order: Order, _name: str) -> None:
        if not order.source.is_file() or fingerprint(order.source) != order.seen:
            raise ImageError(
                f"{order.source}: a worker sees no such file or another; with --on ray all machines must see the same"
            )
        upscaler = Upscaler.with_options(order.model, order.options)
        self._scene, self._order, self._lock = Scene(order.source), order, Lock()
        # In the plain way: all workers must go the same, and each alone could find another the fastest.
        engine = upscaler.engine.suited(self._scene.header.pixels, upscaler.engine.backend.name)
        self._network = partial(upscaler.part, engine=engine)
        self._computed_by = f"{engine.backend.name}, {engine.backend.device.partition(':')[0]}"

    def do(self, number: int) -> Answer:
        """Read a part and compute it."""
        try:
            with self._lock:
                return Answer(number, self._computed_by, self._order.make(self._scene, self._network, number))
        except SuperscaleError as error:
            return Answer(number, self._computed_by, error=error)

    def close(self) -> None:
        """Close the scene."""
        self._scene.close()


def parts_of_workers(
    order: Order, numbers: list[int], cluster: Cluster, computed_by: str | None, say_by: Callable[[str], None]
) -> Iterator[tuple[int, Made]]:
    """Parts as they come. ``computed_by``: what has computed the parts that are done, None if there are none: ``say_by`` is told then.

    Raises the first error of a worker, and ImageError where not all are computed alike.
    """

    def lost(number: int, text: str) -> Answer:
        return Answer(number, computed_by or "", error=ImageError(f"{order.source}: part {number}: {text}"))

    with closing(on_ray(partial(Worker, order), numbers, lost, cluster)) as answers:
        for answer in answers:
            if answer.error is not None or answer.made is None:
                raise answer.error or ImageError(f"{order.source}: part {answer.number} was not made")
            if computed_by is None:
                computed_by = answer.computed_by
                say_by(computed_by)
            if answer.computed_by != computed_by:
                raise ImageError(
                    f"{order.source}: one worker computes with {answer.computed_by}, what is done was made with {computed_by}, and no two "
                    "compute the same bits; choose a backend and a device that all nodes have"
                )
            yield answer.number, answer.made
