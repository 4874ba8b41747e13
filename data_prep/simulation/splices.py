"""Simulated splices: a part of one camera's photo in another camera's, with its mask."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from data_prep.simulation.photo_files import SPLICE_STREAM, Job, decode, take_photo
from data_prep.simulation.random_cameras import random_camera
from exif_jax.io.atomic import write_bytes

FOLDERS = ("images", "masks", "pristine")
TAMPERED_FRACTION = (0.08, 0.30)  # of a splice, at least and at most
_FORMATS = ("png", "png", "jpg98", "jpg95", "jpg90", "jpg85")
_MARGIN = 32  # a donor is larger than the host, so that its JPEG grid falls anywhere


def make_splice(job: Job) -> dict[str, Any]:
    """Writes splice number `job.index`, its mask and its pristine host; returns its manifest row.

    The tampered region comes from a photo of another camera model and another scene, at its own
    scale or resized, with a hard or a soft edge. Both photos are taken from their JPEG files, as
    a forger has them, and the host's EXIF is kept.
    """
    rng = np.random.default_rng([job.seed, SPLICE_STREAM, job.index])
    first, second = rng.choice(job.cameras, 2, replace=False)
    host, donor = random_camera(int(first)), random_camera(int(second))
    size = job.size
    scale = float(rng.choice([1.0, 1.0, 1.0, 0.8, 1.25]))
    host_photo = take_photo(host, size, rng, job.scenes)
    pristine = decode(host_photo.data)
    side = int(np.ceil((size + _MARGIN) / scale / 2)) * 2
    foreign = decode(take_photo(donor, side, rng, job.scenes).data)
    if scale != 1.0:
        resized = round(side * scale)
        foreign = foreign.resize((resized, resized), Image.Resampling.BICUBIC)
    x, y = (int(v) for v in rng.integers(0, foreign.width - size + 1, 2))
    foreign = foreign.crop((x, y, x + size, y + size))
    low, high = TAMPERED_FRACTION
    mask = random_blob(rng, size, float(rng.uniform(low + 0.01, high - 0.01)))
    opacity = _soften(mask) if rng.random() < 0.5 else mask
    spliced = Image.composite(foreign, pristine, opacity)
    saved_as = str(rng.choice(_FORMATS))
    stem = f"{job.index:03d}"
    name = f"{stem}.{saved_as[:3]}"
    exif = host_photo.exif
    write_bytes(job.output / "images" / name, _encode(spliced, saved_as, exif))
    write_bytes(job.output / "pristine" / name, _encode(pristine, saved_as, exif))
    write_bytes(job.output / "masks" / f"{stem}.png", _encode(mask, "png", None))
    return {
        "image": f"images/{name}",
        "mask": f"masks/{stem}.png",
        "pristine": f"pristine/{name}",
        "host_model": host.model,
        "donor_model": donor.model,
        "scale": scale,
        "saved_as": saved_as,
        "tampered_fraction": float((np.asarray(mask) > 0).mean()),
    }


def random_blob(rng: np.random.Generator, size: int, fraction: float) -> Image.Image:
    """An irregular region of about `fraction` of the picture.

    Args:
      rng: Decides its outline and its place.
      size: Side of the picture in pixels.
      fraction: Of the picture's area, in (0, 1).

    Returns:
      An image of mode "L", [size, size], 255 inside and 0 outside.
    """
    angle = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    outline = np.ones_like(angle)
    for wave in range(2, 7):
        outline += rng.normal(0, 0.3 / wave) * np.cos(wave * angle + rng.uniform(0, 2 * np.pi))
    outline = np.maximum(outline, 0.4)
    stretch = float(np.exp(rng.uniform(-0.3, 0.3)))
    centre = rng.uniform(0.3, 0.7, 2) * size
    radius = size * np.sqrt(fraction / np.pi)
    mask = Image.new("L", (size, size))
    for _ in range(12):  # what lies outside the picture is lost, so grow or shrink until it fits
        x = centre[0] + radius * outline * np.cos(angle) * stretch
        y = centre[1] + radius * outline * np.sin(angle) / stretch
        mask = Image.new("L", (size, size), 0)
        ImageDraw.Draw(mask).polygon(np.stack([x, y], -1).ravel().tolist(), fill=255)
        covered = np.count_nonzero(np.asarray(mask)) / size**2
        if abs(covered - fraction) < 0.005:
            break
        radius *= np.sqrt(fraction / max(covered, 1e-3))
    return mask


def _soften(mask: Image.Image) -> Image.Image:
    """Opacity that rises from 0 at the edge of the mask inwards; nothing outside changes."""
    soft = mask.filter(ImageFilter.GaussianBlur(2)).point([max(0, 2 * v - 255) for v in range(256)])
    return ImageChops.darker(soft, mask)  # in a bay of the outline the blur reaches outside


def _encode(image: Image.Image, saved_as: str, exif: Image.Exif | None) -> bytes:
    """The bytes of an image saved as "png" or "jpgQUALITY"."""
    stream = io.BytesIO()
    extra = {} if exif is None else {"exif": exif}
    if saved_as == "png":
        image.save(stream, "PNG", **extra)
    else:
        image.save(stream, "JPEG", quality=int(saved_as[3:]), **extra)
    return stream.getvalue()
