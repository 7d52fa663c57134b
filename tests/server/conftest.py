"""Servers, with a network that computes in no time and one that takes long enough to be caught at work."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("fastapi", reason="the extra 'serve' is not installed")
pytest.importorskip("httpx", reason="the tests' client is not installed")

from live_server import Running
from superscale.networks.catalog import build_generator
from superscale.weights.checkpoint import save_model

# name -> (residual blocks, features)
NETWORKS = {"quick": (1, 8), "slow": (16, 64)}


@pytest.fixture(scope="session")
def models_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder with the two networks."""
    folder = tmp_path_factory.mktemp("cache")
    for name, (blocks, features) in NETWORKS.items():
        torch.manual_seed(0)
        path = folder / "models" / f"{name}.safetensors"
        save_model(path, build_generator("srresnet", {"blocks": blocks, "features": features, "batch_norm": False}), {})
        path.with_name(f"{path.name}.sha256").write_text(hashlib.sha256(path.read_bytes()).hexdigest())
    return folder


@pytest.fixture(scope="session")
def serving(models_folder: Path) -> Callable[..., Any]:
    """A context with a running server: ``with serving(spool, queue=2) as server``."""
    source = str(Path(__file__).parents[2] / "src")
    environment = os.environ | {"SUPERSCALE_CACHE": str(models_folder), "OMP_NUM_THREADS": "1", "PYTHONPATH": source}

    @contextmanager
    def serve(spool: Path, ready: bool = True, **settings: Any) -> Iterator[Running]:
        facts = {"spool": str(spool), "model": "quick", "tile": 32, "queue": 3, "grace": 20, **settings}
        server = Running(facts, environment)
        try:
            yield server.wait_until_ready() if ready else server
        finally:
            server.close()

    return serve


@pytest.fixture(scope="package")
def server(serving: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server that the tests of this folder share; each leaves its queue empty."""
    with serving(tmp_path_factory.mktemp("spool"), max_bytes=200_000, max_pixels=100_000, max_output_pixels=1_700_000) as one:
        yield one
