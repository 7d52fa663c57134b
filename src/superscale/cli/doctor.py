"""`superscale doctor`: what a bug report needs, and nothing that is nobody's business."""

from __future__ import annotations

import json
import os
import platform
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from superscale import __version__

PACKAGES = ("torch", "numpy", "pillow", "safetensors", "typer", "rich")
SIDE_PX = 8


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Versions, devices, backends, decoders and the cache path; safe to paste into an issue."""
    facts = _facts()
    if as_json:
        print(json.dumps({"version": 1, **facts}, indent=2))
        return
    for name, value in facts.items():
        if isinstance(value, dict):
            value = ", ".join(f"{key} {entry}" for key, entry in value.items())
        elif isinstance(value, list):
            value = ", ".join(map(str, value))
        print(f"{name + ':':11} {value or 'none'}")


def _facts() -> dict[str, Any]:
    from superscale.inference.backends.trial import PACKAGES as BACKENDS
    from superscale.weights.store import BUNDLED, cache_folder

    return {
        "superscale": __version__,
        "python": f"{platform.python_version()} ({sys.implementation.name})",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}, {os.cpu_count()} cores",
        "packages": {name: _version(name) for name in PACKAGES},
        "devices": _devices(),
        "backends": {name: _version(package) for name, package in BACKENDS.items()},
        "verdicts": _verdicts(),
        "decoders": _decoders(),
        "models": list(BUNDLED),
        "cache": _below_home(cache_folder()),
    }


def _verdicts() -> dict[str, str]:
    """What `--backend auto` found on this machine, of each model: the ways in the order of their speed."""
    from superscale.inference.backends.trial import kept_by_model

    found = {}
    for model, verdicts in kept_by_model().items():
        ordered = sorted(verdicts, key=lambda one: one.pixel_seconds)
        found[model] = "; ".join(
            f"{one.way} {1e-6 / one.pixel_seconds:.3f} MP/s {one.decibels:.0f} dB{'' if one.suits(deep=False) else ' refused'}"
            for one in ordered
        )
    return found


def _version(package: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _devices() -> list[str]:
    import torch

    found = [f"cpu ({torch.get_num_threads()} threads)"]
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        found.append(f"cuda:{index} ({properties.name}, {properties.total_memory / 2**30:.0f} GiB)")
    return [*found, "mps"] if torch.backends.mps.is_available() else found


def _decoders() -> dict[str, str]:
    """Every format that is written, tried: a small picture encoded and decoded again."""
    import numpy as np

    from superscale.image.io import SUFFIXES, Image, encode, read_image

    answers: dict[str, str] = {}
    for suffix, form in ((suffix, form) for suffix, form in SUFFIXES.items() if form != "DICOM"):
        try:
            picture = read_image(encode(Image(np.zeros((SIDE_PX, SIDE_PX, 3), np.uint8)), suffix))
            answers[form] = "ok" if picture.width == SIDE_PX else "wrong size"
        except Exception as error:
            answers[form] = f"fails ({type(error).__name__})"
    return answers


def _below_home(path: Path) -> str:
    """The path with ~ for the home folder, whose name is often a person's."""
    home = Path(os.path.expanduser("~"))
    if home.is_absolute() and home != Path(home.anchor) and path.is_relative_to(home):
        return f"~/{path.relative_to(home).as_posix()}"
    return str(path)
