"""MS-SSIM, LPIPS, ΔE2000, LR-PSNR and the grid meter against definitions written out here and published values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from skimage.color import deltaE_ciede2000, rgb2lab
from skimage.metrics import structural_similarity
from torch import Tensor
from torch.nn import functional as F

from superscale.errors import ModelError, UnknownNameError, UsageError
from superscale.image.resize import imresize
from superscale.metrics.color_shift import ciede2000, delta_e
from superscale.metrics.dists import Dists, dists
from superscale.metrics.grid import grid, grid_lines
from superscale.metrics.low_res_psnr import lr_psnr
from superscale.metrics.lpips import BACKBONES, Lpips, lpips
from superscale.metrics.ssim import ms_ssim, ssim
from superscale.weights import metric_networks as judges
from superscale.weights.metric_networks import load_judge
from superscale.weights.store import sha256_of


def photo_like(noise: np.random.Generator, side: int = 256) -> np.ndarray:
    """Smooth fields at several sizes: a spectrum that falls as a photograph's does."""
    fields = [gaussian_filter(noise.normal(0, 1, (side, side)), size) * size * 18 for size in (0.7, 1.5, 3, 6, 12)]
    return (128 + sum(fields)).clip(0, 255).round()


def plane(picture: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(picture))[None, None]


