"""The stateless routes on Ray Serve, where one machine is not enough: ``serve run superscale.server.ray:app replicas=2``.

Jobs, their events and the page need the table of one server (`superscale serve`): they are not here.
"""

from __future__ import annotations

import asyncio
import math
import os
import sys
import threading
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote

from fastapi import Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field
from ray import serve
from ray.exceptions import RayActorError
from ray.serve import Application
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, RequestCancelledError
from ray.util.metrics import Counter

from superscale.server import openapi, uploads
from superscale.server.app import add_models, new_app, notes, problem_of, unless_the_client_leaves
from superscale.server.door import App, Door
from superscale.server.jobs import Asked
from superscale.server.limits import Settings, check_output
from superscale.server.problems import Problem

# How much of the newest measurement goes into the seconds that a picture takes.
NEWNESS = 0.3
TASK = "picture"


class Options(BaseModel):
    """What can be given as ``name=value``: ``replicas`` networks, up to ``max_replicas`` when pictures wait, each with so many
    ``cpus`` and ``gpus``; the rest as for ``superscale serve``.
    """  # fmt: skip

    model_config = ConfigDict(extra="forbid")

    model: str | None = None
    device: str = "auto"
    replicas: int = Field(1, ge=1)
    max_replicas: int | None = Field(None, ge=1)
    cpus: float = Field(1, ge=0)
    gpus: float = Field(0, ge=0)
    queue: int = Field(16, ge=1)
    timeout: float = Field(600, ge=1)
    max_bytes: int = Field(100_000_000, ge=1)
    max_pixels: int = Field(16_000_000, ge=1)
    max_output_pixels: int = Field(256_000_000, ge=1)
    allow_hosts: str = ""


def app(values: dict[str, Any]) -> Application:
    """The application, with `Options`: a front that answers HTTP, and behind it the networks."""
    options = Options.model_validate(values)
    most = max(options.max_replicas or 0, options.replicas)
    scaling: Any = {"num_replicas": options.replicas}
    if most > options.replicas:
        pictures = {"min_replicas": options.replicas, "max_replicas": most, "target_ongoing_requests": 1}
        scaling = {"num_replicas": "auto", "autoscaling_config": pictures}
    needs = {"num_cpus": options.cpus, "num_gpus": options.gpus}
    networks = serve.deployment(max_ongoing_requests=1, max_queued_requests=options.queue, ray_actor_options=needs, **scaling)
    front = serve.deployment(max_ongoing_requests=10 * (options.queue + most), ray_actor_options={"num_cpus": 0})
    return front(serve.ingress()(Front)).bind(networks(Enlarging).bind(options), options)


class Enlarging:
    """A network on its device: it decodes, computes and encodes, one picture at a time."""

    def __init__(self, options: Options) -> None:
        from superscale.server.worker import Enlarger

        facts = {"device": options.device, "model": options.model, "backend": "auto", "tile": "auto", "memory": None}
        self._enlarger = Enlarger(facts | {"timeout": options.timeout, "max_pixels": options.max_pixels})
        self._models: list[dict[str, Any]] = self._enlarger.about()["models"]
        self._limit = options.max_output_pixels

    def models(self) -> list[dict[str, Any]]:
        """The models, the default first."""
        return self._models

    async def __call__(self, upload: bytes, asked: Asked) -> dict[str, Any]:
        """``{"ended": facts, "data": bytes, "seconds"}``, or ``{"failed": kind of problem, "detail"}``. A cancel ends it within a tile."""
        cancel = threading.Event()
        work = asyncio.create_task(asyncio.to_thread(self._enlarged, upload, asked, cancel))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            cancel.set()
            await work
            raise

    def _enlarged(self, upload: bytes, asked: Asked, cancel: threading.Event) -> dict[str, Any]:
        from superscale.server.worker import Inbox, answer

        said: list[dict[str, Any]] = []
        inbox = Inbox()
        inbox.cancels[TASK] = cancel
        with TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "upload").write_bytes(upload)
            try:
                self._check(folder / "upload", asked)
            except Problem as problem:
                return {"failed": problem.kind, "detail": problem.detail, "limit": self._limit}
            message = {"task": TASK, "asked": asdict(asked), "folder": name, "preview": True, "room": sys.maxsize}
            answer(self._enlarger, message, inbox, said.append)
            last = said[-1]
            if "ended" in last:
                last["data"] = (folder / f"result{last['ended']['suffix']}").read_bytes()
            return last

    def _check(self, upload: Path, asked: Asked) -> None:
        from superscale.errors import ImageError
        from superscale.image.io import image_size

        with suppress(ImageError):  # reading it says why
            check_output(*image_size(upload), asked.scale_of(self._models), self._limit)


