"""The schedule at its corners, what decays, and the clip."""

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict
from tiny_model import random_params, tiny_config

from exif_jax.optim import _decays, learning_rate, make_optimizer

OPTIM = ConfigDict(
    {
        "lr": 1e-2,
        "end_lr": 1e-4,
        "warmup_steps": 10,
        "b1": 0.9,
        "b2": 0.98,
        "eps": 1e-6,
        "weight_decay": 0.1,
        "clip_norm": 1.0,
    }
)


def test_the_schedule_at_its_corners():
    schedule = learning_rate(OPTIM, 100)
    assert float(schedule(0)) == 0
    assert float(schedule(5)) == pytest.approx(0.5e-2)
    assert float(schedule(10)) == pytest.approx(1e-2)
    assert float(schedule(55)) == pytest.approx((1e-2 + 1e-4) / 2, rel=1e-4)
    assert float(schedule(100)) == pytest.approx(1e-4, rel=1e-3)
    rates = [float(schedule(k)) for k in range(101)]
    assert np.all(np.diff(rates[:11]) > 0) and np.all(np.diff(rates[10:]) < 0)


@pytest.mark.parametrize("num_steps", [1, 2, 5, 10, 11])
def test_a_run_shorter_than_the_warm_up_still_has_a_schedule(num_steps):
    schedule = learning_rate(OPTIM, num_steps)
    rates = np.array([float(schedule(k)) for k in range(num_steps + 1)])
    assert np.isfinite(rates).all() and rates.min() >= 0 and rates.max() <= 1e-2 * 1.00001


def test_matrices_decay_and_nothing_else():
    config = tiny_config(image={"pool": "cls"})
    decays = {
        jax.tree_util.keystr(path, simple=True, separator="/")
        for path, decays in jax.tree_util.tree_leaves_with_path(_decays(random_params(config)))
        if decays
    }
    blocks = [
        f"{tower}/stack/blocks/{layer}/kernel"
        for tower in ("image", "text")
        for layer in ("attention/qkv", "attention/out", "mlp1", "mlp2")
    ]
    rest = ["image/embed/kernel", "text/embed/embedding"]
    rest += ["image_projection/kernel", "text_projection/kernel"]
    assert decays == {*blocks, *rest}


def test_weight_decay_reaches_only_what_decays():
    """With no gradient a step moves only the decaying weights: by lr * weight_decay of each."""
    names = ["kernel", "embedding", "bias", "scale", "position", "cls", "log_scale"]
    params = {name: np.ones(3, np.float32) for name in names}
    tx = make_optimizer(ConfigDict({**OPTIM, "warmup_steps": 0}), 100)
    zero = jax.tree.map(np.zeros_like, params)
    updates, _ = tx.update(zero, tx.init(params), params)
    for name, update in updates.items():
        expected = -1e-2 * 0.1 if name in ("kernel", "embedding") else 0
        np.testing.assert_allclose(update, expected, rtol=1e-5)


def test_a_long_gradient_is_cut_to_the_clip_norm():
    tx = make_optimizer(ConfigDict({**OPTIM, "b1": 0.0, "eps": 1.0, "warmup_steps": 0}), 100)
    params = {"bias": np.zeros(2, np.float32)}
    short, long = ({"bias": np.array([0.6, 0.8], np.float32) * k} for k in (1, 1000))
    (a, _), (b, _) = (tx.update(g, tx.init(params), params) for g in (short, long))
    np.testing.assert_allclose(a["bias"], b["bias"], rtol=1e-5)
