"""The work folder of a training run: whose it is, from where a run goes on, what it released.

WORKDIR/config.json holds the run's config and WORKDIR/inputs.json says what its inputs were,
wherever they lay, so that they may move and may not be exchanged.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import pathlib
import shutil
from collections.abc import Iterator
from typing import Any

import jax

from exif_jax.data.dataset import PatchDataset
from exif_jax.io import locks
from exif_jax.io.atomic import write_bytes
from exif_jax.models.parameters import flatten_params
from exif_jax.training import distributed, sharding, train_state
from exif_jax.training.checkpoint import CheckpointError, Checkpoints, saved_steps
from exif_jax.training.config import Config, TrainError, parse_config
from exif_jax.training.step_config import make_step_config
from exif_jax.weights.release_file import Model, ReleaseError, load_model

# Fields that do not decide the loss curve, or name an input, which inputs.json tells by content.
_MAY_CHANGE = {
    *("data.records", "data.more_records", "data.reader", "data.cache_regions"),
    "data.device_cache",
    *("data.max_corrupt_fraction", "train.init_model", "train.init_image", "train.log_every"),
    *("train.eval_every", "train.save_every", "train.keep_checkpoints", "train.profile_steps"),
    *("train.wandb_project",),
}
# With optim.schedule "wsd" the steps before the decay do not depend on these.
_MAY_CHANGE_BEFORE_THE_DECAY = {"train.num_steps", "optim.decay_fraction"}


@contextlib.contextmanager
def open_workdir(workdir: pathlib.Path, config: Config, inputs: dict[str, Any]) -> Iterator[None]:
    """Prepares a work folder and keeps other runs out of it; all processes must enter together.

    Raises:
        TrainError: the folder cannot be written, is another run's, or is not seen by all processes.
        exif_jax.io.locks.FolderHeldError: another run is training in it.
    """
    with contextlib.ExitStack() as stack:
        with distributed.main_process_first("workdir") as is_main:
            if is_main:
                try:
                    workdir.mkdir(parents=True, exist_ok=True)
                    stack.enter_context(locks.hold(workdir))
                    prepare_workdir(workdir, config, inputs)
                except (OSError, ValueError) as e:
                    raise TrainError(f"{workdir}: cannot use this work folder: {e}") from e
        blind = distributed.processes_missing(workdir / "config.json")
        if blind:
            raise TrainError(
                f"{workdir}: the first process made this folder and process {blind[0]} does not "
                f"see it ({len(blind)} of {jax.process_count()} do not); --workdir must be one "
                "folder that all machines mount"
            )
        yield


def run_inputs(
    train_data: PatchDataset, validation_data: PatchDataset, model_id: str, image_path: str
) -> dict[str, Any]:
    """What decides a run beside its config, by content: JSON for WORKDIR/inputs.json.

    Args:
        train_data, validation_data: the splits, with their tags and tokenizer.
        model_id: of the release file that the run begins from; "" for none.
        image_path: of the image encoder that it begins from; "" for none.
    """
    image = hashlib.sha256(pathlib.Path(image_path).read_bytes()) if image_path else None
    return {
        "training records": train_data.photos.fingerprint(),
        "validation records": validation_data.photos.fingerprint(),
        "tags": list(train_data.tags),
        "tokenizer": hashlib.sha256(train_data.tokenizer.model_bytes).hexdigest(),
        "config.train.init_model": model_id,
        "config.train.init_image": image.hexdigest() if image else "",
    }


def prepare_workdir(workdir: pathlib.Path, config: Config, inputs: dict[str, Any]) -> None:
    """Records a run's config and inputs in its folder, and refuses a folder of another run.

    A run with optim.schedule "wsd" may be given another num_steps. It then goes on from its newest
    checkpoint before the decay, as if it had never decayed; what came later is put aside.

    Raises:
        TrainError: the folder holds a run with other settings or inputs.
        OSError, ValueError: it cannot be written, or what it holds cannot be read.
    """
    path, inputs_path = workdir / "config.json", workdir / "inputs.json"
    if inputs_path.exists():
        _check_inputs(workdir, config, json.loads(inputs_path.read_text()), inputs)
    if path.exists():
        try:
            before = parse_config(json.loads(path.read_text()))
        except TrainError as e:
            raise TrainError(
                f"{path}: no config of this version ({e}); choose another --workdir"
            ) from e
        last_step = _check_settings(workdir, before, config)
        if last_step is not None:
            _go_back(workdir, last_step)
    write_bytes(inputs_path, json.dumps(inputs, indent=1).encode())
    write_bytes(path, json.dumps(config.to_dict(), indent=1).encode())


def _check_inputs(workdir: pathlib.Path, config: Config, before: dict, now: dict) -> None:
    """Raises TrainError where a run's inputs are other ones than those that it began with."""
    for name in now:
        if before.get(name, now[name]) == now[name]:
            continue
        subject = f"{name} than {config.data.records} has"
        if name.endswith("records"):
            then, today = before[name]["photos"], now[name]["photos"]
            subject += f" ({then:,} photos then, {today:,} today)" if then != today else ""
        elif name.startswith("config."):
            path = getattr(config.train, name.rpartition(".")[2])
            subject = f"weights than --{name}={path}"
        raise TrainError(
            f"{workdir}: this run began with other {subject}; give the same, wherever they lie "
            "now, or choose another --workdir"
        )


