"""The model's configuration from plain types and back."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from exif_jax.models.distilbert import DistilBertConfig
from exif_jax.models.dual_encoder import DualEncoderConfig
from exif_jax.models.resnet import ResNetConfig
from exif_jax.models.text import TextConfig
from exif_jax.models.vit import ViTConfig


def config_from_dict(config: dict[str, Any]) -> DualEncoderConfig:
    """The model's configuration from nested dicts.

    Raises:
        TypeError: an unknown key, or a value of the wrong type.
        ValueError: a value that no model can have.
        KeyError: "image" or "text" is missing.
    """
    rest = {k: v for k, v in config.items() if k not in ("image", "text")}
    image, text = dict(config["image"]), dict(config["text"])
    for tower in (image, text):
        if isinstance(tower.get("remat"), bool):  # of files that an earlier version wrote
            tower["remat"] = "all" if tower["remat"] else ""
    if "stages" in image:  # the field that tells a ResNet from a ViT
        image["stages"] = tuple(image["stages"])
        for blocks in image["stages"]:
            _check_field("stages", blocks)
    bert = text.pop("kind", "") == "distilbert"
    for field, value in (*image.items(), *text.items(), *rest.items()):
        if field != "stages":
            _check_field(field, value)
    return DualEncoderConfig(
        image=ResNetConfig(**image) if "stages" in image else ViTConfig(**image),
        text=DistilBertConfig(**text) if bert else TextConfig(**text),
        **rest,
    )


def config_to_dict(config: DualEncoderConfig) -> dict[str, Any]:
    """The configuration as nested dicts that `make_config` reads."""
    found = dataclasses.asdict(config)
    if isinstance(config.text, DistilBertConfig):
        found["text"]["kind"] = "distilbert"
    return found


def _check_field(name: str, value: Any) -> None:
    kind: dict[str, type] = {"pool": str, "features": str, "remat": str}
    kind |= {"init_temperature": float, "init_bias": float}
    if type(value) is not kind.get(name, int):
        raise TypeError(f"{name} is {value!r}, not of type {kind.get(name, int).__name__}")
    if name == "init_bias" and math.isfinite(value):
        return
    if type(value) in (int, float) and not 0 < value < math.inf:
        raise ValueError(f"{name} is {value}; it must be positive and finite")
