"""What to type to install an extra fits how the package was installed."""

from __future__ import annotations

import json
from importlib import metadata

import pytest

from superscale.errors import install_line


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        # as pip records it (PEP 610)
        ({"url": "file:///home/a%20b/superscale", "dir_info": {"editable": True}}, "pip install '/home/a b/superscale[geo]'"),
        ({"url": "https://host/x.git", "vcs_info": {"vcs": "git"}}, "pip install 'superscale[geo] @ git+https://host/x.git'"),
        ({"url": "https://host/x.whl", "archive_info": {}}, "pip install 'superscale[geo] @ https://host/x.whl'"),
        ({"url": "file:///x.whl", "archive_info": {}}, "pip install 'superscale[geo] @ file:///x.whl'"),
        (None, "pip install 'superscale[geo]'"),
    ],
)
def test_the_line_installs_from_where_the_package_came(
    told: dict[str, object] | None, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Installed:
        def read_text(self, _name: str) -> str | None:
            return None if told is None else json.dumps(told)

    monkeypatch.setattr(metadata, "distribution", lambda _name: Installed())
    assert install_line("geo") == expected
