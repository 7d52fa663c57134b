"""Published weights of the metrics, under their own names."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from superscale.errors import ModelError
from superscale.metrics.lpips import Lpips
from superscale.weights import metric_networks
from superscale.weights.metric_networks import load_metric_network
from superscale.weights.store import sha256_of


def test_lpips_weights_are_read_by_their_published_names_and_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    state = Lpips("squeeze").state_dict()
    pins = []
    for published, kind in zip(metric_networks.METRIC_NETWORKS["lpips-squeeze"], ("features", "lin"), strict=True):
        path = tmp_path / published.file
        torch.save(
            {key: tensor for key, tensor in state.items() if key.startswith(kind)} | {"classifier.1.bias": torch.ones(2)}, path
        )
        pins.append(published._replace(sha256=sha256_of(path)[:8]))
    with pytest.raises(ModelError, match=r"not the published squeezenet1_1-b8a52dc0\.pth"):
        load_metric_network(Lpips("squeeze"), "lpips-squeeze", tmp_path)
    monkeypatch.setitem(metric_networks.METRIC_NETWORKS, "lpips-squeeze", tuple(pins))
    loaded = Lpips("squeeze")
    load_metric_network(loaded, "lpips-squeeze", tmp_path)
    for key, tensor in state.items():
        torch.testing.assert_close(loaded.state_dict()[key], tensor, rtol=0, atol=0)


def test_absent_lpips_weights_say_what_to_fetch_and_where_to_put_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPERSCALE_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match=r"nothing is downloaded.*alexnet-owt-7be5be79\.pth.*, or name its folder$") as error:
        load_metric_network(Lpips("alex"), "lpips-alex")
    assert str(tmp_path) in str(error.value)
    assert "--" not in str(error.value)
