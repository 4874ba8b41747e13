"""Evaluates many small photos in several processes, one of which is killed half way.

    python -m benchmarks.evaluation_at_size --count 100000

Makes photos of 64 x 48 pixels, one mask in 5,000 damaged and one missing, and runs
`exif_jax.evaluate` on them with trivial maps, split by --shard. What is printed, for a tenth of the
photos and for all: how long it took, the largest memory of a process, and whether the damaged and
missing masks were named and counted, and no others. With --compare one process does it all again,
and its rows must be the same.
"""

from __future__ import annotations

import io
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np
from PIL import Image

from exif_jax.cli import command
from exif_jax.io import jsonl

SIZE = (48, 64)
DAMAGED, MISSING, EVERY = 17, 4017, 5000  # of each 5,000
PRISTINE = 10  # of so many photos one is pristine


def main() -> int:
    parser = command.parser("benchmarks.evaluation_at_size", __doc__)
    parser.add_argument("--count", type=int, default=100_000, help="of photos (default 100000)")
    parser.add_argument("--processes", type=int, default=2, help="shards (default 2)")
    parser.add_argument("--baselines", default="constant,centre,error level",
                        help="trivial maps (default constant,centre,error level)")  # fmt: skip
    parser.add_argument("--compare", action="store_true", help="with the rows of one process")
    args = parser.parse_args()
    good = True
    for count in (args.count // 10, args.count):
        with tempfile.TemporaryDirectory() as folder:
            root, words = pathlib.Path(folder), ["--method", "none"]
            for name in args.baselines.split(","):
                words += ["--baseline", name]
            bad_masks = make_photos(root / "set", count)
            good &= measure(root, words, count, args.processes, bad_masks)
            if args.compare:
                good &= compare(root, words)
    return 0 if good else 1


def make_photos(root: pathlib.Path, count: int) -> set[str]:
    """Writes the photos and their masks; returns the masks that cannot be used."""
    rng = np.random.default_rng(0)
    texture = np.clip(rng.normal(128, 40, (512, 512, 3)), 0, 255).astype(np.uint8)
    scene = np.asarray(Image.fromarray(texture).resize((1024, 1024), Image.Resampling.BICUBIC))
    height, width = SIZE
    bad = set()
    for number in range(count):
        y, x = rng.integers(0, 900, 2)
        photo = scene[y : y + height, x : x + width].copy()
        folder = "pristine" if number % PRISTINE == 0 else "images"
        if folder == "images":
            top, left = rng.integers(4, 20, 2)
            photo[top : top + 20, left : left + 30] = texture[y % 480 :][:20, x % 480 :][:, :30]
            mask = np.zeros(SIZE, bool)
            mask[top : top + 20, left : left + 30] = True
            path = _path(root / "masks", number, "png")
            data = _encoded(mask, "PNG")
            if number % EVERY == DAMAGED:
                data = data[:40]
            if number % EVERY in (DAMAGED, MISSING):
                bad.add(str(path))
            if number % EVERY != MISSING:
                path.write_bytes(data)
        _path(root / folder, number, "jpg").write_bytes(_encoded(photo, "JPEG"))
    return bad


def _path(folder: pathlib.Path, number: int, ending: str) -> pathlib.Path:
    path = folder / f"{number // 1000:03d}" / f"{number:06d}.{ending}"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _encoded(pixels: np.ndarray, kind: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


class Process:
    """One `exif_jax.evaluate`, with what it printed and how much memory it took at most."""

    def __init__(self, root: pathlib.Path, words: list[str], output: str, *more: str):
        self.log = root / f"{output}{'-'.join(more).replace('/', '-of-')}.log"
        self._file = self.log.open("wb")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "exif_jax.evaluate", "--root", str(root / "set"), *words,
             "--output", str(root / output), *more],
            stdout=self._file, stderr=self._file,
            env=os.environ | {"TQDM_DISABLE": "1", "OMP_NUM_THREADS": "1"},
        )  # fmt: skip

    def kill(self) -> None:
        os.kill(self._process.pid, signal.SIGKILL)  # Popen.kill would reap one that has ended
        self.wait()

    def wait(self) -> float:
        """Waits for its end; returns its largest memory in megabytes."""
        _, _, usage = os.wait4(self._process.pid, 0)
        self._file.close()
        return usage.ru_maxrss / 1024


def measure(
    root: pathlib.Path, words: list[str], count: int, processes: int, bad_masks: set[str]
) -> bool:
    """Runs the shards, kills the first half way, and merges; whether all was as it should be."""
    started = time.perf_counter()
    shards = [f"{k}/{processes}" for k in range(1, processes + 1)]
    running = [Process(root, words, "shards", "--shard", shard) for shard in shards]
    rows = root / "shards" / f"rows.1-of-{processes}.jsonl"
    detectors = words.count("--baseline")
    while _lines(rows) < count * detectors // processes // 2:
        time.sleep(2)
    running[0].kill()
    kept = _lines(rows)
    running[0] = Process(root, words, "shards", "--shard", shards[0])
    memory = max(process.wait() for process in running)
    in_shards = time.perf_counter() - started
    merge = Process(root, words, "shards")
    merge_memory = merge.wait()
    seconds = time.perf_counter() - started
    report = json.loads((root / "shards" / "evaluation.json").read_bytes())
    named = {
        path
        for line in merge.log.read_text().splitlines()
        for path in bad_masks
        if line.startswith(f"error: {path}")
    }
    errors = sum(line.startswith("error: ") for line in merge.log.read_text().splitlines())
    expected = (count - len(bad_masks)) * detectors
    whole = len(report["images"]) == expected and named == bad_masks
    whole &= errors == len(bad_masks) + 1  # and the count at the end
    print(
        f"{count} photos, {detectors} maps, {processes} processes: {in_shards:.0f} s "
        f"({count / in_shards:.0f} photos/s), with the merging {seconds:.0f} s; at most "
        f"{memory:.0f} MB a shard, {merge_memory:.0f} MB the merging; killed after {kept} rows; "
        f"{len(report['images'])} rows of {expected}, {len(named)} of {len(bad_masks)} bad masks "
        f"named: {'as it should be' if whole else 'WRONG'}",
        flush=True,
    )
    return whole


def _lines(path: pathlib.Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def compare(root: pathlib.Path, words: list[str]) -> bool:
    """Whether one process makes the same rows."""
    started = time.perf_counter()
    memory = Process(root, words, "one").wait()
    found = [
        sorted(
            json.dumps({**row, "seconds": 0}, sort_keys=True)
            for path in (root / name).glob("rows*.jsonl")
            for row in jsonl.read_rows(path)
        )
        for name in ("shards", "one")
    ]
    same = found[0] == found[1]
    print(
        f"one process: {time.perf_counter() - started:.0f} s, {memory:.0f} MB; its rows are "
        f"{'the same' if same else 'DIFFERENT'}",
        flush=True,
    )
    return same


if __name__ == "__main__":
    sys.exit(main())
