"""Many pictures from an object store: overhead against a folder run, the driver's memory, a rerun, Ray's rate, and a simulation.

python benchmarks/fanout.py overhead --endpoint-url http://127.0.0.1:8333   # a store on this machine
python benchmarks/fanout.py driver 1000000                                  # memory and seconds; the store is imitated
python benchmarks/fanout.py ray 10000                                       # names a second through two actors that do nothing
python benchmarks/fanout.py simulate --picture-seconds 0.5                  # 10^8 pictures on 100 GPUs, by rates given here
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from superscale.data.synthetic import synthetic_picture
from superscale.image.io import Image, write_image
from superscale.inference.inputs import expand
from superscale.inference.jobs import run_jobs
from superscale.inference.outcomes import Outcome, Settings
from superscale.inference.plan import plan_jobs
from superscale.inference.remote import Order, Plan, upscale_objects
from superscale.inference.upscaler import Upscaler
from superscale.machine import processor
from superscale.machine.pool import in_threads
from superscale.machine.ray_pool import Cluster, on_ray
from superscale.options import UpscaleOptions
from superscale.remote.manifest import new_run
from superscale.remote.names import Address, parsed
from superscale.remote.store import Access, Entry, Store

SIDE_PX, PICTURES, ROUNDS = 256, 8, 5
DONE = Outcome("input", "output", "done", 1024, 1024)


def overhead(url: str) -> None:
    """The same pictures from a folder and from a store, in turns; the store's own work is on the same cores."""
    upscaler = Upscaler("compact-x4", device="cpu", backend="onnx")
    store, place = Store(Access(url)), parsed(f"s3://fanout-{time.time_ns()}/")
    store.client.system.call_s3("create_bucket", Bucket=place.bucket)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number in range(PICTURES):
            write_image(folder / "in" / f"{number}.png", Image(synthetic_picture(number, SIDE_PX)))
            store.put(place.below(f"in/{number}.png"), folder / "in" / f"{number}.png", {})
        settings = Settings(scale=upscaler.scale)

        def plain(turn: int) -> None:
            jobs = plan_jobs(expand([str(folder / "in")]), str(folder / f"out{turn}"), scale=upscaler.scale)
            assert all(one.status == "done" for one in run_jobs(jobs, upscaler.enlarge, settings))

        def remote(turn: int) -> None:
            order = replace(an_order(place.below(f"out{turn}/")), access=Access(url), digest=upscaler.model.digest())
            plan = Plan([f"{place}in/"], order, store)
            assert sum(one.status == "done" for one in upscale_objects(plan, upscaler)) == PICTURES

        walls, processors = [], []
        for turn in range(ROUNDS + 1):
            (wall, cpu), (wall_plain, cpu_plain) = timed(remote, turn), timed(plain, turn)
            if turn:
                walls.append(wall / wall_plain)
                processors.append(cpu / cpu_plain)
                print(f"folder {1000 * wall_plain / PICTURES:.0f} ms, store {1000 * wall / PICTURES:.0f} ms a picture, wall")
    for clock, ratios in (("wall", walls), ("CPU of this process", processors)):
        low, _, high = quantiles(ratios, n=4)
        print(f"{clock}: store / folder {median(ratios):.3f} (quartiles {low:.3f} to {high:.3f}), {ROUNDS} pairs")


def timed(work: Callable[[int], None], turn: int) -> tuple[float, float]:
    wall, processor = time.perf_counter(), time.process_time()
    work(turn)
    return time.perf_counter() - wall, time.process_time() - processor


def an_order(output: Address) -> Order:
    settings, options = Settings(scale=4.0), UpscaleOptions()
    where: dict[str, Any] = {"access": Access("http://127.0.0.1:9"), "output": output, "run": new_run()}
    return Order(model="compact-x4", digest="0" * 64, scale=4.0, options=options, settings=settings, **where)


class Imitated(Store):
    """A store with a million finished pictures, or none finished, made up as they are asked for."""

    def __init__(self, count: int, order: Order, is_finished: bool) -> None:
        super().__init__(order.access)
        self.count, self.order, self.is_finished = count, order, is_finished

    def names(self) -> Iterator[tuple[str, str, str]]:
        for number in range(self.count):
            name = f"{number // 1000:06d}/picture-{number:09d}.png"
            yield name, f'"{number:032x}"', f'"{number + 7:032x}"'

    def listed(self, prefix: Address) -> Iterator[Entry]:
        output = self.order.output
        if prefix.key.endswith("manifest/"):
            yield from (Entry(prefix.below(str(shard)), '"0"', 1) for shard in range(0, self.count, 5000))
        elif prefix == output:
            if self.is_finished:
                yield from (Entry(output.below(name.replace(".", "_x4.")), made, 1) for name, _, made in self.names())
        else:
            yield from (Entry(prefix.below(name), etag, 1) for name, etag, _ in self.names())

    def read(self, address: Address) -> bytes:
        first, output = int(address.key.rpartition("/")[2]), self.order.output
        known = {
            "root": "s3://bucket/in/",
            "status": "done",
            "settings": self.order.hash,
            "model": "0" * 32,
            "size": 1,
            "seconds": 0.3,
        }
        text = []
        for number in range(first, min(first + 5000, self.count)):
            name = f"{number // 1000:06d}/picture-{number:09d}.png"
            line = {"input": f"s3://bucket/in/{name}", "etag": f'"{number:032x}"', "output_etag": f'"{number + 7:032x}"'}
            text.append(json.dumps(known | line | {"output": f"{output}{name.replace('.', '_x4.')}"}))
        return "\n".join(text).encode()


