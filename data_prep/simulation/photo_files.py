"""Files of simulated photos: one number gives one camera, one scene and one JPEG file."""

from __future__ import annotations

import functools
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from data_prep.simulation.camera import Camera
from data_prep.simulation.exposure import choose_shot_settings
from data_prep.simulation.random_cameras import random_camera
from data_prep.simulation.scenes import collage, scene
from data_prep.simulation.shooting import encode_jpeg, shoot
from exif_jax.data.records import RecordError, RecordReader, decode_image, decode_record
from exif_jax.io.atomic import write_bytes

# Streams of random numbers, so that splices show scenes of their own.
PHOTO_STREAM, SPLICE_STREAM = 0, 1
_PROCEDURAL_PROB = 0.25  # of a scene that is drawn, where there are photos to make scenes of


@dataclass(frozen=True)
class Job:
    """What a worker needs to make file number `index`; the file depends on nothing else.

    Attributes:
      output: The folder to write to.
      seed: Decides everything, together with the index.
      index: The number of the file.
      size: Its side in pixels.
      cameras: How many cameras there are, of `random_cameras.random_camera`.
      scenes: The folder of records whose training photos scenes are made of; "" draws all scenes.
    """

    output: Path
    seed: int
    index: int
    size: int
    cameras: int
    scenes: str = ""


class SimulatedPhoto(NamedTuple):
    """A JPEG file and the EXIF that stands in it."""

    data: bytes
    exif: Image.Exif


def take_photo(
    camera: Camera, size: int, rng: np.random.Generator, scenes: str = ""
) -> SimulatedPhoto:
    """Photographs a scene of its own with settings of its own.

    Args:
      camera: Takes the photo.
      size: Side in pixels.
      rng: Decides scene, settings and noise.
      scenes: As in `Job`.
    """
    view = _make_scene(rng, size, scenes)
    settings = choose_shot_settings(camera, rng)
    pixels, exif = shoot(camera, view, settings, rng)
    return SimulatedPhoto(encode_jpeg(pixels, exif, camera, settings.fine), exif)


def _make_scene(rng: np.random.Generator, size: int, scenes: str) -> np.ndarray:
    if not scenes or rng.random() < _PROCEDURAL_PROB:
        return scene(rng, size)
    reader = open_scenes(scenes)
    return collage(functools.partial(_read_picture, reader), len(reader), rng, size)


def _read_picture(reader: RecordReader, number: int) -> Image.Image:
    return Image.fromarray(decode_image(decode_record(reader[number])))


@functools.cache
def open_scenes(records: str) -> RecordReader:
    """The training split of a folder of records: held-out photos stay unseen, even shrunk.

    Raises:
      RecordError: If there are no such records, or they are damaged.
    """
    reader = RecordReader(records, "train")
    if not len(reader):
        raise RecordError(f"{records}: the train split is empty; make records of more photos")
    return reader


def make_photo(job: Job) -> dict[str, Any]:
    """Writes photo number `job.index` and returns its manifest row."""
    rng = np.random.default_rng([job.seed, PHOTO_STREAM, job.index])
    camera = random_camera(job.index % job.cameras)
    name = f"sim{job.index:06d}.jpg"
    write_bytes(job.output / name, take_photo(camera, job.size, rng, job.scenes).data)
    return {"image": name}


def decode(data: bytes) -> Image.Image:
    """An image file as a picture of mode RGB."""
    with Image.open(io.BytesIO(data)) as image:
        return image.convert("RGB")
