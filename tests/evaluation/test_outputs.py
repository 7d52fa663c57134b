"""Ready-made outputs of other tools."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from superscale.data.pairs import PairFolder
from superscale.errors import DataError
from superscale.evaluation.benchmark import benchmark, measure_outputs
from superscale.evaluation.outputs import OutputFolder
from superscale.image.io import Image, write_image
from superscale.image.resize import imresize


def test_ready_made_outputs_are_found_by_name_and_mistakes_name_the_file(photos: Path, tmp_path: Path) -> None:
    pairs = PairFolder(photos, 4)
    names = [path.stem for path in pairs.high_res]
    folder = tmp_path / "tool"
    for number, pair in enumerate(pairs):
        suffix = ("", "_x4", "x4", "_out")[number % 4]
        write_image(folder / f"{pair.name}{suffix}.png", Image(imresize(pair.low_res, 4)))
    options = {"model": "tool", "data": "photos", "metrics": ["psnr"], "border": 4, "color": "y"}
    got = measure_outputs(OutputFolder(folder, "photos", names, 4), pairs, **options)  # type: ignore[arg-type]
    expected = benchmark(lambda low_res: imresize(low_res, 4), pairs, **options)  # type: ignore[arg-type]
    assert got == expected
    write_image(folder / "photo-3_second.png", Image(np.zeros((8, 8, 3), np.uint8)))
    with pytest.raises(DataError, match=r"several outputs for photo-3: photo-3_out\.png, photo-3_second\.png"):
        OutputFolder(folder, "photos", names, 4)
    (folder / "photo-3_second.png").unlink()
    write_image(folder / "photo-0.png", Image(np.zeros((8, 8, 3), np.uint8)))
    with pytest.raises(DataError, match=r"photo-0\.png: 8x8, expected 112x96"):
        OutputFolder(folder, "photos", names, 4)(pairs[0])
    (folder / "photo-0.png").unlink()
    (folder / "photo-5_x4.png").unlink(missing_ok=True)
    with pytest.raises(DataError, match=r"no output for photo-0, photo-5"):
        OutputFolder(folder, "photos", names, 4)
