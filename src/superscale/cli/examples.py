"""`superscale examples`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from superscale.cli.progress import say
from superscale.errors import UsageError


def examples(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to copy them to.")] = Path("photos"),
) -> None:
    """Copy three small photographs to a folder, to try things with.

    \b
    superscale examples                  photos/cat.jpg and two more
    superscale upscale photos/cat.jpg    write photos/cat_x4.jpg
    """
    from superscale.examples import PHOTOS, photo
    from superscale.files import write_bytes

    sources = {folder / name: photo(name).read_bytes() for name in PHOTOS}
    for target, data in sources.items():
        if target.exists() and (not target.is_file() or target.read_bytes() != data):
            raise UsageError(f"{target} exists and is another file; name another folder")
    folder.mkdir(parents=True, exist_ok=True)
    for target, data in sources.items():
        write_bytes(target, data)
        print(target)
    say(f"try: superscale upscale {folder / 'cat.jpg'}")
