"""How fast do patches come from our pack, beside PNG sub-images decoded for every patch? See README.md for the contract.

The peer is the usual loop, written plainly: a PNG of 480x480 is decoded for each patch, cropped, reduced by MATLAB's bicubic in numpy
(or, to be kind, its low-res partner is decoded from a second PNG), turned, and stacked as float32. Ours reads the same patches from
a pack and reduces them as one batch. Also how long the real-world degradation of a batch takes. With `--device cuda` ours cuts, reduces and
degrades on the GPU, out of a pack kept there, and the peer's batches are sent to it. With `--busy N` also ours beside N processes that do
nothing but compute, and the ratio to its rate without them, both by the wall clock.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import imagecodecs
import numpy as np
import torch
from hardware import hardware
from PIL import Image
from skimage import data

from superscale.data.draws import DegradationConfig
from superscale.data.loader import Batch, stream, to_device
from superscale.data.pack import Pack
from superscale.data.patches import PatchPlan
from superscale.data.prepare import prepare
from superscale.image.resize import imresize
from superscale.machine.allocator import keep_freed_memory
from superscale.machine.threads import one_thread_executor
from superscale.training.loop.data_source import batch_loader

SUB_IMAGE_PX, PATCH_PX, BATCH, SCALE = 480, 128, 16, 4
# Timed at once: a tenth of a second evens out what a batch of ours, a few milliseconds, shows of other work on the machine.
BATCHES = 8
WALL_SECONDS, TURNS = 2.0, 3
REAL_PATCH_PX, REAL_BATCH = 256, 8
Pictures = tuple[torch.Tensor, torch.Tensor]


def sub_images() -> list[np.ndarray]:
    """Six photographs of scikit-image's, cut or mirrored to the usual side."""
    names = ("astronaut", "coffee", "rocket", "hubble_deep_field", "retina", "immunohistochemistry")
    photos = [getattr(data, name)() for name in names]
    return [np.pad(photo, ((0, 480), (0, 480), (0, 0)), mode="symmetric")[:SUB_IMAGE_PX, :SUB_IMAGE_PX] for photo in photos]


class DecodedPerPatch:
    """Crops of PNG files, which lie in memory: the disk is not part of it."""

    def __init__(self, plan: PatchPlan, pictures: list[np.ndarray], stored_low_res: bool, threads: int) -> None:
        self.plan, self.stored_low_res = plan, stored_low_res
        self.workers = ThreadPoolExecutor(threads)  # decoding and large products let other threads work
        self.high_res = [_png(picture) for picture in pictures]
        self.low_res = [_png(imresize(picture, 1 / SCALE)) for picture in pictures]

    def __call__(self, numbers: tuple[int, ...]) -> Pictures:
        pairs = list(self.workers.map(self._pair, numbers))
        return torch.stack([low for low, _ in pairs]), torch.stack([high for _, high in pairs])

    def _pair(self, number: int) -> Pictures:
        place = self.plan.place(number)
        top, left, side = place.top, place.left, PATCH_PX // SCALE
        high_res = _decoded(self.high_res[place.tile])
        if self.stored_low_res:
            low_res = _decoded(self.low_res[place.tile])[top : top + side, left : left + side]
        high_res = high_res[top * SCALE : top * SCALE + PATCH_PX, left * SCALE : left * SCALE + PATCH_PX]
        if not self.stored_low_res:
            low_res = imresize(high_res, 1 / SCALE)
        return _tensor(low_res, place.symmetry), _tensor(high_res, place.symmetry)


def _png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def _decoded(png: bytes) -> np.ndarray:
    # A third faster than Pillow.
    decoded: np.ndarray = imagecodecs.png_decode(png)
    return decoded


def _tensor(pixels: np.ndarray, symmetry: int) -> torch.Tensor:
    mirrored = pixels[:, ::-1] if symmetry >= 4 else pixels
    turned = np.rot90(mirrored, symmetry % 4).astype(np.float32) / 255
    return torch.from_numpy(np.ascontiguousarray(turned.transpose(2, 0, 1)))


