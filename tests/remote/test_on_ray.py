"""A real Ray of two nodes: workers, nodes and drivers die, and nothing is lost or done twice."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from s3_server import S3Server, free_ports
from superscale.data.synthetic import synthetic_picture
from superscale.image.io import Image, write_image
from superscale.inference.scenes import upscale_scene
from superscale.inference.upscaler import Upscaler
from superscale.remote.manifest import lines
from superscale.remote.names import Address

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]
SECONDS = 90
NAMES = [f"{number % 3}/p{number:02d}.png" for number in range(30)]
# A dead node is counted as one within seconds.
HEALTH = {"initial_delay_ms": "500", "period_ms": "500", "timeout_ms": "2000", "failure_threshold": "5"}


@pytest.fixture(scope="module")
def cluster(s3: S3Server) -> Iterator[Any]:
    """Two nodes, with a worker's room each."""
    pytest.importorskip("ray", reason="the extra 'ray' is not installed")
    from ray.cluster_utils import Cluster

    folder = Path(__file__).parent
    with pytest.MonkeyPatch.context() as patch:
        for name, value in HEALTH.items():
            patch.setenv(f"RAY_health_check_{name}", value)
        patch.setenv("PYTHONPATH", os.pathsep.join((str(folder), os.environ.get("PYTHONPATH", ""))))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("OMP_NUM_THREADS", "1")
        (port,) = free_ports(1)
        head = {"num_cpus": 1, "include_dashboard": False, "ray_client_server_port": port}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        cluster.add_node(num_cpus=1)
        patch.setenv("RAY_ADDRESS", cluster.address)
        patch.setenv("ELSEWHERE", f"ray://127.0.0.1:{port}")
        yield cluster
        cluster.shutdown()


