"""Where every input goes: beside itself, into a folder, to a file, after a template or to standard output; no two to one place."""

from __future__ import annotations

import hashlib
import os
import string
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from posixpath import splitext
from typing import Literal

from superscale.errors import UnknownNameError, UsageError
from superscale.image.animation import is_animated
from superscale.image.formats import SUFFIXES, UNWRITTEN_SUFFIXES, VIDEO_SUFFIXES, VIDEOS, known_suffix
from superscale.image.io import source_of
from superscale.inference.inputs import STDIN, Found
from superscale.inference.sizes import label
from superscale.options import Scale
from superscale.reading import fingerprint

STDOUT = "-"
# Where the input's own format is not written, and nothing else is asked for.
FALLBACK_SUFFIX = ".png"
FALLBACK_VIDEO_SUFFIX = ".mkv"
GIF = ".gif"  # written of animations only
WRITTEN = SUFFIXES.keys() | VIDEO_SUFFIXES | {GIF}
FIELDS = ("stem", "name", "ext", "scale", "model", "parent")
# Every file system in use allows so many bytes a name.
LONGEST_NAME_BYTES = 250
DIGEST_DIGITS = 8


@dataclass(frozen=True)
class Job:
    """One picture's way. ``output`` None: standard output, or nowhere when ``verdict`` is there before it is begun.

    ``suffix``: of the format for standard output, None for the input's own. ``overwrites``: the input that lies where the
    output should go.
    """

    input: Path
    output: Path | None = None
    root: Path | None = None
    suffix: str | None = None
    from_stdin: bool = False
    verdict: Literal["skipped", "failed"] | None = None
    why: str | None = None
    overwrites: Path | None = None

    @property
    def name(self) -> str:
        """As people know the input."""
        return STDIN if self.from_stdin else str(self.input)

    @property
    def again(self) -> str:
        """The name that leads the input to the same output when it is read from a list."""
        if self.root is None or not self.input.is_relative_to(self.root) or self.input == self.root:
            return self.name
        return f"{self.root}{os.sep}.{os.sep}{self.input.relative_to(self.root)}"


@dataclass(frozen=True, kw_only=True)
class Destination:
    """Where outputs go. ``suffix``: of the format that is asked for, None for each input's own."""

    kind: Literal["beside", "folder", "file", "template", "stdout"]
    where: str = ""
    suffix: str | None = None
    scale: Scale
    model: str

    @property
    def end(self) -> str:
        """What a name gains, such as ``_x4``."""
        return f"_{label(self.scale)}"


def plan_jobs(
    found: Iterable[Found],
    output: str | None,
    *,
    scale: Scale,
    model: str = "model",
    suffix: str | None = None,
    left_out: list[Path] | None = None,
) -> list[Job]:
    """Inputs -> jobs, in the same order. ``output``: None (beside each input, ``{stem}_x{scale}{ext}``), a file, a folder
    (a looked-through folder's tree is kept), a template or "-".

    Where only the old extension tells two outputs apart, it goes into the name: ``a_jpg_x4.png``. What was made of one of
    the inputs, or lies where its output would, and says in its EXIF that this program made it, is left out and added to ``left_out``;
    what the user named is not. Raises UsageError when one output is named for several inputs.
    """
    found = [one for one in found if not one.is_passed_over]
    fit = [one for one in found if one.unfit is None]
    destination = _destination(output, fit, scale, model, suffix)
    if destination.kind == "stdout":
        return [_to_stdout(one, destination) for one in found]
    if destination.kind in ("beside", "folder", "template"):
        own = _own_outputs(fit, destination)
        fit = [one for one in fit if one not in own]
        if left_out is not None:
            left_out += [one.path for one in own]
    outputs = _outputs(fit, destination)
    inputs = {identity: one.path for one in fit if not one.from_stdin and (identity := _identity(one.path))}
    jobs: list[Job] = []
    for one in found:
        if one.unfit is not None:
            jobs.append(_unfit(one))
        elif one in outputs:
            target = outputs[one]
            identity = _identity(target)
            overwrites = inputs.get(identity) if identity else None
            jobs.append(Job(one.path, target, one.root, target.suffix, one.from_stdin, overwrites=overwrites))
    return jobs


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


