"""Several processes as one program: joining them, and what only the first of them does.

Each process sees its own devices; after `initialize_distributed` the mesh spans all of them and
every `jax.jit` is run by all processes together.
https://docs.jax.dev/en/latest/multi_process.html
"""

from __future__ import annotations

import contextlib
import pathlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from exif_jax.io.errors import ExifJaxError
from exif_jax.training.sharding import replicated

JOIN_SECONDS = 300
FILE_SECONDS = 30
HEARTBEAT_SECONDS = 60  # a process that is silent for so long has died: the others end, saying so


class DistributedError(ExifJaxError):
    """The processes did not find each other; the message says what to check."""


def initialize_distributed(coordinator: str, num_processes: int, process_id: int) -> None:
    """Joins the other processes of this run. Call it before anything touches a device.

    Args:
        coordinator: "" for a process alone; "auto" where TPU VMs, SLURM, GKE or Open MPI say who is
            who; else host:port of the first process, the same for all.
        num_processes, process_id: how many there are and which one this is, from 0; -1 with "auto".

    Raises:
        DistributedError: numbers that make no sense, or processes that do not come.
    """
    if not coordinator:
        if num_processes > 1 or process_id > 0:
            raise DistributedError("--num_processes and --process_id need --coordinator=HOST:PORT")
        return
    numbers: dict[str, Any] = {}
    if coordinator != "auto":
        if not 0 <= process_id < num_processes:
            raise DistributedError(
                f"--process_id={process_id} of --num_processes={num_processes}: with "
                "--coordinator=HOST:PORT each process needs its own number, from 0"
            )
        numbers = {
            "coordinator_address": coordinator,
            "num_processes": num_processes,
            "process_id": process_id,
        }
    try:
        jax.distributed.initialize(
            **numbers,
            initialization_timeout=JOIN_SECONDS,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
        )
    except (RuntimeError, ValueError) as e:
        raise DistributedError(
            f"--coordinator={coordinator}: the processes did not find each other "
            f"({str(e).splitlines()[0][:200]}); is the first one running, is its port open, and "
            "has each its own --process_id?"
        ) from e


def is_main_process() -> bool:
    """Whether this process is the one that writes files and prints."""
    return jax.process_index() == 0


@contextlib.contextmanager
def main_process_first(name: str) -> Iterator[bool]:
    """True in the first process, whose body ends before any other process goes on."""
    yield is_main_process()
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def processes_missing(path: pathlib.Path) -> list[int]:
    """Numbers of the processes that do not see a file; all processes must call it.

    NFS may take some seconds to show a file that another machine wrote.
    """
    for _ in range(FILE_SECONDS):
        if path.exists():
            break
        time.sleep(1)
    seen = multihost_utils.process_allgather(np.array([path.exists()]))
    return np.flatnonzero(~seen.ravel()).tolist()


def gather_to_host(mesh: Mesh, tree: Any) -> Any:
    """A tree of global arrays to NumPy, in every process; all processes must call it."""
    return jax.device_get(jax.jit(lambda x: x, out_shardings=replicated(mesh))(tree))


class Preempted(ExifJaxError):
    """The machine is taken away; everything is saved up to the step in the message."""


@contextlib.contextmanager
def preemption_signal() -> Iterator[Callable[[int], bool]]:
    """A function of the step that is true once SIGTERM came.

    Cloud machines send it half a minute or so before they go. Of several processes any may get
    it, and all agree on the step.
    """
    if jax.process_count() > 1:
        # JAX listens itself, and finds a step that no process has passed yet.
        yield multihost_utils.reached_preemption_sync_point
        return
    if threading.current_thread() is not threading.main_thread():
        yield lambda step: False  # only the main thread can handle signals
        return
    received = threading.Event()
    before = signal.signal(signal.SIGTERM, lambda *_: received.set())
    try:
        yield lambda step: received.is_set()
    finally:
        signal.signal(signal.SIGTERM, before)
