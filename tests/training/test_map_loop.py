"""Training the learned map: it learns, goes on bit for bit where it stopped, and refuses misuse."""

import copy
import dataclasses
import functools
import json

import jax
import numpy as np
import pytest
from PIL import Image

from configs import tampering_map
from exif_jax import train_map as command
from exif_jax.data.photo_pool import make_pool
from exif_jax.models.parameters import flatten_params
from exif_jax.models.tampering_map import TamperingMapConfig, init_map_params, map_logits
from exif_jax.training import map_state
from exif_jax.training.checkpoint import Checkpoints
from exif_jax.training.config import TrainError
from exif_jax.training.map_config import parse_map_config
from exif_jax.training.map_loop import train_map
from exif_jax.weights.map_file import KIND, MapModel, load_map, save_map
from exif_jax.weights.release_file import PRETRAINED, ReleaseError, load_model

MODEL = {"block_width": 8, "width": 8, "hidden": 8, "radii": [3]}
MODEL |= {"fine_radii": [3], "references": 2, "alike": [1], "head_width": 2}


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    root = tmp_path_factory.mktemp("map")
    rng = np.random.default_rng(0)
    (root / "photos").mkdir()
    for name in "abcdefghijklmnop":
        values = rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)
        image = Image.fromarray(values).resize((400, 300), Image.Resampling.BICUBIC)
        image.save(root / "photos" / f"{name}.png")
    make_pool([root / "photos"], [], root / "pool")
    return root


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    """Pictures of 96 x 64 and no worker process."""
    from exif_jax.data import composite_batches
    from exif_jax.data.photo_pool import load_pool
    from exif_jax.training import map_loop

    monkeypatch.setattr(composite_batches, "SHAPES", ((64, 96),))

    def batches(folder, seed, steps, batch_size, multiple, workers):
        part = load_pool(folder).part(False)
        for step in steps:
            yield composite_batches.make_batch(part, seed, step, batch_size, multiple)

    monkeypatch.setattr(map_loop, "composite_batches", batches)


def config(pool, steps=4, **train):
    c = tampering_map.get_config()
    c.model.update(MODEL)
    c.data.pool, c.data.validation = str(pool / "pool"), 1
    c.optim.warmup_steps, c.train.batch_size, c.train.num_steps = 1, 8, steps
    c.train.eval_every = c.train.log_every = c.train.save_every = 2
    c.train.update(train)
    return c


def released(workdir):
    return flatten_params(load_map(workdir / "map.safetensors").params)


def test_a_run_that_stops_goes_on_bit_for_bit(pool, tmp_path, monkeypatch):
    train_map(config(pool), tmp_path / "whole")
    train_map(config(pool, eval_every=1), tmp_path / "parts")  # bookkeeping changes nothing
    steps = iter((False, True))
    from exif_jax.training import distributed, map_loop

    class Stops:
        def __enter__(self):
            return lambda step: next(steps, False)

        def __exit__(self, *_):
            return None

    with monkeypatch.context() as patched:
        patched.setattr(map_loop.distributed, "preemption_signal", Stops)
        with pytest.raises(distributed.Preempted, match="step 2 is saved"):
            train_map(config(pool, save_every=100), tmp_path / "stopped")
    train_map(config(pool, save_every=100), tmp_path / "stopped")
    whole = released(tmp_path / "whole")
    for other in ("parts", "stopped"):
        for name, x in released(tmp_path / other).items():
            assert np.array_equal(x, whole[name]), name
    rows = [
        json.loads(line) for line in (tmp_path / "stopped/metrics.jsonl").read_text().splitlines()
    ]
    assert [row["step"] for row in rows if "loss" in row] == [2, 4]


def test_a_longer_run_begins_as_the_shorter_one(pool, tmp_path):
    short = config(pool, 4)
    short.optim.decay_fraction = 0.25  # the rate falls from step 3 on
    train_map(short, tmp_path / "run")
    longer = copy.deepcopy(short)
    longer.train.num_steps = 8
    with pytest.raises(TrainError, match="began to fall at step 3"):
        train_map(longer, tmp_path / "run")
    with Checkpoints(tmp_path / "run" / "checkpoints", keep=None) as checkpoints:
        assert checkpoints.latest_step() == 4
    import shutil

    shutil.rmtree(tmp_path / "run" / "checkpoints" / "4")
    train_map(longer, tmp_path / "run")
    train_map(longer, tmp_path / "straight")
    for name, x in released(tmp_path / "straight").items():
        assert np.array_equal(x, released(tmp_path / "run")[name]), name


