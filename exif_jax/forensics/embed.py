"""EXIF and images to embeddings, by the encoders of a release file."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import jax
import numpy as np

from exif_jax.models.dual_encoder import embed_images, embed_texts
from exif_jax.reading.exif import select_tags, to_text

if TYPE_CHECKING:
    from exif_jax.weights.release_file import Model

_TEXTS, _IMAGES = 64, 32  # encoded at a time


def embed_exif(photos: Sequence[Mapping[str, str]], model: Model) -> np.ndarray:
    """Embeds the canonical EXIF of N photos: unit rows, float32 [N, D].

    Only tags of the model's vocabulary are read, in its order, and with their names unless the
    model was trained without.
    """
    names = model.provenance.get("config", {}).get("data", {}).get("tag_names", True)
    texts = [to_text(select_tags(photo, model.tags), names) for photo in photos]
    tokens, mask = model.tokenizer.encode(texts, model.config.text.max_length)
    padding = -len(texts) % _TEXTS
    tokens, mask = (np.pad(x, ((0, padding), (0, 0))) for x in (tokens, mask))
    encode = _text_encoder(model.config)
    params = jax.device_put(model.params)
    batches = [
        np.asarray(encode(params, tokens[i : i + _TEXTS], mask[i : i + _TEXTS]))
        for i in range(0, len(tokens), _TEXTS)
    ]
    return np.concatenate(batches)[: len(texts)]


@functools.lru_cache
def _text_encoder(config):
    return jax.jit(functools.partial(embed_texts, config))


def embed_tiles(images: Iterable[np.ndarray], model: Model) -> np.ndarray:
    """Embeds square images by tiles that cover them, of the side of the model's patch.

    The tiles are spread evenly, as few as cover the image.

    Args:
        images: uint8 [S, S, 3], all of one size, not smaller than the model's patch.
        model: a loaded model.

    Returns:
        float32 [N, 2 D]: the mean and the standard deviation of the tiles' unit embeddings.

    Raises:
        ValueError: an image is smaller than a patch.
    """
    encode = jax.jit(functools.partial(embed_images, model.config))
    params = jax.device_put(model.params)
    remaining = iter(images)
    batches = []
    while batch := list(itertools.islice(remaining, _IMAGES)):
        tiles = np.stack([_tiles(image, model.patch_size) for image in batch])
        # The last batch is filled up, as another size would compile the encoder anew.
        padding = ((0, _IMAGES - len(batch)), (0, 0), (0, 0), (0, 0), (0, 0))
        encoded = encode(params, np.pad(tiles, padding).reshape(-1, *tiles.shape[2:]))
        z_NxTxD = np.asarray(encoded).reshape(_IMAGES, tiles.shape[1], -1)[: len(batch)]
        batches.append(np.concatenate([z_NxTxD.mean(axis=1), z_NxTxD.std(axis=1)], axis=1))
    return np.concatenate(batches).astype(np.float32)


def _tiles(image: np.ndarray, patch: int) -> np.ndarray:
    """uint8 [S, S, 3] to uint8 [T, patch, patch, 3]."""
    side = min(image.shape[:2])
    if side < patch:
        raise ValueError(f"images of {side} px hold no patch of {patch} px")
    starts = np.rint(np.linspace(0, side - patch, -(-side // patch))).astype(int)
    return np.stack([image[y : y + patch, x : x + patch] for y in starts for x in starts])
