"""Networks that look like those that are read, and are not, are refused with what sets them apart."""

from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from torch import Tensor

from superscale.errors import ModelError
from superscale.networks.catalog import build_generator
from superscale.weights.layouts import LAYOUTS, recognise
from superscale.weights.store import find_model


def original(blocks: int = 1) -> dict[str, Tensor]:
    convs = ["model.0", f"model.1.sub.{blocks}", "model.3", "model.6", "model.8", "model.10"]
    convs += [f"model.1.sub.{b}.RDB{r}.conv{c}.0" for b in range(blocks) for r in (1, 2, 3) for c in range(1, 6)]
    return {f"{name}.{part}": torch.zeros(1) for name in convs for part in ("weight", "bias")}


LOOKALIKES: dict[str, tuple[dict[str, Tensor], str]] = {
    # ESRGAN+ adds a 1×1 convolution to each dense block.
    "esrgan+": (
        {**original(), "model.1.sub.0.RDB1.conv1x1.weight": torch.zeros(1)},
        "'model.1.sub.0.RDB1.conv1x1.weight' besides",
    ),
    # Pixel-shuffle upsampling puts the convolutions at other numbers.
    "pixelshuffle": (
        {key.replace("model.3.", "model.2.").replace("model.6.", "model.5."): value for key, value in original().items()},
        "RRDBNet (original ESRGAN layout), but",
    ),
    "swinir": (
        {
            f"{key}.weight": torch.zeros(1)
            for key in (
                "conv_first",
                "patch_embed.norm",
                "layers.0.residual_group.blocks.0.norm1",
                "conv_after_body",
                "conv_last",
            )
        },
        "is missing (and",
    ),
    "realplksr": (
        {f"feats.{n}.channel_mixer.0.weight": torch.zeros(1) for n in range(9)},
        "unknown layout (first key: 'feats.0",
    ),
    "compact without PReLU": (
        {f"body.{n}.{part}": torch.zeros(1) for n in range(0, 12, 2) for part in ("weight", "bias")},
        "SRVGGNetCompact, but body.1.weight is missing",
    ),
    "srvgg with a tail": (
        {**build_generator("compact", {"features": 4, "convolutions": 2}).state_dict(), "tail.weight": torch.zeros(1)},
        "looks most like SRVGGNetCompact, but has 'tail.weight' besides",
    ),
}


@pytest.mark.parametrize("name", LOOKALIKES)
def test_other_networks_are_refused_with_what_sets_them_apart(tmp_path: Path, name: str) -> None:
    state, expected = LOOKALIKES[name]
    torch.save(OrderedDict(state), tmp_path / "x.pth")
    with pytest.raises(ModelError) as caught:
        find_model(tmp_path / "x.pth")
    text = str(caught.value)
    assert "\n" not in text
    assert expected in text
    assert text.endswith("RRDBNet (BasicSR layout), SRVGGNetCompact")


def test_a_file_cannot_make_the_table_of_expected_keys_longer_than_itself() -> None:
    keys = [f"body.{n}.rdb1.conv1.weight" for n in range(3000)]
    assert all(len(layout.names(keys)) < 2 * len(keys) for layout in LAYOUTS)
    with pytest.raises(ModelError, match="is missing"):
        recognise(keys)
