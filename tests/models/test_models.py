"""The encoders against their definition, their first weights, and full sizes by shape only."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from flax import nnx
from tiny_model import (
    CONFIG,
    arguments,
    embed,
    embed_images,
    embedder,
    fresh_params,
    images_of,
    nnx_with,
    random_batch,
    random_params,
    relative_error,
    scipy_spectrum,
    texts_of,
    tiny_config,
)

from configs import vit_b, vit_s
from exif_jax.models import dual_encoder
from exif_jax.models.config import config_from_dict
from exif_jax.models.transformer import UNROLL_UP_TO, Block, Stack, attend, gelu
from exif_jax.models.vit import block_spectra, log_spectrum

# --- patches of any size -------------------------------------------------------------------------


def test_without_positions_any_patch_size_is_encoded_and_the_order_of_tokens_is_no_matter():
    config = tiny_config(image={"positions": "none", "pool": "mean_std"})
    params = random_params(config)
    assert "position" not in params["image"]
    side = config.image.token_size
    small = np.random.default_rng(1).integers(0, 256, (3, side, side, 3), np.uint8)
    one = embed_images(config, params, jnp.asarray(small))
    # A patch of the same token many times over is that token: mean and deviation do not change.
    for rows, columns in ((2, 2), (3, 3)):
        tiled = jnp.asarray(np.tile(small, (1, rows, columns, 1)))
        many = embed_images(config, params, tiled)
        np.testing.assert_allclose(many, one, atol=2e-5)
    patch = np.random.default_rng(2).integers(0, 256, (2, 2 * side, 2 * side, 3), np.uint8)
    turned = np.concatenate([patch[:, side:], patch[:, :side]], axis=1)
    a, b = (embed_images(config, params, jnp.asarray(x)) for x in (patch, turned))
    np.testing.assert_allclose(a, b, atol=2e-6)
    learned = tiny_config(image={"positions": "learned", "pool": "mean_std"})
    with_positions = random_params(learned)
    a, b = (embed_images(learned, with_positions, jnp.asarray(x)) for x in (patch, turned))
    assert np.abs(a - b).max() > 1e-3


# --- the text's mask ----------------------------------------------------------------------------


def test_padding_has_no_influence():
    params, batch = random_params(), random_batch(rows=6)
    noise = np.random.default_rng(3).integers(0, CONFIG.text.vocab_size, batch["tokens"].shape)
    other = batch | {"tokens": np.where(batch["token_mask"], batch["tokens"], noise)}
    other["tokens"] = other["tokens"].astype(np.int32)
    assert (other["tokens"] != batch["tokens"]).any()
    a, b = (embed(CONFIG, params, texts_of(x))[1] for x in (batch, other))
    np.testing.assert_array_equal(a, b)


def test_a_shorter_padding_gives_the_same_embedding():
    params, batch = random_params(), random_batch(rows=6)
    batch["token_mask"] = batch["token_mask"] & (np.arange(8) < 5)
    cut = batch | {name: batch[name][:, :5] for name in ("tokens", "token_mask")}
    long, short = (embed(CONFIG, params, texts_of(x))[1] for x in (batch, cut))
    np.testing.assert_allclose(long, short, atol=1e-6)


def test_an_empty_text_has_a_finite_embedding_and_gradient():
    params, batch = random_params(), random_batch(rows=4)
    batch["token_mask"][1] = False
    batch["tokens"][1] = 0

    def total(params):
        z = dual_encoder.embed_texts(CONFIG, params, batch["tokens"], batch["token_mask"])
        return z[:, 0].sum(), z

    (_, z), grads = jax.jit(jax.value_and_grad(total, has_aux=True))(params)
    np.testing.assert_allclose(np.linalg.norm(z, axis=1), 1, atol=1e-5)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(grads))


# --- the stack ----------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [2, UNROLL_UP_TO + 1])
def test_the_stack_equals_its_blocks_one_by_one(depth):
    dtype = jnp.dtype("float32")
    stack, params = nnx_with(lambda: Stack(depth, 16, 2, 24, False, dtype, nnx.Rngs(0)), seed=4)
    x = jax.random.normal(jax.random.key(5), (2, 6, 16))
    mask = jnp.arange(6)[None, :] < jnp.array([[6], [3]])
    graphdef, state = nnx.split(nnx.eval_shape(lambda: Block(16, 2, 24, dtype, nnx.Rngs(0))))
    block = jax.jit(lambda state, x: nnx.merge(graphdef, state)(x, mask))
    expected = x
    for n in range(depth):
        one = jax.tree.map(lambda a, n=n: a[n], params["blocks"])
        nnx.replace_by_pure_dict(state, one)
        expected = block(state, expected)
    graphdef_stack, state_stack = nnx.split(stack)
    out = jax.jit(lambda s: nnx.merge(graphdef_stack, s)(x, mask))(state_stack)
    np.testing.assert_allclose(out, stack.norm(expected), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("remat", ["dots", "all"])
def test_remat_changes_no_gradient(remat):
    x = jax.random.normal(jax.random.key(5), (2, 6, 16))

    def gradients(remat):
        make = lambda: Stack(1, 16, 2, 24, remat, jnp.dtype("float32"), nnx.Rngs(0))  # noqa: E731
        graphdef, state = nnx.split(nnx_with(make, seed=4)[0])
        gradient = jax.grad(lambda state: nnx.merge(graphdef, state)(x)[0].sum())
        regions = str(jax.make_jaxpr(gradient)(state)).count("remat")
        return nnx.to_pure_dict(jax.jit(gradient)(state)), regions

    (kept, of_gelu), (computed_again, regions) = gradients(""), gradients(remat)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), kept, computed_again
    )
    assert regions > of_gelu > 0


@pytest.mark.parametrize("tower", ["image", "text"])
def test_remat_is_a_setting_of_each_tower(tower):
    config = tiny_config(**{tower: {"remat": "dots"}})
    params, batch = random_params(), random_batch(rows=2)
    inputs = images_of(batch) if tower == "image" else texts_of(batch)
    regions = []
    for setting in (config, CONFIG):
        traced = jax.make_jaxpr(lambda p, c=setting: embedder(c)(p, *arguments(inputs)))
        regions.append(str(traced(params)).count("remat"))
    assert regions[0] > regions[1]


# --- numbers ------------------------------------------------------------------------------------


def test_bfloat16_keeps_float32_parameters_gradients_and_unit_rows():
    params, batch = random_params(), random_batch(rows=6)
    full, half = embed(CONFIG, params, batch), embed(CONFIG, params, batch, dtype="bfloat16")
    for z32, z16 in zip(full, half, strict=True):
        assert z16.dtype == z32.dtype == jnp.float32
        np.testing.assert_allclose(np.linalg.norm(z16, axis=1), 1, atol=1e-5)
        # bfloat16 has 8 bits: two layers away, about a hundredth; and not the float32 path.
        assert 1e-5 < relative_error(z16, z32) < 0.05
    value = lambda p: dual_encoder.embed_images(CONFIG, p, batch["image"], "bfloat16")[0, 0]  # noqa: E731
    grads = jax.eval_shape(jax.grad(value), params)
    assert {x.dtype for x in jax.tree.leaves(grads)} == {np.dtype("float32")}


@pytest.mark.parametrize("features", ["texture", "spectrum"])
def test_a_flat_patch_has_finite_gradients(features):
    config = tiny_config(image={"pool": "mean_std", "features": features})
    params = random_params(config)
    params["image"]["position"][:] = 0  # all tokens agree to the last bit
    value = lambda p, images: dual_encoder.embed_images(config, p, images)[:, 0].sum()  # noqa: E731
    gradient = jax.jit(jax.grad(value))
    for colour in (0, 128, 255):
        grads = gradient(params, np.full((2, 16, 16, 3), colour, np.uint8))
        assert all(np.isfinite(g).all() for g in jax.tree.leaves(grads))


def test_the_spectrum_equals_scipy():
    images = random_batch(rows=3)["image"]
    images[0] //= 16  # a flat patch, where log(1 + x) is steep
    spectrum = log_spectrum(jnp.asarray(images, jnp.float32) / 127.5 - 1)
    np.testing.assert_allclose(spectrum, scipy_spectrum(images), atol=2e-4)


def test_the_spectra_of_blocks_are_those_of_the_picture():
    image = np.random.default_rng(8).integers(0, 256, (2, 16, 24, 3), dtype=np.uint8)
    spectra = block_spectra(jnp.asarray(image, jnp.float32) / 127.5 - 1)
    assert spectra.shape == (12, 192)
    expected = scipy_spectrum(image)
    for number, (b, i, j) in enumerate(np.ndindex(2, 2, 3)):
        block = expected[b, 8 * i : 8 * i + 8, 8 * j : 8 * j + 8]
        np.testing.assert_allclose(spectra[number], block.ravel(), atol=2e-4)


def test_gelu_and_its_gradient_equal_scipy():
    x = np.concatenate([np.linspace(-12, 12, 2001), [0.0]])
    cumulative, density = scipy.special.ndtr(x), np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)
    value, slope = jax.vmap(jax.value_and_grad(gelu))(jnp.asarray(x, jnp.float32))
    np.testing.assert_allclose(value, x * cumulative, atol=2e-6)
    np.testing.assert_allclose(slope, cumulative + x * density, atol=2e-6)
    half = jnp.asarray(x, jnp.bfloat16)
    exact = np.asarray(half, np.float64) * scipy.special.ndtr(np.asarray(half, np.float64))
    assert gelu(half).dtype == jnp.bfloat16
    np.testing.assert_allclose(np.asarray(gelu(half), np.float64), exact, rtol=2**-8, atol=1e-6)


@pytest.mark.parametrize("features", ["texture", "spectrum"])
def test_brightness_and_hue_do_not_reach_an_encoder_that_removes_them(features):
    config = tiny_config(image={"features": features})
    params, batch = random_params(config), images_of(random_batch(config, rows=6))
    batch["image"] //= 2
    shifted = {"image": batch["image"] + np.array([[[90, 5, 60]]], np.uint8)}
    a, b = (embed(config, params, x)[0] for x in (batch, shifted))
    np.testing.assert_allclose(a, b, atol=1e-5)
    a, b = (embed(CONFIG, params, x)[0] for x in (batch, shifted))
    assert np.abs(a - b).max() > 1e-2


def test_a_zero_row_stays_zero():
    np.testing.assert_array_equal(dual_encoder.unit(jnp.zeros((2, 3))), np.zeros((2, 3)))


def test_either_input_may_be_none():
    batch, params = random_batch(rows=6), random_params()
    z_img, z_txt = embed(CONFIG, params, images_of(batch))
    assert z_img.shape == (6, CONFIG.embed_dim) and z_txt is None
    z_img, z_txt = embed(CONFIG, params, texts_of(batch))
    assert z_txt.shape == (6, CONFIG.embed_dim) and z_img is None


# --- initial parameters -------------------------------------------------------------------------


WIDTH = {"width": 128, "depth": 2, "heads": 2, "mlp_dim": 512}
# Thousands of draws of every initialiser.
WIDE = tiny_config(
    image={**WIDTH, "image_size": 64, "token_size": 8, "pool": "cls"},
    text={**WIDTH, "vocab_size": 1000, "max_length": 64},
    embed_dim=256,
)


@pytest.fixture(scope="module")
def wide():
    return fresh_params(WIDE)


def assert_spread(x, std, bound=math.inf):
    """Mean 0 within five standard errors, the standard deviation within 3 %, never beyond bound."""
    assert abs(x.mean()) < 5 * std / math.sqrt(x.size)
    assert x.std() == pytest.approx(std, rel=0.03)
    assert np.abs(x).max() <= bound


@pytest.mark.parametrize("tower", ["image", "text"])
def test_initial_blocks(wide, tower):
    blocks = wide[tower]["stack"]["blocks"]
    glorot = {"out": (128, 128), "mlp1": (128, 512), "mlp2": (512, 128), "qkv": (128, 128)}
    for name, (fan_in, fan_out) in glorot.items():
        layer = blocks[name] if name.startswith("mlp") else blocks["attention"][name]
        bound = math.sqrt(6 / (fan_in + fan_out))
        assert_spread(layer["kernel"], bound / math.sqrt(3), bound * 1.000001)
        assert np.abs(layer["kernel"]).max() > 0.99 * bound
        assert not np.array_equal(layer["kernel"][0], layer["kernel"][1])
    for name in ("mlp1", "mlp2"):
        assert_spread_small(blocks[name]["bias"])
    for name in ("qkv", "out"):
        assert not blocks["attention"][name]["bias"].any()
    for norm in (blocks["norm1"], blocks["norm2"], wide[tower]["stack"]["norm"]):
        assert (norm["scale"] == 1).all() and not norm["bias"].any()


def assert_spread_small(bias):
    """Dosovitskiy et al.: the MLP's biases start at normal(1e-6)."""
    assert bias.std() == pytest.approx(1e-6, rel=0.2)


