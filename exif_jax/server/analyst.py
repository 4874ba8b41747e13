"""The thread that gives waiting photos to a worker process, one at a time.

The process may die of a photo (a decoder's fault, no memory) or never answer: the photo has then
failed, and the next one gets a new process.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

from exif_jax.io.errors import ExifJaxError
from exif_jax.server.jobs import UPLOAD, Job, JobList

SECONDS_PER_PHOTO = 900.0


class WorkerDied(ExifJaxError):
    """The process ended in the middle of a photo."""


class Analyst:
    """Works through a list of photos until it is closed."""

    def __init__(
        self, jobs: JobList, command: Sequence[str], seconds_per_photo: float = SECONDS_PER_PHOTO
    ):
        """Starts the thread.

        Args:
            jobs: the photos.
            command: starts a process that answers as `exif_jax.server.worker` does.
            seconds_per_photo: a process that takes longer is ended.
        """
        self._jobs, self._command, self._seconds = jobs, list(command), seconds_per_photo
        self._process: subprocess.Popen[str] | None = None
        self._closed = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="analyst", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends the process, the thread, and with them the photo that is being worked on."""
        with self._lock:
            self._closed = True
            self._end_process()
        self._jobs.close()
        self._thread.join()

    def _run(self) -> None:
        with contextlib.suppress(WorkerDied):  # the first photo would say so
            self._start()
        while (job := self._jobs.take()) is not None:
            try:
                summary, error = self._analyse(job)
            except WorkerDied as died:
                with self._lock:
                    self._end_process()
                    if self._closed:
                        return
                summary, error = None, str(died)
            self._jobs.finish(job, summary=summary, error=error)

    def _start(self) -> subprocess.Popen[str]:
        with self._lock:
            if self._closed:
                raise WorkerDied("The page was closed.")
            if self._process is None or self._process.poll() is not None:
                try:
                    self._process = subprocess.Popen(
                        self._command,
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                        encoding="utf-8",
                    )
                except OSError as error:
                    raise WorkerDied(f"The analysis cannot be started ({error}).") from None
            return self._process

    def _end_process(self) -> None:
        """Ends the process, if there is one; the lock is held."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):
                pipe.close()  # type: ignore[union-attr]

    def _analyse(self, job: Job) -> tuple[dict[str, Any] | None, str]:
        """Returns (summary, "") or (None, why it failed)."""
        self._jobs.update(job, step="Starting the analysis")
        process = self._start()
        folder = self._jobs.folder(job)
        request = {"photo": str(folder / UPLOAD), "name": job.name, "folder": str(folder)}
        late = threading.Event()
        timer = threading.Timer(self._seconds, lambda: (late.set(), process.kill()))
        timer.start()
        try:
            return _ask(process, request, lambda step: self._jobs.update(job, step=step))
        except WorkerDied:
            if late.is_set():
                words = f"The analysis took longer than {self._seconds:.0f} seconds and was ended."
                raise WorkerDied(words) from None
            raise
        finally:
            timer.cancel()


def _ask(
    process: subprocess.Popen[str], request: dict[str, str], on_step: Callable[[str], None]
) -> tuple[dict[str, Any] | None, str]:
    assert process.stdin is not None and process.stdout is not None
    try:
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
        for line in process.stdout:
            answer = json.loads(line)
            if "step" in answer:
                on_step(answer["step"])
            elif "done" in answer:
                return answer["done"], ""
            else:
                return None, answer["failed"]
    except (OSError, ValueError):  # a broken pipe, or half an answer
        pass
    raise WorkerDied(
        "The analysis ended in the middle of this photo: the file may be damaged, or too large for "
        "the memory. The others go on."
    )


def worker_command(model: str | None, max_pixels: int, remove: str | None) -> list[str]:
    """Returns the command that starts `exif_jax.server.worker`."""
    command = [sys.executable, "-m", "exif_jax.server.worker", "--max-pixels", str(max_pixels)]
    if model is not None:
        command += ["--model", model]
    return command if remove is None else [*command, "--remove", remove]
