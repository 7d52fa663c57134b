"""A pack in the memory of the device that trains: patches are cut there, and a step waits for no disk and no bus."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from superscale.data.loader import RawBatch
from superscale.data.pack import Samples
from superscale.data.patches import PatchPlan, Place
from superscale.image.region import mirrored


class ResidentPack:
    """`loader.load_batch` of a plan, sample for sample, as tensors on ``device``; which patches come is drawn on the CPU."""

    def __init__(self, plan: PatchPlan, device: torch.device, stored_low_res: bool) -> None:
        self.plan = plan
        self.high_res = ResidentSamples(plan.pack.high_res_samples, device)
        self.low_res = ResidentSamples(plan.pack.low_res_samples, device) if stored_low_res else None

    def load(self, numbers: tuple[int, ...]) -> RawBatch:
        """The patches of these numbers, with what their reduction reads around them."""
        plan = self.plan
        scale = plan.scale
        places = [plan.place(number) for number in numbers]
        symmetries = tuple(place.symmetry for place in places)
        if self.low_res is not None:
            low_res = self.low_res.cut(places, 1, 0, plan.patch_px // scale)
            return RawBatch(numbers, symmetries, low_res, self.high_res.cut(places, scale, 0, plan.patch_px))
        high_res = self.high_res.cut(places, scale, plan.margin_px, plan.patch_px + 2 * plan.margin_px)
        return RawBatch(numbers, symmetries, None, high_res, plan.draws(numbers))


class ResidentSamples:
    """The pictures of a raw file, one after another on a device."""

    def __init__(self, samples: Samples, device: torch.device) -> None:
        self.shapes = samples.shapes
        self.channels = samples.channels
        self.starts = samples.starts.tolist()
        held = torch.from_numpy(samples.whole()).to(device)
        self.dtype = held.dtype
        # Not every device picks single samples of 16 bits without a sign.
        self.samples = held.view(torch.int16) if held.dtype == torch.uint16 else held

    def cut(self, places: Sequence[Place], factor: int, margin: int, side: int) -> Tensor:
        """Squares (B, side, side, C) whose corner is ``factor`` times the place's, less ``margin``; mirrored at the border."""
        rows = [
            (self.starts[place.tile], *self.shapes[place.tile][:2], place.top * factor - margin, place.left * factor - margin)
            for place in places
        ]
        # One message to the device; (B, 1) each.
        start, height, width, top, left = torch.tensor(rows).to(self.samples.device, non_blocking=True)[:, :, None].unbind(1)
        offsets = torch.arange(side, device=self.samples.device)
        y = mirrored(top + offsets, height)  # (B, side)
        x = mirrored(left + offsets, width)
        pixel = start[:, :, None] + self.channels * (y[:, :, None] * width[:, :, None] + x[:, None, :])
        cut = self.samples[pixel[..., None] + torch.arange(self.channels, device=self.samples.device)]
        return cut.view(self.dtype)
