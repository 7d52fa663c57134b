"""Where models are found by name: bundled with the package, each pinned by its sha256; and where downloads would lie."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from superscale.errors import ModelError, UnknownNameError
from superscale.weights.pickle_guard import is_safetensors
from superscale.weights.stored import MODEL_FORMAT, StoredModel, read_metadata, read_stored

if TYPE_CHECKING:
    from superscale.weights.checkpoint import Model

# name -> sha256 of weights/bundled/{name}.safetensors
BUNDLED: dict[str, str] = {
    "srresnet-x4": "a555bf5777ddc76d2946c21914648d508ae2691c9ac149b6c0f75e987804f058",
    "compact-x4": "61cf53462622e604a7c02a0087486d11ed7df439bf45524129559c50529055ee",
    "compact-real-x4": "d5ba84d5ef47181f5e03424e52ee7ed08deed409b47ef0c6b40ee74ec82c5c7f",
    "esrgan-lite-x4": "60628dd461afae17fcadf0227c287da3c20209b875ba2f8f191a8b3eb9df3838",
    "rrdb-lite-x4": "83967c296fc2b98b5442966b6fc7a5c94cacc0b3ea1d8bf5546895430fdd1644",
    "srgan-x4": "d7569faf77234d3b9e9f23df84bb8862b1f3a9997a18f51d7ce3135c6c5a71a5",
}
# The best-looking model that is fast enough there.
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


def bundled_folder() -> Path:
    """Where the bundled models lie."""
    return Path(str(files("superscale.weights") / "bundled"))


def model_path(name_or_path: str | Path) -> Path:
    """The file of a bundled model, or the given file itself. Raises UnknownNameError for a name that is neither."""
    name = str(name_or_path)
    if name in BUNDLED:
        return bundled_folder() / f"{name}.safetensors"
    if Path(name).exists() or Path(name).suffix or os.sep in name:
        return Path(name)
    raise UnknownNameError("model", name, BUNDLED)


def verify_model(name: str) -> str:
    """The sha256 of a bundled model's file. Raises ModelError when it is not the published one, UnknownNameError for other names."""
    if name not in BUNDLED:
        raise UnknownNameError("bundled model", name, BUNDLED)
    path = model_path(name)
    if (found := sha256_of(path)) != BUNDLED[name]:
        raise ModelError(f"{path}: damaged (its sha256 is not the published one); reinstall superscale")
    return found


def find_model(name_or_path: str | Path) -> Model:
    """A bundled model by name, or any model file by path, ours or another program's, as a torch network.

    Raises UnknownNameError or ModelError.
    """
    from superscale.weights.checkpoint import model_of

    path = _path(name_or_path)
    stored = _read(path)
    return _load_foreign(path) if stored is None else model_of(stored, str(path))


def find_stored(name_or_path: str | Path) -> StoredModel:
    """As `find_model`, without torch unless the file is another training program's."""
    path = _path(name_or_path)
    if (stored := _read(path)) is not None:
        return stored
    from superscale.weights.checkpoint import stored_of

    return stored_of(_load_foreign(path))


def _path(name_or_path: str | Path) -> Path:
    if (name := str(name_or_path)) in BUNDLED:
        verify_model(name)
    return model_path(name_or_path)


def _read(path: Path) -> StoredModel | None:
    """The model of a file that can be read without torch; None for those of other training programs."""
    if path.suffix == ".onnx":
        from superscale.weights.onnx import read_onnx

        return read_onnx(path)
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
        with open(path, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error})") from error
