"""How the pictures of a clip are stored, and the way from there to RGB and back."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
from av import VideoFormat, VideoFrame
from av.filter import Graph
from av.video.reformatter import ColorRange
from numpy.typing import NDArray

from superscale.errors import Unsupported
from superscale.image.pixels import white

Array = NDArray[Any]

# ITU-T H.273, table 4: code of the matrix -> the shares of red and blue in luma
MATRICES = {
    1: (0.2126, 0.0722),
    4: (0.30, 0.11),
    5: (0.299, 0.114),
    6: (0.299, 0.114),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
}
BT709, BT601, UNSPECIFIED, OF_RGB = 1, 6, 2, 0
# Players take the matrix of BT.709 for a picture of at least so many rows that says nothing.
HD_ROWS = 720
FLAGS = "bicubic+full_chroma_int+full_chroma_inp+accurate_rnd"
# the same, as FFmpeg's scaler calls them
NAMES = {1: "bt709", 4: "fcc", 5: "bt470", 6: "smpte170m", 7: "smpte240m", 9: "bt2020"}


@dataclass(frozen=True)
class Look:
    """``chroma``: 420, 422, 444, rgb or grey; ``depth``: bits a sample; ``matrix``, ``primaries``, ``transfer``: codes of H.273.

    ``guessed``: the file says nothing of the matrix, which then is the one that players take.
    """

    chroma: str
    depth: int
    full_range: bool
    matrix: int
    primaries: int
    transfer: int
    guessed: bool = False
    has_alpha: bool = False

    @property
    def dtype(self) -> type[np.uint8] | type[np.uint16]:
        """Of the samples that `Painter` makes."""
        return np.uint8 if self.depth == 8 else np.uint16


def look_of(frame: VideoFrame) -> Look:
    """How a frame is stored. Raises Unsupported for a matrix that is not a table of luma's shares."""
    form = frame.format
    depth = max(max(component.bits for component in form.components[:3]), 8)
    chroma = _chroma(form)
    matrix, guessed = int(frame.colorspace), False
    if chroma in ("rgb", "grey"):
        matrix = OF_RGB if chroma == "rgb" else BT709
    elif matrix in (UNSPECIFIED, OF_RGB):
        matrix, guessed = (BT709 if frame.height >= HD_ROWS else BT601), True
    if chroma != "rgb" and matrix not in MATRICES:
        raise Unsupported(f"colours by the matrix {matrix} of H.273 are not read; expected BT.601, BT.709 or BT.2020")
    full = int(frame.color_range) == ColorRange.JPEG or form.name.startswith("yuvj") or chroma == "rgb"
    tags = int(frame.color_primaries), int(frame.color_trc)
    return Look(chroma, depth, full, matrix, *tags, guessed, any(component.is_alpha for component in form.components))


def _chroma(form: Any) -> str:
    if form.is_rgb or form.has_palette:
        return "rgb"
    if len(form.components) < 3:
        return "grey"
    across, down = form.chroma_width(16), form.chroma_height(16)
    return {(16, 16): "444", (8, 16): "422", (8, 8): "420"}.get((across, down), "444")


