"""`superscale config`."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

from superscale.cli.help import Command
from superscale.cli.progress import say
from superscale.errors import UnknownNameError

config = typer.Typer(help="Settings from files and from the environment.", no_args_is_help=True, rich_markup_mode=None)


@config.command(cls=Command, short_help="Show each setting and where it comes from")
def show(
    context: typer.Context,
    command: Annotated[str | None, typer.Argument(help="Only this command's. Default: all that are not the default.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show each setting and where it comes from.

    \b
    A setting is, in this order, what the command line says, the environment
    (SUPERSCALE_UPSCALE_MODEL=...), superscale.toml in the current folder,
    and your own config.toml:

    \b
    [upscale]
    model = "srresnet-x4"
    quality = 90
    """
    from superscale.cli.settings import PROJECT_FILE, plain_commands, settings, user_file
    from superscale.evaluation.table import aligned

    commands = plain_commands(context.find_root().command)
    if command is not None and command not in commands:
        raise UnknownNameError("command", command, commands)
    found = [one for one in settings(commands) if one.command == command or (command is None and one.origin != "default")]
    if as_json:
        print(json.dumps({"version": 1, "settings": [asdict(one) for one in found]}, default=str))
        return
    if found:
        print(
            aligned(
                [["option", "value", "from"], *([f"{one.command} --{one.option}", str(one.value), one.origin] for one in found)]
            )
        )
    for path in (PROJECT_FILE, user_file()):
        say(f"{path}{'' if path.exists() else ' (does not exist)'}")
