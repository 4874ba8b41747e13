"""How fast training runs here, beside what the device can do.

    python -m benchmarks.train --output train.json                    # two CPU cores: minutes
    python -m benchmarks.train --configs configs/vit_ti.py,configs/vit_s.py,configs/vit_b.py \\
        --batches 256,512,1024 --records records --output train.json               # a GPU

MFU is the fraction of the matrix-product peak that is measured in the same run, and counts the
model's own products only: 2 for a multiplication and addition, three times for forward and
backward, no recomputation. Where PyTorch is installed equal steps in it take turns with ours: one
that embeds log spectra too, and one that embeds pixels, which is less work; and so does our step on
a prepared batch whose patches are augmented inside it. With --records, or by default with records
made of some photos of $EXIF_JAX_PHOTOS, the training loop's own input pipeline feeds the steps,
augmented on the device, where all regions lie or where squares of them are sent, and by Pillow on
the host; and the fraction of time in which the device has nothing to do for want of input is shown.
Figures are medians; beside the time that passed stands what all cores spent in a step, which others
on the machine change less.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib.util
import itertools
import json
import os
import pathlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from benchmarks import device_patches
from benchmarks.machine import image_flops, load_config, matmul_peak, text_flops
from benchmarks.torch_process import TorchFailed, TorchSteps
from data_prep.photos import main as make_records
from data_prep.train_tokenizer import main as train_tokenizer
from exif_jax.cli import command
from exif_jax.data.config import DataConfig
from exif_jax.data.dataset import PatchDataset
from exif_jax.data.input_pipeline import batches, prefetch
from exif_jax.data.records_folder import load_tokenizer
from exif_jax.io.atomic import write_bytes
from exif_jax.models.config import config_to_dict
from exif_jax.training import sharding, train_state
from exif_jax.training.config import Config, make_model_config, parse_config
from exif_jax.training.host_memory import keep_freed_memory
from exif_jax.training.input_wait import InputWait
from exif_jax.training.step_config import StepConfig, make_step_config

PHOTOS = 160  # of $EXIF_JAX_PHOTOS, that records are made of where none are given


def main() -> None:
    parser = command.parser("benchmarks.train", __doc__)
    parser.add_argument(
        "--configs",
        default="configs/vit_ti_cpu.py",
        help="parted by commas (default: configs/vit_ti_cpu.py)",
    )
    parser.add_argument("--batches", help="patches a step: 256,512 (default: 128)", default="128")
    parser.add_argument("--dtype", help="default: bfloat16 on an accelerator, float32 on a CPU")
    parser.add_argument("--image-sizes", help="sides of a patch: 128,224 (default: the config's)")
    parser.add_argument("--micro-batch", type=int, default=0, help="gradient caching; 0: none")
    parser.add_argument("--loss-chunk", type=int, default=0, help="columns of logits; 0: all")
    parser.add_argument("--remat", choices=("", "dots", "all"), default="", help="see vit_b.py")
    parser.add_argument("--repeats", type=int, default=7, help="timed steps (default 7)")
    parser.add_argument("--records", help="also with this folder's input pipeline (default: of "
                        "some photos of $EXIF_JAX_PHOTOS/train, where that is set)")  # fmt: skip
    parser.add_argument("--no-input", action="store_true", help="no input pipeline")
    parser.add_argument("--no-torch", action="store_true", help="no steps in PyTorch beside")
    parser.add_argument(
        "--torch-features",
        default="spectrum,pixels",
        help="what PyTorch embeds, parted by commas (default: spectrum,pixels)",
    )
    parser.add_argument("--output", type=pathlib.Path, help="file for the figures")
    args = parser.parse_args()
    keep_freed_memory()
    has_torch = not args.no_torch and importlib.util.find_spec("torch") is not None
    torch_features = tuple(args.torch_features.split(",")) if has_torch else ()
    if torch_features:  # PyTorch needs a part of the device's memory
        os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    cpu = jax.default_backend() == "cpu"
    dtype = args.dtype or ("float32" if cpu else "bfloat16")
    peak = matmul_peak(dtype)
    device = jax.devices()[0].device_kind
    print(f"{jax.device_count()} x {device}, {dtype}, jax {jax.__version__}")
    print(f"matmul peak of one: {peak / 1e12:.3f} TFLOP/s (4096 x 4096 x 4096)")
    rows = []
    sizes = [int(size) for size in args.image_sizes.split(",")] if args.image_sizes else [0]
    batch_sizes = map(int, args.batches.split(","))
    with records_of(args) as records:
        for name, batch_size, size in itertools.product(
            args.configs.split(","), batch_sizes, sizes
        ):
            config = load_config(name)
            config.train.update(
                batch_size=batch_size,
                dtype=dtype,
                micro_batch=args.micro_batch,
                loss_chunk=args.loss_chunk,
            )
            config.model.image.image_size = size or config.model.image.image_size
            config.model.image.remat = config.model.text.remat = args.remat
            config.data.records = records
            row = {
                "config": pathlib.Path(name).stem,
                "batch": batch_size,
                "image_size": config.model.image.image_size,
            }
            rows.append(row)
            run = parse_config(config)
            for figures in measure(run, peak, args.repeats, torch_features):
                row |= figures
                lines = [f"  {name}: {_format(value)}" for name, value in figures.items()]
                print("\n".join(lines), flush=True)
                if args.output:
                    report = {"device": device, "dtype": dtype, "matmul_peak": peak, "rows": rows}
                    write_bytes(args.output, json.dumps(report, indent=1).encode())


@contextlib.contextmanager
def records_of(args) -> Iterator[str]:
    """The folder of --records, or one made of photos at hand, or ""."""
    photos = pathlib.Path(os.environ.get("EXIF_JAX_PHOTOS", "")) / "train"
    if args.records or args.no_input or not os.environ.get("EXIF_JAX_PHOTOS"):
        yield "" if args.no_input else args.records or ""
        return
    with tempfile.TemporaryDirectory() as scratch, contextlib.redirect_stdout(sys.stderr):
        some, records = pathlib.Path(scratch, "photos"), os.path.join(scratch, "records")
        some.mkdir()
        for path in [*photos.glob("manifest.jsonl"), *sorted(photos.glob("*.jpg"))[:PHOTOS]]:
            (some / path.name).symlink_to(path.absolute())
        if make_records(["--input", str(some), "--output", records]):
            raise SystemExit(f"{photos}: no records; give some with --records, or --no-input")
        train_tokenizer(["--records", records])
        with contextlib.redirect_stdout(sys.__stdout__):
            yield records


def measure(
    config: Config, peak: float, repeats: int, torch_features: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """The figures of one config and batch size, as they become known.

    First ours, then ours and PyTorch's by turns, then ours fed from records.
    """
    mesh = sharding.make_mesh(-1, config.mesh.fsdp if jax.device_count() > 1 else 1)
    records = config.data.records
    tokenizer = load_tokenizer(records) if records else None
    model = make_model_config(config, tokenizer.vocab_size if tokenizer else 2048)
    step_config = make_step_config(config, model, mesh)
    init = functools.partial(train_state.init_state, step_config)
    shardings = sharding.state_shardings(mesh, jax.eval_shape(init, jax.random.key(0)))
    state = jax.jit(init, out_shardings=shardings)(jax.random.key(0))
    host = random_batch(model, config.train.batch_size, config.data.patches_per_text)
    batch = sharding.to_device(mesh, host)
    step = train_state.jit_step(step_config, mesh, shardings)
    started = time.perf_counter()
    compiled = step.lower(state, batch, None).compile()
    compile_seconds = time.perf_counter() - started

    B, size = config.train.batch_size, model.image.image_size
    drawn = device_patches.draw(config.data, size, B, seed=0)
    packed = {name: x for name, x in host.items() if name != "image"}
    packed |= device_patches.packed(config.data, size, drawn)
    augmented_batch = sharding.to_device(mesh, packed)
    augmented = step.lower(state, augmented_batch, None).compile()

    def run(step, batch):
        nonlocal state
        started, cpu_started = time.perf_counter(), time.process_time()
        state, metrics = step(state, batch, None)
        jax.block_until_ready((state, metrics))
        return time.perf_counter() - started, time.process_time() - cpu_started

    flops = B * model_flops(model, config.data.patches_per_text)
    steps: dict[str, Callable[[], tuple[float, float]]] = {
        "": functools.partial(run, compiled, batch),
        "prepared_augmented_": functools.partial(run, augmented, augmented_batch),
    }
    step_options = {
        "batch_size": B,
        "patches_per_text": config.data.patches_per_text,
        "dtype": config.train.dtype,
        "image_weight": config.train.image_weight,
    }
    seconds, _ = take_turns(steps, repeats)
    yield {
        **rates(seconds, B, flops, peak),
        "compile_seconds": compile_seconds,
        "bytes_to_device": sum(x.nbytes for x in host.values()),
        "augmented_bytes_to_device": sum(x.nbytes for x in packed.values()),
        "memory_gib": peak_memory(compiled) / 2**30,
        "fused_attention": "yes" if "fmha" in (compiled.as_text() or "") else "no",
    }
    if torch_features:
        with contextlib.ExitStack() as stack:
            for features in torch_features:
                name = "torch_" if features == "spectrum" else f"torch_{features}_"
                options = step_options | {"features": features}
                process = TorchSteps(config_to_dict(model), options)
                steps[name] = stack.enter_context(process)
            seconds, failed = take_turns(steps, repeats)
            yield rates(seconds, B, flops, peak) | failed
    ways = {
        "augmented": {"augment_on": "device", "device_cache": 2**40},
        "augmented_sent": {"augment_on": "device"},
        "pillow": {"augment_on": "host"},
    }
    for name, changes in ways.items() if records else ():
        data = dataclasses.replace(config.data, **changes)
        rate, wait, state = with_input(
            config, data, model, tokenizer, mesh, state, step_config, repeats
        )
        yield {f"{name}_pairs_per_second": rate, f"{name}_input_wait": wait}


def rates(
    seconds: Mapping[str, tuple[float, float]], batch_size: int, flops: float, peak: float
) -> dict[str, float]:
    """Pairs/s and cores' seconds of the steps, and what share of the peak ours reach."""
    row = {f"{name}pairs_per_second": batch_size / wall for name, (wall, _) in seconds.items()}
    row |= {f"{name}core_seconds": cpu for name, (_, cpu) in seconds.items()}
    own, augmented = seconds[""][0], seconds["prepared_augmented_"][0]
    return row | {
        "step_ms": 1e3 * own,
        "tflops": flops / own / 1e12,
        "mfu": flops / own / peak / jax.device_count(),
        "augmented_mfu": flops / augmented / peak / jax.device_count(),
    }


