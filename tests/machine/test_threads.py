from __future__ import annotations

import subprocess
import sys
import threading

import torch

from superscale.data.loader import stream
from superscale.machine.threads import one_thread_executor


def test_one_thread_computes_alone_and_all_others_as_before() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with one_thread_executor("alone") as executor:
            assert executor.submit(torch.get_num_threads).result() == 1
            assert torch.get_num_threads() == 2
            later: list[int] = []
            thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
            thread.start()
            thread.join()
            assert later == [2]
            assert executor.submit(torch.get_num_threads).result() == 1
    finally:
        torch.set_num_threads(before)


def test_batches_are_loaded_by_such_a_thread() -> None:
    loaded = stream(lambda numbers: torch.get_num_threads(), start=0, batch=2)
    assert [next(loaded), next(loaded)] == [1, 1]
    loaded.close()  # type: ignore[attr-defined]


def test_the_command_lets_waiting_threads_sleep_and_the_environment_may_say_otherwise() -> None:
    code = (
        "import os, sys; from superscale.machine.threads import sleep_while_waiting; sleep_while_waiting(); "
        "print(os.environ['OMP_WAIT_POLICY'], 'torch' in sys.modules)"
    )
    for given, expected in (({}, "PASSIVE False"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE False")):
        environment = {"PYTHONPATH": ":".join(sys.path)} | given
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
        assert done.stdout.strip() == expected
