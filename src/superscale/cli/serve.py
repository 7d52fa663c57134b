"""`superscale serve`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from superscale.cli.completion import model_names
from superscale.cli.counts import pixels
from superscale.cli.progress import say
from superscale.errors import MissingExtraError

TOKEN = "What clients must know; better in SUPERSCALE_TOKEN, which other users do not see. Needed for another --host."
SPOOL = "Folder of uploads, results and the table of jobs. Default: 'serve' in the cache folder."
MEMORY = "Memory of a worker on a CPU, in bytes. Default: what is free."


def serve(
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="N", min=1, max=2**16 - 1, help="And on which port.")] = 8000,
    token: Annotated[str | None, typer.Option(metavar="TOKEN", help=TOKEN)] = None,
    allow_host: Annotated[str | None, typer.Option(metavar="NAMES", help="Further names of this server, with commas.")] = None,
    root_path: Annotated[str, typer.Option(metavar="/PATH", help="The path that a proxy removes.")] = "",
    model: Annotated[
        str | None, typer.Option("-m", "--model", metavar="NAME", help="The default model.", autocompletion=model_names)
    ] = None,
    device: Annotated[str, typer.Option(metavar="DEVICES", help="A worker for each: auto, cpu, cuda:0,cuda:1 ...")] = "auto",
    backend: Annotated[str, typer.Option(metavar="NAME", help="auto, torch, onnx or openvino.")] = "auto",
    tile: Annotated[str, typer.Option(metavar="auto|N", help="Tile side in input pixels.")] = "auto",
    memory: Annotated[int | None, typer.Option(metavar="N", min=1, help=MEMORY)] = None,
    queue: Annotated[int, typer.Option(metavar="N", min=1, help="How many pictures may wait.")] = 16,
    timeout: Annotated[float, typer.Option(metavar="SECONDS", min=1, help="Longest time for one picture.")] = 600.0,
    max_bytes: Annotated[int, typer.Option(metavar="N", min=1, help="Largest upload, in bytes.")] = 100_000_000,
    max_pixels: Annotated[int, typer.Option(metavar="N", min=1, help="Largest input, in pixels.")] = 16_000_000,
    max_output_pixels: Annotated[int, typer.Option(metavar="N", min=1, help="Largest output, in pixels.")] = 256_000_000,
    spool: Annotated[Path | None, typer.Option(metavar="DIR", help=SPOOL)] = None,
    quota: Annotated[int, typer.Option(metavar="N", min=1, help="Largest size of that folder, in bytes.")] = 10_000_000_000,
    keep: Annotated[float, typer.Option(metavar="MINUTES", min=0.01, help="How long results stay.")] = 60.0,
    grace: Annotated[float, typer.Option(metavar="SECONDS", min=0, help="For running jobs, after SIGTERM.")] = 30.0,
    log_format: Annotated[str, typer.Option(metavar="text|json", help="Of the access log.")] = "text",
) -> None:
    """Serve a web page and an HTTP API that upscale images.

    \b
    superscale serve                      http://127.0.0.1:8000, for this machine
    superscale serve --port 9000 --queue 4
    SUPERSCALE_TOKEN=... superscale serve --host 0.0.0.0
    """
    try:
        from superscale.server.limits import Settings
        from superscale.server.run import run
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("superscale"):
            raise
        raise MissingExtraError("superscale serve", "serve") from error
    tile_px = pixels("--tile", tile)
    from superscale.weights.store import cache_folder

    limits: Any = {"queue": queue, "timeout": timeout, "keep": 60 * keep, "quota": quota, "memory": memory, "grace": grace}
    limits |= {"max_bytes": max_bytes, "max_pixels": max_pixels, "max_output_pixels": max_output_pixels}
    how: Any = {"model": model, "devices": tuple(device.split(",")), "backend": backend, "log_format": log_format}
    settings = Settings(
        spool=spool or cache_folder() / "serve",
        host=host,
        port=port,
        tile=tile_px,
        token=token or os.environ.get("SUPERSCALE_TOKEN") or None,
        allow_hosts=tuple((allow_host or "").split(",")) if allow_host else (),
        root_path=root_path.rstrip("/"),
        **how,
        **limits,
    )
    say(f"the page: http://{'127.0.0.1' if host == '0.0.0.0' else host}:{port}{root_path}/   (stop with Ctrl-C)")
    run(settings)
