"""Release files: one safetensors file with the weights and all that is needed to use them.

The header's metadata carries the model's configuration, the tokenizer, the tag vocabulary, the
calibration and how the weights were made, as JSON. Nothing in the file is code.
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
from exif_jax.models.dual_encoder import DualEncoderConfig, param_shapes
from exif_jax.models.parameters import (
    Params,
    flatten_params,
    is_batch_stat,
    shape_mismatch,
    unflatten_params,
)

PRETRAINED = pathlib.Path(__file__).parent / "pretrained" / "vit_ti_128.safetensors"
FORMAT = "exif-jax"
FORMAT_VERSION = 2
ENCODERS = "encoders"  # kind of a file that names none
TOKENIZERS = {tokenizer.kind: tokenizer for tokenizer in (Tokenizer, WordPiece)}
DTYPES = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16, "float32": np.float32}
_STORED_DTYPES = {"F16": np.float16, "BF16": ml_dtypes.bfloat16, "F32": np.float32}


class ReleaseError(ExifJaxError):
    """The file is not a release file, or not one that this version can read."""


@dataclasses.dataclass(frozen=True)
class Model:
    """A model ready to use.

    Attributes:
        config: the shapes.
        params: float32 NumPy arrays in a nested dict.
        tokenizer: turns EXIF text into tokens.
        tags: names of the tags that texts are made of, in the order of the texts.
        provenance: how the weights were made (free JSON).
        calibration: what the scores of pristine photos look like (JSON that `exif_jax.calibrate`
            measures); {} before calibration.
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
        path: where to write it.
        dtype: "float16" (half the size; weights lie well within its range), "bfloat16" (half the
            size, any range, an eighth of the precision) or "float32". Running statistics of batch
            norms are always float32.

    Raises:
        ReleaseError: a weight does not fit the dtype, or is not a finite number.
        OSError: as the system says (full disk, no permission); nothing is left behind.
    """
    tensors = {}
    for name, x in flatten_params(model.params).items():
        # The variances of batch norms span more than float16 holds.
        stored_dtype = np.float32 if is_batch_stat(name) else DTYPES[dtype]
        with np.errstate(over="ignore"):  # an overflow is reported below, with the tensor's name
            # safetensors writes the bytes of a transposed view as they lie.
            tensors[name] = np.array(x, stored_dtype, order="C")
        if not np.isfinite(tensors[name].astype(np.float32)).all():
            raise ReleaseError(f"{path}: {name} holds values that {dtype} cannot hold")
    metadata = {
        "format": FORMAT,
        "format_version": str(FORMAT_VERSION),
        "config": json.dumps(config_to_dict(model.config)),
        "tokenizer_kind": model.tokenizer.kind,
        "tokenizer": base64.b64encode(model.tokenizer.model_bytes).decode(),
        "tags": json.dumps(model.tags),
        "provenance": json.dumps(model.provenance),
        "calibration": json.dumps(model.calibration),
    }
    write_bytes(path, serialize(tensors, metadata))


def load_model(path: str | os.PathLike = PRETRAINED) -> Model:
    """Reads a release file; without a path, the weights that ship (pretrained/README.md).

    Raises:
        ReleaseError: there is no such file, or it is not one that this version can read; the
            message names the file and the cause.
    """
    if not os.fspath(path):
        raise ReleaseError(
            "the path of the model is empty; name a release file, or leave it out for the weights "
            "that ship"
        )
    data = read_release_bytes(path)
    try:
        return _parse_model(data)
    except ReleaseError as e:  # another version's
        raise ReleaseError(f"{path}: {e}") from e
    except Exception as e:  # whatever goes wrong in here, the bytes of the file are the cause
        raise ReleaseError(
            f"{path}: not a model that this version can read ({e}); "
            "expected the model.safetensors that `python -m exif_jax.train` writes"
        ) from e


def read_release_bytes(path: str | os.PathLike) -> bytes:
    """The bytes of a regular file; raises ReleaseError where there is none to read."""
    try:
        # Opening a pipe or a device could wait or read for ever.
        if os.path.exists(path) and not os.path.isfile(path):
            raise ReleaseError(f"{path}: cannot read the model file (it is not a regular file)")
        return pathlib.Path(path).read_bytes()
    except (OSError, ValueError) as e:  # ValueError: a null character in the name
        reason = getattr(e, "strerror", None) or e
        raise ReleaseError(f"{path}: cannot read the model file ({reason})") from e


def make_model(
    flat: dict[str, np.ndarray],
    config: DualEncoderConfig,
    tokenizer: Tokenizer | WordPiece,
    tags: tuple[str, ...],
    provenance: dict[str, Any],
) -> Model:
    """Makes a model of weights that come from a file.

    Args:
        flat: arrays of float16, bfloat16 or float32 by their paths (`flatten_params`).
        config, tokenizer, tags, provenance: as in `Model`.

    Raises:
        ValueError: the weights or the tokenizer do not fit the configuration, or are not finite.
    """
    # A WordPiece of size 0 belongs to a model that was converted without its vocabulary.
    if tokenizer.vocab_size not in (0, config.text.vocab_size):
        raise ValueError(
            f"the tokenizer has {tokenizer.vocab_size} pieces "
            f"and the text encoder {config.text.vocab_size}"
        )
    mismatch = shape_mismatch(flatten_params(param_shapes(config)), flat)
    if mismatch:
        raise ValueError(f"the weights do not fit the configuration: {mismatch}")
    for name, x in flat.items():
        if x.dtype not in DTYPES.values() or not np.isfinite(x.astype(np.float32)).all():
            raise ValueError(f"{name} is not made of finite {', '.join(DTYPES)} numbers")
    params = unflatten_params({name: x.astype(np.float32) for name, x in flat.items()})
    return Model(config, params, tokenizer, tags, provenance)


def _with_positions(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration of a file; those of earlier versions' ViTs do not say what all had."""
    image = config["image"]
    if image["kind"] == "vit":
        image = {"positions": "learned", **image}
    return config | {"image": image}


