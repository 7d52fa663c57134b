"""In place of imagecodecs where it cannot be installed: superscale then reads 8-bit JPEG and PNG, and trains. For tools/gpu_jobs.py."""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    if name.endswith("Error"):
        return type(name, (RuntimeError,), {})

    def missing(*_arguments: object, **_options: object) -> Any:
        raise ImportError(f"imagecodecs.{name} is needed here, and imagecodecs is not installed")

    return missing