def take_turns(
    steps: Mapping[str, Callable[[], tuple[float, float]]], repeats: int
) -> tuple[dict[str, tuple[float, float]], dict[str, str]]:
    """Medians of the seconds and of all cores' seconds of steps that take turns, after one each.

    Steps of PyTorch that fail are left out.

    Returns:
        The medians of each, and of those that failed why.
    """
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in steps}
    failed = {}
    for step in steps.values():  # all are ready before the first is timed
        if isinstance(step, TorchSteps):
            with contextlib.suppress(TorchFailed):
                step.wait()
    for k in range(repeats + 1):
        for name, step in steps.items():
            try:
                seconds = step() if name in taken else (0.0, 0.0)
            except TorchFailed as error:
                failed[f"{name}failed"] = str(error)
                del taken[name]
                continue
            if k and name in taken:
                taken[name].append(seconds)
    medians = {
        name: (statistics.median(w for w, _ in times), statistics.median(c for _, c in times))
        for name, times in taken.items()
    }
    return medians, failed


def with_input(
    config: Config,
    data_config: DataConfig,
    model,
    tokenizer,
    mesh,
    state,
    step_config: StepConfig,
    repeats: int,
) -> tuple[float, float, Any]:
    """Steps as the training loop takes them, fed from records.

    Returns:
        Pairs/s, the fraction of the time that the device waited for input, and the last state.
    """
    data = PatchDataset(
        data_config, "train", tokenizer, model.image.image_size, model.text.max_length
    )
    regions = None
    if data_config.device_cache:
        replicated = sharding.replicated(mesh)
        regions = jax.make_array_from_process_local_data(replicated, data.load_regions())
    step_config = step_config._replace(square=data.square(model.image.image_size))
    shardings = sharding.state_shardings(mesh, state)
    step = train_state.jit_step(step_config, mesh, shardings)
    warm, steps = 3, max(10, repeats)
    loaded = batches(data, config.train.batch_size, range(warm + steps), config.data.reader)
    placed = prefetch(sharding.to_device(mesh, batch) for batch in loaded)
    started, metrics = 0.0, None
    with contextlib.closing(InputWait(placed)) as waits:
        for k in range(warm + steps):
            if k == warm:
                jax.block_until_ready(metrics)
                started, waits.seconds = time.perf_counter(), 0.0
            state, metrics = step(state, waits.next_batch(), regions)
            waits.computing(metrics)
        jax.block_until_ready(metrics)
    seconds = time.perf_counter() - started
    return steps * config.train.batch_size / seconds, waits.seconds / seconds, state


