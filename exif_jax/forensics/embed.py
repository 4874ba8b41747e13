"""EXIF and images to embeddings, by the encoders of a release file."""

from __future__ import annotations

import functools
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
    """Canonical EXIF of N photos to unit rows, float32 [N, D].

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
    rows = [
        np.asarray(encode(params, tokens[i : i + _TEXTS], mask[i : i + _TEXTS]))
        for i in range(0, len(tokens), _TEXTS)
    ]
    return np.concatenate(rows)[: len(texts)]


@functools.lru_cache
def _text_encoder(config):
    return jax.jit(functools.partial(embed_texts, config))


def embed_tiles(images: Iterable[np.ndarray], model: Model) -> np.ndarray:
    """Square images to the mean and the deviation of the unit embeddings of tiles over them.

    Args:
        images: uint8 [S, S, 3], all of one size, not smaller than the model's patch.
        model: a loaded model.

    Returns:
        float32 [N, 2 D]. Tiles of the patch's side are spread evenly, as few as cover the image.

    Raises:
        ValueError: an image is smaller than a patch.
    """
    encode = jax.jit(functools.partial(embed_images, model.config))
    params, patch = jax.device_put(model.params), model.patch_size
    rows: list[np.ndarray] = []
    waiting: list[np.ndarray] = []

    def flush() -> None:
        if not waiting:
            return
        tiles = np.concatenate(waiting)
        per_image = len(waiting[0])
        padding = -len(tiles) % (_IMAGES * per_image)
        z = np.asarray(encode(params, np.pad(tiles, ((0, padding), (0, 0), (0, 0), (0, 0)))))
        z = z[: len(tiles)].reshape(len(waiting), per_image, -1)
        rows.append(np.concatenate([z.mean(axis=1), z.std(axis=1)], axis=1))
        waiting.clear()

    for image in images:
        side = min(image.shape[:2])
        if side < patch:
            raise ValueError(f"images of {side} px hold no patch of {patch} px")
        starts = np.rint(np.linspace(0, side - patch, -(-side // patch))).astype(int)
        corners = [(y, x) for y in starts for x in starts]
        waiting.append(np.stack([image[y : y + patch, x : x + patch] for y, x in corners]))
        if len(waiting) == _IMAGES:
            flush()
    flush()
    return np.concatenate(rows).astype(np.float32)
