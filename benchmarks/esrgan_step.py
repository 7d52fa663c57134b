"""How fast is an ESRGAN training step beside the usual loop? See README.md for the contract.

Both train RRDBNet-23 against a VGG-style discriminator with spectral norm and compare VGG19 features (random weights): the
same figures, batch and losses. The usual loop is written here as the papers' code is commonly written: NCHW, fp32, the
discriminator run five times a step (twice for the generator, three times for itself), plain Adam, an average moved weight by
weight in Python. `--device cuda --compile --batch 16` is the step as a GPU's recipe runs it; the batch lies on the device then, as
patches of a pack kept there do.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from hardware import hardware
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from superscale.data.loader import Batch
from superscale.machine.allocator import keep_freed_memory
from superscale.metrics.features import FeatureNetwork
from superscale.networks.catalog import build_discriminator, generator_of
from superscale.training.loop import health
from superscale.training.loop.compiled import compiled
from superscale.training.loop.criteria import build_criteria
from superscale.training.loop.stage_state import new_state
from superscale.training.loop.steps import AUTOCAST_TYPES, AutocastType, Forward, adversarial_step
from superscale.training.recipe.schema import Recipe, load_recipe

SCALE, LAYER = 4, "conv5_4"
WARM_UP = 3
# The first is what a person waits for; the second does not count what other processes of the machine take meanwhile.
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
# Sides of the square matrices whose product is taken for what the device can do at best.
PEAK_SIDES = {"cpu": 2048, "cuda": 8192}


def recipe_of(batch: int, patch_px: int, blocks: int) -> Recipe:
    """`esrgan_x4` with the feature network's weights drawn at random."""
    settings = [f"data.batch={batch}", f"data.patch_px={patch_px}", f"generator.blocks={blocks}"]
    return load_recipe("esrgan_x4", [*settings, "stage.gan.perceptual.network=vgg19-random"])


def networks(recipe: Recipe) -> tuple[nn.Module, nn.Module]:
    """A generator and a discriminator, the same ones at each call."""
    torch.manual_seed(0)
    return generator_of(recipe.generator).train(), build_discriminator("vgg", {"patch_px": recipe.data.patch_px})


class Ours:
    """The loop's step: its own functions in its own order (`training.loop`)."""

    def __init__(self, recipe: Recipe, precision: AutocastType, device: torch.device, compile: bool = False) -> None:
        self.precision, self.stage, self.device = precision, recipe.stage["gan"], device
        generator, discriminator = (network.to(device, memory_format=torch.channels_last) for network in networks(recipe))  # type: ignore[call-overload]
        self.criteria = build_criteria(self.stage, device)
        self.state = new_state(self.stage, generator, discriminator)
        self.forward: Forward = generator
        if compile:
            self.forward = compiled(generator, recipe.data.batch, recipe.data.patch_px, precision, say)

        self.check = health.FiniteCheck()
        self.statistics = health.RunningStatistics([generator, discriminator])

    def step(self, batch: Batch) -> dict[str, Tensor]:
        state = self.state
        discriminator = state.opponent.network
        self.statistics.keep()
        numbers, _ = adversarial_step(self.forward, discriminator, batch, self.criteria, self.precision)
        numbers["discriminator_gradient_norm"] = health.norm_of_gradients(discriminator)
        numbers["gradient_norm"] = torch.nn.utils.clip_grad_norm_(state.generator.parameters(), float("inf")).detach()
        good = self.check.add(state.steps, batch.numbers, numbers)
        for optimizer in (state.generator_optimizer, state.opponent.optimizer):
            optimizer.found_inf = (~good).float()
            optimizer.step()
            optimizer.zero_grad()
        self.statistics.restore_unless(good)
        state.average.update(state.generator, state.steps, good)
        if self.device.type == "cpu" or state.steps % health.READ_EVERY_STEPS == 0:
            self.check.read(0)
        state.steps += 1
        return numbers


