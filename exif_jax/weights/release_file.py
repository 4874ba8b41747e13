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

import ml_dtypes
import numpy as np
import safetensors
import safetensors.numpy

from exif_jax.data.tokenizer import Tokenizer
from exif_jax.data.wordpiece import WordPiece
from exif_jax.io.atomic import write_bytes
from exif_jax.io.errors import ExifJaxError
from exif_jax.models.config import config_from_dict, config_to_dict
from exif_jax.models.dual_encoder import BATCH_STATS, DualEncoderConfig, Params, param_shapes

PRETRAINED = pathlib.Path(__file__).parent / "pretrained" / "vit_ti_128.safetensors"
FORMAT = "exif-jax"
FORMAT_VERSION = 1
DTYPES = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16, "float32": np.float32}
_STORED = {"F16": np.float16, "BF16": ml_dtypes.bfloat16, "F32": np.float32}


class ReleaseError(ExifJaxError):
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
        calibration: what the scores of pristine photos look like (JSON, `exif_jax.calibrate`);
            {} before calibration.
        id: the first 12 hex digits of the sha256 of the file; "" where there is no file yet.
    """

    config: DualEncoderConfig
    params: Params
    tokenizer: Tokenizer | WordPiece
    tags: tuple[str, ...]
    provenance: dict[str, Any]
    calibration: dict[str, Any] = dataclasses.field(default_factory=dict)
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
        dtype: "float16" (half the size; weights lie well within its range), "bfloat16" (half the
            size, any range, an eighth of the precision) or "float32".

    Raises:
        ReleaseError: a weight does not fit the dtype, or is not a finite number.
        OSError: as the system says (full disk, no permission); nothing is left behind.
    """
    with np.errstate(over="ignore"):  # an overflow is reported below, with the tensor's name
        tensors = {
            # The variances of batch norms span more than float16 holds.
            # safetensors writes the bytes of a transposed view as they lie.
            name: np.array(
                x, np.float32 if name.split("/")[-1] in BATCH_STATS else DTYPES[dtype], order="C"
            )
            for name, x in flatten(model.params).items()
        }
    for name, x in tensors.items():
        if not np.isfinite(x.astype(np.float32)).all():
            raise ReleaseError(f"{path}: {name} holds values that {dtype} cannot hold")
    header = {
        **({"tokenizer_kind": "wordpiece"} if isinstance(model.tokenizer, WordPiece) else {}),
        "format": FORMAT,
        "format_version": str(FORMAT_VERSION),
        "config": json.dumps(config_to_dict(model.config)),
        "tokenizer": base64.b64encode(model.tokenizer.model_bytes).decode(),
        "tags": json.dumps(model.tags),
        "provenance": json.dumps(model.provenance),
        "calibration": json.dumps(model.calibration),
    }
    write_bytes(path, _serialize(tensors, header))


def load_model(path: str | os.PathLike = PRETRAINED) -> Model:
    """Reads a release file; without a path, the weights that ship (pretrained/README.md).

    Raises:
        ReleaseError: there is no such file, or it is not one this version can read; the message
            names the file and the cause.
    """
    try:
        # Opening a pipe or a device could wait or read for ever.
        if os.path.exists(path) and not os.path.isfile(path):
            raise ReleaseError(f"{path}: cannot read the model file (it is not a regular file)")
        data = pathlib.Path(path).read_bytes()
    except (OSError, ValueError) as e:  # ValueError: a null character in the name
        reason = getattr(e, "strerror", None) or e
        raise ReleaseError(f"{path}: cannot read the model file ({reason})") from e
    try:
        flat = {name: _as_array(name, found) for name, found in safetensors.deserialize(data)}
        (length,) = struct.unpack("<Q", data[:8])
        meta = json.loads(data[8 : 8 + length]).get("__metadata__") or {}
        if meta.get("format") != FORMAT or int(meta["format_version"]) != FORMAT_VERSION:
            raise ValueError(f"not an {FORMAT} file of format version {FORMAT_VERSION}")
        config = config_from_dict(json.loads(meta["config"]))
        kind = {"wordpiece": WordPiece}.get(meta.get("tokenizer_kind", ""), Tokenizer)
        tokenizer = kind(base64.b64decode(meta["tokenizer"], validate=True))
        tags, provenance = _as_tags(json.loads(meta["tags"])), dict(json.loads(meta["provenance"]))
        return dataclasses.replace(
            make_model(flat, config, tokenizer, tags, provenance),
            calibration=dict(json.loads(meta.get("calibration", "{}"))),
            id=hashlib.sha256(data).hexdigest()[:12],
        )
    except Exception as e:  # whatever goes wrong in here, the bytes of the file are the cause
        raise ReleaseError(
            f"{path}: not a model that this version can read ({e}); "
            "expected the model.safetensors that `python -m exif_jax.train` writes"
        ) from e


