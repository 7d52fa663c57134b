"""Ways of computing a network, tried on this machine: how fast each is, and how near to fp32. Verdicts are kept in the cache folder."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from superscale import __version__
from superscale.errors import SuperscaleError
from superscale.files import write_text
from superscale.image.pixels import PEAK
from superscale.inference.backends import Backend
from superscale.machine import processor
from superscale.machine.threads import cores
from superscale.options import Precision
from superscale.weights.store import cache_folder
from superscale.weights.stored import StoredModel

Array = NDArray[Any]

# backend -> the package that has it
PACKAGES = {"torch": "torch", "onnx": "onnxruntime", "openvino": "openvino"}
# How near to fp32 a way must come. 8 bits: rounding to them alone leaves 59 dB. Deeper pictures: two levels of 16 bits at the most.
LEAST_DECIBELS, MOST_LEVELS, PERCENTILE = 50.0, 2.0, 99.9
MOST_DEEP_LEVELS = 2.0
PROBE_PX = 64
RUNS = 2


@dataclass(frozen=True)
class Way:
    """A library and a precision."""

    backend: str
    precision: Precision

    def __str__(self) -> str:
        return f"{self.backend} {self.precision}"


@dataclass(frozen=True)
class Verdict:
    """What a trial found of a way. ``start_seconds``: until it can compute; ``pixel_seconds``: for one input pixel. Against fp32,
    clipped to [0, 1]: ``decibels``, ``levels`` of 8 bits at the 99.9th percentile, ``deep_levels`` of 16 bits at the most."""

    way: Way
    start_seconds: float
    pixel_seconds: float
    decibels: float
    levels: float
    deep_levels: float

    def suits(self, deep: bool) -> bool:
        """Whether pictures of 8 bits, or ``deep`` ones, may be computed so."""
        if deep:
            return self.deep_levels <= MOST_DEEP_LEVELS
        return self.decibels >= LEAST_DECIBELS and self.levels <= MOST_LEVELS


def probe_picture(channels: int, side: int = PROBE_PX) -> Array:
    """(1, C, side, side) float32 in [0, 1]: slopes, edges of several directions and fine noise."""
    rows, columns = np.mgrid[:side, :side] / side
    random = np.random.default_rng(0)
    waves = 0.5 + 0.3 * np.sin(40 * rows * columns + 6 * columns)
    planes = [0.7 * waves + 0.2 * ((3 * rows + (band + 1) * columns) % 1 > 0.5) for band in range(channels)]
    return (np.stack(planes) + random.normal(0, 0.02, (channels, side, side))).clip(0, 1)[None].astype(np.float32)


def difference(found: Array, expected: Array) -> tuple[float, float, float]:
    """(decibels, levels of 8 bits at the 99.9th percentile, levels of 16 bits at the most) between two outputs."""
    off = np.abs(found.clip(0, 1) - expected.clip(0, 1)).astype(np.float64)
    decibels = 10 * float(np.log10(1 / max(np.mean(off**2), 1e-20)))
    return decibels, float(np.percentile(off, PERCENTILE)) * PEAK["uint8"], float(off.max()) * PEAK["uint16"]


def tried(ways: Iterable[Way], make: Callable[[Way], Backend], probe: Array, expected: Array) -> list[Verdict]:
    """A verdict of each way that works here. The first run of each is not timed: libraries prepare themselves in it."""
    verdicts = []
    for way in ways:
        began = time.monotonic()
        with suppress(SuperscaleError):  # not installed, not on this device, no memory: not a way
            backend = make(way)
            found = backend(probe)
            start = time.monotonic() - began
            taken = min(seconds_of(backend, probe) for _ in range(RUNS))
            verdicts.append(Verdict(way, start, taken / (probe.shape[2] * probe.shape[3]), *difference(found, expected)))
    return verdicts


def seconds_of(backend: Backend, probe: Array) -> float:
    """How long one run takes."""
    began = time.monotonic()
    backend(probe)
    return time.monotonic() - began


def verdict_file(model: StoredModel, device: str) -> Path:
    """Where the verdicts on a model are kept: another model, version, processor or number of threads has another file."""
    digest = hashlib.sha256(json.dumps([model.network, device, _here()], sort_keys=True).encode())
    for key in sorted(model.arrays):
        digest.update(key.encode())
        digest.update(np.ascontiguousarray(model.arrays[key]).data)
    return cache_folder() / "verdicts" / f"{digest.hexdigest()[:32]}.json"


def kept(path: Path) -> list[Verdict] | None:
    """The verdicts in a file; None where there are none that can be read."""
    try:
        entries = json.loads(path.read_bytes())["ways"]
        return [Verdict(Way(**entry.pop("way")), **{key: float(value) for key, value in entry.items()}) for entry in entries]
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def keep(path: Path, model: StoredModel, device: str, verdicts: list[Verdict]) -> None:
    """Write verdicts, whole or not at all; where nothing can be written they are found again another time."""
    facts = {"model": model.name, "device": device, **_here()}
    with suppress(OSError):
        write_text(path, json.dumps({**facts, "ways": [asdict(verdict) for verdict in verdicts]}, indent=1))


def kept_by_model() -> dict[str, list[Verdict]]:
    """The verdicts that hold for the versions, processor and threads of now, by the models' names."""
    found = {}
    for path in sorted((cache_folder() / "verdicts").glob("*.json")):
        if (verdicts := kept(path)) is not None:
            facts = json.loads(path.read_bytes())
            if facts.items() >= _here().items() and "model" in facts:
                found[str(facts["model"])] = verdicts
    return found


def _here() -> dict[str, Any]:
    """What a verdict depends on, besides the model and the device."""
    return {
        "processor": processor.name(),
        "bf16": processor.multiplies_bf16(),
        "threads": cores(),
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """The version of each library that is installed, and ours."""
    found = {"superscale": __version__}
    for package in PACKAGES.values():
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found
