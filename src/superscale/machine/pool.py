"""Many tasks in a few threads, taken one by one from a stream; what interrupts lets those that are begun end."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")


def in_threads(do: Callable[[Task], Result], tasks: Iterable[Task], threads: int) -> Generator[Result, None, None]:
    """Do the tasks, no more of them taken than threads are free, and yield each result when it is there.

    KeyboardInterrupt and SystemExit end the taking; they are raised when what is begun has ended. A second one is raised at once.
    """
    waiting, at_work = iter(tasks), set[Future[Result]]()
    stop: BaseException | None = None
    with ThreadPoolExecutor(threads, "superscale-pool") as pool:
        while True:
            done: set[Future[Result]] = set()
            try:
                while stop is None and len(at_work) < threads and (task := next(waiting, None)) is not None:
                    at_work.add(pool.submit(do, task))
                if not at_work:
                    break
                done, _ = wait(at_work, return_when=FIRST_COMPLETED)
            except (KeyboardInterrupt, SystemExit) as signal:
                if stop is not None:
                    raise
                stop = signal
            at_work -= done
            for future in done:
                yield future.result()
    if stop is not None:
        raise stop
