"""The routes."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import json
import sqlite3
from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, TypeVar
from urllib.parse import quote

from fastapi import Depends, FastAPI, Header, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent
from fastapi.staticfiles import StaticFiles
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from superscale import __version__
from superscale.server import openapi, uploads
from superscale.server.jobs import Job
from superscale.server.limits import Settings
from superscale.server.problems import Problem, bad_field, of_status
from superscale.server.service import Service

STATIC = Path(str(files("superscale.server") / "static"))
# The id of the event after which there is none; those before it are percents.
LAST_EVENT = 101
LONGEST_KEY = 200
# What stands in a header as it is; a "%" is one of others.
PLAIN = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")
HEARTBEAT_SECONDS = 10.0
Result = TypeVar("Result")


async def _found(job_id: str, request: Request) -> Job:
    job: Job = request.app.state.service.job(job_id)
    return job


Found = Annotated[Job, Depends(_found)]


def build_app(service: Service) -> FastAPI:
    """The application with all routes, whose processes run as long as it does."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with service.running():
            yield

    app = new_app(lifespan)
    app.state.service = service
    _add_pages(app)
    _add_health(app, service)
    add_models(app, service.settings, lambda: service.models, lambda: service.is_ready)
    _add_pictures(app, service)
    _add_jobs(app, service)
    return app


def new_app(lifespan: Any = None) -> FastAPI:
    """An application that answers errors as problem documents, with the one route that needs nothing: ``/healthz``."""
    app = FastAPI(
        title="Superscale",
        version=__version__,
        description=openapi.DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        exception_handlers=ANSWERS_TO_ERRORS,
    )

    @app.get("/healthz", tags=["Health"], responses=openapi.errors())
    async def healthz() -> dict[str, str]:
        """The process answers."""
        return {"status": "ok"}

    return app


def add_models(
    app: FastAPI, settings: Settings, models: Callable[[], list[dict[str, Any]]], is_ready: Callable[[], bool] = lambda: True
) -> None:
    """Add the route that lists models, as they are when it is asked, and limits."""

    @app.get("/v1/models", tags=["Pictures"], responses=openapi.errors(401))
    async def listed() -> dict[str, Any]:
        """The models, the default first, and the limits; ``ready`` is false while the server loads."""
        limits = {"bytes": settings.max_bytes, "pixels": settings.max_pixels, "output_pixels": settings.max_output_pixels}
        return {"ready": is_ready(), "models": models(), "limits": limits, "keep_seconds": settings.keep}


def _add_pages(app: FastAPI) -> None:
    app.mount("/static", StaticFiles(directory=STATIC))

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(STATIC / "index.html", headers={"Cache-Control": "no-cache"})

    @app.get("/docs", include_in_schema=False)
    async def docs() -> FileResponse:
        return FileResponse(STATIC / "docs" / "index.html")


def _add_health(app: FastAPI, service: Service) -> None:
    @app.get("/readyz", tags=["Health"], responses=openapi.errors(503))
    async def readyz() -> dict[str, str]:
        """Jobs are taken; 503 while the model is loaded, and after SIGTERM."""
        if service.draining:
            raise Problem("draining", "The server is about to stop.", retry_after=5)
        if not service.is_ready:
            raise Problem("loading", "The server is loading its model.", retry_after=3)
        return {"status": "ready"}

    @app.get("/metrics", tags=["Health"], response_class=Response, responses=openapi.text(401))
    async def metrics() -> Response:
        """Counters and histograms for Prometheus."""
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _add_pictures(app: FastAPI, service: Service) -> None:
    @app.post("/v1/upscale", tags=["Pictures"], response_class=Response, **openapi.picture(upload=True))
    async def upscale(request: Request) -> Response:
        """Enlarge a picture; the answer is the enlarged one. A client that leaves ends its job."""
        job = await _submitted(request, service, attached=True)
        try:
            job = await unless_the_client_leaves(request, service.end(job.id))
        except (ClientDisconnect, asyncio.CancelledError):
            service.leave(service.job(job.id))
            raise
        if job.error is not None:
            service.spool.delete(job.id)
            raise problem_of(job.error["type"].rpartition(":")[2], job.error)

        async def sent() -> None:
            service.cancel(job)

        return _picture(service, job, BackgroundTask(sent))


def _add_jobs(app: FastAPI, service: Service) -> None:
    @app.post("/v1/jobs", tags=["Jobs"], status_code=202, **openapi.upload())
    async def submit(request: Request) -> JSONResponse:
        """Enlarge a picture later: 202 with the job and its address in Location."""
        job = await _submitted(request, service, attached=False)
        location = f"{request.scope.get('root_path', '')}/v1/jobs/{job.id}"
        return JSONResponse(service.document(job), 202, {"Location": location})

    @app.get("/v1/jobs/{job_id}", tags=["Jobs"], responses=openapi.errors(401, 404))
    async def job_document(job: Found) -> dict[str, Any]:
        """A job: its state, its place in the queue, the percents done, the seconds left."""
        return service.document(job)

    @app.get(
        "/v1/jobs/{job_id}/events", tags=["Jobs"], response_class=EventSourceResponse, responses=openapi.errors(401, 404, 422)
    )
    async def events(
        job: Found, last: Annotated[int, Header(alias="Last-Event-ID", ge=0, le=LAST_EVENT)] = 0
    ) -> AsyncIterable[ServerSentEvent]:
        """Events ``progress`` (ids: percents), then one of ``done``, ``failed``, ``cancelled`` (id 101), or ``restarting``."""
        async for event in _events(service, job.id, last):
            yield event

    @app.get("/v1/jobs/{job_id}/result", tags=["Jobs"], response_class=Response, **openapi.picture(upload=False))
    async def result(job: Found) -> Response:
        """The enlarged picture; 409 while there is none."""
        if job.result is None:
            raise Problem("not-ready", f"The job is {job.state}.", {"state": job.state})
        return _picture(service, job)

    @app.delete("/v1/jobs/{job_id}", tags=["Jobs"], status_code=204, responses=openapi.errors(401, 404))
    async def cancel(job: Found) -> Response:
        """End a job that waits or runs; delete one that is over."""
        service.cancel(job)
        return Response(status_code=204)


