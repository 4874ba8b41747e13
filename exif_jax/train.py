"""Trains the dual encoder: `python -m exif_jax.train --config=configs/vit_b.py --workdir=DIR`.

Any field of the config can be changed on the command line: `--config.train.batch_size=256`.
The same command goes on where a killed run stopped, with the same data in the same order. A run
with `--config.optim.schedule=wsd` can be made longer: give the same command a larger
`--config.train.num_steps`.

WORKDIR holds config.json, metrics.jsonl, tensorboard/, checkpoints/ and, at the end,
model.safetensors, which `exif_jax.localize` and `exif_jax.evaluate` take as --model. Beside it lie
best.safetensors, of the best validation by config.eval.best, and untrained.safetensors, the same
network before its first step, for comparison.

SIGTERM, which cloud machines send before they go, saves the current step and ends the run.

Exit codes: 0 done, 1 the run cannot start or go on (the message says why), 2 wrong flags, 143
stopped by SIGTERM.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import math
import os
import pathlib
import signal
import sys
import time
from collections.abc import Iterator

import jax
import numpy as np
from absl import app, flags
from absl import logging as absl_logging
from ml_collections import ConfigDict, config_flags

from exif_jax.cli import command
from exif_jax.io.atomic import replacing, write_bytes
from exif_jax.io.errors import ExifJaxError
from exif_jax.io.files import is_url
from exif_jax.reports.render import png_bytes
from exif_jax.weights.release_file import load_model, save_model

with command.imports(__name__, "train"):
    from exif_jax.data.input_pipeline import batches, choose_reader, prefetch
    from exif_jax.training import distributed, sharding, validation
    from exif_jax.training.checkpoint import CheckpointError, Checkpoints
    from exif_jax.training.config import TrainError, field_names, parse_config, unknown_field
    from exif_jax.training.host_memory import keep_freed_memory
    from exif_jax.training.input_wait import InputWait
    from exif_jax.training.metrics_writer import MetricsWriter
    from exif_jax.training.optimizer import learning_rate
    from exif_jax.training.setup import (
        Run,
        current_model,
        device_regions,
        initial_state,
        setup,
        step_function,
    )
    from exif_jax.training.train_state import TrainState
    from exif_jax.training.workdir import open_workdir, publishable_settings

PROFILE_AFTER = 5  # steps of a start that a trace leaves out: compiling is not of interest


def train(config: ConfigDict, workdir: pathlib.Path) -> dict[str, float]:
    """Trains from the newest checkpoint in `workdir`, or from the start, to the last step.

    Args:
        config: see configs/vit_b.py.
        workdir: where everything is written; made where it is missing.

    Returns:
        The last validation metrics.

    Raises:
        ExifJaxError: the run cannot start or go on; before the first compilation where possible.
        distributed.Preempted: SIGTERM came; the step is saved.
    """
    run = setup(parse_config(config), workdir)
    with open_workdir(workdir, run.config, run.inputs):
        state, results = train_loop(run)
        model = current_model(run, state, results)
        if run.is_main:
            save_model(model, workdir / "model.safetensors")
            print(f"wrote {workdir / 'model.safetensors'}", file=sys.stderr)
    return results


def train_loop(run: Run) -> tuple[TrainState, dict[str, float]]:
    """All steps that are left; returns the last state and its validation metrics."""
    config, num_steps = run.config.train, run.config.train.num_steps
    schedule = learning_rate(run.config.optim, num_steps)
    with contextlib.ExitStack() as stack:
        checkpoints = stack.enter_context(
            Checkpoints(
                run.workdir / "checkpoints",
                keep=config.keep_checkpoints,
                keep_step=run.config.decay_start,
            )
        )
        if checkpoints.latest_step() is None:
            state = initial_state(run)
        else:
            state = checkpoints.restore(run.state_shapes, run.state_shardings)
        first_step = int(state.step)
        preempted = stack.enter_context(distributed.preemption_signal())
        writer = MetricsWriter(
            run.workdir,
            first_step,
            silent=not run.is_main,
            wandb_project=config.wandb_project,
            settings=publishable_settings(run.config),
        )
        stack.enter_context(contextlib.closing(writer))
        describe(run)
        results = evaluate(run, state, writer)
        best = best_so_far(run)
        if first_step == 0:
            model = current_model(run, state, results)
            if run.is_main:
                save_model(model, run.workdir / "untrained.safetensors")
            best = keep_best(run, state, results, best)

        step_fns = {size: step_function(run, size) for size in run.train_data.patch_sizes}
        regions = device_regions(run)
        traced = range(first_step, num_steps)[PROFILE_AFTER : PROFILE_AFTER + config.profile_steps]
        waits = stack.enter_context(contextlib.closing(InputWait(device_batches(run, first_step))))
        last_log, log_time = first_step, time.monotonic()
        for step in range(first_step, num_steps):
            batch = waits.next_batch()
            if traced and step == traced.start:
                jax.profiler.start_trace(str(run.workdir / "profile"))
            step_fn = step_fns[run.train_data.patch_size(step)]
            state, metrics = step_fn(state, batch, regions)
            waits.computing(metrics)
            done = step + 1
            if traced and done == traced.stop:
                jax.block_until_ready(state)
                jax.profiler.stop_trace()
            logs = is_due(done, config.log_every, num_steps)
            saves = is_due(done, config.save_every, num_steps) or done == run.config.decay_start
            if logs or saves:  # only here does the host wait for the device
                metrics = {name: float(value) for name, value in jax.device_get(metrics).items()}
                if metrics["skipped_in_row"] >= config.max_skipped:
                    stop_diverged(run, step, metrics, checkpoints.latest_step() or 0)
            if logs:
                now = time.monotonic()
                rate = config.batch_size * (done - last_log) / (now - log_time)
                minutes_left = (num_steps - done) * config.batch_size / rate / 60
                metrics |= {
                    "learning_rate": float(jax.device_get(schedule(step))),
                    "pairs_per_second": rate,
                    "input_wait": waits.seconds / (now - log_time),
                    "corrupt_records": float(len(run.train_data.photos.corrupt)),
                }
                last_log, log_time, waits.seconds = done, now, 0.0
                writer.write(done, metrics, f"({minutes_left:.0f} min left)")
            if is_due(done, config.eval_every, num_steps):
                results = evaluate(run, state, writer)
                best = keep_best(run, state, results, best)
            stops = preempted(done)
            if stops or saves:
                checkpoints.save(done, state)
            if stops and done < num_steps:
                raise distributed.Preempted(f"stopped by SIGTERM; step {done} is saved")
    return state, results


def is_due(step: int, every: int, num_steps: int) -> bool:
    """Whether something that happens every so many steps, and at the last one, happens now."""
    return step % every == 0 or step == num_steps


def describe(run: Run) -> None:
    """Prints the size of the run."""
    if run.is_main:
        num_parameters = sum(x.size for x in jax.tree.leaves(run.state_shapes.params))
        print(
            f"{num_parameters:,} parameters, {run.train_data.num_photos:,} + "
            f"{run.validation_data.num_photos:,} photos, "
            f"mesh {dict(run.mesh.shape)} of {jax.devices()[0].device_kind}, "
            f"batches by {choose_reader(run.config.data.reader)}, "
            f"{jax.process_count()} process(es)",
            file=sys.stderr,
        )


def device_batches(run: Run, first_step: int) -> Iterator[dict[str, jax.Array]]:
    """The batches of all steps that are left, made ahead and placed on the mesh."""
    host_batches = batches(
        run.train_data,
        run.config.train.batch_size,
        range(first_step, run.config.train.num_steps),
        run.config.data.reader,
        jax.process_index(),
        jax.process_count(),
    )
    return prefetch(sharding.to_device(run.mesh, batch) for batch in host_batches)


def evaluate(run: Run, state: TrainState, writer: MetricsWriter) -> dict[str, float]:
    """Validation metrics of the averaged weights where there are any; all processes take part."""
    step, config = int(state.step), run.config.eval
    results = validation.validate(
        state.ema or state.params, run.validation_data, run.model_config, run.mesh
    )
    model = current_model(run, state, {}) if run.splices or config.probe else None
    if model:
        splices = validation.splice_metrics(run.splices, model)
        results |= {f"splice_{name}": value for name, value in splices.items()}
    writer.write(step, {f"validation/{name}": value for name, value in results.items()})
    if model and config.probe and run.is_main:
        picture = validation.probe_picture(pathlib.Path(config.probe), model)
        (run.workdir / "probe").mkdir(exist_ok=True)
        write_bytes(run.workdir / "probe" / f"{step:08d}.png", png_bytes(picture))
        writer.picture(step, "probe", picture)
    return results


def best_so_far(run: Run) -> float:
    """The best validation of this run's earlier starts, by the file that they left."""
    path, name = run.workdir / "best.safetensors", run.config.eval.best
    if not name or not path.exists():
        return -math.inf
    return float(load_model(path).provenance["validation"].get(name, -math.inf))


