"""CONTRIBUTING.md describes the project as it is."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "superscale"
TEXT = (ROOT / "CONTRIBUTING.md").read_text()


def test_the_layers_are_those_of_the_import_contract() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = (contract["layers"] for contract in contracts if contract["type"] == "layers")
    (written,) = re.findall(r"```layers\n(.*?)```", TEXT, re.DOTALL)
    assert written.splitlines() == [layer.replace("superscale.", "") for layer in layers]


def test_the_project_layout_names_every_package_and_every_module_beside_them() -> None:
    (drawing,) = re.findall(r"```\nsrc/superscale/\n(.*?)\ntests/", TEXT, re.DOTALL)
    named = [line.split()[0] for line in drawing.splitlines()]
    packages = {path.parent for path in SOURCE.rglob("*.py")} - {SOURCE} | {SOURCE / "recipes"}
    modules = {path.name for path in SOURCE.glob("*.py") if not path.name.startswith("__")}
    assert sorted(named) == sorted({f"{package.name}/" for package in packages} | modules)
