"""Seconds and memory from a photo to its map: `python benchmarks/localize.py [--output OUT]`.

Every case runs in a process of its own, on a photo made for it, and is timed after a first run has
compiled. Floors are what the machine, measured in the same run, would need for the arithmetic and
the bytes alone. On a GPU the same command gives the GPU's figures.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time
from typing import Any
from unittest import mock

import numpy as np
from PIL import Image

ROOT = pathlib.Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))  # the command names the file, not the module

# name: (model, width, height, method)
CASES = {
    "auto 1024x768": ("vit", 1024, 768, "auto"),
    "auto 12 MP": ("vit", 4000, 3000, "auto"),
    "auto 100 MP": ("vit", 11600, 8700, "auto"),
    "vit 1024x768": ("vit", 1024, 768, "cut"),
    "vit 3000x2000": ("vit", 3000, 2000, "cut"),
    "vit 12 MP": ("vit", 4000, 3000, "cut"),
    "vit 100 MP": ("vit", 11600, 8700, "cut"),
    "map 384x256": ("vit", 384, 256, "map"),
    "map 12 MP": ("vit", 4000, 3000, "map"),
    "vit panorama 10:1": ("vit", 8000, 800, "cut"),
    "resnet50 1024x768": ("resnet50", 1024, 768, "cut"),
    "resnet50 1024x768 official": ("resnet50", 1024, 768, "official"),
    "resnet50 3000x2000 official": ("resnet50", 3000, 2000, "official"),
    "vit flat black": ("vit", 1024, 768, "cut"),
    "vit smaller than a patch": ("vit", 100, 80, "cut"),
}


def make_photo(path: pathlib.Path, name: str, width: int, height: int) -> None:
    """A JPEG of texture at all scales; of nothing, where the name says flat."""
    if "flat" in name:
        Image.new("RGB", (width, height)).save(path)
        return
    rng = np.random.default_rng(0)
    tile = rng.normal(0, 12, (512, 512, 3))
    for size in (2, 8, 32, 128):
        coarse = rng.normal(0, 12, (512 // size, 512 // size, 3))
        tile += coarse.repeat(size, 0).repeat(size, 1)
    tile = np.clip(tile + 128, 0, 255).astype(np.uint8)
    down, across = -(-height // 512), -(-width // 512)
    Image.fromarray(np.tile(tile, (down, across, 1))[:height, :width]).save(path, quality=92)


def load(kind: str):
    """The weights that ship, or a ResNet-50 of random ones."""
    import jax

    from exif_jax.data.wordpiece import WordPiece
    from exif_jax.models.distilbert import DistilBertConfig
    from exif_jax.models.dual_encoder import DualEncoderConfig, init_params
    from exif_jax.models.resnet import ResNetConfig
    from exif_jax.weights import release_file

    if kind == "vit":
        return release_file.load_model()
    text = DistilBertConfig(vocab_size=2, width=768, depth=1, heads=12, mlp_dim=8)
    config = DualEncoderConfig(ResNetConfig(), text, embed_dim=768)
    params = jax.jit(functools.partial(init_params, config))(jax.random.key(0))
    return release_file.Model(config, jax.device_get(params), WordPiece(b""), (), {})


def measure(name: str, path: pathlib.Path, repeats: int, batch: int | None) -> dict[str, Any]:
    """One case: seconds by stage, peak memory, and the answer in words."""
    import jax

    from benchmarks.machine import bandwidth, image_flops, matmul_peak
    from exif_jax.forensics import localization, methods, patches
    from exif_jax.forensics.methods import LocalizeError
    from exif_jax.reading.photo import read_photo
    from exif_jax.reports import outputs

    kind, _, _, method = CASES[name]
    settings = methods.LocalizationSettings(method=method, batch_size=batch)
    started = time.perf_counter()
    photo = read_photo(path)
    decode = time.perf_counter() - started
    model = load(kind)
    try:
        result = localization.localize(photo.pixels, model, settings)
    except LocalizeError as e:
        return {"answer": str(e), "decode_seconds": decode, "peak_memory_mb": peak_memory()}
    encoder_seconds, map_seconds = [], []
    embed_patches = patches.embed_patches

    def timed_embed_patches(*args, **kwargs):
        started = time.perf_counter()
        z_PxD = jax.block_until_ready(embed_patches(*args, **kwargs))
        encoder_seconds.append(time.perf_counter() - started)
        return z_PxD

    with mock.patch.object(patches, "embed_patches", timed_embed_patches):
        for _ in range(repeats):
            started = time.perf_counter()
            result = localization.localize(photo.pixels, model, settings)
            map_seconds.append(time.perf_counter() - started)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        report = outputs.make_report(photo, path.name, model.id, settings, result)
        outputs.write_outputs(pathlib.Path(folder), "x", photo, result, report)
    write = time.perf_counter() - started
    memory = peak_memory()
    median = int(np.argsort(map_seconds)[len(map_seconds) // 2])
    total = map_seconds[median]
    figures = {
        "answer": result.reason if result.flat else f"score {result.score:.3f}",
        "decode_seconds": decode,
        "map_seconds": total,
        "write_seconds": write,
        "total_seconds": decode + total + write,
        "peak_memory_mb": memory,
    }
    if not encoder_seconds:  # by the learned map alone
        return figures
    encode, grid, peak = encoder_seconds[median], result.grid, matmul_peak("float32")
    flops = grid.num_patches * image_flops(model.config.image)
    affinity_flops = 2.0 * grid.num_patches**2 * result.embeddings.shape[1]
    num_bytes = result.affinity.nbytes + result.heatmap.nbytes + result.embeddings.nbytes
    return figures | {
        "patches": grid.num_patches,
        "encoder_seconds": encode,
        "encoder_floor_seconds": flops / peak,
        "encoder_share_of_peak": flops / encode / peak,
        "after_encoder_seconds": total - encode,
        "after_encoder_floor_seconds": affinity_flops / peak + num_bytes / bandwidth(),
        "matmul_peak_gflops": peak / 1e9,
    }


def peak_memory() -> float:
    """The most MiB that this process held at once."""
    try:  # ru_maxrss would count what the parent held when it forked
        status = pathlib.Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) / 1024
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def second_start(path: pathlib.Path) -> dict[str, Any]:
    """The command as a user starts it: once to fill its cache of compiled code, then timed."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "XDG_CACHE_HOME": folder, "PYTHONPATH": str(ROOT)}
        # Installed packages are compiled to bytecode, whatever this shell says of new ones.
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        argv = [sys.executable, "-m", "exif_jax.localize", str(path), "--output", folder]
        seconds = []
        for _ in range(4):
            started = time.perf_counter()
            subprocess.run(argv, env=environment, check=True, capture_output=True)
            seconds.append(time.perf_counter() - started)
        figures = {
            "first_start_seconds": seconds[0],
            "second_start_seconds": sorted(seconds[1:])[1],
        }
        for module in ("jax", "exif_jax.localize"):
            program = (
                f"import time; t = time.perf_counter(); import {module}, sys; "
                "print(time.perf_counter() - t, 'tensorflow' in sys.modules)"
            )
            argv = [sys.executable, "-c", program]
            done = [
                subprocess.run(argv, env=environment, check=True, capture_output=True, text=True)
                for _ in range(3)
            ]
            times = sorted(float(run.stdout.split()[0]) for run in done)
            figures[f"import_{module}_seconds"] = times[1]
            assert "True" not in done[0].stdout, f"{module} imports TensorFlow"
    return figures


