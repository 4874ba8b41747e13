"""The whole path on simulated photos, by the commands a user would type: `make demo`.

Simulates cameras, writes records, trains a tokenizer and a small model, and localises splices
of scenes that no training photo shows. Prints a table and writes OUT/summary.json, the photos,
the records, the run and the overlays. Nothing is downloaded. A second run takes what the first
one finished.
"""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import time

from exif_jax.cli import command
from exif_jax.io.atomic import write_bytes

PHOTOS, SPLICES, SIZE = 1200, 16, 512


def main() -> None:
    parser = command.parser("benchmarks.demo", __doc__)
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("demo"), help="folder")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument(
        "--started", type=float, default=time.time(), help="UNIX time from which to count seconds"
    )
    args = parser.parse_args()
    out, workers = args.output, str(args.workers)
    simulate = ("data_prep.simulate", "--size", str(SIZE), "--workers", workers)

    step(1, "Simulating photos", *simulate, "--num-photos", str(PHOTOS), "--output", out / "photos")
    step(2, "Simulating splices of other scenes", *simulate, "--splices", str(SPLICES),
         "--seed", "1", "--output", out / "splices")  # fmt: skip
    step(3, "Writing records", "data_prep.photos", "--input", out / "photos",
         "--output", out / "records", "--workers", workers)  # fmt: skip
    step(4, "Training the tokenizer", "data_prep.train_tokenizer", "--records", out / "records")
    step(5, "Training the model", "exif_jax.train", "--config=configs/demo.py",
         f"--workdir={out / 'run'}", f"--config.data.records={out / 'records'}")  # fmt: skip
    for number, name in enumerate(("untrained", "model"), 6):
        step(number, f"Localising the splices with {name}.safetensors", "exif_jax.evaluate",
             "--dataset", "folder", "--root", out / "splices",
             "--model", out / "run" / f"{name}.safetensors",
             "--output", out / f"evaluation_{name}")  # fmt: skip

    trained, untrained = (
        json.loads((out / f"evaluation_{name}" / "evaluation.json").read_text())
        for name in ("model", "untrained")
    )
    rows = [json.loads(line) for line in (out / "run" / "metrics.jsonl").open()]
    validation = [row for row in rows if "validation/chance_r1" in row][-1]
    summary = {
        "p_map_trained": trained["mean"]["p_map"],
        "p_map_untrained": untrained["mean"]["p_map"],
        "p_map_baselines": {k: v["p_map"] for k, v in trained["baselines"].items()},
        "retrieval_at_1": validation["validation/image_to_exif_r1"],
        "retrieval_chance": validation["validation/chance_r1"],
        "seconds": round(time.time() - args.started),
    }
    write_bytes(out / "summary.json", json.dumps(summary, indent=1).encode() + b"\n")
    print(table(summary))
    sheet = out / "evaluation_model" / "splices.sheet.png"
    print(f"\nPictures: {sheet}   Figures: {out / 'summary.json'}")


def step(number: int, title: str, module: str, *flags) -> None:
    """Runs a command of the project; its failure ends the demo with its message and status."""
    print(f"\n[{number}/7] {title}\n$ python -m {' '.join(map(str, (module, *flags)))}", flush=True)
    done = subprocess.run([sys.executable, "-m", module, *map(str, flags)])
    if done.returncode:
        sys.exit(done.returncode)


def table(summary: dict) -> str:
    """The summary in words."""
    lines = ["", "Splices found (permuted pixel AP, 1 is perfect)"]
    maps = {"trained": summary["p_map_trained"], "untrained": summary["p_map_untrained"]}
    for name, value in (maps | summary["p_map_baselines"]).items():
        lines.append(f"  {name:<24}{value:.3f}")
    lines += [
        "Right EXIF text first, photos of cameras held out of training",
        f"  {'trained':<24}{summary['retrieval_at_1']:.3f}",
        f"  {'chance':<24}{summary['retrieval_chance']:.3f}",
        f"{summary['seconds']} seconds in all",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
