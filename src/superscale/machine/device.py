"""Choice of torch's device, its name and its free memory."""

from __future__ import annotations

import torch

from superscale.errors import UsageError
from superscale.machine import memory, processor


def pick_device(name: str) -> torch.device:
    """Return the named device; ``auto`` is the first GPU, or the CPU without one. Raises UsageError for a device that does not exist."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        return torch.device(name)
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"unknown device {name!r}; expected auto, cpu, cuda, cuda:1 or mps") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(f"no device {name}: this machine has {torch.cuda.device_count()} CUDA devices; choose the device cpu")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UsageError("no mps device on this machine; choose the device cpu")
    return device


def describe(device: torch.device) -> str:
    """What computes: the GPU's name, or the processor's and the number of threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type != "cpu":
        return device.type
    threads = torch.get_num_threads()
    return f"{processor.name()}, {threads} {'thread' if threads == 1 else 'threads'}"


def free_bytes(device: torch.device) -> int | None:
    """Return the bytes that a network may still take on a device, or None where the system does not say."""
    if device.type == "cuda":
        # Memory that torch has reserved but does not use is free as well.
        held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + held
    return memory.free_bytes()
