"""Trains the dual encoder: `python -m exif_jax.train --config=configs/vit_b.py --workdir=DIR`.

Any field of the config can be changed on the command line: `--config.train.batch_size=256`.
The same command goes on where a killed run stopped, with the same data in the same order.

WORKDIR holds config.json, metrics.jsonl, tensorboard/, checkpoints/ and, at the end,
model.safetensors, which `exif_jax.localize` and `exif_jax.evaluate` take as --model. Beside it lie
best.safetensors, of the best validation by config.eval.best, and untrained.safetensors, the same
network before its first step, for comparison.

SIGTERM, which machines on call send before they go, saves the step it finds and ends the run.

Exit codes: 0 done, 1 the run cannot start or go on (the message says why), 2 wrong flags, 143
stopped by SIGTERM.
"""

from __future__ import annotations

import contextlib
import functools
import io
import logging
import math
import pathlib
import signal
import sys
import time
from typing import Any

import jax
import numpy as np
from absl import app, flags
from absl import logging as absl_logging
from ml_collections import ConfigDict, config_flags

from exif_jax.cli import command
from exif_jax.data.dataset import PatchDataset, patches_per_photo
from exif_jax.data.input_pipeline import batches, choose_reader, prefetch
from exif_jax.data.records import RecordError
from exif_jax.data.records_folder import DataError, load_tokenizer
from exif_jax.data.tokenizer import TokenizerError
from exif_jax.evaluation.datasets import DatasetError
from exif_jax.forensics.methods import LocalizeError
from exif_jax.io.atomic import write_bytes
from exif_jax.io.files import is_url
from exif_jax.models import dual_encoder
from exif_jax.reading.photo import PhotoError
from exif_jax.reports.render import png_bytes
from exif_jax.training import distributed, sharding, train_state, validation
from exif_jax.training.checkpoint import CheckpointError, Checkpoints
from exif_jax.training.config import (
    TrainError,
    check_config,
    make_model_config,
    make_step_config,
    prepare_workdir,
)
from exif_jax.training.initialization import (
    PretrainedError,
    load_pretrained,
    load_pretrained_image_encoder,
)
from exif_jax.training.metrics_writer import MetricsError, MetricsWriter
from exif_jax.training.optimizer import learning_rate
from exif_jax.weights import release_file
from exif_jax.weights.torch_file import TorchFileError

PROFILE_AFTER = 5  # steps of a start that a trace leaves out: compilation is not what one looks for