def test_ssim_is_scikit_images_to_six_digits_in_black_white_and_over_many_strips(noise: np.random.Generator) -> None:
    first = photo_like(noise, 200)
    first[:80], first[:, 150:] = 0, 255
    second = (first + noise.normal(0, 5, first.shape)).clip(0, 255).round()
    expected = structural_similarity(
        first, second, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    assert ssim(plane(first), plane(second), data_range=255, border=0, color="y").item() == pytest.approx(expected, abs=1e-6)


def test_ms_ssim_is_wangs_equation(noise: np.random.Generator) -> None:
    first = photo_like(noise, 203)
    second = gaussian_filter(first, 1) + noise.normal(0, 6, first.shape)
    got = ms_ssim(plane(first), plane(second), data_range=255, border=0, color="y").item()
    expected = 1.0
    for number, weight in enumerate((0.0448, 0.2856, 0.3001, 0.2363, 0.1333)):
        whole, structure = wang(first, second)
        expected *= (whole if number == 4 else structure) ** weight
        first, second = halved(first), halved(second)
    assert got == pytest.approx(expected, abs=1e-6)
    flat = torch.ones(1, 1, 161, 161)
    assert ms_ssim(flat, flat, data_range=255, border=0, color="y").item() == pytest.approx(1)
    with pytest.raises(UsageError, match="161x161"):
        ms_ssim(torch.ones(1, 1, 160, 200), torch.ones(1, 1, 160, 200), data_range=1, border=0, color="y")


def wang(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    def mean(values: np.ndarray) -> np.ndarray:
        return gaussian_filter(values, 1.5, truncate=5 / 1.5)[5:-5, 5:-5]

    mean1, mean2 = mean(first), mean(second)
    variances = mean(first**2) - mean1**2 + mean(second**2) - mean2**2
    structure = (2 * (mean(first * second) - mean1 * mean2) + 7.65**2) / (variances + 7.65**2)
    luminance = (2 * mean1 * mean2 + 2.55**2) / (mean1**2 + mean2**2 + 2.55**2)
    return float((luminance * structure).mean()), float(structure.mean())


def halved(picture: np.ndarray) -> np.ndarray:
    even = np.pad(picture, [(0, side % 2) for side in picture.shape], mode="edge")
    return (even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]) / 4


# Sharma, Wu, Dalal 2005, table 1: pairs at the formula's corners (hue near 0 and 360, grey, opposite hues), and far ones.
SHARMA = [
    ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
    ((50, 3.1571, -77.2803), (50, 0, -82.7485), 2.8615),
    ((50, -1.3802, -84.2814), (50, 0, -82.7485), 1.0000),
    ((50, 0, 0), (50, -1, 2), 2.3669),
    ((50, 2.4900, -0.0010), (50, -2.4900, 0.0009), 7.1792),
    ((50, 2.4900, -0.0010), (50, -2.4900, 0.0011), 7.2195),
    ((50, -0.0010, 2.4900), (50, 0.0011, -2.4900), 4.7461),
    ((50, 2.5, 0), (50, 0, -2.5), 4.3065),
    ((50, 2.5, 0), (73, 25, -18), 27.1492),
    ((50, 2.5, 0), (61, -5, 29), 22.8977),
    ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
    ((22.7233, 20.0904, -46.6940), (23.0331, 14.9730, -42.5619), 2.0373),
    ((2.0776, 0.0795, -1.1350), (0.9033, -0.0636, -0.5514), 0.9082),
]


@pytest.mark.parametrize(("first", "second", "expected"), SHARMA)
def test_ciede2000_has_sharmas_published_values(first: tuple[float, ...], second: tuple[float, ...], expected: float) -> None:
    one, other = (torch.tensor([values], dtype=torch.float64) for values in (first, second))
    assert ciede2000(one, other).item() == pytest.approx(expected, abs=5e-5)
    assert ciede2000(other, one).item() == pytest.approx(expected, abs=5e-5)


def test_color_shift_of_pictures_is_scikit_images(noise: np.random.Generator) -> None:
    first, second = noise.random((2, 20, 24, 3))
    batches = [torch.from_numpy(picture).movedim(-1, 0)[None] for picture in (first, second)]
    expected = deltaE_ciede2000(rgb2lab(first), rgb2lab(second))[4:-4, 4:-4].mean()
    assert delta_e(*batches, data_range=1, border=4).item() == pytest.approx(expected, abs=2e-3)
    assert delta_e(batches[0], batches[0], data_range=1, border=4).item() == pytest.approx(0, abs=1e-6)


def test_lr_psnr_knows_whether_the_output_gives_back_the_input(noise: np.random.Generator) -> None:
    truth = photo_like(noise)
    low_res = imresize(truth.astype(np.uint8), 1 / 4).astype(np.float64)
    options = {"scale": 4, "data_range": 255, "border": 1, "color": "y"}
    honest = lr_psnr(plane(truth), plane(low_res), **options).item()  # type: ignore[arg-type]
    # Rounding to 8 bits is all that differs: noise of variance 1/12.
    assert honest == pytest.approx(10 * np.log10(255**2 * 12), abs=0.15)
    assert lr_psnr(plane(truth + 8), plane(low_res), **options).item() == pytest.approx(20 * np.log10(255 / 8), abs=0.1)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="×4"):
        lr_psnr(plane(truth[4:]), plane(low_res), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(("period", "place"), [(4, 0), (2, 1)])
def test_the_grid_meter_sees_a_faint_grid_and_its_direction(period: int, place: int, noise: np.random.Generator) -> None:
    photo = photo_like(noise)
    options = {"data_range": 255, "border": 4, "color": "y"}
    clean = grid(plane(photo), **options).item()  # type: ignore[arg-type]
    assert 0.7 < clean < 1.3
    stripes = photo + 3 * np.cos(2 * np.pi * np.arange(256) / period)
    lines = grid_lines(plane(stripes), **options)[0]  # type: ignore[arg-type]
    assert lines[0, place] > 2 * clean
    assert lines[1].max() < 1.3
    both = photo + 3.0 * (np.indices(photo.shape) % 4 == 0).all(axis=0)
    assert grid(plane(both.round()), **options).item() > 1.5  # type: ignore[arg-type]


def test_photographs_have_no_grid(benchmarks: Path) -> None:
    from superscale.data.pairs import PairFolder
    from superscale.image.pixels import to_float

    values = [
        grid(torch.from_numpy(to_float(pair.high_res))[None], data_range=1, border=4, color="y").item()
        for pair in PairFolder(benchmarks / "Set14" / "HR", 4)
    ]
    assert np.median(values) == pytest.approx(1.05, abs=0.15)


def synthetic(name: str) -> Lpips:
    torch.manual_seed(0)
    network = Lpips(name)
    for key, tensor in network.state_dict().items():
        fan_in = tensor[0].numel()
        tensor.copy_(torch.rand(tensor.shape) if key.startswith("lin") else torch.randn(tensor.shape) / max(fan_in, 1) ** 0.5)
    return network


def published_features(name: str, state: dict[str, Tensor], planes: Tensor) -> list[Tensor]:
    """The backbones' published layers, written out: (padding, stride) of convolutions, max-pooling where the papers have it."""

    def conv(number: str, planes: Tensor, stride: int = 1, padding: int = 0) -> Tensor:
        return F.conv2d(planes, state[f"features.{number}.weight"], state[f"features.{number}.bias"], stride, padding).relu()

    seen = []
    if name == "alex":
        planes = conv("0", planes, 4, 2)
        seen.append(planes)
        planes = conv("3", F.max_pool2d(planes, 3, 2), padding=2)
        seen.append(planes)
        planes = F.max_pool2d(planes, 3, 2)
        for number in ("6", "8", "10"):
            planes = conv(number, planes, padding=1)
            seen.append(planes)
    elif name == "vgg":
        for stage in ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28)):
            planes = F.max_pool2d(planes, 2) if seen else planes
            for number in stage:
                planes = conv(str(number), planes, padding=1)
            seen.append(planes)
    else:
        planes = conv("0", planes, 2)
        seen.append(planes)
        for stage in ((3, 4), (6, 7), (9,), (10,), (11,), (12,)):
            planes = F.max_pool2d(planes, 3, 2, ceil_mode=True) if stage[0] in (3, 6, 9) else planes
            for number in stage:
                low = conv(f"{number}.squeeze", planes)
                planes = torch.cat((conv(f"{number}.expand1x1", low), conv(f"{number}.expand3x3", low, padding=1)), 1)
            seen.append(planes)
    return seen


