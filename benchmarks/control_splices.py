"""Splices of held-out photos, between cameras or within one camera model, as a control.

A detector of cameras finds the first and not the second; one that finds both reacts to what is
in the picture. Hosts and donors are regions of the records' validation cameras; the tampered
ellipse keeps its place, so that both JPEG grids agree, and the result is saved as PNG. Then

    python -m exif_jax.evaluate --dataset folder --root OUTPUT --output results
"""

from __future__ import annotations

import json
import pathlib

import numpy as np
from PIL import Image

from exif_jax.cli import command
from exif_jax.data.records import Record, RecordReader, decode_image, decode_record
from exif_jax.reading.exif import camera_name


def main() -> None:
    parser = command.parser("benchmarks.control_splices", __doc__)
    parser.add_argument("--records", type=pathlib.Path, required=True, help="of data_prep.photos")
    parser.add_argument("--output", type=pathlib.Path, required=True, help="folder for the splices")
    parser.add_argument("--same-model", action="store_true", help="within one camera model")
    parser.add_argument("--count", type=int, default=48, help="of splices (default 48)")
    parser.add_argument("--seed", type=int, default=0, help="another gives other splices")
    args = parser.parse_args()
    reader = RecordReader(args.records, "validation")
    records = [decode_record(reader[i]) for i in range(len(reader))]
    for folder in ("images", "masks", "pristine"):
        (args.output / folder).mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(args.count):
        rng = np.random.default_rng([args.seed, number])
        host, donor = choose_pair(records, args.same_model, rng)
        pixels, other = decode_image(host), decode_image(donor)
        mask = ellipse(min(len(pixels), len(other)), rng)
        side = len(mask)
        pixels, other = pixels[:side, :side], other[:side, :side]
        name = f"{number:03d}.png"
        Image.fromarray(np.where(mask[..., None], other, pixels)).save(
            args.output / "images" / name
        )
        Image.fromarray(pixels).save(args.output / "pristine" / name)
        Image.fromarray(mask.astype(np.uint8) * 255).save(args.output / "masks" / name)
        rows.append({"image": f"images/{name}", "mask": f"masks/{name}"})
        rows[-1] |= {"pristine": f"pristine/{name}"}
        rows[-1] |= {"host_model": camera_name(host.exif), "donor_model": camera_name(donor.exif)}
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (args.output / "manifest.jsonl").write_text(lines, encoding="utf-8")
    print(f"{len(rows)} splices in {args.output}")


def choose_pair(records: list[Record], same_model: bool, rng) -> tuple[Record, Record]:
    """Two regions of different photos; the host's model is drawn evenly among those possible."""
    photos: dict[str, set[str]] = {}
    for record in records:
        photos.setdefault(camera_name(record.exif), set()).add(record.photo_id)
    model = rng.choice(sorted(m for m, ids in photos.items() if len(ids) > 1 or not same_model))
    hosts = [record for record in records if camera_name(record.exif) == model]
    host = hosts[rng.integers(len(hosts))]
    donors = [
        record
        for record in records
        if (camera_name(record.exif) == model) == same_model and record.photo_id != host.photo_id
    ]
    return host, donors[rng.integers(len(donors))]


def ellipse(side: int, rng) -> np.ndarray:
    """bool [side, side]: an ellipse of 10 to 25 % of the area, anywhere inside."""
    share, ratio = rng.uniform(0.1, 0.25), rng.uniform(0.7, 1.4)
    a = side * np.sqrt(share * ratio / np.pi)
    b = side * np.sqrt(share / ratio / np.pi)
    y0, x0 = rng.uniform(a, side - a), rng.uniform(b, side - b)
    y, x = np.mgrid[:side, :side]
    return np.square((y - y0) / a) + np.square((x - x0) / b) < 1


if __name__ == "__main__":
    main()
