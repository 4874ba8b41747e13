"""Weights from one GPU within a few minutes: the work of `python -m benchmarks.one_gpu train`."""

from __future__ import annotations

import argparse
import json
import math
import pathlib
import shutil
import tarfile
from typing import Any

from benchmarks.parts import Clock, run_words, save
from exif_jax.data.records_folder import open_split
from exif_jax.io.atomic import replacing
from exif_jax.io.errors import ExifJaxError

MOST_WEIGHTS = 16_000_000  # bytes that the weights may have, to be brought back
# Of the minutes, what simulating photos may take, and what is kept for the end of the training.
SIMULATION_SHARE, RESERVE_SHARE = 0.3, 0.08
ROUND = 1000  # photos simulated at a time
REGION_SIDE = 448  # px, the most that `data_prep.photos` cuts
MOST_CACHED = 24 * 2**30  # bytes of regions on the device, a third of an H100's
WARMUP = 100  # steps
PILOT = 200  # steps that tell how fast the training is; it goes on from them
_FORMAT = tarfile.GNU_FORMAT  # whose headers are of one block
_MANIFEST = "manifest.jsonl"
_SUFFIXES = (".jpg", ".jpeg")


class OneGpuError(ExifJaxError):
    """The run cannot go on; the message says why and what to do."""


# --- crops in one file ----------------------------------------------------------------------------


def pack(photos: pathlib.Path, output: pathlib.Path, most_bytes: int) -> list[str]:
    """Writes as many photos of a folder into one tar file as it may hold; returns their names.

    Every so-many-th photo by name, so that those which stand together are thinned out alike, and
    the manifest, which says which crops are of one photo.

    Args:
        photos: folder of JPEGs.
        output: the file.
        most_bytes: its size.

    Raises:
        OneGpuError: there is no photo, or not one of them fits.
    """
    files = sorted(path for path in photos.glob("*") if path.suffix.lower() in _SUFFIXES)
    if not files:
        raise OneGpuError(f"{photos}: no JPEGs here; name the folder of crops with --photos")
    manifest = [path for path in [photos / _MANIFEST] if path.exists()]
    room = most_bytes - sum(_tar_bytes(path.name, path.stat().st_size) for path in manifest)
    chosen = choose({path: path.stat().st_size for path in files}, room)
    if not chosen:
        raise OneGpuError(f"{photos}: no photo fits {most_bytes:,} bytes; raise --most-mb")
    with replacing(output) as file, tarfile.open(fileobj=file, mode="w", format=_FORMAT) as archive:
        for path in manifest + chosen:
            with path.open("rb") as content:
                archive.addfile(_header(path.name, path.stat().st_size), content)
    return [path.name for path in chosen]


def choose(sizes: dict[pathlib.Path, int], most_bytes: int) -> list[pathlib.Path]:
    """The files that fit a tar file of so many bytes, spread evenly over all.

    Args:
        sizes: bytes of each.
        most_bytes: of the whole tar file.
    """
    room = most_bytes - tarfile.RECORDSIZE  # the end of the file is filled up to a record
    needed = {path: _tar_bytes(path.name, size) for path, size in sizes.items()}
    total, paths = sum(needed.values()), list(sizes)
    every = max(1.0, total / max(room, 1))
    chosen, used = [], 0
    for k in range(math.ceil(len(paths) / every)):
        path = paths[int(k * every)]
        if used + needed[path] <= room:
            chosen.append(path)
            used += needed[path]
    return chosen


def _header(name: str, size: int) -> tarfile.TarInfo:
    """Of a file: its name and size, and nothing of when and by whom it was made."""
    header = tarfile.TarInfo(name)
    header.size = size
    return header


def _tar_bytes(name: str, size: int) -> int:
    """What a file takes in a tar file: a header and whole blocks."""
    header = len(_header(name, size).tobuf(_FORMAT))
    return header + tarfile.BLOCKSIZE * math.ceil(size / tarfile.BLOCKSIZE)


