"""Several processes on one training or one evaluation, as torchrun starts them; the only file that knows torch.distributed.

Without torchrun everything here works as well and does nothing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch.nn import functional as F

from superscale.errors import TrainingError, UsageError
from superscale.networks.device import pick_device

# What torchrun tells every process it starts.
TOLD = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


def launched() -> bool:
    """Whether torchrun, or someone who sets the same variables, started this process."""
    return all(name in os.environ for name in TOLD)


def rank() -> int:
    """This process's number, from 0; process 0 is the one that writes and speaks."""
    return int(os.environ["RANK"]) if launched() else 0


def world_size() -> int:
    """How many processes work together."""
    return int(os.environ["WORLD_SIZE"]) if launched() else 1


@contextmanager
def together(device: str = "auto") -> Iterator[torch.device]:
    """Join the other processes for as long as the block lasts; yields the device of this one.

    ``device``: auto, cpu or cuda; each process of a machine takes its own GPU. Facts and flags travel by gloo, tensors on a
    GPU by nccl. Raises UsageError when a process would have to share a GPU, TrainingError when the others do not come.
    """
    if not launched():
        yield pick_device(device)
        return
    own = _own_device(device)
    with _exchange():
        dist.init_process_group("cpu:gloo,cuda:nccl" if own.type == "cuda" else "gloo")
    # After an error the others may be gone, and taking leave of them would wait for ever: then the exit itself is the farewell.
    yield own
    dist.destroy_process_group()


def _own_device(name: str) -> torch.device:
    if name not in ("auto", "cpu", "cuda"):
        raise UsageError(f"several processes cannot share the device {name!r}; expected auto, cpu or cuda")
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    number, there = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if number >= there:
        raise UsageError(
            f"process {number + 1} of this machine has no GPU of its own: there are {there}; "
            f"use torchrun --nproc-per-node={max(there, 1)}, or --device cpu"
        )
    torch.cuda.set_device(number)
    return torch.device("cuda", number)


@contextmanager
def _exchange() -> Iterator[None]:
    """What torch says when a process is gone, in a line."""
    try:
        yield
    except RuntimeError as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise TrainingError(f"process {rank()} of {world_size()} has lost the others ({reason})") from error


def gather(facts: Any) -> list[Any]:
    """JSON-able ``facts`` of every process, in order of rank, at every process. Numbers come through to the last digit."""
    text = json.dumps(facts).encode()
    if not launched():
        return [json.loads(text)]
    own = torch.frombuffer(bytearray(text), dtype=torch.uint8)
    lengths = [torch.zeros(1, dtype=torch.int64) for _ in range(world_size())]
    with _exchange():
        dist.all_gather(lengths, torch.tensor([len(text)]))
        longest = max(int(length) for length in lengths)
        texts = [torch.zeros(longest, dtype=torch.uint8) for _ in lengths]
        dist.all_gather(texts, F.pad(own, (0, longest - len(text))))
    return [json.loads(bytes(text[: int(length)].tolist())) for text, length in zip(texts, lengths, strict=True)]


def share(count: int) -> range:
    """Which of ``count`` things this process works on."""
    return range(rank(), count, world_size())
