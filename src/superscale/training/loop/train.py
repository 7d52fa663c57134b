"""Training: one page from top to bottom. The PSNR stage and the GAN stage are two turns of the same loop."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from superscale.data.loader import Batch
from superscale.data.pack import Pack
from superscale.errors import Cancelled, TrainingError
from superscale.files import write_text
from superscale.machine import processes
from superscale.training.loop import health
from superscale.training.loop.compiled import compiled
from superscale.training.loop.criteria import build_criteria
from superscale.training.loop.data_source import batch_loader, open_packs, patch_plan, ready_batches
from superscale.training.loop.first_generator import first_generator, with_generator
from superscale.training.loop.health import Diverged
from superscale.training.loop.schedule import crossed, learning_rate, seed_at
from superscale.training.loop.stage_state import StageState, begin_stage, restore, to_facts, to_tensors
from superscale.training.loop.steps import (
    AUTOCAST_TYPES,
    AutocastType,
    Forward,
    Numbers,
    adversarial_step,
    pixel_step,
)
from superscale.training.loop.teaching import taught, teacher_card
from superscale.training.loop.validation import validate, validation_pairs
from superscale.training.loop.whole_run import check_whole_run
from superscale.training.recipe.schema import Recipe, StageConfig, to_toml
from superscale.training.run import directory, states
from superscale.training.run.log import RunLog, versions, what_computes
from superscale.weights.checkpoint import save_model
from superscale.weights.runs import MODEL_FILE

Values = dict[str, float]


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
    save: Callable[[], bool] = lambda: False,
    max_seconds: float | None = None,
    fresh: bool = False,
    quiet: bool = False,
) -> Result:
    """Run every stage of a recipe in ``run_dir``, or go on where its newest training state ends; ``fresh`` empties it first.

    When ``save``, asked after every step, says so, a training state is saved, and the run goes on. Under torchrun it does so
    with the other processes; the first alone writes and speaks.

    Raises DataError or RecipeError before the first step when something does not fit, TrainingError when another process
    trains in ``run_dir``, the run cannot be kept finite, or a process has lost the others.
    """
    deadline = time.monotonic() + max_seconds if max_seconds is not None else None
    recipe = with_generator(recipe)
    check_whole_run(recipe)
    with processes.together(device) as own_device, directory.opened(run_dir, fresh), directory.full_disk_told(run_dir):
        what_runs = [versions()["superscale"], to_toml(recipe)]
        processes.require_agreement(what_runs, "the processes run different recipes or versions")
        with closing(RunLog(run_dir, quiet, {name: stage.images for name, stage in recipe.stage.items()})) as log:
            try:
                with processes.first_alone():
                    packs = open_packs(recipe, run_dir, stop, log.warn)
                    packs[0] = taught(recipe, packs[0], device, log.say, stop)
            except Cancelled:
                return Result(run_dir, None, False, 0)
            # Whoever is asked to stop, all hear of it at the same step.
            asked = lambda: processes.anywhere(stop() or _passed(deadline))  # noqa: E731
            run = _Run(recipe, run_dir, own_device, log, asked, packs, lambda: processes.anywhere(save()))
            result = None
            while result is None:
                result = run.all_stages()
            return result


def _passed(deadline: float | None) -> bool:
    return deadline is not None and time.monotonic() >= deadline


@dataclass(frozen=True)
class _Stage:
    """One of the run's stages, and its place: ``number`` from 0, ``before``: the images of all stages before it."""

    number: int
    name: str
    config: StageConfig
    before: int


