"""Reads mutations of photos for hours: `python -m benchmarks.fuzz [--count 20000]`.

Seeds are JPEG, PNG, TIFF and WebP files with EXIF, small ones made here and the malformed ones of
tests/hostile; with EXIF_JAX_PHOTOS also small copies of real photos with their own EXIF bytes.
Mutation i depends on --seed and i alone, so that it can be made again. Each is read by
`exif_jax.reading.photo.read_photo` and its EXIF made a text, in worker processes that may take
2 GiB. A finding is anything but a photo or a PhotoError: another exception, a dead process, more
than 10 seconds, memory run out, or a result out of its bounds. Findings are kept in --findings.
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import json
import os
import pathlib
import resource
import selectors
import subprocess
import sys
import tempfile
import time

import numpy as np

from exif_jax.cli import command
from exif_jax.reading.exif import MAX_CHARS, to_text
from exif_jax.reading.photo import PhotoError, read_photo

HOSTILE = pathlib.Path(__file__).parent.parent / "tests" / "hostile"
SECONDS, BYTES = 10, 2 << 30
WORKER = (sys.executable, "-m", "benchmarks.fuzz", "--worker")
CHUNK = 250  # mutations a worker process reads
_EDGES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


# --- seeds and mutations --------------------------------------------------------------------------


def make_seeds() -> list[bytes]:
    """Whole files, most small: a mutation of a small file more often hits what matters."""
    import io

    from PIL import Image

    rng = np.random.default_rng(7)
    pixels = np.cumsum(rng.integers(-9, 10, (48, 64, 3)), axis=1).astype(np.uint8)
    exif = Image.Exif()
    exif[0x010F], exif[0x0110], exif[0x0112] = "Canon", "Canon EOS 5D", 6
    exif.get_ifd(0x8769).update({0x829A: 0.004, 0x829D: 2.8, 0x8827: 400, 0x920A: 50.0})
    images = [(Image.fromarray(pixels), exif.tobytes())]
    folder = os.environ.get("EXIF_JAX_PHOTOS")
    for path in sorted(pathlib.Path(folder, "train").iterdir())[::60] if folder else ():
        with Image.open(path) as image:
            if image.info.get("exif"):
                images.append((image.convert("RGB").crop((0, 0, 64, 48)), image.info["exif"]))
    seeds = []
    for image, block in images:
        for kind, options in (
            *(("JPEG", {}), ("JPEG", {"progressive": True}), ("JPEG", {"subsampling": 0})),
            *(("PNG", {}), ("WEBP", {}), ("WEBP", {"lossless": True}), ("TIFF", {})),
            *(("TIFF", {"compression": name}) for name in ("tiff_lzw", "tiff_deflate", "jpeg")),
        ):
            file = io.BytesIO()
            # libtiff, which writes the compressed ones, refuses some cameras' EXIF.
            image.save(file, kind, exif=b"" if "compression" in options else block, **options)
            seeds.append(file.getvalue())
    for mode in ("L", "1", "P", "CMYK", "I;16"):
        kind = "TIFF" if mode in ("I;16", "1") else "JPEG" if mode == "CMYK" else "PNG"
        file = io.BytesIO()
        images[0][0].convert("I" if mode == "I;16" else mode).convert(mode).save(file, kind)
        seeds.append(file.getvalue())
    seeds += [path.read_bytes() for path in sorted(HOSTILE.iterdir()) if path.suffix != ".py"]
    return [seed for seed in seeds if seed]


def mutate(seeds: list[bytes], seed: int, index: int) -> bytes:
    """Mutation `index`: one to eight changes of one file, most of them near its head."""
    rng = np.random.default_rng((seed, index))
    data = bytearray(seeds[rng.integers(len(seeds))])
    for _ in range(min(rng.geometric(0.5), 8)):
        if not data:
            break
        head = rng.random() < 0.6
        at = int(rng.integers(min(len(data), 600 if head else len(data))))
        match rng.integers(8):
            case 0:
                data[at] = int(rng.integers(256))
            case 1:
                data[at] ^= 1 << int(rng.integers(8))
            case 2 | 3:  # a number at an edge, as lengths, counts and offsets are written
                size = int(rng.choice([1, 2, 4]))
                value = int(rng.choice(_EDGES)) & (256**size - 1)
                order = "little" if rng.random() < 0.5 else "big"
                data[at : at + size] = value.to_bytes(size, order)
            case 4:
                del data[at : at + int(rng.integers(1, 64))]
            case 5:
                data[at:at] = rng.bytes(int(rng.integers(1, 64)))
            case 6:  # a piece of another place, or of another file
                other = data if rng.random() < 0.5 else seeds[rng.integers(len(seeds))]
                start = int(rng.integers(len(other)))
                data[at:at] = other[start : start + int(rng.integers(1, 400))]
            case _:
                if rng.random() < 0.3:
                    del data[at:]
    return bytes(data)


def read(data: bytes) -> str:
    """What became of it, in a few words; raises what only a finding raises."""
    try:
        photo = read_photo(data)
    except PhotoError as e:
        if "too large for the memory" in e.cause:
            raise MemoryError(f"more than {BYTES >> 20} MiB") from e
        return "refused: " + e.cause.partition(":")[0].lstrip("0123456789x, ")
    assert photo.pixels.dtype == np.uint8 and photo.pixels.ndim == 3 and photo.pixels.size
    text = to_text(photo.exif)
    assert (text.isascii() and text.isprintable()) or not text
    assert all(len(value) <= MAX_CHARS for value in photo.exif.values())
    return "read, EXIF in part" if photo.notes else "read"


# --- processes ------------------------------------------------------------------------------------


def work(seed: int, first: int, last: int) -> None:
    """A worker: a JSON line before and after each mutation."""
    resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    seeds = make_seeds()
    for index in range(first, last):
        data = mutate(seeds, seed, index)
        print(json.dumps({"begin": index}), flush=True)
        try:
            line = {"end": index, "outcome": read(data)}
        except BaseException as e:  # a finding, whatever it is
            line = {"end": index, "finding": f"{type(e).__name__}: {e}"[:300]}
        print(json.dumps(line), flush=True)
    print(json.dumps({"peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}), flush=True)


def watch(seed: int, first: int, last: int) -> tuple[collections.Counter, dict[int, str], float]:
    """Has workers read mutations first..last; starts another where one dies or hangs."""
    outcomes, findings, peak = collections.Counter(), {}, 0.0
    while first < last:
        worker = subprocess.Popen(
            [*WORKER, str(seed), str(first), str(last)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,  # or `select` would not see the lines that a buffer already holds
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )
        assert worker.stdout is not None
        at, hung = None, False
        with selectors.DefaultSelector() as selector:
            selector.register(worker.stdout, selectors.EVENT_READ)
            while True:
                # Before its first line a worker makes the seeds, which may take a while.
                if not selector.select(SECONDS if at is not None else 120):
                    hung = True
                    worker.kill()
                    break
                text = worker.stdout.readline()
                if not text:
                    break
                line = json.loads(text)
                if "begin" in line:
                    at = line["begin"]
                elif "peak" in line:
                    peak = line["peak"] / 1024
                else:
                    first, at = line["end"] + 1, None
                    if "finding" in line:
                        findings[line["end"]] = line["finding"]
                    else:
                        outcomes[line["outcome"]] += 1
        status = worker.wait()
        worker.stdout.close()
        if hung or status:
            if at is None:
                raise RuntimeError(f"a worker did not start (status {status})")
            findings[at] = f"more than {SECONDS} s" if hung else f"the process died ({status})"
            first = at + 1
    return outcomes, findings, peak


def main(argv: list[str] | None = None) -> int:
    parser = command.parser("benchmarks.fuzz", __doc__, "exit codes: 0 nothing found, 1 findings")
    parser.add_argument("--count", type=int, default=20_000, help="mutations (default 20,000)")
    parser.add_argument("--seed", type=int, default=0, help="another gives other mutations")
    parser.add_argument("--processes", type=int, default=2, help="at a time (default 2)")
    default = pathlib.Path(tempfile.gettempdir()) / "exif_jax_findings"
    parser.add_argument("--findings", type=pathlib.Path, default=default, help="folder for them")
    parser.add_argument("--worker", nargs=3, type=int, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.worker:
        work(*args.worker)
        return 0
    from tqdm import tqdm

    started = time.monotonic()
    outcomes, findings, peak = collections.Counter(), {}, 0.0
    starts = range(0, args.count, CHUNK)
    with concurrent.futures.ThreadPoolExecutor(args.processes) as pool:
        jobs = [
            pool.submit(watch, args.seed, first, min(first + CHUNK, args.count)) for first in starts
        ]
        for job in tqdm(concurrent.futures.as_completed(jobs), total=len(jobs), unit="chunk"):
            more, found, high = job.result()
            outcomes += more
            findings |= found
            peak = max(peak, high)
    seeds = make_seeds()
    for index, what in sorted(findings.items()):
        args.findings.mkdir(parents=True, exist_ok=True)
        (args.findings / f"seed{args.seed}_{index}").write_bytes(mutate(seeds, args.seed, index))
        print(f"finding {index}: {what}")
    for outcome, count in outcomes.most_common():
        print(f"{count:8,}  {outcome}")
    print(
        f"{args.count:8,}  mutations of {len(seeds)} files in {time.monotonic() - started:.0f} s, "
        f"peak {peak:.0f} MiB, {len(findings)} findings"
    )
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
