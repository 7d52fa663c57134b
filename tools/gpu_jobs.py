"""For maintainers: train the papers' networks where a GPU is at hand for minutes only, in runs that stop in time and go on later.

    python tools/gpu_jobs.py pack ../shared/data/train /tmp/data
    python tools/gpu_jobs.py train rrdb-x4 --data /tmp/data/pack -o out --max-time 510
    python tools/gpu_jobs.py train rrdb-x4 --data /tmp/data/pack -o out --max-time 510 --start out --images 600000
    python tools/gpu_jobs.py join out rrdb-x4.safetensors

``pack`` takes whatever tars of photographs are there and keeps the twelve held-out ones apart. ``train`` leaves in ``out`` the moving
average in half precision, in parts below 16 MB, and metrics.jsonl; it does so whatever ends it, once a state was saved. A run without
``--images`` keeps its learning rate; the last one gets as many images as its time allows, and the rate falls to nothing. Nothing but
``out`` has to be kept between runs. On a CPU, for a rehearsal, add ``--device cpu --max-time 60 --small``. On a machine without
imagecodecs, which nothing here needs, set ``PYTHONPATH=src:tools/stand_in``.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import torch

from superscale.networks.catalog import build_generator
from superscale.networks.rrdbnet import RRDBNet
from superscale.training.loop.train import train
from superscale.training.recipe.schema import Recipe, load_recipe
from superscale.weights.checkpoint import Model, model_of, save_model
from superscale.weights.runs import read_run
from superscale.weights.store import find_model

PART_BYTES = 15_000_000
BLOCKS = 23
ENDLESS = 10**9
# Left for the start, the last state and the weights.
SPARE_SECONDS = 25
FAST = ["precision=bf16", "compile=true", "checkpoint.every_images=20000", "report_every_images=3200"]
SMALL = ["data.batch=2", "data.patch_px=96", "compile=false", "checkpoint.every_images=4", "report_every_images=4"]
DISTILLED = "stage.gan.perceptual.network=vgg19-student"
# job -> recipe, the first start, the stage, its learning rate and batch, other settings
JOBS: dict[str, tuple[str, str, str, float, int, list[str]]] = {
    "rrdb-x4": ("rrdb_lite_x4", "rrdb-lite-x4", "psnr", 4e-4, 32, [f"generator.blocks={BLOCKS}", "data.patch_px=128"]),
    "esrgan-x4": (
        "esrgan_lite_x4",
        "rrdb-x4.safetensors",
        "gan",
        1e-4,
        32,
        [f"generator.blocks={BLOCKS}", "data.patch_px=128", DISTILLED],
    ),
    "srgan-x4": ("srgan_x4_fast", "srresnet-x4", "gan", 1.5e-4, 64, [DISTILLED]),
    "srresnet-x4": ("srresnet_x4_fast", "srresnet-x4", "psnr", 4e-4, 64, []),
    "photo-x4": ("photo_x4", "photo-x4", "psnr", 3e-4, 64, []),
}


def main() -> None:
    """Read the command line and do one of three things."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    pack = verbs.add_parser("pack")
    pack.add_argument("photographs", type=Path)
    pack.add_argument("output", type=Path)
    job = verbs.add_parser("train")
    job.add_argument("job", choices=JOBS)
    job.add_argument("--data", type=Path, required=True)
    job.add_argument("-o", "--output", type=Path, required=True)
    job.add_argument("--max-time", type=float, required=True, help="seconds")
    job.add_argument("--start", help="a model, or the output folder of a run before")
    job.add_argument("--images", type=int, default=ENDLESS, help="of the last run, whose rate falls to nothing")
    job.add_argument("--teacher", help="of photo-x4")
    job.add_argument("--device", default="auto")
    job.add_argument("--small", action="store_true", help="for a rehearsal on a CPU")
    join = verbs.add_parser("join")
    join.add_argument("parts", type=Path)
    join.add_argument("model", type=Path)
    given = parser.parse_args()
    if given.verb == "pack":
        subprocess.run([sys.executable, Path(__file__).with_name("held_out.py"), given.photographs, given.output], check=True)
        command = [sys.executable, "-m", "superscale", "prepare", given.output / "train", "-o", given.output / "pack"]
        subprocess.run(command, check=True)
    elif given.verb == "train":
        run_job(given)
    else:
        given.model.write_bytes(joined(given.parts))


