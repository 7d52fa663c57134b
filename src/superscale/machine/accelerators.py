"""Whether a GPU may be there, told without torch, whose import takes longer than a small picture."""

from __future__ import annotations

import os
import sys
from pathlib import Path

# What the drivers of NVIDIA and of AMD, and Windows below Linux, put there.
DEVICE_FILES = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/nvhost-gpu", "/dev/kfd", "/dev/dxg")


def has_none() -> bool:
    """Whether there can be no GPU that torch uses: on Linux without a driver's device files. Elsewhere torch must be asked."""
    return sys.platform == "linux" and not any(os.path.exists(Path(name)) for name in DEVICE_FILES)