def test_initial_embeddings_projections_and_temperature(wide):
    embed = wide["image"]["embed"]
    # LeCun normal is a normal cut at two standard deviations.
    std = 1 / math.sqrt(3 * 8 * 8)
    assert_spread(embed["kernel"], std, 2 * std / 0.879 * 1.001)
    assert not embed["bias"].any()
    assert_spread(wide["image"]["position"], 128**-0.5)
    assert_spread(wide["text"]["embed"]["embedding"], 0.02)
    assert_spread(wide["text"]["position"], 0.01)
    assert not wide["image"]["cls"].any()
    for tower in ("image", "text"):
        assert_spread(wide[f"{tower}_projection"]["kernel"], 128**-0.5)
    assert wide["log_scale"] == pytest.approx(math.log(1 / 0.07))
    assert {x.dtype for x in jax.tree.leaves(wide)} == {np.dtype("float32")}


def test_another_key_gives_other_weights(wide):
    other = fresh_params(WIDE, seed=1)
    kernel = lambda p: p["image"]["embed"]["kernel"]  # noqa: E731
    assert not np.array_equal(kernel(wide), kernel(other))
    np.testing.assert_array_equal(kernel(wide), kernel(fresh_params(WIDE)))


# --- the published configurations, by shape only ------------------------------------------------


