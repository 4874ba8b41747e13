"""Kills a training run at random moments until it is done, and compares.

    python -m benchmarks.kill_training --kills 30

Each time the same command goes on; at the end the loss curve and the released weights must be those
of a run that nobody disturbed, bit by bit. Simulated photos, a tiny model, one CPU device.
"""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np
from tqdm import tqdm

from data_prep import photos, simulate, train_tokenizer
from exif_jax.cli import command
from exif_jax.io import jsonl

TINY = (
    *("data.reader=threads", "train.batch_size=16", "train.log_every=1", "train.save_every=1"),
    *("train.eval_every=50", "optim.warmup_steps=2", "model.image.image_size=32"),
    *("model.image.width=32", "model.image.mlp_dim=32", "model.image.depth=1"),
    *("model.image.heads=2", "model.text.width=32", "model.text.mlp_dim=32"),
    *("model.text.depth=1", "model.text.heads=2", "train.ema=0.9"),
)


def main() -> int:
    parser = command.parser("benchmarks.kill_training", __doc__)
    parser.add_argument("--kills", type=int, default=30, help="how many (default 30)")
    parser.add_argument("--steps", type=int, default=600, help="of the run (default 600)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default 0)")
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        simulate.main(["--output", f"{root}/photos", "--num-photos", "64", "--size", "128"])
        photos.main([f"--input={root}/photos", f"--output={root}/records", "--region-size=128"])
        train_tokenizer.main([f"--records={root}/records"])
        calm, disturbed = root / "calm", root / "disturbed"
        if _start(root, calm, args.steps).wait() != 0:
            print((root / "log").read_text())
            return 1
        moments = []
        for _ in tqdm(range(args.kills), unit="kill", file=sys.stderr):
            # From its first step on: anywhere in stepping, saving and validating.
            before = len(_losses(disturbed))
            process = _start(root, disturbed, args.steps)
            while process.poll() is None and len(_losses(disturbed)) <= before:
                time.sleep(0.05)
            time.sleep(rng.uniform(0.0, 2.0))
            process.kill()
            if process.wait() == 0:
                print(f"the run ended before kill {len(moments) + 1}; choose more --steps")
                return 1
            moments.append(len(_losses(disturbed)))
        if _start(root, disturbed, args.steps).wait() != 0:
            print((root / "log").read_text())
            return 1
        same = _losses(calm) == _losses(disturbed)
        weights = [(path / "model.safetensors").read_bytes() for path in (calm, disturbed)]
        print(f"{len(moments)} kills, after steps {moments}")
        print(f"loss curve of {len(_losses(calm))} steps: {'the same' if same else 'DIFFERS'}")
        print(f"weights: {'the same' if weights[0] == weights[1] else 'DIFFER'}")
        return 0 if same and weights[0] == weights[1] else 1


def _start(root: pathlib.Path, workdir: pathlib.Path, steps: int) -> subprocess.Popen:
    words = [sys.executable, "-m", "exif_jax.train", "--config=configs/demo.py"]
    words += [f"--workdir={workdir}", f"--config.data.records={root}/records"]
    words += [f"--config.{setting}" for setting in (*TINY, f"train.num_steps={steps}")]
    with (root / "log").open("a") as log:
        environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
        return subprocess.Popen(words, stdout=log, stderr=log, env=environment)


def _losses(workdir: pathlib.Path) -> dict[int, float]:
    rows = jsonl.read_rows(workdir / "metrics.jsonl")
    return {row["step"]: row["loss"] for row in rows if "loss" in row}


if __name__ == "__main__":
    sys.exit(main())
