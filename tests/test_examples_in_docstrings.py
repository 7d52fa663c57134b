"""Examples in docstrings run as they stand."""

from __future__ import annotations

import doctest
import pkgutil
from importlib import import_module

import superscale

WITH_EXAMPLES = ("superscale.inference.upscaler", "superscale.image.resize", "superscale.options")


def test_examples_in_docstrings_print_what_they_say() -> None:
    names = {module.name for module in pkgutil.walk_packages(superscale.__path__, "superscale.")}
    assert set(WITH_EXAMPLES) <= names
    for name in WITH_EXAMPLES:
        result = doctest.testmod(import_module(name))
        assert result.attempted > 0, name
        assert result.failed == 0, name
