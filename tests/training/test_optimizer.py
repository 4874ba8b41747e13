"""The schedule at its corners, what decays, and the clip."""

import dataclasses

import jax
import numpy as np
import pytest
from tiny_model import random_params, tiny_config

from exif_jax.models.distilbert import DistilBertConfig
from exif_jax.models.dual_encoder import DualEncoderConfig
from exif_jax.models.resnet import ResNetConfig
from exif_jax.training.config import OptimizerConfig
from exif_jax.training.optimizer import (
    layerwise_lr_decay,
    learning_rate,
    make_optimizer,
    weight_decay_mask,
)

OPTIM = OptimizerConfig(
    lr=1e-2,
    end_lr=1e-4,
    warmup_steps=10,
    b1=0.9,
    b2=0.98,
    eps=1e-6,
    weight_decay=0.1,
    clip_norm=1.0,
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


def test_wsd_warms_up_stays_and_decays():
    optim = dataclasses.replace(OPTIM, schedule="wsd", decay_fraction=0.2)
    schedule = learning_rate(optim, 100)
    rates = np.array([float(schedule(k)) for k in range(101)])
    np.testing.assert_allclose(rates[:11], np.linspace(0, 1e-2, 11), rtol=1e-6)
    np.testing.assert_array_equal(rates[10:81], np.float32(1e-2))
    np.testing.assert_allclose(rates[80:], np.linspace(1e-2, 1e-4, 21), rtol=1e-4)
    assert optim.decay_start(100) == 80


def test_before_its_decay_wsd_does_not_depend_on_the_number_of_steps():
    optim = dataclasses.replace(OPTIM, schedule="wsd", decay_fraction=0.2)
    short, long = (learning_rate(optim, num_steps) for num_steps in (100, 1000))
    assert [float(short(k)) for k in range(80)] == [float(long(k)) for k in range(80)]
    assert float(short(81)) < float(long(81))


def test_without_a_decay_wsd_stays_at_its_peak():
    schedule = learning_rate(
        dataclasses.replace(OPTIM, schedule="wsd", decay_fraction=0.0, warmup_steps=0), 100
    )
    assert {float(schedule(k)) for k in range(100)} == {float(np.float32(1e-2))}


def test_what_is_frozen_has_no_moments():
    params = random_params(tiny_config())
    tx = make_optimizer(dataclasses.replace(OPTIM, frozen=("text", "image/stack")), 100)
    size = sum(x.size for x in jax.tree.leaves(tx.init(params)))
    frozen = sum(x.size for x in jax.tree.leaves((params["text"], params["image"]["stack"])))
    moving = sum(x.size for x in jax.tree.leaves(params)) - frozen
    assert 2 * moving <= size <= 2 * moving + 4  # two moments of each, and counts


@pytest.mark.parametrize("num_steps", [1, 2, 5, 10, 11])
def test_a_run_shorter_than_the_warm_up_still_has_a_schedule(num_steps):
    schedule = learning_rate(OPTIM, num_steps)
    rates = np.array([float(schedule(k)) for k in range(num_steps + 1)])
    assert np.isfinite(rates).all() and rates.min() >= 0 and rates.max() <= 1e-2 * 1.00001


def test_matrices_decay_and_nothing_else():
    config = tiny_config(image={"pool": "cls"})
    decays = {
        jax.tree_util.keystr(path, simple=True, separator="/")
        for path, decays in jax.tree_util.tree_leaves_with_path(
            weight_decay_mask(random_params(config))
        )
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
    tx = make_optimizer(dataclasses.replace(OPTIM, warmup_steps=0), 100)
    zero = jax.tree.map(np.zeros_like, params)
    updates, _ = tx.update(zero, tx.init(params), params)
    for name, update in updates.items():
        expected = -1e-2 * 0.1 if name in ("kernel", "embedding") else 0
        np.testing.assert_allclose(update, expected, rtol=1e-5)


def test_a_long_gradient_is_cut_to_the_clip_norm():
    tx = make_optimizer(dataclasses.replace(OPTIM, b1=0.0, eps=1.0, warmup_steps=0), 100)
    params = {"bias": np.zeros(2, np.float32)}
    short, long = ({"bias": np.array([0.6, 0.8], np.float32) * k} for k in (1, 1000))
    (a, _), (b, _) = (tx.update(g, tx.init(params), params) for g in (short, long))
    np.testing.assert_allclose(a["bias"], b["bias"], rtol=1e-5)


def test_adam_with_the_decay_in_the_gradient_by_its_definition():
    """As torch.optim.Adam documents it; in float64."""
    rng = np.random.default_rng(0)
    start, *grads = rng.normal(size=(6, 4, 3))
    optim = dataclasses.replace(
        OPTIM, weight_decay_type="l2", clip_norm=0.0, warmup_steps=0, end_lr=1e-2
    )
    tx = make_optimizer(optim, 100)
    params = {"bias": start.astype(np.float32)}  # everything decays
    state = tx.init(params)
    x, m, v = start.copy(), 0.0, 0.0
    for k, g in enumerate(grads, start=1):
        updates, state = tx.update({"bias": g.astype(np.float32)}, state, params)
        params = jax.tree.map(np.add, params, updates)
        g = g + 0.1 * x
        m, v = 0.9 * m + 0.1 * g, 0.98 * v + 0.02 * g**2
        x = x - 1e-2 * (m / (1 - 0.9**k)) / (np.sqrt(v / (1 - 0.98**k)) + 1e-6)
    np.testing.assert_allclose(params["bias"], x, rtol=1e-5, atol=1e-6)


def names_and_rates(config, decay: float) -> dict[str, np.ndarray]:
    ones = jax.tree.map(np.ones_like, random_params(config))
    slowed = jax.tree.map(np.asarray, layerwise_lr_decay(decay, ones))
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): x
        for path, x in jax.tree_util.tree_leaves_with_path(slowed)
    }