def driver(count: int) -> None:
    """Peak memory and seconds of a driver whose workers do nothing, and of a rerun over finished pictures."""
    order = an_order(parsed("s3://bucket/out/"))
    for is_finished in (False, True):
        began, plan = time.perf_counter(), Plan(["s3://bucket/in/"], order, Imitated(count, order, is_finished))
        done = sum(1 for _ in in_threads(lambda _: DONE, plan, 2))
        assert (done, plan.finished) == ((0, count) if is_finished else (count, 0))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        what = "a rerun over finished pictures" if is_finished else "workers that do nothing"
        print(f"{count} names, {what}: {time.perf_counter() - began:.1f} s, peak {peak:.0f} MiB so far (the store is imitated)")


class Idle:
    def __init__(self, name: str) -> None: ...
    def do(self, task: Any, /) -> Outcome:  # noqa: ARG002
        return DONE

    def commit(self) -> None: ...
    def close(self) -> None: ...


def through_ray(count: int) -> None:
    """Names a second that a driver hands to two actors on this machine, and its memory."""
    order = an_order(parsed("s3://bucket/out/"))
    plan = Plan(["s3://bucket/in/"], order, Imitated(count, order, False))
    began = 0.0
    number = 0
    for _ in on_ray(Idle, plan, lambda *_: DONE, Cluster(workers=2)):
        number += 1
        began = began or time.perf_counter()
    seconds, peak = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{number} names through Ray: {number / seconds:.0f} a second, driver's peak {peak:.0f} MiB")


def simulate(pictures: int, gpus: int, picture_seconds: float, driver_rate: float, hourly: float, node_hours: float) -> None:
    """SIMULATED: hours and cost. A node of eight GPUs is lost every ``node_hours``, is back after ten minutes, and loses what it was at."""
    draw, hours, left = random.Random(0), 0.0, float(pictures)
    nodes, step = [0.0] * (gpus // 8 or 1), 1 / 60
    rate = min(gpus / picture_seconds, driver_rate)
    lost = 0
    while left > 0:
        alive = sum(back <= hours for back in nodes)
        left -= min(rate, alive * (gpus / len(nodes)) / picture_seconds) * 3600 * step
        for number, back in enumerate(nodes):
            if back <= hours and draw.random() < step / node_hours:
                nodes[number], left, lost = hours + 1 / 6, left + 2 * gpus / len(nodes), lost + 1
        hours += step
    requests = pictures * 2 + 3 * pictures / 1000
    limits = {"GPUs": gpus / picture_seconds, "driver": driver_rate, "one prefix of S3 (3500 PUT/s, stated by AWS)": 3500.0}
    print(
        f"SIMULATED: {pictures:.0e} pictures on {gpus} GPUs at {picture_seconds} s: {hours:.0f} h, {lost} nodes lost, ", end=""
    )
    print(f"{hours * gpus * hourly:,.0f} for GPUs at {hourly} an hour, {requests:.2e} requests; ", end="")
    print(f"saturates at: {min(limits, key=lambda name: limits[name])} ({min(limits.values()):.0f} pictures/s)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="kind", required=True)
    kinds.add_parser("overhead").add_argument("--endpoint-url", required=True)
    kinds.add_parser("driver").add_argument("count", type=int)
    kinds.add_parser("ray").add_argument("count", type=int)
    simulation = kinds.add_parser("simulate")
    simulation.add_argument("--picture-seconds", type=float, required=True)
    simulation.add_argument("--driver-rate", type=float, required=True)
    simulation.add_argument("--hourly", type=float, default=2.0)
    simulation.add_argument("--node-hours", type=float, default=50.0)
    given = parser.parse_args()
    print({"date": date.today().isoformat(), "processor": processor.name(), "cores": os.cpu_count()})
    if given.kind == "overhead":
        overhead(given.endpoint_url)
    elif given.kind == "simulate":
        simulate(10**8, 100, given.picture_seconds, given.driver_rate, given.hourly, given.node_hours)
    else:
        {"driver": driver, "ray": through_ray}[given.kind](given.count)


if __name__ == "__main__":
    main()