COLUMNS = (
    ("patches", "{:d}"),
    ("decode_seconds", "{:.2f}"),
    ("map_seconds", "{:.2f}"),
    ("encoder_seconds", "{:.2f}"),
    ("encoder_floor_seconds", "{:.2f}"),
    ("encoder_share_of_peak", "{:.0%}"),
    ("after_encoder_seconds", "{:.2f}"),
    ("after_encoder_floor_seconds", "{:.3f}"),
    ("write_seconds", "{:.2f}"),
    ("total_seconds", "{:.2f}"),
    ("peak_memory_mb", "{:.0f}"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--output", type=pathlib.Path, help="also write the figures here")
    parser.add_argument("--cases", help="only those whose name holds this text")
    parser.add_argument("--repeats", type=int, default=3, help="of each case (default 3)")
    parser.add_argument("--batch-size", type=int, help="patches at a time (default: as suits)")
    parser.add_argument("--one", nargs=2, metavar=("CASE", "PHOTO"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        name, path = args.one
        print(json.dumps(measure(name, pathlib.Path(path), args.repeats, args.batch_size)))
        return
    heads = [name.removesuffix("_seconds").replace("_", " ") for name, _ in COLUMNS]
    print(" | ".join(["case", *heads, "answer"]))
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, (_, width, height, _) in CASES.items():
            path = pathlib.Path(folder) / "photo.jpg"
            if args.cases and args.cases not in name:
                continue
            make_photo(path, name, width, height)
            argv = [sys.executable, __file__, "--repeats", str(args.repeats)]
            argv += ["--batch-size", str(args.batch_size)] if args.batch_size else []
            done = subprocess.run([*argv, "--one", name, str(path)], capture_output=True, text=True)
            if done.returncode:
                sys.exit(f"{name}: {done.stderr[-2000:]}")
            figures = results[name] = json.loads(done.stdout)
            cells = [form.format(figures[key]) if key in figures else "" for key, form in COLUMNS]
            print(" | ".join([name, *cells, figures["answer"]]), flush=True)
        if not args.cases:
            path = pathlib.Path(folder) / "photo.jpg"
            make_photo(path, "", 4000, 3000)
            results["command on 12 MP"] = second_start(path)
            for key, value in results["command on 12 MP"].items():
                print(f"{key.replace('_', ' ')}: {value:.2f}")
    if args.output:
        args.output.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