class Usual:
    """The usual loop, as described above; the relativistic average losses of Wang et al. 2018, eq. 1 and 2."""

    def __init__(self, recipe: Recipe, device: torch.device) -> None:
        self.stage = recipe.stage["gan"]
        self.generator, self.discriminator = (network.to(device) for network in networks(recipe))
        self.average = deepcopy(self.generator).eval()
        loss = build_criteria(self.stage, device).perceptual
        self.features: FeatureNetwork = loss.network.to(memory_format=torch.contiguous_format)  # type: ignore[union-attr,call-overload]
        rate, betas = self.stage.learning_rate, self.stage.betas
        self.generator_optimizer = torch.optim.Adam(self.generator.parameters(), rate, betas, foreach=False)
        self.discriminator_optimizer = torch.optim.Adam(self.discriminator.parameters(), rate, betas, foreach=False)

    def seen(self, image: Tensor) -> Tensor:
        return self.features(image, frozenset([LAYER]), False)[LAYER]

    def step(self, batch: Batch) -> dict[str, Tensor]:
        stage, truth = self.stage, batch.high_res
        for parameter in self.discriminator.parameters():
            parameter.requires_grad_(False)
        self.generator_optimizer.zero_grad()
        super_res = self.generator(batch.low_res)
        pixel = F.l1_loss(super_res, truth)
        perceptual = F.l1_loss(self.seen(super_res), self.seen(truth).detach())
        real, fake = self.discriminator(truth).detach(), self.discriminator(super_res)
        adversarial = says(real - fake.mean(), False) + says(fake - real.mean(), True)
        loss = stage.pixel.weight * pixel + stage.perceptual.weight * perceptual + stage.adversarial.weight * adversarial
        loss.backward()
        self.generator_optimizer.step()

        for parameter in self.discriminator.parameters():
            parameter.requires_grad_(True)
        self.discriminator_optimizer.zero_grad()
        fake = self.discriminator(super_res).detach()
        real = self.discriminator(truth)
        says(real - fake.mean(), True).backward()
        fake = self.discriminator(super_res.detach())
        says(fake - real.detach().mean(), False).backward()
        self.discriminator_optimizer.step()
        with torch.no_grad():
            for mine, other in zip(self.average.parameters(), self.generator.parameters(), strict=True):
                mine.mul_(stage.ema_decay).add_(other, alpha=1 - stage.ema_decay)
        return {"pixel": pixel.detach(), "perceptual": perceptual.detach(), "adversarial": adversarial.detach()}


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def says(logits: Tensor, real: bool) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, float(real)))


def seconds(side: Ours | Usual, batch: Batch) -> dict[str, float]:
    """The time of one step, its numbers read as a report would: by the wall, and of the process on all its cores."""
    starts = [clock() for clock in CLOCKS.values()]
    numbers = side.step(batch)
    torch.stack([value.float() for value in numbers.values()]).tolist()
    if batch.high_res.is_cuda:
        torch.cuda.synchronize()
    return {name: clock() - start for (name, clock), start in zip(CLOCKS.items(), starts, strict=True)}


def compare(ours: Ours, usual: Usual, batch: Batch, runs: int, warm_up: int) -> dict[str, dict[str, Any]]:
    """Both in turns, so that whatever else the machine does falls on both; the ratio of every pair, by either clock."""
    pairs = []
    for run in range(runs + warm_up):
        pairs.append((seconds(ours, batch), seconds(usual, batch)))
        mine, theirs = pairs[-1]
        shown = "  ".join(f"{clock} {mine[clock]:.2f} s, usual {theirs[clock]:.2f} s" for clock in CLOCKS)
        say(f"pair {run + 1 - warm_up:2d}  {shown}")
    return {clock: summary([(mine[clock], theirs[clock]) for mine, theirs in pairs[warm_up:]]) for clock in CLOCKS}


