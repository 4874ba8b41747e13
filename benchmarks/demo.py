"""The whole path on simulated photos, by the commands a user would type: `make demo`.

First shows what the weights that ship make of a splice and of its host. Then simulates cameras,
writes records, trains a tokenizer and a small model, and localises splices of scenes that no
training photo shows. Prints a table and writes DIR/summary.json, the photos, the records, the run
and the overlays. Nothing is downloaded. A second run takes what the first one finished.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import subprocess
import sys
import time
from typing import Any

from exif_jax.cli import command
from exif_jax.io import jsonl
from exif_jax.io.atomic import write_bytes
from exif_jax.io.text import json_bytes

NUM_PHOTOS, NUM_SPLICES, SIZE = 1200, 16, 512
FIRST_SIZE, FIRST_SEED = 1024, 5
NUM_STEPS = 9


def main() -> None:
    parser = command.parser("benchmarks.demo", __doc__)
    parser.add_argument(
        "--output",
        type=pathlib.Path,
        default=pathlib.Path("demo"),
        metavar="DIR",
        help="folder for all that is made (default demo)",
    )
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument(
        "--started", type=float, default=time.time(), help="UNIX time from which to count seconds"
    )
    args = parser.parse_args()
    show_first_picture(args.output)
    first = round(time.time() - args.started)
    run_commands(args)
    seconds = {"seconds_to_first_picture": first, "seconds": round(time.time() - args.started)}
    summary = read_summary(args.output) | seconds
    write_bytes(args.output / "summary.json", json_bytes(summary))
    print(summary_table(summary))
    sheet = args.output / "evaluation_model" / "splices.sheet.png"
    print(f"\nPictures: {sheet}   Figures: {args.output / 'summary.json'}")


def show_first_picture(output: pathlib.Path) -> None:
    """Localises a simulated splice and its host with the weights that ship; says where to look."""
    first = output / "first"
    run_step(1, "Simulating a splice and the photo that it was made of",
             "data_prep.simulate", "--splices", "1", "--size", str(FIRST_SIZE),
             "--seed", str(FIRST_SEED), "--workers", "1", "--output", first)  # fmt: skip
    photos = [next((first / kind).iterdir()) for kind in ("images", "pristine")]
    run_step(2, "Localising both with the weights that ship",
             "exif_jax.localize", *photos, "--report", "--resume",
             "--output", first / "results")  # fmt: skip
    rows = jsonl.read_rows(first / "results" / "results.jsonl")
    print("\nThe first results, to look at while the rest runs:")
    for row, words in zip(rows, ("the splice", "its host"), strict=True):
        name = first / "results" / row["name"]
        print(f"  {words:<11}{name}.overlay.png   report: {name}.html")


def run_commands(args: argparse.Namespace) -> None:
    """Runs the commands of the path, each with its title."""
    output, workers = args.output, str(args.workers)
    simulate = ("data_prep.simulate", "--size", str(SIZE), "--workers", workers)

    run_step(3, "Simulating photos",
             *simulate, "--num-photos", str(NUM_PHOTOS), "--output", output / "photos")  # fmt: skip
    run_step(4, "Simulating splices of other scenes",
             *simulate, "--splices", str(NUM_SPLICES), "--seed", "1",
             "--output", output / "splices")  # fmt: skip
    run_step(5, "Writing records",
             "data_prep.photos", "--input", output / "photos", "--output", output / "records",
             "--workers", workers)  # fmt: skip
    run_step(6, "Training the tokenizer",
             "data_prep.train_tokenizer", "--records", output / "records")  # fmt: skip
    run_step(7, "Training the model",
             "exif_jax.train", "--config=configs/demo.py", f"--workdir={output / 'run'}",
             f"--config.data.records={output / 'records'}")  # fmt: skip
    for number, name in enumerate(("untrained", "model"), 8):
        run_step(number, f"Localising the splices with {name}.safetensors",
                 "exif_jax.evaluate", "--dataset", "folder", "--root", output / "splices",
                 "--model", output / "run" / f"{name}.safetensors",
                 # The default would show the learned map that ships beside the trained encoder.
                 "--method", "cut", "--output", output / f"evaluation_{name}")  # fmt: skip


def run_step(number: int, title: str, module: str, *flags: object) -> None:
    """Runs a command of the project; its failure ends the demo with its message and status."""
    words = [module, *map(str, flags)]
    print(f"\n[{number}/{NUM_STEPS}] {title}\n$ python -m {' '.join(words)}", flush=True)
    done = subprocess.run([sys.executable, "-m", *words])
    if done.returncode:
        sys.exit(done.returncode)


def read_summary(output: pathlib.Path) -> dict[str, Any]:
    """The figures of a finished demo but for its seconds."""
    trained, untrained = (
        json.loads((output / f"evaluation_{name}" / "evaluation.json").read_text())
        for name in ("model", "untrained")
    )
    rows = jsonl.read_rows(output / "run" / "metrics.jsonl")
    validation = [row for row in rows if "validation/chance_r1" in row][-1]
    return {
        "p_map_trained": trained["mean"]["p_map"],
        "p_map_untrained": untrained["mean"]["p_map"],
        "p_map_baselines": {k: v["p_map"] for k, v in trained["baselines"].items()},
        "retrieval_at_1": validation["validation/image_to_exif_r1"],
        "retrieval_chance": validation["validation/chance_r1"],
    }


def summary_table(summary: dict[str, Any]) -> str:
    """The summary in words."""
    lines = ["", "Localisation of the splices (permuted pixel AP, 1 is perfect)"]
    maps = {"trained": summary["p_map_trained"], "untrained": summary["p_map_untrained"]}
    for name, value in (maps | summary["p_map_baselines"]).items():
        lines.append(f"  {name:<24}{value:.3f}")
    lines += [
        "Right EXIF text ranked first, photos of cameras held out of training",
        f"  {'trained':<24}{summary['retrieval_at_1']:.3f}",
        f"  {'chance':<24}{summary['retrieval_chance']:.3f}",
        f"{summary['seconds']} seconds in all, "
        f"{summary['seconds_to_first_picture']} to the first picture",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
