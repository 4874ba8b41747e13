"""A spliced photo that is easy to see through, an encoder that does, and a tiny model."""

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from tiny_model import init_params

from exif_jax.data.wordpiece import WordPiece
from exif_jax.models.dual_encoder import DualEncoderConfig
from exif_jax.models.text import TextConfig
from exif_jax.models.vit import ViTConfig
from exif_jax.weights.release_file import Model, save_model

PATCH = 32
CONFIG = DualEncoderConfig(
    image=ViTConfig(image_size=PATCH, token_size=16, width=16, depth=1, heads=2, mlp_dim=32),
    text=TextConfig(vocab_size=40, max_length=8, width=8, depth=1, heads=1, mlp_dim=8),
    embed_dim=8,
)


def roughness(params, images):
    """A stand-in encoder: how rough the texture of a patch is, as an angle."""
    x = images.astype(jnp.float32).mean(axis=-1)
    step = jnp.abs(x[:, 1:] - x[:, :-1]).mean(axis=(1, 2))
    angle = jnp.minimum(step / 20, 1) * jnp.pi / 2
    return jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=1)


def spliced(height=160, width=224, seed=0):
    """A smooth photo with a rough rectangle in it; uint8 [H, W, 3] and bool [H, W]."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((height, width), bool)
    mask[40:120, 120:200] = True
    noise = rng.normal(size=(height, width, 3)) * np.where(mask, 30, 2)[..., None]
    return np.clip(128 + noise, 0, 255).astype(np.uint8), mask


class FakeModel:
    """What the functions need of a release file, without a tokenizer."""

    config = CONFIG
    patch_size = PATCH
    id = "0123456789ab"
    calibration: ClassVar[dict] = {}
    params = jax.tree.map(np.asarray, init_params(CONFIG, jax.random.key(0)))


def tiny_release(path):
    """A release file of that model, without a vocabulary; returns the path."""
    save_model(Model(CONFIG, FakeModel.params, WordPiece(b""), (), {}), path)
    return path