def unpack(archive_path: pathlib.Path, folder: pathlib.Path) -> int:
    """Writes the photos of a tar file into a folder; returns their number.

    Raises:
        OneGpuError: it is no such file, or holds something else than `pack` writes.
    """
    folder.mkdir(parents=True)
    try:
        with tarfile.open(archive_path) as archive:
            members = archive.getmembers()
            for member in members:
                plain = member.isfile() and pathlib.PurePath(member.name).name == member.name
                photo = member.name.lower().endswith(_SUFFIXES)
                if not plain or not (photo or member.name == _MANIFEST):
                    raise OneGpuError(
                        f"{archive_path}: holds {member.name!r}, which is no photo; "
                        "make it with `python -m benchmarks.one_gpu pack`"
                    )
                content = archive.extractfile(member)
                assert content is not None  # of a plain file
                (folder / member.name).write_bytes(content.read())
    except (tarfile.TarError, EOFError) as error:
        raise OneGpuError(f"{archive_path}: no whole tar file ({error}); pack it again") from error
    return sum(member.name != _MANIFEST for member in members)


# --- time -----------------------------------------------------------------------------------------


def steps_that_fit(pairs_per_second: float, batch_size: int, start: float, left: float) -> int:
    """How many steps can be taken in all the time that is left.

    Args:
        pairs_per_second: of the steps alone.
        batch_size: patches of a step.
        start: seconds from the command to its first step and from the last to the weights.
        left: seconds.
    """
    return max(0, int((left - start) * pairs_per_second / batch_size))


def last_rate(metrics: str) -> float:
    """The last pairs/s in a run's metrics.jsonl; 0 where there is none."""
    rates = [json.loads(line).get("pairs_per_second") for line in metrics.splitlines() if line]
    return next((float(rate) for rate in reversed(rates) if rate), 0.0)


# --- the run --------------------------------------------------------------------------------------


def run(args: argparse.Namespace, clock: Clock, scratch: pathlib.Path) -> int:
    """Everything from the crops to the weights; 0 where there are weights.

    Raises:
        OneGpuError: a part that all others need failed.
    """
    report: dict[str, Any] = {"config": args.config, "rehearsal": args.rehearse, "seconds": {}}
    path = args.output / "train.json"

    def note(**figures: Any) -> None:
        report.update(figures)
        save(path, report)

    def do(name: str, *words: str, seconds: float | None = None) -> str:
        """Runs `python -m` these words in the time that is left; returns what went wrong."""
        started = clock.spent()
        failure = run_words(words, max(1.0, clock.left() if seconds is None else seconds))
        report["seconds"][name] = round(clock.spent() - started, 1)
        if failure:
            report.setdefault("failed", {})[name] = failure
        note()
        return failure

    def must(name: str, *words: str) -> None:
        if failure := do(name, *words):
            raise OneGpuError(f"{name}: {failure}")

    note(photos=unpack(args.crops, scratch / "crops"))
    records = str(scratch / "records")
    must("records", "data_prep.photos", "--input", str(scratch / "crops"), "--output", records)
    must("tokenizer", "data_prep.train_tokenizer", "--records", records)
    simulated = simulate(args, clock, scratch / "simulated", records, do)
    note(simulated_photos=simulated)
    more = str(scratch / "more_records")
    words = ["data_prep.photos", "--input", str(scratch / "simulated"), "--output", more]
    if not simulated or do("simulated_records", *words):
        more = ""

    note(**train(args, clock, scratch / "run", records, more, do))
    weights = next((p for p in _weights(scratch / "run") if p.exists()), None)
    if weights is None:
        raise OneGpuError(f"no weights came of it; {path} says where it failed")
    size = weights.stat().st_size
    note(weights_bytes=size, weights_of=weights.name)
    metrics = scratch / "run" / "metrics.jsonl"
    if metrics.exists():
        shutil.copyfile(metrics, args.output / "metrics.jsonl")
    if size > MOST_WEIGHTS:
        raise OneGpuError(
            f"the weights have {size:,} bytes, more than {MOST_WEIGHTS:,}; take a smaller --config"
        )
    shutil.copyfile(weights, args.output / "weights.safetensors")
    print(f"wrote {args.output / 'weights.safetensors'} ({clock.spent():.0f} s)")
    return 0