class _Run:
    """What all stages of a run share; built, and so checked, before the first step."""

    def __init__(
        self,
        recipe: Recipe,
        run_dir: Path,
        device: torch.device,
        log: RunLog,
        stop: Callable[[], bool],
        packs: list[Pack],
        save: Callable[[], bool],
    ) -> None:
        self.recipe = recipe
        self.run_dir = run_dir
        self.device = device
        self.log = log
        self.stop, self.save = stop, save
        for pack in packs:
            tiles = [(tile.sha256, tile.top, tile.left) for tile in pack.manifest.tiles]
            processes.require_agreement(tiles, f"{pack.folder} does not hold the same photos at all processes")
            for source, why in pack.manifest.skipped:
                log.warn(f"skipped {source}: {why}")
            if pack.manifest.skipped:
                log.warn(f"{len(pack.manifest.skipped)} damaged photos skipped")
        self.plan = patch_plan(recipe, packs)
        self.load = batch_loader(self.plan, recipe.data.low_res == "stored" or recipe.teacher is not None, device)
        self.pairs = validation_pairs(recipe)
        self.criteria = {name: build_criteria(stage, device) for name, stage in recipe.stage.items()}
        self.settings = states.flat_settings(recipe, packs, run_dir)
        # Stage -> how often it was taken back to an earlier state.
        self.rollbacks = directory.read_rollbacks(run_dir)

    def all_stages(self) -> Result | None:
        """From the newest training state to the end, or until asked to stop; None when a stage has to go back to such a state."""
        generator = first_generator(self.recipe)
        saved = states.newest(self.run_dir / "checkpoints", self.log.warn)
        found = saved and saved.facts
        complaint = f"{self.run_dir} is not the same folder at all processes; put it on storage that all share"
        processes.require_agreement(found, complaint)
        if saved is not None:
            states.check_same_run(self.recipe, self.settings, saved, str(self.run_dir))
            self.rollbacks = dict(saved.facts.get("rollbacks", {})) | self.rollbacks
            for notice in (states.version_notice(saved, what_computes(self.device)), states.step_notice(saved, self.settings)):
                if notice is not None:
                    self.log.warn(notice)
        self.log.cut_back(saved.facts.get("log_bytes") if saved is not None else 0)
        if processes.rank() == 0:
            write_text(self.run_dir / "recipe.toml", to_toml(self.recipe))
        before = 0
        for number, (name, config) in enumerate(self.recipe.stage.items()):
            if saved is None or saved.stage_number <= number:
                state = begin_stage(self.recipe, config, before, generator, self.device)
                if saved is not None and saved.stage_number == number:
                    restore(state, saved.tensors, saved.facts, str(self.run_dir))
                    if self.rollbacks != saved.facts.get("rollbacks", {}):
                        state.bad_in_a_row = 0
                    self.log.say(f"going on with stage {name} at image {state.images}")
                try:
                    finished = self._stage(_Stage(number, name, config, before), state)
                except Diverged as fault:
                    self._roll_back(name, fault)
                    return None
                if not finished:
                    return Result(self.run_dir, None, False, before + state.images)
                generator = state.average.network.train().requires_grad_(True)
            before += config.images
        model = self.run_dir / MODEL_FILE
        if processes.rank() == 0:
            save_model(model, generator.eval(), self._card(before))
        processes.wait()
        return Result(self.run_dir, model, True, before)

    def _roll_back(self, stage: str, fault: Diverged) -> None:
        """Make the next `all_stages` go on with a lower learning rate. Raises TrainingError when that was done often enough."""
        config = self.recipe.health
        count = self.rollbacks.get(stage, 0) + 1
        if count > config.rollbacks:
            raise TrainingError(
                f"stage {stage} does not stay finite ({fault}), not at {config.rate_factor**config.rollbacks:g} times its learning "
                f"rate either; the last good state is kept. Begin anew with a lower stage.{stage}.learning_rate, or go on "
                "trying with more health.rollbacks",
                ways_out=(f"health.rollbacks={2 * config.rollbacks + 1}",),
            ) from fault
        self.rollbacks[stage] = count
        if processes.rank() == 0:
            directory.write_rollbacks(self.run_dir, self.rollbacks)
        self.log.event(
            f"{stage}: {fault}; back to the newest training state, with {config.rate_factor**count:g} times the learning rate "
            f"(attempt {count} of {config.rollbacks})",
            event="rollback",
            stage=stage,
            attempt=count,
        )

    def _stage(self, stage: _Stage, state: StageState) -> bool:
        """The training loop. Returns whether the stage came to its end."""
        recipe = self.recipe
        config = stage.config
        forward = self._forward(stage, state)
        check = health.FiniteCheck()
        statistics = health.RunningStatistics(state.networks)
        history: list[Values] = []
        signals: Values = {}
        saved_at = state.images
        step_images = recipe.data.batch * processes.world_size()
        batches = ready_batches(self.load, recipe, self.device, stage.before + saved_at)
        self.log.begin(stage.name, images=saved_at, total=config.images, step_images=step_images, best_psnr=state.best_psnr)
        while True:
            images = state.images
            done = images >= config.images
            rate = learning_rate(config, images) * recipe.health.rate_factor ** self.rollbacks.get(stage.name, 0)

            # well?
            if self.device.type == "cpu" or done or state.steps % health.READ_EVERY_STEPS == 0:
                self._read_faults(stage.name, check, state)

            # report
            if done or crossed(images, step_images, recipe.report_every_images):
                self._report(stage.name, state, rate, signals, history)
                signals = {}

            # save, before a validation that a bad picture or a kill may end
            validated = state.validated_images == images or self.pairs is None
            stopping = self.stop()
            validating = not validated and (done or crossed(images, step_images, recipe.validation.every_images))
            saving = (
                done or stopping or validating or self.save() or crossed(images, step_images, recipe.checkpoint.every_images)
            )
            if saving and images != saved_at:
                self._read_faults(stage.name, check, state)
                self._save(stage, state)
                saved_at = images
            if validating and not stopping:
                with self.log.pace.pause("validation"):
                    validated = self._validate(stage, state)
                stopping = not validated
                if done and validated:  # else the same command would validate the finished stage again
                    self._save(stage, state)

            # done?
            if done and validated:
                return True
            if stopping:
                return False

            # one batch: forward and backward
            torch.manual_seed(seed_at(recipe.seed, stage.before + images))
            batch = self._next(batches)
            statistics.keep()
            moving = _set_rates(config, state, rate)
            numbers, super_res = self._gradients(stage, state, forward, batch)
            after = images + step_images
            if super_res is not None and (after >= config.images or crossed(after, step_images, recipe.report_every_images)):
                signals = health.signals(super_res, batch, recipe.scale)

            # step, average: a step that is not finite moves nothing, decided on the device
            numbers = processes.mean_numbers(numbers)
            good = check.add(state.steps, batch.numbers, numbers)
            _step(moving, good)
            statistics.restore_unless(good)
            if state.generator_moves:
                state.average.update(state.generator, state.steps, good)
            state.interval.add(numbers, good)
            state.steps += 1
            state.images = after
            self.log.step()

    def _autocast_type(self, stage: _Stage) -> AutocastType:
        return AUTOCAST_TYPES[self.recipe.precision_of(stage.config)]

    def _forward(self, stage: _Stage, state: StageState) -> Forward:
        """The generator, compiled if the recipe asks for it."""
        data = self.recipe.data
        if not self.recipe.compile:
            return state.generator
        return compiled(state.generator, data.batch, data.patch_px, self._autocast_type(stage), self.log.say)

    def _next(self, batches: Iterator[Batch]) -> Batch:
        with self.log.pace.waiting():
            return next(batches)

    def _gradients(self, stage: _Stage, state: StageState, forward: Forward, batch: Batch) -> tuple[Numbers, Tensor | None]:
        """Leave a batch's gradients, averaged over all processes, on the networks that move; the numbers, and a GAN's output."""
        criteria = self.criteria[stage.name]
        autocast_type = self._autocast_type(stage)
        super_res = None
        if state.opponent is None:
            numbers = pixel_step(forward, batch, criteria, autocast_type)
        else:
            moves = state.generator_moves
            generator = forward if moves else state.generator
            network = state.opponent.network
            numbers, super_res = adversarial_step(generator, network, batch, criteria, autocast_type, generator_moves=moves)
            processes.average_gradients(network)
            numbers["discriminator_gradient_norm"] = health.norm_of_gradients(network)
        if state.generator_moves:
            processes.average_gradients(state.generator)
            limit = stage.config.gradient_clip or float("inf")
            numbers["gradient_norm"] = torch.nn.utils.clip_grad_norm_(state.generator.parameters(), limit).detach()
        return numbers, super_res

    def _read_faults(self, stage: str, check: health.FiniteCheck, state: StageState) -> None:
        """Tell of the steps that were not finite. Raises Diverged when there were too many in a row."""
        faults, state.bad_in_a_row = check.read(state.bad_in_a_row)
        for fault in faults:
            patches = sorted(number for share in processes.gather(fault.patches) for number in share)
            self.log.event(
                f"{stage}: step {fault.step} skipped, not finite: {', '.join(fault.not_finite)}",
                event="skipped step",
                stage=stage,
                step=fault.step,
                patches=patches,
                photos=[self.plan.photo(number) for number in patches],
            )
        if state.bad_in_a_row >= self.recipe.health.bad_in_a_row:
            raise Diverged(f"{state.bad_in_a_row} steps in a row were not finite")

    def _report(self, stage: str, state: StageState, rate: float, signals: Values, history: list[Values]) -> None:
        """Report the means since the last report, if there were good steps, and what ails the GAN, once for as long as it lasts."""
        if not (values := state.interval.take()):
            return
        values |= signals
        self.log.report(state.images, rate, values)
        before = health.verdicts(history)
        history.append(values)
        for ailment, text in health.verdicts(history).items():
            if ailment not in before:
                self.log.event(f"{stage}: {text}", event="verdict", stage=stage)

    def _save(self, stage: _Stage, state: StageState) -> None:
        with self.log.pace.pause("save"):
            tensors = to_tensors(state)
            health.check_finite(tensors)
            processes.require_equal_weights(*state.networks)
            if processes.rank() > 0:
                return
            facts = to_facts(state) | {
                "stage_number": stage.number,
                "rollbacks": self.rollbacks,
                "log_bytes": self.log.position(),
                "settings": self.settings,
                "versions": what_computes(self.device),
            }
            folder = self.run_dir / "checkpoints" / f"step-{stage.before + state.images:012d}"
            states.save(folder, tensors, facts, self.recipe.checkpoint.keep)

    def _validate(self, stage: _Stage, state: StageState) -> bool:
        """Measure the average, and keep it if no other of this stage was as good. Returns False when cut short by a stop."""
        assert self.pairs is not None
        network = state.average.network
        images = stage.before + state.images
        health.check_finite(network.state_dict())
        sheet = self.run_dir / "samples" / f"{images:012d}-{stage.name}.png"
        try:
            values = validate(network, self.pairs, self.recipe, self.device, sheet, self.stop)
        except Cancelled:
            return False
        state.validated_images = state.images
        if values["validation_psnr"] > (state.best_psnr or 0):
            state.best_psnr = values["validation_psnr"]
            if processes.rank() == 0:
                save_model(self.run_dir / f"model-best-{stage.name}.safetensors", network, self._card(images) | values)
        self.log.write({"stage": stage.name, "images": state.images, **values})
        self.log.say(f"{stage.name} {state.images}  " + "  ".join(f"{key} {value:.4f}" for key, value in values.items()))
        return True

    def _card(self, images: int) -> dict[str, Any]:
        own = {"recipe": self.recipe.name, "images_seen": images, "seed": self.recipe.seed, "scale": self.recipe.scale}
        return own | teacher_card(self.recipe)


def _set_rates(stage: StageConfig, state: StageState, rate: float) -> list[torch.optim.Optimizer]:
    """Give the optimizers the rates of the next step; those that take part in it."""
    state.generator_optimizer.param_groups[0]["lr"] = rate
    if state.opponent is None:
        return [state.generator_optimizer]
    optimizer = state.opponent.optimizer
    optimizer.param_groups[0]["lr"] = state.opponent.config.learning_rate * rate / stage.learning_rate
    return [state.generator_optimizer] * state.generator_moves + [optimizer]


def _step(optimizers: list[torch.optim.Optimizer], good: Tensor) -> None:
    """Move the weights by their gradients, where the step is good, and forget the gradients."""
    for optimizer in optimizers:
        optimizer.found_inf = (~good).float()  # type: ignore[attr-defined]
        optimizer.step()
        optimizer.zero_grad()
