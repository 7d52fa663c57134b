"""For maintainers: measure a trained model, write its card, and add it to the bundled models in half precision.

    python tools/bundle_model.py runs/srresnet/model.safetensors srresnet-x4 --benchmarks ../shared/data/benchmarks \
        --hardware "2 cores of an AMD EPYC (Zen 5)" --hours 1.2

Prints the line for ``BUNDLED`` in weights/store.py. The results are measured on the half-precision file that users get.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

from superscale.data.pairs import PairFolder
from superscale.evaluation.benchmark import benchmark
from superscale.evaluation.table import Convention
from superscale.inference.upscaler import Upscaler
from superscale.training.recipe.schema import load_recipe, to_toml
from superscale.weights.checkpoint import load_model, save_model

BUNDLED = Path(__file__).parents[1] / "src" / "superscale" / "weights" / "bundled"
SETS = ("Set5", "Set14", "BSD100")
DATA = (
    "1082 tiles of 512x512 cut from {photographs} open-licence photographs, first reduced 2-3 times "
    "(CC0, CC-BY, CC-BY-SA, Unlicense, Unsplash, BSD-2-Clause); sources: budgie, elementary, deepin, Pop!_OS, Solus and Ubuntu MATE "
    "wallpapers, OpenDroneMap aerial surveys"
)
LIMITS = (
    "Trained on bicubic reductions of clean photographs: JPEG blocks and noise are enlarged with the picture. "
    "Text and faces smaller than it saw in training are guessed."
)


def main() -> None:
    """Read the command line, write the model file twice, without and with its results, and print its line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path)
    parser.add_argument("name")
    parser.add_argument("--benchmarks", type=Path, required=True)
    parser.add_argument("--hardware", required=True)
    parser.add_argument("--hours", type=float, required=True)
    parser.add_argument("--images", type=int, help="images seen in all, where the model went on from another; default: its own")
    parser.add_argument("--photographs", type=int, default=269)
    parser.add_argument("--limits", default=LIMITS)
    parser.add_argument("--note", default="")
    options = parser.parse_args()
    trained = load_model(options.model)
    recipe = to_toml(load_recipe(trained.card["recipe"]))
    card = {
        "licence": "Apache-2.0",
        "recipe": trained.card["recipe"],
        "recipe_sha256": hashlib.sha256(recipe.encode()).hexdigest(),
        "data": DATA.format(photographs=options.photographs),
        "images_seen": options.images or trained.card["images_seen"],
        "hardware": options.hardware,
        "hours": options.hours,
        "limits": options.limits,
    }
    if options.note:
        card["note"] = options.note
    path = BUNDLED / f"{options.name}.safetensors"
    save_model(path, trained.generator, card, half=True)
    card["measured"] = measured(path, options.benchmarks)
    save_model(path, trained.generator, card, half=True)
    print(f'    "{options.name}": "{hashlib.sha256(path.read_bytes()).hexdigest()}",')
    print(card["measured"])


def measured(path: Path, benchmarks: Path) -> dict[str, object]:
    """Return PSNR-Y and SSIM-Y on the standard sets, with their convention."""
    upscaler = Upscaler(path, device="cpu")
    table: dict[str, object] = {}
    for name in SETS:
        pairs = PairFolder(benchmarks / name / "HR", 4)
        rows = benchmark(upscaler, pairs, model=path.stem, data=name, metrics=("psnr", "ssim"), border=4, color="y")
        table[name] = {row.metric: round(row.mean, 4) for row in rows}
    table["convention"] = str(Convention(scale=4, color="y", border=4, low_res="bicubic, double"))
    return table


if __name__ == "__main__":
    main()
