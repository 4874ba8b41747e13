"""A dual encoder of a few thousand parameters for tests: its weights, batches and embeddings."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import scipy.fft
from flax import nnx

from exif_jax.models import dual_encoder
from exif_jax.models.config import config_from_dict, config_to_dict
from exif_jax.models.text import TextConfig
from exif_jax.models.vit import ViTConfig

VOCAB = 96
# Op by op they would compile a program for each operation and shape.
embed_images = jax.jit(dual_encoder.embed_images, static_argnums=0)
embed_texts = jax.jit(dual_encoder.embed_texts, static_argnums=0)
init_params = jax.jit(dual_encoder.init_params, static_argnums=0)

_WIDTH = {"width": 16, "depth": 1, "heads": 2, "mlp_dim": 32}
CONFIG = dual_encoder.DualEncoderConfig(
    image=ViTConfig(image_size=16, token_size=8, **_WIDTH),
    text=TextConfig(vocab_size=VOCAB, max_length=8, **_WIDTH),
    embed_dim=12,
)


def tiny_config(image=None, text=None, **rest) -> dual_encoder.DualEncoderConfig:
    """CONFIG with other values of these fields, checked as those of a file are."""
    fields = config_to_dict(CONFIG)
    encoders = {"image": fields["image"] | (image or {}), "text": fields["text"] | (text or {})}
    return config_from_dict(fields | encoders | rest)


@functools.cache
def _init(config):
    return jax.jit(functools.partial(dual_encoder.init_params, config))


def fresh_params(config=CONFIG, seed: int = 0) -> dict:
    """Initialised parameters, as NumPy arrays."""
    return jax.device_get(_init(config)(jax.random.key(seed)))


def random_params(config=CONFIG, seed: int = 0) -> dict:
    """Parameters of which none is zero or one: an unused bias or scale would show."""
    rng = np.random.default_rng(seed)

    def draw(path, x):
        name = path[-1].key
        if name == "kernel":
            return (rng.normal(size=x.shape) / np.sqrt(x.shape[-2])).astype(np.float32)
        noise = rng.normal(size=x.shape) * 0.3
        return np.asarray(noise + (name in ("scale", "log_scale", "log_image_scale")), np.float32)

    shapes = jax.eval_shape(lambda k: dual_encoder.init_params(config, k), jax.random.key(0))
    return jax.tree_util.tree_map_with_path(draw, shapes)


def random_batch(config=CONFIG, rows: int = 16, seed: int = 0, patches: int = 1):
    """A batch of distinct texts of 1 to L pieces, with so many patches each."""
    rng = np.random.default_rng(seed)
    size, length = config.image.image_size, config.text.max_length
    mask = np.arange(length) < rng.integers(1, length + 1, rows)[:, None]
    tokens = rng.integers(2, config.text.vocab_size, (rows, length)).astype(np.int32)
    return {
        "image": rng.integers(0, 256, (rows * patches, size, size, 3), dtype=np.uint8),
        "tokens": np.where(mask, tokens, 0).astype(np.int32),
        "token_mask": mask,
        "text_id": np.arange(rows, dtype=np.uint32),
        "photo_id": np.arange(rows, dtype=np.uint32) // 2,
    }


def copied(params) -> dict:
    """The parameters as new JAX arrays, which a step may donate."""
    return jax.tree.map(jnp.array, params)


def relative_error(out, ref) -> float:
    out, ref = np.asarray(out, np.float64), np.asarray(ref, np.float64)
    assert out.shape == ref.shape
    return float(np.linalg.norm(out - ref) / np.linalg.norm(ref))


def embedder(config, dtype="float32"):
    def run(params, images, tokens, mask):
        return dual_encoder.apply(config, params, images, tokens, mask, dtype)[:2]

    return run


@functools.cache
def compiled_embedder(config, dtype):
    return jax.jit(embedder(config, dtype))


def embed(config, params, batch, dtype="float32"):
    """z_img and z_txt of a batch, compiled once for each shape; None without image or tokens."""
    with jax.default_matmul_precision("highest"):
        return compiled_embedder(config, dtype)(params, *arguments(batch))


def arguments(batch):
    return tuple(batch.get(name) for name in ("image", "tokens", "token_mask"))


def images_of(batch):
    return {"image": batch["image"]}


def texts_of(batch):
    return {name: batch[name] for name in ("tokens", "token_mask")}


def nnx_with(make, seed: int):
    """A module with noise for parameters, and these as a nested dict."""
    rng = np.random.default_rng(seed)
    graphdef, shapes = nnx.split(nnx.eval_shape(make))
    state = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape) * 0.3, jnp.float32), shapes)
    return nnx.merge(graphdef, state), nnx.to_pure_dict(state)


def scipy_spectrum(images) -> np.ndarray:
    """`vit.log_spectrum` of uint8 [B, S, S, 3] by Pillow's matrix and SciPy's DCT, in float64."""
    rgb = np.asarray(images, np.float64) - 127.5
    y = rgb @ [0.299, 0.587, 0.114]
    # Cb and Cr as scaled differences from luma (ITU-R BT.601).
    ycbcr = np.stack([y, (rgb[..., 2] - y) / 1.772, (rgb[..., 0] - y) / 1.402], axis=-1)
    out = np.zeros_like(ycbcr)
    radius = np.hypot(*np.mgrid[:8, :8])
    radius[0, 0] = 1
    for c, (a, b, d, e) in enumerate([(2.54, 1.09, 1.65, 0.55)] + 2 * [(0.84, 0.37, 0.88, 0.365)]):
        for i in range(0, out.shape[1], 8):
            for j in range(0, out.shape[2], 8):
                block = ycbcr[:, i : i + 8, j : j + 8, c]
                log = np.log1p(np.abs(scipy.fft.dctn(block, axes=(1, 2), norm="ortho")))
                std = np.maximum(d - e * np.log(radius), 0.15)
                z = (log - (a - b * np.log(radius))) / std
                z[:, 0, 0] = 0
                out[:, i : i + 8, j : j + 8, c] = z
    return out.astype(np.float32)
