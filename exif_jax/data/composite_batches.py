"""Batches of composites, made ahead by worker processes: a batch is a function of the step.

Each process makes whole batches, in the order of the steps; none imports JAX.
"""

from __future__ import annotations

import collections
import concurrent.futures
import multiprocessing
from collections.abc import Iterator

import numpy as np

from exif_jax.data.composites import KINDS, Composite, make_composite
from exif_jax.data.photo_pool import PhotoPool, load_pool

# Height and width of the pictures of step 0, 1, ..., over and over. Larger pictures come fewer to
# a batch, so that all steps take about as long.
SHAPES = ((256, 384), (192, 256), (384, 512), (256, 192), (384, 256), (192, 256))
_VALIDATION = 1 << 40  # a seed apart from those of all steps
_AHEAD = 2  # batches made ahead, for each worker

_pool: PhotoPool | None = None  # of a worker process


def batch_shape(step: int, batch_size: int, multiple: int = 1) -> tuple[int, int, int]:
    """Pictures, height and width of a step's batch.

    Args:
        step: 0, 1, ...
        batch_size: pictures of the smallest shape.
        multiple: the number of pictures is a multiple of it, as a mesh of devices needs.
    """
    height, width = SHAPES[step % len(SHAPES)]
    smallest = min(h * w for h, w in SHAPES)
    number = max(1, round(batch_size * smallest / (height * width) / multiple)) * multiple
    return number, height, width


def make_batch(
    pool: PhotoPool, seed: int, step: int, batch_size: int, multiple: int = 1
) -> dict[str, np.ndarray]:
    """The batch of a step.

    Returns:
        picture: uint8 [B, H, W, 3]. tampered: float32 [B, H / 8, W / 8].
    """
    number, height, width = batch_shape(step, batch_size, multiple)
    composites = [
        make_composite(pool, np.random.default_rng([seed, step, k]), height, width)
        for k in range(number)
    ]
    return {
        "picture": np.stack([c.picture for c in composites]),
        "tampered": np.stack([c.tampered for c in composites]),
    }


def validation_composites(pool: PhotoPool, seed: int, of_each_kind: int) -> list[Composite]:
    """The same composites at every call, of the first shape, so many of each kind."""
    height, width = SHAPES[0]
    return [
        make_composite(pool, np.random.default_rng([seed, _VALIDATION, n, k]), height, width, kind)
        for n, kind in enumerate(KINDS)
        for k in range(of_each_kind)
    ]


def composite_batches(
    pool_folder: str, seed: int, steps: range, batch_size: int, multiple: int, workers: int
) -> Iterator[dict[str, np.ndarray]]:
    """The batches of some steps, in order; close it to end the processes.

    Args:
        pool_folder: of `photo_pool.make_pool`; composites are made of what it does not hold out.
        seed, batch_size, multiple: as for `make_batch`.
        steps: for example range(first_step, num_steps).
        workers: processes.
    """
    pool = concurrent.futures.ProcessPoolExecutor(
        workers,
        # A fork of a process that runs JAX would hang.
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_open_pool,
        initargs=(pool_folder,),
    )
    waiting: collections.deque[concurrent.futures.Future] = collections.deque()
    try:
        for step in steps:
            waiting.append(pool.submit(_worker_batch, seed, step, batch_size, multiple))
            if len(waiting) > _AHEAD * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _open_pool(folder: str) -> None:
    global _pool
    _pool = load_pool(folder).part(validation=False)


def _worker_batch(seed: int, step: int, batch_size: int, multiple: int) -> dict[str, np.ndarray]:
    assert _pool is not None
    return make_batch(_pool, seed, step, batch_size, multiple)
