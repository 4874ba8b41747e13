"""The step of the last compression, against the tables that Pillow wrote."""

import io

import jax
import numpy as np
import pytest
from PIL import Image

from exif_jax.reading.pixels import Jpeg, compress
from exif_jax.reading.quantization import quality_of_step, quantization_step


def texture(height=320, width=400, seed=0):
    """Waves of many lengths, as photos have; uint8 [H, W, 3]."""
    rng = np.random.default_rng(seed)
    spectrum = np.fft.rfft2(rng.normal(size=(height, width)))
    y, x = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    waves = np.fft.irfft2(spectrum / (0.01 + np.hypot(y, x)), (height, width))
    grey = 128 + 40 * waves / waves.std()
    return np.clip(grey[..., None] + rng.normal(0, 2, 3), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("quality", [30, 50, 60, 70, 80, 85])
@pytest.mark.parametrize("subsampling", [0, 2])
def test_the_step_is_that_of_the_table(quality, subsampling):
    seen = float(quantization_step(compress(texture(), Jpeg(quality, subsampling))))
    buffer = io.BytesIO()
    Image.fromarray(texture()).save(buffer, "JPEG", quality=quality)
    table = np.array(Image.open(buffer).quantization[0])
    at_50 = io.BytesIO()
    Image.fromarray(texture()).save(at_50, "JPEG", quality=50)
    expected = np.median(table[1:9] / np.array(Image.open(at_50).quantization[0])[1:9])
    assert seen == pytest.approx(expected, rel=0.1)
    assert quality_of_step(seen) == pytest.approx(quality, abs=4)


@pytest.mark.parametrize("image", [texture(), compress(texture(), Jpeg(98, 0)), texture()[3:, 5:]])
def test_no_step_is_seen_where_there_is_none(image):
    assert quantization_step(image) == 0 and quality_of_step(0.0) is None


def test_blocks_that_lie_elsewhere_show_no_step():
    assert quantization_step(compress(texture(), Jpeg(60, 2))[4:, 4:]) == 0


def test_the_last_of_two_compressions_is_seen():
    twice = compress(compress(texture(), Jpeg(50, 2))[4:, 4:], Jpeg(80, 2))
    assert quality_of_step(float(quantization_step(twice))) == pytest.approx(80, abs=4)


@pytest.mark.parametrize("image", [np.full((64, 64, 3), 90, np.uint8), texture()[:7, :7]])
def test_plain_and_tiny_pictures_show_none(image):
    assert quantization_step(image) == 0


def test_jax_agrees():
    image = compress(texture(), Jpeg(70, 2))
    traced = jax.jit(quantization_step)(image)
    assert float(traced) == pytest.approx(float(quantization_step(image)), abs=1e-6)
