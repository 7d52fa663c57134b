"""Tiles whose input is the same are not computed again, and nothing else changes."""

from __future__ import annotations

from typing import Any

import numpy as np

from superscale.image.region import Part
from superscale.inference.tiling import parts
from superscale.inference.upscaler import Upscaler
from superscale.video.stillness import StillTiles
from superscale.weights.checkpoint import Model

PARTS = parts(64, 64, (64, 64), (64, 64), tile_px=16, overlap_px=8)


def drawn(seen: Any, part: Part) -> Any:
    """What a network of scale 1 makes that sees all of the overlap: pixels and the sum of what is seen."""
    return part.target.within(part.seen).of_pixels(seen) + np.uint8(int(seen.sum()) % 256)


def screen(frames: int = 6) -> list[Any]:
    """A noisy picture of 64x64 in which a square moves through the upper row of tiles."""
    still = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    pictures = [still.copy() for _ in range(frames)]
    for number, picture in enumerate(pictures):
        picture[2:6, 8 * number : 8 * number + 4] = 255
    return pictures


def test_the_result_is_that_of_computing_every_tile() -> None:
    tiles = StillTiles(drawn, PARTS)
    for picture in screen():
        np.testing.assert_array_equal(tiles(picture), StillTiles(drawn, PARTS)(picture))
    assert tiles.computed < 6 * 16 // 2
    assert tiles.computed + tiles.kept == 6 * 16


def test_so_it_is_with_a_network_whose_tiles_overlap(tiny_model: Model) -> None:
    upscaler = Upscaler(tiny_model, device="cpu", backend="torch", tile=16, overlap=8)
    plan = upscaler.parts(32, 32)
    tiles = StillTiles(upscaler.part, plan)
    for picture in screen(3):
        np.testing.assert_array_equal(tiles(picture[:32, :32]), upscaler.pixels(picture[:32, :32]))
    assert tiles.kept > 0


def test_a_change_that_only_the_overlap_sees_is_computed() -> None:
    picture = screen(1)[0]
    changed = picture.copy()
    changed[20, 20] ^= 255  # in the tile at 16, and seen by those at 0
    tiles = StillTiles(drawn, PARTS)
    tiles(picture)
    tiles(changed)
    assert tiles.computed == 16 + 4


def test_results_that_were_given_out_do_not_change() -> None:
    tiles = StillTiles(drawn, PARTS)
    made = [tiles(picture) for picture in screen()]
    np.testing.assert_array_equal(made, [StillTiles(drawn, PARTS)(picture) for picture in screen()])


def test_a_tolerance_keeps_the_input_that_the_result_was_computed_from() -> None:
    tiles = StillTiles(drawn, PARTS, tolerance=2)
    for level in (100, 101, 102, 103):  # each within the tolerance of the one before
        tiles(np.full((64, 64, 3), level, np.uint8))
    assert (tiles.computed, tiles.kept) == (2 * 16, 2 * 16)


def test_deep_samples_are_compared_in_levels_of_eight_bits() -> None:
    tiles = StillTiles(drawn, PARTS, tolerance=1)
    for level in (1000, 1257, 1258):
        tiles(np.full((64, 64, 3), level, np.uint16))
    assert (tiles.computed, tiles.kept) == (2 * 16, 16)


def test_after_a_restart_all_is_computed() -> None:
    tiles = StillTiles(drawn, PARTS)
    picture = screen(1)[0]
    tiles(picture)
    tiles.restart()
    tiles(picture)
    assert (tiles.computed, tiles.kept) == (32, 0)
