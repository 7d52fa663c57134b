"""Computing beside other processes: small parallel kernels end when their last thread ends, and that one may be waiting for a core."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from superscale.machine import processor


def sleep_while_waiting() -> Mapping[str, str]:
    """Make OpenMP's threads sleep while they wait for one another, unless the environment says otherwise; the environment.

    By default they spin, on a core that the thread they wait for may need. It must be called before torch is imported.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    return os.environ


def cores() -> int:
    """How many threads compute fastest: ``OMP_NUM_THREADS``, else a thread for each physical core that this process may use."""
    wanted = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    if wanted.isdecimal() and int(wanted):
        return int(wanted)
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(usable, processor.physical_cores() or usable))


def one_thread_executor(name: str) -> ThreadPoolExecutor:
    """An executor with one thread, whose torch kernels are not divided among others; those of all other threads are as before."""
    import torch

    executor = ThreadPoolExecutor(1, thread_name_prefix=name)
    executor.submit(_one_thread).result()
    # Threads that torch has not met yet take the number that was set last, at whichever thread.
    torch.set_num_threads(torch.get_num_threads())
    return executor


def _one_thread() -> None:
    import torch

    torch.get_num_threads()  # the first call of a thread would set it back
    torch.set_num_threads(1)
