"""How well p-values and likelihood ratios hold, each photo judged without its camera.

    python -m benchmarks.calibration calibrated.samples.jsonl --picture docs/calibration.png

Reads the samples that `python -m exif_jax.calibrate` has measured, prints how often each kind, size
and quality is called, the cost of the likelihood ratios (Cllr), and the F1 of the mask beside
that at each photo's best threshold; `--picture` draws whether p-values and ratios
are as frequent as they claim.
"""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

import numpy as np

from exif_jax.cli import command
from exif_jax.evaluation import score_fitting
from exif_jax.evaluation.score_fitting import Judged
from exif_jax.evaluation.score_measuring import HOST, PRISTINE, SIMULATED, SPLICE
from exif_jax.evaluation.score_samples import FIGURES
from exif_jax.evaluation.tables import text_table
from exif_jax.forensics.calibration import MIN_AREA
from exif_jax.forensics.likelihood import cllr
from exif_jax.forensics.methods import DEFAULT_METHOD
from exif_jax.io.jsonl import read_rows


def main() -> None:
    parser = command.parser("benchmarks.calibration", __doc__)
    parser.add_argument("samples", type=pathlib.Path, help="journal of exif_jax.calibrate")
    parser.add_argument("--method", default=DEFAULT_METHOD, help="whose samples (default auto)")
    parser.add_argument("--picture", type=pathlib.Path, metavar="PNG", help="write the plot there")
    args = parser.parse_args()
    rows = [row for row in read_rows(args.samples) if row.keys() >= FIGURES]
    judged = score_fitting.leave_one_out([row for row in rows if row["method"] == args.method])
    print(text_table(score_fitting.table(judged)))
    judged = [j for j in judged if j.row["area"] >= MIN_AREA]
    pristine, spliced = (of_kinds(judged, k) for k in ((PRISTINE,), (SIMULATED, SPLICE)))
    share, low, high = score_fitting.accused(pristine, 0.05)
    print(f"accused at 5 %: {share:.1%}, 95 % interval over cameras {low:.1%} to {high:.1%}")
    for kind in (SIMULATED, SPLICE):
        of_kind = score_fitting.ratios(of_kinds(judged, (kind,)))
        if of_kind:
            cost = cllr(of_kind, score_fitting.ratios(pristine))
            print(f"Cllr of {kind} against pristine samples: {cost:.3f}")
        show_masks(kind, of_kinds(judged, (kind,)))
    if args.picture:
        draw(pristine, spliced, of_kinds(judged, (HOST,)), args.picture)


def of_kinds(judged: Sequence[Judged], kinds: Sequence[str]) -> list[Judged]:
    return [j for j in judged if j.row["kind"] in kinds]


def show_masks(kind: str, judged: Sequence[Judged]) -> None:
    rows = [j.row for j in judged if "f1_mask" in j.row]
    if rows:
        found, best = (np.mean([row[name] for row in rows]) for name in ("f1_mask", "f1_best"))
        print(
            f"F1 of {len(rows)} {kind} masks: {found:.3f} at the threshold that the map itself "
            f"gives, {best:.3f} at each photo's best"
        )


def draw(
    pristine: Sequence[Judged],
    spliced: Sequence[Judged],
    hosts: Sequence[Judged],
    path: pathlib.Path,
) -> None:
    """Left: p-values against how often they occur. Right: ratios of both kinds (Tippett's plot)."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.4), layout="constrained")
    for judged, label in (
        (pristine, "pristine"),
        (hosts, "hosts of splices"),
        (spliced, "splices"),
    ):
        if judged:
            p = np.sort([j.p_value for j in judged])
            left.step(p, np.arange(1, len(p) + 1) / len(p), where="post", label=label)
    left.plot([0, 1], [0, 1], color="grey", linewidth=0.8)
    left.set(xlabel="p-value", ylabel="share with this p-value or less", xlim=(0, 1), ylim=(0, 1))
    left.legend(frameon=False)
    for judged, label in ((pristine, "pristine"), (spliced, "splices")):
        ratios = np.sort(score_fitting.ratios(judged))[::-1]
        if len(ratios):
            right.step(np.log10(ratios), np.arange(1, len(ratios) + 1) / len(ratios), label=label)
    right.axvline(0, color="grey", linewidth=0.8)
    right.set(xlabel="log10 of the likelihood ratio", ylabel="share with this ratio or more")
    right.legend(frameon=False)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