def run_job(given: argparse.Namespace) -> None:
    """Train until the time is up, and leave the weights in parts."""
    given.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        start = Path(folder) / "start.safetensors"
        save_model(start, first(given, Path(folder)).generator, {})
        run = Path(folder) / "run"
        try:
            train(recipe(given, start), run, device=given.device, max_seconds=given.max_time - SPARE_SECONDS)
        finally:
            if (run / "checkpoints").is_dir():
                leave(run, given.output, Path(folder) / f"{given.job}.safetensors")


def recipe(given: argparse.Namespace, start: Path) -> Recipe:
    """One stage of the job's recipe, with this machine's batch."""
    name, _, stage, rate, batch, more = JOBS[given.job]
    last = given.images < ENDLESS
    settings = [
        f"start={start}",
        f"data.path={given.data}",
        f"data.batch={batch}",
        f"stage.{stage}.images={given.images}",
        f"stage.{stage}.learning_rate={rate}",
        f"stage.{stage}.schedule={'cosine' if last else 'constant'}",
        f"stage.{stage}.ema_decay=0.999",
        *FAST,
        *more,
        *(SMALL if given.small else ()),
    ]
    if given.teacher:
        settings += [f"teacher.model={given.teacher}", "teacher.patches=4" if given.small else "teacher.patches=4000"]
    whole = load_recipe(name, settings)
    return replace(whole, stage={stage: whole.stage[stage]})


def first(given: argparse.Namespace, folder: Path) -> Model:
    """The model to begin with, made deeper where the job's network is."""
    start = given.start or JOBS[given.job][1]
    if Path(start).is_dir():
        (folder / "before.safetensors").write_bytes(joined(Path(start)))
        start = str(folder / "before.safetensors")
    model = find_model(start)
    if isinstance(model.generator, RRDBNet) and len(model.generator.body) < BLOCKS:
        return Model(model.name, deeper(model.generator, BLOCKS), {})
    return model


def deeper(generator: RRDBNet, blocks: int) -> RRDBNet:
    """The same function with more blocks: those that are added return their input at first."""
    config = generator.config
    grown = build_generator(
        "rrdbnet", {"features": config.features, "growth_channels": config.growth_channels, "blocks": blocks}
    )
    assert isinstance(grown, RRDBNet)
    grown.load_state_dict(generator.state_dict(), strict=False)
    with torch.no_grad():
        for block in list(grown.body)[len(generator.body) :]:
            for dense in (block.rdb1, block.rdb2, block.rdb3):
                dense.conv5.weight.zero_()
                dense.conv5.bias.zero_()
            # The block adds beta * its three dense blocks' result: that must be nothing.
            block.rdb3.conv5.weight[:, : config.features, 1, 1].diagonal().fill_(-1 / config.residual_scale)
    return grown


def leave(run: Path, output: Path, file: Path) -> None:
    """Write the average of a run in half precision, in parts, and its figures, into the output folder."""
    save_model(file, model_of(read_run(run), str(run)).generator, {}, half=True)
    for old in output.glob("weights.*"):
        old.unlink()
    data = file.read_bytes()
    for number, start in enumerate(range(0, len(data), PART_BYTES)):
        (output / f"weights.{number:02d}").write_bytes(data[start : start + PART_BYTES])
    shutil.copy(run / "metrics.jsonl", output / "metrics.jsonl")
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    print(
        f"{len(data):,} bytes; images/s: {[round(row['images_per_second'], 1) for row in rows if 'images_per_second' in row][-5:]}"
    )


def joined(folder: Path) -> bytes:
    """The file whose parts are in a folder."""
    return b"".join(part.read_bytes() for part in sorted(folder.glob("weights.*")))


if __name__ == "__main__":
    main()
