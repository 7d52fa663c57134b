"""Training: one page from top to bottom. The PSNR stage and the GAN stage are two turns of the same loop."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from superscale.data.loader import stream, to_device
from superscale.data.pack import Pack
from superscale.errors import Cancelled, TrainingError
from superscale.files import write_text
from superscale.machine.allocator import keep_freed_memory
from superscale.machine.processes import (
    anywhere,
    average_gradients,
    first_alone,
    gather,
    mean_numbers,
    rank,
    require_agreement,
    require_equal_weights,
    restarted,
    together,
    wait,
    world_size,
)
from superscale.training.loop import health
from superscale.training.loop.compiled import compiled
from superscale.training.loop.first_generator import first_generator, with_generator
from superscale.training.loop.health import Diverged
from superscale.training.loop.parts import batch_loader, begin_stage, build_criteria, open_pack, patch_plan
from superscale.training.loop.schedule import learning_rate, seed_at
from superscale.training.loop.stage_state import StageState, restore, to_facts, to_tensors
from superscale.training.loop.steps import Forward, Precision, adversarial_step, pixel_step
from superscale.training.loop.validation import validate, validation_pairs
from superscale.training.recipe.schema import Recipe, StageConfig, to_toml
from superscale.training.run.directory import (
    check_emptiable,
    empty,
    remember_rollbacks,
    remembered_rollbacks,
    sole_user,
    sweep,
)
from superscale.training.run.log import RunLog, versions
from superscale.training.run.states import check_same_run, commit, newest, settings, step_notice, version_notice
from superscale.weights.checkpoint import save_model

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
    fresh: bool = False,
    quiet: bool = False,
) -> Result:
    """Run every stage of a recipe in ``run_dir``, or go on where its newest training state ends; ``fresh`` empties it first.

    Under torchrun it does so with the other processes; the first alone writes and speaks.

    Raises DataError or RecipeError before the first step when something does not fit, TrainingError when another process
    trains in ``run_dir``, the run cannot be kept finite, or a process has lost the others.
    """
    deadline = time.monotonic() + max_seconds if max_seconds is not None else None
    recipe = with_generator(recipe)
    keep_freed_memory()
    with together(device) as own_device, _directory(run_dir, fresh), _full_disk_told(run_dir):
        require_agreement([versions()["superscale"], to_toml(recipe)], "the processes run different recipes or versions")
        with closing(RunLog(run_dir, quiet)) as log:
            try:
                with first_alone():
                    pack = open_pack(recipe, run_dir, stop)
            except Cancelled:
                return Result(run_dir, None, False, 0)
            # Whoever is asked to stop, all hear of it at the same step.
            run = _Run(recipe, run_dir, own_device, log, lambda: anywhere(stop() or _passed(deadline)), pack)
            while True:
                try:
                    return run.all_stages()
                except Diverged as fault:
                    run.roll_back(fault)


@contextmanager
def _full_disk_told(run_dir: Path) -> Iterator[None]:
    """A disk that is full as a TrainingError, wherever it was met."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise TrainingError(
            f"{run_dir}: {error.strerror}; the newest training state is kept, the same command goes on"
        ) from error


@contextmanager
def _directory(run_dir: Path, fresh: bool) -> Iterator[None]:
    """The first process locks and sweeps the directory; the others follow when that is done."""
    if rank() > 0:
        wait()
        yield
        return
    # Restarted by torchrun, the same command line must not delete what it is to go on with.
    fresh = fresh and not restarted()
    if fresh:
        check_emptiable(run_dir)
    with sole_user(run_dir):
        if fresh:
            empty(run_dir)
        sweep(run_dir)
        wait()
        yield


def _passed(deadline: float | None) -> bool:
    return deadline is not None and time.monotonic() >= deadline


