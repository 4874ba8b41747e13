"""How often the rules on a photo's file go off at camera files, and what changes they catch.

python -m benchmarks.file_evidence --originals FOLDER [--changed N] --output DIR|FILE.json

FOLDER holds whole files as cameras wrote them, of cameras that the gallery does not hold for the
false alarms of record. N of them, each of another camera as far as there are, are changed in each
of the ways of `benchmarks.file_changes` and examined again.
"""

from __future__ import annotations

import collections
import hashlib
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

from tqdm import tqdm

from benchmarks.file_changes import CHANGES
from exif_jax.cli import command
from exif_jax.forensics.file_evidence.examine import RULES, examine, wilson
from exif_jax.forensics.file_evidence.findings import CONTRADICTS, FITS, total_strength
from exif_jax.io.atomic import write_bytes
from exif_jax.io.text import json_bytes, printable
from exif_jax.reading.exif import camera_name
from exif_jax.reading.photo import PhotoError, read_photo

RESULTS = "file_evidence.json"


def look_at(data: bytes, name: str) -> dict[str, Any] | None:
    """Examines a file; what each rule says, and the camera; None where it is not read."""
    try:
        photo = read_photo(data, name=name)
    except PhotoError as e:
        print(printable(e))
        return None
    findings = examine(photo).findings
    return {
        "camera": camera_name(photo.exif),
        "verdicts": {finding.rule: finding.verdict for finding in findings},
        "strength": total_strength(findings),
    }


def false_alarms(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """For each rule, and for any of them: contradictions, files, cameras, interval, what fits."""
    table = []
    for rule in ("any rule", *(rule.name for rule in RULES)):
        hits = [row for row in rows if _contradicts(row, rule)]
        low, high = wilson(len(hits), len(rows))
        fits = sum(row["verdicts"].get(rule) == FITS for row in rows)
        cameras = len({row["camera"] for row in hits})
        table.append(
            {"rule": rule, "contradicts": len(hits), "files": len(rows), "cameras": cameras}
            | {"low": round(low, 4), "high": round(high, 4), "fits": fits}
        )
    return table


def _contradicts(row: dict[str, Any], rule: str) -> bool:
    verdicts = row["verdicts"]
    return CONTRADICTS in (verdicts.values() if rule == "any rule" else [verdicts.get(rule)])


def choose(paths: Sequence[pathlib.Path], cameras: dict[str, str], count: int) -> list:
    """Some files: of each camera one, then of each another, in the order of their hashes."""
    rank: dict[pathlib.Path, tuple[int, str]] = {}
    taken: collections.Counter[str] = collections.Counter()
    for path in sorted(paths, key=lambda p: hashlib.sha256(p.name.encode()).hexdigest()):
        camera = cameras.get(path.name, "")
        rank[path] = (taken[camera], hashlib.sha256(path.name.encode()).hexdigest())
        taken[camera] += 1
    return sorted(paths, key=rank.__getitem__)[:count]


def catches(paths: Sequence[pathlib.Path]) -> Iterator[dict[str, Any]]:
    """For each change: how many of the changed files are contradicted, and by which rules."""
    files = [path.read_bytes() for path in paths]
    for change in CHANGES:
        rows = []
        for k, data in enumerate(tqdm(files, desc=change.name, unit="file", leave=False)):
            changed = change.apply(data, files[(k + 1) % len(files)])
            if changed is not None and (row := look_at(changed, paths[k].name)):
                rows.append(row)
        if not rows:
            print(f"{change.name}: not made here ({change.needs or 'no file allows it'})")
            continue
        caught = sum(_contradicts(row, "any rule") for row in rows)
        by_rule = {r.name: sum(_contradicts(row, r.name) for row in rows) for r in RULES}
        strengths = sorted(row["strength"] for row in rows)
        yield {
            "change": change.name,
            "files": len(rows),
            "caught": caught,
            "median_strength": strengths[len(strengths) // 2],
            "rules": dict(sorted(((k, v) for k, v in by_rule.items() if v), key=lambda i: -i[1])),
        }


def print_false_alarms(table: Sequence[dict[str, Any]]) -> None:
    print("| rule | contradicts | of files | 95 % interval | cameras | fits |")
    print("|---|---|---|---|---|---|")
    for row in table:
        print(
            f"| {row['rule']} | {row['contradicts']} | {row['contradicts'] / row['files']:.1%} "
            f"| {row['low']:.1%} to {row['high']:.1%} | {row['cameras']} | {row['fits']} |"
        )


def print_catches(table: Sequence[dict[str, Any]]) -> None:
    print("| change | caught | by |\n|---|---|---|")
    for row in table:
        rules = ", ".join(f"{name} {n}" for name, n in row["rules"].items())
        print(f"| {row['change']} | {row['caught']} of {row['files']} | {rules} |", flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = command.parser(
        "benchmarks.file_evidence", __doc__, "exit codes: 0 done, 1 failed, 2 wrong usage"
    )
    add = parser.add_argument
    add("--originals", required=True, metavar="FOLDER", help="whole files of cameras")
    add("--changed", type=int, default=0, metavar="N",
        help="how many files are changed in each way (default none)")  # fmt: skip
    add("--only-changed", action="store_true", help="leave the false alarms out")
    add("--output", required=True, metavar="PATH",
        help=f"a .json file, or a folder for {RESULTS}")  # fmt: skip
    args = parser.parse_args(argv)
    paths = sorted(pathlib.Path(args.originals).glob("*.jp*g"))
    if not paths:
        return command.fail(f"{printable(args.originals)}: no JPEG files in it")
    output = pathlib.Path(args.output)
    target = output if output.suffix == ".json" else output / RESULTS
    results: dict[str, Any] = {"originals": len(paths)}
    rows = {}
    for path in tqdm(paths, unit="file") if not args.only_changed else ():
        if row := look_at(path.read_bytes(), path.name):
            rows[path.name] = row
    if rows:
        results["false_alarms"] = false_alarms(list(rows.values()))
        print_false_alarms(results["false_alarms"])
    if args.changed:
        cameras = {name: row["camera"] for name, row in rows.items()} or _cameras(paths)
        chosen = choose(paths, cameras, args.changed)
        results["catches"] = list(catches(chosen))
        print_catches(results["catches"])
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(target, json_bytes(results))
    except OSError as e:
        return command.fail(f"{printable(target)}: cannot be written ({e.strerror})")
    return 0


def _cameras(paths: Sequence[pathlib.Path]) -> dict[str, str]:
    """File -> make and model, without decoding the pixels."""
    from exif_jax.camera_files import read_record

    return {path.name: "/".join(read_record(path)[0][:2]) for path in paths}


if __name__ == "__main__":
    command.run(main)
