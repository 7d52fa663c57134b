"""Weights and headers of models that no run makes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from superscale.errors import ModelError
from superscale.networks.catalog import build_generator
from superscale.weights.checkpoint import load_model, load_strictly


@pytest.mark.parametrize(
    "dtype", [torch.complex64, torch.int32, torch.bool, torch.float8_e4m3fn, torch.float8_e5m2, torch.uint8, torch.int64]
)
def test_weights_of_other_kinds_than_floats_are_refused(tmp_path: Path, model_file: Path, dtype: torch.dtype) -> None:
    tensors = {key: tensor.to(dtype) for key, tensor in load_model(model_file).generator.state_dict().items()}
    generator = build_generator("srresnet", {"blocks": 1, "features": 8, "batch_norm": False})
    with pytest.raises(ModelError, match="holds torch"):
        load_strictly(generator, tensors, "x")


def test_a_model_header_of_a_million_features_is_refused(tmp_path: Path, model_file: Path) -> None:
    tensors = load_model(model_file).generator.state_dict()
    for features in (10**9, -1, 0, 10**30):
        network = {"name": "srresnet", "blocks": 1, "features": features, "batch_norm": False}
        metadata = {"format": "superscale-model-1", "network": json.dumps(network), "card": "{}"}
        save_file(dict(tensors), tmp_path / "x.safetensors", metadata)
        with pytest.raises(ModelError, match="features"):
            load_model(tmp_path / "x.safetensors")


def test_float64_weights_beyond_float32_are_refused(model_file: Path) -> None:
    tensors = {key: tensor.double() for key, tensor in load_model(model_file).generator.state_dict().items()}
    tensors["head.bias"] = torch.full_like(tensors["head.bias"], 1e300)
    generator = build_generator("srresnet", {"blocks": 1, "features": 8, "batch_norm": False})
    with pytest.raises(ModelError, match="not finite"):
        load_strictly(generator, tensors, "x")