def _destination(output: str | None, fit: list[Found], scale: Scale, model: str, suffix: str | None) -> Destination:
    destination = Destination(kind="beside", where=output or "", suffix=suffix, scale=scale, model=model)
    streamed = any(one.from_stdin for one in fit)
    if output == STDOUT or (output is None and streamed):
        if len(fit) > 1:
            raise UsageError(f"standard output takes one picture, got {len(fit)}; give a folder with -o")
        return replace(destination, kind="stdout")
    if output is None:
        return destination
    if not os.path.isdir(output) and _fields(output):
        default = f"{{stem}}_{label(scale)}{{ext}}" if output.endswith(("/", os.sep)) else ""
        return replace(destination, kind="template", where=output + default)
    ending = Path(output).suffix.lower()
    if os.path.isdir(output) or output.endswith(("/", os.sep)) or not (ending in WRITTEN or os.path.isfile(output)):
        if ending in UNWRITTEN_SUFFIXES and not os.path.isdir(output):
            raise UsageError(f"{output}: cannot write this format; expected one of {', '.join(SUFFIXES)}")
        if ending and not os.path.isdir(output) and not output.endswith(("/", os.sep)):
            raise UsageError(f"{output}: unknown format; expected one of {', '.join(SUFFIXES)}, or {output}/ for a folder")
        return replace(destination, kind="folder")
    if ending not in WRITTEN:
        raise UsageError(f"{output} is a file, and not one of {', '.join(SUFFIXES)}; give a folder or another name")
    if ending == GIF and any(one.from_stdin or not is_animated(one.path) for one in fit):
        raise UsageError(f"{output}: cannot write this format, but for animations; expected one of {', '.join(SUFFIXES)}")
    if fit and _is_video(fit[0]) != (ending in VIDEO_SUFFIXES):
        expected = f"a video, as {', '.join(sorted(VIDEO_SUFFIXES))}" if _is_video(fit[0]) else f"one of {', '.join(SUFFIXES)}"
        raise UsageError(f"{output}: expected {expected}, for {fit[0].path}")
    if len(fit) > 1:
        raise UsageError(f"{output} is one file, and there are {len(fit)} pictures; give a folder ({output}/) or a template")
    return replace(destination, kind="file")


def _fields(template: str) -> list[str]:
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise UsageError(f"output {template}: {error}; write {{{{ and }}}} for braces that are meant as such") from error
    fields = [name for _, name, _, _ in parts if name is not None]
    for _, name, form, conversion in parts:
        if name is not None and (name not in FIELDS or form or conversion):
            raise UnknownNameError("field of -o", name + (f":{form}" if form else ""), FIELDS)
    return fields


def _unfit(one: Found) -> Job:
    return Job(one.path, root=one.root, verdict="failed" if one.is_failure else "skipped", why=one.unfit)


def _to_stdout(one: Found, destination: Destination) -> Job:
    if one.unfit is not None:
        return _unfit(one)
    own = None if one.from_stdin else _extension(one, destination)
    return Job(one.path, suffix=destination.suffix or own, from_stdin=one.from_stdin)


def _own_outputs(fit: list[Found], destination: Destination) -> list[Found]:
    """Running on the same folder again must not enlarge what earlier runs wrote, in whatever format and wherever.

    They are known by what they say of themselves: a picture of the user's may have the name of an output.
    """
    made_from = {one: source for one in fit if not one.named and (source := source_of(one.path)) is not None}
    if not made_from:
        return []
    written = {os.path.abspath(path.with_suffix("")) for path in _outputs(fit, destination, refuse=False).values()}
    sources = {print_ for one in fit if not one.from_stdin and (print_ := _fingerprint(one.path)) is not None}
    return [
        one for one, source in made_from.items() if source in sources or os.path.abspath(one.path.with_suffix("")) in written
    ]


def _fingerprint(path: Path) -> str | None:
    try:
        return fingerprint(path)
    except OSError:
        return None


def _outputs(fit: list[Found], destination: Destination, refuse: bool = True) -> dict[Found, Path]:
    groups: dict[str, list[Found]] = {}
    for one in fit:
        groups.setdefault(os.path.abspath(_target(one, destination, one.path.stem)), []).append(one)
    outputs: dict[Found, Path] = {}
    later: list[tuple[Found, Found]] = []
    for target, group in groups.items():
        # The one that keeps its extension keeps the plain name: adding another picture to a folder then renames no old output.
        first = next((one for one in group if one.path.suffix.lower() == Path(target).suffix.lower()), group[0])
        outputs[first] = _target(first, destination, first.path.stem)
        later += [(one, first) for one in group if one is not first]
    taken = {os.path.abspath(path) for path in outputs.values()}
    for one, first in later:
        another = _renamed(one, destination, taken)
        if another is None or one.path.suffix.lower() == first.path.suffix.lower():
            if refuse:
                raise UsageError(
                    f"{first.path} and {one.path} would both be written to {outputs[first]}; "
                    "name a folder that holds both as input, or a template with {parent}"
                )
            continue
        outputs[one] = another
        taken.add(os.path.abspath(another))
    return outputs


