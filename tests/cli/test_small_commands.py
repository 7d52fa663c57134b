from __future__ import annotations

import json
import re
from collections.abc import Callable
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage
from safetensors.torch import load_file

from superscale.data.synthetic import synthetic_picture
from superscale.image.io import Image, read_image, write_image
from superscale.inference.upscaler import Upscaler
from superscale.networks.catalog import build_generator
from superscale.training.recipe.bundled import bundled_recipes
from superscale.training.recipe.schema import load_recipe
from superscale.weights import store
from superscale.weights.checkpoint import load_model, save_model
from superscale.weights.published import PUBLISHED

Command = Callable[..., int]


def saved(path: Path, seed: int, features: int = 8) -> Path:
    torch.manual_seed(seed)
    options: dict[str, Any] = {"blocks": 1, "features": features, "batch_norm": False}
    generator = build_generator("srresnet", options)
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    save_model(path, generator, {"recipe": f"seed-{seed}"})
    return path


@pytest.fixture
def bundled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of two bundled models, a GAN and its PSNR-oriented partner."""
    folder = tmp_path / "bundled"
    names = ("some-gan-x4", "some-psnr-x4")
    files = [saved(folder / f"{name}.safetensors", seed) for seed, name in enumerate(names)]
    pinned = {name: sha256(path.read_bytes()).hexdigest() for name, path in zip(names, files, strict=True)}
    monkeypatch.setattr(store, "BUNDLED", pinned)
    monkeypatch.setattr(store, "PSNR_PARTNERS", {names[0]: names[1], "not-here-x4": names[1]})
    monkeypatch.setattr(store, "bundled_folder", lambda: folder)
    monkeypatch.setenv("SUPERSCALE_CACHE", str(tmp_path / "cache"))
    return folder


def test_models_list_and_info_know_name_scale_parameters_and_hash(
    bundled: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("models", "list") == 0
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert names == ["name", "some-gan-x4*", "some-psnr-x4", *PUBLISHED]
    assert command("models", "list", "--json") == 0
    listed = json.loads(capsys.readouterr().out)["models"]
    assert command("models", "info", "some-gan-x4") == 0
    assert "recipe: seed-0\n" in capsys.readouterr().out
    assert command("models", "info", "some-gan-x4", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    path = bundled / "some-gan-x4.safetensors"
    assert facts["sha256"] == listed[0]["sha256"] == sha256(path.read_bytes()).hexdigest()
    assert facts["parameters"] == sum(tensor.numel() for tensor in load_file(path).values())
    assert (facts["scale"], facts["recipe"]) == (4, "seed-0")


def test_models_verify_names_the_damaged_one(bundled: Path, command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("models", "verify") == 0
    assert capsys.readouterr().out.count("  ok  ") == 2
    path = bundled / "some-psnr-x4.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    assert command("models", "verify", "some-gan-x4") == 0
    assert command("models", "verify", "--json") == 1
    captured = capsys.readouterr()
    assert "some-psnr-x4" in captured.err
    answer = json.loads(captured.out.splitlines()[-1])
    assert [(model["name"], model["ok"]) for model in answer["models"]] == [("some-gan-x4", True), ("some-psnr-x4", False)]
    assert command("models", "pull", "some-psnr-x4") == 1


def test_models_pull_says_that_bundled_ones_are_there_and_suggests_for_other_names(
    bundled: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("models", "pull", "some-gan-x4") == 0
    assert "bundled" in capsys.readouterr().out
    for subcommand in ("pull", "verify", "info"):
        assert command("models", subcommand, "some-gna-x4") == 2
        assert "did you mean 'some-gan-x4'" in capsys.readouterr().err


def test_a_model_that_was_added_is_found_by_its_name_and_can_be_removed(
    bundled: Path, tmp_path: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = tmp_path / "a.png"
    write_image(photo, Image(synthetic_picture(1, 16)))
    mine = saved(tmp_path / "mine.safetensors", 5)
    assert command("models", "add", mine, "--name", "my-x4") == 0
    mine.unlink()
    assert command("upscale", photo, "--model", "my-x4", "-o", tmp_path / "b.png") == 0
    assert command("models", "add", bundled / "some-gan-x4.safetensors") == 2
    assert "another model" in capsys.readouterr().err
    (tmp_path / "text.pth").write_text("no model")
    assert command("models", "add", tmp_path / "text.pth") == 1
    assert command("models", "verify") == 0
    assert "my-x4  ok" in capsys.readouterr().out
    assert command("models", "rm", "my-x4") == 0
    assert command("upscale", photo, "--model", "my-x4", "-o", tmp_path / "c.png") == 2
    assert command("models", "rm", "some-gan-x4") == 2
    assert not list((tmp_path / "cache" / "models").iterdir())


@pytest.mark.parametrize("name", ["auto", "bicubic", "bilinear", "new\nline"])
def test_a_name_by_which_a_model_would_not_be_found_is_refused(
    name: str, bundled: Path, tmp_path: Path, command: Command
) -> None:
    assert command("models", "add", saved(tmp_path / "mine.safetensors", 5), "--name", name) == 2
    assert not (bundled.parent / "cache" / "models").exists()


def test_a_damaged_sum_of_an_added_model_is_told(
    bundled: Path, tmp_path: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bundled.is_dir()
    assert command("models", "add", saved(tmp_path / "mine.safetensors", 5), "--name", "mine") == 0
    (tmp_path / "cache" / "models" / "mine.safetensors.sha256").write_bytes(b"\xff\xfe")
    assert command("models", "verify") == 1
    assert "damaged" in capsys.readouterr().err


def test_a_damaged_model_hides_no_other_from_the_list(
    bundled: Path, tmp_path: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("models", "add", saved(tmp_path / "mine.safetensors", 5), "--name", "mine") == 0
    (tmp_path / "cache" / "models" / "mine.safetensors").write_bytes(b"no model")
    capsys.readouterr()
    assert command("models", "list") == 1
    said = capsys.readouterr()
    assert "some-gan-x4" in said.out
    assert "superscale models rm mine" in said.err
    assert command("models", "list", "--json") == 1
    entries = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)["models"]}
    assert "damaged" in entries["mine"]["error"]
    assert "sha256" in entries["some-gan-x4"]


def test_a_published_model_that_is_not_here_is_named_with_the_command_that_fetches_it(
    bundled: Path, tmp_path: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    write_image(tmp_path / "a.png", Image(synthetic_picture(1, 16)))
    assert command("upscale", tmp_path / "a.png", "--model", "bsrgan") == 1
    assert "superscale models pull bsrgan" in capsys.readouterr().err
    assert command("models", "pull", "bsrgan", "--offline") == 1
    assert "https://github.com/cszn/KAIR/releases/download/v1.0/BSRGAN.pth" in capsys.readouterr().err


def test_a_copied_recipe_is_the_bundled_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command("recipes", "list") == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == bundled_recipes()
    assert command("recipes", "show", "smoke") == 0
    shown = capsys.readouterr().out
    assert command("recipes", "copy", "smoke") == 0
    assert Path("smoke.toml").read_text() == shown
    assert load_recipe("smoke.toml") == load_recipe("smoke")
    assert command("recipes", "copy", "smoke") == 2
    assert "--overwrite" in capsys.readouterr().err
    assert command("recipes", "copy", "smoek") == 2
    assert "did you mean 'smoke'" in capsys.readouterr().err


def test_blend_interpolates_every_parameter_and_its_card_names_both_parents(
    tmp_path: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = saved(tmp_path / "a.safetensors", 1), saved(tmp_path / "b.safetensors", 2)
    output = tmp_path / "ab.safetensors"
    assert command("blend", first, second, "--alpha", "0.8", "-o", output) == 0
    assert capsys.readouterr().out == f"{output}\n"
    ours, theirs, mixed = (load_file(path) for path in (first, second, output))
    assert mixed.keys() == ours.keys()
    for key, tensor in mixed.items():
        expected = 0.2 * ours[key].double().numpy() + 0.8 * theirs[key].double().numpy()
        np.testing.assert_allclose(tensor.numpy(), expected, atol=1e-6)
    card = load_model(output).card["blend"]
    assert card["alpha"] == 0.8
    assert [parent["card"]["recipe"] for parent in card["parents"]] == ["seed-1", "seed-2"]
    assert [parent["sha256"] for parent in card["parents"]] == [
        sha256(path.read_bytes()).hexdigest() for path in (first, second)
    ]


@pytest.mark.parametrize(
    ("arguments", "code", "match"),
    [
        (("a.safetensors", "wide.safetensors", "-o", "x.safetensors"), 1, "features 8 and 16"),
        (("a.safetensors", "b.safetensors", "-o", "x.safetensors", "--alpha", "1.5"), 2, "between 0"),
        (("a.safetensors", "b.safetensors", "-o", "b.safetensors"), 2, "exists"),
        (("a.safetensors", "b.safetensors", "-o", "b.safetensors", "--overwrite"), 2, "one of the models"),
        (("a.safetensors", "b.safetensors", "-o", "x.png"), 2, ".safetensors"),
        (("a.safetensors", "c.safetensors", "-o", "x.safetensors"), 1, "c.safetensors"),
    ],
)
def test_blend_refuses_what_cannot_be_right(
    arguments: tuple[str, ...],
    code: int,
    match: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: Command,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("a", "b")):
        saved(tmp_path / f"{name}.safetensors", seed)
    saved(tmp_path / "wide.safetensors", 0, features=16)
    before = sha256(Path("b.safetensors").read_bytes()).digest()
    assert command("blend", *arguments) == code
    assert match in capsys.readouterr().err
    assert not Path("x.safetensors").exists()
    assert sha256(Path("b.safetensors").read_bytes()).digest() == before


def test_fidelity_goes_from_the_gan_to_its_psnr_partner(
    bundled: Path, tmp_path: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = tmp_path / "a.png"
    write_image(photo, Image(synthetic_picture(1, 16)))
    for fidelity in (0, 1, 0.3):
        output = tmp_path / f"{fidelity}.png"
        assert command("upscale", photo, "--fidelity", fidelity, "--model", "some-gan-x4", "-o", output) == 0
    gan, psnr = (np.asarray(Upscaler(bundled / f"some-{kind}-x4.safetensors")(photo)) for kind in ("gan", "psnr"))
    assert not np.array_equal(gan, psnr)
    np.testing.assert_array_equal(read_image(tmp_path / "0.png").pixels, gan)
    np.testing.assert_array_equal(read_image(tmp_path / "1.png").pixels, psnr)
    assert command("blend", "some-gan-x4", "some-psnr-x4", "--alpha", "0.3", "-o", tmp_path / "m.safetensors") == 0
    np.testing.assert_array_equal(
        read_image(tmp_path / "0.3.png").pixels, np.asarray(Upscaler(tmp_path / "m.safetensors")(photo))
    )
    capsys.readouterr()
    assert command("upscale", photo, "--fidelity", "0.5", "--model", "some-gam-x4") == 2
    assert "did you mean 'some-gan-x4'" in capsys.readouterr().err


def test_without_any_bundled_model_upscale_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(store, "BUNDLED", {})
    PillowImage.new("RGB", (8, 8)).save(tmp_path / "a.png")
    assert command("upscale", tmp_path / "a.png") == 1
    assert "--model FILE" in capsys.readouterr().err


def test_doctor_tells_versions_and_decoders_but_no_home_and_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home" / "alice"))
    monkeypatch.setenv("SECRET_TOKEN", "hunter2")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("SUPERSCALE_CACHE", raising=False)
    assert command("doctor") == 0
    text = capsys.readouterr().out
    assert command("doctor", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["packages"]["torch"] == version("torch")
    assert facts["cache"] == "~/.cache/superscale"
    assert {facts["decoders"][form] for form in ("PNG", "JPEG", "WEBP", "TIFF")} == {"ok"}
    assert facts["devices"][0].startswith("cpu")
    assert facts["backends"].keys() == {"torch", "onnx", "openvino"}
    for shown in (text, json.dumps(facts)):
        assert not re.search(r"alice|hunter2", shown)


def test_doctor_answers_without_a_home(
    monkeypatch: pytest.MonkeyPatch, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("HOME", "XDG_CACHE_HOME", "SUPERSCALE_CACHE"):
        monkeypatch.delenv(name, raising=False)
    assert command("doctor") == 0
    assert "cache:" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("evaluate", "--data", "photos", "-m", "bicubic", "--workers", "2"), "--workers"),
        (("evaluate", "--data", "photos", "-m", "bicubic", "--share", "0.5"), "--share"),
        (("prepare", "photos", "-o", "pack", "--workers", "2"), "--workers"),
    ],
)
def test_an_option_for_a_cluster_is_refused_on_one_machine(
    arguments: tuple[str, ...],
    named: str,
    command: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "photos").mkdir()
    write_image(tmp_path / "photos" / "a.png", Image(synthetic_picture(0, 96)))
    monkeypatch.chdir(tmp_path)
    assert command(*arguments) == 2
    assert f"{named}: for the workers of --on ray only; leave out" in " ".join(capsys.readouterr().err.split())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos"]
