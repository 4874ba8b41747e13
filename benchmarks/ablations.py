"""The paper's ablations, one training run for each variant, as a table.

    python -m benchmarks.ablations --records records --output ablations --steps 600 \\
        --splices "$EXIF_JAX_PHOTOS/splices"

Runs that were stopped go on, and runs that are done are not repeated. The variants are those of
configs/ablations.py; the first of each sweep that changes nothing is run once for all sweeps.
"""

from __future__ import annotations

import json
import pathlib

from configs.ablations import SWEEPS, get_config
from exif_jax import train
from exif_jax.cli import command

SHOWN = {
    "image_to_exif_r5": "recall@5",
    "image_to_exif_median_rank": "median rank",
    "tag_accuracy": "tag accuracy",
    "splice_p_map": "splice p-mAP",
    "splice_detection_auc": "detection AUC",
}


def main() -> None:
    parser = command.parser("benchmarks.ablations", __doc__)
    parser.add_argument("--records", required=True, help="folder of data_prep.photos")
    parser.add_argument("--output", required=True, type=pathlib.Path, help="folder for the runs")
    parser.add_argument(
        "--sweeps",
        default=",".join(SWEEPS),
        help=f"by commas, of {', '.join(SWEEPS)} (default: all)",
    )
    parser.add_argument("--steps", type=int, default=600, help="of each run (default 600)")
    parser.add_argument("--splices", default="", help="folder: also measure on spliced photos")
    parser.add_argument("--batch-size", type=int, default=128, help="patches (default 128)")
    args = parser.parse_args()
    unknown = set(args.sweeps.split(",")) - set(SWEEPS)
    if unknown:
        parser.error(f"no such sweep: {', '.join(sorted(unknown))}")
    rows = []
    for sweep in args.sweeps.split(","):
        for variant, changes in SWEEPS[sweep].items():
            config = get_config(f"{sweep}={variant}")
            config.data.records, config.eval.splices = args.records, args.splices
            config.train.num_steps, config.train.batch_size = args.steps, args.batch_size
            config.train.eval_every = args.steps
            workdir = args.output / (f"{sweep}={variant}" if changes else "base")
            done = workdir / "result.json"
            if not done.exists():
                done.parent.mkdir(parents=True, exist_ok=True)
                done.write_text(json.dumps(train.train(config, workdir)))
            rows.append((sweep, variant, json.loads(done.read_text())))
    print(f"| ablation | variant | {' | '.join(SHOWN.values())} |")
    print(f"|---|---|{'---|' * len(SHOWN)}")
    for sweep, variant, metrics in rows:
        cells = [f"{metrics[name]:.3g}" if name in metrics else "" for name in SHOWN]
        print(f"| {sweep} | {variant} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
