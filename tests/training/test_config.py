"""What is refused before anything is compiled, each in one sentence."""

import jax
import pytest
from test_train import records, tiny_config  # noqa: F401

from configs import demo
from exif_jax import train
from exif_jax.data.records_folder import DataError
from exif_jax.evaluation.datasets import DatasetError
from exif_jax.models.dual_encoder import DualEncoderConfig
from exif_jax.models.resnet import ResNetConfig
from exif_jax.models.text import TextConfig
from exif_jax.training import sharding
from exif_jax.training.config import (
    DataConfig,
    OptimizerConfig,
    TrainError,
    parse_config,
    unknown_field,
)
from exif_jax.training.sharding import MeshError
from exif_jax.training.step_config import make_step_config
from exif_jax.weights.release_file import ReleaseError


def test_bad_settings_are_refused_in_one_sentence(records, tmp_path):  # noqa: F811
    def refuses(error, words, **changes):
        config = tiny_config(records)
        for name, value in changes.items():
            group, field = name.split("__")
            config[group][field] = value
        with pytest.raises(error, match=words):
            train.train(config, tmp_path / "never")
        assert not (tmp_path / "never").exists()

    refuses(DataError, "no such folder.*data_prep.photos", data__records="/no/such/records")
    refuses(DataError, "'none'; it must be one of", data__reader="none")
    refuses(TrainError, "takes 1024 photos, and .* to train on", train__batch_size=4096)
    refuses(TrainError, "multiple of data.texts_per_photo", train__batch_size=18)
    refuses(TrainError, "image_weight is 1.0; .*patches_per_text", data__patches_per_text=1)
    refuses(TrainError, "image_weight is -1.0", train__image_weight=-1.0)
    refuses(TrainError, "config.train.num_steps is 0; .* positive", train__num_steps=0)
    refuses(TrainError, "keep_tag_prob is 1.5; .* between 0 and 1", data__keep_tag_prob=1.5)
    refuses(TrainError, "noise_prob is nan; .* between 0 and 1", data__noise_prob=float("nan"))
    refuses(TrainError, "max_corrupt_fraction is -1", data__max_corrupt_fraction=-1.0)
    refuses(TrainError, "float32 or bfloat16", train__dtype="float16")
    refuses(TrainError, "infonce or sigmoid", train__loss="softmax")
    refuses(TrainError, "cosine or wsd", optim__schedule="linear")
    refuses(TrainError, "decoupled or l2", optim__weight_decay_type="L2")
    refuses(TrainError, "train.ema is 1.5", train__ema=1.5)
    refuses(TrainError, "needs config.model.init_bias", train__loss="sigmoid")
    refuses(TrainError, "not a multiple of micro_batch 6", train__micro_batch=6)
    refuses(TrainError, "no such parameters; it has .*text", optim__frozen=("txt",))
    refuses(DataError, "names Colour, which the texts", data__tags=("Make", "Colour"))
    refuses(DatasetError, "neither manifest.jsonl nor", eval__splices="/no/such/folder")
    refuses(ReleaseError, "cannot read the model file", train__init_model="/no/such/model")
    refuses(TrainError, "patch_sizes needs .*positions 'none'", data__patch_sizes=(16, 32))
    refuses(TrainError, "must be whole numbers in parentheses", data__patch_sizes=("16",))
    refuses(TrainError, "loss_chunk is -1; it must be 0 or more", train__loss_chunk=-1)
    refuses(MeshError, "does not fit the .* device", mesh__fsdp=3)
    if jax.device_count() > 1:
        refuses(MeshError, "does not divide over", train__batch_size=4)
        refuses(MeshError, "does not divide over", train__micro_batch=4)


def test_a_warm_up_into_the_decay_is_refused(records):  # noqa: F811
    config = tiny_config(records, num_steps=10)
    config.optim.schedule, config.optim.decay_fraction = "wsd", 0.2
    config.optim.warmup_steps = 7
    assert parse_config(config).decay_start == 8
    config.optim.warmup_steps = 8
    with pytest.raises(TrainError, match=r"warmup_steps is 8, .* decays from step 8 on"):
        parse_config(config)
    config.optim.schedule = "cosine"  # which cuts a warm-up that is too long, and has no such step
    assert parse_config(config).decay_start is None


