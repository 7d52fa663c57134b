from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from superscale.cli.remote import Remote
from superscale.errors import SuperscaleError
from superscale.machine.ray_pool import Cluster, _connected
from superscale.remote.names import parsed


def test_the_cost_is_that_of_the_hours_that_workers_were_at_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    hours = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: 3600 * hours[0])
    cluster = Cluster()
    remote = Remote([], parsed("s3://bucket/out/"), None, False, cluster, price=2.5)
    assert remote.cost() == ", cost 0.00", "nothing is at hand yet"
    cluster.time.change(3)
    hours[0] = 1.0
    cluster.time.change(-2)
    hours[0] = 3.0
    # Three for an hour and one for two more: five hours.
    assert remote.cost() == ", cost 12.50"
    assert Remote([], remote.output, None, False, cluster, price=None).cost() == ""


@pytest.mark.parametrize(
    ("failures", "told"), [(3, None), (4, "no Ray cluster ray://head:10001: Starting Ray client server failed")]
)
def test_a_client_server_that_dies_at_its_start_is_asked_for_again(
    monkeypatch: pytest.MonkeyPatch, failures: int, told: str | None
) -> None:
    asked: list[str] = []

    def init(address: str, **_options: object) -> None:
        asked.append(address)
        if len(asked) <= failures:
            raise ConnectionAbortedError(
                "Starting Ray client server failed. See ray_client_server_23000.err for detailed logs."
            )

    ray = SimpleNamespace(init=init, is_initialized=lambda: len(asked) > failures)
    monkeypatch.setitem(sys.modules, "ray", ray)
    if told is None:
        assert _connected(Cluster("ray://head:10001")) is ray
    else:
        with pytest.raises(SuperscaleError, match=told):
            _connected(Cluster("ray://head:10001"))
    assert asked == ["ray://head:10001"] * 4


def test_another_failure_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def init(**options: object) -> None:
        asked.append(options)
        raise ConnectionError("nobody answers")

    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(init=init, is_initialized=lambda: False))
    with pytest.raises(SuperscaleError, match="no Ray cluster on this machine: nobody answers"):
        _connected(Cluster())
    assert len(asked) == 1