async def _submitted(request: Request, service: Service, *, attached: bool) -> Job:
    """A job from a form. Raises Problem; before the body is read, where it can be told."""
    key = None if attached else request.headers.get("idempotency-key")
    if key is not None and not 0 < len(key) <= LONGEST_KEY:
        raise bad_field("Idempotency-Key", f"must have 1 to {LONGEST_KEY} characters")
    declared = uploads.declared_bytes(request, service.settings)
    if key is None or service.spool.by_key(key) is None:
        service.admit(declared)
    upload = service.spool.new_upload()
    try:
        form = await uploads.receive(request, upload, service.settings)
        # What the same key must come with again.
        checksum = hashlib.sha256(json.dumps([form.sha256, form.fields], sort_keys=True).encode()).hexdigest()
        if (before := _before(service, key, checksum)) is not None:
            return before
        asked = uploads.asked(form.fields, service.models)
        width, height = await service.inspect(upload, asked)
        if (before := _before(service, key, checksum)) is not None:
            return before
        facts: dict[str, Any] = {"name": form.name, "bytes": form.bytes, "width": width, "height": height}
        job = Job(id=upload.parent.name, asked=asked, attached=attached, key=key, sha256=checksum, **facts)
        service.accept(job, upload)
        return job
    finally:
        service.spool.discard(upload)


def _before(service: Service, key: str | None, checksum: str) -> Job | None:
    """The job that the same request made before. Raises Problem when it was another request."""
    job = None if key is None else service.spool.by_key(key)
    if job is not None and job.sha256 != checksum:
        raise Problem("key-reused", "This Idempotency-Key came with another picture or other fields.")
    return job


async def unless_the_client_leaves(request: Request, work: Coroutine[Any, Any, Result]) -> Result:
    """What the work returns. Raises ClientDisconnect when the client leaves before."""
    end, leaving = asyncio.ensure_future(work), asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait((end, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not end.done():
            raise ClientDisconnect
        return end.result()
    finally:
        end.cancel()
        leaving.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _events(service: Service, job_id: str, last: int) -> AsyncIterator[ServerSentEvent]:
    said: dict[str, Any] = {}
    while True:
        job = service.spool.get(job_id)
        if job is None:
            yield ServerSentEvent(event="cancelled", id=str(LAST_EVENT), data={"id": job_id, "state": "cancelled"})
            return
        document = service.document(job)
        if job.is_over:
            yield ServerSentEvent(event=job.state, id=str(LAST_EVENT), data=document)
            return
        if service.draining and job.state == "waiting":
            yield ServerSentEvent(event="restarting", id=str(last), data=document, retry=2000)
            return
        last = max(last, document["progress"])
        document["progress"] = last
        facts = {name: value for name, value in document.items() if name in ("state", "progress", "place")}
        if facts != said:
            said = facts
            yield ServerSentEvent(event="progress", id=str(last), data=document)
        await service.change(job_id, HEARTBEAT_SECONDS)


def _picture(service: Service, job: Job, background: BackgroundTask | None = None) -> Response:
    path = service.spool.result_path(job)
    if path is None or job.result is None or not path.is_file():
        raise Problem("not-found", "The result is no longer here.")
    name = f"{Path(job.name or 'picture').stem}_enlarged{job.result['suffix']}"
    headers = notes(job.result["notices"])
    return FileResponse(path, media_type=job.result["type"], filename=name, headers=headers, background=background)


def notes(notices: list[str]) -> dict[str, str]:
    """The header that tells what had to be changed in a picture; none where nothing had."""
    return {"Superscale-Notes": quote("; ".join(notices), safe=PLAIN)} if notices else {}


def problem_of(kind: str, said: dict[str, Any]) -> Problem:
    """The problem that a worker tells of."""
    limit = said.get("limit")
    return Problem(kind, said["detail"], None if limit is None else {"limit": limit})


async def _problem(_: Request, problem: Exception) -> Response:
    assert isinstance(problem, Problem)
    return problem.response()


async def _framework_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    response = of_status(error.status_code).response()
    response.headers.update(error.headers or {})
    return response


async def _invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return bad_field(str(error.errors()[0]["loc"][-1]), "has a value that cannot be").response()


async def _gone(_: Request, _error: Exception) -> Response:
    return Problem("bad-request", "The client left.").response()


async def _full(_: Request, error: Exception) -> Response:
    if getattr(error, "errno", None) not in (None, errno.ENOSPC, errno.EDQUOT):
        raise error
    return Problem("disk-full", "The server has no room for another picture.", retry_after=60).response()


async def _failure(_: Request, _error: Exception) -> Response:
    return Problem("failed", "The server failed; its log says why.").response()


ANSWERS_TO_ERRORS: dict[int | type[Exception], Any] = {
    Problem: _problem,
    HTTPException: _framework_error,
    RequestValidationError: _invalid,
    ClientDisconnect: _gone,
    OSError: _full,
    sqlite3.OperationalError: _full,
    Exception: _failure,
}
