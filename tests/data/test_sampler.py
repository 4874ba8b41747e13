"""The order of the photos: every one, once, well mixed, over any number of epochs."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from exif_jax.data.sampler import photo_indices


@settings(max_examples=150, deadline=None, derandomize=True)
@given(num_photos=st.integers(1, 60), per_batch=st.integers(1, 60), seed=st.integers(0, 2**32 - 1))
def test_every_photo_comes_once_an_epoch_and_never_twice_in_a_batch(num_photos, per_batch, seed):
    assume(per_batch <= num_photos)
    joined = num_photos >= 3 * per_batch
    steps = 5 * num_photos // per_batch
    orders = [photo_indices(num_photos, per_batch, seed, step) for step in range(steps)]
    for photos in orders:
        assert len(photos) == per_batch == len(set(photos.tolist()))
        assert photos.min() >= 0 and photos.max() < num_photos
    stream = np.concatenate(orders)
    epoch = num_photos if joined else num_photos // per_batch * per_batch
    for start in range(0, len(stream) - epoch + 1, epoch):
        photos = stream[start : start + epoch]
        assert len(set(photos.tolist())) == epoch  # joined: all photos, no tail is dropped


def test_shuffling_mixes_as_well_as_chance():
    """Of neighbours in the files no more than by chance lie in one batch, or near in an epoch."""
    num_photos, per_batch = 3000, 50
    steps = num_photos // per_batch
    place = np.empty((2, num_photos), int)
    for epoch in range(2):
        for step in range(steps):
            place[epoch, photo_indices(num_photos, per_batch, 7, epoch * steps + step)] = step
    together = (place[:, 1:] == place[:, :-1]).mean()
    assert together == pytest.approx(1 / steps, abs=0.006)  # three standard deviations
    assert abs(np.corrcoef(place[0], np.arange(num_photos))[0, 1]) < 0.055
    assert abs(np.corrcoef(place[0], place[1])[0, 1]) < 0.055
