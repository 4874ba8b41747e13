"""Checkpoints come back bit for bit, on any sharding, and a killed save harms nothing."""

import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import SingleDeviceSharding

from exif_jax.training import sharding
from exif_jax.training.checkpoint import CheckpointError, Checkpoints, saved_steps

STEPS_KEPT = 2


def state_at(step: int) -> dict:
    rng = np.random.default_rng(step)
    return {
        "step": jnp.asarray(step, jnp.int32),
        "params": {
            "kernel": jnp.asarray(rng.normal(size=(16, 8)), jnp.float32),
            # Values that a detour over text or float64 would spoil.
            "odd": jnp.asarray([np.inf, -0.0, np.nan, 1e-45, 1 / 3], jnp.float32),
        },
        "opt": (jnp.asarray(rng.normal(size=3), jnp.bfloat16), jnp.arange(4, dtype=jnp.uint32)),
    }


def on_one_device(state):
    return jax.tree.map(lambda _: SingleDeviceSharding(jax.devices()[0]), state)


def assert_same_bits(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert x.dtype == y.dtype and x.shape == y.shape
        assert np.asarray(x).tobytes() == np.asarray(y).tobytes()


def save(folder, *steps):
    with Checkpoints(folder, STEPS_KEPT) as checkpoints:
        for step in steps:
            checkpoints.save(step, state_at(step))


def restore(folder, shardings=None):
    like = jax.eval_shape(lambda: state_at(0))
    with Checkpoints(folder, STEPS_KEPT) as checkpoints:
        return checkpoints.restore(like, shardings or on_one_device(like))


def test_an_empty_folder_has_no_checkpoint(tmp_path):
    with Checkpoints(tmp_path / "new", STEPS_KEPT) as checkpoints:
        assert checkpoints.latest_step() is None


def test_the_newest_comes_back_bit_for_bit(tmp_path):
    save(tmp_path, 1, 5)
    assert_same_bits(restore(tmp_path), state_at(5))


def test_only_the_newest_are_kept(tmp_path):
    save(tmp_path, 1, 2, 3, 4)
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.isdigit()) == ["3", "4"]


def test_one_step_can_be_kept_beside_the_newest(tmp_path):
    with Checkpoints(tmp_path, STEPS_KEPT, keep_step=2) as checkpoints:
        for step in range(1, 7):
            checkpoints.save(step, state_at(step))
    assert saved_steps(tmp_path) == [2, 5, 6]
    assert saved_steps(tmp_path / "none") == []


def test_saving_the_same_step_again_keeps_the_first(tmp_path):
    with Checkpoints(tmp_path, STEPS_KEPT) as checkpoints:
        checkpoints.save(3, state_at(3))
        checkpoints.save(3, state_at(4))
    assert_same_bits(restore(tmp_path), state_at(3))


def test_a_state_may_be_overwritten_while_it_is_saved(tmp_path):
    """The next step donates the state's memory while the writer thread is still busy."""
    reuse = jax.jit(lambda s: jax.tree.map(lambda x: x + x, s), donate_argnums=0)
    state = state_at(2)
    with Checkpoints(tmp_path, STEPS_KEPT) as checkpoints:
        checkpoints.save(2, state)
        reuse(state)
    assert_same_bits(restore(tmp_path), state_at(2))


@pytest.mark.parametrize("fsdp", [1, 2, 8])
def test_a_checkpoint_moves_to_another_mesh_and_back(tmp_path, fsdp, monkeypatch):
    if jax.device_count() % fsdp:
        pytest.skip(f"needs a multiple of {fsdp} devices, there are {jax.device_count()}")
    monkeypatch.setattr(sharding, "MIN_SHARDED_SIZE", 64)
    mesh = sharding.make_mesh(-1, fsdp)
    shardings = sharding.state_shardings(mesh, state_at(0))
    save(tmp_path / "one", 1)
    spread = restore(tmp_path / "one", shardings)
    assert_same_bits(spread, state_at(1))
    kernel = spread["params"]["kernel"]
    assert kernel.sharding == shardings["params"]["kernel"]
    assert kernel.addressable_shards[0].data.size == kernel.size // fsdp
    with Checkpoints(tmp_path / "many", STEPS_KEPT) as checkpoints:
        checkpoints.save(1, spread)
    assert_same_bits(restore(tmp_path / "many"), state_at(1))


def test_an_interrupted_save_is_passed_over(tmp_path):
    save(tmp_path, 1, 2)
    # What a process killed while it writes step 3 leaves: files in a folder not yet renamed.
    half = tmp_path / "3.orbax-checkpoint-tmp"
    shutil.copytree(tmp_path / "2", half)
    for path in sorted(half.rglob("*")):
        if path.is_file():
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert_same_bits(restore(tmp_path), state_at(2))
    save(tmp_path, 3)
    assert_same_bits(restore(tmp_path), state_at(3))


def damage(folder, how: str) -> None:
    """Every file of some size cut or filled with zeros, as disks do."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.stat().st_size > 40:
            data = path.read_bytes()
            path.write_bytes(data[:20] if how == "cut" else bytes(len(data)))


@pytest.mark.parametrize("how", ["cut", "zeros"])
def test_a_damaged_newest_one_falls_back_to_the_one_before(tmp_path, how, capsys):
    folder = tmp_path / "checkpoints"
    save(folder, 4, 7)
    damage(folder / "7", how)
    assert_same_bits(restore(folder), state_at(4))
    message = capsys.readouterr().err
    assert "step 7 is damaged" in message and "going on from step 4" in message
    assert (tmp_path / "damaged-checkpoint-7").is_dir() and not (folder / "7").exists()
    save(folder, 7)  # the run that goes on from there
    assert_same_bits(restore(folder), state_at(7))
    assert "damaged" not in capsys.readouterr().err


def test_a_reader_beside_the_run_moves_nothing(tmp_path, capsys):
    folder = tmp_path / "checkpoints"
    save(folder, 4, 7)
    damage(folder / "7", "cut")
    like = jax.eval_shape(lambda: state_at(0))
    with Checkpoints(folder, None) as checkpoints:
        assert_same_bits(checkpoints.restore(like, on_one_device(like)), state_at(4))
    assert (folder / "7").is_dir() and "step 7 is damaged" in capsys.readouterr().err


def test_if_all_are_damaged_nothing_is_moved_and_it_says_so(tmp_path):
    folder = tmp_path / "checkpoints"
    save(folder, 4, 7)
    damage(folder / "4", "cut")
    damage(folder / "7", "cut")
    with pytest.raises(CheckpointError, match="cannot read a checkpoint"):
        restore(folder)
    assert (folder / "4").is_dir() and (folder / "7").is_dir()


def test_another_models_checkpoint_is_refused_and_left_alone(tmp_path):
    folder = tmp_path / "checkpoints"
    save(folder, 4, 7)
    like = jax.eval_shape(lambda: {"other": jnp.zeros(3)})
    with Checkpoints(folder, STEPS_KEPT) as checkpoints, pytest.raises(CheckpointError):
        checkpoints.restore(like, on_one_device(like))
    assert_same_bits(restore(folder), state_at(7))
