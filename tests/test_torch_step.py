"""The PyTorch step that benchmarks compare with does the same work."""

import numpy as np
import pytest
from tiny_model import scipy_spectrum, tiny_config

from benchmarks.torch_process import TorchSteps
from exif_jax.models.config import config_to_dict

torch = pytest.importorskip("torch")


def test_it_embeds_the_same_log_spectra():
    from benchmarks.torch_step import LogSpectrum

    images = np.random.default_rng(1).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    features = LogSpectrum()(torch.from_numpy(images), 16)
    assert features.shape == (2, 4, 768)
    tokens = scipy_spectrum(images).reshape(2, 2, 16, 2, 16, 3).transpose(0, 1, 3, 2, 4, 5)
    # Within a token the order is its own: the linear map that follows does not mind.
    blocks = tokens.reshape(2, 4, 2, 8, 2, 8, 3).transpose(0, 1, 6, 2, 4, 3, 5)
    np.testing.assert_allclose(features.numpy(), blocks.reshape(2, 4, 768), atol=2e-4)


def test_a_process_takes_a_step_at_each_call():
    config = config_to_dict(tiny_config())
    step = {"batch_size": 4, "patches_per_text": 2, "dtype": "float32", "image_weight": 1.0}
    with TorchSteps(config, step | {"features": "spectrum"}) as take_step:
        for _ in range(2):
            seconds, core_seconds = take_step()
            assert seconds > 0 < core_seconds


def test_a_process_that_fails_says_so():
    with pytest.raises(RuntimeError, match="PyTorch's step ended with 1"):
        TorchSteps(config_to_dict(tiny_config()), {"batch_size": 4})
