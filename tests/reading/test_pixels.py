"""What both training and inference do to pixels."""

import numpy as np
import pytest

from exif_jax.reading.pixels import centre_crop


@pytest.mark.parametrize(("height", "width"), [(32, 32), (33, 40), (48, 90)])
def test_centre_crop(height, width):
    image = np.arange(height * width * 3, dtype=np.int32).reshape(height, width, 3)
    crop = centre_crop(image, 32)
    y, x = {32: 0, 33: 0, 40: 0, 48: 8, 90: 24}[height], {32: 0, 40: 0, 90: 24}[width]
    np.testing.assert_array_equal(crop, image[y : y + 32, x : x + 32])
    assert crop.shape == (32, 32, 3)