def summary(pairs: list[tuple[float, float]]) -> dict[str, Any]:
    """Of (ours, usual) in seconds: the medians, and the median and quartiles of the ratios."""
    ratios = sorted(theirs / mine for mine, theirs in pairs)
    quarter = len(ratios) // 4
    return {
        "pairs": len(pairs),
        "ours_ms": round(1e3 * statistics.median(mine for mine, _ in pairs)),
        "usual_ms": round(1e3 * statistics.median(theirs for _, theirs in pairs)),
        "ratio_median": round(statistics.median(ratios), 2),
        "ratio_quartiles": [round(ratios[quarter], 2), round(ratios[-1 - quarter], 2)],
        "ratio_range": [round(ratios[0], 2), round(ratios[-1], 2)],
    }


class CountFlops(TorchDispatchMode):
    """FLOPs of the convolutions and products inside, backward passes too (torch's own counter refuses `autograd.grad`)."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if (flops := flop_registry.get(func.overloadpacket)) is not None:
            self.total += flops(*args, **kwargs, out_val=out)
        return out


def first_step(recipe: Recipe, batch: Batch) -> tuple[dict[str, float], int]:
    """How far the first losses lie apart, ours less theirs over theirs, both in fp32 and before anything has moved; and our step's FLOPs.

    Not in bf16: random weights let so little through to the deep features that its rounding is all one would see.
    """
    device = batch.high_res.device
    with CountFlops() as count:
        mine = Ours(recipe, None, device).step(batch)
    theirs = Usual(recipe, device).step(batch)
    differences = {name: float((mine[name] - value).abs() / value.abs()) for name, value in theirs.items()}
    return differences, count.total


def matrix_peak(device: torch.device) -> float:
    """FLOPs a second of a large bf16 matrix product, the best of a few: what the step's share of the device is told by."""
    side = PEAK_SIDES[device.type]
    left, right = (torch.ones(side, side, dtype=torch.bfloat16, device=device) for _ in range(2))
    times = []
    for _ in range(10):
        start = time.perf_counter()
        product = left @ right
        float(product[0, 0])  # waits for the device
        times.append(time.perf_counter() - start)
    return 2 * side**3 / min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--warm-up", type=int, default=WARM_UP)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--patch", type=int, default=128)
    parser.add_argument("--blocks", type=int, default=23)
    parser.add_argument("--device", choices=PEAK_SIDES, default="cpu")
    parser.add_argument("--compile", action="store_true", help="ours with `compile = true`, as recipes may ask")
    parser.add_argument("--precision", choices=AUTOCAST_TYPES, default="bf16", help="ours; the usual loop is fp32")
    parser.add_argument("--profile", type=Path, help="write a table of our step's operators here and stop")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    keep_freed_memory()  # for both sides alike; it is one process
    recipe = recipe_of(options.batch, options.patch, options.blocks)
    random = torch.Generator().manual_seed(1)
    high_res = torch.rand(options.batch, 3, options.patch, options.patch, generator=random)
    device = torch.device(options.device)
    batch = Batch(tuple(range(options.batch)), F.avg_pool2d(high_res, SCALE).to(device), high_res.to(device))
    ours = Ours(recipe, AUTOCAST_TYPES[options.precision], device, options.compile)
    if options.profile:
        ours.step(batch)
        with torch.profiler.profile() as profile:
            ours.step(batch)
        options.profile.write_text(profile.key_averages().table(sort_by="self_cpu_time_total", row_limit=40))
        return
    differences, flops = first_step(recipe, batch)
    ratios = compare(ours, Usual(recipe, device), batch, options.runs, options.warm_up)
    step_seconds = ratios["wall"]["ours_ms"] / 1e3
    result = {
        "step": f"RRDBNet-{options.blocks}, batch {options.batch}, patch {options.patch}, ours in {options.precision}",
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "compiled": ours.forward is not ours.state.generator,
        **ratios,
        "ours_images_per_second": round(options.batch / step_seconds, 2),
        "ours_teraflops_a_second": round(flops / step_seconds / 1e12, 2),
        "matrix_peak_teraflops_a_second": round(matrix_peak(device) / 1e12, 2),
        "first_losses_relative_difference_in_fp32": differences,
    }
    print(json.dumps({"hardware": hardware(options.threads), "results": [result]}, indent=1))


if __name__ == "__main__":
    main()
