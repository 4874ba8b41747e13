"""Reads mutations of photos for hours: `python -m benchmarks.fuzz [--count 20000]`.

Seeds are JPEG, PNG, TIFF, WebP, BMP and AVIF files, most with EXIF: small ones made here and the
malformed ones of tests/hostile; with EXIF_JAX_PHOTOS also small copies of real photos with their
own EXIF bytes.
Case i depends on --seed and i alone, so that it can be made again: one to eight changes of any
bytes (`benchmarks.mutations`), or one of a JPEG file's parts (`benchmarks.jpeg_mutations`) or of
what it holds beside its pixels (`benchmarks.evidence_mutations`).
Each is read by `exif_jax.reading.photo.read_photo`, its EXIF made a text and the file examined by
all rules of `exif_jax.forensics.file_evidence`, in worker processes that may take 2 GiB.

A finding is anything but a photo or a PhotoError: another exception, a dead process, more than
10 seconds, memory run out, or a result out of its bounds. So are other pixels, or a refusal, where
a change leaves the picture as it is; and a photo that is read without a word though libjpeg's
`djpeg` warns of it (not looked at where djpeg is not installed). Findings are kept in --findings.
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import functools
import hashlib
import json
import os
import pathlib
import re
import selectors
import shutil
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from benchmarks.evidence_mutations import EVIDENCE_MUTATIONS
from benchmarks.fuzz_seeds import Seeds, make_seeds
from benchmarks.jpeg_mutations import JPEG_MUTATIONS
from benchmarks.mutations import BYTE_MUTATIONS, Expected, Mutation
from exif_jax.cli import command
from exif_jax.forensics.file_evidence.examine import RULES, examine
from exif_jax.forensics.file_evidence.findings import CONTRADICTS, FITS, SILENT
from exif_jax.reading.exif import MAX_CHARS, to_text
from exif_jax.reading.photo import Photo, PhotoError, read_photo

MAX_SECONDS, MAX_BYTES = 10, 2 << 30
WORKER = (sys.executable, "-m", "benchmarks.fuzz", "--worker")
CASES_PER_WORKER = 250
_OF_PARTS = (*JPEG_MUTATIONS, *EVIDENCE_MUTATIONS)
_JPEG_PROB = 0.5  # of a case that changes a JPEG file's parts


# --- cases ----------------------------------------------------------------------------------------


class Case(NamedTuple):
    """A changed file: the number of its seed, the names of its changes, and what is expected."""

    seed_number: int
    names: tuple[str, ...]
    data: bytes
    expected: Expected = Expected.ANYTHING


def make_case(seeds: Seeds, seed: int, index: int) -> Case:
    """Case `index`: one change of a JPEG file's parts, or one to eight of any bytes."""
    rng = np.random.default_rng((seed, index))
    files = seeds.files
    if rng.random() < _JPEG_PROB:
        mutation: Mutation = _OF_PARTS[rng.integers(len(_OF_PARTS))]
        # A change may not apply to a file: one of a restart marker needs a file that has some.
        for place in rng.permutation(len(seeds.jpegs)):
            number = seeds.jpegs[place]
            data = mutation.apply(files[number], rng, files)
            if data is not None:
                return Case(number, (mutation.name,), data, mutation.expected)
    number = int(rng.integers(len(files)))
    data, names = files[number], []
    for _ in range(min(rng.geometric(0.5), 8)):
        if not data:
            break
        mutation = BYTE_MUTATIONS[rng.integers(len(BYTE_MUTATIONS))]
        data = mutation.apply(data, rng, files) or b""
        names.append(mutation.name)
    return Case(number, tuple(names), data)


class Outcome(NamedTuple):
    """What a reader made of a file: a refusal's cause, or pixels by their hash, and notes."""

    refusal: str = ""
    pixels: str = ""
    notes: tuple[str, ...] = ()

    def label(self) -> str:
        """The outcome in a few words, for counts."""
        if self.refusal:
            return "refused: " + re.sub(r"[\d,]*\d", "N", self.refusal.partition(":")[0])
        return "read with notes" if self.notes else "read"


def read(data: bytes) -> Outcome:
    """Reads a file; raises what only a finding raises."""
    try:
        photo = read_photo(data)
        _check_bounds(photo)
        _check_evidence(photo)
    except PhotoError as e:
        if "too large for the memory" in e.cause:
            raise MemoryError(f"more than {MAX_BYTES >> 20} MiB") from e
        return Outcome(refusal=e.cause)
    digest = hashlib.sha256(repr(photo.pixels.shape).encode() + photo.pixels.tobytes())
    return Outcome(pixels=digest.hexdigest(), notes=photo.notes)


def _check_bounds(photo: Photo) -> None:
    assert photo.pixels.dtype == np.uint8 and photo.pixels.ndim == 3 and photo.pixels.size
    text = to_text(photo.exif)
    assert (text.isascii() and text.isprintable()) or not text
    assert all(len(value) <= MAX_CHARS for value in photo.exif.values())


def _check_evidence(photo: Photo) -> None:
    """All rules on the file say something, in bounded words."""
    findings = examine(photo).findings
    assert len(findings) == len(RULES)
    assert all(finding.verdict in (FITS, CONTRADICTS, SILENT) for finding in findings)
    assert all(len(finding.sentence) < 1000 for finding in findings)


