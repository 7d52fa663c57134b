"""What `evaluate` makes of workers' answers, without a Ray: they come in any order, through pickle. A real one: tests/remote."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from superscale.data.pairs import PairFolder
from superscale.errors import DataError, UsageError
from superscale.evaluation import Table, evaluate
from superscale.evaluation.crops import Crops
from superscale.evaluation.report import to_csv, to_json
from superscale.image.io import Image, write_image
from superscale.machine.ray_pool import Cluster
from superscale.weights.checkpoint import Model, save_model


@pytest.mark.usefixtures("ray_backwards")
def test_a_table_and_the_crops_of_workers_are_those_of_one_process(
    photos: Path, tiny_model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save_model("tiny.safetensors", tiny_model.generator, {})
    for pair in PairFolder(photos, 4):
        write_image(tmp_path / "tool" / f"{pair.name}.png", Image(pair.low_res.repeat(4, axis=0).repeat(4, axis=1)))
    tables: list[Table] = []
    crops: list[Any] = []
    told: list[tuple[str, str, int, int]] = []
    for cluster in (None, Cluster()):
        seen = Crops()
        tables.append(
            evaluate(
                ["bicubic", "tiny.safetensors"],
                ["photos"],
                outputs=["tool"],
                device="cpu",
                cluster=cluster,
                observe=seen.add,
                progress=lambda *one: told.append(one),
            )
        )
        crops.append(seen.keep([("photos", f"photo-{number}") for number in range(6)]))
    here, there = tables
    assert to_csv(there) == to_csv(here)
    assert to_json(there)["rows"] == to_json(here)["rows"]
    assert [cost.megapixels for cost in there.costs] == [cost.megapixels for cost in here.costs]
    assert [[*pieces] for pieces in crops[1].values()] == [[*pieces] for pieces in crops[0].values()]
    assert crops[1] == crops[0]
    assert len(crops[0]) == 6
    assert sorted(told[len(told) // 2 :]) == sorted(told[: len(told) // 2])


@pytest.mark.usefixtures("ray_backwards")
def test_a_worker_that_sees_other_files_ends_the_run(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import superscale.evaluation.on_ray as module

    plain = module._tasks

    def changed(order: Any) -> Iterator[Any]:
        tasks = list(plain(order))
        (photos / "photo-3.png").write_bytes((photos / "photo-2.png").read_bytes())
        yield from tasks

    monkeypatch.setattr(module, "_tasks", changed)
    with pytest.raises(DataError, match=r"photo-3\.png: a worker sees no such file or another"):
        evaluate(["bicubic"], [photos], cluster=Cluster())
    with pytest.raises(UsageError, match="needs the frames in their order"):
        evaluate(["bicubic"], [photos], metrics=["flicker"], cluster=Cluster())
