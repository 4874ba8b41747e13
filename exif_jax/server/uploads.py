"""One upload -> a file in its photo's folder, piece by piece, with nothing of it kept in memory.

The body of the request is the photo, nothing else. Its announced length is judged before a byte
is read, what really comes is counted, and a client that stands still or trickles is left.
"""

from __future__ import annotations

import asyncio
import time
import urllib.parse

import anyio.to_thread
from starlette.exceptions import HTTPException
from starlette.requests import Request

from exif_jax.server.jobs import UPLOAD, Job, JobList, QueueFull

NAME_HEADER = "x-file-name"  # percent-encoded UTF-8
MEDIA_TYPE = "application/octet-stream"  # no form of another site can send it


async def receive(request: Request, jobs: JobList) -> Job:
    """Takes a photo of a request into the queue.

    Raises:
        HTTPException: 415, 413, 400: not such an upload, too large, empty; 408: too slow; 503, 507:
            no room. ClientDisconnect: the client has gone. Nothing is left behind.
    """
    announced = check_announcement(request, jobs.limits.max_bytes)
    name = urllib.parse.unquote(request.headers.get(NAME_HEADER, "photo"), errors="replace")
    try:
        job = jobs.add(name)
    except QueueFull as full:
        raise _refused(503 if full.retry else 507, str(full), {"Retry-After": "1"}) from None
    except OSError as error:
        raise _no_room(error) from None
    try:
        num_bytes = await _spool(request, jobs, job)
        if announced is not None and num_bytes != announced:
            raise _refused(400, f"{announced:,} bytes were announced and {num_bytes:,} came")
        if not num_bytes:
            raise _refused(400, "the file is empty")
    except OSError as error:
        jobs.remove(job.id)
        raise _no_room(error) from None
    except BaseException:
        jobs.remove(job.id)
        raise
    jobs.queue(job, num_bytes)
    return job


def check_announcement(request: Request, max_bytes: int) -> int | None:
    """Returns the announced length, None where there is none; refuses before reading.

    Raises:
        HTTPException: 415: not bytes; 413: more than `max_bytes`.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != MEDIA_TYPE:
        raise _refused(415, f"a photo is sent as it is, as {MEDIA_TYPE}")
    announced = request.headers.get("content-length")
    if announced is None:  # in chunks: counted as they come
        return None
    if int(announced) > max_bytes:  # digits: the parser of HTTP refuses others
        raise _too_large(max_bytes)
    return int(announced)


async def _spool(request: Request, jobs: JobList, job: Job) -> int:
    """Writes the body into the photo's folder; returns its length."""
    limits, num_bytes, started = jobs.limits, 0, time.monotonic()
    body = aiter(request.stream())
    with (jobs.folder(job) / UPLOAD).open("xb") as file:
        while True:
            try:
                async with asyncio.timeout(limits.idle_seconds):
                    piece = await anext(body, None)
            except TimeoutError:
                raise _refused(408, "the upload stood still") from None
            if piece is None:
                return num_bytes
            num_bytes += len(piece)
            if num_bytes > limits.max_bytes:
                raise _too_large(limits.max_bytes)
            seconds = time.monotonic() - started - limits.idle_seconds
            if seconds > 0 and num_bytes < seconds * limits.min_bytes_per_second:
                raise _refused(408, "the upload was too slow")
            await anyio.to_thread.run_sync(file.write, piece)


def _refused(status: int, words: str, headers: dict[str, str] | None = None) -> HTTPException:
    # What is left of the body is not read.
    return HTTPException(status, words, {"Connection": "close", **(headers or {})})


def _too_large(max_bytes: int) -> HTTPException:
    return _refused(413, f"more than {max_bytes:,} bytes; crop it or save it with compression")


def _no_room(error: OSError) -> HTTPException:
    return _refused(507, f"no photo can be stored ({error.strerror}); make room")
