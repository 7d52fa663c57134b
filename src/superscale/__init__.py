"""Superscale: image super-resolution with SRGAN (Ledig et al. 2017) and ESRGAN (Wang et al. 2018)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from superscale.errors import SuperscaleError
    from superscale.inference.upscaler import Upscaler

__version__ = "0.1.0"
__all__ = ["SuperscaleError", "Upscaler", "__version__"]

# public name -> its module, imported when the name is first used, so that importing superscale does not import torch
_PLACES = {"SuperscaleError": "superscale.errors", "Upscaler": "superscale.inference.upscaler"}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'superscale' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