def keep_best(run: Run, state: TrainState, results: dict[str, float], best: float) -> float:
    """Writes best.safetensors where this is the best validation so far; returns the best one."""
    name = run.config.eval.best
    if name and name not in results:
        raise TrainError(
            f"config.eval.best is {name!r}, which this run does not measure; it measures "
            f"{', '.join(sorted(metric for metric in results if '/' not in metric))}"
        )
    if not name or not results[name] > best:
        return best
    model = current_model(run, state, results)
    if run.is_main:
        save_model(model, run.workdir / "best.safetensors")
    return results[name]


def stop_diverged(run: Run, step: int, metrics: dict[str, float], newest: int) -> None:
    """Keeps the batch of a step without a finite loss or gradient, and raises TrainError."""
    process, processes = jax.process_index(), jax.process_count()
    batch = run.train_data.batch(step, run.config.train.batch_size, process, processes)
    path = run.workdir / f"bad_batch_{step + 1}.{process}.npz"
    with replacing(path) as file:
        np.savez(file, **batch)  # type: ignore[reportArgumentType]
    raise TrainError(
        f"{metrics['skipped_in_row']:.0f} steps in a row gave no finite loss or gradient, the last "
        f"is {step + 1}; its batch is in {path}. If that looks right, lower --config.optim.lr in a "
        f"new --workdir (the newest checkpoint here is of step {newest})"
    )


