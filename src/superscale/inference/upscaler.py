"""`Upscaler`: one picture in, the same kind of picture out, larger."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sized
from copy import copy
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from superscale import __version__
from superscale.errors import UsageError
from superscale.image.io import Image, PillowPicture, as_viewed, decode, read_image, to_pillow
from superscale.image.region import Part
from superscale.image.value_range import TYPES, ValueRange
from superscale.inference.channels import enlarge_image, measured_range, part_of
from superscale.inference.condition import damage_seen
from superscale.inference.engine import Cancel, Engine, Progress
from superscale.inference.sizes import enlarged
from superscale.options import BackendName, Bands, Precision, Scale, TargetSize, UpscaleOptions

if TYPE_CHECKING:
    from torch import Tensor

    from superscale.weights.checkpoint import Model
    from superscale.weights.stored import StoredModel

Array = NDArray[Any]


class Upscaler:
    """Enlarges pictures; thread-safe.

    ``model``: a model's name (`superscale.models`) or a path to a model file; "auto", the default, takes the best-looking bundled one, and
    another for pictures with JPEG's blocks or noise (`settled`). ``fidelity``: between an adversarial model (0) and its PSNR-oriented
    partner (1), None for the model as it is. The other arguments are those of `UpscaleOptions`.

    >>> from superscale import Upscaler
    >>> from superscale.examples import photo
    >>> upscaler = Upscaler("compact-x4", scale=2, device="cpu", backend="onnx")
    >>> upscaler
    Upscaler('compact-x4', scale=2, device='cpu')
    >>> upscaler(photo("cat.jpg")).size
    (542, 360)
    """

    def __init__(
        self,
        model: str | Path | Model | StoredModel | None = None,
        *,
        scale: Scale | None = None,
        device: str = "auto",
        precision: Precision = "auto",
        backend: BackendName = "auto",
        tile: int | Literal["auto"] = "auto",
        overlap: int | Literal["auto"] = "auto",
        consistent: bool = False,
        tta: bool = False,
        value_range: str | tuple[float, float] = "auto",
        bands: Bands = "auto",
        fidelity: float | None = None,
    ) -> None:
        how: Any = {"device": device, "precision": precision, "backend": backend, "tile": tile, "overlap": overlap}
        self.options = UpscaleOptions(scale=scale, consistent=consistent, tta=tta, value_range=value_range, bands=bands, **how)
        from superscale.inference.backends.choice import load

        self.model, computing = load(model, self.options, fidelity)
        # Other models that an image may get, once they are loaded; None where one was named.
        self.others: dict[str, Upscaler] | None = {} if model in (None, "auto") and fidelity is None else None
        self.engine = Engine(computing, self.options)
        self.contract = computing.contract
        self.scale: Scale = self.contract.scale if scale is None else scale

    def __repr__(self) -> str:
        return f"Upscaler({self.model.name!r}, scale={self.scale}, device={self.engine.backend.device!r})"

    @classmethod
    def with_options(
        cls, model: str | Path | Model | StoredModel | None, options: UpscaleOptions, fidelity: float | None = None
    ) -> Upscaler:
        """An upscaler as ``options`` say."""
        return cls(model, fidelity=fidelity, **{one.name: getattr(options, one.name) for one in fields(options)})

    @overload
    def __call__(
        self,
        picture: str | Path | bytes | IO[bytes] | PillowPicture,
        *,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
    ) -> PillowPicture: ...
    @overload
    def __call__(self, picture: Tensor, *, progress: Progress | None = None, cancel: Cancel | None = None) -> Tensor: ...
    @overload
    def __call__(self, picture: Array, *, progress: Progress | None = None, cancel: Cancel | None = None) -> Array: ...

    def __call__(self, picture: Any, *, progress: Progress | None = None, cancel: Cancel | None = None) -> Any:
        """Path, bytes or a binary file -> PIL picture; PIL -> PIL; array (H, W[, C]) -> array; tensor ([B, ]C, H, W) -> tensor: the
        same kind, type and device.

        Samples are integers of up to 32 bits or floats, in any range (``value_range`` says which values are black and white); what
        is not finite is no data, and stays so. C is 1 (grey) or 3 (RGB), for all but tensors also with alpha (2, 4).
        ``progress(tiles_done, tiles)`` is called after every tile; when ``cancel`` is set, `Cancelled` is raised.
        DICOM becomes the 8-bit picture that a viewer shows; `enlarge` on what `read_image` reads keeps its values.
        Raises ImageError for a path whose picture PIL could not hold: deeper than 8 bits with colour or alpha, and bands.
        """
        if hasattr(picture, "read") and not isinstance(picture, PillowPicture):
            picture = picture.read()
        if isinstance(picture, str | Path | bytes):
            return to_pillow(as_viewed(self.enlarge(read_image(picture), progress=progress, cancel=cancel)))
        if isinstance(picture, PillowPicture):
            return to_pillow(self.enlarge(decode(picture), progress=progress, cancel=cancel))
        if isinstance(picture, np.ma.MaskedArray):
            raise UsageError("expected an array without a mask, which would be lost: floats whose holes are NaN keep them")
        if isinstance(picture, np.ndarray):
            return self._array(
                np.asarray(picture), progress, cancel
            )  # of a subclass too: a matrix stays one whatever is cut of it
        # Who has a tensor has imported torch.
        if (torch := sys.modules.get("torch")) is not None and isinstance(picture, torch.Tensor):
            return self._tensor(picture, torch, progress, cancel)
        raise UsageError(f"expected a path, bytes, a file, a PIL picture, an array or a tensor, got {type(picture).__name__}")

    def each(
        self,
        pictures: Iterable[Any],
        *,
        progress: Callable[[int, int | None], None] | None = None,
        cancel: Cancel | None = None,
    ) -> Iterator[Any]:
        """Upscale one picture after another: what calling the upscaler on each gives, as it is asked for.

        ``progress(done, pictures)`` is called after each, with None for the number of pictures where it is not known.
        """
        total = len(pictures) if isinstance(pictures, Sized) else None
        for done, picture in enumerate(pictures, 1):
            yield self(picture, cancel=cancel)
            if progress is not None:
                progress(done, total)

    def at_scale(self, scale: Scale | None) -> Upscaler:
        """The same network for another scale, None for its own."""
        one = copy(self)
        one.scale = one.contract.scale if scale is None else scale
        one.options = replace(one.options, scale=scale)
        return one

    def settled(self, image: Image) -> Upscaler:
        """This upscaler with one model for whatever comes: the named one, else what suits an image such as this (`damage_seen`)."""
        if self.others is None:
            return self
        if damage_seen(image):
            return self.for_damaged()
        return self._alone()

    def for_damaged(self) -> Upscaler:
        """Where no model was named, the one for images with JPEG's blocks or noise, and for videos."""
        from superscale.inference.backends.choice import damaged_default

        if self.others is None:
            return self
        if (name := damaged_default()) is None:
            return self._alone()
        if name not in self.others:
            self.others[name] = Upscaler.with_options(name, self.options)
        return self.others[name].at_scale(self.options.scale)

    def _alone(self) -> Upscaler:
        """With this model for every image."""
        one = copy(self)
        one.others = None
        return one

    def computed_by(self) -> list[str]:
        """The backends that computed up to now."""
        used = [name for one in (self, *(self.others or {}).values()) for name in one.engine.used]
        return list(dict.fromkeys(used)) or self.engine.computed_by()

    def enlarge(
        self,
        image: Image,
        *,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
        values: ValueRange | None = None,
    ) -> Image:
        """Image -> Image: grey stays grey, type and metadata are kept; alpha is enlarged bicubically, and colours under it are
        those of the nearest visible pixels; bands go through the network one at a time, unless they are colours. Holes stay holes.
        ``values``: the range of values, such as that of a whole stack, None for this image's own (`measure`).
        Where no model was named, the image chooses (`settled`); ``network`` says which it was.
        Raises Unsupported when ``bands`` or ``value_range`` cannot be had of this image."""
        if self.others is not None:
            return self.settled(image).enlarge(image, progress=progress, cancel=cancel, values=values)
        image = replace(image, network=self.model.name, metadata=replace(image.metadata, derivation=self.derivation))
        network = partial(self.part, cancel=cancel, engine=self.engine.suited(image.pixels))
        parts = self.parts(image.height, image.width)
        return enlarge_image(image, network, parts, self.options, progress, self.contract.channels, values)

    def measure(self, image: Image) -> ValueRange:
        """The values that `enlarge` takes for black and white. Raises Unsupported as it does."""
        return measured_range(image, self.options, self.contract.channels)

    @property
    def derivation(self) -> str:
        """What is done to an image, by which model and version: for formats that record it (DICOM)."""
        how = f"to {self.scale.label}" if isinstance(self.scale, TargetSize) else f"{self.scale:g} times"
        return f"Upscaled {how} by the network {self.model.name}, superscale {__version__}; not for diagnosis"

    def _array(self, array: Array, progress: Progress | None, cancel: Cancel | None) -> Array:
        if array.ndim == 2:
            return self.pixels(array[..., None], progress=progress, cancel=cancel)[..., 0]
        colours = array.shape[2] - 1 if array.ndim == 3 else 0
        if array.dtype == np.uint8 and colours in (1, 3) and colours + 1 != self.contract.channels > 1:
            larger = self.enlarge(Image(array[..., :-1], array[..., -1]), progress=progress, cancel=cancel)
            return np.dstack([larger.pixels, larger.alpha]) if larger.alpha is not None else larger.pixels
        return self.pixels(array, progress=progress, cancel=cancel)

    def pixels(self, pixels: Array, *, progress: Progress | None = None, cancel: Cancel | None = None) -> Array:
        """(H, W, C), C = 1 or the network's (any for a network of 1), integers of up to 32 bits or floats -> the same, larger."""
        channels = self.contract.channels
        fits = pixels.ndim == 3 and 0 not in pixels.shape and (channels == 1 or pixels.shape[2] in (1, channels))
        if not fits:
            raise UsageError(f"expected a picture (H, W, 1) or (H, W, {channels}), got {pixels.shape}")
        if str(pixels.dtype) not in TYPES:
            raise UsageError(f"expected samples of one of the types {', '.join(TYPES)}, got {pixels.dtype}")
        return self.enlarge(Image(pixels), progress=progress, cancel=cancel).pixels

    def parts(self, height: int, width: int, tile_px: int | None = None) -> list[Part]:
        """The tiles of a picture of ``height`` x ``width``; ``tile_px``: None for the engine's."""
        return self.engine.parts(height, width, enlarged(height, width, self.scale), tile_px)

    def part(self, pixels: Array, part: Part, cancel: Cancel | None = None, engine: Engine | None = None) -> Array:
        """What is seen of a tile (h, w, C), uint8, uint16, or float32 in [0, 1] -> its target. ``engine``: that of its picture."""
        return (engine or self.engine)(pixels, part, cancel)

    def _tensor(self, batch: Tensor, torch: Any, progress: Progress | None, cancel: Cancel | None) -> Tensor:
        if batch.ndim == 3:
            return self._tensor(batch[None], torch, progress, cancel)[0]
        if batch.ndim != 4 or not len(batch):
            raise UsageError(f"expected a tensor (B, C, H, W) or (C, H, W), got shape {tuple(batch.shape)}")
        plain = batch.detach().cpu()
        arrays = (plain.float() if plain.dtype == torch.bfloat16 else plain).movedim(1, -1).numpy()
        pictures = [
            self.pixels(array, progress=part_of(progress, number, len(arrays)), cancel=cancel)
            for number, array in enumerate(arrays)
        ]
        stacked: Tensor = torch.stack([torch.from_numpy(picture).movedim(-1, 0) for picture in pictures])
        return stacked.to(batch.device, batch.dtype)
