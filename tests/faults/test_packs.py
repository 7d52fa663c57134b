"""Packs that are damaged, cut short, or made under faults."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from conftest import Run, leftovers
from faults import armed
from superscale.data.pack import BLOCK_BYTES, Pack
from superscale.data.prepare import prepare, prepare_synthetic
from superscale.data.synthetic import synthetic_picture
from superscale.errors import DataError
from superscale.image.io import Image, write_image


def changed(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def test_one_bit_in_a_pack_is_found_before_the_first_step_or_when_it_is_first_used(tmp_path: Path) -> None:
    prepare_synthetic(tmp_path / "pack", count=30, side_px=256)
    path = tmp_path / "pack" / "high_res.u8"
    assert path.stat().st_size > BLOCK_BYTES
    Pack(tmp_path / "pack").verify()
    changed(path, BLOCK_BYTES + 5)
    pack = Pack(tmp_path / "pack")
    with pytest.raises(DataError, match=r"high_res\.u8: damaged between bytes 4,194,304 and"):
        pack.verify()
    fresh = Pack(tmp_path / "pack")
    assert fresh.high_res(0).shape == (256, 256, 3)  # of another block
    with pytest.raises(DataError, match="damaged between bytes"):
        fresh.high_res(29)


def test_a_pack_without_checksums_as_older_versions_made_is_read_as_before(tmp_path: Path) -> None:
    prepare_synthetic(tmp_path / "pack", count=2)
    path = tmp_path / "pack" / "manifest.json"
    content = json.loads(path.read_text())
    del content["checksums"]
    path.write_text(json.dumps(content))
    Pack(tmp_path / "pack").verify()


def test_a_pack_that_is_truncated_while_it_is_read_is_an_error_and_not_the_end_of_the_process(tmp_path: Path) -> None:
    prepare_synthetic(tmp_path / "pack", count=8)
    pack = Pack(tmp_path / "pack")
    pack.verify()
    os.truncate(tmp_path / "pack" / "high_res.u8", 100)
    with pytest.raises(DataError, match="has become shorter"):
        pack.high_res(7)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("scale", wrong) for wrong in (0, -4, "4", 1e9, None, True, 2.5)),
        *(("channels", wrong) for wrong in (0, 10**9, [3])),
        *(("dtype", wrong) for wrong in ("float64", 8)),
        *(("tiles.height", wrong) for wrong in (0, -1, 10**18, "128", 1.5, None, 127)),
        *(("tiles.top", wrong) for wrong in (-1, "a")),
        *(("tiles.source", wrong) for wrong in (1, None)),
        *(("tiles", wrong) for wrong in (None, {}, [1], [[]], [])),
        *(("checksums", wrong) for wrong in (1, {"high_res.u8": []}, {"high_res.u8": ["x"]}, {"high_res.u8": 1}, [])),
        *(("skipped", wrong) for wrong in (1, [1], None)),
    ],
)
def test_a_manifest_of_wrong_values_is_refused(tmp_path: Path, key: str, value: object) -> None:
    prepare_synthetic(tmp_path / "pack", count=2)
    path = tmp_path / "pack" / "manifest.json"
    content = json.loads(path.read_text())
    table, _, name = key.rpartition(".")
    (content[table][0] if table else content)[name] = value
    path.write_text(json.dumps(content))
    if value == {"high_res.u8": []}:  # as if it had none
        Pack(tmp_path / "pack")
        return
    with pytest.raises(DataError):
        Pack(tmp_path / "pack")


def test_prepare_names_what_it_left_out_fails_and_has_the_rest(faulty: Run, photos: Path) -> None:
    (photos / "photo-1.png").write_bytes(b"no picture")
    faulty("prepare", "photos", "-o", "pack").failed_naming("photo-1.png", "1 of the pictures were left out")
    assert len({tile.source for tile in Pack(photos.parent / "pack").manifest.tiles}) == 5


def test_one_error_of_reading_costs_no_photo_of_a_pack(faulty: Run, photos: Path) -> None:
    assert faulty("prepare", "photos", "-o", "pack", faults=[("failing_reads", "*photo-3.png")]).code == 0
    assert len({tile.source for tile in Pack(photos.parent / "pack").manifest.tiles}) == 6


@pytest.mark.slow
def test_a_killed_prepare_leaves_nothing_behind_the_next_one(photos: Path, commands: Path) -> None:
    for number in range(6, 60):
        write_image(photos / f"photo-{number}.png", Image(synthetic_picture(number, 256)))
    for seconds in ("0.15", "0.4", "0.7"):
        program = armed(("signalled", "SIGKILL", seconds))
        command = [str(commands / "python"), "-c", program, "prepare", str(photos), "-o", str(photos.parent / "pack")]
        subprocess.run(command, capture_output=True, check=False)
    shutil.rmtree(photos.parent / "pack", ignore_errors=True)
    prepare(photos, photos.parent / "pack")
    left = leftovers(photos.parent)
    # This process has swept the folder already where a run of its own wrote there; a new one does.
    assert not left, left
