"""Frames are mixed with the one before along their motion, and with nothing that is not there any more."""

from __future__ import annotations

from typing import Any

import numpy as np
from skimage.data import astronaut

from superscale.video.steadying import Steadied

PHOTO = astronaut()[:160, 150:350]


class Repeated:
    """Each pixel four times, with noise that no frame shares with another."""

    def __init__(self, noise: float) -> None:
        self.random, self.noise = np.random.default_rng(0), noise

    def restart(self) -> None:
        pass

    def __call__(self, pixels: Any) -> Any:
        larger = pixels.repeat(2, axis=0).repeat(2, axis=1)
        return (larger + self.random.normal(0, self.noise, larger.shape)).clip(0, 255).astype(np.uint8)


def error(picture: Any, pixels: Any) -> Any:
    return picture.astype(float) - pixels.repeat(2, axis=0).repeat(2, axis=1)


def test_noise_of_a_camera_that_moves_fades_and_edges_stay() -> None:
    steadied = Steadied(Repeated(8), 0.8)
    frames = [PHOTO[k : 96 + k, 2 * k :][:, :128] for k in range(6)]
    errors = [error(steadied(frame), frame)[16:-24, 16:-24].std() for frame in frames]
    assert errors[-1] < 0.7 * errors[0]


def test_what_is_cut_or_uncovered_leaves_no_ghost_and_a_restart_forgets() -> None:
    steadied = Steadied(Repeated(0), 1)
    first, second = PHOTO[:96, :128], 255 - PHOTO[60:156, 70:198]
    steadied(first)
    assert np.abs(error(steadied(second), second)).mean() < 3
    with_box = second.copy()
    with_box[30:60, 40:70] = (250, 10, 10)
    steadied(with_box)
    assert np.abs(error(steadied(second), second))[60:120, 80:140].mean() < 3
    steadied.restart()
    assert (error(steadied(first), first) == 0).all()
