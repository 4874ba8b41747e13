"""A run's folder: what may change on resuming, how a run is made longer, and what it released."""

import json
import shutil

import numpy as np
import pytest
import torch_checkpoints
from test_checkpoint import damage
from test_train import losses, records, tiny_config  # noqa: F401

from configs import resnet50_paper
from exif_jax import train
from exif_jax.data.records import RecordReader, shard_name, write_shard
from exif_jax.models.parameters import flatten_params
from exif_jax.training.config import TrainError, parse_config
from exif_jax.training.workdir import from_workdir, prepare_workdir, publishable_settings
from exif_jax.weights import release_file
from exif_jax.weights.release_file import ReleaseError


def weights(workdir) -> dict[str, bytes]:
    """The released weights by name, as they lie in the file."""
    params = release_file.load_model(workdir / "model.safetensors").params
    return {name: np.asarray(x, np.float16).tobytes() for name, x in flatten_params(params).items()}


@pytest.fixture(scope="module")
def workdir(records, tmp_path_factory):  # noqa: F811
    folder = tmp_path_factory.mktemp("run")
    train.train(tiny_config(records, num_steps=2), folder)
    return folder


# --- what may change ------------------------------------------------------------------------------


def test_a_run_with_tuples_in_its_config_goes_on(records, tmp_path):  # noqa: F811
    """The work folder's JSON knows lists only."""
    config = tiny_config(records, num_steps=1)
    config.optim.frozen = ("text",)
    train.train(config, tmp_path)
    config.train.log_every = 2
    train.train(config, tmp_path)


def test_another_runs_folder_is_refused(records, workdir):  # noqa: F811
    config = tiny_config(records, num_steps=2)
    config.optim.lr = 0.5
    config.data.seed = 7
    with pytest.raises(TrainError, match=r"other settings \(data.seed, optim.lr\)"):
        train.train(config, workdir)


def test_a_field_that_a_run_of_an_older_version_lacks_had_its_default(records, tmp_path):  # noqa: F811
    config = tiny_config(records)
    prepare_workdir(tmp_path, parse_config(config), {})
    path = tmp_path / "config.json"
    older = json.loads(path.read_text())
    assert older["train"].pop("same_photo_negatives") is True
    path.write_text(json.dumps(older))
    prepare_workdir(tmp_path, parse_config(config), {})
    path.write_text(json.dumps(older))
    config.train.same_photo_negatives = False
    with pytest.raises(TrainError, match=r"other settings \(train.same_photo_negatives\)"):
        prepare_workdir(tmp_path, parse_config(config), {})


def test_a_config_that_this_version_does_not_read_is_named(records, tmp_path):  # noqa: F811
    (tmp_path / "config.json").write_text(json.dumps({"optim": {"rate": 1.0}}))
    with pytest.raises(TrainError, match=r"config\.json: no config of this version .*optim\.rate"):
        prepare_workdir(tmp_path, parse_config(tiny_config(records)), {})


def records_with(folder, source, rows_of) -> str:
    """A copy of a records folder whose training records are those that `rows_of` makes of them."""
    shutil.copytree(source, folder)
    reader = RecordReader(source, "train")
    for path in folder.glob("train-*"):
        path.unlink()
    write_shard(folder / shard_name("train", 0, 1), rows_of(reader))
    return str(folder)


def test_records_and_starting_weights_may_move(records, tmp_path):  # noqa: F811
    first = tiny_config(records, num_steps=1)
    train.train(first, tmp_path / "first")
    more = records_with(tmp_path / "more", records, lambda reader: [reader[0], reader[1]])
    config = tiny_config(records, num_steps=2)
    config.data.more_records = more
    config.train.init_model = str(tmp_path / "first" / "model.safetensors")
    train.train(config, tmp_path / "run")
    for path in ("more", "first"):
        (tmp_path / path).rename(tmp_path / f"moved {path}")
    config.data.records = str(shutil.copytree(records, tmp_path / "moved records"))
    config.data.more_records = str(tmp_path / "moved more")
    config.train.init_model = str(tmp_path / "moved first" / "model.safetensors")
    before = weights(tmp_path / "run")
    train.train(config, tmp_path / "run")
    assert weights(tmp_path / "run") == before


def test_an_image_encoder_to_begin_from_may_move(records, tmp_path):  # noqa: F811
    config = tiny_config(records, num_steps=1)
    config.model = resnet50_paper.get_config().model
    config.model.image.image_size, config.model.image.width = 32, 4
    config.model.image.stages = (1, 1)
    config.model.text.width = config.model.text.mlp_dim = config.model.embed_dim = 32
    config.model.text.heads = config.model.text.depth = 1
    config.model.text.max_length = 64
    for seed, name in ((0, "a.pth"), (1, "other.pth")):
        rng = np.random.default_rng(seed)
        torch_checkpoints.save(
            torch_checkpoints.resnet50(rng, 4, (1, 1), outputs=1000), tmp_path / name
        )
    config.train.init_image = str(tmp_path / "a.pth")
    train.train(config, tmp_path / "run")
    (tmp_path / "a.pth").rename(tmp_path / "b.pth")
    config.train.init_image = str(tmp_path / "b.pth")
    train.train(config, tmp_path / "run")
    config.train.init_image = str(tmp_path / "other.pth")
    with pytest.raises(TrainError, match=r"weights than --config\.train\.init_image=.*other\.pth"):
        train.train(config, tmp_path / "run")


