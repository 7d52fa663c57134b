"""The page's own command lines; two machines are two torchrun agents with one rendezvous on this one."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest
from launch import finish, free_port, process_of_rank, start, wait_for

from superscale.weights.checkpoint import load_model

PAGE = Path(__file__).parents[2] / "docs" / "scaling-out.md"
ONE_MACHINE, RESTARTS, TWO_MACHINES = re.findall(r"^```sh\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
SLURM = re.search(r"^```bash\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
# What the script asks of Slurm: the names of its machines, and to run a line on both.
SCONTROL = "#!/bin/bash\necho 127.0.0.1\necho 127.0.0.1\n"
SRUN = '#!/bin/bash\n"$@" & first=$!\n"$@" & second=$!\nwait $first && wait $second\n'


def processes_of(run_dir: Path) -> str:
    return (run_dir / "environment.json").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(("block", "made"), [(ONE_MACHINE, "runs/smoke"), (RESTARTS, "runs/elastic")])
def test_the_lines_for_one_machine_run(block: str, made: str, tmp_path: Path) -> None:
    code, _, errors = finish(start(["bash", "-c", block], tmp_path))
    assert code == 0, errors
    assert '"processes": 2' in processes_of(tmp_path / made)
    assert load_model(tmp_path / made / "model.safetensors").card["images_seen"] == 192


@pytest.mark.slow
def test_the_line_for_two_machines_runs_as_two_agents_with_one_rendezvous(tmp_path: Path) -> None:
    head = f"127.0.0.1:{free_port()}"
    agents = [start(["bash", "-c", TWO_MACHINES], tmp_path, HEAD=head) for _ in range(2)]
    for code, _, errors in [finish(agent) for agent in agents]:
        assert code == 0, errors
    assert '"processes": 2' in processes_of(tmp_path / "runs" / "two")
    assert load_model(tmp_path / "runs" / "two" / "model.safetensors").card["images_seen"] == 192


@pytest.mark.slow
def test_a_process_that_dies_on_one_machine_restarts_both_and_fresh_deletes_nothing_then(tmp_path: Path) -> None:
    line, head = f"exec {TWO_MACHINES.rstrip()} --fresh", f"127.0.0.1:{free_port()}"
    agents = [start(["bash", "-c", line], tmp_path, HEAD=head) for _ in range(2)]
    wait_for(lambda: any((tmp_path / "runs" / "two" / "checkpoints").glob("step-*")), agents[0])
    os.kill(next(found for agent in agents if (found := process_of_rank(agent.pid, 1))), signal.SIGKILL)
    ends = [finish(agent) for agent in agents]
    assert [code for code, _, _ in ends] == [0, 0], ends
    assert "going on with stage psnr at image 64" in ends[0][2] + ends[1][2]
    assert load_model(tmp_path / "runs" / "two" / "model.safetensors").card["images_seen"] == 192


@pytest.mark.slow
def test_the_slurm_script_runs_with_a_stand_in_for_slurm(tmp_path: Path) -> None:
    assert SLURM is not None
    for name, text in (("scontrol", SCONTROL), ("srun", SRUN), ("job", SLURM[1])):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    told = {"SLURM_JOB_NODELIST": "node[1-2]", "SLURM_NNODES": 2, "SLURM_JOB_ID": 7, "PORT": free_port()}
    block = f"PATH={tmp_path}:$PATH exec bash job"
    code, _, errors = finish(start(["bash", "-c", block], tmp_path, **told))
    assert code == 0, errors
    assert '"processes": 2' in processes_of(tmp_path / "runs" / "slurm")
    assert load_model(tmp_path / "runs" / "slurm" / "model.safetensors").card["images_seen"] == 192