@pytest.fixture(scope="module")
def expected(s3: S3Server, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Pictures in the store, a poisoned one among them; the etags of the outputs that one machine makes."""
    folder, prefix = tmp_path_factory.mktemp("pictures"), Address(s3.place.bucket, "ray/in/")
    for number, name in enumerate(NAMES):
        write_image(folder / "one.png", Image(synthetic_picture(number, 24)))
        s3.store.put(prefix.below(name), folder / "one.png", {})
    arguments = [f"{prefix}", "-o", f"s3://{s3.place.bucket}/ray/plain/"]
    assert ended(begun(s3, *arguments, on=None))[0] == 0
    s3.store.put(prefix.below("1/poison.png"), folder / "one.png", {})
    return etags(s3, Address(s3.place.bucket, "ray/plain/"))


def begun(s3: S3Server, *arguments: str, on: str | None = "ray") -> subprocess.Popen[str]:
    fixed = ["--endpoint-url", s3.url, "-m", "compact-x4", "--backend", "onnx", "--device", "cpu", "--json"]
    program = [sys.executable, str(Path(__file__).parent / "deadly.py"), "upscale", *arguments, *fixed]
    command = program + (["--on", on] if on else [])
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def ended(process: subprocess.Popen[str]) -> tuple[int, dict[str, Any]]:
    text, _ = process.communicate(timeout=SECONDS)
    (line,) = [line for line in text.splitlines() if line.startswith('{"version"')] or [f'{{"error": {json.dumps(text)}}}']
    # What is said after it may stand in the same line: both streams are one pipe.
    answer, _ = json.JSONDecoder().raw_decode(line)
    return process.returncode, answer | {"text": text}


def etags(s3: S3Server, prefix: Address) -> dict[str, str]:
    found = {one.address.key.removeprefix(prefix.key): one.etag for one in s3.store.listed(prefix)}
    return {name: etag for name, etag in found.items() if ".superscale/" not in name}


def wait_for(s3: S3Server, prefix: Address, count: int, process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + SECONDS
    while len(etags(s3, prefix)) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.05)


def workers() -> list[int]:
    """The processes of workers."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            found += [int(folder.name)] if b"ray::_Host" in (folder / "cmdline").read_bytes() else []
    return found


def test_workers_nodes_and_drivers_die_and_nothing_is_lost_or_done_twice(
    s3: S3Server, cluster: Any, expected: dict[str, str]
) -> None:
    output = Address(s3.place.bucket, "ray/killed/")
    line = (f"s3://{s3.place.bucket}/ray/in/", "-o", str(output))
    driver = begun(s3, *line)
    wait_for(s3, output, 4, driver)
    os.kill(workers()[0], signal.SIGKILL)
    wait_for(s3, output, 8, driver)
    node = next(iter(cluster.worker_nodes))
    cluster.remove_node(node, allow_graceful=False)
    wait_for(s3, output, 12, driver)
    driver.kill()
    driver.communicate()
    half = etags(s3, output)
    assert 12 <= len(half) < len(NAMES)
    cluster.add_node(num_cpus=1)

    code, answer = ended(begun(s3, *line))
    assert code == 1
    assert etags(s3, output) == expected
    (failed,) = [one for one in answer["results"] if one["status"] == "failed"]
    assert (failed["input"], failed["code"]) == (f"s3://{s3.place.bucket}/ray/in/1/poison.png", "worker-died")
    assert "killed its worker 3 times" in failed["error"]
    # Lines of workers that were killed are missing; of these outputs the next run asks the store.
    last = {one["input"]: one["status"] for one in lines(s3.store, output.below(".superscale/manifest/"))}
    assert last.pop(failed["input"]) == "failed"
    assert set(last.values()) == {"done"}


def test_two_drivers_at_once_share_a_prefix_and_ctrl_c_lets_what_is_begun_end(
    s3: S3Server, cluster: Any, expected: dict[str, str]
) -> None:
    output = Address(s3.place.bucket, "ray/shared/")
    line = (f"s3://{s3.place.bucket}/ray/in/0/", "-o", f"{output}0/")
    here, there = begun(s3, *line, on=None), begun(s3, *line)
    first, second = ended(here), ended(there)
    assert (first[0], second[0]) == (0, 0)
    assert first[1]["done"] + second[1]["done"] == 10
    assert etags(s3, output) == {name: etag for name, etag in expected.items() if name.startswith("0/")}

    line = (f"s3://{s3.place.bucket}/ray/in/2/", "-o", f"{output}2/")
    driver = begun(s3, *line, "--price", "3600")
    wait_for(s3, output.below("2/"), 2, driver)
    driver.send_signal(signal.SIGINT)
    code, answer = ended(driver)
    assert code == 130
    made = etags(s3, output.below("2/"))
    told = {one["output"] for one in lines(s3.store, output.below("2/.superscale/manifest/"))}
    assert answer["done"] == len(made) == len(told) < 10
    cost = re.search(r", cost ([\d.]+)$", answer["text"], re.MULTILINE)
    assert cost is not None
    assert float(cost[1]) > 0.1, "a second of a worker costs one"


def test_a_driver_elsewhere_makes_the_same_of_a_prefix_and_does_nothing_twice(
    s3: S3Server, cluster: Any, expected: dict[str, str]
) -> None:
    output = Address(s3.place.bucket, "ray/elsewhere/")
    line = (f"s3://{s3.place.bucket}/ray/in/1/", "-o", f"{output}1/")
    for done, skipped in ((10, 0), (0, 10)):
        code, answer = ended(begun(s3, *line, on=os.environ["ELSEWHERE"]))
        assert (code, *map(answer.get, ("done", "skipped", "failed"))) == (1, done, skipped, 1), answer
    assert etags(s3, output) == {name: etag for name, etag in expected.items() if name.startswith("1/")}


def printed(*arguments: object) -> str:
    """What a command prints."""
    command = [sys.executable, "-m", "superscale", *map(str, arguments)]
    process = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert process.returncode == 0, process.stderr
    return process.stdout


def test_a_table_and_a_pack_of_workers_are_those_of_one_machine(
    cluster: Any, photos: Path, model_file: Path, tmp_path: Path
) -> None:
    line = ("evaluate", "--data", photos, "-m", "bicubic", "-m", model_file, "--json", "--device", "cpu", "-o")
    here, there = json.loads(printed(*line, tmp_path / "here")), json.loads(printed(*line, tmp_path / "there", "--on", "ray"))
    assert {cost.pop("model") for cost in there["costs"]} == {"bicubic", "bilinear", str(model_file)}
    assert (there["rows"], there["convention"]) == (here["rows"], here["convention"])
    for name in ("results.csv", "results.tex"):
        assert (tmp_path / "there" / name).read_bytes() == (tmp_path / "here" / name).read_bytes()

    write_image(photos / "photo-4.png", Image(synthetic_picture(4, 64).astype("uint16") * 257))  # all are needed at 16 bits
    line = ("prepare", photos, "--tile", 32, "--low-res", "double", "-o")
    assert printed(*line, tmp_path / "one").replace("one:", "two:") == printed(*line, tmp_path / "two", "--on", "ray")
    for path in (tmp_path / "one").iterdir():
        assert (tmp_path / "two" / path.name).read_bytes() == path.read_bytes()


def test_a_scene_of_workers_is_the_file_of_one_machine(cluster: Any, tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio", reason="the extra 'geo' is not installed")
    photo = synthetic_picture(1, 200)
    how = {"driver": "GTiff", "count": 3, "height": 200, "width": 200, "dtype": "uint8", "photometric": "RGB"}
    place = rasterio.Affine(10, 0, 500_000, 0, -10, 4_000_000)
    with rasterio.open(tmp_path / "a.tif", "w", **how, crs="EPSG:32633", transform=place) as file:
        file.write(np.moveaxis(photo, -1, 0))
    upscale_scene(Upscaler("compact-x4", tile=48, device="cpu"), tmp_path / "a.tif", tmp_path / "one.tif")
    line = ("upscale", tmp_path / "a.tif", "-m", "compact-x4", "--tile", 48, "--device", "cpu", "--on", "ray", "-o")
    printed(*line, tmp_path / "two.tif")
    assert (tmp_path / "two.tif").read_bytes() == (tmp_path / "one.tif").read_bytes()
