"""One thread that works ahead of another, by a few items."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import Any, TypeVar

Item = TypeVar("Item")
END = object()
POLL_SECONDS = 0.1


@contextmanager
def ahead(items: Iterable[Item], most: int) -> Iterator[Iterator[Item]]:
    """The items, which another thread makes; at most so many wait. The thread has ended when the block ends."""
    made: Queue[Any] = Queue(most)
    stop = Event()

    def put(item: object) -> None:
        while not stop.is_set():
            with suppress(Full):
                made.put(item, timeout=POLL_SECONDS)
                return

    def make() -> None:
        try:
            for item in items:
                if stop.is_set():
                    return
                put((item, None))
            put((END, None))
        except BaseException as error:
            put((END, error))

    thread = Thread(target=make, name="superscale-decoder", daemon=True)
    thread.start()
    try:
        yield _taken(made)
    finally:
        stop.set()
        with suppress(Empty):
            while True:
                made.get_nowait()
        thread.join()


def _taken(made: Queue[Any]) -> Iterator[Item]:
    while True:
        item, error = made.get()
        if error is not None:
            raise error
        if item is END:
            return
        yield item
