"""Pictures are measured at the depth of their files."""

from __future__ import annotations

import base64
import csv
import io
from pathlib import Path

import numpy as np
import pytest
import tifffile
from skimage.metrics import peak_signal_noise_ratio

from superscale.data.pairs import PairFolder
from superscale.data.synthetic import synthetic_picture
from superscale.errors import DataError, UsageError
from superscale.evaluation import evaluate
from superscale.evaluation.benchmark import benchmark
from superscale.evaluation.crops import Crops
from superscale.evaluation.explain import explain
from superscale.evaluation.page import write_report
from superscale.evaluation.report import to_csv, to_json
from superscale.image.io import read_image
from superscale.image.resize import imresize


def scan(levels: int = 4096) -> np.ndarray:
    """A grey picture of 12 bits in 16-bit samples, as scanners write them."""
    picture = synthetic_picture(3, 96)[..., 0].astype(np.uint16)
    return picture * (levels // 256)


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    folder = tmp_path / "scans"
    folder.mkdir()
    tifffile.imwrite(folder / "ct.tif", scan(), photometric="minisblack")
    return folder


def test_16_bit_pictures_are_measured_at_16_bits(scans: Path) -> None:
    table = evaluate(["bicubic"], [scans], metrics=["psnr"], color="rgb")
    truth = scan().astype(np.float64)
    low_res = np.floor(imresize(truth, 1 / 4).clip(0, 65535) + 0.5)
    enlarged = np.floor(imresize(low_res, 4).clip(0, 65535) + 0.5)
    expected = peak_signal_noise_ratio(truth[4:-4, 4:-4], enlarged[4:-4, 4:-4], data_range=65535)
    assert table[0].mean == pytest.approx(expected, abs=1e-5)
    assert "16-bit pictures, peak 65535" in str(table)
    assert to_json(table)["convention"]["bits"] == 16
    assert next(csv.DictReader(io.StringIO(to_csv(table))))["bits"] == "16"


def test_8_bit_tables_say_what_they_always_said(photos: Path) -> None:
    table = evaluate(["bicubic"], [photos], metrics=["psnr"])
    assert str(table).endswith("low-res: bicubic, double, 8-bit pictures, high-res cropped to a multiple of 4")
    convention = to_json(table)["convention"]
    assert list(convention) == ["scale", "color", "border", "low_res", "bits", "peak", "crop_to_multiple", "text", "metrics"]
    assert (convention["bits"], convention["peak"]) == (8, 255)
    assert "bits" not in to_csv(table)


def test_sets_of_two_depths_say_so(scans: Path, photos: Path, tmp_path: Path) -> None:
    table = evaluate(["bicubic"], [photos, scans], metrics=["psnr"])
    assert "8- and 16-bit pictures, peak 65535" in str(table)
    assert to_json(table)["convention"]["bits"] == [8, 16]
    assert to_json(table)["convention"]["peak"] == [255, 65535]
    write_report(tmp_path / "report", table)


def test_a_peak_is_white_in_every_number_and_stated_in_every_output(scans: Path, tmp_path: Path) -> None:
    table = evaluate(["bicubic", "srresnet-x4"], [scans], metrics=["psnr", "ssim"], color="rgb", peak=4095, device="cpu")
    truth = scan().astype(np.float64)
    low_res = np.floor(imresize(truth, 1 / 4).clip(0, 4095) + 0.5)
    enlarged = np.floor(imresize(low_res, 4).clip(0, 4095) + 0.5)
    inside = (slice(4, -4), slice(4, -4))
    expected = peak_signal_noise_ratio(truth[inside], enlarged[inside], data_range=4095)
    assert table[0].mean == pytest.approx(expected, abs=1e-5)
    # The same picture in all 16 bits: 16 times the values against 16 times the peak, but for rounding.
    wide = tmp_path / "wide"
    wide.mkdir()
    tifffile.imwrite(wide / "ct.tif", scan() * 16, photometric="minisblack")
    same = evaluate(["bicubic", "srresnet-x4"], [wide], metrics=["psnr", "ssim"], color="rgb", peak=16 * 4095, device="cpu")
    assert [row.mean for row in table] == pytest.approx([row.mean for row in same], abs=0.01)
    assert to_json(table)["convention"]["peak"] == 4095
    names = write_report(tmp_path / "report", table)
    assert len(names) == 5
    for name in names:
        assert "4095" in (tmp_path / "report" / name).read_text(encoding="utf-8"), name
    assert "16-bit pictures, peak 4095" in str(table)


def test_values_above_the_peak_are_an_error_that_says_so(scans: Path, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"ct: the truth holds {scan().max()}, more than the peak 1023"):
        evaluate(["bicubic"], [scans], peak=1023)
    with pytest.raises(DataError, match="ct: loud holds 5000, more than the peak 4095"):
        evaluate({"loud": lambda low_res: np.full_like(imresize(low_res, 4), 5000)}, [scans], peak=4095)
    with pytest.raises(DataError, match=r"uint8 samples.*leave the peak out"):
        evaluate(["bicubic"], [photos], peak=4095)
    floats = tmp_path / "floats"
    floats.mkdir()
    tifffile.imwrite(floats / "x.tif", scan().astype(np.float32) / 4095, photometric="minisblack")
    with pytest.raises(DataError, match=r"x\.tif: a peak of 4095 .* float32 samples"):
        evaluate(["bicubic"], [floats], peak=4095)
    with pytest.raises(UsageError, match="at least 1, got 0"):
        evaluate(["bicubic"], [scans], peak=0)
    # 8-bit outputs of a 12-bit truth have no known white.
    outputs = tmp_path / "tool"
    outputs.mkdir()
    tifffile.imwrite(outputs / "ct.tif", (scan() // 16).astype(np.uint8), photometric="minisblack")
    with pytest.raises(DataError, match="tool made uint8 samples of ct, expected uint16"):
        evaluate([], [scans], outputs=[outputs], peak=4095)


def test_crops_of_a_report_show_the_peak_as_white(scans: Path) -> None:
    crops = Crops()
    benchmark(
        lambda low_res: np.full((96, 96, 3), 4095, np.uint16),
        PairFolder(scans, 4, peak=4095),
        observe=lambda seen: crops.add("scans", "white", seen),
    )
    (pieces,) = crops.keep([("scans", "ct")]).values()
    shown = read_image(base64.b64decode(pieces["model white"].partition(",")[2])).pixels
    assert (shown.dtype, shown.min()) == (np.uint8, 255)


def test_an_output_of_less_depth_than_the_truth_is_refused(scans: Path) -> None:
    def to_8_bits(low_res: np.ndarray) -> np.ndarray:
        return (imresize(low_res, 4) >> 8).astype(np.uint8)

    with pytest.raises(DataError, match="uint8 samples of ct, expected uint16"):
        benchmark(to_8_bits, PairFolder(scans, 4))


def test_bands_are_measured_together_and_have_no_luma(scans: Path, tmp_path: Path) -> None:
    fields = tmp_path / "fields"
    fields.mkdir()
    bands = np.stack([scan()] * 5, axis=-1)
    tifffile.imwrite(fields / "field.tif", bands, photometric="minisblack", planarconfig="contig")
    (together,), (grey,) = (evaluate(["bicubic"], [folder], metrics=["psnr"], color="rgb") for folder in (fields, scans))
    assert together.mean == pytest.approx(grey.mean)
    with pytest.raises(DataError, match="5 bands have no luma; measure them with color rgb"):
        evaluate(["bicubic"], [fields], metrics=["psnr"])


def test_the_conventions_side_by_side_are_for_8_bits(scans: Path) -> None:
    with pytest.raises(DataError, match="8-bit grey and RGB"):
        explain(lambda low_res: imresize(low_res, 4), PairFolder(scans, 4), 4)
