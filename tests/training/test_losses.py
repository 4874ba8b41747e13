"""InfoNCE against NumPy in float64, and the same value however many devices hold the batch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType

from exif_jax.training.losses import (
    chunked_losses,
    image_infonce,
    infonce,
    sigmoid,
)
from exif_jax.training.sharding import batch_sharding, make_mesh, replicated

B, D = 16, 6
SCALE = np.float32(7.0)
# Patches to a text, and the texts' ids: all different, and with texts that say the same.
LAYOUTS = [
    (1, np.arange(16)),
    (2, np.arange(8)),
    (2, np.array([5, 1, 5, 2, 3, 2**32 - 1, 7, 5])),
    (4, np.array([0, 1, 2, 1])),
]
layouts = pytest.mark.parametrize(("patches", "ids"), LAYOUTS)


def unit_rows(seed: int, rows: int = B) -> np.ndarray:
    x = np.random.default_rng(seed).normal(size=(rows, D))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def sample(ids):
    return unit_rows(1), unit_rows(2, len(ids)), SCALE, ids.astype(np.uint32)


def choice(logits, positive):
    """Nats of the rows' choices and their gradient in the logits, row by row."""
    nats, gradient = [], np.zeros_like(logits)
    for row, (x, right) in enumerate(zip(logits, positive, strict=True)):
        if right.any():
            p = np.exp(x - x.max()) / np.exp(x - x.max()).sum()
            nats.append(-np.log(p[right]).mean())
            gradient[row] = p - right / right.sum()
    return np.mean(nats), gradient / len(nats)


