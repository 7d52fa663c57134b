"""Stacks are enlarged page by page, whole or not at all, and say how large their pixels are afterwards."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pydicom
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image as PillowImage

from superscale.errors import Unsupported
from superscale.image.io import Image, open_stack, read_image
from superscale.image.value_range import ValueRange
from superscale.inference.inputs import expand
from superscale.inference.jobs import run_jobs
from superscale.inference.outcomes import Outcome, Settings
from superscale.inference.plan import plan_jobs
from superscale.inference.upscaler import Upscaler

Array = NDArray[Any]
DICOM = Path(pydicom.__file__).parent / "data" / "test_files"
VOLUME = np.random.default_rng(0).integers(100, 4000, (5, 12, 16)).astype(np.uint16)


def doubled(image: Image, values: ValueRange | None = None) -> Image:
    return replace(image.with_pixels(image.pixels.repeat(2, 0).repeat(2, 1), None), values=values)


def done(source: Path, output: Path | str, enlarge: Callable[..., Image] = doubled, **options: Any) -> Outcome:
    (outcome,) = run_jobs(plan_jobs(expand([str(source)]), str(output), scale=2), enlarge, Settings(scale=2, **options))
    return outcome


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_pages_of_a_tiff_are_those_that_tifffile_reads(tmp_path: Path) -> None:
    source = tmp_path / "a.tif"
    tifffile.imwrite(source, VOLUME, photometric="minisblack")
    outcome = done(source, tmp_path / "b.tif")
    assert (outcome.status, outcome.pages, outcome.width) == ("done", 5, 32)
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        assert len(file.pages) == 5
        np.testing.assert_array_equal(np.stack([page.asarray() for page in file.pages]), VOLUME.repeat(2, 1).repeat(2, 2))
    assert left(tmp_path) == ["a.tif", "b.tif"]


def test_ome_tiff_tells_its_new_size(tmp_path: Path) -> None:
    source = tmp_path / "a.ome.tif"
    told = {"axes": "ZYX", "PhysicalSizeX": 0.5, "PhysicalSizeXUnit": "µm", "PhysicalSizeY": 0.25, "PhysicalSizeYUnit": "µm"}
    tifffile.imwrite(
        source, VOLUME, metadata={**told, "PhysicalSizeZ": 2.0, "Channel": {"Name": ["DAPI"]}}, resolution=(2e4, 4e4)
    )
    assert done(source, tmp_path / "b.ome.tif").notices == ()
    with tifffile.TiffFile(tmp_path / "b.ome.tif") as file:
        assert file.is_ome
        assert file.series[0].axes == "ZYX"
        assert file.series[0].shape == (5, 24, 32)
        np.testing.assert_array_equal(file.asarray(), VOLUME.repeat(2, 1).repeat(2, 2))
        pixels = ElementTree.fromstring(str(file.ome_metadata)).find(".//{*}Pixels")
        assert pixels is not None
        sizes = [pixels.get(key) for key in ("SizeX", "SizeY", "SizeZ", "PhysicalSizeX", "PhysicalSizeY", "PhysicalSizeZ")]
        assert sizes == ["32", "24", "5", "0.25", "0.125", "2.0"]
        assert pixels.get("PhysicalSizeXUnit") == "µm"
        assert pixels.find("{*}Channel") is not None
        across, down = (above / below for above, below in (file.pages[0].tags[code].value for code in (282, 283)))
        assert (across, down) == pytest.approx((4e4, 8e4), rel=1e-4)


def test_ome_xml_that_does_not_tell_of_these_pages_is_left_out(tmp_path: Path) -> None:
    source = tmp_path / "a.ome.tif"
    tifffile.imwrite(source, VOLUME, metadata={"axes": "ZYX"})
    text = source.read_bytes().replace(b'SizeZ="5"', b'SizeZ="9"')
    source.write_bytes(text)
    outcome = done(source, tmp_path / "b.tif")
    assert any("OME-XML" in notice for notice in outcome.notices)
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        assert not file.is_ome
        assert len(file.pages) == 5


def test_regions_drawn_in_old_pixels_are_left_out_with_a_note(tmp_path: Path) -> None:
    source = tmp_path / "a.ome.tif"
    tifffile.imwrite(source, VOLUME[0], metadata={"axes": "YX"})
    with tifffile.TiffFile(source) as file:
        text = str(file.ome_metadata).replace("</OME>", '<ROI ID="ROI:0"><Union/></ROI></OME>')
    tifffile.imwrite(source, VOLUME[0], description=text.encode(), metadata=None)
    assert any("regions" in notice for notice in done(source, tmp_path / "b.tif").notices)
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        assert "ROI" not in str(file.ome_metadata)
        assert 'SizeX="32"' in str(file.ome_metadata)


@pytest.mark.parametrize(("unit", "expected"), [("NONE", (8.0, 16.0)), ("CENTIMETER", (8.0 * 2.54, 16.0 * 2.54))])
def test_the_calibration_of_an_imagej_stack_is_scaled(unit: str, expected: tuple[float, float], tmp_path: Path) -> None:
    source = tmp_path / "a.tif"
    with tifffile.TiffWriter(source, imagej=True) as writer:
        writer.write(VOLUME, resolution=(4.0, 8.0), resolutionunit=unit, metadata={"unit": "um", "spacing": 3.0})
    done(source, tmp_path / "b.tif")
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        assert file.is_imagej
        assert file.imagej_metadata is not None
        told = file.imagej_metadata
        assert (told["images"], told["spacing"], told["unit"]) == (5, 3.0, "um")
        across, down = (above / below for above, below in (file.pages[0].tags[code].value for code in (282, 283)))
        assert (across, down) == pytest.approx(expected, rel=1e-5)
        np.testing.assert_array_equal(file.asarray(), VOLUME.repeat(2, 1).repeat(2, 2))


def test_stacks_with_fewer_pages_than_pictures_are_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "shaped.tif", VOLUME, truncate=True, photometric="minisblack")
    text = b"ImageJ=1.54\nimages=5\nslices=5\n"
    tifffile.imwrite(tmp_path / "imagej.tif", VOLUME[0], description=text, metadata=None, photometric="minisblack")
    for name in ("shaped.tif", "imagej.tif"):
        with pytest.raises(Unsupported, match="more pictures than pages"):
            read_image(tmp_path / name)
        assert done(tmp_path / name, tmp_path / "b.tif").status == "failed"
    assert left(tmp_path) == ["imagej.tif", "shaped.tif"]


def test_scanned_pages_of_one_bit_and_of_several_sizes_are_read(tmp_path: Path) -> None:
    pages = [PillowImage.fromarray(np.arange(side * side).reshape(side, side) % 3 == 0) for side in (16, 24)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:], compression="group4")
    assert done(tmp_path / "a.tif", tmp_path / "b.tif").status == "done"
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        for page, small in zip(file.pages, pages, strict=True):
            expected = np.asarray(small.convert("L")).repeat(2, 0).repeat(2, 1)
            np.testing.assert_array_equal(page.asarray(), expected)


def test_masks_belong_to_the_page_before_them(tmp_path: Path) -> None:
    mask = np.ones((12, 16), bool)
    mask[3:5] = False
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(VOLUME[0], photometric="minisblack", metadata=None)
        writer.write(VOLUME[1], photometric="minisblack", metadata=None)
        writer.write(mask, photometric="mask", subfiletype=4, metadata=None)
    done(tmp_path / "a.tif", tmp_path / "b.tif")
    with open_stack(tmp_path / "b.tif") as stack:
        assert stack.count == 2
        assert stack.page(0).valid() is None
        valid = stack.page(1).valid()
        assert valid is not None
        np.testing.assert_array_equal(valid[..., 0], mask.repeat(2, 0).repeat(2, 1))


def test_all_pages_share_one_range_of_values(tmp_path: Path, tiny_model: Any) -> None:
    pages = np.stack([np.full((9, 9), 7), np.linspace(100, 900, 81).reshape(9, 9), np.linspace(500, 3000, 81).reshape(9, 9)])
    tifffile.imwrite(tmp_path / "a.tif", pages.astype(np.uint16), photometric="minisblack")
    upscaler = Upscaler(tiny_model, device="cpu")
    outcome = done(tmp_path / "a.tif", tmp_path / "b.tif", upscaler.enlarge, measure=upscaler.measure)
    assert outcome.range == (100, 3000)
    assert "3 pages, each by itself" in outcome.remarks


def test_a_damaged_page_leaves_nothing_behind(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", VOLUME, photometric="minisblack", compression="zlib")
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        place = file.pages[3].dataoffsets[0]
    data = bytearray((tmp_path / "a.tif").read_bytes())
    data[place : place + 40] = bytes(40)
    (tmp_path / "a.tif").write_bytes(bytes(data))
    outcome = done(tmp_path / "a.tif", tmp_path / "b.tif")
    assert outcome.status == "failed"
    assert "page 4" in str(outcome.error)
    assert left(tmp_path) == ["a.tif"]


def test_a_damaged_first_page_is_called_damaged_and_not_one_of_several(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", VOLUME, photometric="minisblack", compression="zlib")
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        place = file.pages[0].dataoffsets[0]
    data = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(data[:place] + bytes(40) + data[place + 40 :])
    outcome = done(tmp_path / "a.tif", tmp_path / "b.tif")
    assert (outcome.status, outcome.code) == ("failed", "damaged")
    assert "page 1" in str(outcome.error)


def test_an_error_while_enlarging_is_not_called_damage(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", VOLUME, photometric="minisblack")

    def full(image: Image) -> Image:
        raise OSError(28, "No space left on device")

    assert done(tmp_path / "a.tif", tmp_path / "b.tif", full).error == "No space left on device"
    assert left(tmp_path) == ["a.tif"]


def test_stacks_go_to_tiff_or_dicom_only(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", VOLUME, photometric="minisblack")
    outcome = done(tmp_path / "a.tif", tmp_path / "b.png")
    assert outcome.status == "failed"
    assert "holds one picture, and there are 5" in str(outcome.error)
    assert "which patient" in str(done(tmp_path / "a.tif", tmp_path / "b.dcm").error)
    assert left(tmp_path) == ["a.tif"]


def test_an_output_that_appears_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", VOLUME, photometric="minisblack")

    def slow(image: Image) -> Image:
        (tmp_path / "b.tif").write_bytes(b"mine")
        return doubled(image)

    assert done(tmp_path / "a.tif", tmp_path / "b.tif", slow).status == "failed"
    assert (tmp_path / "b.tif").read_bytes() == b"mine"
    assert left(tmp_path) == ["a.tif", "b.tif"]


def test_a_stack_goes_from_standard_input_to_standard_output() -> None:
    source, target = io.BytesIO(), io.BytesIO()
    tifffile.imwrite(source, VOLUME, photometric="minisblack")
    jobs = plan_jobs(expand(["-"]), None, scale=2)
    (outcome,) = run_jobs(jobs, doubled, Settings(scale=2), io.BytesIO(source.getvalue()), target)
    assert outcome.pages == 5
    np.testing.assert_array_equal(tifffile.imread(io.BytesIO(target.getvalue())), VOLUME.repeat(2, 1).repeat(2, 2))


@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        ("rtdose", ".dcm"),
        ("rtdose", ".tif"),
        ("SC_rgb_rle_2frame", ".dcm"),
        ("SC_rgb_rle_2frame", ".tif"),
        pytest.param("examples_ybr_color", ".dcm", marks=pytest.mark.slow),
    ],
)
def test_frames_of_dicom_are_those_that_pydicom_reads(name: str, suffix: str, tmp_path: Path) -> None:
    outcome = done(DICOM / f"{name}.dcm", tmp_path / f"b{suffix}")
    expected = pydicom.dcmread(DICOM / f"{name}.dcm").pixel_array.repeat(2, 1).repeat(2, 2)
    assert outcome.pages == len(expected)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = pydicom.dcmread(tmp_path / "b.dcm").pixel_array if suffix == ".dcm" else tifffile.imread(tmp_path / "b.tif")
    np.testing.assert_array_equal(found, expected)


MEASURED = """
import json, resource, sys
from pathlib import Path
from superscale.inference.inputs import expand
from superscale.inference.jobs import run_jobs
from superscale.inference.outcomes import Settings
from superscale.inference.plan import plan_jobs
def doubled(image):
    return image.with_pixels(image.pixels.repeat(2, 0).repeat(2, 1), None)
