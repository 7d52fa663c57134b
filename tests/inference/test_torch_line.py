from __future__ import annotations

import subprocess
import sys

CORE = """
import sys
import superscale.inference.upscaler, superscale.inference.jobs, superscale.inference.estimate, superscale.inference.engine
assert "superscale.weights" not in sys.modules
"""


def test_the_upscaling_core_loads_no_weights_before_an_upscaler_is_made() -> None:
    subprocess.run([sys.executable, "-c", CORE], check=True)
