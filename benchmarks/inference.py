"""Enlarging, uint8 to uint8, against the usual loop (torch, eager, fp32, channels first) in the same run; and a picture from the shell.

python benchmarks/inference.py --threads 1 --side 128 srresnet-x4 compact-x4 ../shared/weights/realesrgan-x4plus.safetensors
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from superscale.machine import processor

PACKAGES = {"torch": "torch", "onnx": "onnxruntime", "openvino": "openvino"}
WARM_UP = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--shell", action="store_true", help="Time the command line instead.")
    parser.add_argument("--folder", type=int, metavar="N", help="Time the command on a folder of N pictures instead.")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    print(f"{datetime.now(UTC):%Y-%m-%d}, {processor.name()}, {os.cpu_count()} cores, {options.threads} threads")
    if options.shell:
        from_the_shell(options.pairs)
    if options.folder:
        for model in options.models:
            a_folder(model, options.folder)
        return
    for model in options.models:
        against_the_usual_loop(model, options.threads, options.side, options.pairs)


def against_the_usual_loop(model: str, threads: int, side: int, pairs: int) -> None:
    import numpy as np
    import torch

    from superscale.data.synthetic import synthetic_picture
    from superscale.inference.upscaler import Upscaler
    from superscale.weights.store import find_model

    torch.set_num_threads(threads)
    picture = synthetic_picture(0, side)
    generator = find_model(model).generator

    def usual() -> Any:
        with torch.inference_mode():
            planes = generator(torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255)
        return (planes[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()

    sides = {name: Upscaler(model, backend=name, tile=0) for name, package in PACKAGES.items() if find_spec(package)}  # type: ignore[arg-type]
    calls: dict[str, Callable[[], Any]] = {"usual": usual, **{name: lambda u=u: u(picture) for name, u in sides.items()}}  # type: ignore[misc]
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    for number in range(WARM_UP + pairs):
        for name, call in calls.items():
            began = time.perf_counter(), time.process_time()
            call()
            if number >= WARM_UP:
                taken[name].append((time.perf_counter() - began[0], time.process_time() - began[1]))
    expected = usual().astype(int)
    for name in sides:
        for clock, which in (("wall", 0), ("CPU", 1)):
            ratios = [one[which] / two[which] for one, two in zip(taken["usual"], taken[name], strict=True)]
            low, middle, high = statistics.quantiles(ratios, n=4)
            seconds = statistics.median(one[which] for one in taken[name])
            print(
                f"{Path(model).stem} {name} {clock}: {middle:.2f}x (quartiles {low:.2f}-{high:.2f}), {seconds:.3f} s a picture"
            )
        print(
            f"{Path(model).stem} {name}: at most {np.abs(calls[name]().astype(int) - expected).max()} levels from the usual loop"
        )


def from_the_shell(runs: int) -> None:
    from PIL import Image

    from superscale.data.synthetic import synthetic_picture

    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "in.png"
        Image.fromarray(synthetic_picture(0, 256)).save(source)
        upscale = ["-m", "superscale", "upscale", str(source), "-o", str(Path(folder) / "out.png"), "--overwrite", "-q"]
        lines = {"import superscale": ["-c", "import superscale"], "--help": ["-m", "superscale", "--help"]}
        for model in ("srgan-x4", "compact-x4"):
            lines |= {f"256x256, {model}, {name}": [*upscale, "--model", model, "--backend", name] for name in PACKAGES}
        lines |= {"python alone": ["-c", "pass"]}
        for name, line in lines.items():
            timed(name, [sys.executable, *line], runs)


def a_folder(model: str, count: int) -> None:
    """The command on a folder of PNG pictures of 256x256, start and all, against the network alone: as many calls, timed in thirds before,
    in the middle and after."""
    import numpy as np
    from PIL import Image

    from superscale.data.synthetic import synthetic_picture
    from superscale.inference.upscaler import Upscaler

    backend = Upscaler(model).engine.backend
    planes = np.ascontiguousarray(synthetic_picture(0, 256).transpose(2, 0, 1)[None], np.float32) / 255

    def network(calls: int) -> tuple[float, float]:
        began = time.perf_counter(), time.process_time()
        for _ in range(calls):
            backend(planes)
        return time.perf_counter() - began[0], time.process_time() - began[1]

    network(WARM_UP)
    with tempfile.TemporaryDirectory() as folder:
        for number in range(count):
            Image.fromarray(synthetic_picture(number, 256)).save(Path(folder) / f"{number}.png")
        line = [
            sys.executable,
            "-m",
            "superscale",
            "upscale",
            folder,
            "-m",
            model,
            "--backend",
            "onnx",
            "-q",
            "--overwrite",
            "-o",
        ]
        alone, whole = [network(max(1, count // 3))], []
        for _ in range(2):
            began, before = time.perf_counter(), os.times()
            subprocess.run([*line, str(Path(folder) / "out")], check=True)
            after = os.times()
            used = after.children_user + after.children_system - before.children_user - before.children_system
            whole.append((time.perf_counter() - began, used))
            alone.append(network(max(1, count // 3)))
    for clock, which in (("wall", 0), ("CPU", 1)):
        a_picture = statistics.median(one[which] for one in alone) / max(1, count // 3)
        rates = [a_picture * count / one[which] for one in whole]
        print(f"{model}, {count} pictures of 256x256, {clock}: {min(rates):.2f}-{max(rates):.2f} of the network's own rate")


def timed(name: str, line: list[str], runs: int) -> None:
    """The wall's clock and the CPU time of a process."""
    wall, used = [], []
    for _ in range(runs):
        began, before = time.perf_counter(), os.times()
        subprocess.run(line, check=True, stdout=subprocess.DEVNULL)
        after = os.times()
        wall.append(time.perf_counter() - began)
        used.append(after.children_user + after.children_system - before.children_user - before.children_system)
    print(
        f"{name}: wall {statistics.median(wall):.2f} s ({min(wall):.2f}-{max(wall):.2f}), CPU {statistics.median(used):.2f} s"
    )


if __name__ == "__main__":
    main()
