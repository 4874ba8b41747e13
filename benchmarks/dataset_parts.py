"""The rows of an evaluation in parts: those that developers looked at, and the rest.

    python -m exif_jax.evaluate --dataset casia1 --root CASIA1 --output casia1
    python -m benchmarks.dataset_parts casia1/rows.jsonl --metric p_map --metric ap

Who looks at a benchmark while developing measures their own looking. Here a third may be looked at:
the photos of which the MD5 of the stem, as a whole number, is divisible by 3. The table has that
third, the other two, and the whole, which is what others report; each kind of tampering for itself
and with all, beside the pristine photos of the same part.
"""

from __future__ import annotations

import hashlib
import pathlib
import sys

from exif_jax.cli import command
from exif_jax.evaluation import runner, tables
from exif_jax.evaluation.row_files import Row, open_rows
from exif_jax.evaluation.splice_metrics import METRICS, OF_ANY_MAP, OF_MASK, OF_PROBABILITIES

PARTS = ("whole", "other two thirds", "third looked at")


def is_looked_at(image: str) -> bool:
    """Whether a photo, by its path, belongs to the third that may be looked at."""
    stem = pathlib.PurePosixPath(image).stem
    return int(hashlib.md5(stem.encode(), usedforsecurity=False).hexdigest(), 16) % 3 == 0


def rows_of_part(rows: list[Row], part: str) -> list[Row]:
    """The rows of one of PARTS."""
    if part == "whole":
        return rows
    wanted = part == "third looked at"
    return [row for row in rows if is_looked_at(row["image"]) == wanted]


def main() -> int:
    parser = command.parser("benchmarks.dataset_parts", __doc__)
    parser.add_argument("rows", type=pathlib.Path, help="rows.jsonl of exif_jax.evaluate")
    parser.add_argument("--metric", action="append", help="a column; again for more",
                        choices=(*OF_ANY_MAP, *OF_PROBABILITIES, *OF_MASK))  # fmt: skip
    args = parser.parse_args()
    if not args.rows.is_file():
        return command.fail(f"{args.rows}: there is no such file; it is in evaluate's --output")
    by_detector: dict[tuple[str, str], list[Row]] = {}
    with open_rows(args.rows) as stored:
        for row in stored.values():
            by_detector.setdefault((row["dataset"], row["key"]), []).append(row)
    if not by_detector:
        return command.fail(
            f"{args.rows}: there are no rows in it; those of shards are in rows.K-of-N.jsonl, "
            "to be joined with cat"
        )
    metrics = args.metric or METRICS
    table = [("photos", *tables.header(metrics))]
    for part in PARTS:
        for (dataset, _), rows in by_detector.items():
            own = rows_of_part(rows, part)
            name = f"{dataset}, {part}"
            for summary in runner.summarize_kinds(own, name, rows[0]["detector"]):
                photos = f"{summary['localized']}; {summary['tampered']} v {summary['pristine']}"
                table.append((photos, *tables.cells(summary, metrics)))
    shown = [(row[1], row[2], row[0], *row[3:]) for row in table]
    shown[1:] = sorted(shown[1:], key=lambda row: [row[0] != other[0] for other in shown[1:]])
    sys.stdout.write(tables.markdown(shown, f"python -m benchmarks.dataset_parts {args.rows}", []))
    return 0


if __name__ == "__main__":
    sys.exit(main())
