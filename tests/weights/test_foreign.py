"""Published files load and compute what their own networks compute."""

import hashlib
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from foreign_networks import (
    BASICSR,
    NEW,
    Named,
    Original,
    assert_same,
    picture,
    seeded,
)
from superscale import Upscaler
from superscale.errors import ModelError
from superscale.networks.catalog import build_generator
from superscale.weights.checkpoint import save_model
from superscale.weights.foreign import load_foreign, read_pickled
from superscale.weights.store import find_model

WEIGHTS = Path(__file__).parents[2] / ".." / "shared" / "weights"
GENERAL_X4, X4PLUS = WEIGHTS / "realesr-general-x4v3.pth", WEIGHTS / "realesrgan-x4plus.safetensors"


@pytest.mark.parametrize(("ups", "scale"), [(0, 1), (1, 2), (2, 4), (3, 8), (4, 16)])
def test_the_original_layout_computes_the_same_at_every_scale(tmp_path: Path, ups: int, scale: int) -> None:
    network = seeded(Original, ups)
    torch.save(network.state_dict(), tmp_path / "old.pth")
    assert_same(tmp_path / "old.pth", network)
    assert find_model(tmp_path / "old.pth").generator.contract.scale == scale


@pytest.mark.parametrize(("unshuffle", "scale"), [(2, 2), (4, 1)])
@pytest.mark.parametrize("layout", [None, NEW, BASICSR])
def test_an_unshuffled_input_is_read_off_the_first_convolution(
    tmp_path: Path, layout: tuple[str, str, str, str, str] | None, unshuffle: int, scale: int
) -> None:
    inputs = 3 * unshuffle**2
    network = seeded(Named, layout, 2, inputs) if layout else seeded(Original, 2, inputs)
    torch.save(network.state_dict(), tmp_path / "x.pth")
    assert_same(tmp_path / "x.pth", network, unshuffle)
    contract = find_model(tmp_path / "x.pth").generator.contract
    assert (contract.scale, contract.multiple_of) == (scale, unshuffle)


@pytest.mark.parametrize("ups", [1, 2])
@pytest.mark.parametrize("layout", [NEW, BASICSR])
def test_the_named_layouts_compute_the_same(tmp_path: Path, layout: tuple[str, str, str, str, str], ups: int) -> None:
    # BSRGAN's ×2 file is of the new layout and has upconv1 alone.
    network = seeded(Named, layout, ups)
    torch.save(network.state_dict(), tmp_path / "new.pth")
    assert_same(tmp_path / "new.pth", network)


@pytest.mark.parametrize(("features", "growth", "blocks"), [(8, 4, 1), (12, 6, 3), (16, 2, 11)])
def test_features_growth_and_blocks_are_read_off_the_shapes(tmp_path: Path, features: int, growth: int, blocks: int) -> None:
    network = seeded(Original, 2, 3, features, growth, blocks)
    torch.save(network.state_dict(), tmp_path / "old.pth")
    assert_same(tmp_path / "old.pth", network)


