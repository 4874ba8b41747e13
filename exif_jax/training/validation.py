"""What a run measures on cameras that it does not train on: retrieval, tags, splices, a picture.

Every process embeds its own rows and localises its own photos; all of them then hold all results.
"""

from __future__ import annotations

import functools
import pathlib
import sys
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh
from PIL import Image

from exif_jax.data.dataset import PatchDataset
from exif_jax.evaluation.datasets import Sample
from exif_jax.evaluation.detection_metrics import detection_metrics
from exif_jax.evaluation.detectors import model_detector
from exif_jax.evaluation.folder_dataset import read_folder
from exif_jax.evaluation.masks import read_mask
from exif_jax.evaluation.retrieval import (
    TagQuestion,
    alignment_and_uniformity,
    retrieval_metrics,
    tag_metrics,
    tag_questions,
)
from exif_jax.evaluation.runner import score_photo
from exif_jax.evaluation.splice_metrics import METRICS
from exif_jax.forensics.localization import localize
from exif_jax.forensics.methods import LocalizationSettings
from exif_jax.forensics.result import Localization
from exif_jax.io.errors import ExifJaxError
from exif_jax.models import dual_encoder
from exif_jax.models.dual_encoder import Params
from exif_jax.reading.exif import to_text
from exif_jax.reading.photo import read_photo
from exif_jax.reports.render import colorize
from exif_jax.training import sharding
from exif_jax.weights.release_file import Model

ROWS_AT_ONCE = 64
PROBE_SIDE = 320  # pixels of each panel of the picture


def validate(
    params: Params,
    data: PatchDataset,
    model_config: dual_encoder.DualEncoderConfig,
    mesh: Mesh,
) -> dict[str, float]:
    """Retrieval and zero-shot tags on the validation photos; all processes call it together.

    Args:
        params: arrays on the mesh.
        data: the validation split.
        model_config: of the parameters.
        mesh: of the run.

    Returns:
        What `retrieval_metrics`, `alignment_and_uniformity` and `tag_metrics` give. Photos that
        cannot be read are left out.
    """
    embed_pairs = functools.partial(_jit_embed(_embed_pairs, model_config, mesh), params)
    read_pairs = functools.partial(_read_pairs, data)
    z_img, z_txt, readable = _embed_rows(data.num_photos, read_pairs, embed_pairs, mesh)
    z_img, z_txt = z_img[readable], z_txt[readable]
    metrics = retrieval_metrics(z_img, z_txt) | alignment_and_uniformity(z_img, z_txt)
    questions, texts = _tag_texts(data, tuple(np.flatnonzero(readable).tolist()))
    if not questions:  # in few photos no tag has two values that are worth asking for
        return metrics
    embed_texts = functools.partial(_jit_embed(_embed_texts, model_config, mesh), params)
    read_texts = functools.partial(_read_texts, data, texts, model_config.text.max_length)
    z_tags = _embed_rows(len(texts), read_texts, embed_texts, mesh)
    return metrics | tag_metrics(z_img, z_tags, questions)


