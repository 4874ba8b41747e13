"""Runs whose patches are augmented inside the step: as on the host, resumed, in any processes."""

import shutil

import pytest
from test_distributed import assert_same_model, no_process_outlives_its_test, start  # noqa: F401
from test_train import losses, records, tiny_config, tiny_flags  # noqa: F401

from exif_jax import train
from exif_jax.data.packing import AugmentError
from exif_jax.data.records_folder import DataError


def test_the_losses_are_those_of_patches_made_on_the_host(records, tmp_path):  # noqa: F811
    found = []
    for augment_on in ("host", "device"):
        config = tiny_config(records, num_steps=3)
        config.data.augment_on = augment_on
        config.data.filter_prob = config.data.rescale_prob = 0.5
        train.train(config, tmp_path / augment_on)
        found.append(losses(tmp_path / augment_on))
    assert found[0].keys() == {1, 2, 3}
    # The same patches to the byte; another program may sum float32 in another order.
    assert found[1] == pytest.approx(found[0], rel=1e-4)


def test_a_patch_that_the_device_cannot_make_is_refused_before_the_first_step(records, tmp_path):  # noqa: F811
    config = tiny_config(records)
    config.data.augment_on = "device"
    config.model.image.image_size = 144
    with pytest.raises(AugmentError, match="regions of 128 px are smaller than the patch of 144"):
        train.train(config, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def noisy_run(records, tmp_path_factory):  # noqa: F811
    """A run of six steps that nothing disturbed."""
    workdir = tmp_path_factory.mktemp("noisy")
    train.train(noisy_config(records), workdir)
    return workdir


def test_regions_on_the_device_change_nothing(records, noisy_run, tmp_path):  # noqa: F811
    config = noisy_config(records)
    config.data.device_cache = 10**8
    train.train(config, tmp_path)
    assert losses(tmp_path) == pytest.approx(losses(noisy_run), rel=1e-4)
    other = noisy_config(records)
    other.data.device_cache = 1000
    with pytest.raises(DataError, match=r"more than the 1000 of --config\.data\.device_cache"):
        train.train(other, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def noisy_config(records):  # noqa: F811
    config = tiny_config(records)
    config.data.augment_on, config.data.noise_prob = "device", 0.5
    config.train.keep_checkpoints = 6
    return config


def test_a_resumed_run_goes_on_bit_for_bit(records, noisy_run, tmp_path):  # noqa: F811
    """As if it was killed after its third step; noise depends on the step, not on the start."""
    workdir = shutil.copytree(noisy_run, tmp_path / "run")
    (workdir / "model.safetensors").unlink()
    for step in (4, 5, 6):
        shutil.rmtree(workdir / "checkpoints" / str(step))
    train.train(noisy_config(records), workdir)
    assert losses(workdir) == losses(noisy_run)
    a, b = (folder / "model.safetensors" for folder in (workdir, noisy_run))
    assert a.read_bytes() == b.read_bytes()


@pytest.mark.slow
def test_two_processes_give_the_losses_of_one(records, noisy_run, tmp_path):  # noqa: F811
    flags = tiny_flags(records, mesh__fsdp=2, data__augment_on="device", data__noise_prob=0.5)
    for process in start(flags, tmp_path / "run", tmp_path / "log", 2):
        assert process.wait(timeout=280) == 0, (tmp_path / "log.0").read_text()
    assert losses(tmp_path / "run") == pytest.approx(losses(noisy_run), rel=1e-4)
    assert_same_model(tmp_path / "run", noisy_run)