def train(config: ConfigDict, workdir: pathlib.Path) -> dict[str, float]:
    """Trains from the newest checkpoint in `workdir`, or from the start, to the last step.

    Args:
        config: see configs/vit_b.py.
        workdir: where everything is written; made where it is missing.

    Returns:
        The last validation metrics.

    Raises:
        TrainError, DataError, MeshError: before the first compilation wherever possible.
    """
    # --- What to train, checked before anything costs time --------------------------------------
    check_config(config)
    mesh = sharding.make_mesh(config.mesh.data, config.mesh.fsdp)
    batch_size, num_steps = config.train.batch_size, config.train.num_steps
    sharding.check_batch(mesh, batch_size // config.data.patches_per_text)
    start = release_file.load_model(config.train.init_model) if config.train.init_model else None
    # Weights of a text encoder are nothing without the tokenizer that they were trained with.
    if start and ("text" in config.train.init_parts or not config.train.init_parts):
        tokenizer = start.tokenizer
    else:
        tokenizer = load_tokenizer(config.data.records)
    model_config = make_model_config(config, tokenizer.vocab_size)
    make_data = functools.partial(
        PatchDataset,
        config.data,
        tokenizer=tokenizer,
        patch_size=model_config.image.image_size,
        length=model_config.text.max_length,
    )
    train_data, validation_data = make_data(split="train"), make_data(split="validation")
    num_photos = batch_size // patches_per_photo(config.data)
    if num_photos > train_data.num_photos:
        raise TrainError(
            f"batch_size {batch_size} takes {num_photos} photos, and {config.data.records} has "
            f"{train_data.num_photos} to train on: a batch holds a photo once; choose a smaller one"
        )
    recipe = make_step_config(config, model_config, mesh)
    if start:
        fresh = dual_encoder.param_shapes(model_config)
        load_pretrained(fresh, start, config.train.init_parts, config.train.init_model)
    splices = validation.read_splices(config.eval.splices)
    with distributed.main_process_first("workdir") as first:
        if first:
            prepare_workdir(workdir, config)
    if blind := distributed.processes_missing(workdir / "config.json"):
        raise TrainError(
            f"{workdir}: the first process made this folder and process {blind[0]} does not see it "
            f"({len(blind)} of {jax.process_count()} do not); --workdir must be one folder that "
            "all machines mount"
        )
    tell = functools.partial(print, file=sys.stderr if first else io.StringIO())

    # --- State, placed on the mesh ----------------------------------------------------------------
    init = functools.partial(train_state.init_state, recipe)
    key = jax.random.key(config.train.seed)
    shapes = jax.eval_shape(init, key)
    state_sharding = sharding.state_shardings(mesh, shapes)
    state = jax.jit(init, out_shardings=state_sharding)(key)
    if start or config.train.init_image:
        params = distributed.gather_to_host(mesh, state.params)
        if start:
            params = load_pretrained(
                params, start, config.train.init_parts, config.train.init_model
            )
        if config.train.init_image:
            image = load_pretrained_image_encoder(config.train.init_image, model_config.image)
            params = params | {"image": params["image"] | image}
        params = jax.device_put(params, state_sharding.params)
        state = jax.jit(
            functools.partial(train_state.state_from_params, recipe), out_shardings=state_sharding
        )(params)
    tell(
        f"{sum(x.size for x in jax.tree.leaves(state.params)):,} parameters, "
        f"{train_data.num_photos:,} + {validation_data.num_photos:,} photos, "
        f"mesh {dict(mesh.shape)} of {jax.devices()[0].device_kind}, "
        f"batches by {choose_reader(config.data.reader)}, {jax.process_count()} process(es)"
    )

    # --- Steps ------------------------------------------------------------------------------------
    step_fn = train_state.jit_step(recipe, mesh, state_sharding)
    validate = validation.make_validation(config, validation_data, model_config, mesh)

    def model_of(state, results: dict[str, float]) -> release_file.Model:
        """What would be released at this step: the averaged weights where there are any."""
        return release_file.Model(
            config=model_config,
            params=distributed.gather_to_host(mesh, state.ema or state.params),
            tokenizer=tokenizer,
            tags=train_data.tags,
            provenance={
                "config": publishable_settings(config),
                "steps": int(state.step),
                "weights": "averaged" if state.ema else "last",
                "validation": results,
            },
        )

    def evaluate(state, writer: MetricsWriter) -> dict[str, float]:
        results = validate(state.ema or state.params)
        if splices or config.eval.probe:
            model = model_of(state, {})
            found = validation.splice_metrics(splices, model)
            results |= {f"splice_{name}": value for name, value in found.items()}
        step = int(state.step)
        writer.write(step, {f"validation/{name}": value for name, value in results.items()})
        if config.eval.probe and first:
            (workdir / "probe").mkdir(exist_ok=True)
            picture = validation.probe_picture(pathlib.Path(config.eval.probe), model)
            write_bytes(workdir / "probe" / f"{step:08d}.png", png_bytes(picture))
            writer.picture(step, "probe", picture)
        return results

    def keep_best(state, results: dict[str, float], best: float) -> float:
        """Writes best.safetensors where this is the best validation so far; how good that was."""
        name = config.eval.best
        if name and name not in results:
            raise TrainError(
                f"config.eval.best is {name!r}, which this run does not measure; it measures "
                f"{', '.join(sorted(k for k in results if '/' not in k))}"
            )
        if not name or not results[name] > best:
            return best
        model = model_of(state, results)
        if first:
            release_file.save_model(model, workdir / "best.safetensors")
        return results[name]

    def due(done: int, every: int) -> bool:
        return done % every == 0 or done == num_steps

    schedule = learning_rate(config.optim, num_steps)
    with contextlib.ExitStack() as stack:
        checkpoints = stack.enter_context(
            Checkpoints(workdir / "checkpoints", config.train.keep_checkpoints)
        )
        if checkpoints.latest_step() is not None:
            state = checkpoints.restore(shapes, state_sharding)
        first_step = int(state.step)
        told_to_stop = stack.enter_context(distributed.preemption_signal())
        project = config.train.wandb_project
        settings = publishable_settings(config)
        writer = MetricsWriter(workdir, first_step, not first, project, settings)
        stack.enter_context(contextlib.closing(writer))
        best = best_metric(workdir / "best.safetensors", config.eval.best)
        results = evaluate(state, writer)
        if first_step == 0:
            model = model_of(state, results)
            if first:
                release_file.save_model(model, workdir / "untrained.safetensors")
            best = keep_best(state, results, best)
        last_log, log_time, waited = first_step, time.monotonic(), 0.0

        steps = range(first_step, num_steps)
        which = (jax.process_index(), jax.process_count())
        loaded = batches(train_data, batch_size, steps, config.data.reader, *which)
        placed = prefetch(sharding.to_device(mesh, batch) for batch in loaded)
        traced = steps[PROFILE_AFTER : PROFILE_AFTER + config.train.profile_steps]
        for step in steps:
            asked = time.monotonic()
            batch = next(placed)
            waited += time.monotonic() - asked
            if step == traced.start and traced:
                jax.profiler.start_trace(str(workdir / "profile"))
            state, metrics = step_fn(state, batch)
            done = step + 1
            if done == traced.stop and traced:
                jax.block_until_ready(state)
                jax.profiler.stop_trace()
            # Only here does the host wait for the device.
            if due(done, config.train.log_every) or due(done, config.train.save_every):
                metrics = {k: float(v) for k, v in jax.device_get(metrics).items()}
                if metrics["skipped_in_row"] >= config.train.max_skipped:
                    batch = train_data.batch(step, batch_size, *which)
                    path = workdir / f"bad_batch_{done}.{which[0]}.npz"
                    np.savez(path, **batch)  # type: ignore[reportArgumentType]
                    raise TrainError(
                        f"{metrics['skipped_in_row']:.0f} steps in a row gave no finite loss or "
                        f"gradient, the last is {done}; its batch is in {path}. If that looks "
                        "right, lower --config.optim.lr in a new --workdir (the newest checkpoint "
                        f"here is of step {checkpoints.latest_step() or 0})"
                    )
            if due(done, config.train.log_every):
                now = time.monotonic()
                rate = batch_size * (done - last_log) / (now - log_time)
                minutes_left = (num_steps - done) * batch_size / rate / 60
                metrics |= {"learning_rate": float(schedule(step)), "pairs_per_second": rate}
                metrics |= {"input_wait": waited / (now - log_time)}
                metrics |= {"corrupt_records": float(len(train_data.corrupt))}
                last_log, log_time, waited = done, now, 0.0
                writer.write(done, metrics, f"({minutes_left:.0f} min left)")
            if due(done, config.train.eval_every):
                results = evaluate(state, writer)
                best = keep_best(state, results, best)
            stop = told_to_stop(done)
            if stop or due(done, config.train.save_every):
                checkpoints.save(done, state)
            if stop and done < num_steps:
                raise distributed.Preempted(f"stopped by SIGTERM; step {done} is saved")

    model = model_of(state, results)
    if first:
        release_file.save_model(model, workdir / "model.safetensors")
    tell(f"wrote {workdir / 'model.safetensors'}")
    return results


def best_metric(path: pathlib.Path, name: str) -> float:
    """What the best validation of this run's earlier starts was, by the file that it left."""
    if not name or not path.exists():
        return -math.inf
    return float(release_file.load_model(path).provenance["validation"].get(name, -math.inf))


def _without_folders(value: Any) -> Any:
    """Every text cut to the last part of a path: no field of a later day is forgotten."""
    if isinstance(value, dict):
        return {name: _without_folders(field) for name, field in value.items()}
    return pathlib.PurePath(value).name if isinstance(value, str) else value


def publishable_settings(config: ConfigDict) -> dict:
    """The config without paths, which say nothing about the weights and may name a person."""
    settings = _without_folders(config.to_dict())
    settings["data"]["records"] = settings["train"]["wandb_project"] = ""
    return settings


EXPECTED = (
    *(TrainError, DataError, CheckpointError, RecordError, TokenizerError, DatasetError),
    *(sharding.MeshError, release_file.ReleaseError, PretrainedError, TorchFileError, MetricsError),
    *(distributed.DistributedError, PhotoError, LocalizeError),
)
_CONFIG = config_flags.DEFINE_config_file("config", None, "Config file, e.g. configs/vit_b.py.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder for checkpoints, metrics and the model.")
_COORDINATOR = flags.DEFINE_string(
    "coordinator",
    "",
    "Of several processes: HOST:PORT of the first, or auto on TPU VMs, SLURM, GKE and Open MPI.",
)
_NUM_PROCESSES = flags.DEFINE_integer("num_processes", -1, "With HOST:PORT: how many there are.")
_PROCESS_ID = flags.DEFINE_integer("process_id", -1, "With HOST:PORT: which one this is, from 0.")


def parse_flags(argv: list[str]) -> list[str]:
    """absl's parser, which alone would end with 1 after wrong flags and after --help."""
    try:
        rest = flags.FLAGS(argv)
        _ = _CONFIG.value.data  # a file that does not load is told here
        return rest
    except SystemExit:  # --help has been told
        sys.exit(0)
    except AttributeError as e:
        if not (e.args and isinstance(e.args[0], KeyError)):
            raise
        sys.exit(command.fail(f"the config has no field {e.args[0].args[0]}", 2))
    except (flags.Error, OSError) as e:
        sys.exit(command.fail(f"{e}\n--help tells the flags", 2))


def main(argv: list[str]) -> None:
    """The command, after its flags are parsed; ends the process where it fails."""
    if len(argv) > 1:
        sys.exit(command.fail(f"unexpected argument {argv[1]!r}; flags look like --workdir=DIR", 2))
    if is_url(_WORKDIR.value):
        sys.exit(command.fail(f"--workdir={_WORKDIR.value}: must be a folder; mount the bucket", 2))
    try:
        distributed.initialize_distributed(
            _COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value
        )
        train(_CONFIG.value, pathlib.Path(_WORKDIR.value))
    except distributed.Preempted as e:
        print(f"{e}: the same command goes on from there", file=sys.stderr)
        sys.exit(128 + signal.SIGTERM)
    except CheckpointError as e:
        sys.exit(f"\nerror: {e}")  # a thread of tensorstore may be in the middle of a line
    except EXPECTED as e:
        sys.exit(f"error: {e}")
    except OSError as e:
        sys.exit(
            f"error: {_WORKDIR.value}: {e.strerror or e}; make room or give write access, then run "
            "the same command again: it goes on from the newest checkpoint"
        )


def run() -> None:
    """The console script."""
    # What orbax and its tasks log of a failed save is raised too, and told by main; --verbosity=0
    # brings back what orbax logs.
    absl_logging.set_verbosity(absl_logging.FATAL)
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    flags.mark_flags_as_required(["config", "workdir"])
    app.run(main, flags_parser=parse_flags)


if __name__ == "__main__":
    run()
