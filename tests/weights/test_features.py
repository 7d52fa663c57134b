from __future__ import annotations

from pathlib import Path

import pytest
import torch

from superscale.errors import ModelError, UnknownNameError
from superscale.metrics.features import FEATURE_NETWORKS, FeatureNetwork
from superscale.weights import features
from superscale.weights.features import feature_network, torchvision_vgg19
from superscale.weights.store import Published, sha256_of


def test_absent_weights_say_what_to_fetch_and_where_to_put_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPERSCALE_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match=r"vgg19-dcbb9e9d\.pth.*weights=FILE") as error:
        feature_network("vgg19", "conv5_4")
    assert str(tmp_path) in str(error.value)


def test_a_file_with_another_sha256_is_refused(tmp_path: Path) -> None:
    (tmp_path / "vgg.pth").write_bytes(b"something else")
    with pytest.raises(ModelError, match="begin with dcbb9e9d"):
        feature_network("vgg19", "conv5_4", tmp_path / "vgg.pth")
    with pytest.raises(UnknownNameError, match="vgg19"):
        feature_network("vgg18", "conv5_4")


def test_torchvisions_file_is_read_by_its_published_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file with torchvision's keys (features.0, 2, 5, 7, 10, ..., 34) and fresh values loads layer by layer."""
    torch.manual_seed(0)
    numbers = [0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34]
    reference = FeatureNetwork(FEATURE_NETWORKS["vgg19"], "conv2_2")
    shapes = FeatureNetwork(FEATURE_NETWORKS["vgg19"], "conv5_4")
    published = {"classifier.0.weight": torch.zeros(2, 2)}
    for name, number in zip(shapes.names, numbers, strict=True):
        for part in ("weight", "bias"):
            values = shapes.get_parameter(f"{name}.{part}").detach()
            published[f"features.{number}.{part}"] = values
    reference.load_state_dict({k: v for k, v in shapes.state_dict().items() if k in reference.state_dict()})
    path = tmp_path / "vgg19.pth"
    torch.save(published, path)
    published_as = Published("vgg19.pth", sha256_of(path), "a test")
    monkeypatch.setitem(features.FEATURE_FILES, "vgg19", (published_as, torchvision_vgg19))
    loaded = feature_network("vgg19", "conv2_2", path)
    image = torch.rand(1, 3, 16, 16)
    names = frozenset(("conv2_2",))
    torch.testing.assert_close(loaded(image, names, True), reference(image, names, True))


def test_the_random_network_is_the_same_every_time_and_leaves_the_random_state_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    first = feature_network("vgg19-random", "conv2_1")
    assert torch.rand(1) == expected
    second = feature_network("vgg19-random", "conv2_1")
    for key, value in first.state_dict().items():
        torch.testing.assert_close(second.state_dict()[key], value, rtol=0, atol=0)


def test_the_distilled_encoder_sees_what_vgg19_would(shared: Path) -> None:
    """Its auxiliary projection of relu1_1 was trained to be VGG19's 64 features; here: it loads and reacts to detail."""
    path = shared / "weights" / "vgg19-distilled-16x.safetensors"
    network = feature_network("vgg19-distilled", "conv5_1", path)
    assert sum(parameter.numel() for parameter in network.parameters()) < 964_000
    flat, noise = torch.full((1, 3, 128, 128), 0.5), torch.rand(1, 3, 128, 128)
    names = frozenset(network.names)
    calm, lively = (network(image, names, True) for image in (flat, noise))
    for name in ("conv1_2", "conv3_4", "conv5_1"):
        assert lively[name].std(dim=(2, 3)).mean() > 5 * calm[name].std(dim=(2, 3)).mean()
