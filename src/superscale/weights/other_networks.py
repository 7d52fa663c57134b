"""Networks that are not read here, by key names that only they have, so that a refusal can name them."""

from __future__ import annotations

import re
from collections.abc import Collection

# A name, and patterns that all have to be found in the published state dicts' keys; the first that fits.
OTHER_NETWORKS: dict[str, tuple[str, ...]] = {
    "SRFormer": (r"\.aligned_relative_position_index$",),
    "HAT": (r"\.conv_block\.cab\.", r"\.overlap_attn\."),
    "ATD": (r"\.attn_atd\.",),
    "DRCT": (r"^layers\.\d+\.swin1\.",),
    "CRAFT": (r"\.residual_group\.hf_blocks\.",),
    "GRL": (r"\.attn\.stripe_attn\.",),
    "Swin2SR": (r"\.residual_group\.blocks\.\d+\.attn\.(logit_scale|cpb_mlp\.)",),
    "SwinIR": (r"\.residual_group\.blocks\.\d+\.(attn\.|norm1\.)",),
    "RGT": (r"^layers\.\d+\.blocks\.\d+\.gamma$", r"\.attns\.0\."),
    "DAT": (r"^layers\.\d+\.blocks\.\d+\.attn\.", r"\.ffn\.sg\."),
    "OmniSR": (r"^residual_layer\.\d+\.residual_layer\.",),
    "SPAN": (r"^block_1\.c1_r\.",),
    "RealPLKSR": (r"^feats\.\d+\.channel_mixer\.",),
    "PLKSR": (r"^feats\.\d+\.(channe_mixer|lk)\.",),
    "SAFMN": (r"\.safm\.",),
    "MAN": (r"^body\.\d+\.(body\.\d+\.)?LKA\.",),
    "SeemoRe": (r"^body\.\d+\.local_block\.",),
    "FDAT": (r"^groups\.\d+\.blocks\.\d+\.inter\.",),
    "MoESR": (r"^blocks\.\d+\.blocks\.\d+\.conv\.dwconv_hw\.",),
    "MoSR": (r"^gblocks\.\d+\.",),
    "DITN": (r"^UFONE\.\d+\.",),
    "DCTLSA": (r"^B1\.body\.\d+\.transformer_body\.",),
    "Real-CUGAN": (r"^unet1\.conv1\.", r"^unet2\."),
    "Swift-SRGAN": (r"^initial\.cnn\.depthwise\.",),
    "RCAN": (r"\.conv_du\.0\.",),
    "EDSR": (r"^head\.0\.weight$", r"^body\.0\.body\.0\.weight$", r"^tail\."),
    "EDSR (BasicSR's)": (r"^body\.0\.conv1\.weight$", r"^conv_after_body\."),
    "SRResNet (BasicSR's)": (r"^body\.0\.conv1\.weight$", r"^upconv1\."),
    "IPT": (r"^body\.encoder\.layers\.",),
    "MM-RealSR": (r"^am_list\.", r"^de_net\."),
    "AuraSR": (r"^mid_attn\.layers\.",),
    "NAFNet": (r"^middle_blks\.\d+\.(beta|sca\.)",),
    "Restormer": (r"^encoder_level1\.0\.attn\.",),
    "SCUNet": (r"\.trans_block\.",),
    "FBCNN": (r"^qf_pred\.",),
    "DRUNet": (r"^m_down1\.0\.res\.", r"^m_tail\."),
    "GFPGAN": (r"^stylegan_decoder",),
    "CodeFormer": (r"^idx_pred_layer\.",),
    "RestoreFormer": (r"^quantize\.embedding\.", r"^encoder\.conv_in\."),
    "BasicVSR": (r"^spynet\.",),
    "EDVR": (r"^pcd_align\.",),
}
# What lies beside the generators of Real-ESRGAN and ESRGAN.
DISCRIMINATORS: dict[str, tuple[str, ...]] = {
    "Real-ESRGAN's": (r"^conv0\.weight$", r"^conv1\.weight_orig$"),
    "ESRGAN's": (r"^conv0_0\.weight$", r"^linear1\.weight$"),
}


def other_network(keys: Collection[str]) -> str | None:
    """What a state dict with these keys is, as a noun: "a network of the architecture HAT". None: nothing that is known here."""
    text = "\n".join(keys)
    if name := _first(OTHER_NETWORKS, text):
        return f"a network of the architecture {name}"
    owner = _first(DISCRIMINATORS, text)
    return owner and f"{owner} discriminator"


def _first(table: dict[str, tuple[str, ...]], text: str) -> str | None:
    return next(
        (name for name, patterns in table.items() if all(re.search(pattern, text, re.MULTILINE) for pattern in patterns)), None
    )