def test_training_lowers_the_loss(pool, tmp_path):
    run = config(pool, 30, log_every=10, eval_every=30, save_every=30)
    run.data.validation = 4  # a region can be too small to hold a whole block
    train_map(run, tmp_path / "run")
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in rows if "loss" in row]
    assert losses[-1] < 0.8 * losses[0]
    last = rows[-1]
    assert {"validation/ap/copy", "validation/ap/resampled", "validation/auc"} <= last.keys()


def test_weights_can_be_gone_on_from(pool, tmp_path):
    train_map(config(pool, 2), tmp_path / "first")
    weights = tmp_path / "first" / "map.safetensors"
    train_map(config(pool, 2, init=str(weights)), tmp_path / "second")
    before, after = released(tmp_path / "first"), released(tmp_path / "second")
    moved = max(np.abs(after[name] - before[name]).max() for name in before)
    assert 0 < moved < 0.1
    for field, other in (("width", 16), ("radii", (5,)), ("radii", (5, 3)), ("references", 1)):
        unlike = config(pool, 2, init=str(weights))
        unlike.model[field] = other
        with pytest.raises(TrainError, match="another shape"):
            train_map(unlike, tmp_path / "third")
    deeper = config(pool, 2, init=str(weights))
    deeper.model.radii, deeper.model.alike = (3, 5), (1, 2)
    train_map(deeper, tmp_path / "fourth")
    assert load_map(tmp_path / "fourth" / "map.safetensors").config.alike == (1, 2)


def test_a_deeper_network_begins_with_what_the_smaller_one_says(pool):
    small = dataclasses.replace(parse_map_config(config(pool)).model, windows=(), convolutions=())
    deep = dataclasses.replace(small, radii=(3, 5), alike=(1, 2), fine_radii=(3, 3), windows=(4, 6))
    deep = dataclasses.replace(deep, convolutions=(5, 7))
    rng = np.random.default_rng(1)
    params = init_map_params(small, jax.random.key(0))
    params = jax.tree.map(lambda x: x + rng.normal(0, 0.1, x.shape).astype(np.float32), params)
    grown = map_state.grown_map_params(deep, params, jax.random.key(1))
    pictures = rng.integers(0, 256, (2, 32, 48, 3), dtype=np.uint8)
    logits = jax.jit(map_logits, static_argnums=0)
    before = np.asarray(logits(small, params, pictures))
    assert np.abs(before).max() > 0.01
    np.testing.assert_allclose(logits(deep, grown, pictures), before, atol=1e-6)
    fresh = flatten_params(grown)
    assert all(np.abs(fresh[f"alike2/{name}/kernel"]).max() > 0 for name in ("query", "key", "up"))
    assert all(np.abs(fresh[f"windows/{name}/kernel"]).max() > 0 for name in ("filters", "up"))
    assert np.abs(fresh["cells_around/up/kernel"]).max() > 0
    with pytest.raises(
        ValueError, match="unexpected: alike2"
    ):  # a smaller one does not take all of it
        map_state.grown_map_params(small, grown, jax.random.key(1))
    del params["out"]
    with pytest.raises(ValueError, match="it lacks out"):
        map_state.grown_map_params(small, params, jax.random.key(1))


def test_another_run_is_refused(pool, tmp_path):
    train_map(config(pool, 2), tmp_path / "run")
    other = config(pool, 2)
    other.optim.lr = 1e-4
    with pytest.raises(TrainError, match=r"other settings \(optim.lr\)"):
        train_map(other, tmp_path / "run")
    (tmp_path / "run" / "config.json").write_text("{}")
    with pytest.raises(TrainError, match="not the config of such a run"):
        train_map(config(pool, 2), tmp_path / "run")


def test_a_step_without_a_finite_gradient_changes_nothing(pool):
    run = parse_map_config(config(pool))
    state = map_state.init_map_state(run, jax.random.key(0))
    batch = {
        "picture": np.zeros((2, 64, 96, 3), np.uint8),
        "tampered": np.full((2, 8, 12), np.nan, np.float32),
    }
    after, metrics = jax.jit(functools.partial(map_state.map_step, run))(state, batch)
    assert int(after.step) == 1 and int(metrics["skipped_in_row"]) == 1
    assert jax.tree.all(jax.tree.map(np.array_equal, after.params, state.params))


