"""Several processes on one training or one evaluation, as torchrun starts them; the only file that knows torch.distributed.

Without torchrun everything here works as well and does nothing. Gradients are averaged by one plain all-reduce before the
optimizer moves. DistributedDataParallel would hide that in backward hooks, and the GAN step takes the gradients of shared passes
in pieces (`training.steps`): hooks would fire for the wrong player, or wait for parameters that this backward does not reach.
"""

from __future__ import annotations

import gc
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar
from uuid import uuid4

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from superscale.errors import TrainingError, UsageError
from superscale.machine.device import pick_device

Network = TypeVar("Network", bound=nn.Module)
ROLL_CALL_SECONDS = 0.02
# What torchrun tells every process it starts.
TORCHRUN_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
# For each time that this process has joined the others: how often any have come together, this time included.
_starts: list[int] = []


def launched() -> bool:
    """Whether torchrun, or someone who sets the same variables, started this process."""
    return all(name in os.environ for name in TORCHRUN_VARIABLES)


def rank() -> int:
    """This process's number, from 0; process 0 is the one that writes and speaks."""
    return int(os.environ["RANK"]) if launched() else 0


def world_size() -> int:
    """How many processes work together."""
    return int(os.environ["WORLD_SIZE"]) if launched() else 1


def restarted() -> bool:
    """Whether torchrun has started these processes again after a failure (``--max-restarts``), of this machine or another."""
    # torchrun counts for the machine that failed; its store knows for all.
    counted = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0
    return counted or (bool(_starts) and _starts[-1] > len(_starts))


@contextmanager
def together(device: str = "auto") -> Iterator[torch.device]:
    """Join the other processes for as long as the outermost such block lasts; yields the device of this one.

    ``device``: auto, cpu or cuda; each process of a machine takes its own GPU. Facts and flags travel by gloo, tensors on a
    GPU by nccl. Raises UsageError when a process would have to share a GPU, TrainingError when the others do not come.
    """
    if not launched():
        yield pick_device(device)
        return
    own = _own_device(device)
    if dist.is_initialized():
        yield own
        return
    with _errors_in_a_line():
        store, _, _ = next(iter(rendezvous("env://")))
        name, starts = _roll_call(store)
        _starts.append(starts)
        backend = "cpu:gloo,cuda:nccl" if own.type == "cuda" else "gloo"
        dist.init_process_group(backend, store=PrefixStore(name, store), rank=rank(), world_size=world_size())
    # After an error the others may be gone, and taking leave of them would wait for ever: then the exit itself is the farewell.
    yield own
    dist.destroy_process_group()
    # Without it 1 process of 6 aborted at the interpreter's end, with it none of 12 (torch 2.13): what still holds the group, as
    # synchronized norms do, goes while the interpreter lives. The cause was not traced further.
    gc.collect()


def _roll_call(store: Any) -> tuple[str, int]:
    """A name that the processes alive now agree on, for their part of the store, and how many such names there were with it.

    torchrun keeps its store when it starts its processes anew (torch 2.13), and the addresses in it of the dead are what gloo
    would call. Process 0 reads out who is there until each has heard its own name in the call, and so knows it for a new one.
    """
    own = uuid4().hex
    others = range(1, world_size())
    if rank() > 0:
        store.set(f"here/{rank()}", own)
        while own not in (call := json.loads(store.get("call"))):
            time.sleep(ROLL_CALL_SECONDS)
        store.set(f"{call[0]}/heard/{rank()}", "")
        return str(call[0]), int(call[1])
    starts = int(store.add("starts", 1))
    while others and not store.check([f"{own}/heard/{number}" for number in others]):
        store.set("call", json.dumps([own, starts, *(store.get(f"here/{number}").decode() for number in others)]))
        time.sleep(ROLL_CALL_SECONDS)
    return own, starts


def _own_device(name: str) -> torch.device:
    if name not in ("auto", "cpu", "cuda"):
        raise UsageError(f"several processes cannot share the device {name!r}; expected auto, cpu or cuda")
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    number = int(os.environ["LOCAL_RANK"])
    there = torch.cuda.device_count()
    if number >= there:
        raise UsageError(
            f"process {number + 1} of this machine has no GPU of its own: there are {there}; "
            f"use torchrun --nproc-per-node={max(there, 1)}, or the device cpu"
        )
    torch.cuda.set_device(number)
    return torch.device("cuda", number)


@contextmanager
def _errors_in_a_line() -> Iterator[None]:
    """What torch says when a process is gone, in a line."""
    try:
        yield
    except RuntimeError as error:
        reason = str(error).partition("\n")[0].partition(". This is typically")[0] or type(error).__name__
        raise TrainingError(f"process {rank()} of {world_size()} has lost the others ({reason})") from error


def gather(facts: Any) -> list[Any]:
    """JSON-able ``facts`` of every process, in order of rank, at every process. Numbers come through to the last digit."""
    text = json.dumps(facts).encode()
    if not launched():
        return [json.loads(text)]
    own = torch.frombuffer(bytearray(text), dtype=torch.uint8)
    lengths = [torch.zeros(1, dtype=torch.int64) for _ in range(world_size())]
    with _errors_in_a_line():
        dist.all_gather(lengths, torch.tensor([len(text)]))
        longest = max(int(length) for length in lengths)
        texts = [torch.zeros(longest, dtype=torch.uint8) for _ in lengths]
        dist.all_gather(texts, nn.functional.pad(own, (0, longest - len(text))))
    return [json.loads(text[: int(length)].numpy().tobytes()) for text, length in zip(texts, lengths, strict=True)]


def share(count: int) -> range:
    """Which of ``count`` things this process works on."""
    return range(rank(), count, world_size())