def _check_settings(workdir: pathlib.Path, before: Config, now: Config) -> int | None:
    """Raises TrainError where a run's settings are not those that it began with.

    Returns:
        The last step that does not depend on the settings that changed; None where none did.
    """
    changed = _changed_fields(before.to_dict(), now.to_dict())
    if not changed:
        return None
    if changed <= _MAY_CHANGE_BEFORE_THE_DECAY and now.optim.schedule == "wsd":
        return min(run.optim.decay_start(run.train.num_steps) for run in (before, now))
    model = workdir / "model.safetensors"
    if changed == {"train.num_steps"}:
        raise TrainError(
            f"{workdir}: holds a run of {before.train.num_steps} steps, not "
            f"{now.train.num_steps}, and by config.optim.schedule 'cosine' the learning rate of "
            "every step depends on their number; train on in another --workdir with "
            f"--config.train.init_model={model}; a run that begins with "
            "--config.optim.schedule=wsd can be made longer at any time"
        )
    raise TrainError(
        f"{workdir}: holds a run with other settings ({', '.join(sorted(changed))}); choose "
        "another --workdir, or give the same settings to go on with that run"
    )


def _changed_fields(before: dict[str, Any], now: dict[str, Any], prefix: str = "") -> set[str]:
    """Names of the fields that decide the loss curve and differ."""
    changed = set()
    for name in before.keys() | now.keys():
        old, new = before.get(name), now.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            changed |= _changed_fields(old, new, f"{prefix}{name}.")
        elif old != new:
            changed.add(prefix + name)
    return {name for name in changed - _MAY_CHANGE if not name.startswith(("eval.", "mesh."))}


def _go_back(workdir: pathlib.Path, last_step: int) -> None:
    """Puts aside what a run made after its newest checkpoint up to `last_step`.

    Nothing is deleted: later checkpoints, the model and the metrics lie in WORKDIR/until-step-N
    afterwards. Killed on its way, it does the rest when it is called again.

    Raises:
        TrainError: there are later checkpoints only.
    """
    steps = saved_steps(workdir / "checkpoints")
    later = [step for step in steps if step > last_step]
    if not later:
        return
    if len(later) == len(steps):
        raise TrainError(
            f"{workdir}: no checkpoint is left from before step {last_step}, where the decay of "
            "the learning rate begins; give the old config.train.num_steps, or train on in another "
            f"--workdir with --config.train.init_model={workdir / 'model.safetensors'}"
        )
    aside = workdir / f"until-step-{later[-1]}"
    number = 2
    while aside.exists():
        aside = workdir / f"until-step-{later[-1]}-{number}"
        number += 1
    (aside / "checkpoints").mkdir(parents=True)
    shutil.copy(workdir / "metrics.jsonl", aside)
    if (workdir / "model.safetensors").exists():
        os.replace(workdir / "model.safetensors", aside / "model.safetensors")
    for step in later:
        os.replace(workdir / "checkpoints" / str(step), aside / "checkpoints" / str(step))


def publishable_settings(config: Config) -> dict[str, Any]:
    """The config without paths, which say nothing about the weights and may name a person."""
    settings = _without_folders(config.to_dict())
    settings["data"]["records"] = settings["train"]["wandb_project"] = ""
    return settings


def _without_folders(value: Any) -> Any:
    """Every text cut to the last part of a path, whatever field it is."""
    if isinstance(value, dict):
        return {name: _without_folders(field) for name, field in value.items()}
    return pathlib.PurePath(value).name if isinstance(value, str) else value


# --- what a run made ------------------------------------------------------------------------------


def from_workdir(workdir: pathlib.Path, averaged: bool | None = None) -> Model:
    """The model at the newest checkpoint of a training run's work folder.

    Args:
        workdir: of the run.
        averaged: the averaged weights (`train.ema`), or those of the last step; None: the averaged
            ones where the run has them, as `exif_jax.train` itself releases.

    Raises:
        ReleaseError: the folder holds no run, no checkpoint, or no averaged weights.
    """
    if (workdir / "map.safetensors").exists():
        raise ReleaseError(
            f"{workdir}: a run of exif_jax.train_map; its weights are in map.safetensors already"
        )
    untrained = load_model(workdir / "untrained.safetensors")
    try:
        config = parse_config(untrained.provenance["config"])
    except TrainError as e:
        raise ReleaseError(f"{workdir / 'untrained.safetensors'}: {e}") from e
    if averaged and not config.train.ema:
        raise ReleaseError(f"{workdir}: no averaged weights; config.train.ema was 0 in this run")
    mesh = sharding.make_mesh(-1, 1)
    step_config = make_step_config(config, untrained.config, mesh)
    init = functools.partial(train_state.init_state, step_config)
    shapes = jax.eval_shape(init, jax.random.key(0))
    with Checkpoints(workdir / "checkpoints", keep=None) as checkpoints:
        if checkpoints.latest_step() is None:
            raise ReleaseError(f"{workdir}: no checkpoint yet; wait for config.train.save_every")
        try:
            state = checkpoints.restore(shapes, sharding.state_shardings(mesh, shapes))
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
    metrics = model.provenance.get("validation", {})
    shown = {name: value for name, value in metrics.items() if "/" not in name}
    lines += ["", "| on cameras held out | |", "|---|---|"] if shown else []
    return "\n".join(lines + [f"| {name} | {value:.4g} |" for name, value in shown.items()])
