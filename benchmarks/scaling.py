"""Predicted training speed from FLOPs, bytes and published rates: the table of docs/scaling.md.

    python -m benchmarks.scaling pod.json      # files that benchmarks.collectives --output wrote

Bytes are those of the compiled program; the time between no overlap of sending with computing and
full overlap is where a run should lie. The fraction of the matrix-product peak is an assumption,
since no such device was at hand: a goal (0.55) and a modest one (0.40).
"""

from __future__ import annotations

import json
import pathlib

from benchmarks.machine import image_flops, load_config, text_flops
from exif_jax.cli import command
from exif_jax.training.config import make_model_config, parse_config

# Peak bfloat16 FLOP/s and bytes/s that a chip can send, as published. Cloud TPU v5e: 197 TFLOP/s,
# 400 GB/s in both directions together (https://docs.cloud.google.com/tpu/docs/v5e). H200 SXM: 1,979
# TFLOP/s with sparsity, half of it without; NVLink 900 GB/s in both directions together
# (https://www.nvidia.com/en-us/data-center/h200/).
CHIPS = {"v5e": (197e12, 200e9), "H200": (989e12, 450e9)}
FRACTIONS = (0.40, 0.55)


def main() -> None:
    parser = command.parser("benchmarks.scaling", __doc__)
    parser.add_argument("files", nargs="+", type=pathlib.Path, help="collectives' --output")
    parser.add_argument("--chip", choices=tuple(CHIPS), default="v5e", help="default: v5e")
    parser.add_argument("--config", default="configs/vit_b.py", help="default: configs/vit_b.py")
    args = parser.parse_args()
    config = parse_config(load_config(args.config))
    model = make_model_config(config, 2048)
    per_pair = 3 * (
        image_flops(model.image) + text_flops(model.text) / config.data.patches_per_text
    )
    peak, rate = CHIPS[args.chip]
    print(f"{args.config}: {per_pair / 1e9:.1f} GFLOP a patch with its share of a text")
    print("| chips | mesh | batch | sent, MB | sending, ms | computing, ms | steps/s | patches/s |")
    print("|---|---|---|---|---|---|---|---|")
    for row in [row for path in args.files for row in json.loads(path.read_text())]:
        sent = sum(row["sent"].values())
        sending = sent / rate
        flops = per_pair * row["batch_size"] / row["devices"]
        computing = [flops / (peak * fraction) for fraction in FRACTIONS]
        slowest, fastest = computing[0] + sending, max(computing[1], sending)
        mesh = " x ".join(map(str, row["mesh"].values()))
        print(
            f"| {row['devices']} {args.chip} | {mesh} | {row['batch_size']:,} | {sent / 1e6:.0f} "
            f"| {1e3 * sending:.1f} | {1e3 * computing[1]:.0f} to {1e3 * computing[0]:.0f} "
            f"| {1 / slowest:.2f} to {1 / fastest:.2f} "
            f"| {row['batch_size'] / slowest:,.0f} to {row['batch_size'] / fastest:,.0f} |"
        )


if __name__ == "__main__":
    main()
