"""Which photos a step's batch holds: a function of the step, the seed and the number of photos."""

import functools

import numpy as np

from exif_jax.data.records_folder import DataError


def photo_indices(num_photos: int, per_batch: int, seed: int, step: int) -> np.ndarray:
    """Returns the photos of a step's batch, each once.

    Epochs follow each other without a gap, each a permutation of all photos, so that a batch may
    hold the end of one and the beginning of the next; a photo that would be in it twice is moved
    further back in the next. With fewer than three batches in an epoch that is not always possible:
    then the photos that do not fill a batch are left out of that epoch.

    Args:
        num_photos: number N of all photos of the split, at least `per_batch`.
        per_batch: photos of a batch.
        seed: decides the order.
        step: 0, 1, ...

    Returns:
        int64 [per_batch], in [0, N).
    """
    if num_photos < 3 * per_batch:
        epoch, batch = divmod(step, num_photos // per_batch)
        start = batch * per_batch
        return _permutation(num_photos, seed, epoch)[start : start + per_batch]
    epoch, start = divmod(step * per_batch, num_photos)
    photos = _joined_order(num_photos, per_batch, seed, epoch)[start : start + per_batch]
    missing = per_batch - len(photos)
    if missing:
        more = _joined_order(num_photos, per_batch, seed, epoch + 1)[:missing]
        photos = np.concatenate([photos, more])
    return photos


@functools.lru_cache(2)
def _permutation(num_photos: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(num_photos)


@functools.lru_cache(3)
def _joined_order(num_photos: int, per_batch: int, seed: int, epoch: int) -> np.ndarray:
    """Returns an epoch's order, whose first photos differ from the last of the epoch before."""
    order = _permutation(num_photos, seed, epoch).copy()
    tail = epoch * num_photos % per_batch  # photos of the epoch before in the shared batch
    if epoch == 0 or tail == 0:
        return order
    # The last batch keeps its photos, so that the next epoch knows this one's tail from the
    # permutation alone.
    before = _permutation(num_photos, seed, epoch - 1)[-tail:]
    head, free = per_batch - tail, num_photos - per_batch
    clashing = np.flatnonzero(np.isin(order[:head], before))
    spare = head + np.flatnonzero(~np.isin(order[head:free], before))[: len(clashing)]
    order[clashing], order[spare] = order[spare], order[clashing]
    return order


def process_slots(per_batch: int, process: int, processes: int) -> range:
    """Returns the places in a batch of `per_batch` photos that a process fills.

    Raises:
        DataError: the processes do not divide the batch.
    """
    if per_batch % processes:
        raise DataError(
            f"a batch of {per_batch} photos does not divide over {processes} processes; choose "
            "another --config.train.batch_size"
        )
    share = per_batch // processes
    return range(process * share, (process + 1) * share)
