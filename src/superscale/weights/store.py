"""Where models are found by name: bundled with the package, or in the cache folder, downloaded or added; each is checked by its sha256."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from superscale.errors import ModelError, UnknownNameError, UsageError
from superscale.files import write_bytes
from superscale.reading import opened, read_file
from superscale.weights.pickle_guard import is_safetensors
from superscale.weights.published import PUBLISHED
from superscale.weights.runs import MODEL_FILE, read_run
from superscale.weights.stored import IN_TWO_FILES, MODEL_FORMAT, MOST_BYTES, StoredModel, read_metadata, read_stored

if TYPE_CHECKING:
    from superscale.weights.checkpoint import Model

# name -> sha256 of weights/bundled/{name}.safetensors
BUNDLED: dict[str, str] = {
    "srresnet-x4": "a555bf5777ddc76d2946c21914648d508ae2691c9ac149b6c0f75e987804f058",
    "compact-x4": "61cf53462622e604a7c02a0087486d11ed7df439bf45524129559c50529055ee",
    "photo-x4": "b548d632ef8e873aec77aeab3d2f2a4291e05e1c5639b52b8dba6e69dab791e4",
    "esrgan-lite-x4": "60628dd461afae17fcadf0227c287da3c20209b875ba2f8f191a8b3eb9df3838",
    "rrdb-lite-x4": "83967c296fc2b98b5442966b6fc7a5c94cacc0b3ea1d8bf5546895430fdd1644",
    "srgan-x4": "64979827465ac75e798f64dfc5e60c12544efe54886c8f5b07431cf68ad0abcc",
}
# Names of models that a better one replaced, until the next release -> that one.
RETIRED: dict[str, str] = {"compact-real-x4": "photo-x4"}
# What to take each for.
USES: dict[str, str] = {
    "auto": "photo-x4 for compressed or noisy pictures, srgan-x4 for clean ones",
    "srresnet-x4": "fewest wrong pixels: measurements, medicine, satellites",
    "compact-x4": "speed",
    "photo-x4": "photographs with noise or JPEG's blocks, and videos",
    "esrgan-lite-x4": "sharp pictures by ESRGAN's method",
    "rrdb-lite-x4": "the other end of --fidelity for esrgan-lite-x4",
    "srgan-x4": "sharp pictures from clean photographs",
}
# The name of what chooses: by the picture, and by the device.
AUTO = "auto"
# What --model takes for something else; no model that is added would be found by these names.
RESERVED = (AUTO, "bicubic", "bilinear")
# For pictures with JPEG's blocks or noise, and for videos.
DAMAGED_DEFAULT = "photo-x4"
# The best-looking model that is fast enough there, for clean pictures.
CPU_DEFAULT = "srgan-x4"
GPU_DEFAULT = "srgan-x4"
# an adversarially trained model -> the PSNR-oriented one that it began from; fidelity goes between the two
PSNR_PARTNERS: dict[str, str] = {
    "srgan-x4": "srresnet-x4",
    "esrgan-lite-x4": "rrdb-lite-x4",
    "esrgan-x4": "rrdb-x4",
}


def cache_folder() -> Path:
    """``SUPERSCALE_CACHE``, else ``XDG_CACHE_HOME/superscale``, else ``~/.cache/superscale``."""
    if explicit := os.environ.get("SUPERSCALE_CACHE"):
        return Path(explicit)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path(os.path.expanduser("~")) / ".cache") / "superscale"


def default_model(device_type: str) -> str:
    """The model that `upscale` uses on a "cpu", "cuda" or "mps" when none is named. Raises ModelError when none is bundled."""
    if not BUNDLED:
        raise ModelError("no model is bundled with this installation; name a model file")
    wanted = CPU_DEFAULT if device_type == "cpu" else GPU_DEFAULT
    return wanted if wanted in BUNDLED else next(iter(BUNDLED))


def models() -> list[str]:
    """The names that ``Upscaler(NAME)`` takes: bundled models, and those that were downloaded or added."""
    return [*BUNDLED, *downloaded(), *(name for name in added() if name not in BUNDLED)]


def bundled_folder() -> Path:
    """Where the bundled models lie."""
    return Path(str(files("superscale.weights") / "bundled"))


def models_folder() -> Path:
    """Where models lie that were downloaded or added."""
    return cache_folder() / "models"


def added() -> dict[str, Path]:
    """The models that `add_model` took, by name."""
    return {path.stem: path for path in sorted(models_folder().glob("*")) if path.with_name(f"{path.name}.sha256").exists()}


def downloaded() -> dict[str, Path]:
    """The published models that are in the cache folder, by name."""
    paths = {name: published_path(name) for name in PUBLISHED}
    return {name: path for name, path in paths.items() if path.is_file()}


def published_path(name: str) -> Path:
    """Where a published model lies once it is downloaded; a feature network is in the cache folder itself, as the losses look for it."""
    published = PUBLISHED[name]
    return (models_folder() if published.scale else cache_folder()) / published.file


def model_path(name_or_path: str | Path) -> Path:
    """The file of a model by name, or the given file itself, or that of a training run's folder, itself while the run goes on.

    Raises ModelError for a model that is not downloaded, UnknownNameError.
    """
    name = RETIRED.get(str(name_or_path), str(name_or_path))
    if name in BUNDLED:
        return bundled_folder() / f"{name}.safetensors"
    if path := (added() | downloaded()).get(name):
        return path
    if Path(name).exists() or Path(name).suffix or os.sep in name:
        ended = Path(name) / MODEL_FILE
        return ended if ended.is_file() else Path(name)
    if name in PUBLISHED:
        raise ModelError(f"{name} is not downloaded; fetch it first: superscale models pull {name}")
    raise UnknownNameError("model", name, [*BUNDLED, *PUBLISHED, *added()])


def expected_sha256(name: str) -> str:
    """The sha256 of a model by name, or how it begins. Raises UnknownNameError."""
    if name in BUNDLED:
        return BUNDLED[name]
    if path := added().get(name):
        return path.with_name(f"{path.name}.sha256").read_text(errors="replace").strip()
    if name in PUBLISHED:
        return PUBLISHED[name].sha256
    raise UnknownNameError("model", name, [*BUNDLED, *PUBLISHED, *added()])


def verify_model(name: str) -> str:
    """The sha256 of a model's file. Raises ModelError when it is not the expected one, UnknownNameError for what has no name here."""
    expected = expected_sha256(name)
    path = model_path(name)
    if not (found := sha256_of(path)).startswith(expected):
        way_out = "reinstall superscale" if name in BUNDLED else f"superscale models rm {name}, then fetch or add it again"
        raise ModelError(f"{path}: damaged (its sha256 is not the published one); {way_out}")
    return found


