"""Recipes, TOML, manifests, model headers and facts of states, of any content: accepted, or refused by an error of ours.

Each test runs for `EXAMPLES` drawn files; ``SUPERSCALE_FUZZ=N`` draws N times as many.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import tempfile
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as drawn

from superscale.bounds import Bounds
from superscale.data.pack import Manifest, Tile
from superscale.errors import SuperscaleError
from superscale.metrics.niqe import from_json
from superscale.training.recipe.bundled import bundled_recipes
from superscale.training.recipe.schema import Recipe, load_recipe, parse_recipe, to_toml
from superscale.training.run import states
from superscale.weights.store import find_model

EXAMPLES = 40 * int(os.environ.get("SUPERSCALE_FUZZ", "1"))
often = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))

NUMBERS = drawn.one_of(
    drawn.integers(),
    drawn.floats(),
    drawn.sampled_from([0, -1, 1, 2**31, 2**63, 2**64, 10**30, float("nan"), float("inf"), -0.0, 5e-324, 1e308, True]),
)
VALUES = drawn.recursive(
    drawn.one_of(NUMBERS, drawn.none(), drawn.text(max_size=20)),
    lambda below: drawn.one_of(drawn.lists(below, max_size=3), drawn.dictionaries(drawn.text(max_size=8), below, max_size=3)),
    max_leaves=6,
)


def leaves(kind: Any, *above: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every field of a recipe below its stages' names, with its type."""
    for name, hint in typing.get_type_hints(kind, include_extras=True).items():
        plain = typing.get_args(hint)[0] if typing.get_origin(hint) is typing.Annotated else hint
        parts = typing.get_args(plain) if typing.get_origin(plain) is types.UnionType else (plain,)
        tables = [part for part in parts if dataclasses.is_dataclass(part)]
        if name == "stage":
            yield from leaves(typing.get_args(plain)[1], *above, name, "psnr")
        for table in tables:
            yield from leaves(table, *above, name)
        if not tables and name != "stage":
            yield (*above, name), hint


FIELDS = list(leaves(Recipe))


def edges(hint: Any) -> list[Any]:
    """Values at the bounds of a field and just beyond them."""
    bounds = [law for law in getattr(hint, "__metadata__", ()) if isinstance(law, Bounds)]
    whole = "int" in str(typing.get_args(hint)[:1])
    beyond = [value for law in bounds for value in (law.low, law.high, law.low - 1, law.high + 1)]
    return [int(value) if whole else float(value) for value in beyond]


def base() -> dict[str, Any]:
    generator = {"name": "srresnet", "features": 4, "blocks": 1}
    return {"name": "x", "generator": generator, "stage": {"psnr": {"images": 10, "pixel": {}}}}


def with_field(path: tuple[str, ...], value: Any) -> dict[str, Any]:
    tables = base()
    table = tables
    for key in path[:-1]:
        table = table.setdefault(key, {})
    table[path[-1]] = value
    return tables


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted({path for path, _ in FIELDS}), ids=".".join)
def test_every_field_of_a_recipe_at_its_bounds_and_beyond(path: tuple[str, ...]) -> None:
    hints = [hint for other, hint in FIELDS if other == path]
    for value in [edge for hint in hints for edge in edges(hint)] + [
        None,
        "",
        [],
        {},
        float("nan"),
        float("inf"),
        -1,
        0,
        10**30,
        True,
    ]:
        accepted_or_refused(with_field(path, value))


def accepted_or_refused(tables: dict[str, Any]) -> None:
    try:
        recipe = parse_recipe(tables)
    except SuperscaleError:
        return
    assert to_toml(recipe)


@often
@given(drawn.data())
def test_recipes_of_any_values(data: Any) -> None:
    path, hint = data.draw(drawn.sampled_from(FIELDS))
    values = drawn.one_of(VALUES, drawn.sampled_from(edges(hint))) if edges(hint) else VALUES
    accepted_or_refused(with_field(path, data.draw(values)))