def test_dists_is_dings_equations_on_torchvisions_keys() -> None:
    torch.manual_seed(0)
    network = Dists()
    state = network.state_dict()
    for tensor in state.values():
        tensor.copy_(torch.rand(tensor.shape) if len(tensor) == 1 else torch.randn(tensor.shape) / tensor[0].numel() ** 0.5)
    first, second = torch.rand(2, 3, 50, 47), torch.rand(2, 3, 50, 47)
    window = torch.from_numpy(np.outer(np.hanning(5)[1:-1], np.hanning(5)[1:-1])).float()
    window /= window.sum()

    def features(planes: Tensor) -> list[Tensor]:
        seen = [planes]
        mean, deviation = (torch.tensor(values).view(1, 3, 1, 1) for values in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
        planes = (planes - mean) / deviation
        for stage in ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28)):
            if len(seen) > 1:
                width = planes.shape[1]
                pooled = F.conv2d(planes**2, window.repeat(width, 1, 1, 1), stride=2, padding=1, groups=width)
                planes = (pooled + 1e-12).sqrt()
            for number in stage:
                planes = F.conv2d(
                    planes, state[f"features.{number}.weight"], state[f"features.{number}.bias"], padding=1
                ).relu()
            seen.append(planes)
        return seen

    expected, channel, total = torch.ones(2), 0, state["alpha"].sum() + state["beta"].sum()
    for one, other in zip(features(first), features(second), strict=True):
        for number in range(one.shape[1]):
            x, y = one[:, number].flatten(1), other[:, number].flatten(1)
            mx, my = x.mean(1), y.mean(1)
            texture = (2 * mx * my + 1e-6) / (mx**2 + my**2 + 1e-6)
            shared = ((x - mx[:, None]) * (y - my[:, None])).mean(1)
            structure = (2 * shared + 1e-6) / (x.var(1, correction=0) + y.var(1, correction=0) + 1e-6)
            expected -= (state["alpha"][0, channel, 0, 0] * texture + state["beta"][0, channel, 0, 0] * structure) / total
            channel += 1
    assert channel == 1475
    got = dists(first * 255, second * 255, network, data_range=255, border=0)
    assert got.tolist() == pytest.approx(expected.tolist(), abs=1e-5)
    assert dists(first, first, network, data_range=1, border=0).abs().max() < 1e-6
    with pytest.raises(UsageError, match="DISTS needs 32x32"):
        dists(first, second, network, data_range=1, border=8)


@pytest.mark.parametrize("name", BACKBONES)
def test_lpips_is_zhangs_equation_on_torchvisions_keys(name: str) -> None:
    network = synthetic(name)
    state = network.state_dict()
    first, second = torch.rand(2, 3, 72, 80), torch.rand(2, 3, 72, 80)
    mean, deviation = (torch.tensor(values).view(1, 3, 1, 1) for values in ([-0.030, -0.088, -0.188], [0.458, 0.448, 0.450]))
    seen = [published_features(name, state, (2 * planes - 1 - mean) / deviation) for planes in (first, second)]
    expected = torch.zeros(2)
    for layer, (one, other) in enumerate(zip(*seen, strict=True)):
        unit1, unit2 = (f / (torch.sqrt(torch.sum(f**2, dim=1, keepdim=True)) + 1e-10) for f in (one, other))
        expected += F.conv2d((unit1 - unit2) ** 2, state[f"lin{layer}.model.1.weight"]).mean(dim=(1, 2, 3))
    got = lpips(first * 255, second * 255, network, data_range=255, border=0)
    torch.testing.assert_close(got.float(), expected, rtol=1e-4, atol=1e-6)
    assert lpips(first, first, network, data_range=1, border=0).abs().max() == 0
    assert f"lin{len(seen[0])}.model.1.weight" not in state


def test_lpips_weights_are_read_by_their_published_names_and_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = synthetic("squeeze")
    state = network.state_dict()
    pins = []
    for published, kind in zip(judges.JUDGES["lpips-squeeze"], ("features", "lin"), strict=True):
        path = tmp_path / published.file
        torch.save(
            {key: tensor for key, tensor in state.items() if key.startswith(kind)} | {"classifier.1.bias": torch.ones(2)}, path
        )
        pins.append(published._replace(sha256=sha256_of(path)[:8]))
    with pytest.raises(ModelError, match=r"not the published squeezenet1_1-b8a52dc0\.pth"):
        load_judge(Lpips("squeeze"), "lpips-squeeze", tmp_path)
    monkeypatch.setitem(judges.JUDGES, "lpips-squeeze", tuple(pins))
    loaded = Lpips("squeeze")
    load_judge(loaded, "lpips-squeeze", tmp_path)
    for key, tensor in state.items():
        torch.testing.assert_close(loaded.state_dict()[key], tensor, rtol=0, atol=0)


def test_absent_lpips_weights_say_what_to_fetch_and_where_to_put_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPERSCALE_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match=r"nothing is downloaded.*alexnet-owt-7be5be79\.pth.*--lpips-weights") as error:
        load_judge(Lpips("alex"), "lpips-alex")
    assert str(tmp_path) in str(error.value)
    with pytest.raises(UnknownNameError, match="squeeze"):
        Lpips("sqeeze")