# --- the command ----------------------------------------------------------------------------------

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
        _ = _CONFIG.value.data  # a file that does not load fails here
        return rest
    except SystemExit:  # --help was printed
        sys.exit(0)
    except AttributeError as e:
        if not (e.args and isinstance(e.args[0], KeyError)):
            raise
        names = [word.lstrip("-").partition("=")[0] for word in argv[1:]]
        fields = [name.removeprefix("config.") for name in names if name.startswith("config.")]
        unknown = [unknown_field(field) for field in fields if field not in field_names()]
        message = unknown[0] if unknown else f"the config has no field {e.args[0].args[0]}"
    except flags.UnrecognizedFlagError as e:
        if e.flagname in field_names():
            message = f"unknown flag --{e.flagname}; did you mean --config.{e.flagname}?"
        else:
            message = f"{e}\n--help lists the flags"
    except (flags.Error, OSError) as e:
        message = f"{e}\n--help lists the flags"
        if "Traceback" in message:  # of a config file, with the file's own words at the end
            message = f"{_CONFIG.name}: {str(e).strip().splitlines()[-1]}"
    sys.exit(command.fail(message, 2))


def main(argv: list[str]) -> None:
    """The command, after its flags are parsed; ends the process where it fails."""
    if len(argv) > 1:
        sys.exit(command.fail(f"unexpected argument {argv[1]!r}; flags look like --workdir=DIR", 2))
    if not _WORKDIR.value:
        sys.exit(command.fail("--workdir is empty; give the folder of the run", 2))
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
    except ExifJaxError as e:
        sys.exit(f"error: {e}")
    except OSError as e:
        sys.exit(f"error: {explain_os_error(e, _WORKDIR.value)}")


def explain_os_error(error: OSError, workdir: str) -> str:
    """A sentence about the file that failed, which need not lie in the work folder."""
    cause = error.strerror or str(error)
    goes_on = "the same command goes on from the newest checkpoint"
    if error.filename is None:
        return f"the system reports: {cause}; {goes_on}"
    path = os.path.abspath(os.fsdecode(error.filename))
    if pathlib.Path(path).is_relative_to(os.path.abspath(workdir)):
        return f"{path}: {cause}; make room or give write access: {goes_on}"
    return f"{path}: {cause}; {goes_on}"


def run() -> None:
    """The console script."""
    # main prints what orbax and its tasks log of a failed save; --verbosity=0 brings their own
    # lines back.
    absl_logging.set_verbosity(absl_logging.FATAL)
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    flags.mark_flags_as_required(["config", "workdir"])
    keep_freed_memory()
    start = functools.partial(app.run, main, flags_parser=parse_flags)
    command.run(start, results_are_printed=False, quick=False)


if __name__ == "__main__":
    run()
