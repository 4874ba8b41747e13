"""How often pristine photos are accused, at p-values of 1, 5 and 10 %, on cameras not fitted to.

    python -m benchmarks.calibration --records records --pristine splices/pristine

Every validation camera in turn is left out: the null distribution comes from the other cameras,
and its photos are judged by it, at each size that they give. `--pristine` adds photos of a folder,
judged by what the release file carries.
"""

from __future__ import annotations

import pathlib

import numpy as np
from tqdm import tqdm

import exif_jax
from exif_jax.calibrate import KnownPhoto, known_photos, region_side
from exif_jax.cli import command
from exif_jax.evaluation.datasets import photos_in
from exif_jax.forensics.calibration import fit_score_calibration, score_p_value
from exif_jax.weights.release_file import PRETRAINED, load_model

LEVELS = (0.01, 0.05, 0.10)


def main() -> None:
    parser = command.parser("benchmarks.calibration", __doc__)
    parser.add_argument("--model", default=str(PRETRAINED), help="default: what ships")
    parser.add_argument("--records", required=True, help="folder that the model was trained with")
    parser.add_argument("--pristine", type=pathlib.Path, help="folder of pristine photos")
    args = parser.parse_args()
    model = load_model(args.model)
    known = known_photos(args.records, model)
    area = (region_side(args.records) / model.patch_size) ** 2
    judged = leave_one_out(known, area)
    print(f"{'pristine photos':<32}{'number':>8}" + "".join(f"{x:>8.0%}" for x in LEVELS))
    show("left-out cameras", judged)
    for parts in sorted({parts for parts, *_ in judged}):
        show(f"  of {parts} x {area:.0f} patches", [row for row in judged if row[0] == parts])
    middle = float(np.median([gap for _, gap, *_ in judged]))
    show("  content alike", [row for row in judged if row[1] <= middle])
    show("  content unlike", [row for row in judged if row[1] > middle])
    if args.pristine:
        p_values = [
            exif_jax.localize_photo(path, model).p_value for path in tqdm(photos_in(args.pristine))
        ]
        show(args.pristine.name, [(0, 0.0, p, 1.0) for p in p_values if p is not None])


def leave_one_out(known: list[KnownPhoto], area: float) -> list[tuple[int, float, float, float]]:
    """Number of parts, gradient energy gap, p-value and weight of every photo at every size.

    n photos of a camera at a size weigh sqrt(n) together, as in the null.
    """
    cameras = [photo.camera for photo in known]
    judged = []
    for camera in sorted(set(cameras)):
        others = [photo for photo in known if photo.camera != camera]
        score_null = fit_score_calibration(
            [photo.scores for photo in others],
            [photo.gaps for photo in others],
            area,
            [photo.camera for photo in others],
            "cut",
        )
        own = [photo for photo in known if photo.camera == camera]
        for photo in own:
            for k, (score, gap) in enumerate(zip(photo.scores, photo.gaps, strict=True), 1):
                p_value = score_p_value(score_null, score, k * area, gap)
                alike = sum(len(other.scores) >= k for other in own)
                judged.append((k, gap, p_value, alike**-0.5))
    return judged


def show(title: str, judged: list[tuple[int, float, float, float]]) -> None:
    """Prints a row: the number of photos and the share of their weight at or below each level."""
    p, weight = (np.array([row[k] for row in judged]) for k in (2, 3))
    seen = [weight[p <= level].sum() / weight.sum() for level in LEVELS]
    print(f"{title:<32}{len(judged):>8}" + "".join(f"{x:>8.1%}" for x in seen))


if __name__ == "__main__":
    main()
