"""How often EXIF swapped between cameras is caught, on photos of cameras the model never saw.

python -m benchmarks.verify --records DIR [--model PATH]

Every validation photo is given the EXIF of every photo of the other cameras. A threshold lets
through all but 1 % or 5 % of the photos with their own EXIF. It is set without the camera under
test: the quantile of the others' agreements (cameras weighing equally). False alarms are counted
on the camera left out, so that they need not be 1 % and 5 %.
"""

from __future__ import annotations

import numpy as np
from sklearn.metrics import roc_auc_score

from exif_jax import bank as banks
from exif_jax import cli, verify
from exif_jax.calibrate import known_photos
from exif_jax.embed import embed_exif
from exif_jax.release import load_model


def quantile(values: np.ndarray, weights: np.ndarray, share: float) -> float:
    """The value below which lies this share of the weight."""
    order = np.argsort(values)
    reached = np.cumsum(weights[order]) / weights.sum()
    return float(values[order][np.searchsorted(reached, share)])


def main() -> None:
    parser = cli.parser("benchmarks.verify", __doc__)
    parser.add_argument("--records", required=True, help="output folder of data_prep.photos")
    parser.add_argument("--model", help="release file (default: what ships)")
    args = parser.parse_args()
    model = load_model(*filter(None, [args.model]))
    bank = banks.from_json(model.calibration["bank"])
    known = known_photos(args.records, model)
    means_MxD = np.stack([photo.z_D / np.linalg.norm(photo.z_D) for photo in known])
    posteriors = [
        verify.posteriors_of(row, bank, model)
        for row in means_MxD @ embed_exif(bank.photos, model).T
    ]
    agreement_MxM = np.array(
        [[banks.agreement(p, photo.exif) for photo in known] for p in posteriors]
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
    print("nominal false alarms | observed | swaps caught")
    for share in (0.01, 0.05, 0.10):
        alarms = caught = total = 0.0
        for camera in sorted(set(cameras)):
            mine = cameras == camera
            threshold = quantile(own_M[~mine], weights[~mine], share)
            alarms += float(weights[mine] @ (own_M[mine] < threshold))
            part = swapped_MxM & mine[:, None]
            caught += float(pair_MxM[part] @ (agreement_MxM[part] < threshold))
            total += float(pair_MxM[part].sum())
        print(f"{share:20.0%} | {alarms / len(set(cameras)):8.1%} | {caught / total:8.1%}")


if __name__ == "__main__":
    main()
