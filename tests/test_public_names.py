from __future__ import annotations

import subprocess
import sys

import superscale
from superscale import errors


def test_the_public_names_are_these() -> None:
    assert sorted(superscale.__all__) == ["SuperscaleError", "TargetSize", "Upscaler", "__version__", "models"]
    assert dir(superscale) == sorted(superscale.__all__)
    from superscale import Upscaler

    assert Upscaler.__module__ == "superscale.inference.upscaler"


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import superscale, sys; assert not {'torch', 'numpy', 'PIL'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_error_has_the_one_base() -> None:
    kinds = [item for item in vars(errors).values() if isinstance(item, type) and issubclass(item, Exception)]
    assert len(kinds) > 8
    assert all(issubclass(kind, errors.SuperscaleError) for kind in kinds)
    assert all(kind.__name__ in (errors.__doc__ or "") for kind in kinds)
