"""`Upscaler`: one picture in, the same kind of picture out, larger."""

from __future__ import annotations

import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from superscale import __version__
from superscale.errors import UsageError
from superscale.image.io import Image, PillowPicture, as_viewed, decode, read_image, to_pillow
from superscale.image.resize import resize_to
from superscale.image.value_range import TYPES, ValueRange
from superscale.inference.channels import enlarge_image, measured_range, part_of
from superscale.inference.engine import Cancel, Engine, Progress
from superscale.inference.sizes import enlarged
from superscale.options import BackendName, Bands, Precision, UpscaleOptions

if TYPE_CHECKING:
    from torch import Tensor

    from superscale.weights.checkpoint import Model
    from superscale.weights.stored import StoredModel

Array = NDArray[Any]


class Upscaler:
    """Enlarges pictures with one network; thread-safe.

    ``model``: a bundled name or a path to a model file; the default is the best-looking bundled one that is fast enough on the
    device. The other arguments are those of `UpscaleOptions`.
    """

    def __init__(
        self,
        model: str | Path | Model | StoredModel | None = None,
        *,
        scale: float | None = None,
        device: str = "auto",
        precision: Precision = "auto",
        backend: BackendName = "auto",
        tile: int | Literal["auto"] = "auto",
        overlap: int | Literal["auto"] = "auto",
        consistent: bool = False,
        tta: bool = False,
        value_range: str | tuple[float, float] = "auto",
        bands: Bands = "auto",
    ) -> None:
        how: Any = {"device": device, "precision": precision, "backend": backend, "tile": tile, "overlap": overlap}
        self.options = UpscaleOptions(scale=scale, consistent=consistent, tta=tta, value_range=value_range, bands=bands, **how)
        from superscale.inference.backends.choice import load

        self.model, computing = load(model, self.options)
        self.engine = Engine(computing, self.options)
        self.contract = computing.contract
        self.scale = self.contract.scale if scale is None else scale

    @classmethod
    def with_options(cls, model: str | Path | Model | StoredModel | None, options: UpscaleOptions) -> Upscaler:
        """An upscaler as ``options`` say."""
        return cls(model, **asdict(options))

    @overload
    def __call__(
        self, picture: str | Path | PillowPicture, *, progress: Progress | None = None, cancel: Cancel | None = None
    ) -> PillowPicture: ...
    @overload
    def __call__(self, picture: Tensor, *, progress: Progress | None = None, cancel: Cancel | None = None) -> Tensor: ...
    @overload
    def __call__(self, picture: Array, *, progress: Progress | None = None, cancel: Cancel | None = None) -> Array: ...

    def __call__(self, picture: Any, *, progress: Progress | None = None, cancel: Cancel | None = None) -> Any:
        """Path -> PIL picture; PIL -> PIL; array (H, W[, C]) -> array; tensor (B, C, H, W) -> tensor: same kind, type and device.

        Samples are integers of up to 32 bits or floats, in any range (``value_range`` says which values are black and white); what
        is not finite is no data, and stays so. C is 1 (grey) or 3 (RGB), for paths and PIL also with alpha.
        ``progress(tiles_done, tiles)`` is called after every tile; when ``cancel`` is set, `Cancelled` is raised.
        DICOM becomes the 8-bit picture that a viewer shows; `enlarge` on what `read_image` reads keeps its values.
        Raises ImageError for a path whose picture PIL could not hold: deeper than 8 bits with colour or alpha, and bands.
        """
        if isinstance(picture, str | Path):
            return to_pillow(as_viewed(self.enlarge(read_image(picture), progress=progress, cancel=cancel)))
        if isinstance(picture, PillowPicture):
            return to_pillow(self.enlarge(decode(picture), progress=progress, cancel=cancel))
        if isinstance(picture, np.ndarray):
            if picture.ndim == 2:
                return self.pixels(picture[..., None], progress=progress, cancel=cancel)[..., 0]
            return self.pixels(picture, progress=progress, cancel=cancel)
        # Who has a tensor has imported torch.
        if (torch := sys.modules.get("torch")) is not None and isinstance(picture, torch.Tensor):
            return self._tensor(picture, torch, progress, cancel)
        raise UsageError(f"expected a path, a PIL picture, an array or a tensor, got {type(picture).__name__}")

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
        Raises Unsupported when ``bands`` or ``value_range`` cannot be had of this image."""

        def resized(pixels: Array, progress: Progress | None) -> Array:
            return self._resized(pixels, progress, cancel)

        image = replace(image, metadata=replace(image.metadata, derivation=self.derivation))
        return enlarge_image(image, resized, self.options, progress, self.contract.channels, values)

    def measure(self, image: Image) -> ValueRange:
        """The values that `enlarge` takes for black and white. Raises Unsupported as it does."""
        return measured_range(image, self.options, self.contract.channels)

    @property
    def derivation(self) -> str:
        """What is done to an image, by which model and version: for formats that record it (DICOM)."""
        return f"Upscaled {self.scale:g} times by the network {self.model.name}, superscale {__version__}; not for diagnosis"

    def pixels(self, pixels: Array, *, progress: Progress | None = None, cancel: Cancel | None = None) -> Array:
        """(H, W, C), C = 1 or the network's (any for a network of 1), integers of up to 32 bits or floats -> the same, larger."""
        channels = self.contract.channels
        fits = pixels.ndim == 3 and 0 not in pixels.shape and (channels == 1 or pixels.shape[2] in (1, channels))
        if not fits:
            raise UsageError(f"expected a picture (H, W, 1) or (H, W, {channels}), got {pixels.shape}")
        if str(pixels.dtype) not in TYPES:
            raise UsageError(f"expected samples of one of the types {', '.join(TYPES)}, got {pixels.dtype}")
        return self.enlarge(Image(pixels), progress=progress, cancel=cancel).pixels

    def _resized(self, pixels: Array, progress: Progress | None, cancel: Cancel | None) -> Array:
        """uint8, uint16, or float32 in [0, 1], by the network, then to the exact size."""
        height, width = (enlarged(side, self.scale) for side in pixels.shape[:2])
        larger = self.engine.suited(pixels)(pixels, progress, cancel)
        return larger if larger.shape[:2] == (height, width) else resize_to(larger, height, width)

    def _tensor(self, batch: Tensor, torch: Any, progress: Progress | None, cancel: Cancel | None) -> Tensor:
        if batch.ndim != 4 or not len(batch):
            raise UsageError(f"expected a tensor (B, C, H, W), got shape {tuple(batch.shape)}")
        plain = batch.detach().cpu()
        arrays = (plain.float() if plain.dtype == torch.bfloat16 else plain).movedim(1, -1).numpy()
        pictures = [
            self.pixels(array, progress=part_of(progress, number, len(arrays)), cancel=cancel)
            for number, array in enumerate(arrays)
        ]
        stacked: Tensor = torch.stack([torch.from_numpy(picture).movedim(-1, 0) for picture in pictures])
        return stacked.to(batch.device, batch.dtype)
