"""The README's picture: splices, where they were pasted, and what a model's maps say.

python -m benchmarks.splice_picture --root SPLICES --model PATH --out docs/real_splices.png NAME ...
"""

from __future__ import annotations

import argparse
import pathlib

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from exif_jax.forensic_datasets import read_folder, read_mask
from exif_jax.localize import localize
from exif_jax.photo import read_photo
from exif_jax.release import load_model
from exif_jax.report import colorize, png_bytes, write_bytes

WIDTH, GAP, CAPTION = 400, 8, 24


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--root", required=True, help="folder with images/ and masks/")
    parser.add_argument("--model", required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("names", nargs="+", help="image names without suffix, a row each")
    args = parser.parse_args()
    model = load_model(args.model)
    samples = {pathlib.Path(sample.image).stem: sample for sample in read_folder(args.root)}
    rows = [row(samples[name], model) for name in args.names]
    height = CAPTION + sum(r.height + GAP for r in rows)
    canvas = Image.new("RGB", (rows[0].width, height), "white")
    draw = ImageDraw.Draw(canvas)
    for column, text in enumerate(("the photo", "what was pasted", "inconsistency, 0 to 1")):
        draw.text((column * (WIDTH + GAP), 4), text, "black", ImageFont.load_default(14))
    y = CAPTION
    for picture in rows:
        canvas.paste(picture, (0, y))
        y += picture.height + GAP
    write_bytes(args.out, png_bytes(canvas.quantize(256)))


def row(sample, model) -> Image.Image:
    """Photo, photo with the pasted region in colour, and map over the photo, side by side."""
    photo = read_photo(sample.image)
    mask = read_mask(sample.mask, photo.pixels.shape[:2])
    grey = photo.pixels.mean(axis=2, keepdims=True)
    marked = np.where(mask[..., None], photo.pixels, 0.35 * grey + 0.65 * 255)
    heat = 0.45 * grey + 0.55 * colorize(localize(photo.pixels, model).consistency)
    panels = [Image.fromarray(np.uint8(panel)) for panel in (photo.pixels, marked, heat)]
    height = round(WIDTH * panels[0].height / panels[0].width)
    canvas = Image.new("RGB", (3 * WIDTH + 2 * GAP, height), "white")
    for column, panel in enumerate(panels):
        small = panel.resize((WIDTH, height), Image.Resampling.LANCZOS)
        canvas.paste(small, (column * (WIDTH + GAP), 0))
    return canvas


if __name__ == "__main__":
    main()
