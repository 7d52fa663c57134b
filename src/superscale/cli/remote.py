"""Where to compute: here, or on a Ray cluster; and `superscale upscale` where pictures lie in an object store."""

from __future__ import annotations

import json
import re
from collections.abc import Generator
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import typer

from superscale.cli.progress import Report, bar, say, shown
from superscale.errors import SuperscaleError, UsageError
from superscale.remote.names import Address, endpoint, is_remote, parsed

if TYPE_CHECKING:
    from superscale.cli.progress import Bar
    from superscale.inference.outcomes import Outcome, Settings
    from superscale.inference.remote import Plan
    from superscale.inference.upscaler import Upscaler
    from superscale.machine.ray_pool import Cluster

ON = typer.Option(
    "--on", metavar="PLACE", help="Where to compute: here, or on Ray: ray (of this machine), or ray://head:10001."
)
SHARE = typer.Option(
    "--share",
    metavar="X",
    min=0.01,
    help="GPUs (where there are none: CPUs) that each worker on Ray takes; 0.5: two share one.",
)
WORKERS = typer.Option("--workers", metavar="N", min=1, help="Workers on Ray. Default: as many as fit.")
PRICE = typer.Option("--price", metavar="X", min=0, help="What a worker on Ray costs for an hour; the cost up to now is shown.")
HERE, RAY = "here", re.compile(r"ray(://[^/@]+)?")
MANIFEST = "/.superscale/manifest/"


@dataclass(frozen=True)
class Remote:
    """What was asked for. ``cluster``: None for this machine; ``price``: of a worker of it for an hour."""

    inputs: list[str]
    output: Address
    endpoint_url: str | None
    requester_pays: bool
    cluster: Cluster | None
    price: float | None

    def cost(self) -> str:
        """Up to now, to be shown; "" where no price is known."""
        if self.cluster is None or self.price is None:
            return ""
        return f", cost {self.cluster.time.seconds / 3600 * self.price:.2f}"


def cluster_of(on: str, share: float, workers: int | None) -> Cluster | None:
    """Where to compute; None: here. Raises UsageError for what is no place."""
    if on == HERE:
        return None
    if not RAY.fullmatch(on):
        raise UsageError(f"--on must be here, ray or ray://host:port, got {on!r}")
    from superscale.machine.ray_pool import Cluster

    return Cluster("" if on == "ray" else on, share, workers)


def remote_of(
    inputs: list[str],
    output: str | None,
    endpoint_url: str | None,
    requester_pays: bool,
    cluster: Cluster | None,
    price: float | None = None,
) -> Remote | None:
    """What is to be done in an object store; None where all is on this machine. Raises UsageError for what cannot be had together."""
    stored = is_remote([*inputs, output or ""])
    if price is not None and (cluster is None or not stored):
        raise UsageError("--price is for the workers of --on ray, and pictures in an object store")
    if not stored:
        return None
    if output is None and len(inputs) == 1 and MANIFEST in inputs[0]:
        output = inputs[0][1 : inputs[0].index(MANIFEST) + 1]
    if output is None or not is_remote([output]):
        raise UsageError("pictures in an object store need an output there: -o s3://bucket/prefix/")
    place = parsed(output if output.endswith("/") else output + "/")
    for given in inputs:
        if given.startswith("@"):
            continue
        if not is_remote([given]) or (source := parsed(given if given.endswith("/") else given + "/")).scheme != place.scheme:
            raise UsageError(f"{given} lies elsewhere than the output, {place}; expected both in one kind of store")
        if source == place:
            raise UsageError(
                f"the output prefix is that of the input, {place}; give another, or the next run would enlarge outputs"
            )
    return Remote(inputs, place, endpoint(endpoint_url), requester_pays, cluster, price)