@contextmanager
def busy(count: int) -> Iterator[None]:
    """Processes that do nothing but compute."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        time.sleep(1)
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def batches_per_second(plan: PatchPlan, stored_low_res: bool, device: torch.device) -> float:
    """As training takes them."""
    load = batch_loader(plan, stored_low_res, device)

    def ready(numbers: tuple[int, ...]) -> Batch:
        return to_device(load(numbers), device, SCALE, "double")

    taken = stream(ready, start=0, batch=BATCH)
    next(taken)
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < WALL_SECONDS:
        next(taken)
        count += 1
    rate = count / (time.perf_counter() - start)
    taken.close()
    return rate


def beside_others(plan: PatchPlan, device: torch.device, count: int) -> list[dict[str, object]]:
    """Idle and busy in turns."""
    results: list[dict[str, object]] = []
    for name, stored in (("bicubic of each patch", False), ("stored", True)):
        pairs = []
        for _ in range(TURNS):
            idle = batches_per_second(plan, stored, device)
            with busy(count):
                pairs.append((idle, batches_per_second(plan, stored, device)))
        results.append(
            {
                "low_res": name,
                "idle_images_per_second": round(BATCH * statistics.median(idle for idle, _ in pairs)),
                "busy_images_per_second": round(BATCH * statistics.median(rate for _, rate in pairs)),
                "ratio_median": round(statistics.median(rate / idle for idle, rate in pairs), 2),
            }
        )
    return results


def seconds(work: Callable[[], object], clock: Callable[[], float], device: torch.device) -> float:
    start = clock()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return clock() - start


def compare(
    name: str, plan: PatchPlan, peer: DecodedPerPatch, runs: int, clock: Callable[[], float], device: torch.device
) -> dict[str, object]:
    """Both sides in turns on the same patches."""
    images = BATCH * BATCHES
    load = batch_loader(plan, peer.stored_low_res, device)
    # As training does on a CPU; a GPU's batches are made ready by the thread that trains.
    loader = one_thread_executor("loader") if device.type == "cpu" else ThreadPoolExecutor(1)

    def ready(start: int) -> Batch:
        return to_device(load(tuple(range(start, start + BATCH))), device, SCALE, "double")

    pairs = []
    for run in range(runs + 3):
        first = run * images

        def ours(first: int = first) -> Pictures:
            for start in range(first, first + images, BATCH):
                batch = loader.submit(ready, start).result()
            return batch.low_res, batch.high_res

        def theirs(first: int = first) -> Pictures:
            for start in range(first, first + images, BATCH):
                low, high = peer(tuple(range(start, start + BATCH)))
                batch = low.to(device), high.to(device)
            return batch

        pairs.append((seconds(ours, clock, device), seconds(theirs, clock, device)))
    (low, high), (peer_low, peer_high) = ours(), theirs()
    assert torch.equal(high, peer_high)
    pairs = pairs[3:]
    ratios = sorted(slow / fast for fast, slow in pairs)
    # The peer's crop knows no surroundings: only its inner low-res pixels can be equal.
    inner = (..., slice(2, -2), slice(2, -2))
    return {
        "low_res": name,
        "ours_images_per_second": round(images / statistics.median(fast for fast, _ in pairs)),
        "png_images_per_second": round(images / statistics.median(slow for _, slow in pairs)),
        "ratio_median": round(statistics.median(ratios), 1),
        "ratio_quartiles": [round(ratios[len(ratios) // 4], 1), round(ratios[-1 - len(ratios) // 4], 1)],
        "value_difference": float((low[inner] - peer_low[inner]).abs().max()),
    }


def degradation(pack: Pack, runs: int, clock: Callable[[], float], device: torch.device) -> dict[str, object]:
    """Milliseconds a picture of reading and degrading a batch as `real_x4` does."""
    plan = PatchPlan(pack, scale=SCALE, patch_px=REAL_PATCH_PX, seed=0, degradation=DegradationConfig())
    load, times = batch_loader(plan, False, device), []
    for run in range(runs + 3):
        raw = load(tuple(range(run * REAL_BATCH, run * REAL_BATCH + REAL_BATCH)))
        times.append(seconds(lambda raw=raw: to_device(raw, device, SCALE, "double"), clock, device) / REAL_BATCH)
    ordered = sorted(1e3 * each for each in times[3:])
    return {
        "patch_px": REAL_PATCH_PX,
        "batch": REAL_BATCH,
        "ms_per_image_median": round(statistics.median(ordered), 1),
        "ms_per_image_quartiles": [round(ordered[len(ordered) // 4], 1), round(ordered[-1 - len(ordered) // 4], 1)],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=11)
    parser.add_argument("--threads", type=int, default=1, help="of ours, and workers of the peer's")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--busy", type=int, default=0, help="processes that compute at the same time, for one more comparison")
    options = parser.parse_args()
    device = torch.device(options.device)
    torch.set_num_threads(options.threads)
    keep_freed_memory()  # for both sides alike; it is one process, and `superscale train` does so too
    # On one thread the process's own time: all work here is computing, and other processes of the machine do not count.
    # A GPU's time is the wall's.
    clock = time.process_time if options.threads == 1 and device.type == "cpu" else time.perf_counter
    pictures = sub_images()
    with tempfile.TemporaryDirectory() as folder:
        photos = Path(folder) / "photos"
        photos.mkdir()
        for number, picture in enumerate(pictures):
            Image.fromarray(picture).save(photos / f"{number}.png")
        prepare(photos, Path(folder) / "pack", low_res="double")
        pack = Pack(Path(folder) / "pack")
        plan = PatchPlan(pack, scale=SCALE, patch_px=PATCH_PX, seed=0)
        results = [
            compare(name, plan, DecodedPerPatch(plan, pictures, stored, options.threads), options.runs, clock, device)
            for name, stored in (("bicubic of each patch", False), ("stored", True))
        ]
        beside = beside_others(plan, device, options.busy) if options.busy else None
        real = degradation(pack, options.runs, clock, device)
    report = {"hardware": hardware(options.threads), "results": results, "degradation": real} | (
        {"busy": beside} if beside else {}
    )
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
