"""Predicted training speed from FLOPs, bytes and published rates: the tables of docs/scaling.md.

    python -m benchmarks.scaling pod.json      # files that benchmarks.collectives --output wrote
    python -m benchmarks.scaling pod.json --augmentation augmentation.json

Bytes between chips are those of the compiled program; the time between no overlap of sending with
computing and full overlap is where a run should lie. The fraction of the matrix-product peak is an
assumption, since no such device was at hand: a goal (0.55) and a modest one (0.40).

With --augmentation, what benchmarks.augmentation measured on this machine's cores for the same
config, a second table says what the hosts must do with augmentation on the chips and with Pillow on
the host: the cores that a chip asks for, and the bytes that travel to it. What augmentation takes
on a chip is predicted from the bytes that its compiled program reads and writes, at the full rate
of the chip's memory: no run will be faster.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import pathlib
from typing import Any

from benchmarks.machine import image_flops, load_config, text_flops
from exif_jax.cli import command
from exif_jax.training.config import Config, make_model_config, parse_config


@dataclasses.dataclass(frozen=True)
class Chip:
    """What its maker publishes of a chip and the host that it sits in.

    Attributes:
        peak: bfloat16 FLOP/s, without sparsity.
        link: bytes/s that it can send to other chips.
        memory: bytes/s of its own memory.
        cores: of the host, for each chip; hardware threads.
    """

    peak: float
    link: float
    memory: float
    cores: float


# Cloud TPU v5e: 197 TFLOP/s, 400 GB/s in both directions together, 819 GB/s of memory; a host of 8
# chips has 224 vCPUs, one of 4 of them 112 (https://docs.cloud.google.com/tpu/docs/v5e). H100 and
# H200 SXM: 1,979 TFLOP/s with sparsity, half of it without; NVLink 900 GB/s in both directions
# together; 3.35 and 4.8 TB/s of memory (https://www.nvidia.com/en-us/data-center/h100/ and h200/).
# A DGX H100 has 112 cores, 224 threads, for eight (https://docs.nvidia.com/dgx/dgxh100-user-guide/).
CHIPS = {
    "v5e": Chip(197e12, 200e9, 819e9, 28),
    "H100": Chip(989e12, 450e9, 3.35e12, 28),
    "H200": Chip(989e12, 450e9, 4.8e12, 28),
}
FRACTIONS = (0.40, 0.55)


@dataclasses.dataclass(frozen=True)
class Speed:
    """A predicted step: seconds, the slow and the fast assumption where there are two."""

    sending: float
    computing: tuple[float, float]
    augmenting: float
    step: tuple[float, float]

    def patches_per_second(self, batch_size: int) -> tuple[float, float]:
        """Of all chips, slow and fast."""
        return batch_size / self.step[0], batch_size / self.step[1]


def predict(
    chip: Chip, flops: float, sent: float, patches: float, augmentation_bytes: float = 0.0
) -> Speed:
    """The seconds of a step.

    Args:
        chip: each of them.
        flops: that a chip computes in a step.
        sent: bytes that it sends to others.
        patches: that it augments.
        augmentation_bytes: that augmenting a patch reads and writes.
    """
    sending = sent / chip.link
    computing = flops / (chip.peak * FRACTIONS[0]), flops / (chip.peak * FRACTIONS[1])
    augmenting = patches * augmentation_bytes / chip.memory
    slow = computing[0] + sending + augmenting
    return Speed(sending, computing, augmenting, (slow, max(computing[1] + augmenting, sending)))


def host_cores(patches_per_second: float, core_ms_per_patch: float) -> float:
    """Cores that are busy with so many patches a second."""
    return patches_per_second * core_ms_per_patch / 1e3


def main() -> None:
    parser = command.parser("benchmarks.scaling", __doc__ or "")
    parser.add_argument("files", nargs="+", type=pathlib.Path, help="collectives' --output")
    parser.add_argument("--chip", choices=tuple(CHIPS), default="v5e", help="default: v5e")
    parser.add_argument("--config", default="configs/vit_b.py", help="default: configs/vit_b.py")
    parser.add_argument("--augmentation", type=pathlib.Path, help="benchmarks.augmentation's file")
    args = parser.parse_args()
    config = parse_config(load_config(args.config))
    model = make_model_config(config, 2048)
    per_pair = 3 * (
        image_flops(model.image) + text_flops(model.text) / config.data.patches_per_text
    )
    chip = CHIPS[args.chip]
    rows = [row for path in args.files for row in json.loads(path.read_text())]
    print(f"{args.config}: {per_pair / 1e9:.1f} GFLOP a patch with its share of a text")
    print("\n".join(speed_table(rows, chip, args.chip, per_pair)))
    if args.augmentation:
        figures = json.loads(args.augmentation.read_text())
        read_and_written = augmentation_bytes(config)
        print(f"augmentation: {read_and_written / 1e6:.1f} MB read and written a patch")
        print("\n".join(host_table(rows, chip, args.chip, per_pair, figures, read_and_written)))


def speed_table(rows: list[dict[str, Any]], chip: Chip, name: str, per_pair: float) -> list[str]:
    """Lines of the table of speeds, patches made beforehand."""
    lines = [
        "| chips | mesh | batch | sent, MB | sending, ms | computing, ms | steps/s | patches/s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        sent, batch_size = sum(row["sent"].values()), row["batch_size"]
        patches = batch_size / row["devices"]
        speed = predict(chip, per_pair * patches, sent, patches)
        slow, fast = speed.patches_per_second(batch_size)
        mesh = " x ".join(map(str, row["mesh"].values()))
        lines.append(
            f"| {row['devices']} {name} | {mesh} | {batch_size:,} | {sent / 1e6:.0f} "
            f"| {1e3 * speed.sending:.1f} "
            f"| {1e3 * speed.computing[1]:.0f} to {1e3 * speed.computing[0]:.0f} "
            f"| {1 / speed.step[0]:.2f} to {1 / speed.step[1]:.2f} | {slow:,.0f} to {fast:,.0f} |"
        )
    return lines


def host_table(
    rows: list[dict[str, Any]],
    chip: Chip,
    name: str,
    per_pair: float,
    measured: dict[str, dict[str, float]],
    read_and_written: float,
) -> list[str]:
    """Lines of the table of what hosts do, with augmentation on the chips and on the host."""
    lines = [
        "| chips | augmented on | augmenting, ms | patches/s | to a chip in a step, MB "
        "| to a chip, GB/s | cores a chip | there are |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        patches = row["batch_size"] / row["devices"]
        for where, augmenting in (("chip", read_and_written), ("host", 0.0)):
            figures = measured["device" if where == "chip" else "host"]
            sent = sum(row["sent"].values())
            speed = predict(chip, per_pair * patches, sent, patches, augmenting)
            each = [rate / row["devices"] for rate in speed.patches_per_second(row["batch_size"])]
            kilobytes = figures["kilobytes_sent_per_patch"]
            cores = [host_cores(rate, figures["ms_per_patch"]) for rate in each]
            slow, fast = speed.patches_per_second(row["batch_size"])
            lines.append(
                f"| {row['devices']} {name} | {where} | {1e3 * speed.augmenting:.2f} "
                f"| {slow:,.0f} to {fast:,.0f} | {patches * kilobytes / 1e3:.1f} "
                f"| {each[0] * kilobytes / 1e6:.2f} to {each[1] * kilobytes / 1e6:.2f} "
                f"| {cores[0]:.1f} to {cores[1]:.1f} | {chip.cores:.0f} |"
            )
    return lines


def augmentation_bytes(config: Config, patches: int = 8) -> float:
    """Bytes that augmenting one patch reads and writes, as the compiler counts them.

    Every step that the config may take counts, whether a patch takes it or not.
    """
    import jax

    from benchmarks import device_patches
    from exif_jax.data.device_augment import augment

    size = config.model["image"]["image_size"]
    drawn = device_patches.draw(config.data, size, patches, seed=0)
    batch = device_patches.packed(config.data, size, drawn)
    region = batch.pop("region")
    run = jax.jit(functools.partial(augment, size=size, chunk=patches))
    costs = run.lower(region, batch, jax.random.key(0)).compile().cost_analysis()
    return float((costs or {})["bytes accessed"]) / patches


if __name__ == "__main__":
    command.run(main)