def oracle(z_img, z_txt, scale, ids):
    """Loss, accuracy and the gradients in z_img, z_txt and scale, by hand in float64."""
    z_img, z_txt = z_img.astype(np.float64), z_txt.astype(np.float64)
    positive = np.repeat(ids, len(z_img) // len(ids))[:, None] == ids[None]
    cosines = z_img @ z_txt.T
    down, d_down = choice(scale * cosines, positive)
    across, d_across = choice(scale * cosines.T, positive.T)
    d = (d_down + d_across.T) / 2
    picked = cosines.argmax(axis=1)
    accuracy = np.mean([positive[i, picked[i]] for i in range(len(z_img))])
    return (
        (down + across) / 2,
        accuracy,
        (scale * d @ z_txt, scale * d.T @ z_img, (d * cosines).sum()),
    )


def image_oracle(z_img, scale, ids):
    """Loss and the gradients in z_img and scale; a patch is no choice of its own."""
    z = z_img.astype(np.float64)
    label = np.repeat(ids, len(z) // len(ids))
    others = ~np.eye(len(z), dtype=bool)
    positive = (label[:, None] == label[None]) & others
    cosines = z @ z.T
    loss, d = choice(np.where(others, scale * cosines, -1e30), positive)
    return loss, (scale * (d @ z + d.T @ z), (d * cosines).sum())


text_loss = jax.jit(jax.value_and_grad(infonce, argnums=(0, 1, 2), has_aux=True))
patch_loss = jax.jit(jax.value_and_grad(image_infonce, argnums=(0, 1)))


def assert_close(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


@layouts
def test_value_and_gradient_equal_the_oracle(patches, ids):
    inputs = sample(ids)
    (loss, accuracy), gradients = text_loss(*inputs)
    expected_loss, expected_accuracy, expected_gradients = oracle(*inputs)
    assert loss.dtype == accuracy.dtype == jnp.float32 and loss.shape == accuracy.shape == ()
    assert float(loss) == pytest.approx(expected_loss, rel=1e-5)
    assert float(accuracy) == pytest.approx(expected_accuracy)
    assert_close(gradients, expected_gradients)


@layouts
def test_the_loss_among_patches_equals_the_oracle(patches, ids):
    z_img, _, scale, text_id = sample(ids)
    loss, gradients = patch_loss(z_img, scale, text_id)
    if patches == 1 and len(set(ids)) == len(ids):
        assert float(loss) == 0 and not np.any(gradients[0])  # nobody has a partner
        return
    expected_loss, expected_gradients = image_oracle(z_img, scale, text_id)
    assert float(loss) == pytest.approx(expected_loss, rel=1e-5)
    assert_close(gradients, expected_gradients)


def test_texts_that_say_the_same_attract_each_others_patches():
    ids = LAYOUTS[2][1]  # texts 0 and 2 say the same
    z_img, z_txt, scale, _ = sample(ids)

    def pull(ids):  # of text 0's patches on text 2; descent goes against the gradient
        gradient = text_loss(z_img, z_txt, scale, ids.astype(np.uint32))[1][1]
        return -float(gradient[2] @ z_img[:2].sum(axis=0))

    assert pull(ids) > pull(np.arange(8)) + 0.1


def test_no_information_costs_log_b():
    same = np.tile(unit_rows(3, rows=1), (B, 1))
    (loss, accuracy), gradients = text_loss(same, same, SCALE, np.arange(B, dtype=np.uint32))
    assert float(loss) == pytest.approx(np.log(B), rel=1e-6)
    assert float(accuracy) == pytest.approx(1 / B)  # a collapsed model does not look perfect
    assert all(np.isfinite(g).all() for g in gradients)
    loss, _ = patch_loss(same, SCALE, np.arange(B // 2, dtype=np.uint32))
    assert float(loss) == pytest.approx(np.log(B - 1), rel=1e-6)


def test_perfect_pairs_cost_nothing():
    eye, ids = np.eye(B, dtype=np.float32), np.arange(B, dtype=np.uint32)
    loss, accuracy = infonce(eye, eye, np.float32(100), ids)
    assert float(loss) < 1e-6 and float(accuracy) == 1
    pairs = np.repeat(eye[:8], 2, axis=0)
    assert float(image_infonce(pairs, np.float32(100), ids[:8])) < 1e-6


def test_a_single_patch_leaves_nothing_to_choose_and_no_nan():
    one, text_id = unit_rows(5, rows=1), np.zeros(1, np.uint32)
    (loss, accuracy), gradients = text_loss(one, one, SCALE, text_id)
    assert float(loss) == 0 and float(accuracy) == 1 and not any(np.any(g) for g in gradients)
    loss, gradients = patch_loss(one, SCALE, text_id)
    assert float(loss) == 0 and not any(np.any(g) for g in gradients)


def test_the_order_of_the_texts_does_not_matter():
    patches, ids = LAYOUTS[2]
    z_img, z_txt, scale, text_id = sample(ids)
    p = np.random.default_rng(4).permutation(len(ids))
    rows = (p[:, None] * patches + np.arange(patches)).ravel()
    (a, right_a), (g, _, _) = text_loss(z_img, z_txt, scale, text_id)
    (b, right_b), (h, _, _) = text_loss(z_img[rows], z_txt[p], scale, text_id[p])
    assert float(a) == pytest.approx(float(b), rel=1e-6) and float(right_a) == float(right_b)
    np.testing.assert_allclose(np.asarray(g)[rows], h, atol=1e-6)


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
    inputs = sample(LAYOUTS[2][1])
    sharded = jax.tree.map(jax.device_put, inputs, (rows, rows, whole, rows))
    assert len(sharded[0].sharding.device_set) == devices

    def both(z_img, z_txt, scale, text_id):
        return infonce(z_img, z_txt, scale, text_id)[0] + image_infonce(z_img, scale, text_id)

    step = jax.jit(
        jax.value_and_grad(both, argnums=(0, 1, 2)),
        in_shardings=(rows, rows, whole, rows),
        out_shardings=(whole, (rows, rows, whole)),
    )
    loss, gradients = step(*sharded)
    text, _, (d_img, d_txt, d_scale) = oracle(*inputs)
    among, (d_among, d_scale_among) = image_oracle(inputs[0], *inputs[2:])
    assert float(loss) == pytest.approx(text + among, rel=1e-5)
    assert_close(gradients, (d_img + d_among, d_txt, d_scale + d_scale_among))


# --- every pair by itself -----------------------------------------------------------------------


@layouts
@pytest.mark.parametrize("masked", [False, True])
def test_the_sigmoid_loss_equals_a_loop_over_pairs(patches, ids, masked):
    z_img, z_txt, scale, text_id = sample(ids)
    photos = np.arange(len(ids), dtype=np.uint32) // 2 if masked else None
    bias, total = -3.0, 0.0
    for i in range(B):
        for j in range(len(ids)):
            own = ids[i // patches] == ids[j]
            if masked and not own and photos[i // patches] == photos[j]:
                continue
            logit = float(scale) * z_img[i].astype(np.float64) @ z_txt[j] + bias
            total += np.logaddexp(0, -logit if own else logit)
    loss, accuracy = jax.jit(sigmoid)(z_img, z_txt, scale, bias, text_id, photos)
    assert float(loss) == pytest.approx(total / B, rel=1e-5)
    if not masked:
        assert float(accuracy) == pytest.approx(float(infonce(*sample(ids))[1]))


def test_other_texts_of_the_same_photo_can_be_left_out():
    """Moving such a text changes nothing for the photo's patches, and does where it counts."""
    z_img, z_txt, scale, text_id = sample(np.arange(16))
    photos = np.arange(16, dtype=np.uint32) // 2

    def own_nats(z_txt, photos):
        """What patch 0 alone contributes across, by the gradient in its logits' temperature."""
        gradient = jax.grad(lambda z: infonce(z, z_txt, scale, text_id, photos)[0])(z_img)
        return np.asarray(gradient[0])

    moved = z_txt.copy()
    moved[1] = -moved[1]  # of photo 0, as text 0 is
    np.testing.assert_allclose(own_nats(z_txt, photos), own_nats(moved, photos), atol=1e-7)
    assert np.abs(own_nats(z_txt, None) - own_nats(moved, None)).max() > 1e-3
    among = image_infonce(z_img, scale, text_id // 4, photos // 2)
    expected, _ = image_oracle(z_img, scale, np.arange(16) // 4)
    assert float(among) == pytest.approx(expected, rel=1e-5)  # nothing to leave out
    assert float(image_infonce(z_img, scale, text_id // 2, photos // 4)) < float(
        image_infonce(z_img, scale, text_id // 2)
    )


# --- in chunks ------------------------------------------------------------------------------------


@pytest.mark.parametrize("fsdp", [1, 2])
@pytest.mark.parametrize("chunk", [1, 5, 16, 1000])
@pytest.mark.parametrize("patches", [1, 2])
@pytest.mark.parametrize("masked", [False, True])
def test_chunks_give_the_value_and_gradient_of_the_whole_in_float64(fsdp, chunk, patches, masked):
    if fsdp > jax.device_count():
        pytest.skip(f"needs {fsdp} devices, there are {jax.device_count()}")
    with jax.enable_x64(True):
        rng = np.random.default_rng(chunk)
        texts = 16
        z_img, z_txt = (rng.normal(size=(n, D)) for n in (texts * patches, texts))
        z_img /= np.linalg.norm(z_img, axis=1, keepdims=True)
        z_txt /= np.linalg.norm(z_txt, axis=1, keepdims=True)
        ids = rng.integers(0, 12, texts).astype(np.uint32)
        photos = np.repeat(np.arange(8), 2).astype(np.uint32) if masked else None
        mesh = make_mesh(-1, fsdp)

        def whole(z_img, z_txt, scale, bias):
            loss, accuracy = infonce(z_img, z_txt, scale, ids, photos)
            pairs, pair_accuracy = sigmoid(z_img, z_txt, scale, bias, ids, photos)
            among = image_infonce(z_img, scale, ids, photos)
            return loss + 2 * pairs + 3 * among, (accuracy, pair_accuracy)

        def cut(z_img, z_txt, scale, bias):
            scales = {"scale": scale, "image_scale": scale, "bias": bias}
            inputs = z_img, z_txt, scales, ids, photos
            loss, accuracy, among = chunked_losses(*inputs, mesh=mesh, chunk=chunk)
            pairs, pair_accuracy, none = chunked_losses(
                *inputs, mesh=mesh, chunk=chunk, loss="sigmoid", with_image_loss=False
            )
            return loss + 2 * pairs + 3 * among + none, (accuracy, pair_accuracy)

        results = []
        for function in (whole, cut):
            grad = jax.jit(jax.value_and_grad(function, (0, 1, 2, 3), has_aux=True))
            results.append(grad(z_img, z_txt, 7.0, -3.0))
        for x, y in zip(*map(jax.tree.leaves, results), strict=True):
            assert x.dtype == np.float64 or x.shape == ()
            np.testing.assert_allclose(x, y, rtol=1e-6, atol=1e-12)


def test_in_chunks_no_device_holds_all_its_logits():
    """Neither forwards nor backwards is there an array of all columns for a device's rows."""
    texts = 32 * jax.device_count()
    mesh = make_mesh(-1, 1)
    rows = jax.ShapeDtypeStruct((texts, D), np.float32, sharding=batch_sharding(mesh))
    ids = jax.ShapeDtypeStruct((texts,), np.uint32, sharding=batch_sharding(mesh))

    def compiled(loss) -> str:
        grad = jax.jit(jax.grad(lambda a, b, ids: loss(a, b, np.float32(7.0), ids)[0], (0, 1)))
        return grad.lower(rows, rows, ids).compile().as_text()

    whole = compiled(infonce)
    chunked = compiled(
        lambda z_img, z_txt, scale, ids: chunked_losses(
            *(z_img, z_txt, {"scale": scale, "image_scale": scale}, ids, None, mesh, 8)
        )
    )
    shapes = [f"f32[32,{texts}]", f"f32[{texts},32]"]
    assert any(shape in whole for shape in shapes)
    assert not any(shape in chunked for shape in shapes)
    assert "f32[32,8]" in chunked