@pytest.mark.parametrize(
    ("config_file", "image_params"), [(vit_b, 85_797_120), (vit_s, 21_614_208)]
)
def test_full_size_parameter_counts(config_file, image_params):
    """The image tower counted by hand: ViT-B/16 has 86 M and ViT-S/16 22 M without their heads."""
    fields = config_file.get_config().model.to_dict()
    fields["text"]["vocab_size"] = 2048
    config = config_from_dict(fields)
    shapes = jax.eval_shape(lambda k: dual_encoder.init_params(config, k), jax.random.key(0))
    count = lambda tree: sum(x.size for x in jax.tree.leaves(tree))  # noqa: E731
    assert count(shapes["image"]) == image_params
    t = config.text
    block = 4 * t.width * (t.width + 1) + 2 * t.width * t.mlp_dim + t.mlp_dim + 5 * t.width
    rest = t.width * (2048 + t.max_length + 2)
    assert count(shapes["text"]) == t.depth * block + rest
    spec = jax.ShapeDtypeStruct((4, config.image.image_size, config.image.image_size, 3), np.uint8)
    out = jax.eval_shape(functools.partial(dual_encoder.embed_images, config), shapes, spec)
    assert out.shape == (4, config.embed_dim) and out.dtype == np.float32


# --- the fused kernel ---------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(2, 6, 2, 8), (2, 5, 2, 8), (2, 6, 2, 4)])
@pytest.mark.parametrize("masked", [False, True])
def test_attention_falls_back_where_there_is_no_fused_kernel(shape, masked, monkeypatch):
    """As on a GPU without cuDNN: here there is none either, so the fused path must give way."""
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    rng = np.random.default_rng(0)
    q, k, v = (jnp.asarray(rng.normal(size=shape), jnp.bfloat16) for _ in range(3))
    mask = jnp.arange(shape[1])[None] < jnp.array([[3], [5]]) if masked else None
    if shape == (2, 6, 2, 8) and not masked:  # the one that the fused kernel takes
        with pytest.warns(UserWarning, match="attention without cuDNN, which is slower: .*cuDNN"):
            attended = attend(q, k, v, mask)
    else:
        attended = attend(q, k, v, mask)
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    logits = np.einsum("bthk,bshk->bhts", q, k) / np.sqrt(shape[3])
    if mask is not None:
        logits = np.where(np.asarray(mask)[:, None, None], logits, -1e30)
    weights = scipy.special.softmax(logits, axis=-1)
    expected = np.einsum("bhts,bshk->bthk", weights, v)
    np.testing.assert_allclose(np.asarray(attended, np.float64), expected, atol=0.03)
