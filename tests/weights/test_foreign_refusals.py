"""Files that are hostile, damaged or of other networks end in one line, having run nothing and taken no memory on their word."""

import io
import os
import pickle
import resource
import struct
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save, save_file
from torch import Tensor

from superscale.errors import ModelError
from superscale.networks.catalog import build_generator
from superscale.weights import foreign, pickle_guard
from superscale.weights.foreign import read_pickled
from superscale.weights.store import find_model

GIBIBYTE = 2**30


def basicsr(**options: int) -> dict[str, Tensor]:
    small = {"features": 8, "growth_channels": 4, "blocks": 2, **options}
    return dict(build_generator("rrdbnet", small).state_dict())


def refusal(path: Path) -> str:
    """The one line that a user reads."""
    with pytest.raises(ModelError) as caught:
        find_model(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    return text.removeprefix(f"{path}: ")


class Creates:
    """Unpickled as Python does it, this creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return os.open, (str(self.path), os.O_CREAT | os.O_WRONLY)


def rezip(path: Path, change: Callable[[str, bytes], bytes]) -> None:
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, change(name, data))


@pytest.mark.parametrize("kind", ["zip", "legacy", "plain"])
def test_code_in_a_pickle_does_not_run(tmp_path: Path, kind: str) -> None:
    marker, path = tmp_path / "ran", tmp_path / "evil.pth"
    state = {"params": basicsr(), "note": Creates(marker)}
    if kind == "plain":
        path.write_bytes(pickle.dumps(state["note"], protocol=2))
    else:
        torch.save(state, path, _use_new_zipfile_serialization=kind == "zip")
    text = refusal(path)
    assert not marker.exists()
    assert kind == "plain" or "nothing in it was run" in text
    with pytest.raises(ModelError):
        read_pickled(path)
    assert not marker.exists()
    # The trap is a real one: Python's own reader springs it.
    os.close(pickle.loads(pickle.dumps(state["note"])))
    assert marker.exists()


@pytest.mark.parametrize(
    "thing", [bytearray(3), {1, 2}, torch.device("cpu"), torch.ones(2).to_sparse(), torch.ones(2, dtype=torch.cfloat)]
)
def test_what_torch_allows_but_a_state_dict_does_not_need_is_refused(tmp_path: Path, thing: object) -> None:
    torch.save({"params": basicsr(), "thing": thing}, tmp_path / "x.pth")
    assert "no part of a tensor" in refusal(tmp_path / "x.pth")


def test_a_whole_pickled_network_is_refused(tmp_path: Path) -> None:
    torch.save(build_generator("compact", {"features": 4, "convolutions": 1}), tmp_path / "x.pth")
    assert "superscale.networks.compact.SRVGGNetCompact" in refusal(tmp_path / "x.pth")


def test_a_torchscript_program_is_refused_by_name(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(torch.nn.Conv2d(3, 3, 1), torch.zeros(1, 3, 4, 4)), str(tmp_path / "x.pth"))
    assert "TorchScript" in refusal(tmp_path / "x.pth")


@pytest.mark.parametrize("record", ["model/archive_format", "serialized_exported_program.json"])
def test_an_exported_program_is_refused_by_name(tmp_path: Path, record: str) -> None:
    with zipfile.ZipFile(tmp_path / "x.pt2", "w") as archive:
        archive.writestr(record, b"pt2")
    assert "exported program" in refusal(tmp_path / "x.pt2")


@pytest.mark.parametrize(
    "content", [b"", b"PK", b"PK\x03\x04", b"\x89PNG\r\n\x1a\n" + bytes(90), b"\0" * 50, b"# weights\n" * 9]
)
@pytest.mark.parametrize("name", ["x.pth", "x.safetensors"])
def test_other_files_are_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    refusal(tmp_path / name)


def test_folders_pipes_and_absent_files_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pth")
    assert "folder or a device" in refusal(tmp_path / "pipe.pth")
    (tmp_path / "folder.pth").mkdir()
    assert "a folder, expected a model file" in refusal(tmp_path / "folder.pth")
    assert refusal(tmp_path / "absent.pth") == "no such file"


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_a_file_cut_short_anywhere_is_refused(tmp_path: Path, kind: str) -> None:
    buffer = io.BytesIO()
    if kind == "safetensors":
        buffer.write(save(basicsr()))
    else:
        torch.save(basicsr(), buffer, _use_new_zipfile_serialization=kind == "zip")
    whole = buffer.getvalue()
    for length in (*range(0, len(whole), len(whole) // 40 + 1), len(whole) - 1):
        (tmp_path / "x.pth").write_bytes(whole[:length])
        refusal(tmp_path / "x.pth")


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_a_damaged_byte_never_ends_in_another_error(tmp_path: Path, kind: str) -> None:
    state = build_generator("compact", {"features": 2, "convolutions": 1, "scale": 1}).state_dict()
    buffer = io.BytesIO()
    if kind == "safetensors":
        buffer.write(save(state))
    else:
        torch.save(state, buffer, _use_new_zipfile_serialization=kind == "zip")
    whole = buffer.getvalue()
    for position in range(0, len(whole), len(whole) // 150 + 1):
        damaged = bytearray(whole)
        damaged[position] ^= 0xFF
        (tmp_path / "x.pth").write_bytes(damaged)
        text = ""
        try:
            find_model(tmp_path / "x.pth")
        except ModelError as error:
            text = str(error)
        assert "\n" not in text


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def literal(number: int) -> bytes:
    return b"J" + struct.pack("<i", number)  # BININT


def lying_pickle(data: bytes, storage: int, size: int) -> bytes:
    """``torch.ones(97)``'s pickle with another storage length and another tensor size."""
    data = data.replace(b"Katq", literal(storage) + b"tq").replace(b"KaNtq", literal(storage) + b"Ntq")
    return data.replace(b"Ka\x85", literal(size) + b"\x85")


@pytest.mark.parametrize(
    ("storage", "size"), [(2**31 - 1, 97), (97, 2**31 - 1), (2**31 - 1, 2**31 - 1), (4000, 4000), (97, 4000)]
)
@pytest.mark.parametrize("zipped", [True, False])
def test_a_tensor_larger_than_its_file_is_refused_without_its_memory(
    tmp_path: Path, storage: int, size: int, zipped: bool
) -> None:
    path = tmp_path / "x.pth"
    torch.save({"a": torch.ones(97)}, path, _use_new_zipfile_serialization=zipped)
    if zipped:
        rezip(path, lambda name, data: lying_pickle(data, storage, size) if name.endswith("data.pkl") else data)
    else:
        path.write_bytes(lying_pickle(path.read_bytes(), storage, size))
    before = peak_bytes()
    assert "unknown layout" not in refusal(path)
    assert peak_bytes() - before < 2**26


def test_numbers_repeated_by_strides_are_refused_before_they_are_copied(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(1).expand(GIBIBYTE)}, tmp_path / "x.pth")
    before = peak_bytes()
    assert "more than 2,147,483,648 bytes" in refusal(tmp_path / "x.pth")
    assert peak_bytes() - before < 2**26


