"""The application: the page, the list of photos, their files, and what takes new ones."""

from __future__ import annotations

import functools
import html
import pathlib
import string
import urllib.parse
from collections.abc import Collection, Iterator

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from exif_jax.reading.photo import EXTENSIONS
from exif_jax.reports.html import content_policy
from exif_jax.server.archive import zip_stream
from exif_jax.server.gate import Gate
from exif_jax.server.jobs import Job, JobList
from exif_jax.server.results import FILES
from exif_jax.server.uploads import receive

_HERE = pathlib.Path(__file__).parent
_STATIC = {"page.css": "text/css", "page.js": "text/javascript", "page.svg": "image/svg+xml"}
# A report runs its own script and no other, as its policy says; what it is served with also takes
# from it the page's origin, so that not even that script could ask for other photos.
_REPORT_POLICY = f"{content_policy()}; frame-ancestors 'none'; sandbox allow-scripts"


def create_app(
    jobs: JobList,
    names: Collection[str],
    *,
    any_address: bool = False,
    token: str | None = None,
    promise: str = "",
) -> Starlette:
    """Makes the application.

    Args:
        jobs: the photos.
        names, any_address, token: who may ask, as for `Gate`.
        promise: where the photos go and how long they stay, in words, for the page.
    """
    page = string.Template((_HERE / "page.html").read_text("utf-8")).substitute(
        promise=html.escape(promise),
        max_bytes=jobs.limits.max_bytes,
        extensions=",".join(sorted(EXTENSIONS)),
    )
    static = {"/": (page, "text/html")}
    for name, media_type in _STATIC.items():
        static[f"/{name}"] = ((_HERE / name).read_text("utf-8"), media_type)
    routes = [Route(path, functools.partial(_text, *content)) for path, content in static.items()]
    routes += [
        Route("/api/photos", functools.partial(_list, jobs), methods=["GET"]),
        Route("/api/photos", functools.partial(_add, jobs), methods=["POST"]),
        Route("/api/photos", functools.partial(_clear, jobs), methods=["DELETE"]),
        Route("/api/photos/{id}", functools.partial(_remove, jobs), methods=["DELETE"]),
        Route("/photos/{id}/{file}", functools.partial(_file, jobs)),
        Route("/photos/{id}.zip", functools.partial(_archive, jobs)),
        Route("/photos.zip", functools.partial(_archive, jobs)),
    ]
    gate = Middleware(Gate, names=names, any_address=any_address, token=token)
    return Starlette(routes=routes, middleware=[gate], exception_handlers={HTTPException: _explain})


def job_json(job: Job, ahead: int) -> dict[str, object]:
    """What the list says of a photo; `ahead` others wait before it."""
    return {
        "id": job.id,
        "name": job.name,
        "num_bytes": job.num_bytes,
        "state": job.state,
        "step": job.step,
        "ahead": ahead,
        "error": job.error,
        "summary": job.summary,
    }


async def _text(content: str, media_type: str, request: Request) -> Response:
    return Response(content, media_type=media_type)


async def _explain(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


async def _list(jobs: JobList, request: Request) -> Response:
    version = jobs.version
    if request.query_params.get("version") == str(version):
        return Response(status_code=204)
    listed, ahead = [], 0
    for job in jobs.snapshot():
        listed.append(job_json(job, ahead if job.state == "waiting" else 0))
        ahead += job.state in ("waiting", "working")
    return JSONResponse({"version": version, "photos": listed})


async def _add(jobs: JobList, request: Request) -> Response:
    try:
        job = await receive(request, jobs)
    except ClientDisconnect:  # nobody is left to answer
        return Response(status_code=400)
    return JSONResponse(job_json(job, 0), 201)


async def _clear(jobs: JobList, request: Request) -> Response:
    await run_in_threadpool(jobs.clear)
    return Response(status_code=204)


async def _remove(jobs: JobList, request: Request) -> Response:
    if not await run_in_threadpool(jobs.remove, request.path_params["id"]):
        raise HTTPException(404, "no such photo")
    return Response(status_code=204)


def _done(jobs: JobList, job_id: str) -> Job:
    job = jobs.get(job_id)
    if job is None or job.state != "done":
        raise HTTPException(404, "no such photo, or it is not done")
    return job


async def _file(jobs: JobList, request: Request) -> Response:
    # Both names are looked up: what a client sends is no part of any path.
    job = _done(jobs, request.path_params["id"])
    file = FILES.get(request.path_params["file"])
    if file is None:
        raise HTTPException(404, "no such file")
    path = jobs.folder(job) / file.path
    if not path.is_file():
        raise HTTPException(404, "no such photo, or it is not done")
    headers = {"Content-Security-Policy": _REPORT_POLICY} if file.path.endswith(".html") else {}
    name = None
    if "download" in request.query_params and file.ending:
        name = jobs.download_names()[job.id] + file.ending
    return FileResponse(path, media_type=file.media_type, headers=headers, filename=name)


async def _archive(jobs: JobList, request: Request) -> Response:
    names = jobs.download_names()
    name = "exif-jax-results"
    if "id" in request.path_params:
        job = _done(jobs, request.path_params["id"])
        name = names[job.id]
        names = {job.id: name}

    def members() -> Iterator[tuple[str, pathlib.Path]]:
        for job_id, name in names.items():
            for file in FILES.values():
                if file.ending:
                    yield name + file.ending, jobs.root / job_id / file.path

    headers = {"Content-Disposition": _attachment(f"{name}.zip")}
    return StreamingResponse(zip_stream(members()), media_type="application/zip", headers=headers)


def _attachment(name: str) -> str:
    return f"attachment; filename*=utf-8''{urllib.parse.quote(name, safe='')}"
