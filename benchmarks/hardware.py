"""What a number was measured on."""

from __future__ import annotations

import os
from datetime import date

import numpy
import skimage
import torch

from superscale.machine import processor


def hardware(threads: int) -> dict[str, object]:
    """Date, processor, threads and versions: without them a time means nothing."""
    return {
        "date": date.today().isoformat(),
        "processor": processor.name(),
        "cores": os.cpu_count(),
        "threads": threads,
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "scikit_image": skimage.__version__,
    }
