from __future__ import annotations

import pytest
import torch

from superscale.errors import UsageError
from superscale.metrics.features import COMPARED, FEATURE_NETWORKS, FeatureNetwork, deepest_layer, feature_distance


@pytest.fixture
def network() -> FeatureNetwork:
    torch.manual_seed(0)
    return FeatureNetwork(
        FEATURE_NETWORKS["vgg19-distilled"], deepest_layer(FEATURE_NETWORKS["vgg19-distilled"], dict.fromkeys(COMPARED, 1.0))
    )


def test_the_distance_is_lpips_formula_with_equal_weights_written_out(network: FeatureNetwork) -> None:
    first, second = torch.rand(2, 1, 3, 48, 40).unbind()
    one, other = (network(planes, COMPARED, True) for planes in (first, second))
    expected = 0.0
    for name in COMPARED:
        _, _, height, width = one[name].shape
        for y in range(height):
            for x in range(width):
                a, b = one[name][0, :, y, x], other[name][0, :, y, x]
                expected += float((a / a.norm() - b / b.norm()).square().sum()) / (height * width) / len(COMPARED)
    assert feature_distance(first, second, network, data_range=1.0, border=0).item() == pytest.approx(expected, rel=1e-4)
    assert feature_distance(first * 255, second * 255, network, data_range=255, border=0).item() == pytest.approx(
        expected, rel=1e-4
    )


def test_equal_pictures_have_none_and_only_what_lies_inside_the_border_counts(network: FeatureNetwork) -> None:
    picture = torch.rand(1, 3, 48, 48)
    other = picture.clone()
    other[..., :4, :] = 0
    assert feature_distance(picture, picture, network, data_range=1.0, border=0).item() == 0
    assert feature_distance(other, picture, network, data_range=1.0, border=0).item() > 0
    assert feature_distance(other, picture, network, data_range=1.0, border=4).item() == 0


def test_pictures_of_two_bands_are_refused(network: FeatureNetwork) -> None:
    with pytest.raises(UsageError, match="2"):
        feature_distance(torch.rand(1, 2, 48, 48), torch.rand(1, 2, 48, 48), network, data_range=1.0, border=0)
