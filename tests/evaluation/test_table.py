"""What a table prints."""

from __future__ import annotations

from xml.etree import ElementTree

from superscale.evaluation.report import to_json
from superscale.evaluation.table import Convention, Row, Table

CONVENTION = Convention(scale=4, color="y", border=4, low_res="bicubic, double")
ROWS = [
    Row("bicubic", "Set5", "psnr", {"a": 20.0, "b": 30.0}),
    Row("bicubic", "Set5", "ssim", {"a": 0.5, "b": 0.7}),
    Row("ours", "Set5", "psnr", {"a": 24.0, "b": 32.0}),
    Row("ours", "Set5", "ssim", {"a": 0.55, "b": 0.7}),
]


def test_the_table_says_means_best_direction_and_convention() -> None:
    header, bicubic, ours, convention = str(Table(ROWS, CONVENTION)).splitlines()
    assert header.split() == ["data", "model", "PSNR", "dB", "↑", "SSIM", "↑"]
    assert bicubic.split() == ["Set5", "bicubic", "25.00", "0.6000"]
    assert ours.split() == ["Set5", "ours", "28.00*", "0.6250*"]
    for part in ("×4", "Y (BT.601", "border 4 px", "bicubic, double", "8-bit", "multiple of 4"):
        assert part in convention


def test_json_has_the_published_shape() -> None:
    content = to_json(Table(ROWS, CONVENTION))
    assert content["version"] == 1
    assert content["convention"]["border"] == 4
    assert content["rows"][0] == {
        "model": "bicubic",
        "data": "Set5",
        "metric": "psnr",
        "mean": 25.0,
        "std": 5.0,
        "images": {"a": 20.0, "b": 30.0},
    }


def test_a_notebook_shows_the_cells_and_the_convention_and_names_are_not_markup() -> None:
    rows = [Row("<b>ours", "Set5", "psnr", {"a": 24.0, "b": 32.0})]
    root = ElementTree.fromstring(f"<div>{Table(rows, CONVENTION)._repr_html_()}</div>")
    assert [cell.text for cell in root.iter("th")] == ["data", "model", "PSNR dB ↑"]
    assert [cell.text for cell in root.iter("td")] == ["Set5", "<b>ours", "28.00"]
    assert "border 4 px" in "".join(root.itertext())