@pytest.mark.parametrize("record", ["data/0", "data.pkl"])
def test_a_zip_bomb_is_refused_without_unpacking(tmp_path: Path, record: str) -> None:
    path = tmp_path / "x.pth"
    torch.save({"a": torch.ones(97)}, path)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, data in parts.items():
            with archive.open(name, "w") as stream:  # in pieces, so that writing it does not set the peak that is measured
                for piece in [bytes(2**20)] * 200 if name.endswith(record) else [data]:
                    stream.write(piece)
    assert path.stat().st_size < 2**20
    before = peak_bytes()
    assert "compressed entries" in refusal(path)
    assert peak_bytes() - before < 2**26


def test_zip_entries_that_overlap_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    torch.save({"a": torch.ones(50_000)}, path)
    with zipfile.ZipFile(path, "a") as archive:
        record = next(entry for entry in archive.infolist() if entry.filename.endswith("data/0"))
        for number in range(1, 9):
            twin = zipfile.ZipInfo(record.filename[:-1] + str(number))
            for field in ("header_offset", "file_size", "compress_size", "CRC"):
                setattr(twin, field, getattr(record, field))
            archive.filelist.append(twin)
        archive._didModify = True
    assert "whose entries declare" in refusal(path)


def test_an_endless_zip_directory_is_refused_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(basicsr(), tmp_path / "x.pth")
    monkeypatch.setattr(pickle_guard, "LONGEST_DIRECTORY", 1000)
    assert "directory of" in refusal(tmp_path / "x.pth")


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_beyond_the_limit_is_refused_unread(tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / "x.pth"
    torch.save(basicsr(), path, _use_new_zipfile_serialization=zipped)
    os.truncate(path, 3 * GIBIBYTE)  # sparse: it takes no disk
    assert "more than the 2,147,483,648" in refusal(path)


def test_a_safetensors_file_beyond_the_limit_is_refused_unread(tmp_path: Path) -> None:
    save_file(basicsr(), tmp_path / "x.pth")
    os.truncate(tmp_path / "x.pth", 3 * GIBIBYTE)
    assert "more than the 2,147,483,648" in refusal(tmp_path / "x.pth")


@pytest.mark.parametrize("length", [17_000_000, 2**40, 2**63])
def test_a_safetensors_header_beyond_the_limit_is_refused_unread(tmp_path: Path, length: int) -> None:
    (tmp_path / "x.safetensors").write_bytes(struct.pack("<Q", length) + b"{" + b" " * 100)
    os.truncate(tmp_path / "x.safetensors", 20_000_000)
    refusal(tmp_path / "x.safetensors")


def test_a_safetensors_header_that_declares_more_than_the_file_has_is_refused(tmp_path: Path) -> None:
    header = b'{"a":{"dtype":"F32","shape":[1073741824],"data_offsets":[0,4294967296]}}'
    (tmp_path / "x.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    before = peak_bytes()
    refusal(tmp_path / "x.safetensors")
    assert peak_bytes() - before < 2**26


def test_shapes_cannot_make_a_network_larger_than_the_file(tmp_path: Path) -> None:
    # A million features in the first convolution alone would make the others of 2**40 weights each.
    state = basicsr()
    state["conv_first.weight"] = torch.zeros(1_000_000, 3, 1, 1)
    torch.save(state, tmp_path / "x.pth")
    before = peak_bytes()
    assert "features must be in [1, 4,096], got 1000000" in refusal(tmp_path / "x.pth")
    assert peak_bytes() - before < 2**26


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_refused(tmp_path: Path, value: float) -> None:
    state = basicsr()
    state["conv_hr.bias"][3] = value
    torch.save(state, tmp_path / "x.pth")
    assert refusal(tmp_path / "x.pth") == "conv_hr.bias is not finite"


def test_a_double_too_large_for_fp32_is_refused(tmp_path: Path) -> None:
    state = basicsr()
    state["conv_hr.bias"] = torch.full((8,), 1e300, dtype=torch.float64)
    torch.save(state, tmp_path / "x.pth")
    assert refusal(tmp_path / "x.pth") == "conv_hr.bias is not finite"


@pytest.mark.parametrize("shape", [(), (8,), (8, 8, 1, 1), (8, 9, 3, 3), (0, 8, 3, 3)])
@pytest.mark.parametrize("key", ["conv_first.weight", "body.1.rdb2.conv3.weight", "conv_last.weight"])
def test_a_wrong_shape_is_refused(tmp_path: Path, key: str, shape: tuple[int, ...]) -> None:
    torch.save({**basicsr(), key: torch.zeros(shape)}, tmp_path / "x.pth")
    assert "shape" in refusal(tmp_path / "x.pth") or "channels" in refusal(tmp_path / "x.pth")


def test_integers_are_refused(tmp_path: Path) -> None:
    torch.save({**basicsr(), "conv_hr.bias": torch.zeros(8, dtype=torch.int8)}, tmp_path / "x.pth")
    assert "expected floating point" in refusal(tmp_path / "x.pth")


@pytest.mark.parametrize(
    "held", [[], {}, 3, [1, 2], torch.zeros(3), {"a": 1}, {1: torch.zeros(1)}, {"weights": {"a": torch.zeros(1)}}]
)
def test_a_file_without_named_tensors_is_refused(tmp_path: Path, held: object) -> None:
    torch.save(held, tmp_path / "x.pth")
    refusal(tmp_path / "x.pth")


def test_a_missing_tensor_is_named_with_the_nearest_layout_and_all_that_were_expected(tmp_path: Path) -> None:
    state = basicsr()
    del state["conv_body.weight"]
    torch.save({"params": state}, tmp_path / "x.pth")
    assert refusal(tmp_path / "x.pth") == (
        "a network of unknown layout: looks most like RRDBNet (BasicSR layout), but conv_body.weight is missing; expected "
        "RRDBNet (original ESRGAN layout), RRDBNet (new ESRGAN layout), RRDBNet (BasicSR layout), SRVGGNetCompact"
    )


@pytest.mark.parametrize(
    ("inputs", "outputs", "reason"),
    [(1, 3, "square"), (3, 1, "square"), (5, 3, "square"), (27, 3, "does not divide"), (192, 3, "does not divide")],
)
def test_channels_that_fit_no_network_are_refused(tmp_path: Path, inputs: int, outputs: int, reason: str) -> None:
    changed = {
        "conv_first.weight": torch.zeros(8, inputs, 3, 3),
        "conv_last.weight": torch.zeros(outputs, 8, 3, 3),
        "conv_last.bias": torch.zeros(outputs),
    }
    torch.save({**basicsr(), **changed}, tmp_path / "x.pth")
    assert reason in refusal(tmp_path / "x.pth")


def test_a_hostile_key_stays_on_its_line(tmp_path: Path) -> None:
    torch.save({"a\nb\x1b[31m" + "c" * 10_000: torch.zeros(1)}, tmp_path / "x.pth")
    assert len(refusal(tmp_path / "x.pth")) < 500
    assert "\x1b" not in refusal(tmp_path / "x.pth")


@pytest.mark.parametrize(("zipped", "declared"), [(True, 2**31 - 1), (False, 2**31 - 1), (False, 97 * 4)])
def test_numbers_that_a_file_cannot_hold_are_refused_before_torch_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zipped: bool, declared: int
) -> None:
    path = tmp_path / "x.pth"
    torch.save({"a": torch.ones(97)}, path, _use_new_zipfile_serialization=zipped)
    if zipped:
        rezip(path, lambda name, data: lying_pickle(data, declared, 97) if name.endswith("data.pkl") else data)
    else:
        path.write_bytes(
            lying_pickle(path.read_bytes(), min(declared + 9, 2**31 - 1), 97)
        )  # 8 bytes more than numbers: their count
    monkeypatch.setattr(foreign.torch, "load", lambda *_, **__: pytest.fail("torch was asked to read it"))
    assert "declares" in refusal(path)


def test_a_storage_length_that_is_no_literal_is_refused_before_torch_reads(tmp_path: Path) -> None:
    # Remembered (p255) and recalled (h255), a number could be counted as another one.
    torch.save({"a": torch.ones(97)}, tmp_path / "x.pth")
    rezip(tmp_path / "x.pth", lambda _, data: data.replace(b"Katq", b"Kaq\xff0h\xfftq"))
    assert "torch.save does not write" in refusal(tmp_path / "x.pth")