def test_a_resnet_does_not_train_in_pieces():
    """Its batch norms need the whole batch."""
    config = demo.get_config()
    config.train.micro_batch = 16
    text = TextConfig(vocab_size=9, max_length=4, width=8, depth=1, heads=1, mlp_dim=8)
    model = DualEncoderConfig(ResNetConfig(image_size=16, width=4, stages=(1, 2)), text, 8)
    with pytest.raises(TrainError, match="micro_batch does not work with a ResNet"):
        make_step_config(parse_config(config), model, sharding.make_mesh(-1, 1))


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("optim.learning_rate", "optim.lr"),
        ("optim.rl", "optim.lr"),
        ("train.lr", "optim.lr"),
        ("lr", "optim.lr"),
        ("train.bach_size", "train.batch_size"),
        ("train.steps", "train.num_steps"),
        ("num_steps", "train.num_steps"),
        ("data.rescale", "data.rescale_prob"),
        ("optim.decay", "optim.weight_decay"),
        ("model.image.widht", "model.image.width"),
        ("image.width", "model.image.width"),
        ("model.text.lenght", "model.text.max_length"),
        ("epochs", "train.num_steps"),
    ],
)
def test_an_unknown_field_is_told_with_the_one_that_was_meant(name, meant):
    assert unknown_field(name) == f"the config has no field {name}; did you mean {meant}?"


def test_an_unknown_field_of_a_config_file_is_refused(records, tmp_path):  # noqa: F811
    config = tiny_config(records)
    config.optim.learning_rate = 0.1
    with pytest.raises(TrainError, match=r"no field optim\.learning_rate; did you mean optim\.lr"):
        train.train(config, tmp_path)
    config = tiny_config(records)
    config.model.image.widht = 32
    with pytest.raises(TrainError, match=r"config\.model\.image\.widht .* did you mean 'width'"):
        train.train(config, tmp_path)


def test_a_missing_field_and_a_wrong_type_are_named(records):  # noqa: F811
    config = tiny_config(records).to_dict()
    config["optim"]["lr"] = 1  # a whole number is a number
    assert parse_config(config).optim.lr == 1.0
    for section, field, value, words in (
        ("train", "batch_size", "128", "batch_size is '128'; it must be of type int"),
        ("train", "batch_size", True, "batch_size is True; it must be of type int"),
        ("data", "tags", "Make", r"tags is 'Make'; it must be texts in parentheses"),
        ("optim", "frozen", [1], r"frozen is \[1\]; it must be texts in parentheses"),
    ):
        wrong = {**config, section: config[section] | {field: value}}
        with pytest.raises(TrainError, match=words):
            parse_config(wrong)
    for section, field in (("optim", "lr"), ("train", "num_steps"), ("data", "records")):
        rest = {name: value for name, value in config[section].items() if name != field}
        with pytest.raises(TrainError, match=f"lacks config.{section}.{field}"):
            parse_config({**config, section: rest})
    with pytest.raises(TrainError, match=r"lacks config\.mesh"):
        parse_config({name: section for name, section in config.items() if name != "mesh"})


def test_a_config_survives_json(records):  # noqa: F811
    """Lists are tuples again."""
    import json

    config = tiny_config(records)
    config.optim.frozen = ("text",)
    parsed = parse_config(config)
    assert parse_config(json.loads(json.dumps(parsed.to_dict()))) == parsed


def test_the_sections_check_themselves():
    with pytest.raises(ValueError, match=r"lr is 0\.0; it must be positive"):
        OptimizerConfig(lr=0.0)
    with pytest.raises(ValueError, match="cache_regions is 0; it must be positive"):
        DataConfig(records="", cache_regions=0)
    assert DataConfig(records="", texts_per_photo=2, patches_per_text=3).patches_per_photo == 6


def test_a_best_that_is_not_measured_is_named(records, tmp_path):  # noqa: F811
    config = tiny_config(records, num_steps=1)
    config.eval.best = "beauty"
    with pytest.raises(TrainError, match=r"'beauty', which .* it measures alignment"):
        train.train(config, tmp_path)
