"""Which library runs a model, and in which precision.

"auto" begins in the plain way: fp32, in the library that starts soonest. Once there is so much to compute that trying others takes at
most a twentieth of it, they are tried, and the verdicts kept; from then on each picture goes the way that has it done first, the time
to start a library included, among those that were found equal to fp32. A picture never changes its way between tiles.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from superscale.contract import Contract
from superscale.errors import UsageError
from superscale.inference.backends import Backend
from superscale.inference.backends.onnx_backend import OnnxBackend
from superscale.inference.backends.openvino_backend import OpenVinoBackend
from superscale.inference.backends.trial import (
    PACKAGES,
    Verdict,
    Way,
    keep,
    kept,
    probe_picture,
    seconds_of,
    tried,
    verdict_file,
)
from superscale.machine import memory, processor
from superscale.machine.accelerators import has_none
from superscale.options import Precision, UpscaleOptions
from superscale.weights.store import AUTO, BUNDLED, DAMAGED_DEFAULT, default_model, find_stored
from superscale.weights.stored import StoredModel

if TYPE_CHECKING:
    from superscale.weights.checkpoint import Model

# Below so many input pixels no trial can pay, so that nothing is measured for it.
LEAST_TRIAL_PX = 250_000
# What starting a library takes before anything is known of it, and the share of the work that trying may take.
GUESSED_START_SECONDS, TRIAL_SHARE = 3.0, 0.05
RUNS_A_TRIAL = 4


def load(
    model: str | Path | Model | StoredModel | None, options: UpscaleOptions, fidelity: float | None = None
) -> tuple[Model | StoredModel, Backend]:
    """A model by name or file, on the device that is asked for; the default is the best-looking that is fast enough there.

    ``fidelity``: between an adversarial model that is named and its PSNR-oriented partner, None for the model as it is.
    A torch network in memory runs in torch, unless another backend is named. Raises UsageError for what cannot be had here.
    """
    device = device_name(options.device)
    model = None if model == AUTO else model
    if fidelity is not None:
        model = _blended(model or default_model(device.partition(":")[0]), fidelity)
    if model is None or isinstance(model, str | Path):
        model = find_stored(model or default_model(device.partition(":")[0]))
    in_memory = not isinstance(model, StoredModel)
    if options.backend != "auto" or options.precision not in ("auto", "fp32") or in_memory:
        backend = "torch" if options.backend == "auto" else options.backend
        return model, made(model, Way(backend, "fp32" if options.precision == "auto" else options.precision), device)
    assert isinstance(model, StoredModel)
    return model, Choice(model, device, options.precision)


def damaged_default() -> str | None:
    """The model that images with JPEG's blocks or noise get where none is named; None where it is not bundled."""
    return DAMAGED_DEFAULT if DAMAGED_DEFAULT in BUNDLED else None


def _blended(model: object, fidelity: float) -> StoredModel:
    from superscale.weights.blend import with_fidelity
    from superscale.weights.checkpoint import stored_of

    if not isinstance(model, str):
        raise UsageError(f"fidelity needs the name of a model, got {model!r}")
    return stored_of(with_fidelity(model, fidelity))


def device_name(wanted: str) -> str:
    """The device as people name it; "auto" is the first GPU. torch is asked, but where there can be no GPU."""
    if wanted == "cpu" or (wanted == "auto" and has_none()):
        return "cpu"
    from superscale.machine.device import pick_device

    return str(pick_device(wanted))


def made(model: Model | StoredModel, way: Way, device: str) -> Backend:
    """A model in a library, ready to compute. Raises UsageError, MissingExtraError and ModelError where that cannot be."""
    if way.backend == "torch":
        return _in_torch(model, way.precision, device)
    stored = model
    if not isinstance(stored, StoredModel):
        from superscale.weights.checkpoint import stored_of

        stored = stored_of(stored)
    found: Backend = OTHERS[way.backend](stored, device, way.precision)
    return found


OTHERS: dict[str, Any] = {"onnx": OnnxBackend, "openvino": OpenVinoBackend}


def _in_torch(model: Model | StoredModel, precision: Precision, device: str) -> Backend:
    from superscale.inference.backends.torch_backend import TorchBackend
    from superscale.machine.device import pick_device
    from superscale.weights.checkpoint import model_of

    found = model_of(model, model.name) if isinstance(model, StoredModel) else model
    return TorchBackend(found.generator, pick_device(device), precision)