def find_fault(case: Case, outcome: Outcome, unchanged: bytes) -> str:
    """What is wrong with an outcome, in a few words; "" if nothing is.

    Args:
      case: The changed file.
      outcome: What the reader made of it.
      unchanged: The bytes of its seed.
    """
    if case.expected is Expected.ANYTHING:
        return ""
    original = read(unchanged)
    if original.refusal:
        return ""
    has_new_note = bool(set(outcome.notes) - set(original.notes))
    if case.expected is Expected.AS_LIBJPEG:
        is_silent = not outcome.refusal and not has_new_note
        warns = is_silent and not djpeg_warning(unchanged) and djpeg_warning(case.data)
        return f"read without a word; djpeg: {warns}" if warns else ""
    if outcome.refusal:
        return f"refused: {outcome.refusal}"
    if outcome.pixels != original.pixels:
        return "other pixels"
    if case.expected is Expected.SAME_PIXELS_NOTED and not has_new_note:
        return "read without a word"
    return ""


@functools.lru_cache(maxsize=256)
def djpeg_warning(data: bytes) -> str:
    """What libjpeg's own tool warns of; "" for nothing, or where it is not installed."""
    if not shutil.which("djpeg"):
        return ""
    words = ["djpeg", "-scale", "1/8", "-outfile", os.devnull]
    done = subprocess.run(words, input=data, capture_output=True)
    lines = done.stderr.decode("utf-8", "replace").splitlines()
    return lines[0] if lines else f"status {done.returncode}" if done.returncode else ""


# --- processes ------------------------------------------------------------------------------------


def work(seed: int, first: int, last: int) -> None:
    """A worker: a JSON line before and after each case."""
    import resource  # not on Windows

    resource.setrlimit(resource.RLIMIT_AS, (MAX_BYTES, MAX_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    seeds = make_seeds()
    for index in range(first, last):
        case = make_case(seeds, seed, index)
        print(json.dumps({"begin": index}), flush=True)
        try:
            outcome = read(case.data)
            line = {"end": index, "outcome": outcome.label(), "mutation": case.names[0]}
            if fault := find_fault(case, outcome, seeds.files[case.seed_number]):
                line["finding"] = fault
        except BaseException as e:  # a finding, whatever it is
            line = {"end": index, "finding": f"{type(e).__name__}: {e}"[:300]}
        print(json.dumps(line), flush=True)
    print(json.dumps({"peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}), flush=True)


class Results(NamedTuple):
    """Counts of outcomes and of mutations, index -> finding, and the highest memory in MiB."""

    outcomes: collections.Counter[str]
    mutations: collections.Counter[str]
    findings: dict[int, str]
    peak: float

    def merged(self, other: Results) -> Results:
        """The results of both."""
        return Results(
            self.outcomes + other.outcomes,
            self.mutations + other.mutations,
            self.findings | other.findings,
            max(self.peak, other.peak),
        )


NO_RESULTS = Results(collections.Counter(), collections.Counter(), {}, 0.0)


def watch(seed: int, first: int, last: int) -> Results:
    """Has workers read the cases first..last; starts another where one dies or hangs."""
    outcomes, mutations = collections.Counter(), collections.Counter()
    findings, peak = {}, 0.0
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
                if not selector.select(MAX_SECONDS if at is not None else 120):
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
                    if "outcome" in line:
                        outcomes[line["outcome"]] += 1
                        mutations[line["mutation"]] += 1
        status = worker.wait()
        worker.stdout.close()
        if hung or status:
            if at is None:
                raise RuntimeError(f"a worker did not start (status {status})")
            findings[at] = f"more than {MAX_SECONDS} s" if hung else f"the process died ({status})"
            first = at + 1
    return Results(outcomes, mutations, findings, peak)


# --- command --------------------------------------------------------------------------------------


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    parser = command.parser("benchmarks.fuzz", __doc__, "exit codes: 0 no findings, 1 findings")
    parser.add_argument("--count", type=int, default=20_000, help="cases (default 20,000)")
    parser.add_argument("--seed", type=int, default=0, help="another gives other cases")
    parser.add_argument("--processes", type=int, default=2, help="at a time (default 2)")
    default = pathlib.Path(tempfile.gettempdir()) / "exif_jax_findings"
    parser.add_argument("--findings", type=pathlib.Path, default=default, help="folder for them")
    parser.add_argument("--worker", nargs=3, type=int, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.worker:
        work(*args.worker)
        return 0
    started = time.monotonic()
    results = _run_all(args.seed, args.count, args.processes)
    seeds = make_seeds()
    for index, fault in sorted(results.findings.items()):
        case = make_case(seeds, args.seed, index)
        args.findings.mkdir(parents=True, exist_ok=True)
        (args.findings / f"seed{args.seed}_{index}").write_bytes(case.data)
        print(f"finding {index} ({', '.join(case.names)}): {fault}")
    for title, counts in (("outcome", results.outcomes), ("first change", results.mutations)):
        print(f"{'cases':>8}  {title}")
        for name, count in counts.most_common():
            print(f"{count:8,}  {name}")
    if not shutil.which("djpeg"):
        print("djpeg is not installed: damaged scans were not compared with libjpeg's warnings")
    print(
        f"{args.count:8,}  cases of {len(seeds.files)} files "
        f"in {time.monotonic() - started:.0f} s, peak {results.peak:.0f} MiB, "
        f"{len(results.findings)} findings"
    )
    return 1 if results.findings else 0


def _run_all(seed: int, count: int, processes: int) -> Results:
    """Has all cases read, some processes at a time, with a progress bar."""
    results = NO_RESULTS
    with concurrent.futures.ThreadPoolExecutor(processes) as pool:
        jobs = [
            pool.submit(watch, seed, first, min(first + CASES_PER_WORKER, count))
            for first in range(0, count, CASES_PER_WORKER)
        ]
        for job in tqdm(concurrent.futures.as_completed(jobs), total=len(jobs), unit="chunk"):
            results = results.merged(job.result())
    return results


if __name__ == "__main__":
    command.run(main)