@often
@given(drawn.data())
def test_bundled_recipes_with_bytes_changed(data: Any) -> None:
    name = data.draw(drawn.sampled_from(bundled_recipes()))
    text = bytearray(to_toml(load_recipe(name)).encode())
    for _ in range(data.draw(drawn.integers(1, 4))):
        place = data.draw(drawn.integers(0, len(text) - 1))
        text[place : place + data.draw(drawn.integers(0, 3))] = data.draw(drawn.binary(max_size=4))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.toml")
        path.write_bytes(text)
        with contextlib.suppress(SuperscaleError):
            assert to_toml(load_recipe(str(path)))


@often
@given(drawn.text(max_size=60))
def test_settings_of_any_text(text: str) -> None:
    with contextlib.suppress(SuperscaleError):
        assert to_toml(load_recipe("smoke", [text, f"data.batch={text}"]))


MANIFEST = json.loads(Manifest(4, "none", (Tile("a", "0", 0, 0, 8, 8),), checksums={"high_res.u8": (1,)}).to_json())


@often
@given(drawn.sampled_from([*MANIFEST, *(f"tiles.{key}" for key in MANIFEST["tiles"][0])]), VALUES)
def test_manifests_of_any_values(key: str, value: Any) -> None:
    content = json.loads(json.dumps(MANIFEST))
    table, _, name = key.rpartition(".")
    (content[table][0] if table else content)[name] = value
    with contextlib.suppress(SuperscaleError):
        assert Manifest.from_json(json.dumps(content), "x").to_json()


@often
@given(VALUES, drawn.sampled_from(["name", "features", "blocks", "scale", "channels", "batch_norm", "other"]))
def test_model_headers_of_any_values(value: Any, key: str) -> None:
    network = {"name": "srresnet", "features": 4, "blocks": 1, "batch_norm": False} | {key: value}
    metadata = {"format": "superscale-model-1", "network": json.dumps(network), "card": "{}"}
    tensor = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    refused_model(json.dumps({"__metadata__": metadata, "head.bias": tensor}).encode(), b"\0\0\0\0")


@often
@given(drawn.binary(max_size=200), drawn.binary(max_size=40))
def test_model_files_of_any_bytes(header: bytes, numbers: bytes) -> None:
    refused_model(header, numbers)


def refused_model(header: bytes, numbers: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.safetensors")
        path.write_bytes(len(header).to_bytes(8, "little") + header + numbers)
        with pytest.raises(SuperscaleError):
            find_model(path)


FACTS = {
    "stage_number": 0,
    "images": 4,
    "steps": 2,
    "best_psnr": 1.0,
    "rollbacks": {},
    "settings": {"data.batch": 2},
    "versions": {},
}


@often
@given(drawn.sampled_from(sorted(FACTS)), VALUES)
def test_facts_of_states_of_any_values(key: str, value: Any) -> None:
    gone_on_with(FACTS | {key: value})


@pytest.mark.parametrize("value", [None, {}, {"seed": 0}, {"stage": 0}, {"": 0}])
def test_settings_and_versions_that_older_states_lack(value: Any) -> None:
    for key in ("settings", "versions"):
        gone_on_with(FACTS | {key: value})


def gone_on_with(facts: dict[str, Any]) -> None:
    recipe = load_recipe("smoke")
    own: Any = types.SimpleNamespace(folder=states.own_pack(Path("x")), manifest=Manifest(scale=4, low_res="none", tiles=()))
    now = states.flat_settings(recipe, [own], Path("x"))
    with contextlib.suppress(SuperscaleError):
        saved = states.SavedState({}, states.checked(facts, Path("x")))
        states.version_notice(saved, {})
        states.step_notice(saved, now)
        states.check_same_run(recipe, now, saved, "x")


@often
@given(VALUES, drawn.sampled_from(["format", "mean", "covariance"]))
def test_models_of_niqe_of_any_values(value: Any, key: str) -> None:
    content = {"format": "superscale-niqe-1", "mean": [0.0] * 36, "covariance": [[1.0] * (36 - row) for row in range(36)]}
    with contextlib.suppress(SuperscaleError):
        from_json(json.dumps(content | {key: value}), "x")
