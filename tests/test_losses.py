"""InfoNCE against NumPy in float64, and the same value however many devices hold the batch."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType

from exif_jax.losses import infonce
from exif_jax.sharding import batch_sharding, replicated

B, D = 16, 6
SCALE = 7.0


def unit_rows(seed: int, rows: int = B) -> np.ndarray:
    x = np.random.default_rng(seed).normal(size=(rows, D))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def sample(photos=None):
    photo_id = np.arange(B) if photos is None else np.asarray(photos)
    return unit_rows(1), unit_rows(2), np.float32(SCALE), photo_id.astype(np.uint32)


def softmax(x, axis):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def oracle(z_img, z_txt, scale, photo_id):
    """Loss, accuracy and the gradients in z_img, z_txt and scale, by hand in float64."""
    z_img, z_txt = z_img.astype(np.float64), z_txt.astype(np.float64)
    cosines = z_img @ z_txt.T
    allowed = photo_id[:, None] != photo_id[None, :]
    np.fill_diagonal(allowed, True)
    logits = np.where(allowed, scale * cosines, -1e30)
    rows, columns = softmax(logits, 1), softmax(logits, 0)
    loss = -(np.log(np.diag(rows)).mean() + np.log(np.diag(columns)).mean()) / 2
    accuracy = np.mean([logits[i].argmax() == i for i in range(len(logits))])
    dlogits = (rows + columns - 2 * np.eye(len(logits))) / (2 * len(logits))
    gradients = scale * dlogits @ z_txt, scale * dlogits.T @ z_img, (dlogits * cosines).sum()
    return loss, accuracy, gradients


value_and_grad = jax.jit(jax.value_and_grad(infonce, argnums=(0, 1, 2), has_aux=True))

SAME_PHOTOS = [0, 0, 0, 3, 4, 5, 4, 7, 8, 9, 10, 11, 12, 13, 14, 2**32 - 1]


@pytest.mark.parametrize("photos", [None, SAME_PHOTOS])
def test_value_and_gradient_equal_the_oracle(photos):
    inputs = sample(photos)
    (loss, accuracy), gradients = value_and_grad(*inputs)
    expected_loss, expected_accuracy, expected_gradients = oracle(*inputs)
    assert loss.dtype == accuracy.dtype == jnp.float32 and loss.shape == accuracy.shape == ()
    assert float(loss) == pytest.approx(expected_loss, rel=1e-5)
    assert float(accuracy) == pytest.approx(expected_accuracy)
    for ours, theirs in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


def test_rows_of_the_same_photo_do_not_repel_each_other():
    """The text of row 1 is row 0's photo: turning it must not change what row 0 scores."""
    z_img, z_txt, scale, photo_id = sample(SAME_PHOTOS)
    gradient = value_and_grad(z_img, z_txt, scale, photo_id)[1][1]
    masked = oracle(z_img, z_txt, scale, photo_id)[2][1]
    unmasked = oracle(z_img, z_txt, scale, np.arange(B))[2][1]
    np.testing.assert_allclose(gradient[:3], masked[:3], rtol=1e-4, atol=1e-6)
    assert np.abs(gradient[:3] - unmasked[:3]).max() > 1e-3


def test_no_information_costs_log_b():
    same = np.tile(unit_rows(3, rows=1), (B, 1))
    (loss, accuracy), gradients = value_and_grad(same, same, *sample()[2:])
    assert float(loss) == pytest.approx(np.log(B), rel=1e-6)
    assert float(accuracy) == pytest.approx(1 / B)  # a collapsed model does not look perfect
    assert all(np.isfinite(g).all() for g in gradients)


def test_perfect_pairs_cost_nothing():
    eye = np.eye(B, dtype=np.float32)
    loss, accuracy = infonce(eye, eye, np.float32(100), np.arange(B, dtype=np.uint32))
    assert float(loss) < 1e-6 and float(accuracy) == 1


def test_only_one_photo_leaves_nothing_to_choose_and_no_nan():
    (loss, accuracy), gradients = value_and_grad(*sample(np.zeros(B)))
    assert float(loss) == 0 and float(accuracy) == 1
    assert all(not np.any(g) for g in gradients)


def test_the_order_of_the_rows_does_not_matter():
    z_img, z_txt, scale, photo_id = sample(SAME_PHOTOS)
    p = np.random.default_rng(4).permutation(B)
    (a, right_a), (g, _, _) = value_and_grad(z_img, z_txt, scale, photo_id)
    (b, right_b), (h, _, _) = value_and_grad(z_img[p], z_txt[p], scale, photo_id[p])
    assert float(a) == pytest.approx(float(b), rel=1e-6) and float(right_a) == float(right_b)
    np.testing.assert_allclose(np.asarray(g)[p], h, atol=1e-6)


@pytest.mark.parametrize("devices", [1, 2, 4, 8])
def test_a_sharded_batch_gives_the_same(devices):
    if devices > jax.device_count():
        pytest.skip(f"needs {devices} devices, there are {jax.device_count()}")
    mesh = jax.make_mesh(
        (devices, 1),
        ("data", "fsdp"),
        axis_types=(AxisType.Auto, AxisType.Auto),
        devices=jax.devices()[:devices],
    )
    rows, whole = batch_sharding(mesh), replicated(mesh)
    inputs = sample(SAME_PHOTOS)
    sharded = jax.tree.map(jax.device_put, inputs, (rows, rows, whole, rows))
    assert len(sharded[0].sharding.device_set) == devices
    step = jax.jit(
        functools.partial(jax.value_and_grad(infonce, argnums=(0, 1, 2), has_aux=True)),
        in_shardings=(rows, rows, whole, rows),
        out_shardings=((whole, whole), (rows, rows, whole)),
    )
    (loss, accuracy), gradients = step(*sharded)
    expected_loss, expected_accuracy, expected_gradients = oracle(*inputs)
    assert float(loss) == pytest.approx(expected_loss, rel=1e-5)
    assert float(accuracy) == pytest.approx(expected_accuracy)
    for ours, theirs in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)
