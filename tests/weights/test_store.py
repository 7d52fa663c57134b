"""What finding a model needs."""

from __future__ import annotations

import subprocess
import sys

import pytest

from superscale.errors import ModelError
from superscale.weights import store


def test_finding_a_model_imports_no_picture_codecs() -> None:
    code = (
        "import sys\n"
        "from superscale.weights.store import find_model\n"
        "find_model('compact-x4')\n"
        "assert not {'tifffile', 'imagecodecs', 'PIL'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_a_bundled_model_the_way_out_is_said_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "BUNDLED", {})
    with pytest.raises(ModelError, match=r"name a model file$"):
        store.default_model("cpu")
