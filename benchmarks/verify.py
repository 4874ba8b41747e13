"""How often EXIF swapped between cameras is caught, on photos of cameras the model never saw.

python -m benchmarks.verify --records DIR [--model PATH]

Every validation photo is given the EXIF of every photo of the other cameras. p-values are those of
`exif_jax.verify`, calibrated on the photos of all other cameras than the one under test, whose own
EXIF gives the false alarms. Cameras weigh equally.
"""

from __future__ import annotations

import numpy as np
from sklearn.metrics import roc_auc_score

from exif_jax.api import resolve_model
from exif_jax.cli import command
from exif_jax.evaluation.exif_calibration import known_photos, posteriors_of
from exif_jax.forensics import reference_set as reference_sets
from exif_jax.forensics.calibration import STRONG, WEAK, agreement_p_value, null_distribution
from exif_jax.forensics.verification import reference_set_of


def main() -> None:
    parser = command.parser("benchmarks.verify", __doc__)
    parser.add_argument("--records", required=True, help="output folder of data_prep.photos")
    parser.add_argument("--model", help="release file (default: what ships)")
    args = parser.parse_args()
    model = resolve_model(args.model)
    known = known_photos(args.records, model)
    posteriors = posteriors_of(known, reference_set_of(model), model)
    agreement_MxM = np.array(
        [[reference_sets.agreement(p, photo.exif) for photo in known] for p in posteriors]
    )
    cameras = np.array([photo.camera for photo in known])
    weights = np.array([1 / (cameras == camera).sum() for camera in cameras])
    own_M, swapped_MxM = np.diag(agreement_MxM), cameras[:, None] != cameras[None]
    pair_MxM = weights[:, None] * weights[None]
    auc = roc_auc_score(
        np.r_[np.ones(len(known)), np.zeros(swapped_MxM.sum())],
        np.r_[own_M, agreement_MxM[swapped_MxM]],
        sample_weight=np.r_[
            weights / weights.sum(), pair_MxM[swapped_MxM] / pair_MxM[swapped_MxM].sum()
        ],
    )
    print(f"{len(known)} photos, {len(set(cameras))} cameras, {swapped_MxM.sum()} swaps")
    print(f"AUC of own against swapped EXIF: {auc:.3f}")
    print("p-value of at most | own EXIF doubted | swaps caught")
    p_MxM = np.empty_like(agreement_MxM)
    for camera in set(cameras):
        mine = cameras == camera
        null = null_distribution(own_M[~mine].tolist(), cameras[~mine].tolist())
        for m in np.flatnonzero(mine):
            p_MxM[m] = [agreement_p_value(null, agreement) for agreement in agreement_MxM[m]]
    own, swapped = weights / weights.sum(), np.where(swapped_MxM, pair_MxM, 0.0)
    swapped /= swapped.sum()
    for share in (STRONG, WEAK, 0.10):
        doubted_MxM = p_MxM <= share
        alarms, caught = own @ np.diag(doubted_MxM), (swapped * doubted_MxM).sum()
        print(f"{share:18.2f} | {alarms:16.1%} | {caught:12.1%}")


if __name__ == "__main__":
    main()