def test_lower_layers_move_more_slowly():
    rates = names_and_rates(tiny_config(image={"depth": 3}, text={"depth": 2}), 0.5)
    kernel = rates["image/stack/blocks/mlp1/kernel"]
    np.testing.assert_array_equal(kernel[:, 0, 0], [0.25, 0.5, 1])
    np.testing.assert_array_equal(rates["text/stack/blocks/norm1/scale"][:, 0], [0.5, 1])
    assert np.all(rates["image/embed/kernel"] == 0.125) and np.all(rates["image/position"] == 0.125)
    assert np.all(rates["text/embed/embedding"] == 0.25)
    for name in ("image/stack/norm/scale", "image_projection/kernel", "log_scale"):
        assert np.all(rates[name] == 1), name


def test_the_optimizer_slows_its_updates_by_layer_decay():
    config = tiny_config(image={"depth": 3})
    params = random_params(config)

    def first_update(decay):
        tx = make_optimizer(dataclasses.replace(OPTIM, layerwise_lr_decay=decay), 100)
        state, step = jax.jit(tx.init)(params), jax.jit(tx.update)
        for _ in range(2):  # the first step of the schedule is 0
            update, state = step(params, state, params)
        return jax.tree.map(np.asarray, update)

    full, slowed = first_update(1.0), first_update(0.5)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6),
        layerwise_lr_decay(0.5, full),
        slowed,
    )


def test_stages_of_a_resnet_count_as_layers():
    text = DistilBertConfig(vocab_size=9, max_length=4, width=8, depth=2, heads=1, mlp_dim=8)
    config = DualEncoderConfig(ResNetConfig(image_size=16, width=4, stages=(1, 2)), text, 8)
    rates = names_and_rates(config, 0.5)
    assert np.all(rates["image/stem/kernel"] == 0.25) and np.all(rates["image/fc/kernel"] == 1)
    assert np.all(rates["image/stage0_block0/conv1/kernel"] == 0.5)
    assert np.all(rates["image/stage1_block1/conv1/kernel"] == 1)
    for name in ("text/embed/embedding", "text/norm/scale"):
        assert np.all(rates[name] == 0.25)
    np.testing.assert_array_equal(rates["text/blocks/mlp1/kernel"][:, 0, 0], [0.5, 1])