def _weights(run_folder: pathlib.Path) -> list[pathlib.Path]:
    """The best first; a run that was stopped has the later ones alone."""
    return [run_folder / name for name in ("model.safetensors", "best.safetensors")]


def simulate(args: argparse.Namespace, clock: Clock, folder: pathlib.Path, records: str, do) -> int:
    """Simulates photos, round by round, while their share of the time lasts; returns how many."""
    until = clock.spent() + SIMULATION_SHARE * (clock.spent() + clock.left())
    size, per_round = ("128", 8) if args.rehearse else ("512", ROUND)
    most = min(args.num_photos, 2 * per_round) if args.rehearse else args.num_photos
    made = 0
    for k in range(math.ceil(most / per_round)):
        seconds = until - clock.spent()
        if seconds <= 1:
            break
        count = min(per_round, most - made)
        failure = do(
            f"simulation_{k}",
            *("data_prep.simulate", "--num-photos", str(count), "--size", size),
            *("--cameras", str(max(24, args.num_photos // 10)), "--seed", str(k)),
            *("--scenes", records, "--output", str(folder / f"{k:03d}")),
            seconds=seconds,
        )
        # A round that was stopped leaves whole photos.
        made = sum(1 for _ in folder.rglob("*.jpg"))
        if failure:
            break
    return made


def device_cache(records: str, more: str) -> int:
    """Bytes that all regions take on the device; 0 where that is too much for it."""
    regions = len(open_split(records, "train", more))
    size = regions * REGION_SIDE**2 * 3
    return size if size <= MOST_CACHED else 0


def train(
    args: argparse.Namespace, clock: Clock, workdir: pathlib.Path, records: str, more: str, do
) -> dict[str, Any]:
    """A first few steps, which tell how fast it is, and on from them for the time that is left."""
    pilot, warmup, log_every = (4, 1, 2) if args.rehearse else (PILOT, WARMUP, 50)
    words = [
        *("exif_jax.train", f"--config={args.config}", f"--workdir={workdir}"),
        *(f"--config.data.records={records}", f"--config.data.more_records={more}"),
        *("--config.optim.schedule=wsd", f"--config.optim.warmup_steps={warmup}"),
        *(f"--config.train.log_every={log_every}", "--config.train.eval_every=2000"),
        *("--config.train.save_every=1000", f"--config.train.init_model={args.init_model}"),
        "--config.data.augment_on=device",
        f"--config.data.device_cache={device_cache(records, more)}",
    ]
    if args.rehearse:
        words += ["--config.train.batch_size=8", "--config.model.image.image_size=64"]
    started = clock.spent()
    failure = do("first_steps", *words, f"--config.train.num_steps={pilot}")
    took = clock.spent() - started
    metrics = workdir / "metrics.jsonl"
    rate = last_rate(metrics.read_text()) if metrics.exists() else 0.0
    if failure or not rate:
        return {"steps": 0}
    batch_size = json.loads((workdir / "config.json").read_text())["train"]["batch_size"]
    total = clock.spent() + clock.left()
    left = clock.left() - RESERVE_SHARE * total
    start = max(0.0, took - pilot * batch_size / rate)
    # It goes on from where the learning rate of the first steps began to fall.
    steps = int(0.8 * pilot) + steps_that_fit(rate, batch_size, start, left)
    if args.rehearse:
        steps = min(steps, 3 * pilot)
    figures = {"steps": pilot, "first_pairs_per_second": rate, "batch_size": batch_size}
    if steps > pilot:
        failure = do("training", *words, f"--config.train.num_steps={steps}")
        figures |= {"steps": steps, "pairs_per_second": last_rate(metrics.read_text())}
        figures["finished"] = not failure
    return figures
