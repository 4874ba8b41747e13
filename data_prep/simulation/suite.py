"""Our own benchmarking dataset, which anyone can make: the same bytes on every machine.

Splices of simulated cameras, their pristine hosts and masks, in four parts and a control:

  native        1024 x 768 pixels, as an editor saves them (PNG or JPEG of quality 98, 95, 90)
  recompressed  the same files, saved again as JPEG of quality 75
  web           the same files, shrunk to 640 x 480 and saved as JPEG of quality 85
  small         384 x 288 pixels cut out of the same files at the splice's edge, saved as PNG
  same_camera   as native, but what is pasted is of another photo by the host's camera with the
                host's settings, from the same place and on the same JPEG grid: nothing of it is to
                be found by comparing cameras; what a method finds here are contents and edges

Cameras, scenes and outlines come from `exact_random`, which nothing that makes training photos
uses: no seed of `data_prep.simulate` gives one of these cameras or scenes.
"""

from __future__ import annotations

import hashlib
import io
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, features

from data_prep.simulation.camera import Camera, quantisation_tables
from data_prep.simulation.exact_random import ExactRandom
from data_prep.simulation.exact_scenes import exact_blob, exact_scene
from data_prep.simulation.exposure import ShotSettings, choose_shot_settings
from data_prep.simulation.random_cameras import draw_camera, draw_make
from data_prep.simulation.shooting import COARSE_SETTING, shoot
from data_prep.simulation.writing import OutputError, explain_os_error, make_folders, run_jobs
from exif_jax.io.atomic import write_bytes
from exif_jax.io.errors import ExifJaxError
from exif_jax.io.locks import LOCK_NAME, take_turns

PARTS = ("native", "recompressed", "web", "small", "same_camera")
FOLDERS = ("images", "masks", "pristine")
PAIRS = 32
"""Splices of each part."""
SHA256 = "030be5df5d81cb67d4009c7000c67324a0b56ddbe4258ab5a0da1dddca9dcc76"
"""Of all files of the suite, by `suite_digest`."""

_WIDTH, _HEIGHT = 1024, 768
_WEB, _SMALL = (640, 480), (384, 288)
_MARGIN = 32  # a donor is larger than the host, so that its JPEG grid falls anywhere
_SAVED_AS = ("png", "jpg98", "jpg95", "jpg90")
_SCALES = (1.0, 1.0, 1.0, 0.8, 1.25)
_SHARE = (0.08, 0.30)  # of the photo that is tampered with
_KEY = 20_262_029
_CAMERAS, _PAIRS, _SAME_CAMERA = 1, 2, 3  # streams of random numbers


class SuiteError(ExifJaxError):
    """The suite is not the published one; the message says why that may be."""


@dataclass(frozen=True)
class SuiteJob:
    """What a worker needs to make pair number `index`.

    Attributes:
      output: The folder of the suite; the folders of its parts are there.
      index: From 0 to PAIRS - 1.
    """

    output: Path
    index: int


def make_pair(job: SuiteJob) -> None:
    """Writes splice, mask and pristine host number `job.index` of every part; may raise OSError."""
    rng = ExactRandom(_KEY, _PAIRS, job.index)
    host_camera, donor_camera = (_camera(2 * job.index + k) for k in (0, 1))
    saved_as = _SAVED_AS[job.index % len(_SAVED_AS)]
    host, settings = _take(host_camera, _HEIGHT, _WIDTH, rng)
    mask = exact_blob(rng, _HEIGHT, _WIDTH, rng.uniform(*_SHARE))
    opacity = _soften(mask) if rng.random() < 0.5 else mask.astype(np.uint16) * 255
    donor = _donor(donor_camera, float(rng.choice(_SCALES)), rng)
    spliced = _paste(host, donor, opacity)

    def write(part: str, photos: tuple[np.ndarray, np.ndarray], mask, saved_as: str) -> None:
        folder, stem, ending = job.output / part, f"{job.index:03d}", saved_as[:3]
        for name, pixels in zip((f"images/{stem}", f"pristine/{stem}_host"), photos, strict=True):
            write_bytes(folder / f"{name}.{ending}", encode(pixels, saved_as))
        write_bytes(folder / "masks" / f"{stem}.png", png_bytes(mask))

    write("native", (spliced, host), mask, saved_as)
    # What comes after starts from the files, as it does in the world.
    first = [decode(encode(pixels, saved_as)) for pixels in (spliced, host)]
    write("recompressed", (first[0], first[1]), mask, "jpg75")
    web_mask = _resize(mask.astype(np.uint8) * 255, _WEB) > 127
    write("web", (_resize(first[0], _WEB), _resize(first[1], _WEB)), web_mask, "jpg85")
    window = _window(mask)
    write("small", (first[0][window], first[1][window]), mask[window], "png")
    rng = ExactRandom(_KEY, _SAME_CAMERA, job.index)  # the parts above owe nothing to this one
    other, _ = _take(host_camera, _HEIGHT, _WIDTH, rng, settings)
    write("same_camera", (_paste(host, other, opacity), host), mask, saved_as)


