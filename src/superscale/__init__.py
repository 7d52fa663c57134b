"""Superscale: image super-resolution with SRGAN (Ledig et al. 2017) and ESRGAN (Wang et al. 2018)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from superscale.errors import SuperscaleError
    from superscale.inference.upscaler import Upscaler
    from superscale.options import TargetSize
    from superscale.weights.store import models

__version__ = "0.1.0"
__all__ = ["SuperscaleError", "TargetSize", "Upscaler", "__version__", "models"]

# public name -> its module, imported when the name is first used, so that importing superscale does not import torch
_PLACES = {
    "SuperscaleError": "superscale.errors",
    "TargetSize": "superscale.options",
    "Upscaler": "superscale.inference.upscaler",
    "models": "superscale.weights.store",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'superscale' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
