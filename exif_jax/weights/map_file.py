"""Release files of the learned map: safetensors, as of the encoders, of a kind of their own."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import pathlib
import struct
from typing import Any

import numpy as np
import safetensors

from exif_jax.io.atomic import write_bytes
from exif_jax.models.config import map_config_from_dict
from exif_jax.models.parameters import Params, flatten_params, shape_mismatch, unflatten_params
from exif_jax.models.tampering_map import TamperingMapConfig, map_param_shapes
from exif_jax.weights.release_file import (
    FORMAT,
    FORMAT_VERSION,
    PRETRAINED,
    ReleaseError,
    read_release_bytes,
    release_metadata,
    serialize,
    to_array,
)

PRETRAINED_MAP = PRETRAINED.with_name("tampering_map.safetensors")
KIND = TamperingMapConfig.kind
# What the configs of older files do not name.
_BEFORE = {"alike": [], "head_width": 32, "windows": [], "convolutions": []}


@dataclasses.dataclass(frozen=True, eq=False)
class MapModel:
    """A learned map ready to use.

    Attributes:
        config: the shapes.
        params: float32 NumPy arrays in a nested dict.
        provenance: how the weights were made (free JSON).
        id: the first 12 hex digits of the sha256 of the file; "" where there is no file yet.
    """

    config: TamperingMapConfig
    params: Params
    provenance: dict[str, Any]
    id: str = ""


def save_map(model: MapModel, path: str | os.PathLike) -> None:
    """Writes a release file in float32, so that training goes on from it; whole or not at all.

    Raises:
        ReleaseError: a weight is not a finite number.
        OSError: as the system says; nothing is left behind.
    """
    tensors = {}
    for name, x in flatten_params(model.params).items():
        tensors[name] = np.array(x, np.float32, order="C")
        if not np.isfinite(tensors[name]).all():
            raise ReleaseError(f"{path}: {name} holds values that are not finite")
    metadata = {
        "format": FORMAT,
        "format_version": str(FORMAT_VERSION),
        "kind": KIND,
        "config": json.dumps(dataclasses.asdict(model.config)),
        "provenance": json.dumps(model.provenance),
    }
    write_bytes(path, serialize(tensors, metadata))


def load_map(path: str | os.PathLike = PRETRAINED_MAP) -> MapModel:
    """Reads a release file; without a path, the weights that ship (pretrained/README.md).

    Raises:
        ReleaseError: there is no such file, or it holds no learned map that this version can read;
            the message names the file and the cause.
    """
    data = read_release_bytes(pathlib.Path(path))
    try:
        return _parse(data)
    except ReleaseError as e:
        raise ReleaseError(f"{path}: {e}") from e
    except Exception as e:  # whatever goes wrong in here, the bytes of the file are the cause
        raise ReleaseError(
            f"{path}: not a learned map that this version can read ({e}); expected the "
            "map.safetensors that `python -m exif_jax.train_map` writes"
        ) from e


def is_map(path: str | os.PathLike) -> bool:
    """Whether a file is a release file of a learned map.

    Raises:
        ReleaseError: there is no such file, or another version wrote it.
    """
    data = read_release_bytes(path)
    try:
        return release_metadata(data).get("kind") == KIND
    except ReleaseError as e:
        raise ReleaseError(f"{path}: {e}") from e
    except (ValueError, KeyError, TypeError, AttributeError, struct.error):
        return False  # no release file at all


def _parse(data: bytes) -> MapModel:
    metadata = release_metadata(data)
    if metadata.get("kind") != KIND:
        raise ReleaseError("holds encoders, not a learned map; give the map's file")
    config = map_config_from_dict(_BEFORE | json.loads(metadata["config"]))
    flat = {name: to_array(name, tensor) for name, tensor in safetensors.deserialize(data)}
    mismatch = shape_mismatch(flatten_params(map_param_shapes(config)), flat)
    if mismatch:
        raise ValueError(f"the weights do not fit the configuration: {mismatch}")
    for name, x in flat.items():
        if not np.isfinite(x.astype(np.float32)).all():
            raise ValueError(f"{name} is not made of finite numbers")
    params = unflatten_params({name: x.astype(np.float32) for name, x in flat.items()})
    provenance = dict(json.loads(metadata["provenance"]))
    return MapModel(config, params, provenance, hashlib.sha256(data).hexdigest()[:12])
