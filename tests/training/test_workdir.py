"""A run's newest checkpoint as a model, and what a folder that has none is told."""

import shutil

import numpy as np
import pytest
from test_checkpoint import damage
from test_train import records, tiny_config  # noqa: F401

from exif_jax import train
from exif_jax.models.parameters import flatten_params
from exif_jax.training.workdir import from_workdir
from exif_jax.weights import release_file
from exif_jax.weights.release_file import ReleaseError


@pytest.fixture(scope="module")
def workdir(records, tmp_path_factory):  # noqa: F811
    folder = tmp_path_factory.mktemp("run")
    train.train(tiny_config(records, num_steps=2), folder)
    return folder


def test_the_newest_checkpoint_is_the_model_that_the_run_released(workdir):
    found, released = from_workdir(workdir), release_file.load_model(workdir / "model.safetensors")
    ours, theirs = flatten_params(found.params), flatten_params(released.params)
    assert ours.keys() == theirs.keys() and found.config == released.config
    for name, value in ours.items():  # release files are float16
        np.testing.assert_array_equal(np.asarray(value, np.float16), theirs[name], name)


def test_what_a_folder_lacks_is_named(workdir, tmp_path):
    with pytest.raises(ReleaseError, match=r"no averaged weights; config\.train\.ema was 0"):
        from_workdir(workdir, averaged=True)
    with pytest.raises(ReleaseError, match="cannot read the model file"):
        from_workdir(tmp_path)
    shutil.copy(workdir / "untrained.safetensors", tmp_path)
    with pytest.raises(ReleaseError, match=r"no checkpoint yet; wait for"):
        from_workdir(tmp_path)


def test_damaged_checkpoints_are_named(workdir, tmp_path):
    shutil.copytree(workdir, tmp_path / "run")
    for step in (1, 2):
        damage(tmp_path / "run/checkpoints" / str(step), "cut")
    with pytest.raises(ReleaseError, match=str(tmp_path)):
        from_workdir(tmp_path / "run")