def add_model(file: Path, name: str | None = None) -> str:
    """Copy a model file to the cache folder, so that it is found by its name, by default the file's. Raises ModelError, UsageError.

    What is more than one file (OpenVINO's, ncnn's, a run) becomes a file of ours.
    """
    name = name or file.stem
    if name in BUNDLED or name in PUBLISHED or name in RETIRED or name in RESERVED:
        raise UsageError(f"{name} is the name of another model; choose one with --name")
    if name in added():
        raise UsageError(f"a model called {name} was added before; superscale models rm {name}, or choose a name with --name")
    if not name or name.startswith(".") or not name.isprintable() or any(character in name for character in "/\\:"):
        raise UsageError(f"not a name for a model: {name!r}")
    model = find_model(file)
    if file.suffix in IN_TWO_FILES or file.is_dir():
        from superscale.weights.checkpoint import save_model

        target = models_folder() / f"{name}.safetensors"
        save_model(target, model.generator, model.card)
    else:
        target = models_folder() / f"{name}{file.suffix}"
        write_bytes(target, read_file(file, MOST_BYTES))
    write_bytes(target.with_name(f"{target.name}.sha256"), sha256_of(target).encode())
    return name


def remove_model(name: str) -> Path:
    """Delete a model from the cache folder. Raises UsageError for a bundled one, ModelError for one that is not there."""
    if name in BUNDLED:
        raise UsageError(f"{name} is bundled with the package and cannot be removed")
    if path := added().get(name):
        path.with_name(f"{path.name}.sha256").unlink()
        path.unlink()
        return path
    if name not in PUBLISHED:
        raise UnknownNameError("model", name, [*PUBLISHED, *added()])
    path = published_path(name)
    if not path.is_file():
        raise ModelError(f"{name} is not downloaded")
    path.unlink()
    return path


def find_model(name_or_path: str | Path) -> Model:
    """A model by name, or any model file by path, ours or another program's, as a torch network.

    Raises UnknownNameError or ModelError.
    """
    from superscale.weights.checkpoint import model_of

    path, name = _checked(name_or_path)
    stored = _read(path)
    return replace(_load_foreign(path) if stored is None else model_of(stored, str(path)), name=name)


def find_stored(name_or_path: str | Path) -> StoredModel:
    """As `find_model`, without torch unless the file is another training program's."""
    path, name = _checked(name_or_path)
    stored = _read(path)
    if stored is None:
        from superscale.weights.checkpoint import stored_of

        stored = stored_of(_load_foreign(path))
    return replace(stored, name=name)


def _checked(name_or_path: str | Path) -> tuple[Path, str]:
    """A model's file, checked where it has a name here, and what the model is called."""
    name = RETIRED.get(str(name_or_path), str(name_or_path))
    has_name = name in BUNDLED or name in added() or name in downloaded()
    if has_name:
        verify_model(name)
    path = model_path(name)
    return path, name if has_name else path.stem


def _read(path: Path) -> StoredModel | None:
    """The model of a file that can be read without torch, or of a run; None for those of other training programs."""
    if path.is_dir():
        return read_run(path)
    if path.suffix == ".onnx":
        from superscale.weights.onnx import read_onnx

        return read_onnx(path)
    if path.suffix == ".xml":
        from superscale.weights.openvino_reader import read_openvino

        return read_openvino(path)
    if path.suffix == ".param":
        from superscale.weights.ncnn_reader import read_ncnn

        return read_ncnn(path)
    return read_stored(path) if is_safetensors(path) and read_metadata(path).get("format") == MODEL_FORMAT else None


def _load_foreign(path: Path) -> Model:
    from superscale.weights.foreign import load_foreign

    model = load_foreign(path)
    return replace(model, card={**model.card, "sha256": sha256_of(path)})


class Published(NamedTuple):
    """A file of weights that others publish: its name, its sha256 or how that begins, and where it comes from."""

    file: str
    sha256: str
    origin: str

    def check(self, path: Path, needed_by: str, way_out: str) -> None:
        """Raise ModelError, with what to fetch and where to put it (``way_out``: or what else), unless ``path`` is this very file."""
        if not path.is_file():
            raise ModelError(
                f"{needed_by} needs published weights, nothing is downloaded, and there is no {path}. Fetch {self.file} from "
                f"{self.origin} and put it there, or {way_out}"
            )
        if not sha256_of(path).startswith(self.sha256):
            raise ModelError(f"{path}: not the published {self.file} (its sha256 should begin with {self.sha256})")


def sha256_of(path: Path) -> str:
    """The sha256 of a file, in hexadecimal. Raises ModelError when it cannot be read."""
    try:
        with opened(path) as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error})") from error
