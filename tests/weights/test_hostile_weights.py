"""More ways of lying in a file of weights: each ends in one printable line, having run nothing, in little memory."""

from __future__ import annotations

import io
import json
import os
import pickle
import resource
import struct
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save
from torch import Tensor

from superscale.errors import ModelError
from superscale.networks.catalog import build_generator
from superscale.weights import pickle_guard
from superscale.weights.store import find_model

LITTLE_BYTES = 2**27


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def refusal(path: Path) -> str:
    """The one line that a user reads."""
    before = peak_bytes()
    with pytest.raises(ModelError) as caught:
        find_model(path)
    assert peak_bytes() - before < LITTLE_BYTES
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert text.isprintable()
    assert len(text) < len(str(path)) + 700
    return text.removeprefix(f"{path}: ")


def tensors(**options: Any) -> dict[str, Tensor]:
    small = {"features": 4, "convolutions": 1, "scale": 2, **options}
    return dict(build_generator("compact", small).state_dict())


def saved(state: Any, **options: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(state, stream, **options)
    return stream.getvalue()


# A file of safetensors: the length of its header, the header, numbers.
def safetensors(header: bytes | dict[str, Any], numbers: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + numbers


def entry(shape: list[Any], start: int, end: int, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def ours(network: Any, card: Any = "{}", **state: Tensor) -> bytes:
    text = network if isinstance(network, str) else json.dumps(network)
    return save(
        state or {"a": torch.ones(1)},
        {"format": "superscale-model-1", "network": text, "card": card},
    )


SAFETENSORS: dict[str, bytes] = {
    "nothing": b"",
    "a length and no more": struct.pack("<Q", 8),
    "a header of no tensors": safetensors({}),
    "the same bytes twice": safetensors({"a": entry([1], 0, 4), "b": entry([1], 0, 4)}, bytes(4)),
    "half the same bytes": safetensors({"a": entry([2], 0, 8), "b": entry([2], 4, 12)}, bytes(12)),
    "bytes of nobody": safetensors({"a": entry([1], 0, 4), "b": entry([1], 8, 12)}, bytes(12)),
    "bytes behind the last": safetensors({"a": entry([1], 0, 4)}, bytes(4000)),
    "an end before its start": safetensors({"a": entry([1], 4, 0)}, bytes(4)),
    "a start below nothing": safetensors({"a": entry([1], -4, 0)}, bytes(4)),
    "an end beyond 64 bits": safetensors({"a": entry([1], 0, 2**70)}, bytes(4)),
    "a side below nothing": safetensors({"a": entry([-1], 0, 4)}, bytes(4)),
    "sides that overflow": safetensors({"a": entry([2**40, 2**40], 0, 4)}, bytes(4)),
    "a side that is no number": safetensors({"a": entry(["1"], 0, 4)}, bytes(4)),
    "numbers of an unknown kind": safetensors({"a": entry([1], 0, 4, "F128")}, bytes(4)),
    "integers": safetensors({"a": entry([1], 0, 4, "I32")}, bytes(4)),
    "a name that is not UTF-8": safetensors(b'{"\xff\xfe":' + json.dumps(entry([1], 0, 4)).encode() + b"}", bytes(4)),
    "a name of half a character": safetensors({"\ud800": entry([1], 0, 4)}, bytes(4)),
    "a name that moves the cursor": safetensors({"a\n\x1b[2J": entry([1], 0, 4)}, bytes(4)),
    "one name twice": safetensors(b'{"a":' + b',"a":'.join([json.dumps(entry([1], 0, 4)).encode()] * 2) + b"}", bytes(4)),
    "brackets without end": safetensors(b'{"a":' + b"[" * 1_000_000),
    "brackets that do end": safetensors(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "a number of many digits": safetensors(b'{"a":' + b"9" * 1_000_000 + b"}"),
    "metadata that is no table": safetensors({"__metadata__": [1], "a": entry([1], 0, 4)}, bytes(4)),
    "a list": safetensors(b'[{"a":1}]'),
    "not a number in half precision": save({**tensors(), "body.0.bias": torch.full((4,), float("nan")).half()}),
    "infinity in bfloat16": save({**tensors(), "body.0.bias": torch.full((4,), float("inf")).bfloat16()}),
}
# The same for our own files, whose header says which network to build.
OURS: dict[str, bytes] = {
    "a network that is no table": ours([]),
    "a network that is a number": ours("3"),
    "a network in endless brackets": ours("[" * 100_000),
    "a network without a name": ours({"features": 4}),
    "a name that is a list": ours({"name": ["compact"]}),
    "a name that moves the cursor": ours({"name": "a\n\x1b[2J"}),
    "an option nobody knows": ours({"name": "compact", "a\n\x1b[2J": 1}),
    "an option of another kind": ours({"name": "compact", "features": "many"}),
    "features beyond all memory": ours({"name": "compact", "features": 10_000_000}),
    "features below nothing": ours({"name": "compact", "features": -4}),
    "no features": ours({"name": "compact", "features": 0}),
    "blocks without end": ours({"name": "srresnet", "blocks": 10**9}),
    "convolutions without end": ours({"name": "compact", "convolutions": 10**9}),
    "upsamplings without end": ours({"name": "rrdbnet", "upsamplings": 10**9}),
    "a scale beyond 64 bits": ours({"name": "compact", "scale": 2**40}),
    "a card that is no table": ours({"name": "compact", "features": 4, "convolutions": 1, "scale": 2}, "3", **tensors()),
    "a tensor that moves the cursor": ours(
        {"name": "compact", "features": 4, "convolutions": 1, "scale": 2}, **tensors(), **{"a\n\x1b[2J": torch.ones(1)}
    ),
    "one large tensor for all": ours({"name": "compact", "features": 1_000_000}, **{"body.0.bias": torch.ones(1_000_000)}),
}


@pytest.mark.parametrize("name", SAFETENSORS)
def test_safetensors_that_lie_are_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(SAFETENSORS[name])
    refusal(path)


@pytest.mark.parametrize("name", OURS)
def test_model_files_that_lie_are_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(OURS[name])
    refusal(path)


def test_what_is_told_apart_here_loads_when_it_is_honest(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    honest = {"name": "compact", "features": 4, "convolutions": 1, "scale": 2}
    for content in (save(tensors()), ours(honest, **tensors()), saved(tensors())):
        path.write_bytes(content)
        assert find_model(path).generator.contract.scale == 2


def zipped(change: Callable[[zipfile.ZipFile, dict[str, bytes]], None]) -> bytes:
    with zipfile.ZipFile(io.BytesIO(saved(tensors()))) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        change(archive, parts)
    return stream.getvalue()


def with_entry(**fields: Any) -> Callable[[zipfile.ZipFile, dict[str, bytes]], None]:
    """The directory's record of the first numbers says something else than the file has."""

    def change(archive: zipfile.ZipFile, parts: dict[str, bytes]) -> None:
        for name, data in parts.items():
            archive.writestr(name, data)
        record = next(one for one in archive.infolist() if one.filename.endswith("data/0"))
        for field, value in fields.items():
            setattr(record, field, value)

    return change


def twice(archive: zipfile.ZipFile, parts: dict[str, bytes]) -> None:
    for name, data in parts.items():
        archive.writestr(name, data)
        if name.endswith("data.pkl"):
            archive.writestr(f"other/{name}", data)


def with_pickle(data: bytes) -> bytes:
    """A zip of torch.save around a pickle put together by hand."""

    def change(archive: zipfile.ZipFile, parts: dict[str, bytes]) -> None:
        for name, old in parts.items():
            archive.writestr(name, data if name.endswith("data.pkl") else old)

    return zipped(change)


ORDERED = b"ccollections\nOrderedDict\n"
PLENTY = 100_000
FLOATS = b"((X\x07\0\0\0storageqzctorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x6ctQ"  # a storage of 108 numbers: data/0
REBUILD = b"\x80\x02}X\x01\0\0\0actorch._utils\n_rebuild_tensor_v2\n"


def tensor(offset: bytes, sizes: bytes, strides: bytes) -> bytes:
    return with_pickle(REBUILD + FLOATS + offset + sizes + strides + b"\x89" + ORDERED + b")RtRs.")


TERA = b"\x8a\x06\0\0\0\0\0\x01"  # LONG1: 2**40
PICKLES: dict[str, Callable[[], bytes]] = {
    "an entry that claims a gigabyte": lambda: zipped(with_entry(file_size=2**30)),
    "an entry that claims nothing": lambda: zipped(with_entry(file_size=0, compress_size=0)),
    "an entry that lies before the file": lambda: zipped(with_entry(header_offset=2**32 - 2)),
    "two pickles": lambda: zipped(twice),
    "strides of terabytes": lambda: tensor(b"K\0", b"K\x02K\x02\x86", TERA + b"K\x01\x86"),
    "sides of terabytes, repeated": lambda: tensor(b"K\0", TERA + TERA + b"\x86", b"K\0K\0\x86"),
    "an offset of terabytes": lambda: tensor(TERA, b"K\x02\x85", b"K\x01\x85"),
    "strides below nothing": lambda: tensor(b"K\x09", b"K\x02\x85", b"J\xff\xff\xff\xff\x85"),
    "sides below nothing": lambda: tensor(b"K\0", b"J\xff\xff\xff\xff\x85", b"K\x01\x85"),
    "sides and strides of other counts": lambda: tensor(b"K\0", b"K\x02K\x02\x86", b"K\x01\x85"),
    "many tensors of the same numbers": lambda: saved({f"k{n}": torch.ones(1).expand(2**20) for n in range(600)}),
    "a pickle in a pickle": lambda: saved({"params": pickle.dumps(OrderedDictOf(os.getcwd))}),
    "a name that is not UTF-8": lambda: with_pickle(b"\x80\x02}X\x02\0\0\0\xff\xfeK\x01s."),
    "a name that moves the cursor": lambda: saved({"a\n\x1b[2J": 3}),
    "not a number in half precision": lambda: saved({**tensors(), "body.0.bias": torch.full((4,), float("nan")).half()}),
    "lists in lists": lambda: with_pickle(b"\x80\x02" + b"]" * PLENTY + b"a" * (PLENTY - 1) + b"."),
    "tuples in tuples": lambda: with_pickle(b"\x80\x02)" + b"\x85" * PLENTY + b"."),
    "objects without end": lambda: with_pickle(b"\x80\x02(" + b"]" * 1_000_100 + b"t."),
    # 1000 pairs remembered, and copied into a table again and again: 2 GB from 500 kB.
    "tables copied again and again": lambda: with_pickle(
        b"\x80\x02("
        + b"]("
        + b"".join(b"M" + struct.pack("<H", n) + b"K\0\x86" for n in range(1000))
        + b"e\x85q\0"
        + (ORDERED + b"h\0R") * 20_000
        + b"t."
    ),
    "attributes copied again and again": lambda: with_pickle(
        b"\x80\x02("
        + b"}("
        + b"".join(b"X\x04\0\0\0" + b"%04d" % n + b"K\0" for n in range(1000))
        + b"uq\0"
        + (ORDERED + b")Rh\0b") * 20_000
        + b"t."
    ),
    "attributes copied and added to": lambda: with_pickle(b"\x80\x02}q\0" + (ORDERED + b")Rh\0X\x01\0\0\0aK\0sb") * 9 + b"."),
    "a call of what was called": lambda: with_pickle(b"\x80\x02" + ORDERED + b")R)R."),
    "steps that take what is not there": lambda: with_pickle(b"\x80\x02R."),
    "a recollection of nothing": lambda: with_pickle(b"\x80\x02h\x09."),
    "a step that torch does not write": lambda: with_pickle(b"\x80\x02}2s."),
    "a number of many digits": lambda: with_pickle(b"\x80\x02I" + b"9" * 1_000_000 + b"\n."),
    "a size beyond the pickle": lambda: with_pickle(b"\x80\x02X\xff\xff\xff\x7f."),
    "no pickle at all": lambda: with_pickle(b""),
}


class OrderedDictOf:
    def __init__(self, call: Callable[[], object]) -> None:
        self.call = call

    def __reduce__(self) -> tuple[Callable[[], object], tuple[()]]:
        return self.call, ()


@pytest.mark.parametrize("name", PICKLES)
def test_files_of_torch_save_that_lie_are_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    path.write_bytes(PICKLES[name]())
    refusal(path)


@pytest.mark.parametrize("name", ["tables copied again and again", "attributes copied again and again"])
def test_what_would_be_copied_without_end_is_refused_before_torch_reads(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.pth"
    path.write_bytes(PICKLES[name]())
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("torch was asked to read it"))
    assert "torch.save does not write" in refusal(path)


def test_the_attributes_that_a_modules_state_dict_has_are_read(tmp_path: Path) -> None:
    network = build_generator("compact", {"features": 4, "convolutions": 1, "scale": 2})
    state = network.state_dict()
    assert state._metadata  # type: ignore[attr-defined]
    for zip_format in (True, False):
        torch.save(state, tmp_path / "x.pth", _use_new_zipfile_serialization=zip_format)
        loaded = find_model(tmp_path / "x.pth").generator.state_dict()
        assert all(torch.equal(loaded[key], state[key]) for key in state)


def test_steps_of_a_pickle_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(tensors(), tmp_path / "x.pth")
    monkeypatch.setattr(pickle_guard, "MOST_STEPS", 50)
    assert "a pickle of more than 50 steps" in refusal(tmp_path / "x.pth")