class Painter:
    """Makes RGB of a clip's frames and frames of RGB: (H, W, 3), uint8 for 8 bits, uint16 for more. Not thread-safe.

    8 bits by FFmpeg's scaler. It takes white of deeper pictures for 255/256 of it and is up to three levels off in full range, so the matrix
    of these is multiplied here, and the scaler only changes the resolution of chroma.
    """

    def __init__(self, look: Look) -> None:
        self.look = look
        self._scalers: dict[Any, Graph] = {}

    def pixels(self, frame: VideoFrame) -> Array:
        """Frame -> (H, W, 3)."""
        look = self.look
        if look.depth > 8 and look.chroma not in ("rgb", "grey"):
            return self._deep_pixels(self._as(frame, f"yuv444p{look.depth}le", look.full_range, look.full_range))
        return self._as(frame, "rgb24" if look.depth == 8 else "rgb48le", look.full_range, True).to_ndarray()

    def frame(self, pixels: Array, form: str, look: Look) -> VideoFrame:
        """(H, W, 3) -> a frame of the pixel format ``form``, which is to look as ``look`` says."""
        if pixels.dtype == np.uint8:
            return self._as(VideoFrame.from_ndarray(pixels, "rgb24"), form, True, look.full_range, look.matrix)
        if not form.startswith("yuv"):
            return self._as(VideoFrame.from_ndarray(pixels, "rgb48le"), form, True, look.full_range, look.matrix)
        depth = int(form.removesuffix("le").split("p")[-1])
        return self._as(_deep_frame(pixels, look, depth), form, look.full_range, look.full_range)

    def _as(self, frame: VideoFrame, form: str, full: bool, full_then: bool, matrix: int | None = None) -> VideoFrame:
        matrix = (self.look.matrix if matrix is None else matrix) or BT709
        # Stated in the scaler's options: a frame that says otherwise, or changes its mind, would be refused.
        frame.colorspace, frame.color_range = UNSPECIFIED, int(ColorRange.UNSPECIFIED)
        key = (frame.width, frame.height, frame.format.name, form, full, full_then, matrix)
        if key not in self._scalers:
            self._scalers[key] = _scaler(*key)
        scaler = self._scalers[key]
        scaler.push(frame)
        made = scaler.pull()
        assert isinstance(made, VideoFrame)
        return made

    def _deep_pixels(self, frame: VideoFrame) -> Array:
        look = self.look
        red, blue = MATRICES[look.matrix]
        luma, cb, cr = (_samples(plane, frame.width).astype(np.float32) for plane in frame.planes)
        black, step, middle, chroma_step = _steps(look.full_range, look.depth)
        luma = (luma - black) / step
        cb, cr = (cb - middle) / chroma_step, (cr - middle) / chroma_step
        r, b = luma + 2 * (1 - red) * cr, luma + 2 * (1 - blue) * cb
        g = (luma - red * r - blue * b) / (1 - red - blue)
        deep: Array = (np.stack((r, g, b), -1).clip(0, 1) * white(look.dtype) + 0.5).astype(look.dtype)
        return deep


def _scaler(width: int, height: int, form: str, form_then: str, full: bool, full_then: bool, matrix: int) -> Graph:
    """FFmpeg's scaler between two pixel formats. Chroma lies where MPEG-2 and all later codecs have it unless they say otherwise, which PyAV
    does not tell: at the left one of two pixels, and between two rows; the scaler's own default is between the pixels too."""
    graph = Graph()
    ranges = f"in_range={'pc' if full else 'tv'}:out_range={'pc' if full_then else 'tv'}"
    matrices = f"in_color_matrix={NAMES[matrix]}:out_color_matrix={NAMES[matrix]}"
    places = "in_h_chr_pos=0:out_h_chr_pos=0"
    nodes = [
        graph.add_buffer(width=width, height=height, format=VideoFormat(form), time_base=Fraction(1, 25)),
        graph.add("scale", f"flags={FLAGS}:{ranges}:{matrices}:{places}"),
        graph.add("format", form_then),
        graph.add("buffersink"),
    ]
    for before, after in pairwise(nodes):
        before.link_to(after)
    graph.configure()
    return graph


def _steps(full_range: bool, depth: int) -> tuple[float, float, float, float]:
    """Black, white above black, the middle of chroma, and chroma's whole range (H.273, 8.3)."""
    unit = 2.0 ** (depth - 8)
    if full_range:
        return 0.0, 2.0**depth - 1, 128 * unit, 2.0**depth - 1
    return 16 * unit, 219 * unit, 128 * unit, 224 * unit


def _samples(plane: Any, width: int) -> Array:
    samples: Array = np.frombuffer(plane, "<u2").reshape(plane.height, -1)[:, :width]
    return samples


def _deep_frame(pixels: Array, look: Look, depth: int) -> VideoFrame:
    """(H, W, 3) uint16 -> yuv444p of this depth."""
    red, blue = MATRICES[look.matrix or BT709]
    r, g, b = np.moveaxis(pixels.astype(np.float32) / white(pixels.dtype), -1, 0)
    luma = red * r + (1 - red - blue) * g + blue * b
    black, step, middle, chroma_step = _steps(look.full_range, depth)
    cb, cr = (b - luma) / (2 * (1 - blue)), (r - luma) / (2 * (1 - red))
    planes = luma * step + black, cb * chroma_step + middle, cr * chroma_step + middle
    frame = VideoFrame(pixels.shape[1], pixels.shape[0], f"yuv444p{depth}le")
    for plane, values in zip(frame.planes, planes, strict=True):
        padded = np.zeros((plane.height, plane.line_size // 2), "<u2")
        padded[:, : pixels.shape[1]] = (values + 0.5).clip(0, 2**depth - 1)
        plane.update(padded.tobytes())
    return frame
