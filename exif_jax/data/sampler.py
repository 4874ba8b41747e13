"""Which photos a step's batch holds: a function of the step, the seed and the number of photos."""

import functools

import numpy as np


def photo_indices(num_photos: int, per_batch: int, seed: int, step: int) -> np.ndarray:
    """The photos of a step's batch, each once.

    Epochs follow each other without a gap, each a permutation of all photos, so a batch may hold
    the end of one and the beginning of the next; photos that would meet there twice come later in
    the next. Below three batches an epoch that cannot always be had: there, the photos that do
    not fill a batch wait for another epoch's order.

    Args:
        num_photos: N, all photos of the split, at least `per_batch`.
        per_batch: photos of a batch.
        seed: of the order.
        step: 0, 1, ...

    Returns:
        int64 [per_batch].
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
    """An epoch's order, in which the first photos differ from the last of the epoch before."""
    order = _permutation(num_photos, seed, epoch).copy()
    tail = epoch * num_photos % per_batch  # photos of the epoch before in the batch they share
    if epoch == 0 or tail == 0:
        return order
    # Exchanges stay clear of the last batch, so that the next epoch needs no more than this one's
    # permutation to know its tail.
    before = _permutation(num_photos, seed, epoch - 1)[-tail:]
    head, free = per_batch - tail, num_photos - per_batch
    clashing = np.flatnonzero(np.isin(order[:head], before))
    spare = head + np.flatnonzero(~np.isin(order[head:free], before))[: len(clashing)]
    order[clashing], order[spare] = order[spare], order[clashing]
    return order