def make_model(
    flat: dict[str, np.ndarray],
    config: DualEncoderConfig,
    tokenizer: Tokenizer | WordPiece,
    tags: tuple[str, ...],
    provenance: dict[str, Any],
) -> Model:
    """A model of weights by their paths (see `flatten`), of float16 or float32.

    Raises:
        ValueError: weights or tokenizer do not fit the configuration, or are not finite.
    """
    flat = {name: _as_float32(name, x) for name, x in flat.items()}
    _check_fit(config, tokenizer, flat)
    return Model(config, unflatten(flat), tokenizer, tags, provenance)


def _serialize(tensors: dict[str, np.ndarray], metadata: dict[str, str]) -> bytes:
    """A safetensors file; equal models give equal bytes, which the library alone does not."""
    data = safetensors.numpy.save(tensors, metadata)
    (length,) = struct.unpack("<Q", data[:8])
    header = json.dumps(json.loads(data[8 : 8 + length]), sort_keys=True).encode()
    header += b" " * (-len(header) % 8)  # keeps the tensors aligned
    return struct.pack("<Q", len(header)) + header + data[8 + length :]


def _as_tags(tags: Any) -> tuple[str, ...]:
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise ValueError("the tags are no list of texts")
    return tuple(tags)


def _as_array(name: str, found: dict[str, Any]) -> np.ndarray:
    """A tensor of `safetensors.deserialize`, whose reader for NumPy knows no bfloat16."""
    if found["dtype"] not in _STORED:
        raise ValueError(f"{name} is of type {found['dtype']}, not of {', '.join(_STORED)}")
    return np.frombuffer(found["data"], _STORED[found["dtype"]]).reshape(found["shape"])


def _as_float32(name: str, x: np.ndarray) -> np.ndarray:
    if x.dtype not in DTYPES.values() or not np.isfinite(x.astype(np.float32)).all():
        raise ValueError(f"{name} is not made of finite {', '.join(DTYPES)} numbers")
    return x.astype(np.float32)


def _check_fit(
    config: DualEncoderConfig, tokenizer: Tokenizer | WordPiece, flat: dict[str, np.ndarray]
) -> None:
    """Raises ValueError where the weights or the tokenizer are another configuration's."""
    # A WordPiece of size 0 belongs to a model that was converted without its vocabulary.
    if tokenizer.vocab_size not in (0, config.text.vocab_size):
        raise ValueError(
            f"the tokenizer has {tokenizer.vocab_size} pieces "
            f"and the text encoder {config.text.vocab_size}"
        )
    expected = {name: x.shape for name, x in flatten(param_shapes(config)).items()}
    found = {name: x.shape for name, x in flat.items()}
    wrong = sorted(n for n in expected | found if expected.get(n) != found.get(n))
    if wrong:
        raise ValueError(f"weights missing, unexpected or of the wrong shape: {', '.join(wrong)}")


def flatten(tree: Params, prefix: str = "") -> dict[str, Any]:
    """The leaves of nested dicts by their path: {"image/embed/kernel": ...}."""
    flat = {}
    for name, x in tree.items():
        flat |= flatten(x, f"{prefix}{name}/") if isinstance(x, dict) else {prefix + name: x}
    return flat


def unflatten(flat: dict[str, np.ndarray]) -> Params:
    """The reverse of `flatten`."""
    tree: Params = {}
    for name, x in flat.items():
        *parents, leaf = name.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = x
    return tree