peaks = []
for source in sys.argv[1:]:
    jobs = plan_jobs(expand([source]), str(Path(source).with_name("big" + Path(source).name)), scale=2)
    assert [one.status for one in run_jobs(jobs, doubled, Settings(scale=2))] == ["done"]
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
print(json.dumps(peaks))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss counts kilobytes on Linux")
@pytest.mark.parametrize("suffix", [".tif", ".dcm"])
def test_memory_is_that_of_a_page_however_many_there_are(suffix: str, tmp_path: Path) -> None:
    for count in (2, 60):
        path = tmp_path / f"{count:02}{suffix}"
        if suffix == ".tif":
            tifffile.imwrite(path, np.zeros((count, 700, 700), np.uint16), photometric="minisblack")
            continue
        dataset = pydicom.dcmread(DICOM / "MR_small.dcm")
        dataset.NumberOfFrames, dataset.Rows, dataset.Columns = count, 700, 700
        dataset.PixelData = bytes(count * 700 * 700 * 2)
        dataset.save_as(path)
    paths = [str(tmp_path / f"{count:02}{suffix}") for count in (2, 60)]
    result = subprocess.run(
        [sys.executable, "-c", MEASURED, *paths], capture_output=True, text=True, check=True, env=os.environ
    )
    few, many = json.loads(result.stdout)
    # 58 more pages would be 57 MB, and enlarged 227 MB.
    assert many - few < 20_000
