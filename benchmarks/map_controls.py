"""What maps of small pictures look at, clue by clue, on photos of cameras that they never saw.

python -m benchmarks.map_controls --photos "$EXIF_JAX_PHOTOS/pristine" [--output controls.json]

Pieces of 384 x 256 pixels, an ellipse of 11 % in each, all saved as JPEG 92 4:4:4: pasted from
another photo with no history of its own, with the same JPEG on the same grid, with another JPEG on
another grid; the same pixels with another JPEG and grid, or shrunk to 0.8 and back, these also of
photos that were shrunk to 420 pixels and not saved since. Each with a hard edge and with a blended
one. Beside them pristine pieces, and those whose halves are least alike in texture (sky beside
grass): the share of pixels that the map accuses, above 0.5.
"""

from __future__ import annotations

import argparse
import collections
import pathlib

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from exif_jax.api import resolve_model
from exif_jax.evaluation.baselines import BASELINES
from exif_jax.evaluation.datasets import photos_in
from exif_jax.evaluation.splice_metrics import average_precision
from exif_jax.forensics.localization import localize
from exif_jax.forensics.methods import LocalizationSettings
from exif_jax.io.atomic import write_bytes
from exif_jax.io.text import json_bytes
from exif_jax.reading.photo import read_photo
from exif_jax.reading.pixels import Jpeg, compress, gradient_energy
from exif_jax.weights.release_file import Model

WIDTH, HEIGHT = 384, 256
LAST = Jpeg(92, 0)
EARLIER, OTHER = Jpeg(85, 2), Jpeg(70, 2)
SHIFT = (3, 5)
CONTROLS = (
    "other photo, no other history",
    "other photo, same JPEG, same grid",
    "other photo, other JPEG and grid",
    "same pixels, other JPEG and grid",
    "same pixels, 0.8 and back",
    "same pixels of a shrunk photo, 0.8 and back",
)
_SHRUNK = 420  # pixels: longer side


def main() -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.map_controls", description=__doc__)
    parser.add_argument("--photos", required=True, help="folder of pristine photos")
    parser.add_argument("--model", help="release file (default: what ships)")
    parser.add_argument(
        "--method", default="auto", help="of exif_jax.localize: auto (default), map or cut"
    )
    parser.add_argument("--map-model", default="", help="release file (default: what ships)")
    parser.add_argument("--output", help="JSON file for the figures")
    args = parser.parse_args()
    photos = [read_photo(path).pixels for path in photos_in(pathlib.Path(args.photos))]
    photos = [x for x in photos if x.shape[0] >= HEIGHT + 8 and x.shape[1] >= WIDTH + 8]
    settings = LocalizationSettings(method=args.method, map_model=args.map_model)
    figures = measure(photos, resolve_model(args.model), settings)
    for name, value in figures.items():
        print(f"{name:55} {value:.3f}")
    if args.output:
        write_bytes(args.output, json_bytes({"photos": len(photos), "figures": figures}))


