"""A model's configuration to plain types and back, and what no model can have."""

import json

import pytest
from tiny_model import CONFIG

from exif_jax.models.config import ModelConfigError, config_from_dict, config_to_dict
from exif_jax.models.distilbert import DistilBertConfig
from exif_jax.models.dual_encoder import DualEncoderConfig
from exif_jax.models.resnet import ResNetConfig
from exif_jax.models.text import TextConfig
from exif_jax.models.vit import ViTConfig

IMAGES = [ViTConfig(features="spectrum", remat="dots"), ResNetConfig(stages=(1, 2))]
TEXTS = [TextConfig(width=256, remat="all"), DistilBertConfig(width=256, heads=4)]
PAPER = DualEncoderConfig(
    CONFIG.image,
    DistilBertConfig(vocab_size=9, max_length=4, width=16, depth=1, heads=1, mlp_dim=8),
    embed_dim=16,
)


@pytest.mark.parametrize("image", IMAGES, ids=lambda config: config.kind)
@pytest.mark.parametrize("text", TEXTS, ids=lambda config: config.kind)
def test_a_configuration_comes_back_from_json(image, text):
    config = DualEncoderConfig(image, text, embed_dim=256, init_temperature=0.1, init_bias=-10.0)
    fields = config_to_dict(config)
    assert fields["image"]["kind"] == image.kind and fields["text"]["kind"] == text.kind
    loaded = config_from_dict(json.loads(json.dumps(fields)))
    assert loaded == config and hash(loaded) == hash(config)


def refused(message, encoder=None, drop=None, **changes):
    """Asserts that CONFIG with these changes is refused in one sentence with this message."""
    fields = config_to_dict(CONFIG)
    part = fields[encoder] if encoder else fields
    part.update(changes)
    part.pop(drop, None)
    with pytest.raises(ModelConfigError, match=message) as error:
        config_from_dict(fields)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("encoder", "kinds"), [("image", "vit' or 'resnet"), ("text", "distil")])
def test_the_kind_of_an_encoder_is_asked_for(encoder, kinds):
    refused(rf"{encoder}\.kind is missing; it must be .*{kinds}", encoder, drop="kind")
    refused(rf"{encoder}\.kind is 'cnn'; it must be .*{kinds}", encoder, kind="cnn")
    refused(rf"{encoder}\.kind is \['vit'\]; it must be", encoder, kind=["vit"])
    refused(rf"{encoder}\.kind is None; it must be", encoder, kind=None)


def test_a_mistyped_name_is_answered_with_the_right_one():
    refused(r"image\.kind is 'vitt'; .*; did you mean 'vit'\?", "image", kind="vitt")
    refused(r"text\.kind is 'distilBERT'; .*did you mean 'distilbert'", "text", kind="distilBERT")
    message = r"image\.widht is not a field of kind 'vit'; did you mean 'width'\?"
    refused(message, "image", widht=16)
    refused(r"embed_dims is not a field of the model; did you mean 'embed_dim'\?", embed_dims=3)
    refused(r"text\.stages is not a field of kind 'transformer'$", "text", stages=[1])


def test_a_missing_field_is_named():
    message = r"text\.heads is missing; kind 'transformer' has the fields vocab_size, .*heads"
    refused(message, "text", drop="heads")
    refused(r"text is missing; the model has the fields image, text, embed_dim", drop="text")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("width", 0, "image.width is 0; it must be positive"),
        ("width", 16.0, "image.width is 16.0, not of type int"),
        ("width", True, "image.width is True, not of type int"),
        ("token_size", -8, "image.token_size is -8"),
        ("image_size", 20, "image.image_size 20 is not a multiple of token_size 8"),
        ("heads", 3, "image.width 16 is not a multiple of 3 heads"),
        ("pool", "max", "image.pool is 'max', not 'mean'"),
        ("pool", None, "image.pool is None, not of type str"),
        ("remat", 1, "image.remat is 1, not of type str"),
        ("remat", True, "image.remat is True, not of type str"),
        ("features", "colour", "image.features is 'colour'"),
    ],
)
def test_impossible_values_are_refused(name, value, message):
    refused(message, "image", **{name: value})


@pytest.mark.parametrize("stages", [[], 3, [1, 0], [1, 2.0], ["1"], None])
def test_impossible_stages_are_refused(stages):
    fields = config_to_dict(DualEncoderConfig(ResNetConfig(), CONFIG.text))
    fields["image"]["stages"] = stages
    with pytest.raises(ModelConfigError, match=r"image\.stages is"):
        config_from_dict(fields)


def test_other_things_than_fields_are_refused():
    refused("image is 3, not the fields of an encoder", image=3)
    refused("init_temperature is 0.0; it must be positive", init_temperature=0.0)
    refused("init_bias is nan", init_bias=float("nan"))
    refused("embed_dim 12 is not 16, the width of DistilBERT", text=config_to_dict(PAPER)["text"])
