"""The rules of the house that no import contract can hold: one owner for every outside thing, no module without a noun, sizes."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "superscale"
FILES = sorted(SOURCE.rglob("*.py"))

# outside module -> the places that may import it
OWNERS = {
    "PIL": ("image/",),
    "safetensors": ("weights/",),
    "torch.distributed": ("machine/processes.py",),
    "av": ("video/",),
    "lmdb": ("data/sources.py",),
    "onnx": (),
    "onnxruntime": ("weights/export.py", "inference/backends/onnx_backend.py"),
    "openvino": ("weights/export.py", "inference/backends/openvino_backend.py"),
    "ncnn": ("weights/export.py",),
    "fastapi": ("server/",),
    "fsspec": ("remote/store.py",),
    "s3fs": ("remote/s3.py",),
    "gcsfs": ("remote/google.py",),
    "adlfs": ("remote/azure.py",),
    "azure": ("remote/azure.py",),
    "ray": ("machine/ray_pool.py", "server/"),
    "typer": ("cli/",),
    "matplotlib": ("training/run/curves.py",),
    "torchvision": (),
    "cv2": (),
}


def place(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


@pytest.mark.parametrize("module", OWNERS)
def test_every_outside_thing_has_its_owners(module: str) -> None:
    for path in FILES:
        uses = any(name == module or name.startswith(f"{module}.") for name in imported(path))
        assert not uses or place(path).startswith(OWNERS[module]), f"{place(path)} imports {module}"


def calls(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    return {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}


def test_the_optimizers_move_only_in_the_loop_and_printing_is_the_commands() -> None:
    for path in FILES:
        for call in calls(path):
            assert not call.endswith("optimizer.step") or place(path) == "training/loop/train.py", place(path)
            assert call != "print" or place(path).startswith("cli/"), place(path)
            assert call not in ("torch.load", "torch.save") or place(path).startswith("weights/"), place(path)


def test_only_pixels_knows_255_and_65535() -> None:
    for path in FILES:
        numbers = {node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)}
        assert not {255, 65535} & numbers or place(path) == "image/pixels.py", place(path)


def test_no_module_is_called_after_nothing() -> None:
    for path in FILES:
        assert path.stem not in ("util", "utils", "common", "helper", "helpers", "misc", "base"), place(path)


def test_files_and_functions_stay_small() -> None:
    for path in FILES:
        text = path.read_text()
        assert len(text.splitlines()) <= 400, place(path)
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef) and node.end_lineno is not None:
                is_loop = place(path) == "training/loop/train.py" and node.name == "_stage"
                assert is_loop or node.end_lineno - node.body[0].lineno < 60, f"{place(path)}: {node.name}"
