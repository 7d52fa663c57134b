from __future__ import annotations

import pytest

from superscale.cli.remote import Remote
from superscale.machine.ray_pool import Cluster
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
