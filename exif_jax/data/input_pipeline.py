"""Batches made ahead of the training loop: by threads, or by tf.data.

Both ask `PatchDataset.sample` for the photos of a step, so that the order and the bytes are the
same, and both give this process its own rows only. The position in the data is the step, which the
checkpoint holds; nothing else needs saving.
"""

from __future__ import annotations

import concurrent.futures
import importlib.util
import itertools
import os
import queue
import threading
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from exif_jax.data.dataset import PatchDataset, concatenate
from exif_jax.data.records_folder import DataError
from exif_jax.data.sampler import process_slots

READERS = ("auto", "tf.data", "threads")


def choose_reader(reader: str) -> str:
    """The reader that a config names; "auto" is "threads".

    Threads read faster than tf.data and in a tenth of its memory: on two cores 377 against 319
    patches/s, in 76 against 726 MiB.

    Raises:
        DataError: an unknown name, or "tf.data" without TensorFlow.
    """
    if reader not in READERS:
        raise DataError(f"config.data.reader is {reader!r}; it must be one of {READERS}")
    if reader == "tf.data" and importlib.util.find_spec("tensorflow") is None:
        raise DataError(
            "config.data.reader is 'tf.data' and TensorFlow is not installed: pip install "
            "'exif-jax[tensorflow]', or take 'threads', which gives the same batches"
        )
    return "threads" if reader == "auto" else reader


def batches(
    data: PatchDataset,
    batch_size: int,
    steps: range,
    reader: str = "auto",
    process: int = 0,
    processes: int = 1,
) -> Iterator[dict[str, np.ndarray]]:
    """This process's rows of the batches of some steps, in order, made ahead by several threads.

    Args:
        data: a split.
        batch_size: patches of the global batch.
        steps: for example range(first_step, num_steps).
        reader: one of READERS.
        process, processes: this process and their number.

    Yields:
        What `PatchDataset.batch` returns for each step.

    Raises:
        DataError: too many records are damaged, or the reader is not there.
    """
    if choose_reader(reader) == "tf.data":
        return _tf_batches(data, batch_size, steps, process, processes)
    return _thread_batches(data, batch_size, steps, process, processes)


def _cores() -> int:
    """Those that this process may use: SLURM and containers often give it only a few."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _thread_batches(
    data: PatchDataset, batch_size: int, steps: range, process: int, processes: int
) -> Iterator[dict[str, np.ndarray]]:
    slots = process_slots(data.photos_per_batch(batch_size), process, processes)
    places = ((step, slot) for step in steps for slot in slots)
    # More threads than cores and one only contend for the interpreter: a tenth slower.
    workers = _cores() + 1
    with concurrent.futures.ThreadPoolExecutor(workers, "exif-jax-data") as pool:
        # Work for two batches at once: threads need not wait for a batch's slowest photo.
        first = itertools.islice(places, 2 * len(slots))
        ahead = [pool.submit(data.sample, *place, batch_size) for place in first]
        try:
            for _ in steps:
                now, ahead = ahead[: len(slots)], ahead[len(slots) :]
                samples = []
                for future in now:
                    samples.append(future.result())
                    following = next(places, None)
                    if following:
                        ahead.append(pool.submit(data.sample, *following, batch_size))
                yield concatenate(samples)
        finally:
            for future in ahead:
                future.cancel()


def _tf_batches(
    data: PatchDataset, batch_size: int, steps: range, process: int, processes: int
) -> Iterator[dict[str, np.ndarray]]:
    import tensorflow as tf  # type: ignore[reportMissingImports]

    tf.config.set_visible_devices([], "GPU")  # JAX needs its memory
    slots = process_slots(data.photos_per_batch(batch_size), process, processes)
    failure: list[Exception] = []
    first = data.blank_sample(steps.start)

    def load(number: Any) -> tuple[np.ndarray, ...]:
        step, k = divmod(int(number), len(slots))
        try:
            sample = data.sample(step, slots[k], batch_size)
        except Exception as error:
            # TensorFlow would print its own account and pass on no more than the text.
            failure.append(error)
            sample = data.blank_sample(step)
        return tuple(sample[name] for name in first)

    dtypes = [tf.as_dtype(x.dtype) for x in first.values()]
    dataset = (
        tf.data.Dataset.range(steps.start * len(slots), steps.stop * len(slots))
        .map(
            lambda number: tf.numpy_function(load, [number], dtypes),
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )
        .batch(len(slots))
        .prefetch(2)
    )
    for values in dataset.as_numpy_iterator():
        if failure:
            raise failure[0]
        # [photos, rows of each, ...] -> [rows, ...]
        merged = (value.reshape(-1, *value.shape[2:]) for value in values)
        yield dict(zip(first, merged, strict=True))


def prefetch(items: Iterable[Any], depth: int = 2) -> Iterator[Any]:
    """The same items, taken by a thread `depth` ahead; what it raises is raised here."""
    ready: queue.Queue[tuple[Any, Exception | None]] = queue.Queue(depth)
    stop = threading.Event()
    thread = threading.Thread(
        target=_fill, args=(iter(items), ready, stop), daemon=True, name="exif-jax-prefetch"
    )
    thread.start()
    try:
        while True:
            item, error = ready.get()
            if error is not None:
                raise error
            if item is _END:
                return
            yield item
    finally:
        stop.set()
        thread.join()


_END = object()


def _fill(
    iterator: Iterator[Any],
    ready: queue.Queue[tuple[Any, Exception | None]],
    stop: threading.Event,
) -> None:
    """Puts items into a queue until they end, one of them raises, or nobody wants more."""
    error: Exception | None = None
    try:
        for item in iterator:
            if not _put(ready, (item, None), stop):
                break
    except Exception as e:
        error = e
    finally:
        # In this thread: a generator must not be closed by another.
        close = getattr(iterator, "close", None)
        if close:
            close()
    _put(ready, (_END, error), stop)


def _put(ready: queue.Queue, item: Any, stop: threading.Event) -> bool:
    """Waits for room in the queue; False where `stop` was set first."""
    while not stop.is_set():
        try:
            ready.put(item, timeout=0.1)
            return True
        except queue.Full:
            continue
    return False