def make_suite(output: Path, workers: int) -> str:
    """Makes the suite in a folder, where it is not there already, and returns its `suite_digest`.

    Raises:
      OutputError: It cannot be written, or read again.
    """
    try:
        digest = suite_digest(output)
        if digest == SHA256:
            return digest
        make_folders(output, *(output / part / folder for part in PARTS for folder in FOLDERS))
        with take_turns(output / LOCK_NAME):
            digest = suite_digest(output)
            if digest == SHA256:  # another shard of the same evaluation made it meanwhile
                return digest
            jobs = [SuiteJob(output, index) for index in range(PAIRS)]
            run_jobs(make_pair, jobs, output, workers, unit="pair")
            return suite_digest(output)
    except OSError as error:
        raise OutputError(explain_os_error(output, error)) from error


def report(digest: str) -> str:
    """What to tell of a suite that was made.

    Raises:
      SuiteError: It is not the published one; the message says what may have made the difference.
    """
    if digest == SHA256:
        return f"suite own: sha256 {digest}, as published"
    made_by = f"NumPy {np.__version__}, Pillow {Image.__version__} with libjpeg-turbo "
    made_by += features.version("libjpeg_turbo") or "missing: another JPEG library"
    raise SuiteError(
        f"the suite's files have the sha256 {digest} and not {SHA256}: figures on them compare "
        f"with no others. They were made by {made_by}; pip install the wheels of Pillow from PyPI, "
        "and take files that are not the suite's out of its folders"
    )


def suite_digest(output: Path) -> str:
    """SHA-256 over the names and bytes of all files of the suite in a folder, hexadecimal.

    Other files in the folder do not count; a missing folder is one without files.

    Raises:
      OSError: A file cannot be read.
    """
    digest = hashlib.sha256()
    for part in sorted(PARTS):
        for folder in FOLDERS:
            place = output / part / folder
            for path in sorted(place.iterdir()) if place.is_dir() else ():
                if path.suffix in (".png", ".jpg") and path.is_file():
                    data = path.read_bytes()
                    digest.update(f"{part}/{folder}/{path.name} {len(data)}\n".encode())
                    digest.update(data)
    return digest.hexdigest()


def _camera(number: int) -> Camera:
    return draw_camera(
        draw_make(ExactRandom(_KEY, _CAMERAS, number, 0)), ExactRandom(_KEY, _CAMERAS, number, 1)
    )


def _take(
    camera: Camera, height: int, width: int, rng: ExactRandom, settings: ShotSettings | None = None
) -> tuple[np.ndarray, ShotSettings]:
    """A photo of a scene of its own as its JPEG file holds it, uint8 [height, width, 3].

    Args:
      settings: Those of the shot; None draws them. Those used are returned beside the photo.
    """
    view = exact_scene(rng, height, width)
    settings = settings or choose_shot_settings(camera, rng)
    pixels, _ = shoot(camera, view, settings, rng)
    stream = io.BytesIO()
    # Without EXIF and with the standard's Huffman codes: how libraries write those may change.
    tables = quantisation_tables(camera, 1.0 if settings.fine else COARSE_SETTING)
    Image.fromarray(pixels).save(stream, "JPEG", qtables=tables, subsampling=camera.subsampling)
    return decode(stream.getvalue()), settings


