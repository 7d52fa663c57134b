"""What a file of ``torch.save`` declares, read from its bytes before torch sees it: nothing in it is run, nothing allocated on its word.

Two formats: a zip of stored records (torch 1.6 and later) and the older run of five pickles followed by the numbers.
"""

from __future__ import annotations

import io
import os
import pickletools
import struct
import zipfile
from collections import deque
from pathlib import Path
from typing import IO, Any

from superscale.errors import ModelError
from superscale.weights.stored import MOST_BYTES

# Sizes of the parts that are read whole: a pickle without its numbers, a zip's directory. ESRGAN's have 0.1 MB.
LONGEST_PICKLE = 16_000_000
LONGEST_DIRECTORY = 16_000_000
# A pickle makes an object of a byte; ESRGAN's has 30 000 steps.
MOST_STEPS = 1_000_000
NUMBER_BYTES = 4

ZIP_MAGIC = b"PK\x03\x04"
LEGACY_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
LEGACY_PICKLES = 5  # magic number, protocol, byte order, the object, the storages' keys
PICKLE_PROTOCOL = 2

# Everything that a state dict of plain tensors names. torch's own list is longer: it lets a pickle make tensors without storage.
ALLOWED_GLOBALS = frozenset(
    (
        "collections OrderedDict",
        "torch._utils _rebuild_tensor",
        "torch._utils _rebuild_tensor_v2",
        "torch._utils _rebuild_parameter",
        "torch.nn.parameter Parameter",
        *(
            f"torch {kind}Storage"
            for kind in ("Double", "Float", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool")
        ),
    )
)
# What else torch writes into zips, by a record that only it has.
OTHER_ARCHIVES = {
    "constants.pkl": "a TorchScript program",
    "archive_format": "an exported program (.pt2)",
    "serialized_exported_program.json": "an exported program (.pt2)",
}
INTEGERS = ("BININT", "BININT1", "BININT2", "LONG1")
MEMO = ("BINPUT", "LONG_BINPUT")
RECALL = ("BINGET", "LONG_BINGET")
# They hand on the container that they fill.
FILLING = ("SETITEM", "SETITEMS", "APPEND", "APPENDS", "BUILD")
# All that torch.save writes for plain tensors, and Python 2's strings; nothing here copies an object but REDUCE and BUILD.
STEPS = frozenset((*INTEGERS, *MEMO, *RECALL, *FILLING)).union(
    ("PROTO", "STOP", "GLOBAL", "REDUCE", "BINPERSID", "MARK", "NONE", "NEWTRUE", "NEWFALSE", "BINFLOAT"),
    ("BINUNICODE", "BINSTRING", "SHORT_BINSTRING", "EMPTY_DICT", "EMPTY_LIST"),
    ("EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"),
)
RECALLED = "recalled"


def is_safetensors(path: Path) -> bool:
    """Whether a file begins like safetensors (a length, then JSON), whatever its name. Raises ModelError when it is neither that
    nor a file of ``torch.save``."""
    if not path.exists():
        raise ModelError(f"{path}: no such file")
    if not path.is_file():  # a pipe would be waited for
        raise ModelError(f"{path}: a folder or a device, not a model file")
    try:
        with open(path, "rb") as stream:
            start = stream.read(len(LEGACY_MAGIC))
            size = os.fstat(stream.fileno()).st_size
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})") from error
    if start[8:9] == b"{":
        return True
    if start == LEGACY_MAGIC or start.startswith(ZIP_MAGIC):
        return False
    raise ModelError(f"{path}: not a safetensors file, nor one of torch.save ({size:,} bytes, beginning {start[:8]!r})")


