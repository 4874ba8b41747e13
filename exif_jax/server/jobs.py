"""The photos of a page: which wait, which are done, where their files lie.

Every photo has a folder of its own, named by us: no name from a client reaches the file system.
The list is kept in memory and, a file each, in the folders, so that `--keep` finds it again.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import secrets
import shutil
import threading
import time
from typing import Any

from exif_jax.io.atomic import write_bytes
from exif_jax.io.errors import ExifJaxError
from exif_jax.io.text import json_bytes
from exif_jax.reports import outputs
from exif_jax.server.results import FILES

UPLOAD, ENTRY = "original", "entry.json"
_MAX_NAME = 255


class QueueFull(ExifJaxError):
    """No photo is taken now; the message says why. `retry`: whether waiting helps."""

    def __init__(self, words: str, retry: bool):
        super().__init__(words)
        self.retry = retry


@dataclasses.dataclass(frozen=True)
class Limits:
    """How much is taken.

    Attributes:
        max_bytes: of one photo.
        max_waiting: photos that may wait, those on their way included.
        max_photos: photos in the list.
        max_uploads: uploads at a time.
        idle_seconds: an upload that stands still for so long is ended.
        min_bytes_per_second: an upload that is slower, after its first `idle_seconds`, is ended.
    """

    max_bytes: int
    max_waiting: int = 200
    max_photos: int = 1000
    max_uploads: int = 8
    idle_seconds: float = 20.0
    min_bytes_per_second: float = 2048.0


@dataclasses.dataclass
class Job:
    """One photo. State: "uploading", "waiting", "working", "done" or "failed"."""

    id: str
    name: str
    num_bytes: int = 0
    state: str = "uploading"
    step: str = ""
    error: str = ""
    summary: dict[str, Any] | None = None


class JobList:
    """The photos, in the order they came; every method may be called from any thread."""

    def __init__(self, root: pathlib.Path, limits: Limits, keep: bool = False):
        """Lists what an earlier run has kept in the folder.

        Args:
            root: an existing folder; each photo has a folder in it.
            limits: how much is taken.
            keep: leave the photo itself in its folder, for good.
        """
        self.root, self.limits, self.keep = root, limits, keep
        self.version = 0
        self._jobs: dict[str, Job] = {}
        self._changed = threading.Condition()
        self._closed = False
        for entry in sorted(root.glob(f"*/{ENTRY}")):
            job = _read_entry(entry)
            if job is not None:
                self._jobs[job.id] = job

    def folder(self, job: Job) -> pathlib.Path:
        """Where a photo's files lie."""
        return self.root / job.id

    def add(self, name: str) -> Job:
        """Makes room for one more photo, which is then uploaded.

        Raises:
            QueueFull: too many wait, or are listed. OSError: its folder cannot be made.
        """
        limits = self.limits
        with self._changed:
            states = [job.state for job in self._jobs.values()]
            if len(states) >= limits.max_photos:
                words = f"{limits.max_photos} photos are listed; remove some first"
                raise QueueFull(words, retry=False)
            waiting = states.count("waiting") + states.count("uploading")
            if states.count("uploading") >= limits.max_uploads or waiting >= limits.max_waiting:
                raise QueueFull("many photos are waiting; this one is sent again soon", retry=True)
            # Sorted by name, folders are in the order in which photos came.
            job = Job(f"{time.time_ns():019d}-{secrets.token_hex(8)}", display_name(name))
            self._jobs[job.id] = job
        try:
            self.folder(job).mkdir(mode=0o700)
        except OSError:
            self.remove(job.id)
            raise
        return job

    def queue(self, job: Job, num_bytes: int) -> None:
        """The photo lies in its folder, whole: it waits for its turn."""
        self.update(job, num_bytes=num_bytes, state="waiting")

    def take(self) -> Job | None:
        """The next photo, which is then worked on; waits for one. None when closed."""
        with self._changed:
            while not self._closed:
                for job in self._jobs.values():
                    if job.state == "waiting":
                        self._set(job, state="working")
                        return job
                self._changed.wait()
        return None

    def finish(self, job: Job, *, summary: dict[str, Any] | None = None, error: str = "") -> None:
        """The photo is done, or failed with an error; its bytes go unless they are kept."""
        folder = self.folder(job)
        state = "failed" if error else "done"
        with self._changed:
            listed = job.id in self._jobs
        if not listed:  # removed while it was worked on
            shutil.rmtree(folder, ignore_errors=True)
            return
        if not self.keep:
            (folder / UPLOAD).unlink(missing_ok=True)
        entry = dataclasses.asdict(job) | {"state": state, "step": "", "summary": summary}
        entry["error"] = error
        try:
            write_bytes(folder / ENTRY, json_bytes(entry))
        except OSError as problem:
            state, summary = "failed", None
            error = error or f"The results cannot be written ({problem.strerror}). Make room."
        self.update(job, state=state, step="", summary=summary, error=error)
        if self.get(job.id) is None:  # removed in this moment
            shutil.rmtree(folder, ignore_errors=True)

    def update(self, job: Job, **values: Any) -> None:
        """Sets attributes of a photo."""
        with self._changed:
            self._set(job, **values)

    def _set(self, job: Job, **values: Any) -> None:
        for name, value in values.items():
            setattr(job, name, value)
        self.version += 1
        self._changed.notify_all()

    def remove(self, job_id: str) -> bool:
        """Takes a photo and its files away; returns whether there was one."""
        with self._changed:
            job = self._jobs.pop(job_id, None)
            self.version += 1
        if job is not None and job.state != "working":  # else when its turn is over
            shutil.rmtree(self.folder(job), ignore_errors=True)
        return job is not None

    def clear(self) -> None:
        """Takes all photos away."""
        for job in self.snapshot():
            self.remove(job.id)

    def get(self, job_id: str) -> Job | None:
        """The photo of that name, if there is one."""
        with self._changed:
            return self._jobs.get(job_id)

    def snapshot(self) -> list[Job]:
        """Copies of all photos, in order."""
        with self._changed:
            return [dataclasses.replace(job) for job in self._jobs.values()]

    def close(self) -> None:
        """Lets `take` return None, now and from now on."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def download_names(self) -> dict[str, str]:
        """For each photo that is done a safe name for its files, no two alike."""
        done = [job for job in self.snapshot() if job.state == "done"]
        names = outputs.output_names(pathlib.PurePosixPath(job.name) for job in done)
        return {job.id: name for job, name in zip(done, names, strict=True)}

    def result_path(self, job: Job, file: str) -> pathlib.Path:
        """Where a file of `results.FILES` of a photo lies."""
        return self.folder(job) / FILES[file].path


def display_name(name: str) -> str:
    """A client's name of a file, for people: without folders, bounded, as text that is UTF-8."""
    base = name.replace("\\", "/").rpartition("/")[2].replace("\0", "")
    base = base.encode("utf-8", "replace").decode("utf-8")
    return base[:_MAX_NAME] or "photo"


def _read_entry(path: pathlib.Path) -> Job | None:
    """A photo that was kept; None for what is no entry of ours."""
    try:
        entry = json.loads(path.read_bytes())
        job = Job(**entry)
    except (OSError, ValueError, TypeError):
        return None
    whole = job.id == path.parent.name and job.state in ("done", "failed")
    return job if whole and isinstance(job.name, str) else None
