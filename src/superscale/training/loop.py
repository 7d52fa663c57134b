"""Training: one page from top to bottom. The PSNR stage and the GAN stage are two turns of the same loop."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from superscale.data.loader import stream, to_device
from superscale.data.pack import MANIFEST, Pack
from superscale.data.pairs import PairFolder, PatchPlan
from superscale.data.prepare import prepare, prepare_synthetic
from superscale.errors import CheckpointError, DataError, RecipeError
from superscale.evaluation.benchmark import benchmark
from superscale.image.pixels import to_float, to_pixels
from superscale.losses.adversarial import ADVERSARIAL
from superscale.losses.perceptual import FEATURE_NETWORKS, PerceptualLoss, deepest_layer
from superscale.losses.pixel import PIXEL_LOSSES
from superscale.networks.catalog import build_discriminator
from superscale.networks.contract import Generator
from superscale.networks.device import pick_device
from superscale.training.allocator import keep_freed_memory
from superscale.training.config import Recipe, StageConfig, to_toml
from superscale.training.log import RunLog, write_sample_sheet, write_text
from superscale.training.schedule import learning_rate
from superscale.training.start import first_generator, with_generator
from superscale.training.state import StageState, from_tensors, new_state, to_tensors
from superscale.training.steps import (
    Criteria,
    Precision,
    discriminator_step,
    enlarge,
    frozen_norms,
    generator_step,
    judge,
    pixel_step,
)
from superscale.weights.checkpoint import load_state, save_model, save_state, saved_states
from superscale.weights.features import feature_network

PRECISIONS: dict[str, Precision] = {"fp32": None, "bf16": torch.bfloat16}
MODEL_FILE = "model.safetensors"


@dataclass(frozen=True)
class Result:
    """``finished`` is False when the run was asked to stop; the same command goes on from where it is."""

    run_dir: Path
    model: Path | None
    finished: bool
    images: int


def train(
    recipe: Recipe,
    run_dir: Path,
    *,
    device: str = "auto",
    stop: Callable[[], bool] = lambda: False,
    max_seconds: float | None = None,
    quiet: bool = False,
) -> Result:
    """Run every stage of a recipe in ``run_dir``, or go on where its newest training state ends.

    Raises DataError or RecipeError before the first step when something does not fit.
    """
    deadline = time.monotonic() + max_seconds if max_seconds is not None else None
    recipe = with_generator(recipe)
    keep_freed_memory()
    run_dir.mkdir(parents=True, exist_ok=True)
    write_text(run_dir / "recipe.toml", to_toml(recipe))
    log = RunLog(run_dir, quiet)
    try:
        run = _Run(recipe, run_dir, pick_device(device), log, lambda: stop() or _passed(deadline))
        return run.all_stages()
    finally:
        log.close()


def _passed(deadline: float | None) -> bool:
    return deadline is not None and time.monotonic() >= deadline


def open_pack(recipe: Recipe, run_dir: Path) -> Pack:
    """The recipe's data as a pack; a folder of photos, or "synthetic", is prepared in the run directory first."""
    if not recipe.data.path:
        raise RecipeError("no training data: name a folder of photos or a prepared pack with --data DIR")
    path = Path(recipe.data.path)
    if (path / MANIFEST).is_file():
        return Pack(path)
    own = run_dir / "pack"
    if not (own / MANIFEST).is_file():
        if recipe.data.path == "synthetic":
            prepare_synthetic(own, side_px=max(128, recipe.data.patch_px), scale=recipe.scale)
        else:
            stored = recipe.data.rounding if recipe.data.low_res == "stored" else "none"
            prepare(path, own, scale=recipe.scale, low_res=stored)
    return Pack(own)