def _donor(camera: Camera, scale: float, rng: ExactRandom) -> np.ndarray:
    """A part of another photo, of the host's size, at `scale` times its own: uint8 [H, W, 3]."""
    height, width = (int(np.ceil((side + _MARGIN) / scale / 2)) * 2 for side in (_HEIGHT, _WIDTH))
    photo, _ = _take(camera, height, width, rng)
    if scale != 1.0:
        photo = _resize(photo, (round(width * scale), round(height * scale)))
    y, x = (rng.integers(photo.shape[k] - side + 1) for k, side in enumerate((_HEIGHT, _WIDTH)))
    return photo[y : y + _HEIGHT, x : x + _WIDTH]


def _soften(mask: np.ndarray) -> np.ndarray:
    """Opacity 0 to 255 that rises from 0 at the mask's edge inwards, uint16; 0 outside."""
    soft = mask.astype(np.int64)
    for axis in (0, 1):
        for _ in range(4):  # four times (1, 2, 1): a Gaussian of 1.4 pixels
            wide = np.pad(soft, [(1, 1) if k == axis else (0, 0) for k in (0, 1)], mode="edge")
            size = soft.shape[axis]
            parts = [np.take(wide, range(k, k + size), axis) for k in range(3)]
            soft = parts[0] + 2 * parts[1] + parts[2]
    # `soft` has risen to at most 2^16; half of it at a straight edge.
    return (np.clip(2 * soft - 2**16, 0, 2**16) * 255 // 2**16 * mask).astype(np.uint16)


def _paste(host: np.ndarray, donor: np.ndarray, opacity: np.ndarray) -> np.ndarray:
    """The donor over the host, both uint8 [H, W, 3], by opacity uint16 [H, W], 0 to 255."""
    share = opacity[..., None].astype(np.uint32)
    return ((host * (255 - share) + donor * share + 127) // 255).astype(np.uint8)


def _resize(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """By Pillow's bicubic filter, which works in whole numbers on uint8; size: (width, height)."""
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))


def _window(mask: np.ndarray) -> tuple[slice, slice]:
    """The window of the small size of which nearest to a quarter is tampered with.

    It lies on the 16-pixel grid of JPEG; among equals it is the first.
    """
    width, height = _SMALL
    counts = np.pad(mask.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    inside = (
        counts[height::16, width::16]
        - counts[:-height:16, width::16]
        - counts[height::16, :-width:16]
        + counts[:-height:16, :-width:16]
    )
    best = np.abs(4 * inside - width * height).argmin()
    y, x = (16 * int(k) for k in np.unravel_index(best, inside.shape))
    return slice(y, y + height), slice(x, x + width)


def encode(pixels: np.ndarray, saved_as: str) -> bytes:
    """A file of uint8 [H, W, 3], as "png" or "jpgQUALITY"."""
    if saved_as == "png":
        return png_bytes(pixels)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=int(saved_as[3:]), subsampling="4:2:0")
    return stream.getvalue()


def decode(data: bytes) -> np.ndarray:
    """The pixels of an image file, uint8 [H, W, 3]."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def png_bytes(pixels: np.ndarray) -> bytes:
    """A PNG file of uint8 [H, W, 3], or of bool [H, W] in one bit a pixel, not compressed.

    Compressed data depends on the release of zlib; stored data does not.
    """
    height, width = pixels.shape[:2]
    is_mask = pixels.ndim == 2
    rows = np.packbits(pixels, axis=1) if is_mask else pixels.reshape(height, -1)
    data = np.pad(rows, ((0, 0), (1, 0))).tobytes()  # filter 0 before each row
    blocks = [b"\x78\x01"]
    for start in range(0, len(data), 65535):
        block = data[start : start + 65535]
        is_last = start + 65535 >= len(data)
        blocks += [struct.pack("<BHH", is_last, len(block), 65535 - len(block)), block]
    blocks.append(struct.pack(">I", zlib.adler32(data)))
    header = struct.pack(">IIBBBBB", width, height, *((1, 0) if is_mask else (8, 2)), 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", b"".join(blocks)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )
