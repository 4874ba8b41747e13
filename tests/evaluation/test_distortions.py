"""What the distortions do to photos and their masks."""

import numpy as np
import pytest
from stand_in import spliced

from exif_jax.evaluation.distortions import DISTORTIONS


@pytest.mark.parametrize("distortion", DISTORTIONS, ids=lambda d: f"{d.kind} {d.label}")
def test_pixels_and_mask_stay_together(distortion):
    image, mask = spliced()
    pixels, moved = distortion.change(image, mask)
    assert pixels.dtype == np.uint8 and moved.dtype == bool
    assert pixels.shape == (*moved.shape, 3)
    again, none = distortion.change(image, None)
    assert none is None
    np.testing.assert_array_equal(again, pixels)  # no chance in it, and the same for both kinds
    # The rough rectangle is still where the mask says, wherever any roughness is left.
    rough = np.abs(np.diff(pixels.astype(int), axis=1)).mean(axis=2)
    assert rough[moved[:, :-1]].mean() > 1.5 * rough[~moved[:, :-1]].mean()


def test_sizes_and_strengths():
    image, mask = spliced()  # 160 x 224
    changes = {f"{d.kind} {d.label}": d.change for d in DISTORTIONS}
    assert changes["rescaling 0.5"](image, mask)[0].shape == (80, 112, 3)
    assert changes["social network 2048 px, q 85"](image, mask)[0].shape == image.shape
    wide = np.zeros((100, 1440, 3), np.uint8)
    assert changes["social network 720 px, q 70"](wide, None)[0].shape == (50, 720, 3)
    assert changes["screenshot x 0.75, q 90"](image, mask)[0].shape == (115, 165, 3)
    spread = changes["noise, levels 10"](np.full((200, 200, 3), 128, np.uint8), None)[0].std()
    assert spread == pytest.approx(10, rel=0.02)
