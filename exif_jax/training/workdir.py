"""The work folder of a training run: its newest checkpoint as a model, and the model's card."""

from __future__ import annotations

import dataclasses
import functools
import pathlib

import jax
from ml_collections import ConfigDict

from exif_jax.models.parameters import flatten_params
from exif_jax.training import sharding, train_state
from exif_jax.training.checkpoint import CheckpointError, Checkpoints
from exif_jax.training.config import make_step_config
from exif_jax.weights.release_file import Model, ReleaseError, load_model


def from_workdir(workdir: pathlib.Path, averaged: bool | None = None) -> Model:
    """The model at the newest checkpoint of a training run's work folder.

    Args:
        workdir: of the run.
        averaged: the averaged weights (`train.ema`), or those of the last step; None: the averaged
            ones where the run has them, as `exif_jax.train` itself releases.

    Raises:
        ReleaseError: the folder holds no run, no checkpoint, or no averaged weights.
    """
    untrained = load_model(workdir / "untrained.safetensors")
    config = ConfigDict(untrained.provenance["config"])
    if averaged and not config.train.ema:
        raise ReleaseError(f"{workdir}: no averaged weights; config.train.ema was 0 in this run")
    mesh = sharding.make_mesh(-1, 1)
    recipe = make_step_config(config, untrained.config, mesh)
    shapes = jax.eval_shape(functools.partial(train_state.init_state, recipe), jax.random.key(0))
    with Checkpoints(workdir / "checkpoints", keep=None) as checkpoints:
        if checkpoints.latest_step() is None:
            raise ReleaseError(f"{workdir}: no checkpoint yet; wait for config.train.save_every")
        places = sharding.state_shardings(mesh, shapes)
        try:
            state = checkpoints.restore(shapes, places)
        except CheckpointError as e:
            raise ReleaseError(str(e)) from e
    return dataclasses.replace(
        untrained,
        params=jax.device_get(state.params if averaged is False else state.ema or state.params),
        provenance={
            "config": config.to_dict(),
            "steps": int(state.step),
            "weights": "last" if averaged is False or not state.ema else "averaged",
        },
    )


def model_card(model: Model) -> str:
    """What is known of a model, in a few lines of Markdown."""
    config = model.provenance.get("config", {})
    train, data = config.get("train", {}), config.get("data", {})
    sizes = {
        tower: sum(x.size for x in flatten_params(model.params[tower]).values())
        for tower in ("image", "text")
    }
    lines = [
        f"# {model.id or 'model card'}",
        "",
        f"- **Image encoder**: {model.config.image}, {sizes['image']:,} parameters",
        f"- **Text encoder**: {model.config.text}, {sizes['text']:,} parameters",
        f"- **Trained**: {model.provenance.get('steps', 0):,} steps of "
        f"{train.get('batch_size', 0):,} patches, loss {train.get('loss', 'infonce')}"
        + (", averaged weights" if model.provenance.get("weights") == "averaged" else ""),
        f"- **Text**: {len(model.tags)} tags ({', '.join(model.tags)}), "
        f"{'with' if data.get('tag_names', True) else 'without'} their names",
        f"- **Calibrated**: {'yes' if model.calibration else 'no'}",
    ]
    found = model.provenance.get("validation", {})
    told = {name: value for name, value in found.items() if "/" not in name}
    lines += ["", "| on cameras held out | |", "|---|---|"] if told else []
    return "\n".join(lines + [f"| {name} | {value:.4g} |" for name, value in told.items()])