def _parse_model(data: bytes) -> Model:
    """The model that the bytes of a release file hold; any exception means that they do not."""
    flat = {name: to_array(name, tensor) for name, tensor in safetensors.deserialize(data)}
    metadata = release_metadata(data)
    if metadata.get("kind", ENCODERS) != ENCODERS:
        raise ReleaseError(f"holds a {metadata['kind']}, not encoders; give the encoders' file")
    tokenizer_class = TOKENIZERS[metadata["tokenizer_kind"]]
    tags = json.loads(metadata["tags"])
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise ValueError("the tags are not a list of texts")
    model = make_model(
        flat,
        config=config_from_dict(_with_positions(json.loads(metadata["config"]))),
        tokenizer=tokenizer_class(base64.b64decode(metadata["tokenizer"], validate=True)),
        tags=tuple(tags),
        provenance=dict(json.loads(metadata["provenance"])),
    )
    return dataclasses.replace(
        model,
        calibration=dict(json.loads(metadata["calibration"])),
        id=hashlib.sha256(data).hexdigest()[:12],
    )


def release_metadata(data: bytes) -> dict[str, str]:
    """The texts in the header of a release file's bytes.

    Raises:
        ReleaseError: another version wrote it. ValueError: it is not a release file.
    """
    (length,) = struct.unpack("<Q", data[:8])
    metadata = json.loads(data[8 : 8 + length]).get("__metadata__") or {}
    _check_version(metadata)
    return metadata


def _check_version(metadata: dict[str, str]) -> None:
    if metadata.get("format") != FORMAT:
        raise ValueError(f"not an {FORMAT} file")
    version = int(metadata["format_version"])
    if version < FORMAT_VERSION:
        raise ReleaseError(
            f"an earlier exif-jax wrote this model (format version {version}) and this one reads "
            f"version {FORMAT_VERSION}; use the weights that ship, or train or convert the model "
            "again"
        )
    if version > FORMAT_VERSION:
        raise ReleaseError(
            f"a later exif-jax wrote this model (format version {version}) and this one reads "
            f"version {FORMAT_VERSION}; update exif-jax"
        )


def serialize(tensors: dict[str, np.ndarray], metadata: dict[str, str]) -> bytes:
    """A safetensors file; equal models give equal bytes, which the library alone does not."""
    data = safetensors.numpy.save(tensors, metadata)
    (length,) = struct.unpack("<Q", data[:8])
    header = json.dumps(json.loads(data[8 : 8 + length]), sort_keys=True).encode()
    header += b" " * (-len(header) % 8)  # keeps the tensors aligned
    return struct.pack("<Q", len(header)) + header + data[8 + length :]


def to_array(name: str, tensor: dict[str, Any]) -> np.ndarray:
    """A tensor of `safetensors.deserialize`, whose reader for NumPy knows no bfloat16."""
    if tensor["dtype"] not in _STORED_DTYPES:
        raise ValueError(f"{name} is of type {tensor['dtype']}, not {', '.join(_STORED_DTYPES)}")
    return np.frombuffer(tensor["data"], _STORED_DTYPES[tensor["dtype"]]).reshape(tensor["shape"])