def ways(device: str, precision: Precision = "auto") -> list[Way]:
    """The ways that may be worth trying on a device, the plain one first: it starts soonest."""
    is_cpu = device == "cpu"
    plain = [Way("onnx", "fp32"), Way("openvino", "fp32"), Way("torch", "fp32")] if is_cpu else [Way("torch", "fp32")]
    if precision == "auto" and not is_cpu:
        plain += [Way("torch", "fp16"), Way("torch", "bf16"), Way("onnx", "fp32"), Way("onnx", "fp16")]
    if precision == "auto" and is_cpu and processor.multiplies_bf16():
        plain += [Way("openvino", "bf16"), Way("torch", "bf16")]
    return [way for way in plain if find_spec(PACKAGES[way.backend])]


class Choice:
    """A stored model in several ways: a `Backend` of the plain way, and `suited` for a picture's. ``device``: the same for all."""

    def __init__(self, model: StoredModel, device: str, precision: Precision = "auto") -> None:
        self.model = model
        self.device = device
        self.contract: Contract = model.contract
        self.ways = ways(device, precision)
        if not self.ways:
            raise UsageError(f"no library that runs networks on {device} is installed")
        self.loaded: dict[Way, Backend] = {}
        self.done_px = 0
        self.probe_seconds: float | None = None
        self.verdicts: list[Verdict] | None = None
        self.looked_up = False
        self.lock = Lock()

    @property
    def plain(self) -> Backend:
        """fp32, in the library that starts soonest."""
        return self._made(self.ways[0])

    @property
    def name(self) -> str:
        """That of the plain way."""
        return str(self.ways[0])

    def free_bytes(self) -> int | None:
        """Memory that is free on the device."""
        return memory.free_bytes() if self.device == "cpu" else self.plain.free_bytes()

    def __call__(self, low_res: Any) -> Any:
        """In the plain way."""
        return self.plain(low_res)

    def suited(self, area_px: int, deep: bool, begun_by: str | None = None) -> Backend:
        """For a picture of so many pixels, of 8 bits or ``deep``: what has it done first, as far as is known or worth finding out.

        ``begun_by``: the name of the way that has done some of the picture already, and goes on with it, if it is there.
        """
        with self.lock:
            self.done_px += area_px
            for way in self.ways:
                if str(way) == begun_by:
                    return self._made(way)
            if not self.looked_up and len(self.ways) > 1:
                self.verdicts = kept(verdict_file(self.model, self.device))
                self.looked_up = True
            if self.verdicts is None and len(self.ways) > 1 and self._is_worth_a_trial():
                self.verdicts = self.measure()
            return self._first_done(deep)

    def measure(self) -> list[Verdict]:
        """Try every way, and keep the verdicts."""
        probe = self._probe()
        plain = self.plain
        verdicts = tried(self.ways, self._made, probe, plain(probe))
        keep(verdict_file(self.model, self.device), self.model, self.device, verdicts)
        return verdicts

    def _probe(self) -> Any:
        return probe_picture(self.contract.channels)

    def _is_worth_a_trial(self) -> bool:
        if self.done_px < LEAST_TRIAL_PX:
            return False
        probe = self._probe()
        if self.probe_seconds is None:
            self.plain(probe)
            self.probe_seconds = seconds_of(self.plain, probe)
        work = self.done_px * self.probe_seconds / (probe.shape[2] * probe.shape[3])
        trial = (len(self.ways) - 1) * (GUESSED_START_SECONDS + RUNS_A_TRIAL * self.probe_seconds)
        return bool(trial <= TRIAL_SHARE * work)

    def _first_done(self, deep: bool) -> Backend:
        """The work to come is taken to be as much as was asked for up to now."""
        fit = [verdict for verdict in self.verdicts or () if verdict.suits(deep) and verdict.way in self.ways]
        if not fit:
            return self.plain

        def seconds(verdict: Verdict) -> float:
            start = 0.0 if verdict.way in self.loaded else verdict.start_seconds
            return start + verdict.pixel_seconds * self.done_px

        return self._made(min(fit, key=seconds).way)

    def _made(self, way: Way) -> Backend:
        if way not in self.loaded:
            self.loaded[way] = made(self.model, way, self.device)
        return self.loaded[way]
