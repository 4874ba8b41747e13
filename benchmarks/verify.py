"""How often EXIF swapped between cameras is caught, on photos of cameras the model never saw.

python -m benchmarks.verify --photos DIR [--photos DIR] [--model PATH]

Every photo is given the EXIF of every photo of the other cameras. p-values are those of
`exif_jax.verify`, but by a tenth of its patches; the photos' own EXIF gives the false alarms.
Cameras weigh equally, and the 95 % intervals are of 400 bootstrap draws of cameras. "a true 5 %" is
the level at which 5 % of these photos' own EXIF is doubted. A row is a part of the swaps: with EXIF
of another maker, or of another camera of the same maker.
"""

from __future__ import annotations

import pathlib
import sys

import numpy as np
from sklearn.metrics import roc_auc_score

from exif_jax.api import resolve_model
from exif_jax.cli import command
from exif_jax.evaluation.exif_calibration import known_photos
from exif_jax.evaluation.score_measuring import photos_by_camera
from exif_jax.evaluation.tables import text_table
from exif_jax.forensics.calibration import STRONG, WEAK, agreement_p_value
from exif_jax.forensics.exif_regression import exif_table, log_likelihood_ratio, make_of, predict
from exif_jax.forensics.verification import fitted_of

_DRAWS = 400
_LEVELS = (STRONG, WEAK, 0.10)


def main() -> None:
    parser = command.parser("benchmarks.verify", __doc__)
    parser.add_argument(
        "--photos", action="append", required=True, metavar="DIR", help="of cameras never seen"
    )
    parser.add_argument("--model", help="release file (default: what ships)")
    parser.add_argument(
        "--samples",
        type=pathlib.Path,
        default=pathlib.Path("verify.samples.jsonl"),
        help="where embedded photos are kept; a run that was stopped goes on there",
    )
    args = parser.parse_args()
    model = resolve_model(args.model)
    fitted = fitted_of(model)
    if fitted is None:
        raise SystemExit(command.fail("the model carries no regression to EXIF"))

    def warn(message: str) -> None:
        print(f"warning: {message}", file=sys.stderr)

    found = photos_by_camera(args.photos, warn)
    known = known_photos(found, model, args.samples, warn)
    features = np.array([photo.features_D for photo in known])
    regression = fitted[0]
    vectors = regression.exif(exif_table([photo.exif for photo in known], regression.columns))
    ratio_MxM = log_likelihood_ratio(predict(features, regression), vectors, regression)
    null = model.calibration["agreement_null"]
    p_MxM = np.vectorize(lambda ratio: agreement_p_value(null, ratio))(ratio_MxM)
    cameras = np.array([photo.camera for photo in known])
    makers = np.array([make_of(photo.exif.get("Make", "")) for photo in known])
    swapped_MxM = cameras[:, None] != cameras
    alike_MxM = makers[:, None] == makers
    print(f"{len(known)} photos, {len(set(cameras))} cameras, {swapped_MxM.sum()} swaps")
    parts = {
        "all": swapped_MxM,
        "another maker": swapped_MxM & ~alike_MxM,
        "same maker": swapped_MxM & alike_MxM,
    }
    table = [("swaps", "AUC", *(f"p <= {share:.2f}" for share in _LEVELS), "a true 5 %")]
    for name, part_MxM in parts.items():
        table.append((name, *_figures(ratio_MxM, p_MxM, part_MxM, cameras)))
    own = [_interval(np.diag(p_MxM) <= share, cameras) for share in _LEVELS]
    table.append(("own EXIF doubted", "", *own, ""))
    print(text_table(table))


def _figures(
    ratio_MxM: np.ndarray, p_MxM: np.ndarray, part_MxM: np.ndarray, cameras: np.ndarray
) -> list[str]:
    """AUC of own against swapped EXIF, and shares of swaps caught, with their intervals."""
    truth = np.r_[np.ones(len(cameras)), np.zeros(part_MxM.sum())]
    ratios = np.r_[np.diag(ratio_MxM), ratio_MxM[part_MxM]]

    order = np.argsort(np.diag(ratio_MxM))

    def level(own_M: np.ndarray) -> float:
        """The ratio that 5 % of the photos' own EXIF stay below."""
        place = np.searchsorted(np.cumsum(own_M[order]), 0.05)
        return float(np.diag(ratio_MxM)[order][place])

    def figures(weight_M: np.ndarray) -> list[float]:
        own = weight_M / weight_M.sum()
        swapped = (weight_M[:, None] * weight_M)[part_MxM]
        swapped = swapped / swapped.sum()
        auc = roc_auc_score(truth, ratios, sample_weight=np.r_[own, swapped])
        caught = [float(swapped @ (p_MxM[part_MxM] <= x)) for x in _LEVELS]
        caught.append(float(swapped @ (ratio_MxM[part_MxM] < level(own))))
        return [float(auc), *caught]

    best, *drawn = map(figures, _weights(cameras))
    low, high = np.quantile(drawn, (0.025, 0.975), axis=0)
    auc, *caught = zip(best, low, high, strict=True)
    return ["{:.3f} [{:.2f}, {:.2f}]".format(*auc), *map(_percent, caught)]


def _interval(doubted_M: np.ndarray, cameras: np.ndarray) -> str:
    best, *drawn = (float(weight @ doubted_M / weight.sum()) for weight in _weights(cameras))
    return _percent((best, *np.quantile(drawn, (0.025, 0.975))))


def _percent(figures: tuple[float, float, float]) -> str:
    return "{:.1%} [{:.0%}, {:.0%}]".format(*figures)


def _weights(cameras: np.ndarray) -> list[np.ndarray]:
    """Weights of the photos that make cameras equal, and those of bootstrap draws of cameras."""
    names, number_M, counts = np.unique(cameras, return_inverse=True, return_counts=True)
    equal_M = 1 / counts[number_M]
    draws = np.random.default_rng(0).multinomial(
        len(names), np.full(len(names), 1 / len(names)), _DRAWS
    )
    return [equal_M, *(equal_M * draw[number_M] for draw in draws)]


if __name__ == "__main__":
    main()
