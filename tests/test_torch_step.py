"""The PyTorch step that benchmarks compare with does the same work."""

import numpy as np
import pytest
from tiny_model import scipy_spectrum, tiny_config

from benchmarks.torch_process import TorchSteps
from benchmarks.train import take_turns
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


def test_a_process_that_fails_is_left_out_of_the_turns(capfd):
    with TorchSteps(config_to_dict(tiny_config()), {"batch_size": 4}) as broken:
        seconds, failed = take_turns({"": lambda: (0.5, 1.0), "torch_": broken}, repeats=3)
    assert seconds == {"": (0.5, 1.0)}
    assert failed == {"torch_failed": "PyTorch's step ended with 1"}
    assert "make_step" in capfd.readouterr().err


def test_turns_give_medians_without_the_first_of_each():
    times = iter([9.0, 90.0, 1.0, 10.0, 3.0, 30.0, 2.0, 20.0])
    step = lambda: (next(times), 5.0)  # noqa: E731
    seconds, failed = take_turns({"a": step, "b": step}, repeats=3)
    assert seconds == {"a": (2.0, 5.0), "b": (20.0, 5.0)} and not failed