def _embed_rows(num_rows: int, read: Callable, embed: Callable, mesh: Mesh) -> Any:
    """What `embed` gives of rows 0 .. num_rows - 1, of which every process reads its own.

    Args:
        num_rows: of all processes together.
        read: row numbers -> a batch of them in NumPy arrays.
        embed: a batch on the mesh -> arrays of one row for each of the batch.
        mesh: the devices.
    """
    batch_size = -(-ROWS_AT_ONCE // mesh.size) * mesh.size
    parts = []
    for start in range(0, num_rows, batch_size):
        # Rows past the end are the first one again, and are cut off below.
        rows = [start + k for k in _own_rows(mesh, batch_size)]
        batch = read([row if row < num_rows else 0 for row in rows])
        embedded = jax.device_get(embed(sharding.to_device(mesh, batch)))
        parts.append(jax.tree.map(lambda x, left=num_rows - start: x[:left], embedded))
    return jax.tree.map(lambda *x: np.concatenate(x), *parts)


def _own_rows(mesh: Mesh, batch_size: int) -> list[int]:
    """The rows of a global batch that this process's devices hold.

    Where the hosts of a TPU slice alternate along the mesh, these are several spans.
    """
    held = sharding.batch_sharding(mesh).addressable_devices_indices_map((batch_size,)).values()
    spans = sorted({index[0].indices(batch_size)[:2] for index in held if index})
    return [row for first, end in spans for row in range(first, end)]


@functools.cache
def _jit_embed(
    embed: Callable, model_config: dual_encoder.DualEncoderConfig, mesh: Mesh
) -> Callable:
    """An embedding function compiled once for all validations; every device gets all rows."""
    bound = functools.partial(embed, model_config)
    return jax.jit(bound, out_shardings=sharding.replicated(mesh))


def _embed_pairs(model_config, params, batch):
    z_img, z_txt, _ = dual_encoder.apply(
        model_config, params, batch["image"], batch["tokens"], batch["token_mask"]
    )
    return z_img, z_txt, batch["readable"]


def _embed_texts(model_config, params, batch) -> jax.Array:
    return dual_encoder.embed_texts(model_config, params, batch["tokens"], batch["token_mask"])


def _read_pairs(data: PatchDataset, photos: list[int]) -> dict[str, np.ndarray]:
    batch = data.eval_batch(photos)
    return batch | {"readable": np.array([photo not in data.photos.unreadable for photo in photos])}


def _read_texts(
    data: PatchDataset, texts: list[str], max_length: int, numbers: list[int]
) -> dict[str, np.ndarray]:
    tokens, token_mask = data.tokenizer.encode([texts[k] for k in numbers], max_length)
    return {"tokens": tokens, "token_mask": token_mask}


@functools.lru_cache(1)  # reading the EXIF of all photos again would double a validation's time
def _tag_texts(data: PatchDataset, photos: tuple[int, ...]) -> tuple[list[TagQuestion], list[str]]:
    """Questions about the tags of some photos, and the texts of all answers."""
    questions = tag_questions([data.exif_of(photo) for photo in photos])
    answers = [{question.tag: value} for question in questions for value in question.values]
    return questions, [to_text(answer, data.config.tag_names) for answer in answers]


def read_splices(root: str) -> list[Sample]:
    """The samples of `config.eval.splices`; raises DatasetError."""
    return read_folder(root).samples if root else []


def splice_metrics(samples: list[Sample], model: Model) -> dict[str, float]:
    """Means over spliced photos, as `exif_jax.evaluate` measures them; each process takes a share.

    A photo that cannot be read is named on stderr and left out.
    """
    table = np.full((len(samples), len(METRICS) + 1), np.nan)  # the last column: the score
    detector = model_detector(model, LocalizationSettings(method="cut"), "model")
    for k in range(jax.process_index(), len(samples), jax.process_count()):
        image, mask = samples[k].image, samples[k].mask
        try:
            pixels = read_photo(image).pixels
            tampered = read_mask(mask, pixels.shape[:2]).tampered if mask else None
            row = score_photo(pixels, tampered, detector, image)
        except ExifJaxError as e:
            print(f"{image}: left out of the validation: {e}", file=sys.stderr)
            continue
        table[k] = [row.get(name, np.nan) for name in (*METRICS, "score")]
    if jax.process_count() > 1:
        tables = multihost_utils.process_allgather(table)
        table = np.where(np.isnan(tables), 0.0, tables).sum(0) + np.where(
            np.isnan(tables).all(0), np.nan, 0.0
        )
    is_spliced = np.array([sample.is_tampered for sample in samples], bool)
    read = ~np.isnan(table[:, -1])
    spliced, pristine = table[read & is_spliced], table[read & ~is_spliced]
    if not len(spliced):
        return {}
    means = spliced[:, :-1].mean(axis=0)
    metrics: dict[str, float] = {name: float(x) for name, x in zip(METRICS, means, strict=True)}
    if len(pristine):
        metrics["detection_auc"] = detection_metrics(spliced[:, -1], pristine[:, -1])["auc"]
    return metrics


def probe_picture(photo: pathlib.Path, model: Model) -> Image.Image:
    """Draws what the model makes of one photo, as three panels side by side.

    They are the photo with its middle patch marked, that patch's affinity to all others, and the
    affinities of all pairs; cosines of 0 to 1 as colours.

    Raises:
        PhotoError, LocalizeError: the photo cannot be used.
    """
    pixels = read_photo(photo).pixels
    localization: Localization = localize(pixels, model, LocalizationSettings(method="cut"))
    grid = localization.grid
    middle = grid.rows // 2 * grid.columns + grid.columns // 2
    y, x = grid.origins()[middle]
    marked = pixels.copy()
    side, line = grid.patch, max(2, max(pixels.shape) // 300)
    frame = np.ones((side, side), bool)
    frame[line:-line, line:-line] = False
    marked[y : y + side, x : x + side][frame] = 255
    row = colorize(localization.affinity[middle].reshape(grid.rows, grid.columns))
    pairs = colorize(localization.affinity)
    height, width = pixels.shape[:2]
    wide = min(3 * PROBE_SIDE, max(PROBE_SIDE // 3, round(PROBE_SIDE * width / height)))
    shapes = [(wide, PROBE_SIDE), (wide, PROBE_SIDE), (PROBE_SIDE, PROBE_SIDE)]
    filters = [Image.Resampling.BOX, Image.Resampling.NEAREST, Image.Resampling.NEAREST]
    panels = [
        Image.fromarray(part).resize(shape, how)
        for part, shape, how in zip((marked, row, pairs), shapes, filters, strict=True)
    ]
    picture = Image.new("RGB", (2 * wide + PROBE_SIDE + 20, PROBE_SIDE), "white")
    left = 0
    for panel in panels:
        picture.paste(panel, (left, 0))
        left += panel.width + 10
    return picture
