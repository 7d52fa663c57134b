"""Where no model is named, each image gets the one that suits it."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture

from superscale import Upscaler
from superscale.examples import photo
from superscale.image.io import Image, read_image, write_image
from superscale.weights.store import CPU_DEFAULT, DAMAGED_DEFAULT, find_stored

Command = Callable[..., int]
CLEAN, DAMAGED = CPU_DEFAULT, DAMAGED_DEFAULT
how = {"device": "cpu", "backend": "onnx"}


def piece() -> Image:
    return Image(read_image(photo("cat.jpg")).pixels[60:124, 90:154])


def compressed(image: Image) -> bytes:
    stream = io.BytesIO()
    Picture.fromarray(image.pixels).save(stream, "JPEG", quality=40)
    return stream.getvalue()


@pytest.fixture
def mixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of a clean and a compressed picture."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    write_image(tmp_path / "in" / "clean.png", piece())
    (tmp_path / "in" / "web.jpg").write_bytes(compressed(piece()))
    return tmp_path


def test_each_image_gets_its_model_and_the_same_pixels_as_when_it_is_named() -> None:
    damaged = read_image(compressed(piece()))
    upscaler = Upscaler(**how)
    for image, model in ((piece(), CLEAN), (damaged, DAMAGED)):
        chosen = upscaler.enlarge(image)
        assert chosen.network == model
        assert np.array_equal(chosen.pixels, Upscaler(model, **how).enlarge(image).pixels)
    assert np.array_equal(Upscaler("auto", **how)(damaged.pixels), upscaler(damaged.pixels))
    assert upscaler.computed_by() == ["onnx fp32"]


def test_a_scale_holds_for_either_model() -> None:
    for image in (piece(), read_image(compressed(piece()))):
        upscaler = Upscaler(scale=2.5, **how)
        assert upscaler.enlarge(image).width == 160
        assert upscaler.at_scale(3).enlarge(image).width == 192


def test_a_model_that_is_named_and_fidelity_are_obeyed() -> None:
    damaged = read_image(compressed(piece()))
    assert Upscaler("compact-x4", **how).enlarge(damaged).network == "compact-x4"
    assert Upscaler(fidelity=0.5, **how).enlarge(damaged).network.startswith(CLEAN)


def test_the_command_says_which_it_was(mixed: Path, command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    line = ("upscale", "in", "-o", "out", "--device", "cpu", "--backend", "onnx")
    assert command(*line) == 0
    said = capsys.readouterr().err
    assert "clean_x4.png (64x64 to 256x256, " in said
    assert [text.rpartition(", ")[2] for text in said.splitlines() if "64x64" in text] == [f"{CLEAN})", f"{DAMAGED})"]
    assert command(*line, "--overwrite", "--json") == 0
    assert [one["model"] for one in json.loads(capsys.readouterr().out)["results"]] == [CLEAN, DAMAGED]
    assert command(*line, "--overwrite", "--json", "--model", "compact-x4") == 0
    assert [one["model"] for one in json.loads(capsys.readouterr().out)["results"]] == ["compact-x4"] * 2


def test_an_output_does_not_carry_the_name_of_another_model(mixed: Path, command: Command) -> None:
    assert command("upscale", "in/web.jpg", "-o", "{stem}-{model}.png", "--device", "cpu", "--backend", "onnx") == 0
    assert (mixed / "web-auto.png").exists()
    assert command("upscale", "in/web.jpg", "-o", "{stem}-{model}.png", "-m", "compact-x4", "--device", "cpu") == 0
    assert (mixed / "web-compact-x4.png").exists()


def test_all_pages_of_a_stack_get_the_model_of_the_first(
    mixed: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    pages = [Picture.fromarray(read_image(compressed(piece())).pixels), Picture.fromarray(piece().pixels)]
    for name, order in (("a.png", pages), ("b.png", pages[::-1])):
        order[0].save(mixed / "in" / name, save_all=True, append_images=order[1:], duration=100)
    assert command("upscale", "in/a.png", "in/b.png", "-o", "out", "--json", "--device", "cpu", "--backend", "onnx") == 0
    results = json.loads(capsys.readouterr().out)["results"]
    assert [(one["pages"], one["model"]) for one in results] == [(2, DAMAGED), (2, CLEAN)]
    with Picture.open("out/a_x4.png") as animation:
        animation.seek(1)
        second = np.asarray(animation.convert("RGB"))
    assert np.array_equal(second, Upscaler(DAMAGED, **how).enlarge(piece()).pixels)


def test_a_name_that_was_replaced_is_still_known() -> None:
    assert find_stored("compact-real-x4").name == DAMAGED
