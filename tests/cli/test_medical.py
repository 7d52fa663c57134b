"""DICOM, stacks and files that are not taken, as people meet them."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import tifffile
from PIL import Image as PillowImage
from pydicom.pixels import apply_windowing

from superscale import Upscaler
from superscale.errors import install_line
from superscale.image import formats
from superscale.image.io import read_image
from superscale.image.value_range import RINGING
from superscale.weights.checkpoint import Model

Command = Callable[..., int]
DICOM = Path(pydicom.__file__).parent / "data" / "test_files"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as it comes: pictures, a film, a note, a scan without a suffix, one under its UID, a list of scans."""
    monkeypatch.chdir(tmp_path)
    place = tmp_path / "in"
    place.mkdir()
    shutil.copy(DICOM / "CT_small.dcm", place / "ct.dcm")
    shutil.copy(DICOM / "MR_small.dcm", place / "IM0001")
    shutil.copy(DICOM / "MR_small.dcm", place / "1.2.826.77")
    shutil.copy(DICOM / "MR_small.dcm", place / "DICOMDIR")
    PillowImage.new("RGB", (32, 32)).save(place / "a.png")
    for name in ("film.mp4", "b.mp4", "note.txt", ".DS_Store", "._a.png"):
        (place / name).write_bytes(b"something")
    return place


def test_scans_stay_dicom_and_what_is_not_taken_is_counted(
    folder: Path, command: Command, model_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("upscale", folder, "-o", "out/", "--model", model_file, "-v") == 0
    said = capsys.readouterr().err
    assert "skipped: 2 .mp4 (of videos, only those that are named are taken), 1 without suffix, 1 .txt" in said
    assert said.count("not for diagnosis") == 3
    made = sorted(path.name for path in Path("out").iterdir())
    assert made == ["1.2.826_x4.dcm", "IM0001_x4.dcm", "a_x4.png", "ct_x4.dcm"]
    assert pydicom.dcmread("out/ct_x4.dcm").DerivationDescription.startswith("Upscaled 4 times by the network tiny, superscale")


def test_without_pydicom_scans_in_a_folder_are_counted_with_the_way_in(
    folder: Path, command: Command, model_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formats, "find_spec", lambda _: None)
    assert command("upscale", folder, "-o", "out/", "--model", model_file) == 0
    said = capsys.readouterr().err
    assert f"skipped: 3 .dcm ({install_line('medical')}), 2 .mp4" in said
    assert [path.name for path in Path("out").iterdir()] == ["a_x4.png"]
    assert command("prepare", folder, "-o", "pack", "--tile", 16) == 0
    assert "skipped: 3 .dcm (pip" in capsys.readouterr().err
    assert command("evaluate", "--data", folder) == 0
    assert f"3 .dcm ({install_line('medical')})" in capsys.readouterr().err


def test_signed_scans_are_left_out_of_a_pack_with_the_reason(
    folder: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("prepare", folder, "-o", "pack", "--tile", 16) == 1
    said = capsys.readouterr().err
    assert "skipped ct.dcm: expected 8 or 16 unsigned bits or floats, got samples of int16" in said
    assert "skipped: 2 .mp4" in said


@pytest.mark.parametrize("name", ["CT_small", "MR_small"])
def test_values_leave_those_of_the_scan_by_ringing_at_most(name: str, tmp_path: Path) -> None:
    image = read_image(DICOM / f"{name}.dcm")
    larger = Upscaler("compact-x4", device="cpu").enlarge(image)
    least, most = int(image.pixels.min()), int(image.pixels.max())
    reach = RINGING * (most - least)
    assert larger.pixels.dtype == np.int16
    assert least - reach <= larger.pixels.min() <= larger.pixels.max() <= most + reach
    # Its mean, in the scan's own unit, stays where it was.
    assert larger.pixels.mean() == pytest.approx(image.pixels.mean(), abs=0.002 * (most - least))


def test_a_path_in_python_gives_the_picture_that_a_viewer_shows(tiny_model: Model) -> None:
    upscaler = Upscaler(tiny_model, device="cpu")
    shown = upscaler(str(DICOM / "MR_small.dcm"))
    assert (shown.mode, shown.size) == ("L", (256, 256))
    # Through the window 600, 1600 of the header, as pydicom applies it, on values enlarged by the same network.
    larger = upscaler.enlarge(read_image(DICOM / "MR_small.dcm"))
    windowed = apply_windowing(larger.pixels[..., 0], larger.metadata.dicom)
    full = apply_windowing(np.array([-30000, 30000], np.int16), larger.metadata.dicom)
    expected = (windowed - full[0]) / (full[1] - full[0]) * 255
    np.testing.assert_allclose(np.asarray(shown), expected, atol=0.51)


def test_a_stack_is_estimated_and_done_as_one(
    tmp_path: Path, command: Command, model_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tifffile.imwrite("a.tif", np.random.default_rng(0).integers(0, 900, (3, 8, 8)).astype(np.uint16), photometric="minisblack")
    assert command("upscale", "a.tif", "--model", model_file, "--dry-run", "--json") == 0
    (job,) = json.loads(capsys.readouterr().out)["jobs"]
    assert (job["output_width"], job["tiles"]) == (32, 3)
    assert command("upscale", "a.tif", "--model", model_file, "--json", "-v") == 0
    captured = capsys.readouterr()
    (result,) = json.loads(captured.out)["results"]
    assert (result["pages"], result["height"]) == (3, 32)
    assert "3 pages, each by itself" in captured.err
    assert tifffile.imread("a_x4.tif").shape == (3, 32, 32)


def test_identity_is_stripped_by_the_option(folder: Path, command: Command, model_file: Path) -> None:
    assert command("upscale", folder / "ct.dcm", "-o", "a.dcm", "--model", model_file, "--metadata", "strip") == 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scan: Any = pydicom.dcmread("a.dcm")
    assert (scan.PatientName, scan.PatientIdentityRemoved, scan.PixelSpacing[0]) == ("", "YES", 0.661468 / 4)