def test_the_loss_is_the_cross_entropy(pool):
    run = parse_map_config(config(pool))
    params = init_map_params(run.model, jax.random.key(0))  # all logits are 0
    batch = {
        "picture": np.zeros((1, 64, 96, 3), np.uint8),
        "tampered": np.full((1, 8, 12), 0.25, np.float32),
    }
    loss = jax.jit(functools.partial(map_state.map_loss, run.model))(params, batch)
    assert abs(float(loss) - np.log(2)) < 1e-6


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"optim": {"schedule": "cosine"}}, "wsd"),
        ({"optim": {"warmup_steps": 99}}, "warmup_steps"),
        ({"train": {"num_steps": 0}}, "num_steps"),
        ({"data": {"pool": ""}}, "pool is empty"),
        ({"model": {"radii": (2,)}}, "odd"),
        ({"train": {"bs": 3}}, "no field train.bs"),
        ({"eval": {}}, "no section eval"),
    ],
)
def test_impossible_settings_are_named(pool, change, words):
    given = config(pool).to_dict()
    for section, fields in change.items():
        given[section] = {**given.get(section, {}), **fields}
    with pytest.raises(TrainError, match=words):
        parse_map_config(given)


def test_a_missing_pool_is_named(pool, tmp_path):
    c = config(pool)
    c.data.pool = str(tmp_path / "none")
    with pytest.raises(TrainError, match="no such pool"):
        train_map(c, tmp_path / "run")


@pytest.mark.filterwarnings("ignore:the load_module")  # ml_collections' own
@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["--config=configs/tampering_map.py"], 2, "--workdir"),
        (["--config=nowhere.py", "--workdir=x"], 2, "nowhere.py"),
        (["--config=configs/tampering_map.py", "--workdir=x", "more"], 2, "unexpected argument"),
        (["--config=configs/tampering_map.py", "--workdir=x", "--config.train.no=1"], 2, "no"),
        (["--config=configs/tampering_map.py", "--workdir=x"], 1, "no such pool"),
    ],
)
def test_wrong_use_of_the_command(tmp_path, monkeypatch, capsys, words, status, message):
    if not any("nowhere" in word for word in words):
        words = [
            word.replace("configs/", f"{tampering_map.__file__.rsplit('/', 1)[0]}/")
            for word in words
        ]
    monkeypatch.chdir(tmp_path)
    assert command.main(words) == status
    err = capsys.readouterr().err
    assert message in err and "Traceback" not in err


# --- its file -------------------------------------------------------------------------------------


def test_a_map_survives_its_file(tmp_path):
    tiny = TamperingMapConfig(
        block_width=4,
        width=4,
        hidden=4,
        radii=(3, 5),
        fine_radii=(3,),
        references=2,
    )
    params = jax.tree.map(np.asarray, init_map_params(tiny, jax.random.key(0)))
    save_map(MapModel(tiny, params, {"steps": 3}), tmp_path / "m.safetensors")
    read = load_map(tmp_path / "m.safetensors")
    assert (read.config, read.provenance) == (tiny, {"steps": 3}) and len(read.id) == 12
    for name, x in flatten_params(params).items():
        assert np.array_equal(flatten_params(read.params)[name], x)
    with pytest.raises(ReleaseError, match=f"holds a {KIND}"):
        load_model(tmp_path / "m.safetensors")
    with pytest.raises(ReleaseError, match="holds encoders"):
        load_map(PRETRAINED)


def test_what_is_no_map_is_refused(tmp_path):
    (tmp_path / "m").write_bytes(b"no weights")
    with pytest.raises(ReleaseError, match="not a learned map"):
        load_map(tmp_path / "m")
    with pytest.raises(ReleaseError, match="cannot read"):
        load_map(tmp_path / "none")
    tiny = TamperingMapConfig(
        block_width=4, width=4, hidden=4, radii=(3,), fine_radii=(3,), references=2
    )
    params = jax.tree.map(
        lambda x: np.full(x.shape, np.nan), init_map_params(tiny, jax.random.key(0))
    )
    with pytest.raises(ReleaseError, match="not finite"):
        save_map(MapModel(tiny, params, {}), tmp_path / "m")