def _renamed(one: Found, destination: Destination, taken: set[str]) -> Path | None:
    stem = _told_apart(one.path.stem, one.path.suffix)
    for candidate in (stem, f"{stem}~{_digest(one.path.name)}"):
        target = _target(one, destination, candidate)
        if os.path.abspath(target) not in taken:
            return target
    return None


def _is_video(one: Found) -> bool:
    return not one.from_stdin and one.path.suffix.lower() in VIDEOS


def _extension(one: Found, destination: Destination) -> str:
    own = one.path.suffix
    if _is_video(one):
        return own if own.lower() in VIDEO_SUFFIXES else FALLBACK_VIDEO_SUFFIX
    known = known_suffix(one.path)
    is_animation = known == GIF and not one.from_stdin and is_animated(one.path)
    return output_suffix(own if own.lower() == known else known, destination.suffix, is_animation)


def output_suffix(own: str, asked: str | None, is_animation: bool = False) -> str:
    """The suffix of a picture's output: the one that is asked for, else its ``own`` where that is written, else PNG's."""
    is_written = own.lower() in SUFFIXES or (is_animation and own.lower() == GIF)
    return asked or (own if is_written else FALLBACK_SUFFIX)


def output_name(name: str, suffix: str, scale: Scale) -> str:
    """The name of an output that no other input gets, whatever the others are called: ``a.png`` -> ``a_x4.png``; where the format
    changes, the old one stays in the name, as ``a.png`` may lie beside it: ``a.bmp`` -> ``a_bmp_x4.png``."""
    stem, own = splitext(name)
    return f"{stem if suffix.lower() == own.lower() else _told_apart(stem, own)}_{label(scale)}{suffix}"


def _told_apart(stem: str, own: str) -> str:
    return f"{stem}_{own[1:]}"


def _target(one: Found, destination: Destination, stem: str) -> Path:
    if destination.kind == "file":
        return _agreeing(Path(destination.where), destination)
    if destination.kind == "template":
        return _agreeing(_filled(one, destination, stem), destination)
    name = _fitting(stem, f"{destination.end}{_extension(one, destination)}", one.path.name)
    if destination.kind == "beside":
        return one.path.with_name(name)
    below = one.path.parent.relative_to(one.root) if one.root and one.path.is_relative_to(one.root) else Path()
    return Path(destination.where) / below / name


def _filled(one: Found, destination: Destination, stem: str) -> Path:
    """The template with its fields; {parent} at its start is the input's whole folder, elsewhere only that folder's name."""
    extension = _extension(one, destination)
    name = one.path.name if stem == one.path.stem else f"{stem}{one.path.suffix}"
    values = {
        "stem": stem,
        "name": name,
        "ext": extension,
        "scale": label(destination.scale).removeprefix("x"),
        "model": destination.model,
    }
    text = ""
    for literal, field, _, _ in string.Formatter().parse(destination.where):
        text += literal
        if field == "ext" and text.endswith("."):
            text = text[:-1]  # an extension has its own dot
        if field == "parent":
            text += str(one.path.parent) if not text else one.path.absolute().parent.name
        elif field is not None:
            text += values[field].replace(os.sep, "_")
    path = Path(text)
    if path.suffix.lower() in UNWRITTEN_SUFFIXES and destination.where.lower().endswith(path.suffix.lower()):
        raise UsageError(f"output {destination.where}: cannot write this format; expected one of {', '.join(SUFFIXES)}")
    start, end = (path.stem, path.suffix) if path.suffix.lower() in WRITTEN else (path.name, extension)
    return path.with_name(_fitting(start, end, one.path.name))


def _agreeing(path: Path, destination: Destination) -> Path:
    if destination.suffix and SUFFIXES.get(path.suffix.lower(), "") != SUFFIXES[destination.suffix]:
        raise UsageError(
            f"the output ends in {path.suffix}, and the format asked for is {destination.suffix[1:]}; leave one of them out"
        )
    return path


def _fitting(start: str, end: str, source: str) -> str:
    """``start + end``, cut where a file system would refuse it; a digest of the input's name then keeps it unique."""
    if len(os.fsencode(start + end)) <= LONGEST_NAME_BYTES:
        return start + end
    tail = f"~{_digest(source)}{end}"
    room = max(LONGEST_NAME_BYTES - len(os.fsencode(tail)), 1)
    while len(os.fsencode(start)) > room:
        start = start[:-1]
    return start + tail


def _digest(text: str) -> str:
    return hashlib.sha256(os.fsencode(text)).hexdigest()[:DIGEST_DIGITS]