@pytest.mark.parametrize("ups", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("layout", [None, NEW, BASICSR])
def test_esrgan_plus_computes_the_same_in_every_layout(
    tmp_path: Path, layout: tuple[str, str, str, str, str] | None, ups: int
) -> None:
    network = seeded(Named, layout, ups, 3, 3, (8, 4, 2), True) if layout else seeded(Original, ups, 3, 8, 4, 2, 3, True)
    torch.save(network.state_dict(), tmp_path / "plus.pth")
    assert_same(tmp_path / "plus.pth", network)
    # The noise that its authors add is for training; a file of theirs loads beside its optimizer alike.
    assert find_model(tmp_path / "plus.pth").generator.contract.scale == 2**ups


@pytest.mark.parametrize("channels", [1, 2, 4])
@pytest.mark.parametrize("unshuffle", [1, 2, 4])
@pytest.mark.parametrize("layout", [None, NEW, BASICSR])
def test_networks_of_other_channels_compute_the_same(
    tmp_path: Path, layout: tuple[str, str, str, str, str] | None, unshuffle: int, channels: int
) -> None:
    inputs = channels * unshuffle**2
    network = seeded(Named, layout, 2, inputs, channels) if layout else seeded(Original, 2, inputs, 8, 4, 1, channels)
    torch.save(network.state_dict(), tmp_path / "x.pth")
    assert_same(tmp_path / "x.pth", network, unshuffle, channels=channels)
    contract = find_model(tmp_path / "x.pth").generator.contract
    assert (contract.scale, contract.channels) == (4 // unshuffle, channels)


@pytest.mark.parametrize("layout", [NEW, BASICSR])
@pytest.mark.parametrize("size", [(32, 12, 1), (24, 32, 6)])
def test_the_named_layouts_have_any_size(
    tmp_path: Path, layout: tuple[str, str, str, str, str], size: tuple[int, int, int]
) -> None:
    network = seeded(Named, layout, 2, 3, 3, size)
    torch.save(network.state_dict(), tmp_path / "x.pth")
    assert_same(tmp_path / "x.pth", network)


@pytest.mark.parametrize(
    "wrapper",
    ["params_ema", "params-ema", "params", "model_state_dict", "state_dict", "net", "netG", "generator", "model", "anything"],
)
@pytest.mark.parametrize("prefix", ["", "module.", "netG.", "generator.", "module.netG.", "netG.module."])
def test_a_state_dict_is_found_under_every_usual_name(tmp_path: Path, wrapper: str, prefix: str) -> None:
    network = seeded(Named, BASICSR)
    state = {prefix + key: tensor for key, tensor in network.state_dict().items()}
    torch.save({wrapper: state}, tmp_path / "wrapped.pth")
    assert_same(tmp_path / "wrapped.pth", network)


def test_networks_beside_the_generator_are_left_out(tmp_path: Path) -> None:
    network = seeded(Named, BASICSR)
    state = {f"netG.{key}": tensor for key, tensor in network.state_dict().items()}
    state["netD.bn.num_batches_tracked"] = torch.tensor(3)
    torch.save({"state_dict": state, "epoch": 3, "optimizer": {"state": {}}}, tmp_path / "last.pth")
    assert_same(tmp_path / "last.pth", network)
    torch.save({"checkpoint": {"model": {"params_ema": network.state_dict()}}}, tmp_path / "deep.pth")
    assert_same(tmp_path / "deep.pth", network)


def test_averaged_weights_are_preferred(tmp_path: Path) -> None:
    plain, averaged = seeded(Named, BASICSR), Named(BASICSR).eval()
    torch.save({"params": plain.state_dict(), "params_ema": averaged.state_dict()}, tmp_path / "both.pth")
    assert_same(tmp_path / "both.pth", averaged)


@pytest.mark.parametrize("name", ["net.pth", "net.safetensors", "net.bin"])
@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_the_content_decides_not_the_suffix(tmp_path: Path, name: str, kind: str) -> None:
    network = seeded(Original, 2)
    if kind == "safetensors":
        save_file(network.state_dict(), tmp_path / name)
    else:
        torch.save({"params": network.state_dict()}, tmp_path / name, _use_new_zipfile_serialization=kind == "zip")
    assert_same(tmp_path / name, network)


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_become_fp32(tmp_path: Path, dtype: torch.dtype, kind: str) -> None:
    network = seeded(Original, 2).to(dtype)
    if kind == "safetensors":
        save_file(network.state_dict(), tmp_path / "x")
    else:
        torch.save(network.state_dict(), tmp_path / "x", _use_new_zipfile_serialization=kind == "zip")
    assert_same(tmp_path / "x", network.float())


def test_parameters_load_like_tensors(tmp_path: Path) -> None:
    network = seeded(Original, 2)
    torch.save(OrderedDict(network.named_parameters()), tmp_path / "x.pth")
    assert_same(tmp_path / "x.pth", network)
    assert all(tensor.is_leaf for tensor in find_model(tmp_path / "x.pth").generator.parameters())


def test_the_card_says_where_the_weights_come_from(tmp_path: Path) -> None:
    path = tmp_path / "4x_Something.pth"
    torch.save(seeded(Original, 2).state_dict(), path)
    model = find_model(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert model.card == {"source": path.name, "layout": "RRDBNet (original ESRGAN layout)", "sha256": digest}
    assert model.name == "4x_Something"
    assert not model.generator.training


def test_our_own_file_keeps_its_card_under_any_name(tmp_path: Path) -> None:
    generator = build_generator("compact", {"features": 8, "convolutions": 1})
    save_model(tmp_path / "renamed.pth", generator, {"recipe": "ours"})
    assert find_model(tmp_path / "renamed.pth").card == {"recipe": "ours"}


def test_a_loaded_network_saves_and_loads_as_ours(tmp_path: Path) -> None:
    network = seeded(Original, 1)
    torch.save(network.state_dict(), tmp_path / "old.pth")
    save_model(tmp_path / "ours.safetensors", find_model(tmp_path / "old.pth").generator, {})
    assert_same(tmp_path / "ours.safetensors", network)


def test_loading_draws_no_random_numbers(tmp_path: Path) -> None:
    torch.save(seeded(Original, 2).state_dict(), tmp_path / "old.pth")
    before = torch.get_rng_state()
    find_model(tmp_path / "old.pth")
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.slow
def test_loading_imports_no_symbolic_algebra(tmp_path: Path) -> None:
    # torch's meta device pulls in sympy for some operations: seconds before the first picture.
    torch.save(seeded(Original, 2).state_dict(), tmp_path / "old.pth")
    save_model(tmp_path / "compact", build_generator("compact", {"features": 4, "convolutions": 1}), {})
    program = (
        "import sys; from superscale.weights.store import find_model; "
        "before = set(sys.modules); "
        f"[find_model(name) for name in ({str(tmp_path / 'old.pth')!r}, {str(tmp_path / 'compact')!r}, 'srresnet-x4')]; "
        "print('sympy' in set(sys.modules) - before)"
    )
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert finished.stdout == "False\n"


def compact_forward(state: dict[str, Tensor], low_res: Tensor, scale: int, slope_of_all: float = 0.0) -> Tensor:
    """SRVGGNetCompact from its keys alone: convolution, activation, ..., convolution, depth to space, plus the nearest neighbour."""
    x = low_res
    last = max(int(key.split(".")[1]) for key in state)
    for number in range(0, last + 1, 2):
        x = F.conv2d(x, state[f"body.{number}.weight"], state[f"body.{number}.bias"], padding=1)
        if number < last:
            slopes = state.get(f"body.{number + 1}.weight")
            slope = torch.tensor(slope_of_all) if slopes is None else slopes.view(1, -1, 1, 1)
            x = torch.where(x > 0, x, slope * x)
    batch, _, height, width = x.shape
    channels = low_res.shape[1]
    shuffled = x.reshape(batch, channels, scale, scale, height, width).permute(0, 1, 4, 2, 5, 3)
    nearest = low_res.repeat_interleave(scale, 2).repeat_interleave(scale, 3)
    return shuffled.reshape(batch, channels, height * scale, width * scale) + nearest


def compact_state(features: int, convolutions: int, scale: int, channels: int = 3, slopes: bool = True) -> dict[str, Tensor]:
    torch.manual_seed(5)
    state: dict[str, Tensor] = {}
    for number in range(convolutions + 2):
        inputs = channels if number == 0 else features
        outputs = channels * scale**2 if number == convolutions + 1 else features
        state[f"body.{2 * number}.weight"] = torch.randn(outputs, inputs, 3, 3) * 0.2
        state[f"body.{2 * number}.bias"] = torch.randn(outputs) * 0.1
        if slopes and number <= convolutions:
            state[f"body.{2 * number + 1}.weight"] = torch.rand(features)
    return state


@pytest.mark.parametrize(
    ("features", "convolutions", "scale", "channels"),
    [(8, 1, 4, 3), (6, 3, 2, 3), (4, 2, 1, 3), (8, 2, 3, 3), (8, 0, 4, 3), (5, 33, 2, 3), (8, 1, 8, 1), (8, 2, 4, 4)],
)
def test_compact_reads_features_depth_channels_and_scale_off_the_shapes(
    tmp_path: Path, features: int, convolutions: int, scale: int, channels: int
) -> None:
    state = compact_state(features, convolutions, scale, channels)
    torch.save({"params": state}, tmp_path / "compact.pth")
    model = find_model(tmp_path / "compact.pth")
    given = picture(channels=channels)
    with torch.no_grad():
        torch.testing.assert_close(model.generator(given), compact_forward(state, given, scale), rtol=1e-4, atol=1e-4)
    assert (model.generator.contract.scale, model.generator.contract.channels) == (scale, channels)


@pytest.mark.parametrize(("activation", "slope"), [("relu", 0.0), ("leakyrelu", 0.1)])
def test_compact_without_slopes_is_told_its_activation(tmp_path: Path, activation: str, slope: float) -> None:
    state = compact_state(8, 3, 2, slopes=False)
    torch.save({"params": state}, tmp_path / "compact.pth")
    model = load_foreign(tmp_path / "compact.pth", activation)
    with torch.no_grad():
        expected = compact_forward(state, picture(), 2, slope)
        torch.testing.assert_close(model.generator(picture()), expected, rtol=1e-4, atol=1e-4)
        save_model(tmp_path / "ours.safetensors", model.generator, model.card)
        torch.testing.assert_close(
            find_model(tmp_path / "ours.safetensors").generator(picture()), expected, rtol=1e-4, atol=1e-4
        )
    with pytest.raises(ModelError, match="prelu, relu, leakyrelu, got 'gelu'"):
        load_foreign(tmp_path / "compact.pth", "gelu")


@pytest.mark.parametrize(("activation", "slope"), [("relu", 0.0), ("leakyrelu", 0.1)])
def test_compact_without_slopes_shows_its_activation_when_it_gives_back_a_picture(
    tmp_path: Path, activation: str, slope: float
) -> None:
    state = {key: torch.zeros_like(tensor) for key, tensor in compact_state(12, 0, 2, slopes=False).items()}
    for channel in range(3):
        # Both sides of x - 1/2; what they differ by is x - 1/2 again, over 1 + slope, which the last convolution takes away. The
        # other activation leaves a part of it.
        state["body.0.weight"][channel, channel, 1, 1], state["body.0.weight"][channel + 3, channel, 1, 1] = 1, -1
        state["body.0.bias"][channel], state["body.0.bias"][channel + 3] = -0.5, 0.5
        state["body.0.weight"][channel + 6, channel, 1, 1], state["body.0.bias"][channel + 6] = 1, 1
        for phase in range(4):
            output = 4 * channel + phase
            state["body.2.weight"][output, channel, 1, 1] = 8 / (1 + slope)
            state["body.2.weight"][output, channel + 3, 1, 1] = -8 / (1 + slope)
            state["body.2.weight"][output, channel + 6, 1, 1] = -8
            state["body.2.bias"][output] = 12
    torch.save(state, tmp_path / "compact.pth")
    generator = find_model(tmp_path / "compact.pth").generator
    with torch.no_grad():
        torch.testing.assert_close(generator(picture()), compact_forward(state, picture(), 2, slope), rtol=1e-4, atol=1e-4)


def test_compact_whose_activation_cannot_be_told_is_refused(tmp_path: Path) -> None:
    torch.save(compact_state(8, 3, 2, slopes=False), tmp_path / "compact.pth")
    with pytest.raises(ModelError, match="whether its activation is relu or leakyrelu; load it in Python"):
        find_model(tmp_path / "compact.pth")


@pytest.mark.skipif(not X4PLUS.is_file(), reason="the published realesrgan-x4plus.safetensors is not beside the repository")
def test_the_published_x4plus_computes_what_its_structure_says() -> None:
    network = Named(BASICSR, 2, 3, 3, (64, 32, 23)).eval()
    network.load_state_dict({key: tensor.float() for key, tensor in load_file(X4PLUS).items()})
    assert_same(X4PLUS, network)


@pytest.mark.skipif(not GENERAL_X4.is_file(), reason="the published realesr-general-x4v3.pth is not beside the repository")
def test_the_published_general_model_loads_and_enlarges_a_picture() -> None:
    upscaler = Upscaler(GENERAL_X4, device="cpu", tile=0)
    state = torch.load(GENERAL_X4, weights_only=True)["params"]
    with torch.no_grad():
        expected = compact_forward(state, picture(), 4)
        torch.testing.assert_close(load_foreign(GENERAL_X4).generator(picture()), expected, rtol=1e-5, atol=1e-5)
    # A ramp stays a ramp: the published weights restore, they do not invent.
    ramp = np.tile(np.linspace(40, 200, 24).astype(np.uint8)[None, :, None], (24, 1, 3))
    enlarged = upscaler(ramp)
    assert enlarged.shape == (96, 96, 3)
    assert (
        np.abs(
            enlarged[48, 16:80, 0].astype(float) - np.interp(np.arange(16, 80), np.arange(24) * 4 + 1.5, ramp[0, :, 0])
        ).max()
        < 12
    )


def test_an_upscaler_takes_a_foreign_file_with_an_odd_picture(tmp_path: Path) -> None:
    network = seeded(Named, BASICSR, 2, 12)
    torch.save({"params_ema": network.state_dict()}, tmp_path / "x2plus.pth")
    odd = np.random.default_rng(0).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    assert Upscaler(tmp_path / "x2plus.pth", device="cpu")(odd).shape == (14, 18, 3)


@pytest.mark.parametrize("zipped", [True, False])
def test_read_pickled_returns_the_tensors_and_what_holds_them(tmp_path: Path, zipped: bool) -> None:
    saved = {"params": {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([1, 2])}, "epoch": 3}
    torch.save(saved, tmp_path / "x.pth", _use_new_zipfile_serialization=zipped)
    loaded = read_pickled(tmp_path / "x.pth")
    assert loaded["epoch"] == 3
    assert torch.equal(loaded["params"]["a"], saved["params"]["a"])  # type: ignore[index]