class Front:
    """HTTP before the networks."""

    async def __init__(self, networks: Any, options: Options) -> None:  # type: ignore[misc]  # Ray Serve awaits it
        self._networks, self._options = networks, options
        self._models: list[dict[str, Any]] = await networks.models.remote()
        self._seconds = 1.0
        self._settings = Settings(
            spool=Path(os.devnull),
            token=os.environ.get("SUPERSCALE_TOKEN") or None,
            allow_hosts=tuple(filter(None, options.allow_hosts.split(","))),
            timeout=options.timeout,
            max_bytes=options.max_bytes,
            max_pixels=options.max_pixels,
            max_output_pixels=options.max_output_pixels,
        )

    def __serve_build_asgi_app__(self) -> App:
        """The routes, behind the same door as those of the single server."""
        api = new_app()
        add_models(api, self._settings, lambda: self._models)

        @api.get("/readyz", tags=["Health"], responses=openapi.errors())
        async def readyz() -> dict[str, str]:
            """Pictures are taken."""
            return {"status": "ready"}

        @api.post("/v1/upscale", tags=["Pictures"], response_class=Response, **openapi.picture(upload=True))
        async def upscale(request: Request) -> Response:
            """Enlarge a picture; the answer is the enlarged one. A client that leaves ends its picture."""
            return await self._upscale(request)

        return Door(api, self._settings, _Counts())

    async def _upscale(self, request: Request) -> Response:
        uploads.declared_bytes(request, self._settings)
        with TemporaryDirectory() as folder:
            upload = Path(folder) / "upload"
            form = await uploads.receive(request, upload, self._settings)
            content = upload.read_bytes()
        asked = uploads.asked(form.fields, self._models)
        said = await unless_the_client_leaves(request, self._asked(content, asked))
        if "failed" in said:
            raise problem_of(said["failed"], said)
        self._seconds += NEWNESS * (said["seconds"] - self._seconds)
        facts = said["ended"]
        name = quote(f"{Path(form.name or 'picture').stem}_enlarged{facts['suffix']}")
        headers = {"Content-Disposition": f"attachment; filename*=utf-8''{name}", **notes(facts["notices"])}
        return Response(said["data"], headers=headers, media_type=facts["type"])

    async def _asked(self, content: bytes, asked: Asked) -> dict[str, Any]:
        response = self._networks.remote(content, asked)
        try:
            async with asyncio.timeout(self._settings.timeout):
                said: dict[str, Any] = await response
        except BackPressureError:
            wait = math.ceil(self._seconds * self._options.queue / self._options.replicas)
            raise Problem("queue-full", "The queue is full.", retry_after=max(1, wait)) from None
        except (TimeoutError, RequestCancelledError):
            response.cancel()
            raise Problem("timed-out", f"The picture took longer than {self._settings.timeout:g} seconds.") from None
        except (RayActorError, DeploymentUnavailableError):
            raise Problem("worker-died", "The process that computes ended on this picture.") from None
        except asyncio.CancelledError:
            response.cancel()
            raise
        return said


class _Counts:
    """Requests and refusals, in Ray's own metrics."""

    def __init__(self) -> None:
        self._requests = Counter("superscale_requests", "Answered requests.", ("method", "route", "status"))
        self._rejections = Counter("superscale_rejections", "Refused requests.", ("reason",))

    def request(self, method: str, route: str, status: int) -> None:
        self._requests.inc(1, {"method": method, "route": route, "status": str(status)})

    def rejected(self, reason: str) -> None:
        self._rejections.inc(1, {"reason": reason})
