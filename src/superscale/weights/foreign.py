"""Files that other programs wrote, read as data."""

from __future__ import annotations

from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from superscale.errors import ModelError


def read_pickled(path: Path) -> Any:
    """What a ``.pth`` file holds if it is plain tensors: no code in it is run. Raises ModelError when it holds anything else."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise ModelError(f"{path}: no such file") from error
    except (UnpicklingError, RuntimeError, EOFError, ValueError, OSError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(f"{path}: not a file of plain tensors ({reason})") from error