def test_other_data_under_the_same_name_is_refused(records, workdir, tmp_path):  # noqa: F811
    config = tiny_config(records, num_steps=2)

    def refuses(words, rows_of):
        config.data.records = records_with(tmp_path / words[:4], records, rows_of)
        with pytest.raises(TrainError, match=words):
            train.train(config, workdir)

    photo = RecordReader(records, "train").photo_ids
    kept = [k for k in range(len(photo)) if photo[k] != photo[0]]
    refuses(
        r"other training records than .* \(45 photos then, 44 today\)",
        lambda r: [r[k] for k in kept],
    )
    refuses(
        "began with other training records than [^(]*; give",
        lambda r: [r[0], *map(r.__getitem__, range(len(r)))],
    )
    # The order in the shards says nothing, but among a photo's own records.
    config.data.records = records_with(
        tmp_path / "sorted",
        records,
        lambda r: [r[int(k)] for k in np.argsort(photo, kind="stable")],
    )
    train.train(config, workdir)


def test_weights_that_a_run_did_not_begin_with_are_refused(records, workdir):  # noqa: F811
    config = tiny_config(records, num_steps=2)
    config.train.init_model = str(workdir / "model.safetensors")
    config.train.init_parts = ()
    with pytest.raises(TrainError, match=r"other weights than --config\.train\.init_model="):
        train.train(config, workdir)


# --- a longer run ---------------------------------------------------------------------------------


def wsd_config(records, num_steps: int):  # noqa: F811
    config = tiny_config(records, num_steps)
    config.optim.schedule, config.optim.decay_fraction = "wsd", 0.5
    config.train.keep_checkpoints = 1
    config.train.ema = 0.5
    return config


def test_a_finished_wsd_run_goes_on_as_if_it_had_been_longer(records, tmp_path):  # noqa: F811
    train.train(wsd_config(records, 12), tmp_path / "long")
    train.train(wsd_config(records, 6), tmp_path / "run")
    first_end = weights(tmp_path / "run")
    assert losses(tmp_path / "run")[3] == losses(tmp_path / "long")[3]
    assert losses(tmp_path / "run")[6] != losses(tmp_path / "long")[6]
    train.train(wsd_config(records, 12), tmp_path / "run")
    assert losses(tmp_path / "run") == losses(tmp_path / "long")
    assert weights(tmp_path / "run") == weights(tmp_path / "long")
    # Nothing of the first end is lost.
    aside = tmp_path / "run" / "until-step-6"
    assert weights(aside) == first_end and set(losses(aside)) == {1, 2, 3, 4, 5, 6}
    assert (aside / "checkpoints" / "6").is_dir()
    # The checkpoint where the decay begins stays, beside the newest.
    kept = [p.name for p in (tmp_path / "run" / "checkpoints").iterdir() if p.name.isdigit()]
    assert sorted(kept, key=int) == ["6", "12"]


def test_a_wsd_run_that_has_not_decayed_yet_goes_on_from_its_newest_step(records, tmp_path):  # noqa: F811
    config = wsd_config(records, 6)
    config.optim.warmup_steps = 0
    inputs = {"training records": {}}
    (tmp_path / "checkpoints" / "2").mkdir(parents=True)
    (tmp_path / "metrics.jsonl").write_text("")
    prepare_workdir(tmp_path, parse_config(config), inputs)
    config.train.num_steps = 100
    prepare_workdir(tmp_path, parse_config(config), inputs)
    assert json.loads((tmp_path / "config.json").read_text())["train"]["num_steps"] == 100
    # Shorter: the decay would have begun at step 1.
    config.train.num_steps = 2
    with pytest.raises(TrainError, match="no checkpoint is left from before step 1"):
        prepare_workdir(tmp_path, parse_config(config), inputs)
    assert (tmp_path / "checkpoints" / "2").is_dir()
    (tmp_path / "checkpoints" / "1").mkdir()
    prepare_workdir(tmp_path, parse_config(config), inputs)
    assert not (tmp_path / "checkpoints" / "2").exists()
    assert (tmp_path / "until-step-2" / "checkpoints" / "2").is_dir()
    # Other settings than its length may not change.
    config.optim.lr = 0.5
    config.train.num_steps = 3
    with pytest.raises(TrainError, match=r"other settings \(optim.lr, train.num_steps\)"):
        prepare_workdir(tmp_path, parse_config(config), inputs)


def test_a_longer_cosine_run_is_refused_with_the_way_to_go_on(records, workdir, tmp_path):  # noqa: F811
    config = tiny_config(records, num_steps=3)
    with pytest.raises(TrainError, match=r"a run of 2 steps, not 3.*train\.init_model=.*=wsd") as e:
        train.train(config, workdir)
    (start,) = [word for word in str(e.value).split() if word.startswith("--config.train.init")]
    config.train.init_model = start.partition("=")[2].rstrip(";")
    train.train(config, tmp_path)  # the way that it names


# --- what it released -----------------------------------------------------------------------------


def test_the_newest_checkpoint_is_the_model_that_the_run_released(workdir):
    model, released = from_workdir(workdir), release_file.load_model(workdir / "model.safetensors")
    ours, theirs = flatten_params(model.params), flatten_params(released.params)
    assert ours.keys() == theirs.keys() and model.config == released.config
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
    (tmp_path / "map.safetensors").touch()
    with pytest.raises(ReleaseError, match=r"train_map; its weights are in map\.safetensors"):
        from_workdir(tmp_path)


def test_damaged_checkpoints_are_named(workdir, tmp_path):
    shutil.copytree(workdir, tmp_path / "run")
    for step in (1, 2):
        damage(tmp_path / "run/checkpoints" / str(step), "cut")
    with pytest.raises(ReleaseError, match=str(tmp_path)):
        from_workdir(tmp_path / "run")


def test_no_path_of_a_config_is_published(records):  # noqa: F811
    config = tiny_config(records)
    config.data.more_records = config.train.init_model = config.eval.splices = "/home/erika/some"
    published = json.dumps(publishable_settings(parse_config(config)))
    assert "erika" not in published and "some" in published
    assert str(records) not in published
