"""One training step against AdamW written in NumPy, on one device and sharded."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_model import CONFIG, copied, random_batch, random_params, tiny_config

from exif_jax.models import dual_encoder
from exif_jax.training import sharding, train_state
from exif_jax.training.config import OptimizerConfig
from exif_jax.training.losses import image_infonce, infonce
from exif_jax.training.optimizer import learning_rate, make_optimizer
from exif_jax.training.step_config import StepConfig
from exif_jax.training.train_state import TrainState

# eps is large so that gradients that are zero but for rounding stay near zero.
OPTIM = OptimizerConfig(
    lr=1e-2,
    end_lr=1e-4,
    warmup_steps=1,
    b1=0.9,
    b2=0.98,
    eps=1e-3,
    weight_decay=0.1,
    clip_norm=0.5,
)
STEPS = 3
DEVICES = jax.device_count()
IMAGE_WEIGHT = 0.5
TX = make_optimizer(OPTIM, 100)
STEP_CONFIG = StepConfig(CONFIG, TX, image_weight=IMAGE_WEIGHT)


def state_of(params) -> TrainState:
    return train_state.state_from_params(STEP_CONFIG, copied(params))


# Donated: every test gives it a state of its own.
step = jax.jit(functools.partial(train_state.train_step, STEP_CONFIG), donate_argnums=0)


def batches(steps=STEPS):
    return [random_batch(seed=k, rows=8, patches=2) for k in range(steps)]


@pytest.fixture(scope="module")
def after_three_steps():
    """The state after STEPS steps on one device, and the metrics of each step."""
    state, rows = state_of(random_params()), []
    for batch in batches():
        state, metrics = step(state, batch)
        rows.append(jax.device_get(metrics))
    return jax.device_get(state), rows


def numpy_adamw(params, grads_of, steps):
    """Clipping, AdamW and the schedule by their definitions, in float64."""
    path_leaves, treedef = jax.tree_util.tree_flatten_with_path(params)
    names = [path[-1].key for path, _ in path_leaves]
    x = [np.array(leaf, np.float64) for _, leaf in path_leaves]
    m, v = [np.zeros_like(a) for a in x], [np.zeros_like(a) for a in x]
    norms = []
    for k in range(steps):
        tree = jax.tree.unflatten(treedef, [np.asarray(a, np.float32) for a in x])
        g = [np.array(a, np.float64) for a in jax.tree.leaves(grads_of(tree, k))]
        norms.append(math.sqrt(sum((a**2).sum() for a in g)))
        g = [a * min(1, OPTIM.clip_norm / norms[-1]) for a in g]
        lr = float(learning_rate(OPTIM, 100)(k))
        for i, name in enumerate(names):
            m[i] = OPTIM.b1 * m[i] + (1 - OPTIM.b1) * g[i]
            v[i] = OPTIM.b2 * v[i] + (1 - OPTIM.b2) * g[i] ** 2
            m_hat, v_hat = m[i] / (1 - OPTIM.b1 ** (k + 1)), v[i] / (1 - OPTIM.b2 ** (k + 1))
            decay = OPTIM.weight_decay if name in ("kernel", "embedding") else 0
            x[i] = x[i] - lr * (m_hat / (np.sqrt(v_hat) + OPTIM.eps) + decay * x[i])
            if name in ("log_scale", "log_image_scale"):
                x[i] = np.clip(x[i], 0, math.log(100))
    return jax.tree.unflatten(treedef, x), norms


def assert_close(a, b):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5), a, b)


def test_three_steps_equal_numpy(after_three_steps):
    state, rows = after_three_steps

    @jax.jit
    def value_and_grad(params, batch):
        def loss(params):
            z_img = dual_encoder.embed_images(CONFIG, params, batch["image"])
            texts = batch["tokens"], batch["token_mask"]
            z_txt = dual_encoder.embed_texts(CONFIG, params, *texts)
            scale = jnp.exp(params["log_scale"])
            image_scale = jnp.exp(params["log_image_scale"])
            text_loss = infonce(z_img, z_txt, scale, batch["text_id"])[0]
            image_loss = image_infonce(z_img, image_scale, batch["text_id"])
            nats = text_loss + IMAGE_WEIGHT * image_loss
            row = {"loss": nats, "text_loss": text_loss, "image_loss": image_loss}
            return nats, row | {"scale": scale, "image_scale": image_scale}

        return jax.value_and_grad(loss, has_aux=True)(params)

    expected_rows = []

    def gradient(params, k):
        (_, row), grads = value_and_grad(params, batches()[k])
        expected_rows.append(row)
        return grads

    expected, norms = numpy_adamw(random_params(), gradient, STEPS)
    assert_close(state.params, expected)
    moved = np.abs(
        state.params["image"]["embed"]["kernel"] - random_params()["image"]["embed"]["kernel"]
    )
    assert moved.max() > 1e-3
    # The metrics are of the state before the step.
    counted = {"skipped", "skipped_in_row", "param_norm"}
    assert set(rows[0]) == {*expected_rows[0], "accuracy", "grad_norm", *counted}
    for row, expected_row, norm in zip(rows, expected_rows, norms, strict=True):
        for name, value in (expected_row | {"grad_norm": norm}).items():
            np.testing.assert_allclose(row[name], value, rtol=1e-4, atol=1e-6)
    assert state.step == STEPS and state.step.dtype == np.int32


@pytest.mark.parametrize("fsdp", [2])
def test_a_sharded_step_equals_one_device(after_three_steps, fsdp, monkeypatch):
    if jax.device_count() % fsdp:
        pytest.skip(f"needs a multiple of {fsdp} devices, there are {jax.device_count()}")
    monkeypatch.setattr(sharding, "MIN_SHARDED_SIZE", 256)
    mesh = sharding.make_mesh(-1, fsdp)
    state = state_of(random_params())
    shardings = sharding.state_shardings(mesh, state)
    state = jax.device_put(state, shardings)
    kernel = state.params["image"]["embed"]["kernel"]
    assert kernel.addressable_shards[0].data.size == kernel.size // fsdp
    sharded_step = jax.jit(
        functools.partial(train_state.train_step, STEP_CONFIG),
        in_shardings=(shardings, sharding.batch_sharding(mesh)),
        out_shardings=(shardings, sharding.replicated(mesh)),
        donate_argnums=0,
    )
    expected, rows = after_three_steps
    for batch, row in zip(batches(), rows, strict=True):
        state, metrics = sharded_step(state, sharding.to_device(mesh, batch))
        assert_close(jax.device_get(metrics), row)
    assert_close(jax.device_get(state.params), expected.params)
    assert state.step == STEPS


@pytest.mark.parametrize("name", ["log_scale", "log_image_scale"])
@pytest.mark.parametrize(("start", "end"), [(-1.0, 0.0), (9.0, math.log(100))])
def test_the_temperatures_stay_within_their_bounds(name, start, end):
    params = random_params()
    params[name] = np.float32(start)
    state, _ = step(state_of(params), batches()[0])
    assert float(state.params[name]) == pytest.approx(end)


def test_without_a_weight_there_is_no_loss_between_patches():
    step_config = STEP_CONFIG._replace(image_weight=0.0)
    plain = jax.jit(functools.partial(train_state.train_step, step_config))
    state, metrics = plain(state_of(random_params()), batches()[0])
    assert "image_loss" not in metrics and metrics["loss"] == metrics["text_loss"]
    assert state.params["log_image_scale"] == random_params()["log_image_scale"]


def test_the_sigmoid_loss_takes_the_place_of_infonce():
    config = tiny_config(init_bias=-3.0)
    step_config = STEP_CONFIG._replace(model=config, loss="sigmoid", image_weight=0.0)
    state = train_state.state_from_params(step_config, random_params(config))
    z_img, z_txt, batch = *np.eye(6)[[[0, 1, 2, 3], [0, 2, 1, 3]]], random_batch(seed=0, rows=4)
    scales = {"scale": jnp.float32(5.0), "bias": jnp.float32(-3.0)}
    loss, _ = train_state.loss_and_metrics(
        step_config, scales, jnp.array(z_img), jnp.array(z_txt), batch
    )
    # Zhai et al. 2023: log-sigmoid over all pairs of different photos and texts, a row's sum.
    signs = 2 * np.eye(4) - 1
    expected = np.log1p(np.exp(-signs * (5 * z_img @ z_txt.T - 3))).sum() / 4
    assert float(loss) == pytest.approx(expected, rel=1e-5) and "bias" in str(state.params.keys())


def test_a_step_reuses_the_memory_of_the_state():
    state = state_of(random_params())
    old = jax.tree.leaves(state.params)
    new, _ = step(state, batches()[0])
    assert all(x.is_deleted() for x in old)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(new.params))


def test_a_small_batch_can_be_learned_by_heart():
    state, batch, losses = state_of(random_params()), batches()[0], []
    for _ in range(80):
        state, metrics = step(state, batch)
        losses.append(float(metrics["text_loss"]))
    assert losses[20] < losses[0] - 0.5
    assert losses[-1] < 0.5 and float(metrics["accuracy"]) > 0.9


def test_a_fresh_state_begins_at_step_zero():
    shapes = jax.eval_shape(
        functools.partial(train_state.init_state, STEP_CONFIG), jax.random.key(0)
    )
    assert shapes.step.dtype == np.int32 and shapes.step.shape == ()
    assert {x.dtype for x in jax.tree.leaves(shapes.params)} == {np.dtype("float32")}
    expected = jax.eval_shape(TX.init, random_params())
    assert jax.tree.structure(shapes.opt_state) == jax.tree.structure(expected)


def test_a_step_that_is_no_number_changes_nothing_and_is_counted(after_three_steps):
    good = after_three_steps[0].params
    spoilt = copied(good)
    spoilt["log_scale"] = jnp.asarray(np.nan, jnp.float32)
    state, metrics = step(state_of(spoilt), batches()[0])
    assert not np.isfinite(metrics["loss"])
    jax.tree.map(np.testing.assert_array_equal, state.params, spoilt)
    jax.tree.map(np.testing.assert_array_equal, state.opt_state, TX.init(spoilt))
    assert (int(state.step), int(state.skipped), int(state.skipped_in_row)) == (1, 1, 1)
    state, metrics = step(state, batches()[1])
    assert (int(metrics["skipped"]), int(metrics["skipped_in_row"])) == (2, 2)
    healed = state._replace(params=copied(good))
    state, metrics = step(healed, batches()[2])
    assert np.isfinite(metrics["loss"])
    assert (int(state.step), int(state.skipped), int(state.skipped_in_row)) == (3, 2, 0)


# --- the batch in pieces --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("micro_batch", "loss", "chunk"), [(8, "infonce", 0), (16, "infonce", 3), (8, "sigmoid", 3)]
)
def test_a_cached_gradient_is_that_of_the_whole_batch(micro_batch, loss, chunk):
    """Sums in another order only: float32 rounding, of embeddings near length 1."""
    devices = math.gcd(jax.device_count(), 4)
    mesh = jax.sharding.Mesh(
        np.array(jax.devices()[:devices]).reshape(devices, 1), ("data", "fsdp")
    )
    config = tiny_config(init_bias=-3.0)
    step_config = STEP_CONFIG._replace(model=config, mesh=mesh, loss=loss, loss_chunk=chunk)
    params, batch = random_params(config), random_batch(seed=3, rows=16, patches=2)
    rows = sharding.to_device(mesh, batch)

    def run(function, step_config):
        return jax.jit(lambda p, b: function(step_config, p, b)[:3])(params, rows)

    expected = run(train_state.full_batch_gradient, step_config)
    cached = run(train_state.grad_cache_gradient, step_config._replace(micro_batch=micro_batch))
    assert set(cached[1]) == set(expected[1])
    assert_close(cached[:2], expected[:2])
    norm = max(float(np.abs(g).max()) for g in jax.tree.leaves(expected[2]))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6 * norm),
        *(cached[2], expected[2]),
    )


def test_pieces_hold_each_devices_own_rows_and_are_joined_again():
    mesh = sharding.make_mesh(-1, 1)
    x = sharding.to_device(mesh, {"x": np.arange(8 * DEVICES)})["x"]
    pieces = jax.jit(lambda x: train_state.split_rows(x, 4, mesh))(x)
    assert pieces.shape == (4, 2 * DEVICES)
    for before, after in zip(x.addressable_shards, pieces.addressable_shards, strict=True):
        assert before.device == after.device
        np.testing.assert_array_equal(np.ravel(after.data), np.asarray(before.data))
    again = jax.jit(lambda x: train_state.join_rows(x, mesh))(pieces)
    np.testing.assert_array_equal(again, np.arange(8 * DEVICES))
    text = jax.jit(lambda x: train_state.split_rows(x, 4, mesh)).lower(x).compile().as_text()
    assert not any(f" {kind}" in text for kind in ("all-to-all(", "all-gather(", "collective-perm"))


# --- what moves, and what is averaged -------------------------------------------------------------


def test_the_average_follows_its_definition():
    step_config = STEP_CONFIG._replace(ema=0.9)
    averaging = jax.jit(functools.partial(train_state.train_step, step_config))
    state = train_state.state_from_params(step_config, copied(random_params()))
    expected = jax.tree.map(np.float64, random_params())
    for k, batch in enumerate(batches()):
        state, _ = averaging(state, batch)
        stays = min(0.9, (1 + k) / (10 + k))
        expected = jax.tree.map(
            lambda a, x, stays=stays: stays * a + (1 - stays) * np.asarray(x, np.float64),
            *(expected, state.params),
        )
    assert_close(state.ema, expected)
    assert float(train_state.update_ema(0.9, jnp.int32(10**6), {"x": 1.0}, {"x": 0.0})["x"]) == (
        pytest.approx(0.9)
    )
    assert train_state.state_from_params(STEP_CONFIG, random_params()).ema == {}


def test_what_is_frozen_does_not_move_and_the_rest_does():
    frozen = ("text", "image/stack", "log_scale")
    optim = dataclasses.replace(OPTIM, frozen=frozen)
    step_config = STEP_CONFIG._replace(tx=make_optimizer(optim, 100), frozen=frozen)
    before = random_params()
    state, _ = jax.jit(functools.partial(train_state.train_step, step_config))(
        train_state.state_from_params(step_config, copied(before)), batches()[0]
    )
    state, _ = jax.jit(functools.partial(train_state.train_step, step_config))(state, batches()[1])
    for (path, x), y in zip(
        jax.tree_util.tree_leaves_with_path(before), jax.tree.leaves(state.params), strict=True
    ):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        still = name == "log_scale" or name.startswith(("text/", "image/stack/"))
        assert (np.abs(x - y).max() == 0) == still, name