def build_criteria(stage: StageConfig, device: torch.device) -> Criteria:
    """The losses a stage names. Raises ModelError when the weights of its perceptual network are absent."""
    criteria = Criteria(grid_weight=stage.grid_weight)
    if stage.pixel is not None:
        criteria = replace(criteria, pixel=PIXEL_LOSSES[stage.pixel.loss], pixel_weight=stage.pixel.weight)
    if (config := stage.perceptual) is not None:
        if config.network not in FEATURE_NETWORKS:
            raise RecipeError(f"perceptual.network: expected one of {', '.join(FEATURE_NETWORKS)}, got {config.network!r}")
        deepest = deepest_layer(FEATURE_NETWORKS[config.network], config.layers)
        network = feature_network(config.network, deepest, config.weights or None)
        loss = PerceptualLoss(network, config.layers, after_activation=config.after_activation, distance=config.distance)
        loss = loss.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        criteria = replace(criteria, perceptual=loss, perceptual_weight=config.weight, shift_px=config.shift_px)
    if stage.adversarial is not None:
        adversarial = ADVERSARIAL[stage.adversarial.loss]()
        criteria = replace(criteria, adversarial=adversarial, adversarial_weight=stage.adversarial.weight)
    return criteria


class _Run:
    """What all stages of a run share; built, and so checked, before the first step."""

    def __init__(self, recipe: Recipe, run_dir: Path, device: torch.device, log: RunLog, stop: Callable[[], bool]) -> None:
        self.recipe, self.run_dir, self.device, self.log, self.stop = recipe, run_dir, device, log, stop
        self.precision = PRECISIONS[recipe.precision]
        pack = open_pack(recipe, run_dir)
        for source, why in pack.manifest.skipped:
            log.say(f"skipped {source}: {why}")
        if pack.manifest.skipped:
            log.say(f"{len(pack.manifest.skipped)} damaged photos skipped")
        data = recipe.data
        self.plan = PatchPlan(pack, scale=recipe.scale, patch_px=data.patch_px, seed=recipe.seed, augment=data.augment)
        if data.low_res == "stored" and pack.manifest.low_res != data.rounding:
            raise DataError(f"{pack.folder}: stores low_res {pack.manifest.low_res!r}, the recipe wants {data.rounding!r}")
        validation = recipe.validation
        self.pairs = PairFolder(validation.path, recipe.scale, data.rounding) if validation.path else None
        self.criteria = {name: build_criteria(stage, device) for name, stage in recipe.stage.items()}

    def all_stages(self) -> Result:
        torch.manual_seed(self.recipe.seed)
        generator = first_generator(self.recipe)
        saved = self._newest_state()
        before = 0
        for number, (name, stage) in enumerate(self.recipe.stage.items()):
            if saved is None or saved[1]["stage_number"] <= number:
                state = self._begin(stage, generator)
                if saved is not None and saved[1]["stage_number"] == number:
                    from_tensors(state, saved[0], str(self.run_dir))
                    state.images, state.steps = saved[1]["images"], saved[1]["steps"]
                    self.log.say(f"going on with stage {name} at image {state.images}")
                finished = self._stage(number, name, stage, state, before)
                if not finished:
                    return Result(self.run_dir, None, False, before + state.images)
                generator = state.average.network.train().requires_grad_(True)
            before += stage.images
        model = self.run_dir / MODEL_FILE
        save_model(model, generator.eval(), self._card(before))
        return Result(self.run_dir, model, True, before)

    def _newest_state(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]] | None:
        for folder in saved_states(self.run_dir / "checkpoints"):
            try:
                tensors, facts = load_state(folder)
            except CheckpointError as error:
                self.log.say(f"passed over: {error}")
                continue
            if facts["generator"] != self.recipe.generator:
                raise RecipeError(f"{self.run_dir} holds a run of another generator; use --fresh or another directory")
            return tensors, facts
        return None

    def _begin(self, stage: StageConfig, generator: Generator) -> StageState:
        discriminator = None
        if stage.adversarial is not None:
            options = {"patch_px": self.recipe.data.patch_px, **stage.adversarial.discriminator}
            discriminator = build_discriminator(options.pop("name"), options)
            discriminator = discriminator.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        generator = generator.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return new_state(stage, generator.train(), discriminator)

    def _stage(self, number: int, name: str, stage: StageConfig, state: StageState, before: int) -> bool:
        """The training loop. Returns whether the stage came to its end."""
        recipe, criteria, precision = self.recipe, self.criteria[name], self.precision
        data, adversarial = recipe.data, stage.adversarial
        saved_at = state.images
        batches = stream(self.plan, start=before + state.images, batch=data.batch, stored_low_res=data.low_res == "stored")
        self.log.begin(name, state.images, stage.images, data.batch)
        while True:
            images = state.images
            done = images >= stage.images
            stopping = self.stop()

            # report
            if done or stopping or _crossed(images, data.batch, recipe.report_every_images):
                self.log.report(images, learning_rate(stage, images))
            if images != saved_at and (done or _crossed(images, data.batch, recipe.validation.every_images)):
                with self.log.pace.pause("validation"):
                    self._validate(name, state, before)

            # save
            if images != saved_at and (done or stopping or _crossed(images, data.batch, recipe.checkpoint.every_images)):
                with self.log.pace.pause("save"):
                    self._save(number, state, before)
                saved_at = images

            # done?
            if done:
                return True
            if stopping:
                return False

            # one batch: the discriminator's passes serve both players
            with self.log.pace.waiting():
                raw = next(batches)
            batch = to_device(raw, self.device, recipe.scale, data.rounding)
            rate = learning_rate(stage, images)
            for group in state.generator_optimizer.param_groups:
                group["lr"] = rate
            if state.discriminator is None or state.discriminator_optimizer is None or adversarial is None:
                numbers = pixel_step(state.generator, batch, criteria, precision)
                generator_moves = True
            else:
                for group in state.discriminator_optimizer.param_groups:
                    group["lr"] = adversarial.learning_rate * rate / stage.learning_rate
                generator_moves = images >= adversarial.alone_images
                with frozen_norms(state.discriminator):
                    with torch.set_grad_enabled(generator_moves):
                        super_res = enlarge(state.generator, batch, precision)
                    judgement = judge(state.discriminator, super_res, batch.high_res, precision)
                    numbers = {}
                    if generator_moves:
                        numbers = generator_step(super_res, batch, judgement, criteria, precision)
                    numbers |= discriminator_step(state.discriminator, judgement, criteria)
                state.discriminator_optimizer.step()
                state.discriminator_optimizer.zero_grad()

            # step, average
            if generator_moves:
                limit = stage.gradient_clip or float("inf")
                norm = torch.nn.utils.clip_grad_norm_(state.generator.parameters(), limit)
                numbers["gradient_norm"] = norm.detach()
                state.generator_optimizer.step()
                state.generator_optimizer.zero_grad()
                state.average.update(state.generator, state.steps)
            self.log.gather(numbers)
            state.steps += 1
            state.images += data.batch

    def _save(self, number: int, state: StageState, before: int) -> None:
        folder = self.run_dir / "checkpoints" / f"step-{before + state.images:012d}"
        facts = {
            "stage_number": number,
            "images": state.images,
            "steps": state.steps,
            "generator": self.recipe.generator,
            "recipe": self.recipe.name,
        }
        save_state(folder, to_tensors(state), facts)
        for old in list(saved_states(folder.parent))[self.recipe.checkpoint.keep :]:
            shutil.rmtree(old)

    def _validate(self, name: str, state: StageState, before: int) -> None:
        """PSNR-Y and SSIM-Y of the average on the validation pictures, and the sample sheet."""
        if self.pairs is None:
            return
        network, device, sheet = state.average.network, self.device, []

        def upscale(low_res: Any) -> Any:
            with torch.inference_mode():
                return to_pixels(network(to_float(low_res)[None].to(device))[0])

        rows = benchmark(
            upscale,
            self.pairs,
            model=self.recipe.name,
            data=self.pairs.label,
            metrics=("psnr", "ssim"),
            border=self.recipe.scale,
            color="y",
        )
        values = {f"validation_{row.metric}": row.mean for row in rows}
        self.log.write({"stage": name, "images": state.images, **values})
        self.log.say(f"{name} {state.images}  " + "  ".join(f"{key} {value:.4f}" for key, value in values.items()))
        for index in range(min(self.recipe.validation.samples, len(self.pairs))):
            pair = self.pairs[index]
            sheet.append((pair.low_res, upscale(pair.low_res), pair.high_res))
        write_sample_sheet(self.run_dir / "samples" / f"{before + state.images:012d}-{name}.png", sheet)

    def _card(self, images: int) -> dict[str, Any]:
        return {"recipe": self.recipe.name, "images_seen": images, "seed": self.recipe.seed, "scale": self.recipe.scale}


def _crossed(images: int, batch: int, every: int) -> bool:
    """Whether this step is the first at or past a multiple of ``every`` images."""
    return images > 0 and images // every > (images - batch) // every
