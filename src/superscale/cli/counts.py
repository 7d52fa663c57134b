"""Whole numbers as people type them."""

from __future__ import annotations

from typing import Literal

from superscale.errors import UsageError

# Python refuses to read numbers of thousands of digits, and nothing here is counted in more than this.
MOST_DIGITS = 9


def is_count(text: str) -> bool:
    """Whether a text is a whole number, of no more than `MOST_DIGITS` digits."""
    return text.isdecimal() and len(text) <= MOST_DIGITS


def pixels(option: str, text: str) -> int | Literal["auto"]:
    """The value of an option that takes pixels or ``auto``. Raises UsageError for anything else."""
    if text == "auto":
        return "auto"
    if not is_count(text):
        raise UsageError(f"{option} must be 'auto' or a number of pixels, got {text!r}")
    return int(text)