def upscale_remote(
    remote: Remote,
    upscaler: Upscaler,
    settings: Settings,
    report: Report,
    model: str | None,
    fidelity: float | None,
    suffix: str | None,
    no_progress: bool,
    dry_run: bool,
) -> None:
    """Do it, or only say what would be done, and exit with 1 if something failed."""
    from superscale.inference.remote import Order, Plan, upscale_objects, upscale_objects_on
    from superscale.remote.manifest import new_run
    from superscale.remote.store import Access, Store

    access = Access(remote.endpoint_url, remote.requester_pays, remote.output.scheme)
    order = Order(
        model=model or upscaler.model.name,
        digest=upscaler.model.digest(),
        scale=upscaler.scale,
        options=upscaler.options,
        settings=replace(settings, measure=None),
        access=access,
        output=remote.output,
        run=new_run(),
        fidelity=fidelity,
        suffix=suffix,
    )
    if dry_run:
        _described(Plan(remote.inputs, order, Store(access)), report.as_json)
        return
    if remote.cluster is None:
        plan = Plan(remote.inputs, order, Store(access))
        outcomes = upscale_objects(plan, upscaler)
    else:
        plan = Plan(remote.inputs, replace(order, weights=_weights(order.model)), Store(access))
        outcomes = upscale_objects_on(plan, remote.cluster)
        del upscaler  # the driver computes nothing
    _reported(outcomes, plan, replace(report, cost=remote.cost), settings.fail_fast, no_progress)


def _described(plan: Plan, as_json: bool) -> None:
    """A line for each picture that would be done, by listings alone. Exits with 1 if one would fail."""
    from superscale.inference.outcomes import Outcome

    jobs: list[dict[str, Any]] = []
    count = size = failed = 0
    for one in plan:
        if isinstance(one, Outcome):
            failed += 1
            say(f"would fail: {shown(one.input)}: {shown(one.error or '')}")
            entry: dict[str, Any] = {"input": one.input, "output": None, "bytes": None, "exists": None, "error": one.error}
        else:
            count, size = count + 1, size + one.entry.size
            entry = {"input": one.name, "output": str(one.output), "bytes": one.entry.size, "exists": one.exists, "error": None}
            if not as_json:
                print(
                    f"{shown(one.name)} -> {shown(str(one.output))}  {one.entry.size} bytes{', something is there' * one.exists}"
                )
        jobs += [entry] if as_json else []
    if as_json:
        print(json.dumps({"version": 1, "jobs": jobs, "finished": plan.finished}))
    else:
        say(f"{count} to be done, {size / 1e6:.1f} MB; {plan.finished} finished before; {failed} would fail")
    if failed:
        raise SystemExit(1)


def _weights(model: str) -> bytes | None:
    """The bytes of a model that is a file: workers on other machines do not see it. Raises UsageError for one of several files."""
    path = Path(model)
    if not path.is_file():
        return None
    if path.suffix in (".xml", ".param"):
        raise UsageError(f"{model} is one of two files; with --on ray give a model of one file, such as .safetensors or .onnx")
    return path.read_bytes()


def _reported(outcomes: Generator[Outcome, None, None], plan: Plan, report: Report, fail_fast: bool, no_progress: bool) -> None:
    code = 0
    with bar(0, report.quiet or no_progress, report.model) as shown_bar, closing(outcomes):
        if shown_bar is not None:
            Thread(target=_count, args=(plan, shown_bar), daemon=True).start()
        try:
            for outcome in outcomes:
                report.add(outcome)
                if shown_bar is not None:
                    shown_bar.next((outcome.width or 0) * (outcome.height or 0), plan.finished, report.cost())
                if fail_fast and outcome.status == "failed":
                    break
        except KeyboardInterrupt:
            code = 130
        except SystemExit as stop:  # SIGTERM
            code = int(stop.code or 0)
    report.finished(plan.finished, plan.passed_over)
    if code := report.end(code):
        raise SystemExit(code)


def _count(plan: Plan, shown_bar: Bar) -> None:
    """Tell the bar how many pictures there are: a listing of its own, as the work takes names as it goes."""
    with suppress(SuperscaleError):
        shown_bar.expect(plan.count())
