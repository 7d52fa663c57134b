"""How fast a stage goes, how much of that it waits for data, and how long it still takes."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median

# Enough that a few slow steps (the first ones, another program's turn) do not move the median; few enough to follow a change.
RECENT_STEPS = 50


class Pace:
    """Times of the recent steps. Pauses (validation, saving) do not count as steps; they come again, so they count in what is left."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.clock = clock
        self.begin(0, 1)

    def begin(self, images: int, batch: int) -> None:
        """A stage begins, or goes on, at this image, with so many images a step."""
        self.first = self.images = self.reported = images
        self.batch = batch
        self.recent: deque[float] = deque(maxlen=RECENT_STEPS)
        self.pauses: dict[str, tuple[float, int]] = {}
        self.worked = self.waited = 0.0
        self.mark = self.clock()

    def step(self) -> None:
        """A step has ended."""
        now = self.clock()
        self.recent.append(now - self.mark)
        self.worked += now - self.mark
        self.mark = now
        self.images += self.batch

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Around the wait for the next batch."""
        began = self.clock()
        yield
        self.waited += self.clock() - began

    @contextmanager
    def pause(self, kind: str) -> Iterator[None]:
        """Around what interrupts the steps every so many images."""
        began = self.clock()
        yield
        taken = self.clock() - began
        self.mark += taken
        seconds, _ = self.pauses.get(kind, (0.0, 0))
        self.pauses[kind] = (seconds + taken, self.images - self.first)

    def catch_up(self) -> None:
        """The device has done all that it was given: what the steps since the last report took is known only now, spread it evenly."""
        late = self.clock() - self.mark
        steps = (self.images - self.reported) // self.batch
        kept = min(steps, len(self.recent))
        if late > 0 and kept:
            self.worked += late
            for index in range(1, kept + 1):
                self.recent[-index] += late / steps
            self.mark += late

    def rates(self) -> tuple[float, float]:
        """(images a second, share of the time spent waiting for data) of the steps since this was last asked."""
        images, worked, waited = self.images - self.reported, self.worked, self.waited
        self.reported, self.worked, self.waited = self.images, 0.0, 0.0
        return (images / worked, waited / worked) if worked else (0.0, 0.0)

    @property
    def seconds_a_step(self) -> float:
        """The median of the recent steps, 0 before any; the very first warms up, and counts only while it is the only one."""
        times = list(self.recent)
        warm = times[1:] if (self.images - self.first) // self.batch == len(times) > 1 else times
        return median(warm) if warm else 0.0

    def seconds_left(self, total: int) -> float | None:
        """Until image ``total``: the steps, and the pauses at the rate at which they came so far. None before the first step."""
        if not self.recent:
            return None
        # A pause's share of an image is exact at its end and would shrink until the next, hence the images at its end.
        paused = sum(seconds / images for seconds, images in self.pauses.values() if images)
        return (total - self.images) * (self.seconds_a_step / self.batch + paused)


def hours(seconds: float) -> str:
    """3661 -> "1:01:01"."""
    return f"{int(seconds // 3600)}:{int(seconds % 3600 // 60):02d}:{int(seconds % 60):02d}"
