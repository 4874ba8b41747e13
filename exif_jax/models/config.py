"""The model's configuration from plain types, as configs and release files hold it, and back.

An encoder's fields stand beside its `kind`, which says which of the encoders it is.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, get_type_hints

from exif_jax.io.errors import ExifJaxError
from exif_jax.io.text import did_you_mean
from exif_jax.models.distilbert import DistilBertConfig
from exif_jax.models.dual_encoder import DualEncoderConfig
from exif_jax.models.resnet import ResNetConfig
from exif_jax.models.tampering_map import TamperingMapConfig
from exif_jax.models.text import TextConfig
from exif_jax.models.vit import ViTConfig

IMAGE_CONFIGS = {config.kind: config for config in (ViTConfig, ResNetConfig)}
TEXT_CONFIGS = {config.kind: config for config in (TextConfig, DistilBertConfig)}


class ModelConfigError(ExifJaxError):
    """A configuration that no model has; the message names the field, as in "image.width"."""


def config_from_dict(config: Mapping[str, Any]) -> DualEncoderConfig:
    """Makes the model's configuration of nested dicts of plain types.

    Args:
        config: every field of `DualEncoderConfig`; "image" and "text" hold a "kind" ("vit" or
            "resnet", "transformer" or "distilbert") and every field of that encoder.

    Raises:
        ModelConfigError: a kind or a field is missing, unknown, of the wrong type or out of range.
    """
    _check_names(config, _field_names(DualEncoderConfig), "the model", "")
    scalars = {name: value for name, value in config.items() if name not in ("image", "text")}
    for name, value in scalars.items():
        _check_value(name, value, get_type_hints(DualEncoderConfig)[name])
    image = _encoder_config("image", config["image"], IMAGE_CONFIGS)
    text = _encoder_config("text", config["text"], TEXT_CONFIGS)
    try:
        return DualEncoderConfig(image=image, text=text, **scalars)
    except ValueError as e:
        raise ModelConfigError(str(e)) from e


def config_to_dict(config: DualEncoderConfig) -> dict[str, Any]:
    """Returns the configuration as the nested dicts that `config_from_dict` reads."""
    fields = dataclasses.asdict(config)
    fields["image"] = {"kind": config.image.kind, **fields["image"]}
    fields["text"] = {"kind": config.text.kind, **fields["text"]}
    return fields


def map_config_from_dict(config: Mapping[str, Any]) -> TamperingMapConfig:
    """Makes the learned map's configuration of a dict of plain types.

    Raises:
        ModelConfigError: a field is missing, unknown, of the wrong type or out of range.
    """
    _check_names(config, _field_names(TamperingMapConfig), "the learned map", "")
    hints = get_type_hints(TamperingMapConfig)
    for name, value in config.items():
        _check_value(name, value, hints[name])
    fields: dict[str, Any] = {
        name: tuple(x) if isinstance(x, list) else x for name, x in config.items()
    }
    try:
        return TamperingMapConfig(**fields)
    except ValueError as e:
        raise ModelConfigError(str(e)) from e


def _encoder_config(encoder: str, given: Any, configs: Mapping[str, Any]) -> Any:
    """The configuration of "image" or "text" from what is given of it."""
    if not isinstance(given, Mapping):
        raise ModelConfigError(f"{encoder} is {given!r}, not the fields of an encoder")
    kinds = " or ".join(repr(kind) for kind in configs)
    if "kind" not in given:
        raise ModelConfigError(f"{encoder}.kind is missing; it must be {kinds}")
    kind = given["kind"]
    if not isinstance(kind, str) or kind not in configs:
        hint = did_you_mean(str(kind), configs)
        raise ModelConfigError(f"{encoder}.kind is {kind!r}; it must be {kinds}{hint}")
    fields = {name: value for name, value in given.items() if name != "kind"}
    config_class = configs[kind]
    _check_names(fields, _field_names(config_class), f"kind {kind!r}", f"{encoder}.")
    hints = get_type_hints(config_class)
    for name, value in fields.items():
        _check_value(f"{encoder}.{name}", value, hints[name])
    # JSON knows no tuples, which a configuration needs to be hashable.
    fields = {name: tuple(x) if isinstance(x, list) else x for name, x in fields.items()}
    try:
        return config_class(**fields)
    except ValueError as e:
        raise ModelConfigError(f"{encoder}.{e}") from e


def _field_names(config_class: Any) -> list[str]:
    return [field.name for field in dataclasses.fields(config_class)]


def _check_names(given: Mapping[str, Any], fields: list[str], owner: str, prefix: str) -> None:
    for name in given:
        if name not in fields:
            hint = did_you_mean(str(name), fields)
            raise ModelConfigError(f"{prefix}{name} is not a field of {owner}{hint}")
    missing = [name for name in fields if name not in given]
    if missing:
        raise ModelConfigError(
            f"{prefix}{missing[0]} is missing; {owner} has the fields {', '.join(fields)}"
        )


def _check_value(name: str, value: Any, hint: Any) -> None:
    """Refuses a value that is not of its field's type, and numbers that no field can hold."""
    if hint == tuple[int, ...]:
        if not isinstance(value, list | tuple):
            raise ModelConfigError(f"{name} is {value!r}, not a list of integers")
        for number in value:
            _check_value(name, number, int)
        return
    expected = hint if hint in (int, float) else str  # Literal types list texts
    if type(value) is not expected:
        raise ModelConfigError(f"{name} is {value!r}, not of type {expected.__name__}")
    if isinstance(value, str) or (name == "init_bias" and math.isfinite(value)):
        return
    if not 0 < value < math.inf:
        raise ModelConfigError(f"{name} is {value}; it must be positive and finite")
