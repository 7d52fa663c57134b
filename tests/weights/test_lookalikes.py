"""Networks that look like those that are read, and are not, are refused with what sets them apart."""

from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from torch import Tensor

from superscale.errors import ModelError
from superscale.networks.catalog import GENERATORS, build_generator
from superscale.weights.layouts import LAYOUTS, recognise
from superscale.weights.other_networks import other_network
from superscale.weights.store import find_model


def original(blocks: int = 1) -> dict[str, Tensor]:
    convs = ["model.0", f"model.1.sub.{blocks}", "model.3", "model.6", "model.8", "model.10"]
    convs += [f"model.1.sub.{b}.RDB{r}.conv{c}.0" for b in range(blocks) for r in (1, 2, 3) for c in range(1, 6)]
    return {f"{name}.{part}": torch.zeros(1) for name in convs for part in ("weight", "bias")}


LOOKALIKES: dict[str, tuple[dict[str, Tensor], str]] = {
    # ESRGAN+ has a 1×1 convolution in every dense block.
    "half an esrgan+": (
        {**original(), "model.1.sub.0.RDB1.conv1x1.weight": torch.zeros(1)},
        "model.1.sub.0.RDB2.conv1x1.weight is missing (and 1 more)",
    ),
    # Pixel-shuffle upsampling puts the convolutions at other numbers.
    "pixelshuffle": (
        {key.replace("model.3.", "model.2.").replace("model.6.", "model.5."): value for key, value in original().items()},
        "RRDBNet (original ESRGAN layout), but",
    ),
    "nobody's": (
        {f"trunk.{n}.mixer.0.weight": torch.zeros(1) for n in range(9)},
        "unknown layout (first key: 'trunk.0",
    ),
    "compact without a bias": (
        {f"body.{n}.weight": torch.zeros(1) for n in range(0, 12, 2)},
        "SRVGGNetCompact, but body.0.bias is missing",
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


# As the published files have them: a few keys of each, an integer buffer where there is one.
PUBLISHED = {
    "SwinIR": "conv_first.weight layers.0.residual_group.blocks.0.norm1.weight layers.0.residual_group.blocks.0.attn.relative_position_index "
    "layers.0.residual_group.blocks.0.attn.qkv.weight layers.0.residual_group.blocks.0.mlp.fc1.bias conv_after_body.weight",
    "Swin2SR": "conv_first.weight patch_embed.proj.weight layers.0.residual_group.blocks.0.norm1.weight "
    "layers.0.residual_group.blocks.0.attn.logit_scale layers.0.residual_group.blocks.0.attn.cpb_mlp.0.weight "
    "layers.0.residual_group.blocks.0.attn.relative_position_index",
    "SRFormer": "conv_first.weight layers.0.residual_group.blocks.0.norm1.weight "
    "layers.0.residual_group.blocks.0.attn.aligned_relative_position_index layers.0.residual_group.blocks.0.mlp.fc1.bias",
    "HAT": "relative_position_index_SA conv_first.weight layers.0.residual_group.blocks.0.norm1.weight "
    "layers.0.residual_group.blocks.0.conv_block.cab.0.weight layers.0.residual_group.overlap_attn.qkv.weight "
    "layers.0.residual_group.blocks.0.attn.qkv.weight conv_last.weight",
    "DAT": "conv_first.weight before_RG.1.weight layers.0.blocks.0.norm1.weight layers.0.blocks.0.ffn.sg.norm.weight "
    "layers.0.blocks.0.attn.qkv.weight layers.0.blocks.0.attn.attns.0.relative_position_index "
    "layers.0.blocks.0.attn.dwconv.1.running_mean conv_after_body.weight",
    "RGT": "conv_first.weight before_RG.1.weight layers.0.blocks.0.gamma layers.0.blocks.0.attn.attns.0.rpe_biases norm.weight",
    "ATD": "relative_position_index_SA conv_first.weight layers.0.residual_group.td layers.0.residual_group.layers.0.attn_atd.wq.weight",
    "DRCT": "conv_first.weight layers.0.swin1.attn.relative_position_index layers.0.swin1.attn.qkv.weight layers.0.adjust1.weight",
    "GRL": "conv_first.weight norm_start.weight layers.0.blocks.0.attn.stripe_attn.attn_transform1.logit_scale",
    "CRAFT": "conv_first.weight layers.0.residual_group.hf_blocks.0.attn.temperature",
    "OmniSR": "residual_layer.0.residual_layer.0.layer.0.fn.0.weight input.weight up.0.weight",
    "SPAN": "conv_1.sk.weight block_1.c1_r.sk.weight block_1.c1_r.eval_conv.weight conv_cat.weight upsampler.0.weight",
    "PLKSR": "feats.0.weight feats.1.channe_mixer.0.weight feats.1.lk.conv.weight feats.1.refine.weight",
    "RealPLKSR": "feats.0.weight feats.1.channel_mixer.0.weight feats.1.lk.conv.weight feats.1.refine.weight",
    "MAN": "head.weight body.0.norm.weight body.0.LKA.LKA7.0.weight body.0.LFE.Conv1.weight tail.0.weight",
    "SAFMN": "to_feat.weight feats.0.norm1.weight feats.0.safm.mfr.0.weight feats.0.ccm.ccm.0.weight to_img.0.weight",
    "SeemoRe": "conv_1.weight body.0.local_block.norm_1.weight upsampler.0.weight",
    "MoSR": "gblocks.0.weight gblocks.1.norm.weight gblocks.1.fc1.weight",
    "FDAT": "conv_first.weight groups.0.blocks.0.attn.bias groups.0.blocks.0.inter.cg.1.weight upsampler.MetaUpsample",
    "RCAN": "head.0.weight body.0.body.0.body.0.weight body.0.body.0.body.3.conv_du.0.weight tail.1.weight",
    "EDSR": "sub_mean.weight head.0.weight body.0.body.0.weight body.0.body.2.weight tail.0.0.weight",
    "EDSR (BasicSR's)": "conv_first.weight body.0.conv1.weight conv_after_body.weight upsample.0.weight conv_last.weight",
    "SRResNet (BasicSR's)": "conv_first.weight body.0.conv1.weight upconv1.weight conv_hr.weight conv_last.weight",
    "Real-CUGAN": "unet1.conv1.conv.0.weight unet1.conv2.seblock.conv1.weight unet2.conv1.conv.0.weight",
    "NAFNet": "intro.weight middle_blks.0.beta middle_blks.0.sca.1.weight ending.weight",
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("wrapper", ["params_ema", None])
def test_well_known_networks_are_refused_by_name(tmp_path: Path, name: str, wrapper: str | None) -> None:
    state = {key: torch.zeros(2, dtype=torch.int64 if key.endswith("index") else None) for key in PUBLISHED[name].split()}
    torch.save({wrapper: state} if wrapper else state, tmp_path / "x.pth")
    with pytest.raises(ModelError) as caught:
        find_model(tmp_path / "x.pth")
    assert f"x.pth: a network of the architecture {name}, which is not supported; expected RRDBNet" in str(caught.value)


def test_a_discriminator_is_refused_as_one(tmp_path: Path) -> None:
    torch.save({"params": {"conv0.weight": torch.zeros(1), "conv1.weight_orig": torch.zeros(1)}}, tmp_path / "netD.pth")
    with pytest.raises(ModelError, match=r"netD\.pth: Real-ESRGAN's discriminator, which is not supported"):
        find_model(tmp_path / "netD.pth")


def test_no_network_that_is_read_is_taken_for_another() -> None:
    for network in GENERATORS:
        assert other_network(build_generator(network, {}).state_dict()) is None
    for layout in LAYOUTS[:3]:
        assert other_network(layout.names(original())) is None


def test_a_file_cannot_make_the_table_of_expected_keys_longer_than_itself() -> None:
    keys = [f"body.{n}.rdb1.conv1.weight" for n in range(3000)]
    assert all(len(layout.names(keys)) < 2 * len(keys) for layout in LAYOUTS)
    with pytest.raises(ModelError, match="is missing"):
        recognise(keys)
