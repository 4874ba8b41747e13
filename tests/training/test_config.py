"""What is refused before anything is compiled, each in one sentence."""

import json

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
from exif_jax.training.config import make_step_config
from exif_jax.training.sharding import MeshError
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
    refuses(train.TrainError, "takes 1024 photos, and .* to train on", train__batch_size=4096)
    refuses(train.TrainError, "multiple of data.texts_per_photo", train__batch_size=18)
    refuses(train.TrainError, "image_weight is 1.0; .*patches_per_text", data__patches_per_text=1)
    refuses(train.TrainError, "image_weight is -1.0", train__image_weight=-1.0)
    refuses(train.TrainError, "positive", train__num_steps=0)
    refuses(train.TrainError, "a share, 0 to 1", data__keep_tag=1.5)
    refuses(train.TrainError, "float32 or bfloat16", train__dtype="float16")
    refuses(train.TrainError, "infonce or sigmoid", train__loss="softmax")
    refuses(train.TrainError, "decoupled or l2", optim__decay="L2")
    refuses(train.TrainError, "train.ema is 1.5", train__ema=1.5)
    refuses(train.TrainError, "needs config.model.init_bias", train__loss="sigmoid")
    refuses(train.TrainError, "not a multiple of .*micro_batch 6", train__micro_batch=6)
    refuses(train.TrainError, "no such parameters; it has .*text", optim__frozen=("txt",))
    refuses(DataError, "names Colour, which the texts", data__tags=("Make", "Colour"))
    refuses(DatasetError, "neither manifest.jsonl nor", eval__splices="/no/such/folder")
    refuses(ReleaseError, "cannot read the model file", train__init_model="/no/such/model")
    refuses(train.TrainError, "loss_chunk is -1; it must be 0 or more", train__loss_chunk=-1)
    refuses(MeshError, "does not fit the .* device", mesh__fsdp=3)
    if jax.device_count() > 1:
        refuses(MeshError, "does not divide over", train__batch_size=4)
        refuses(MeshError, "does not divide over", train__micro_batch=4)


def test_a_resnet_does_not_train_in_pieces():
    """Its batch norms need the whole batch."""
    config = demo.get_config()
    config.train.micro_batch = 16
    text = TextConfig(vocab_size=9, max_length=4, width=8, depth=1, heads=1, mlp_dim=8)
    model = DualEncoderConfig(ResNetConfig(image_size=16, width=4, stages=(1, 2)), text, 8)
    with pytest.raises(train.TrainError, match="micro_batch does not work with a ResNet"):
        make_step_config(config, model, sharding.make_mesh(-1, 1))


def test_an_unknown_model_field_is_named(records, tmp_path):  # noqa: F811
    config = tiny_config(records)
    config.model.image.widht = 32
    with pytest.raises(train.TrainError, match="widht"):
        train.train(config, tmp_path)


def test_a_run_with_tuples_in_its_config_goes_on(records, tmp_path):  # noqa: F811
    """The work folder's JSON knows lists only."""
    config = tiny_config(records, num_steps=1)
    config.optim.frozen = ("text",)
    train.train(config, tmp_path)
    config.train.log_every = 2
    train.train(config, tmp_path)


def test_another_runs_folder_is_refused(records, tmp_path):  # noqa: F811
    config = tiny_config(records, num_steps=2)
    train.train(config, tmp_path)
    config.optim.lr = 0.5
    with pytest.raises(train.TrainError, match=r"other settings \(optim.lr\)"):
        train.train(config, tmp_path)


def test_a_field_that_a_run_of_an_older_version_lacks_must_be_off(records, tmp_path):  # noqa: F811
    config = tiny_config(records)
    config.prepare_workdir(tmp_path, config)
    path = tmp_path / "config.json"
    older = json.loads(path.read_text())
    assert older["data"].pop("more_records") == ""
    path.write_text(json.dumps(older))
    config.data.more_records = "simulated"
    with pytest.raises(config.TrainError, match=r"other settings \(data.more_records\)"):
        config.prepare_workdir(tmp_path, config)
    config.data.more_records = ""
    config.prepare_workdir(tmp_path, config)
    config.train.same_photo_negatives = False  # off where it was on is another run
    with pytest.raises(config.TrainError, match="same_photo_negatives"):
        config.prepare_workdir(tmp_path, config)


def test_a_best_that_is_not_measured_is_named(records, tmp_path):  # noqa: F811
    config = tiny_config(records, num_steps=1)
    config.eval.best = "beauty"
    with pytest.raises(train.TrainError, match=r"'beauty', which .* it measures alignment"):
        train.train(config, tmp_path)


def test_no_path_of_a_config_is_published(records):  # noqa: F811
    config = tiny_config(records)
    config.data.more_records = config.train.init_model = config.eval.splices = "/home/erika/some"
    published = json.dumps(train.publishable_settings(config))
    assert "erika" not in published and "some" in published
    assert str(records) not in published
