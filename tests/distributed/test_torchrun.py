"""The command line under torchrun."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
import torch
from launch import finish, process_of_rank, start, wait_for

from superscale.weights.checkpoint import load_model, saved_states

SHORT = ["--set", "stage.psnr.images=24", "--set", "stage.gan.images=8", "--set", "checkpoint.every_images=8"]
TORCHRUN = ["torchrun", "--nproc-per-node=2"]
SMOKE = ["-m", "superscale", "train", "smoke", *SHORT]
LONG = ["-m", "superscale", "train", "smoke", *SHORT, "--set", "stage.psnr.images=1000000"]


def rows(run_dir: Path) -> list[tuple[str, int]]:
    found = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [(row["stage"], row["images"]) for row in found]


@pytest.mark.slow
def test_torchrun_trains_and_the_first_process_alone_writes_and_speaks(tmp_path: Path) -> None:
    code, out, errors = finish(start([*TORCHRUN, *SMOKE, "--set", "report_every_images=8"], tmp_path))
    assert code == 0, errors
    assert out == "runs/smoke/model.safetensors\n"
    assert errors.count("psnr 24/24") == errors.count("next: superscale evaluate") == 1
    run = tmp_path / "runs" / "smoke"
    assert rows(run) == [("psnr", 8), ("psnr", 16), ("psnr", 24), ("gan", 8)]
    assert len(list(run.glob("events.out.tfevents.*"))) == 1
    assert json.loads((run / "environment.json").read_text())["processes"] == 2
    assert load_model(run / "model.safetensors").card["images_seen"] == 32


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_torchrun_restarts_after_a_kill_and_the_run_ends_bitwise_as_a_whole_one(rank: int, tmp_path: Path) -> None:
    images = ["--set", "stage.psnr.images=160"]
    code, _, errors = finish(start([*TORCHRUN, *SMOKE, *images, "-o", "whole"], tmp_path))
    assert code == 0, errors
    process = start([*TORCHRUN, "--max-restarts=1", *SMOKE, *images, "--fresh", "-o", "killed"], tmp_path)
    wait_for(lambda: any((tmp_path / "killed" / "checkpoints").glob("step-*")), process)
    worker = process_of_rank(process.pid, rank)
    assert worker is not None
    os.kill(worker, signal.SIGKILL)
    code, _, errors = finish(process)
    assert code == 0, errors
    assert "going on with stage psnr at image" in errors
    expected = load_model(tmp_path / "whole" / "model.safetensors").generator.state_dict()
    for key, tensor in load_model(tmp_path / "killed" / "model.safetensors").generator.state_dict().items():
        assert torch.equal(tensor, expected[key]), key


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_torchrun_saves_once_and_the_same_line_goes_on(number: int, tmp_path: Path) -> None:
    process = start([*TORCHRUN, *LONG], tmp_path)
    states = tmp_path / "runs" / "smoke" / "checkpoints"
    wait_for(lambda: any(states.glob("step-*")), process)
    process.send_signal(number)
    code, _, errors = finish(process)
    assert code != 0
    assert errors.count("saved; the same command goes on") == 1
    stopped_at = int(next(saved_states(states)).name.removeprefix("step-"))
    assert f"stopped at image {stopped_at}, saved" in errors
    code, _, errors = finish(start([*TORCHRUN, *LONG, "--max-time", "0"], tmp_path))
    assert code == 0, errors
    assert f"going on with stage psnr at image {stopped_at}" in errors


@pytest.mark.slow
def test_max_time_stops_all_with_success(tmp_path: Path) -> None:
    # How long it takes to the first step is the machine's affair; one that ends before it has nothing to save.
    for seconds in (3, 10, 30, 90):
        code, _, errors = finish(start([*TORCHRUN, *LONG, "--max-time", f"{seconds}s"], tmp_path))
        assert code == 0, errors
        if "stopped before the first step" not in errors:
            break
    assert errors.count("saved; the same command goes on") == 1