class _Run:
    """What all stages of a run share; built, and so checked, before the first step."""

    def __init__(
        self, recipe: Recipe, run_dir: Path, device: torch.device, log: RunLog, stop: Callable[[], bool], pack: Pack
    ) -> None:
        self.recipe, self.run_dir, self.device, self.log, self.stop = recipe, run_dir, device, log, stop
        tiles = [(tile.sha256, tile.top, tile.left) for tile in pack.manifest.tiles]
        require_agreement(tiles, f"{pack.folder} does not hold the same photos at all processes")
        for source, why in pack.manifest.skipped:
            log.say(f"skipped {source}: {why}")
        if pack.manifest.skipped:
            log.say(f"{len(pack.manifest.skipped)} damaged photos skipped")
        self.plan = patch_plan(recipe, pack)
        self.load = batch_loader(self.plan, recipe.data.low_res == "stored", device)
        self.pairs = validation_pairs(recipe)
        self.criteria = {name: build_criteria(stage, device) for name, stage in recipe.stage.items()}
        self.settings = settings(recipe, pack, run_dir)
        # Stage -> how often it was taken back to an earlier state.
        self.rollbacks = remembered_rollbacks(run_dir)
        self.stage_name = ""

    def all_stages(self) -> Result:
        """From the newest training state to the end, or until asked to stop."""
        generator = first_generator(self.recipe)
        saved = newest(self.run_dir / "checkpoints", self.log.say)
        found = saved and saved.facts
        require_agreement(found, f"{self.run_dir} is not the same folder at all processes; put it on storage that all share")
        if saved is not None:
            check_same_run(self.recipe, self.settings, saved, str(self.run_dir))
            self.rollbacks = dict(saved.facts.get("rollbacks", {})) | self.rollbacks
            for notice in (version_notice(saved, versions()), step_notice(saved, self.settings)):
                if notice is not None:
                    self.log.say(notice)
        self.log.cut_back(saved.facts.get("log_bytes") if saved is not None else 0)
        if rank() == 0:
            write_text(self.run_dir / "recipe.toml", to_toml(self.recipe))
        before = 0
        for number, (name, stage) in enumerate(self.recipe.stage.items()):
            if saved is None or saved.stage_number <= number:
                state = begin_stage(self.recipe, stage, before, generator, self.device)
                if saved is not None and saved.stage_number == number:
                    restore(state, saved.tensors, saved.facts, str(self.run_dir))
                    if self.rollbacks != saved.facts.get("rollbacks", {}):
                        state.bad_in_a_row = 0
                    self.log.say(f"going on with stage {name} at image {state.images}")
                finished = self._stage(number, name, stage, state, before)
                if not finished:
                    return Result(self.run_dir, None, False, before + state.images)
                generator = state.average.network.train().requires_grad_(True)
            before += stage.images
        model = self.run_dir / MODEL_FILE
        if rank() == 0:
            save_model(model, generator.eval(), self._card(before))
        wait()
        return Result(self.run_dir, model, True, before)

    def roll_back(self, fault: Diverged) -> None:
        """Make the next `all_stages` go on with a lower learning rate. Raises TrainingError when that was done often enough."""
        config, name = self.recipe.health, self.stage_name
        count = self.rollbacks.get(name, 0) + 1
        if count > config.rollbacks:
            raise TrainingError(
                f"stage {name} does not stay finite ({fault}), not at {config.rate_factor**config.rollbacks:g} times its learning "
                f"rate either; the last good state is kept. Begin anew with a lower stage.{name}.learning_rate, or go on "
                f"trying with --set health.rollbacks={2 * config.rollbacks + 1}"
            ) from fault
        self.rollbacks[name] = count
        if rank() == 0:
            remember_rollbacks(self.run_dir, self.rollbacks)
        self.log.event(
            f"{name}: {fault}; back to the newest training state, with {config.rate_factor**count:g} times the learning rate "
            f"(attempt {count} of {config.rollbacks})",
            event="rollback",
            stage=name,
            attempt=count,
        )

    def _stage(self, number: int, name: str, stage: StageConfig, state: StageState, before: int) -> bool:
        """The training loop. Returns whether the stage came to its end."""
        recipe, criteria, precision = self.recipe, self.criteria[name], PRECISIONS[self.recipe.precision_of(stage)]
        data, adversarial, factor = recipe.data, stage.adversarial, recipe.health.rate_factor ** self.rollbacks.get(name, 0)
        generator, discriminator = state.generator, state.discriminator
        forward: Forward = generator
        if recipe.compile:
            forward = compiled(generator, data.batch, data.patch_px, precision, self.log.say)
        self.stage_name, saved_at = name, state.images
        watch, buffers = health.Watch(), health.Buffers([generator] if discriminator is None else [generator, discriminator])
        history: list[dict[str, float]] = []
        signals: dict[str, float] = {}
        step_images = data.batch * world_size()
        batches = stream(self.load, start=before + state.images, batch=data.batch, rank=rank(), world_size=world_size())
        self.log.begin(name, images=state.images, total=stage.images, step_images=step_images, best_psnr=state.best_psnr)
        while True:
            images = state.images
            done = images >= stage.images
            rate = learning_rate(stage, images) * factor

            # well?
            if self.device.type == "cpu" or done or state.steps % health.READ_EVERY_STEPS == 0:
                self._look(watch, state)

            # report
            if done or _crossed(images, step_images, recipe.report_every_images):
                if values := state.interval.take():
                    values |= signals
                    self.log.report(images, rate, values)
                    self._judge_health(history, values)
                signals = {}

            # save, before a validation that a bad picture or a kill may end
            validated, stopping = state.validated_images == images or self.pairs is None, self.stop()
            validating = not validated and (done or _crossed(images, step_images, recipe.validation.every_images))
            if images != saved_at and (
                done or stopping or validating or _crossed(images, step_images, recipe.checkpoint.every_images)
            ):
                self._look(watch, state)
                with self.log.pace.pause("save"):
                    self._save(number, state, before)
                saved_at = images
            if validating and not stopping:
                with self.log.pace.pause("validation"):
                    validated = self._validate(name, state, before)
                stopping = not validated
                if done and validated:  # else the same command would validate the finished stage again
                    self._save(number, state, before)

            # done?
            if done and validated:
                return True
            if stopping:
                return False

            # one batch: the discriminator's passes serve both players
            torch.manual_seed(seed_at(recipe.seed, before + images))
            with self.log.pace.waiting():
                raw = next(batches)
            batch = to_device(raw, self.device, recipe.scale, data.rounding)
            buffers.keep()
            state.generator_optimizer.param_groups[0]["lr"] = rate
            moving = [state.generator_optimizer]
            if discriminator is None or state.discriminator_optimizer is None or adversarial is None:
                numbers = pixel_step(forward, batch, criteria, precision)
                generator_moves = True
            else:
                state.discriminator_optimizer.param_groups[0]["lr"] = adversarial.learning_rate * rate / stage.learning_rate
                generator_moves = images >= adversarial.alone_images
                moving = [state.generator_optimizer] * generator_moves + [state.discriminator_optimizer]
                numbers, super_res = adversarial_step(
                    forward if generator_moves else generator,
                    discriminator,
                    batch,
                    criteria,
                    precision,
                    generator_moves=generator_moves,
                )
                average_gradients(discriminator)
                numbers["discriminator_gradient_norm"] = health.norm_of_gradients(discriminator)
                after = images + step_images
                if after >= stage.images or _crossed(after, step_images, recipe.report_every_images):
                    signals = health.signals(super_res, batch, recipe.scale)
            if generator_moves:
                average_gradients(generator)
                limit = stage.gradient_clip or float("inf")
                numbers["gradient_norm"] = torch.nn.utils.clip_grad_norm_(generator.parameters(), limit).detach()

            # step, average: a step that is not finite moves nothing, decided on the device
            numbers = mean_numbers(numbers)
            good = watch.add(state.steps, batch.numbers, numbers)
            for optimizer in moving:
                optimizer.found_inf = (~good).float()  # type: ignore[attr-defined]
                optimizer.step()
                optimizer.zero_grad()
            buffers.restore_unless(good)
            if generator_moves:
                state.average.update(generator, state.steps, good)
            state.interval.add(numbers, good)
            state.steps += 1
            state.images += step_images
            self.log.step()

    def _look(self, watch: health.Watch, state: StageState) -> None:
        """Tell of the steps that were not finite. Raises Diverged when there were too many in a row."""
        faults, state.bad_in_a_row = watch.read(state.bad_in_a_row)
        for fault in faults:
            patches = sorted(number for share in gather(fault.patches) for number in share)
            self.log.event(
                f"{self.stage_name}: step {fault.step} skipped, not finite: {', '.join(fault.not_finite)}",
                event="skipped step",
                stage=self.stage_name,
                step=fault.step,
                patches=patches,
                photos=[self.plan.pack.manifest.tiles[self.plan.place(number).tile].source for number in patches],
            )
        if state.bad_in_a_row >= self.recipe.health.bad_in_a_row:
            raise Diverged(f"{state.bad_in_a_row} steps in a row were not finite")

    def _judge_health(self, history: list[dict[str, float]], values: dict[str, float]) -> None:
        """Say what ails the GAN, each thing once for as long as it lasts."""
        before = health.verdicts(history)
        history.append(values)
        for ailment, text in health.verdicts(history).items():
            if ailment not in before:
                self.log.event(f"{self.stage_name}: {text}", event="verdict", stage=self.stage_name)

    def _save(self, number: int, state: StageState, before: int) -> None:
        tensors = to_tensors(state)
        health.check_finite(tensors)
        require_equal_weights(state.generator, state.discriminator)
        if rank() > 0:
            return
        facts = to_facts(state) | {
            "stage_number": number,
            "rollbacks": self.rollbacks,
            "log_bytes": self.log.position(),
            "settings": self.settings,
            "versions": versions(),
        }
        folder = self.run_dir / "checkpoints" / f"step-{before + state.images:012d}"
        commit(folder, tensors, facts, self.recipe.checkpoint.keep)

    def _validate(self, name: str, state: StageState, before: int) -> bool:
        """Measure the average, and keep it if no other of this stage was as good. Returns False when cut short by a stop."""
        assert self.pairs is not None
        network, images = state.average.network, before + state.images
        health.check_finite(network.state_dict())
        sheet = self.run_dir / "samples" / f"{images:012d}-{name}.png"
        try:
            values = validate(network, self.pairs, self.recipe, self.device, sheet, self.stop)
        except Cancelled:
            return False
        state.validated_images = state.images
        if values["validation_psnr"] > (state.best_psnr or 0):
            state.best_psnr = values["validation_psnr"]
            if rank() == 0:
                save_model(self.run_dir / f"model-best-{name}.safetensors", network, self._card(images) | values)
        self.log.write({"stage": name, "images": state.images, **values})
        self.log.say(f"{name} {state.images}  " + "  ".join(f"{key} {value:.4f}" for key, value in values.items()))
        return True

    def _card(self, images: int) -> dict[str, Any]:
        return {"recipe": self.recipe.name, "images_seen": images, "seed": self.recipe.seed, "scale": self.recipe.scale}


def _crossed(images: int, batch: int, every: int) -> bool:
    """Whether this step is the first at or past a multiple of ``every`` images."""
    return images > 0 and images // every > (images - batch) // every