def random_batch(model, batch_size: int, patches_per_text: int) -> dict[str, np.ndarray]:
    """Noise in the shapes of `PatchDataset.batch`, two texts to a photo."""
    S, L, G = model.image.image_size, model.text.max_length, batch_size // patches_per_text
    rng = np.random.default_rng(0)
    return {
        "image": rng.integers(0, 256, (batch_size, S, S, 3), dtype=np.uint8),
        "tokens": rng.integers(2, model.text.vocab_size, (G, L)).astype(np.int32),
        "token_mask": np.ones((G, L), bool),
        "text_id": np.arange(G, dtype=np.uint32),
        "photo_id": np.arange(G, dtype=np.uint32) // 2,
    }


def model_flops(model, patches_per_text: int) -> float:
    """Forward and backward FLOPs of a patch and its share of a text."""
    return 3.0 * (image_flops(model.image) + text_flops(model.text) / patches_per_text)


def peak_memory(compiled) -> float:
    """Bytes on one device: the most so far where it keeps count, else what the compiler planned."""
    stats = jax.local_devices()[0].memory_stats() or {}
    planned = compiled.memory_analysis()
    plan = planned.argument_size_in_bytes + planned.temp_size_in_bytes
    return float(stats.get("peak_bytes_in_use", plan))


def _format(value) -> str:
    return (
        f"{value:.3g}"
        if isinstance(value, float) and value < 100
        else str(round(value) if isinstance(value, float) else value)
    )


if __name__ == "__main__":
    main()
