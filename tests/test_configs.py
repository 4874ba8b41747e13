"""Every config is a run that could begin; every ablation changes what it says."""

import functools
import importlib
import pathlib

import jax
import numpy as np
import pytest

from configs import ablations, tampering_map, vit_ti_128, vit_ti_cpu
from exif_jax.training import sharding, train_state
from exif_jax.training.config import make_model_config, parse_config
from exif_jax.training.map_config import parse_map_config
from exif_jax.training.map_state import init_map_state
from exif_jax.training.step_config import make_step_config
from exif_jax.weights.map_file import load_map

NAMES = sorted(p.stem for p in (pathlib.Path(__file__).parents[1] / "configs").glob("[!_]*.py"))
MESH = sharding.make_mesh(-1, 1)


def begins(config_dict) -> int:
    """Checks a config as training does, and gives the number of its parameters."""
    config = parse_config(config_dict)
    step_config = make_step_config(config, make_model_config(config, vocab_size=1000), MESH)
    init = functools.partial(train_state.init_state, step_config)
    shapes = jax.eval_shape(init, jax.random.key(0))
    assert bool(shapes.ema) == bool(config.train.ema)
    return sum(x.size for x in jax.tree.leaves(shapes.params))


@pytest.mark.parametrize(
    "name", [name for name in NAMES if name not in ("ablations", "tampering_map")]
)
def test_a_config_begins(name):
    config = importlib.import_module(f"configs.{name}").get_config()
    parameters = begins(config)
    least, most = {"vit_b": (100e6, 120e6), "resnet50_paper": (65e6, 75e6)}.get(name, (1e6, 120e6))
    assert least < parameters < most
    # The keys are those that vit_b.py explains.
    explained = importlib.import_module("configs.vit_b").get_config()
    for group in ("data", "optim", "train", "eval", "mesh"):
        assert set(config[group]) == set(explained[group])


def test_the_learned_maps_config_begins_a_network_of_the_shape_that_ships():
    run, ships = parse_map_config(tampering_map.get_config()), load_map()
    assert run.model == ships.config
    shapes = jax.eval_shape(functools.partial(init_map_state, run), jax.random.key(0)).params
    assert jax.tree.map(np.shape, shapes) == jax.tree.map(np.shape, ships.params)


def test_the_runs_of_the_weights_that_ship():
    runs = map(vit_ti_128.get_config, vit_ti_128.RUNS)
    first, second, third, fourth, fifth, sixth, seventh = runs
    assert len({begins(c) for c in (first, second, third, fourth, fifth)}) == 1
    assert begins(sixth) > 2 * begins(fifth) and sixth.model.image == fifth.model.image
    assert second.train.num_steps > first.train.num_steps and second.data.contrast_prob == 0.5
    assert third.data.noise_prob and third.data.shrink_prob and not second.data.noise_prob
    assert fourth.data.noise_prob == third.data.noise_prob and fourth.train.num_steps == 1500
    assert fifth.train.num_steps == 3500 and fifth.data == fourth.data == sixth.data
    positions = 64 * sixth.model.image.width  # of 8 x 8 tokens
    assert begins(seventh) == begins(sixth) - positions and 128 in seventh.data.patch_sizes
    with pytest.raises(ValueError, match="choose one of first, second, third, fourth, fifth"):
        vit_ti_128.get_config("eighth")


def test_the_papers_recipe():
    c = importlib.import_module("configs.resnet50_paper").get_config()
    assert (c.optim.lr, c.optim.b1, c.optim.b2, c.optim.eps) == (1e-4, 0.9, 0.98, 1e-6)
    assert (
        c.optim.weight_decay_type == "l2"
        and c.train.batch_size == 1024
        and "log_scale" in c.optim.frozen
    )


@pytest.mark.parametrize(
    "change",
    [f"{sweep}={variant}" for sweep, of in ablations.SWEEPS.items() for variant in of],
)
def test_an_ablation_changes_what_it_says(change):
    sweep, variant = change.split("=")
    config, base = ablations.get_config(change).to_dict(), vit_ti_cpu.get_config().to_dict()

    def flat(tree, prefix=""):
        for name, value in tree.items():
            if isinstance(value, dict):
                yield from flat(value, f"{prefix}{name}.")
            else:
                yield prefix + name, value

    before = dict(flat(base))
    changed = {name: value for name, value in flat(config) if value != before[name]}
    wanted = ablations.SWEEPS[sweep][variant]
    assert changed == {name: value for name, value in wanted.items() if value != before[name]}
    begins(ablations.get_config(change))


@pytest.mark.parametrize("change", ["", "tag_names", "tag_names=some", "colour=kept"])
def test_an_unknown_ablation_is_named(change):
    with pytest.raises(ValueError, match="choose one of tag_order=shuffled"):
        ablations.get_config(change)