def measure(
    photos: list[np.ndarray], model: Model, settings: LocalizationSettings
) -> dict[str, float]:
    """The mean AP of each control, beside that of colour alone, and the accused shares.

    Args:
        photos: uint8 [H, W, 3], at least 392 x 264 pixels, each of another scene.
        model, settings: what makes the maps.
    """
    found = collections.defaultdict(list)
    mask = ellipse()
    for k, photo in enumerate(photos):
        donor = photos[(k + len(photos) // 2) % len(photos)]
        for control in CONTROLS:
            host = shrunk(photo) if control == CONTROLS[5] else photo
            for edge, sigma in (("hard", 0.0), ("blended", 2.0)):
                picture = make_control(control, middle(host), middle(donor), mask, sigma)
                heat = localize(picture, model, settings).heatmap
                found[f"{control}, {edge} edge"].append(average_precision(heat, mask))
                if edge == "hard":
                    colour = BASELINES["colour clusters"](picture)
                    found[f"{control}, by colour alone"].append(average_precision(colour, mask))
        for name, piece in (("any", middle(photo)), ("unlike", unlike_halves(photo))):
            accused = localize(compress(inner(piece), LAST), model, settings).heatmap > 0.5
            found[f"accused of pristine pieces, {name} halves"].append(accused.mean())
    return {name: float(np.mean(values)) for name, values in sorted(found.items())}


def ellipse() -> np.ndarray:
    """bool [256, 384], 11 % of it."""
    mask = Image.new("L", (WIDTH, HEIGHT), 0)
    ImageDraw.Draw(mask).ellipse((96, 64, 224, 172), fill=255)
    return np.asarray(mask) > 0


def middle(photo: np.ndarray) -> np.ndarray:
    """The piece in the middle, on the grid of 8 x 8 blocks, 8 pixels larger: [264, 392, 3]."""
    top, left = (
        (a - b) // 16 * 8 for a, b in zip(photo.shape, (HEIGHT + 8, WIDTH + 8), strict=False)
    )
    return photo[top : top + HEIGHT + 8, left : left + WIDTH + 8]


def shrunk(photo: np.ndarray) -> np.ndarray:
    """As small as the web shows photos, at least of the size of a piece."""
    height, width = photo.shape[:2]
    factor = max(_SHRUNK / max(height, width), (HEIGHT + 8) / height, (WIDTH + 8) / width)
    size = (round(width * factor), round(height * factor))
    return np.asarray(Image.fromarray(photo).resize(size, Image.Resampling.LANCZOS))


def inner(piece: np.ndarray, shift: tuple[int, int] = (0, 0)) -> np.ndarray:
    return np.ascontiguousarray(piece[shift[0] :, shift[1] :][:HEIGHT, :WIDTH])


def unlike_halves(photo: np.ndarray) -> np.ndarray:
    """The piece whose left and right half differ most in texture: [264, 392, 3]."""
    best, found = -1.0, middle(photo)
    for top in range(0, photo.shape[0] - HEIGHT - 8, 64):
        for left in range(0, photo.shape[1] - WIDTH - 8, 64):
            piece = photo[top : top + HEIGHT + 8, left : left + WIDTH + 8]
            energy = np.log(0.5 + gradient_energy(inner(piece)))
            gap = abs(energy[:, :24].mean() - energy[:, 24:].mean())
            if gap > best:
                best, found = gap, piece
    return found


def make_control(
    control: str, host: np.ndarray, donor: np.ndarray, mask: np.ndarray, sigma: float
) -> np.ndarray:
    """One picture.

    Args:
        control: one of CONTROLS.
        host, donor: uint8 [264, 392, 3].
        mask: bool [256, 384].
        sigma: of the blending of its edge, in pixels.
    """
    if control == CONTROLS[0]:
        outside, inside = inner(host), inner(donor)
    elif control == CONTROLS[1]:
        outside, inside = compress(inner(host), EARLIER), compress(inner(donor), EARLIER)
    elif control == CONTROLS[2]:
        outside, inside = compress(inner(host), EARLIER), inner(compress(donor, OTHER), SHIFT)
    elif control == CONTROLS[3]:
        outside = compress(inner(host), EARLIER)
        moved = np.roll(
            compress(np.roll(host, SHIFT, (0, 1)), OTHER), (-SHIFT[0], -SHIFT[1]), (0, 1)
        )
        inside = inner(moved)
    else:
        outside = inner(host)
        image = Image.fromarray(outside)
        size = (round(0.8 * WIDTH), round(0.8 * HEIGHT))
        small = image.resize(size, Image.Resampling.BICUBIC)
        inside = np.asarray(small.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))
    soft = Image.fromarray(mask.astype(np.uint8) * 255)
    weights = np.asarray(soft.filter(ImageFilter.GaussianBlur(sigma)), np.float32)[..., None] / 255
    mixed = outside * (1 - weights) + inside * weights
    return compress((mixed + 0.5).astype(np.uint8), LAST)


if __name__ == "__main__":
    main()
