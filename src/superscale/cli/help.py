"""How commands show their help: options in groups, in the order of the code; and what an option that does not exist may have meant."""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import Any

from typer.core import TyperCommand

from superscale.errors import UsageError

# command -> group of options -> parameters; those in no group come last.
GROUPS = {
    "upscale": {
        "Model": ("model", "fidelity", "tta", "consistent"),
        "Size": ("scale", "width", "height", "long_side", "fit"),
        "Output": ("output", "form", "quality", "metadata", "overwrite", "skip_existing"),
        "Values and bands": ("values", "bands"),
        "Speed and memory": ("device", "backend", "precision", "tile", "overlap"),
        "Limits and failures": ("max_pixels", "max_output_pixels", "max_bytes", "lenient", "fail_fast", "failed_list"),
        "Object stores and clusters": ("endpoint_url", "requester_pays", "on", "share", "workers", "price"),
        "Messages": ("dry_run", "as_json", "no_progress", "quiet", "verbose"),
    },
    "train": {
        "Data": ("data", "validation"),
        "Run": ("output", "settings", "fresh", "dry_run", "max_time"),
        "Speed": ("device", "precision"),
    },
    "evaluate": {
        "What to measure": ("data", "model", "outputs", "scale"),
        "Metrics and conventions": ("metric", "color", "border", "lr_convention", "peak", "lpips_weights", "niqe_model"),
        "Output": ("output", "overwrite", "as_json", "explain", "against_papers", "fail_below"),
    },
    "serve": {
        "Address": ("host", "port", "token", "allow_host", "root_path"),
        "Computing": ("model", "device", "backend", "tile", "memory"),
        "Limits": ("queue", "timeout", "max_bytes", "max_pixels", "max_output_pixels"),
        "Keeping": ("spool", "quota", "keep"),
    },
}
OTHER = "Options"
LIKENESS = 0.5
# what a value is called where the option gives it no name of its own
VALUE_NAMES = {"str": "NAME", "path": "PATH", "Path": "PATH", "int": "N", "float": "X"}
TYPE = re.compile(r" <(?:list\[)?(\w+)[^>]*>")


class Command(TyperCommand):
    """A command whose options are listed in groups."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """``[OPTIONS] INPUT...``, without the braces that typer puts around what is required."""
        return [piece.strip("{}").replace("}...", "...") for piece in super().collect_usage_pieces(ctx)]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments, then each group of options."""
        named = {parameter: group for group, names in GROUPS.get(self.name or "", {}).items() for parameter in names}
        groups: dict[str, list[tuple[str, str]]] = {title: [] for title in ("Arguments", *named.values(), OTHER)}
        for parameter in self.get_params(ctx):
            if (record := parameter.get_help_record(ctx)) is None:
                continue
            name, text = record
            if parameter.param_type_name == "argument":
                groups["Arguments"].append((TYPE.sub("", name), text.replace("  [required]", "")))
            else:
                shown = TYPE.sub(lambda found: f" {VALUE_NAMES.get(found[1], found[1].upper())}", name)
                groups[named.get(parameter.name, OTHER)].append((shown, text))
        for title, records in groups.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As typer does. Raises UsageError for an unknown option, with the nearest of those there are."""
        try:
            return super().parse_args(ctx, args)
        except Exception as error:  # the class is private to typer
            if (name := getattr(error, "option_name", None)) is None or not hasattr(error, "possibilities"):
                raise
            raise UsageError(f"unknown option {name}{self._meant(ctx, name)}; {ctx.command_path} --help lists them") from None

    def _meant(self, ctx: Any, name: str) -> str:
        known = [option for parameter in self.get_params(ctx) for option in parameter.opts if option.startswith("--")]
        near = get_close_matches(name, known, n=1, cutoff=LIKENESS)
        return f"; did you mean {near[0]}?" if near else ""