def in_order(own: Sequence[Any]) -> list[Any]:
    """The JSON-able results of every process's `share`, in the order of the things, at every process."""
    parts = gather(list(own))
    return [parts[number % len(parts)][number // len(parts)] for number in range(sum(map(len, parts)))]


def anywhere(flag: bool) -> bool:
    """Whether the flag is raised at any process; all agree on the answer."""
    return bool(_reduced(torch.tensor(int(flag))))


def wait() -> None:
    """Go on when every process has come here."""
    anywhere(False)


@contextmanager
def first_alone() -> Iterator[None]:
    """Let process 0 through the block first; the others, who come after it, find what it has made."""
    if rank() > 0:
        wait()
    yield
    if rank() == 0:
        wait()


def _reduced(total: Tensor) -> Tensor:
    """The sum over all processes, in place."""
    if launched():
        with _errors_in_a_line():
            dist.all_reduce(total)
    return total


def mean_numbers(own: dict[str, Tensor]) -> dict[str, Tensor]:
    """The means over all processes of scalars that all report by the same names; not finite at one, not finite at all."""
    if not launched():
        return own
    means = _reduced(torch.stack([number.detach().float() for number in own.values()])) / world_size()
    return dict(zip(own, means.unbind(), strict=True))


class _Everywhere(torch.autograd.Function):
    """(...) -> (processes, ...). Each copy's gradient flows back to where it came from, so all must go back together."""

    @staticmethod
    def forward(_context: Any, own: Tensor) -> Tensor:
        copies = [torch.empty_like(own, memory_format=torch.contiguous_format) for _ in range(world_size())]
        with _errors_in_a_line():
            dist.all_gather(copies, own.contiguous())
        return torch.stack(copies)

    @staticmethod
    def backward(_context: Any, gradient: Tensor) -> Tensor:
        return _reduced(gradient.clone(memory_format=torch.contiguous_format))[rank()]


def everywhere(own: Tensor) -> Tensor:
    """(...) -> (processes, ...), differentiable: the gradient of the sum of all processes' losses comes back."""
    if not launched():
        return own[None]
    copies: Tensor = _Everywhere.apply(own)  # type: ignore[no-untyped-call]
    return copies


def mean(values: Tensor) -> Tensor:
    """The mean over the elements at all processes, which hold equally many; differentiable."""
    return everywhere(values.mean()).mean()


class SynchronizedBatchNorm2d(nn.BatchNorm2d):
    """Batch norm over the batches of all processes, which are of one size, with gloo as with nccl; else as its base."""

    def forward(self, features: Tensor) -> Tensor:
        """(B, F, H, W) -> (B, F, H, W)."""
        if not self.training:
            return super().forward(features)
        full = features.to(torch.promote_types(features.dtype, torch.float32))
        own_variance, own_mean = torch.var_mean(full, (0, 2, 3), correction=0)
        means, variances = everywhere(torch.stack((own_mean, own_variance))).unbind(1)  # (processes, F) each
        mean = means.mean(0)
        # The variance of all is the mean variance within processes plus the variance of their means.
        variance = variances.mean(0) + (means - mean).square().mean(0)
        self._remember(mean, variance, full.numel() // full.shape[1] * len(means))
        factor = self.weight * torch.rsqrt(variance + self.eps)
        normalized = (full - mean[:, None, None]) * factor[:, None, None] + self.bias[:, None, None]
        return normalized.to(features.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor, count: int) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.num_batches_tracked += 1
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)


def synchronized(network: Network) -> Network:
    """The network, in place: process 0's weights at every process, batch norms over all of them."""
    if launched():
        for module in network.modules():
            if type(module) is nn.BatchNorm2d:
                # The same parameters and buffers under the same names; only what forward does is another.
                module.__class__ = SynchronizedBatchNorm2d
        _in_one_message([*network.parameters(), *network.buffers()], lambda message: dist.broadcast(message, 0))
    return network


def average_gradients(network: nn.Module) -> None:
    """Replace the gradients of a network by their mean over all processes, which makes one large batch of theirs."""
    if launched():
        gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
        _in_one_message(gradients, lambda message: dist.all_reduce(message.div_(world_size())))


@torch.no_grad()
def _in_one_message(tensors: Iterable[Tensor], send: Callable[[Tensor], Any]) -> None:
    """Let ``send`` change the tensors of each type as one, since a thousand small messages take longer than a large one."""
    by_type: dict[torch.dtype, list[Tensor]] = {}
    for tensor in tensors:
        by_type.setdefault(tensor.dtype, []).append(tensor)
    for alike in by_type.values():
        message = torch.cat([tensor.reshape(-1) for tensor in alike])
        with _errors_in_a_line():
            send(message)
        for tensor, part in zip(alike, torch.split(message, [tensor.numel() for tensor in alike]), strict=True):
            tensor.copy_(part.view(tensor.shape))


def require_equal_weights(*networks: nn.Module) -> None:
    """Raise TrainingError unless all processes hold bitwise the same parameters."""
    if launched():
        digest = hashlib.sha256()
        for network in networks:
            for parameter in network.parameters():
                digest.update(parameter.detach().cpu().contiguous().numpy().tobytes())
        require_agreement(digest.hexdigest(), "the weights of the processes have drifted apart, and were not saved")


def require_agreement(facts: Any, complaint: str) -> None:
    """Raise TrainingError with ``complaint`` and who differs unless JSON-able ``facts`` are the same at all processes."""
    if launched():
        digests = gather(hashlib.sha256(json.dumps(facts).encode()).hexdigest())
        others = [str(number) for number, digest in enumerate(digests) if digest != digests[0]]
        if others:
            raise TrainingError(f"{complaint} (process {', '.join(others)} differs from process 0)")
