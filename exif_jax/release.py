"""Release files: one safetensors file with the weights and all that is needed to use them.

The header's metadata carries the model's configuration, the tokenizer, the tag vocabulary and
where the weights come from, as JSON. Nothing in the file is code.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import os
import pathlib
import struct
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from exif_jax.models.dual_encoder import DualEncoderConfig, Params
from exif_jax.models.text import TextConfig
from exif_jax.models.vit import ViTConfig
from exif_jax.tokenizer import Tokenizer

FORMAT = "exif-jax"
FORMAT_VERSION = 1


class ReleaseError(Exception):
    """The file is no release file, or one that this version cannot read."""


@dataclasses.dataclass(frozen=True)
class Model:
    """A model ready to use.

    Attributes:
        config: the shapes.
        params: float32 NumPy arrays in a nested dict.
        tokenizer: turns EXIF text into tokens.
        tags: the tag vocabulary of the training text, in order.
        provenance: how the weights came to be (free JSON).
        id: the first 12 hex digits of the sha256 of the file; "" where there is no file yet.
    """

    config: DualEncoderConfig
    params: Params
    tokenizer: Tokenizer
    tags: tuple[str, ...]
    provenance: dict[str, Any]
    id: str = ""

    @property
    def patch_size(self) -> int:
        """Side of a patch in pixels."""
        return self.config.image.image_size


def save_model(model: Model, path: str | os.PathLike, dtype: str = "float16") -> None:
    """Writes a release file; the file appears whole or not at all.

    Args:
        model: what to write.
        path: where to.
        dtype: "float16" (half the size; weights lie well within its range) or "float32".

    Raises:
        ReleaseError: a weight does not fit the dtype, or is not a finite number.
    """
    tensors = {name: np.asarray(x, dtype) for name, x in _flatten(model.params).items()}
    for name, x in tensors.items():
        if not np.isfinite(x).all():
            raise ReleaseError(f"{path}: {name} holds values that {dtype} cannot hold")
    header = {
        "format": FORMAT,
        "format_version": str(FORMAT_VERSION),
        "config": json.dumps(dataclasses.asdict(model.config)),
        "tokenizer": base64.b64encode(model.tokenizer.model_bytes).decode(),
        "tags": json.dumps(model.tags),
        "provenance": json.dumps(model.provenance),
    }
    path = pathlib.Path(path)
    aside = path.with_name(path.name + ".tmp")
    with aside.open("wb") as f:
        f.write(safetensors.numpy.save(tensors, header))
        f.flush()
        os.fsync(f.fileno())
    os.replace(aside, path)


def load_model(path: str | os.PathLike) -> Model:
    """Reads a release file.

    Raises:
        ReleaseError: there is no such file, or it is not one this version can read; the message
            names the file and the cause.
    """
    try:
        data = pathlib.Path(path).read_bytes()
    except OSError as e:
        raise ReleaseError(f"{path}: cannot read the model file ({e.strerror})") from e
    try:
        flat = safetensors.numpy.load(data)
        (length,) = struct.unpack("<Q", data[:8])
        meta = json.loads(data[8 : 8 + length]).get("__metadata__") or {}
        if meta.get("format") != FORMAT or int(meta["format_version"]) != FORMAT_VERSION:
            raise ValueError(f"not an {FORMAT} file of format version {FORMAT_VERSION}")
        model = Model(
            config=make_config(json.loads(meta["config"])),
            params=_unflatten({k: v.astype(np.float32) for k, v in flat.items()}),
            tokenizer=Tokenizer(base64.b64decode(meta["tokenizer"], validate=True)),
            tags=tuple(str(tag) for tag in json.loads(meta["tags"])),
            provenance=dict(json.loads(meta["provenance"])),
            id=hashlib.sha256(data).hexdigest()[:12],
        )
        _check_shapes(model)
        return model
    except (safetensors.SafetensorError, KeyError, ValueError, TypeError, RuntimeError) as e:
        raise ReleaseError(
            f"{path}: not a model that this version can read ({e}); "
            "expected the model.safetensors that `python -m exif_jax.train` writes"
        ) from e


def make_config(config: dict[str, Any]) -> DualEncoderConfig:
    """The model's configuration from nested dicts; an unknown key raises TypeError."""
    rest = {k: v for k, v in config.items() if k not in ("image", "text")}
    return DualEncoderConfig(
        image=ViTConfig(**config["image"]), text=TextConfig(**config["text"]), **rest
    )


def _check_shapes(model: Model) -> None:
    import jax

    from exif_jax.models.dual_encoder import init_params

    shapes = jax.eval_shape(lambda key: init_params(model.config, key), jax.random.key(0))
    expected = {name: x.shape for name, x in _flatten(shapes).items()}
    found = {name: x.shape for name, x in _flatten(model.params).items()}
    wrong = sorted(n for n in expected | found if expected.get(n) != found.get(n))
    if wrong:
        raise ValueError(f"weights missing, unexpected or of the wrong shape: {', '.join(wrong)}")


def _flatten(tree: Params, prefix: str = "") -> dict[str, Any]:
    flat = {}
    for name, x in tree.items():
        flat |= _flatten(x, f"{prefix}{name}/") if isinstance(x, dict) else {prefix + name: x}
    return flat


def _unflatten(flat: dict[str, np.ndarray]) -> Params:
    tree: Params = {}
    for name, x in flat.items():
        *parents, leaf = name.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = x
    return tree
