"""What finding a model needs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

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


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no named pipes in folders")
def test_a_pipe_or_a_device_is_not_waited_for_to_be_hashed(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "teacher.safetensors")
    for path, kind in ((tmp_path / "teacher.safetensors", "a pipe"), (Path("/dev/zero"), "a device"), (tmp_path, "a folder")):
        with pytest.raises(ModelError, match=f"expected a file, got {kind}"):
            store.sha256_of(path)
