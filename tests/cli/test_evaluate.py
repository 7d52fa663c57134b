"""`superscale evaluate`: files, limits, ready-made outputs, conventions; by the command line."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image as PillowImage
from skimage.metrics import peak_signal_noise_ratio

from superscale.cli.main import main
from superscale.data.pairs import PairFolder
from superscale.image.io import Image, write_image
from superscale.image.resize import imresize


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["superscale", "evaluate", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        main()
    return int(stop.value.code or 0)


def test_a_report_is_five_files_with_the_numbers_that_were_printed(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "report"
    arguments = ("--model", "bilinear", "--model", "bicubic", "--metric", "psnr,ssim,delta-e,lr-psnr", "--data", photos)
    assert run(monkeypatch, *arguments, "-o", out, "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert sorted(path.name for path in out.iterdir()) == [
        "report.html", "results.csv", "results.json", "results.md", "results.tex",
    ]  # fmt: skip
    written = json.loads((out / "results.json").read_text())
    assert written == printed
    assert {"version", "convention", "rows"} <= printed.keys()
    assert all(set(row) == {"model", "data", "metric", "mean", "std", "images"} for row in printed["rows"])
    means = {(row["model"], row["metric"]): row["mean"] for row in printed["rows"]}
    lines = list(csv.DictReader((out / "results.csv").read_text().splitlines()))
    assert {(line["model"], line["metric"]): float(line["value"]) for line in lines if line["statistic"] == "mean"} == means
    for name in ("results.md", "results.tex", "report.html"):
        assert f"{means['bicubic', 'psnr']:.2f}" in (out / name).read_text()
    assert {cost["model"] for cost in printed["costs"]} == {"bilinear", "bicubic"}
    assert all(cost["seconds"] > 0 for cost in printed["costs"])
    assert "<dd><code>superscale evaluate --model bilinear" in (out / "report.html").read_text()


def test_a_report_is_replaced_only_when_that_is_asked_for(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--data", photos, "--metric", "psnr", "-o", tmp_path)
    (tmp_path / "results.csv").write_text("mine")
    assert run(monkeypatch, *arguments) == 1
    assert "results.csv: exists" in capsys.readouterr().err
    assert (tmp_path / "results.csv").read_text() == "mine"
    assert run(monkeypatch, *arguments, "--overwrite") == 0
    assert (tmp_path / "results.csv").read_text() != "mine"


def test_a_mean_that_is_worse_than_its_limit_is_named_and_exits_1(
    photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--model", "bicubic", "--metric", "psnr,delta-e", "--data", photos)
    assert run(monkeypatch, *arguments, "--fail-below", "psnr=1", "--fail-below", "delta-e=99") == 0
    capsys.readouterr()
    assert run(monkeypatch, *arguments, "--fail-below", "psnr=99", "--fail-below", "delta-e=0.001") == 1
    captured = capsys.readouterr()
    assert "bicubic on photos: psnr" in captured.err
    assert "is below 99" in captured.err
    assert "is above 0.001" in captured.err
    assert "PSNR" in captured.out


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (("--fail-below", "psnr"), "metric=number"),
        (("--fail-below", "snr=3"), "not measured"),
        (("--metric", ","), "names no metric"),
        (("--explain", "--json"), "--explain"),
        (("--metric", "lpips"), "lpips-alex"),
    ],
)
def test_what_cannot_be_right_is_refused_before_measuring(
    arguments: tuple[str, ...], match: str, photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--data", photos, *arguments) == 2
    assert match in capsys.readouterr().err


def test_lpips_without_weights_says_what_to_fetch(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--data", photos, "--metric", "lpips-alex", "--lpips-weights", tmp_path) == 1
    error = capsys.readouterr().err
    assert "alexnet-owt-7be5be79.pth" in error
    assert error.endswith("or name its folder: --lpips-weights DIR\n")
    assert len(error.strip().splitlines()) == 1


def test_outputs_of_another_tool_are_measured_like_a_model_and_a_missing_one_is_named(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for pair in PairFolder(photos, 4):
        write_image(tmp_path / "tool" / f"{pair.name}_x4.png", Image(imresize(pair.low_res, 4)))
    assert run(monkeypatch, "--data", photos, "--model", "bicubic", "--outputs", tmp_path / "tool", "--json") == 0
    table = json.loads(capsys.readouterr().out)
    means = {(row["model"], row["metric"]): row["mean"] for row in table["rows"]}
    assert means["tool", "psnr"] == means["bicubic", "psnr"]
    assert [cost["seconds"] for cost in table["costs"] if cost["model"] == "tool"] == [None]
    (tmp_path / "tool" / "photo-2_x4.png").unlink()
    assert run(monkeypatch, "--data", photos, "--outputs", tmp_path / "tool") == 1
    assert "no output for photo-2" in capsys.readouterr().err


def test_pictures_that_belong_to_none_of_the_high_res_ones_are_named(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder, names in (("tool", ("photo-{}_x4", "other_x4")), ("data/LR_x4", ("photo-{}", "without"))):
        for number, pair in enumerate(PairFolder(photos, 4)):
            for name in names:
                pixels = imresize(pair.low_res, 4) if folder == "tool" else pair.low_res
                write_image(tmp_path / folder / f"{name.format(number)}.png", Image(pixels))
    (tmp_path / "data" / "HR").symlink_to(photos)
    assert run(monkeypatch, "--data", tmp_path / "data", "--outputs", tmp_path / "tool") == 0
    said = capsys.readouterr().err
    assert f"{tmp_path / 'tool'}: not measured, of no high-resolution picture: other_x4.png" in said
    assert f"{tmp_path / 'data'}: not measured, of no high-resolution picture: without.png" in said
    assert "photo-" not in said


def test_explain_prints_every_usual_convention(
    photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--data", photos, "--explain") == 0
    text = capsys.readouterr().out
    for part in ("bicubic on photos", "EDSR on DIV2K", "YCrCb", "not antialiased", "differs"):
        assert part in text


def test_papers_stand_beside_bicubic_on_set5(
    benchmarks: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--data", benchmarks / "Set5" / "HR", "--against-papers") == 0
    text = capsys.readouterr().out
    for part in ("SRGAN", "29.40", "RRDB", "32.73", "EDSR is left out", "28.43"):
        assert part in text


def test_a_foreign_checkpoint_has_the_score_of_the_pictures_it_makes(
    shared: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = shared / "weights" / "realesr-general-x4v3.pth"
    pairs = [pair for pair, _ in zip(PairFolder(photos, 4), range(2), strict=False)]
    for path in sorted(photos.iterdir())[2:]:
        path.unlink()
    for pair in pairs:
        write_image(tmp_path / "low" / f"{pair.name}.png", Image(pair.low_res))
    monkeypatch.setattr(
        sys, "argv", ["superscale", "upscale", str(tmp_path / "low"), "-o", str(tmp_path / "big"), "--model", str(checkpoint)]
    )
    with pytest.raises(SystemExit):
        main()
    capsys.readouterr()
    expected = []
    for pair in pairs:
        made = np.asarray(PillowImage.open(tmp_path / "big" / f"{pair.name}_x4.png"))
        planes = [(pixels @ np.array([65.481, 128.553, 24.966]) / 255 + 16)[4:-4, 4:-4] for pixels in (made, pair.high_res)]
        expected.append(peak_signal_noise_ratio(*planes, data_range=255))
    assert run(monkeypatch, "--data", photos, "--model", checkpoint, "--json") == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert list(rows[0]["images"].values()) == pytest.approx(expected, abs=1e-4)


def test_a_report_of_large_pictures_has_the_baselines_and_the_plane_of_perception_and_distortion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_image(tmp_path / "set" / "cat.png", Image(skimage.data.chelsea()[:104, :200]))
    write_image(tmp_path / "tool" / "cat.png", Image(skimage.data.chelsea()[:104, :200]))
    assert run(monkeypatch, "--data", tmp_path / "set", "--outputs", tmp_path / "tool", "-o", tmp_path / "out", "--json") == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [(row["model"], row["metric"]) for row in rows] == [
        (model, metric) for model in ("bicubic", "bilinear", "tool") for metric in ("psnr", "ssim", "niqe")
    ]
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count("<circle") == 2  # the truth itself is infinitely far to the right
    assert "NIQE ↓" in page


def test_a_model_of_ones_own_photographs_is_fitted_and_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    deep = skimage.data.hubble_deep_field()
    for number, (y, x) in enumerate((y, x) for y in range(0, 864, 96) for x in range(0, 960, 96)):
        write_image(tmp_path / "photos" / f"{number}.png", Image(np.ascontiguousarray(deep[y : y + 96, x : x + 96])))
    model = tmp_path / "deep.json"
    fit = ["superscale", "fit-niqe", str(tmp_path / "photos"), "-o", str(model)]
    monkeypatch.setattr(sys, "argv", [*fit, "--note", "galaxies"])
    with pytest.raises(SystemExit) as stop:
        main()
    assert not stop.value.code, capsys.readouterr().err
    assert json.loads(model.read_text())["source"] == "galaxies"
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:  # what is there is not replaced
        main()
    assert stop.value.code == 2
    assert "exists; use --overwrite" in capsys.readouterr().err
    write_image(tmp_path / "set" / "cat.png", Image(skimage.data.chelsea()[:104, :200]))
    values = []
    for option in ((), ("--niqe-model", model)):
        assert run(monkeypatch, "--data", tmp_path / "set", "--metric", "niqe", "--json", *option) == 0
        values.append(json.loads(capsys.readouterr().out)["rows"][0]["mean"])
    assert abs(values[0] - values[1]) > 0.1
    assert run(monkeypatch, "--data", tmp_path / "set", "--metric", "niqe", "--niqe-model", tmp_path / "set" / "cat.png") == 1
    assert "cat.png: cannot be read" in capsys.readouterr().err
