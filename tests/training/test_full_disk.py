"""A disk that is really full: a file system of a few hundred kilobytes in a namespace of its own (Linux)."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from superscale.networks.srresnet import SRResNetConfig
from superscale.training.recipe.schema import Recipe, to_toml
from superscale.weights.checkpoint import load_model, load_state, saved_states

Tiny = Callable[..., Recipe]
# Mounts for the processes of this shell alone; then the same command on a full disk and, when there is room, again.
SHELL = """
mount -t tmpfs -o size={small_kb}k none {disk} || exit 99
{command}; echo $? > {folder}/first
cp -r {disk}/run {folder}/full
mount -o remount,size=64m {disk} || exit 99
{command}; echo $? > {folder}/second
cp -r {disk}/run {folder}/resumed
"""


def command(recipe: Path, run_dir: Path) -> list[str]:
    return [sys.executable, "-m", "superscale", "train", str(recipe), "-o", str(run_dir), "--device", "cpu", "-q"]


def may_mount() -> bool:
    if shutil.which("unshare") is None:
        return False
    mounting = ["unshare", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"]
    return subprocess.run(mounting, capture_output=True, check=False).returncode == 0


@pytest.mark.slow
def test_a_disk_that_fills_up_ends_the_run_with_the_last_good_state_and_room_lets_it_go_on(tiny: Tiny, tmp_path: Path) -> None:
    if not may_mount():
        pytest.skip("needs Linux, and leave to mount a file system in a user namespace")
    recipe = replace(tiny(), generator=SRResNetConfig(features=16, blocks=1))
    recipe = replace(recipe, stage={"psnr": recipe.stage["psnr"]})
    (tmp_path / "tiny.toml").write_text(to_toml(recipe))
    (tmp_path / "disk").mkdir()
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run(command(tmp_path / "tiny.toml", tmp_path / "whole"), env=environment, check=True, capture_output=True)
    one_state = sum(path.stat().st_size for path in next(saved_states(tmp_path / "whole" / "checkpoints")).iterdir())
    text = SHELL.format(
        small_kb=2 * one_state // 1024 + one_state // 2048,
        disk=shlex.quote(str(tmp_path / "disk")),
        folder=shlex.quote(str(tmp_path)),
        command=shlex.join(command(tmp_path / "tiny.toml", tmp_path / "disk" / "run")),
    )
    shell = ["unshare", "--map-root-user", "--mount", "sh", "-c", text]
    result = subprocess.run(shell, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert [(tmp_path / name).read_text() for name in ("first", "second")] == ["1\n", "0\n"], result.stderr
    assert "No space left on device" in result.stderr
    assert "is kept" in result.stderr
    assert "Traceback" not in result.stderr
    kept = list(saved_states(tmp_path / "full" / "checkpoints"))
    assert [load_state(state)[1]["images"] for state in kept] == [8, 4]
    expected = load_model(tmp_path / "whole" / "model.safetensors").generator.state_dict()
    for key, tensor in load_model(tmp_path / "resumed" / "model.safetensors").generator.state_dict().items():
        assert torch.equal(tensor, expected[key]), key
