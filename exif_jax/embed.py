"""EXIF to embeddings, by the text encoder of a release file."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import jax
import numpy as np

from exif_jax.exif import to_text
from exif_jax.models.dual_encoder import embed_texts

if TYPE_CHECKING:
    from exif_jax.release import Model

_BATCH = 64


def embed_exif(photos: Sequence[Mapping[str, str]], model: Model) -> np.ndarray:
    """Canonical EXIF of N photos to unit rows, float32 [N, D].

    Only tags of the model's vocabulary are read, in its order, and with their names unless the
    model was trained without.
    """
    names = model.provenance.get("config", {}).get("data", {}).get("tag_names", True)
    texts = [to_text({t: photo[t] for t in model.tags if t in photo}, names) for photo in photos]
    tokens, mask = model.tokenizer.encode(texts, model.config.text.max_length)
    padding = -len(texts) % _BATCH
    tokens, mask = (np.pad(x, ((0, padding), (0, 0))) for x in (tokens, mask))
    encode = _text_encoder(model.config)
    params = jax.device_put(model.params)
    rows = [
        np.asarray(encode(params, tokens[i : i + _BATCH], mask[i : i + _BATCH]))
        for i in range(0, len(tokens), _BATCH)
    ]
    return np.concatenate(rows)[: len(texts)]


@functools.lru_cache
def _text_encoder(config):

    return jax.jit(functools.partial(embed_texts, config))
