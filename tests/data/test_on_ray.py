"""The pack that the driver makes of workers' answers, without a Ray: they come in any order, through pickle. A real one: tests/remote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from superscale.data.pairs import PairFolder
from superscale.data.prepare import prepare
from superscale.errors import DataError
from superscale.image.io import Image, write_image
from superscale.machine.ray_pool import Cluster


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.usefixtures("ray_backwards")
@pytest.mark.parametrize("low_res", ["none", "double", "paired"])
def test_a_pack_of_workers_is_that_of_one_machine_byte_for_byte(
    low_res: str, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("superscale.data.on_ray.AHEAD", 2)
    how: Any = {"tile_px": 48, "low_res": low_res}
    if low_res == "paired":
        for pair in PairFolder(photos, 4):
            shifted = np.roll(pair.low_res, 1, axis=0) if pair.name == "photo-2" else pair.low_res
            write_image(tmp_path / "low" / f"{pair.name}.png", Image(shifted))
        write_image(tmp_path / "low" / "alone.png", Image(pair.low_res))
        how["low_res"] = tmp_path / "low"
    (photos / "photo-0.png").write_bytes((photos / "photo-0.png").read_bytes()[:500])
    here = prepare(photos, tmp_path / "here", **how)
    there = prepare(photos, tmp_path / "there", **how, cluster=Cluster())
    assert there == here
    assert contents(tmp_path / "there") == contents(tmp_path / "here")
    assert [source for source, _ in here.skipped] == ["photo-0.png", *(["low/alone.png"] if low_res == "paired" else [])]
    assert len(here.shifts) == (low_res == "paired")


@pytest.mark.usefixtures("ray_backwards")
def test_photos_that_need_a_wider_layout_are_read_again_and_folders_without_any_are_refused(
    photos: Path, tmp_path: Path
) -> None:
    deep = np.full((32, 32, 3), 999, np.uint16)
    write_image(photos / "photo-3.png", Image(deep))
    write_image(photos / "photo-0.png", Image(deep[..., :1].astype(np.uint8)))
    prepare(photos, tmp_path / "here")
    prepare(photos, tmp_path / "there", cluster=Cluster())
    assert "high_res.u16" in contents(tmp_path / "here")
    assert contents(tmp_path / "there") == contents(tmp_path / "here")
    for path in photos.iterdir():
        path.write_bytes(b"none")
    with pytest.raises(DataError, match="not one usable photograph"):
        prepare(photos, tmp_path / "empty", cluster=Cluster())
    assert not (tmp_path / "empty").exists()
