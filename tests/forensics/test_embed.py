"""EXIF and images to embeddings: tiles that cover an image, by hand."""

import numpy as np
import pytest
from stand_in import FakeModel

from exif_jax.forensics.embed import embed_tiles
from exif_jax.models import dual_encoder


def test_features_are_mean_and_deviation_of_tiles_that_cover_the_image():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (35, 80, 80, 3), dtype=np.uint8)
    features = embed_tiles(images, FakeModel)
    assert features.shape == (35, 16) and features.dtype == np.float32
    tiles = np.stack([images[33, y : y + 32, x : x + 32] for y in (0, 24, 48) for x in (0, 24, 48)])
    z = np.asarray(dual_encoder.embed_images(FakeModel.config, FakeModel.params, tiles))
    np.testing.assert_allclose(features[33], np.concatenate([z.mean(0), z.std(0)]), atol=1e-5)
    assert embed_tiles(images[:1, :32, :32], FakeModel).shape == (1, 16)
    with pytest.raises(ValueError, match="hold no patch"):
        embed_tiles(images[:1, :31], FakeModel)