def check_pickled(path: Path) -> None:
    """Raises ModelError when ``path`` is in neither format, names anything but plain tensors, or declares more than it has."""
    try:
        with open(path, "rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            if size > MOST_BYTES:
                raise ValueError(f"{size:,} bytes, more than the {MOST_BYTES:,} that are read")
            magic = stream.read(len(LEGACY_MAGIC))
            stream.seek(0)
            if magic == LEGACY_MAGIC:
                _check_legacy(stream, size)
            elif magic.startswith(ZIP_MAGIC):
                _check_zip(stream, size)
            else:
                raise ValueError("not a file of torch.save")
    except FileNotFoundError as error:
        raise ModelError(f"{path}: no such file") from error
    except Exception as error:  # whatever a hostile file provokes in a parser is a refusal
        raise ModelError(f"{path}: refused: {_one_line(error)}") from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _check_legacy(stream: IO[bytes], size: int) -> None:
    # Read through memory: a length that a pickle invents then ends at the buffer's end.
    pickles = io.BytesIO(stream.read(LONGEST_PICKLE))
    numbers = sum(_declared_numbers(pickles) for _ in range(LEGACY_PICKLES))
    if numbers > size - pickles.tell():
        raise ValueError(f"declares {numbers:,} numbers, but has {size - pickles.tell():,} bytes of them; cut short?")


def _check_zip(stream: IO[bytes], size: int) -> None:
    _check_directory(stream, size)
    with zipfile.ZipFile(stream) as archive:
        entries = archive.infolist()
        names = {entry.filename for entry in entries}
        for record, what in OTHER_ARCHIVES.items():
            if any(name == record or name.endswith(f"/{record}") for name in names):
                raise ValueError(f"{what}, not a state dict; save the network's state_dict() instead")
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise ValueError("a zip with compressed entries, which torch.save never writes")
        declared = sum(max(entry.file_size, entry.compress_size) for entry in entries)
        if declared > size:
            raise ValueError(f"a zip whose entries declare {declared:,} bytes, in a file of {size:,}")
        pickles = [entry for entry in entries if entry.filename.endswith("/data.pkl")]
        if len(pickles) != 1 or len(names) != len(entries):
            raise ValueError("a zip, but not one of torch.save (it should hold one data.pkl)")
        if pickles[0].file_size > LONGEST_PICKLE:
            raise ValueError(f"its pickle has {pickles[0].file_size:,} bytes, more than the {LONGEST_PICKLE:,} that are read")
        _declared_numbers(io.BytesIO(archive.read(pickles[0])))


def _check_directory(stream: IO[bytes], size: int) -> None:
    """Refuse a long zip directory before a parser makes objects of it. The end records hold its length twice: in 32 bits, in 64."""
    stream.seek(max(0, size - 66_000))
    tail = stream.read()
    stream.seek(0)
    end, end64 = tail.rfind(b"PK\x05\x06"), tail.rfind(b"PK\x06\x06")
    if end < 0:
        raise ValueError("a zip without its directory; cut short?")
    (length,) = struct.unpack_from("<L", tail, end + 12)
    (length64,) = struct.unpack_from("<Q", tail, end64 + 40) if end64 >= 0 else (0,)
    if max(length, length64) > LONGEST_DIRECTORY:
        raise ValueError(f"a zip with a directory of {max(length, length64):,} bytes")


def _declared_numbers(pickle: IO[bytes]) -> int:
    """How many numbers the storages of one pickle have. Raises ValueError when it names anything that is not part of a tensor."""
    numbers = 0
    before: deque[tuple[str, Any]] = deque(maxlen=3)
    stack = _Stack()
    for count, (opcode, argument, _) in enumerate(pickletools.genops(pickle)):
        if count > MOST_STEPS:
            raise ValueError(f"a pickle of more than {MOST_STEPS:,} steps")
        if opcode.name == "PROTO" and argument != PICKLE_PROTOCOL:
            raise ValueError(f"pickle protocol {argument}; torch.save writes {PICKLE_PROTOCOL}")
        if opcode.name == "GLOBAL" and argument not in ALLOWED_GLOBALS:
            raise ValueError(
                f"it names {str(argument).replace(' ', '.')!a}, which is no part of a tensor; nothing in it was run"
            )
        stack.step(opcode, argument)
        if opcode.name == "BINPERSID":
            numbers += _storage_numbers(list(before))
        if numbers * NUMBER_BYTES > MOST_BYTES:
            raise ValueError(f"declares more than {MOST_BYTES:,} bytes of numbers")
        if opcode.name not in MEMO:
            before.append((opcode.name, argument))
    return numbers


class _Stack:
    """What lies on the unpickler's stack, as far as it tells whether a step would copy a long list or dict again and again."""

    def __init__(self) -> None:
        self.symbols: list[Any] = []
        self.memo: dict[Any, Any] = {}

    def step(self, opcode: pickletools.OpcodeInfo, argument: Any) -> None:
        name = opcode.name
        symbols = self.symbols
        if name not in STEPS:
            raise ValueError(f"a pickle with {name}, which torch.save does not write")
        if name in MEMO:
            self.memo[argument] = symbols[-1]
            return
        if name in RECALL:
            kept = self.memo[argument]
            symbols.append(kept if kept in ALLOWED_GLOBALS or kept == "EMPTY_TUPLE" else RECALLED)
            return
        if name == "REDUCE":
            called, given = symbols[-2:]
            if called not in ALLOWED_GLOBALS or (called == "collections OrderedDict" and given != "EMPTY_TUPLE"):
                raise ValueError("it makes an object that torch.save does not write")
        if name == "BUILD" and symbols[-1] == RECALLED:
            raise ValueError("it gives an object attributes in a way that torch.save does not write")
        container = self._popped(opcode)
        pushed = argument if name == "GLOBAL" else container if name in FILLING else name
        symbols.extend([pushed] * len(opcode.stack_after))

    def _popped(self, opcode: pickletools.OpcodeInfo) -> Any:
        """Takes off what the step takes off; the deepest of it."""
        kinds = opcode.stack_before
        symbols = self.symbols
        taken = len(kinds)
        if pickletools.markobject in kinds:
            above = symbols[::-1].index("MARK") + 1
            taken = above + kinds.index(pickletools.markobject)
        if taken > len(symbols):
            raise ValueError("a pickle that takes more than it has")
        deepest = symbols[-taken] if taken else None
        del symbols[len(symbols) - taken :]
        return deepest


def _storage_numbers(before: list[tuple[str, Any]]) -> int:
    """The length in ``("storage", type, key, device, length)``, which the older format follows with None: the last literal."""
    literals = [step for step in before[:-1] if step[0] != "NONE"] if before and before[-1][0] == "TUPLE" else []
    if not literals or literals[-1][0] not in INTEGERS or literals[-1][1] < 0:
        raise ValueError("a storage that torch.save does not write")
    return int(literals[-1][1])
