"""`superscale models`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from superscale.cli.completion import model_names
from superscale.cli.help import Command
from superscale.cli.progress import say, shown

models = typer.Typer(
    help="Models: bundled with the package, of other projects, and your own.", no_args_is_help=True, rich_markup_mode=None
)

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
COLUMNS = ("name", "scale", "size", "licence", "where", "use")


@models.command("list", cls=Command, short_help="List all models")
def list_models(as_json: Json = False) -> None:
    """Every model: scale, size, licence, where it is, and what to take it for. The default has a star."""
    from superscale.evaluation.table import aligned
    from superscale.weights.published import PUBLISHED
    from superscale.weights.store import BUNDLED, added, default_model

    entries = [_facts_or_error(name) for name in (*BUNDLED, *added())]
    if as_json:
        published = [{"name": name, **asdict(model)} for name, model in PUBLISHED.items()]
        print(json.dumps({"version": 1, "models": entries, "published": published}, ensure_ascii=True))
    else:
        default = default_model("cpu") if BUNDLED else ""
        print(aligned([list(COLUMNS), *(_here(facts, default) for facts in entries), *map(_published, PUBLISHED)]))
    damaged = [facts["error"] for facts in entries if "error" in facts]
    for error in damaged:
        say(f"failed: {error}")
    if damaged:
        raise SystemExit(1)


@models.command(cls=Command, short_help="Show a model's network, card and results")
def info(
    name: Annotated[str, typer.Argument(help="A model's name, or a model file.", autocompletion=model_names)],
    as_json: Json = False,
) -> None:
    """A model's network, size and card: recipe, data, licence, images seen, hardware, measured results, sha256."""
    facts = _facts(name)
    card = facts.pop("card")
    # A card may say anything; what we know ourselves is not overruled by it.
    whole = {**card, **facts}
    if as_json:
        print(json.dumps(whole, indent=2, ensure_ascii=True))
        return
    for key, value in whole.items():
        print(f"{shown(key.replace('_', ' '))}: {_told(value)}")


@models.command(cls=Command, short_help="Compare sha256 sums")
def verify(
    name: Annotated[str | None, typer.Argument(help="A model's name; default: all that are here.")] = None,
    as_json: Json = False,
) -> None:
    """Compare the sha256 of models with the published one."""
    from superscale.errors import ModelError
    from superscale.weights.store import BUNDLED, added, downloaded, verify_model

    results: list[dict[str, Any]] = []
    for one in [name] if name is not None else [*BUNDLED, *added(), *downloaded()]:
        try:
            results.append({"name": one, "sha256": verify_model(one), "ok": True, "error": None})
        except ModelError as error:
            results.append({"name": one, "sha256": None, "ok": False, "error": str(error)})
            say(f"failed: {one}: {error}")
        else:
            if not as_json:
                print(f"{one}  ok  {results[-1]['sha256']}")
    if as_json:
        print(json.dumps({"version": 1, "models": results}))
    if not all(result["ok"] for result in results):
        raise SystemExit(1)


@models.command(cls=Command, short_help="Download a model of another project")
def pull(
    name: Annotated[str, typer.Argument(help="A name that `superscale models list` shows.")],
    accept_licence: Annotated[
        bool, typer.Option("--accept-licence", help="Agree to a licence that forbids commercial use.")
    ] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Do not use the network; fail if the file is not here.")] = False,
) -> None:
    """Download a model of another project, once, and check its sha256. SUPERSCALE_MIRROR and proxies are respected."""
    from superscale.errors import UnknownNameError, UsageError
    from superscale.weights.download import download
    from superscale.weights.published import PUBLISHED
    from superscale.weights.store import BUNDLED, published_path, verify_model

    if name in BUNDLED:
        verify_model(name)
        print(f"{name}: bundled, nothing to download")
        return
    if name not in PUBLISHED:
        raise UnknownNameError("model", name, [*BUNDLED, *PUBLISHED])
    model = PUBLISHED[name]
    if model.is_non_commercial and not accept_licence:
        raise UsageError(f"{name} has the licence {model.licence}, which forbids commercial use; add --accept-licence to agree")
    with _bar(name) as progress:
        path = download(name, model, published_path(name).parent, progress, offline)
    print(path)


@models.command(cls=Command, short_help="Give a model file a name")
def add(
    file: Annotated[Path, typer.Argument(help="A model file: .safetensors, .pth, .pt, .ckpt.")],
    name: Annotated[str | None, typer.Option(help="What to call it; default: the file's name.")] = None,
) -> None:
    """Copy a model file to the cache folder, so that --model takes its name."""
    from superscale.weights.store import add_model

    print(add_model(file, name))


@models.command(cls=Command, short_help="Delete a model from the cache folder")
def rm(name: Annotated[str, typer.Argument(help="A model that was pulled or added.")]) -> None:
    """Delete a model from the cache folder."""
    from superscale.weights.store import remove_model

    say(f"removed {shown(remove_model(name))}")


def _bar(name: str) -> Any:
    """A context of a function that moves a bar of bytes, shown on a terminal."""
    import sys
    from collections.abc import Callable, Iterator
    from contextlib import contextmanager

    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    @contextmanager
    def bar() -> Iterator[Callable[[int, int], None]]:
        columns = ("{task.description}", BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as shown_bar:
            task = shown_bar.add_task(name, total=None)
            yield lambda here, total: shown_bar.update(task, completed=here, total=total or None)

    return bar()


def _here(facts: dict[str, Any], default: str) -> list[str]:
    """The line of a model that is bundled or was added."""
    from superscale.weights.store import BUNDLED, USES

    name = facts["name"]
    where = "bundled" if name in BUNDLED else "added"
    if "error" in facts:
        return [name, "–", "–", "", where, "cannot be used"]
    star = "*" if name == default else ""
    size = _megabytes(facts["bytes"])
    return [name + star, f"×{facts['scale']}", size, facts["card"].get("licence", ""), where, USES.get(name, "")]


def _published(name: str) -> list[str]:
    from superscale.weights.published import PUBLISHED
    from superscale.weights.store import published_path

    model = PUBLISHED[name]
    where = "downloaded" if published_path(name).is_file() else "models pull"
    return [name, f"×{model.scale}" if model.scale else "–", _megabytes(model.size), model.licence, where, model.use]


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size else "–"


def _told(value: Any) -> str:
    """A value of a card on one line; what is nested, as JSON."""
    return shown(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _facts_or_error(name: str) -> dict[str, Any]:
    """A model's facts, or its name and why it cannot be read: one damaged file hides no other model."""
    from superscale.errors import ModelError

    try:
        return _facts(name)
    except ModelError as error:
        return {"name": name, "error": str(error)}


def _facts(name: str) -> dict[str, Any]:
    from superscale.weights.graph import parameters
    from superscale.weights.store import find_stored, model_path, sha256_of

    model = find_stored(name)
    path = model_path(name)
    return {
        "name": model.name,
        "network": {"name": model.network["name"], **asdict(model.config)},
        "scale": model.contract.scale,
        "parameters": parameters(model),
        "bytes": 0 if path.is_dir() else path.stat().st_size,
        "sha256": "" if path.is_dir() else sha256_of(path),
        "card": model.card,
    }
