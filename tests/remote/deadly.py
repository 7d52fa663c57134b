"""A worker whose process dies of pictures named so, and takes its time; run as a program: `superscale` with such workers."""

from __future__ import annotations

import os
import time

import superscale.inference.remote as remote
from superscale.inference.outcomes import Outcome
from superscale.inference.remote import Task


class Deadly(remote.Worker):
    def do(self, task: Task | Outcome) -> Outcome:
        if isinstance(task, Task) and "poison" in task.name:
            time.sleep(0.3)
            os._exit(9)
        time.sleep(0.15)
        return super().do(task)


if __name__ == "__main__":
    import deadly

    from superscale.cli.main import main

    remote.Worker = deadly.Deadly  # type: ignore[misc]
    main()
