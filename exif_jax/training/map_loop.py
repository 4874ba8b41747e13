"""The loop that trains the learned map, from a config to released weights."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import pathlib
import sys
import time
from collections.abc import Mapping
from typing import Any

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from exif_jax.data.composite_batches import composite_batches, validation_composites
from exif_jax.data.photo_pool import PhotoPool, load_pool, make_pool
from exif_jax.io import locks
from exif_jax.io.atomic import write_bytes
from exif_jax.models.parameters import Params
from exif_jax.training import distributed, sharding
from exif_jax.training.checkpoint import Checkpoints, saved_steps
from exif_jax.training.config import TrainError
from exif_jax.training.input_wait import InputWait
from exif_jax.training.map_config import LENGTH, MapConfig, changed_fields, parse_map_config
from exif_jax.training.map_state import (
    grown_map_params,
    init_map_state,
    jit_map_step,
    map_state_from_params,
    validate_map,
)
from exif_jax.training.metrics_writer import MetricsWriter
from exif_jax.training.optimizer import learning_rate
from exif_jax.training.train_state import TrainState
from exif_jax.weights.map_file import MapModel, load_map, save_map

_RELEASE = "map.safetensors"


def train_map(config: ConfigDict | Mapping[str, Any], workdir: pathlib.Path) -> dict[str, float]:
    """Trains from the newest checkpoint in `workdir`, or from the start, to the last step.

    Args:
        config: see configs/tampering_map.py.
        workdir: where everything is written; made where it is missing.

    Returns:
        The last validation metrics.

    Raises:
        ExifJaxError: the run cannot start or go on.
        distributed.Preempted: SIGTERM came; the step is saved.
    """
    run = parse_map_config(config)
    mesh = sharding.make_mesh(run.mesh.data, run.mesh.fsdp)
    sharding.check_batch(mesh, run.train.batch_size)
    initial = load_map(run.train.init) if run.train.init else None
    start = _start(run, initial) if initial else None
    pool = _pool(run)
    workdir.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        stack.enter_context(locks.hold(workdir))
        prepare_map_workdir(workdir, run, pool.fingerprint, initial.id if initial else "")
        return _loop(run, mesh, pool, start, workdir, stack)


def _loop(
    run: MapConfig,
    mesh: Mesh,
    pool: PhotoPool,
    start: Params | None,
    workdir: pathlib.Path,
    stack: contextlib.ExitStack,
) -> dict[str, float]:
    num_steps, config = run.train.num_steps, run.train
    composites = validation_composites(pool.part(True), run.data.seed, run.data.validation)
    init = functools.partial(init_map_state, run)
    key = jax.random.key(config.seed)
    shardings = sharding.state_shardings(mesh, jax.eval_shape(init, key))
    decay_start = run.optim.decay_start(num_steps)
    checkpoints = stack.enter_context(
        Checkpoints(workdir / "checkpoints", config.keep_checkpoints, keep_step=decay_start)
    )
    if checkpoints.latest_step() is not None:
        state = checkpoints.restore(jax.eval_shape(init, key), shardings)
    elif start is not None:
        state = jax.device_put(map_state_from_params(run, start), shardings)
    else:
        state = jax.jit(init, out_shardings=shardings)(key)
    first_step = int(state.step)
    preempted = stack.enter_context(distributed.preemption_signal())
    writer = stack.enter_context(contextlib.closing(MetricsWriter(workdir, first_step)))
    print(
        f"{sum(x.size for x in jax.tree.leaves(state.params)):,} parameters, composites of "
        f"{len(pool):,} pictures, mesh {dict(mesh.shape)}, from step {first_step}",
        file=sys.stderr,
    )
    step_fn = jit_map_step(run, mesh, shardings)
    schedule = learning_rate(run.optim, num_steps)
    batches = composite_batches(
        run.data.pool,
        run.data.seed,
        range(first_step, num_steps),
        config.batch_size,
        mesh.size,
        run.data.workers,
    )
    stack.enter_context(contextlib.closing(batches))  # type: ignore[arg-type]
    results: dict[str, float] = {}
    waits = stack.enter_context(contextlib.closing(InputWait(batches)))
    pictures, since, losses = 0, time.monotonic(), []
    for step in range(first_step, num_steps):
        batch = waits.next_batch()
        pictures += len(batch["picture"])
        state, metrics = step_fn(state, sharding.to_device(mesh, batch))
        waits.computing(metrics)
        losses.append(metrics["loss"])
        done = step + 1
        if is_due(done, config.log_every, num_steps):
            mean_loss = float(sum(jax.device_get(losses)) / len(losses))  # waits for the device
            seconds = time.monotonic() - since
            in_row = int(metrics["skipped_in_row"])
            if in_row >= config.max_skipped:
                raise TrainError(
                    f"{workdir}: {in_row} steps in a row gave no finite loss or gradient, the last "
                    f"is {done}; lower --config.optim.lr in a new --workdir"
                )
            row = {
                "loss": mean_loss,
                "grad_norm": float(metrics["grad_norm"]),
                "learning_rate": float(jax.device_get(schedule(step))),
                "pictures_per_second": pictures / seconds,
                "input_wait": waits.seconds / seconds,
            }
            minutes_left = (num_steps - done) * seconds / len(losses) / 60
            writer.write(done, row, f"({minutes_left:.0f} min left)")
            pictures, since, losses, waits.seconds = 0, time.monotonic(), [], 0.0
        if is_due(done, config.eval_every, num_steps):
            results = _validate_and_release(run, state, composites, workdir, writer, pool)
        stops = preempted(done)
        if stops or is_due(done, config.save_every, num_steps) or done == decay_start:
            checkpoints.save(done, state)
        if stops and done < num_steps:
            raise distributed.Preempted(f"stopped by SIGTERM; step {done} is saved")
    return results


def _start(run: MapConfig, initial: MapModel) -> Params:
    """The parameters that a run begins with, from a release file of its shape or a smaller one."""
    given, wanted = initial.config, run.model
    shared: dict[str, Any] = {
        "radii": wanted.radii[: len(given.radii)],
        "fine_radii": wanted.fine_radii[: len(given.fine_radii)],
        "alike": given.alike,
        "windows": given.windows,
        "convolutions": given.convolutions,
    }
    if not given.alike:
        shared["head_width"] = given.head_width
    try:
        if dataclasses.replace(wanted, **shared) != given:
            raise ValueError("its residual blocks are not the first ones of config.model")
        return grown_map_params(wanted, initial.params, jax.random.key(run.train.seed))
    except ValueError as e:
        raise TrainError(
            f"{run.train.init}: of another shape than config.model ({e}): {given}"
        ) from e


def is_due(step: int, every: int, num_steps: int) -> bool:
    """Whether something that happens every so many steps, and at the last one, happens now."""
    return step % every == 0 or step == num_steps


def _validate_and_release(
    run: MapConfig,
    state: TrainState,
    composites: list,
    workdir: pathlib.Path,
    writer: MetricsWriter,
    pool: PhotoPool,
) -> dict[str, float]:
    """Measures the averaged weights and writes them."""
    params = jax.device_get(state.ema or state.params)
    results = validate_map(run.model, params, composites)
    step = int(state.step)
    writer.write(step, {f"validation/{name}": value for name, value in results.items()})
    settings = run.to_dict()
    settings["data"] |= {"pool": "", "photos": [], "pieces": []}  # paths say nothing of weights
    settings["train"]["init"] = pathlib.PurePath(run.train.init).name
    provenance = {"config": settings, "steps": step, "pool": pool.fingerprint[:12]}
    save_map(MapModel(run.model, params, provenance | {"validation": results}), workdir / _RELEASE)
    return results


def _pool(run: MapConfig) -> PhotoPool:
    """The pool that the config names, made where its folder is missing."""
    folder = pathlib.Path(run.data.pool)
    if not folder.exists():
        if not run.data.photos and not run.data.pieces:
            raise TrainError(
                f"{folder}: no such pool; name folders of photos to make it of, like "
                "--config.data.photos=\"('FOLDER',)\""
            )
        print(f"making {folder} ...", file=sys.stderr)
        make_pool(run.data.photos, run.data.pieces, folder)
    pool = load_pool(folder)
    for held_out in (True, False):
        if not len(pool.part(held_out)):
            raise TrainError(f"{folder}: too few photos to hold some out; give more")
    return pool


def prepare_map_workdir(workdir: pathlib.Path, run: MapConfig, pool: str, init: str) -> None:
    """Records a run's config and inputs in its folder, and refuses a folder of another run.

    A run may be given another num_steps as long as its rate has not begun to fall.

    Args:
        workdir: an existing folder.
        run: the config.
        pool: its fingerprint.
        init: the id of the weights that the run begins from; "" for none.

    Raises:
        TrainError: the folder holds a run with other settings or inputs.
        OSError: it cannot be written.
    """
    path = workdir / "config.json"
    inputs = {"pool": pool, "init": init}
    if path.exists():
        try:
            stored = json.loads(path.read_text())
            before, before_inputs = stored["config"], stored["inputs"]
        except (ValueError, KeyError, TypeError) as e:
            raise TrainError(
                f"{path}: not the config of such a run; choose another --workdir"
            ) from e
        for name in inputs:
            if before_inputs.get(name) != inputs[name]:
                raise TrainError(
                    f"{workdir}: this run began with another {name}; give the same, or choose "
                    "another --workdir"
                )
        changed = changed_fields(before, run.to_dict())
        if changed - LENGTH:
            raise TrainError(
                f"{workdir}: holds a run with other settings ({', '.join(sorted(changed))}); "
                "choose another --workdir, or give the same settings to go on with that run"
            )
        if changed:
            _check_longer(workdir, parse_map_config(before), run)
    text = json.dumps({"config": run.to_dict(), "inputs": inputs}, indent=1)
    write_bytes(path, text.encode())


def _check_longer(workdir: pathlib.Path, before: MapConfig, run: MapConfig) -> None:
    """Raises TrainError where the newest checkpoint lies behind the start of either decay."""
    last = min(c.optim.decay_start(c.train.num_steps) for c in (before, run))
    steps = saved_steps(workdir / "checkpoints")
    later = [step for step in steps if step > last]
    if later:
        raise TrainError(
            f"{workdir}: the learning rate began to fall at step {last} and the newest checkpoint "
            f"is of step {later[-1]}; move the checkpoints after {last} out of "
            f"{workdir / 'checkpoints'}, or train on in another --workdir with "
            f"--config.train.init={workdir / _RELEASE}"
        )
