"""What a number was measured on."""

from __future__ import annotations

import os
import platform
from datetime import date
from pathlib import Path

import numpy
import skimage
import torch


def hardware(threads: int) -> dict[str, object]:
    """Date, processor, threads and versions: without them a time means nothing."""
    information = Path("/proc/cpuinfo")
    names = (
        [line.split(":", 1)[1].strip() for line in information.read_text().splitlines() if line.startswith("model name")]
        if (information.exists())
        else []
    )
    return {
        "date": date.today().isoformat(),
        "processor": names[0] if names else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": threads,
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "scikit_image": skimage.__version__,
    }
