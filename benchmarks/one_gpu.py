"""All that one GPU should tell, within a few minutes: figures, or weights.

    python -m benchmarks.one_gpu --minutes 6 --output gpu              # gpu/one_gpu.json
    python -m benchmarks.one_gpu pack --photos PHOTOS --output crops.tar
    python -m benchmarks.one_gpu train --crops crops.tar --minutes 8 --output gpu \\
        --config configs/vit_ti_128.py:second

The first asks the other benchmarks, the most useful figures first: training beside PyTorch with
augmentation inside the step, exactness of the augmentation on this device, its patches/s, a photo
and a folder to maps, then the other models and sizes. `train` simulates photos beside the crops,
makes records of both, trains for the minutes that are left and leaves weights of at most 16 MB.
Neither needs a network. --rehearse does the same at a tenth of the size or less, for a CPU.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import tempfile

from benchmarks import one_gpu_train
from benchmarks.parts import Clock, Part, run_parts
from exif_jax.cli import command
from exif_jax.io.errors import ExifJaxError


def main() -> int:
    parser = command.parser("benchmarks.one_gpu", __doc__ or "")
    commands = parser.add_subparsers(dest="command", metavar="pack | train")
    pack = commands.add_parser("pack", help="crops into one file that travels")
    pack.add_argument(
        "--photos",
        type=pathlib.Path,
        default=pathlib.Path(os.environ.get("EXIF_JAX_PHOTOS", "")) / "train",
        help="folder (default: $EXIF_JAX_PHOTOS/train)",
    )
    pack.add_argument("--output", type=pathlib.Path, required=True, help="the tar file")
    pack.add_argument("--most-mb", type=float, default=40.0, help="its size (default 40)")
    train = commands.add_parser("train", help="weights instead of figures")
    train.add_argument("--crops", type=pathlib.Path, required=True, help="what pack wrote")
    train.add_argument("--config", default="configs/vit_ti_128.py:second", help="of exif_jax.train")
    train.add_argument("--init-model", default="", help="release file to begin from")
    train.add_argument("--num-photos", type=int, default=12_000, help="to simulate at most")
    for each in (parser, train):
        each.add_argument("--minutes", type=float, default=6.0, help="that it may take (default 6)")
        each.add_argument("--rehearse", action="store_true", help="small, for a CPU")
    for each, name in ((parser, "one_gpu.json"), (train, "train.json and weights.safetensors")):
        each.add_argument("--output", type=pathlib.Path, help=f"folder for {name}")
    args = parser.parse_args()
    if args.output is None:
        parser.error("--output is missing")
    if args.command != "pack" and args.minutes <= 0:
        parser.error(f"--minutes {args.minutes} leaves no time")
    try:
        if args.command == "pack":
            names = one_gpu_train.pack(args.photos, args.output, int(args.most_mb * 1e6))
            print(f"wrote {args.output}: {len(names)} photos")
            return 0
        args.output.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as scratch:
            # Programs are compiled once, whichever part needs them first.
            os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", os.path.join(scratch, "compiled"))
            os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
            if args.command == "train":
                return one_gpu_train.run(args, Clock(args.minutes), pathlib.Path(scratch))
            return measure(args, pathlib.Path(scratch))
    except (ExifJaxError, OSError) as error:
        return command.fail(error)


def measure(args: argparse.Namespace, scratch: pathlib.Path) -> int:
    """Runs the benchmarks; 0 where at least one gave its figures."""
    clock = Clock(args.minutes)
    path = args.output / "one_gpu.json"
    parts = benchmark_parts(args.rehearse)
    report = run_parts(parts, clock, path, scratch, {"rehearsal": args.rehearse})
    print(f"wrote {path}: {clock.spent():.0f} s, failed: {', '.join(report['failed']) or 'none'}")
    return 0 if any(part.name in report for part in parts) else 1


def benchmark_parts(rehearse: bool) -> list[Part]:
    """The benchmarks, the most useful first."""

    def train(name: str, config: str, sizes: str, batch: int, seconds: float, *more: str) -> Part:
        if rehearse:  # a CPU compiles and computes this in place of any
            config, sizes, batch, seconds = "vit_ti_cpu", "32", 8, 900
            more = (*more, "--repeats", "2")  # one size for all, which compiles once
        words = ["benchmarks.train", "--configs", f"configs/{config}.py", "--image-sizes", sizes]
        words += ["--batches", str(batch), "--output", "{output}", *more]
        words += ["--no-input", "--torch-features", "spectrum"]
        return Part(name, words, seconds)

    def other(name: str, seconds: float, *words: str) -> Part:
        words = (f"benchmarks.{name}", *words, "--output", "{output}")
        return Part(name, words, 900 if rehearse else seconds)

    case = "vit 1024x768" if rehearse else "vit 12 MP"
    patches, photos = ("64", "2") if rehearse else ("10000", "32")
    return [
        train("vit_ti_128", "vit_ti", "128", 2048, 120),
        train("vit_b_224", "vit_b", "224", 128, 120),
        other("exactness", 90, "--patches", patches),
        other("device_patches", 60, "--patches", patches),
        other("localize", 60, "--cases", case),
        other("folder", 60, "--photos", photos),
        train("vit_b_128", "vit_b", "128", 512, 60, "--no-torch"),
        train("vit_s_128", "vit_s", "128", 1024, 60, "--no-torch"),
        train("vit_ti_other_sizes", "vit_ti", "64,224", 1024, 60, "--no-torch"),
        train("vit_s_other_sizes", "vit_s", "64,224", 512, 60, "--no-torch"),
        train("vit_b_64", "vit_b", "64", 1024, 60, "--no-torch"),
    ]


if __name__ == "__main__":
    command.run(main)
