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
from ml_collections import ConfigDict
from PIL import Image

from exif_jax.data.dataset import PatchDataset
from exif_jax.evaluation.datasets import Sample
from exif_jax.evaluation.detection_metrics import detection_metrics
from exif_jax.evaluation.detectors import model_detector
from exif_jax.evaluation.folder_dataset import read_folder
from exif_jax.evaluation.masks import DatasetError, read_mask
from exif_jax.evaluation.retrieval import (
    TagQuestion,
    alignment_and_uniformity,
    retrieval_metrics,
    tag_metrics,
    tag_questions,
)
from exif_jax.evaluation.runner import score_photo
from exif_jax.evaluation.splice_metrics import METRICS
from exif_jax.forensics.localization import Localization, LocalizationSettings, localize
from exif_jax.forensics.methods import LocalizeError
from exif_jax.models import dual_encoder
from exif_jax.reading.exif import to_text
from exif_jax.reading.photo import PhotoError, read_photo
from exif_jax.reports.render import colorize
from exif_jax.training import sharding
from exif_jax.weights.release_file import Model

ROWS_AT_ONCE = 64
PROBE_SIDE = 320  # pixels of each panel of the picture


def make_validation(
    config: ConfigDict, data: PatchDataset, model_config: dual_encoder.DualEncoderConfig, mesh: Mesh
) -> Callable[[Any], dict[str, float]]:
    """A function from parameters (on the mesh) to metrics; all processes must call it together.

    Args:
        config: the run's; `data.tag_names` says how texts are written.
        data: the validation split.
        model_config, mesh: of the run.

    Returns:
        params -> what `retrieval_metrics`, `alignment_and_uniformity` and `tag_metrics` give.
    """
    rows = -(-ROWS_AT_ONCE // mesh.size) * mesh.size
    whole = sharding.replicated(mesh)
    length = model_config.text.max_length

    @functools.partial(jax.jit, out_shardings=whole)
    def embed_pairs(params, batch):
        z_img, z_txt, _ = dual_encoder.apply(
            model_config, params, batch["image"], batch["tokens"], batch["token_mask"]
        )
        return z_img, z_txt, batch["readable"]

    @functools.partial(jax.jit, out_shardings=whole)
    def embed_texts(params, batch):
        return dual_encoder.embed_texts(model_config, params, batch["tokens"], batch["token_mask"])

    def mine(start: int, number: int) -> list[int]:
        """Row numbers of this process in the batch from `start` on; past the end the first one."""
        # Where the hosts of a TPU slice alternate along the mesh, a process holds several spans.
        held = sharding.batch_sharding(mesh).addressable_devices_indices_map((rows,)).values()
        spans = sorted({index[0].indices(rows)[:2] for index in held if index})
        numbers = [k for first, end in spans for k in range(start + first, start + end)]
        return [k if k < number else 0 for k in numbers]

    def embed_all(params, number: int, read: Callable, embed: Callable) -> Any:
        """What `embed` gives of rows 0 .. number - 1 that `read` reads, without those added."""
        parts = []
        for start in range(0, number, rows):
            batch = sharding.to_device(mesh, read(mine(start, number)))
            found = jax.device_get(embed(params, batch))
            parts.append(jax.tree.map(lambda x, start=start: x[: number - start], found))
        return jax.tree.map(lambda *x: np.concatenate(x), *parts)

    def read_photos(numbers: list[int]) -> dict[str, np.ndarray]:
        batch = data.eval_batch(numbers)
        return batch | {"readable": np.array([k not in data.unreadable for k in numbers])}

    def validate(params) -> dict[str, float]:
        z_img, z_txt, readable = embed_all(params, data.num_photos, read_photos, embed_pairs)
        z_img, z_txt = z_img[readable], z_txt[readable]
        asked, texts = questions(tuple(np.flatnonzero(readable)))
        z_tags = embed_all(
            params,
            len(texts),
            lambda numbers: dict(
                zip(
                    ("tokens", "token_mask"),
                    data.tokenizer.encode([texts[k] for k in numbers], length),
                    strict=True,
                )
            ),
            embed_texts,
        )
        metrics = retrieval_metrics(z_img, z_txt) | alignment_and_uniformity(z_img, z_txt)
        return metrics | tag_metrics(z_img, z_tags, asked)

    @functools.lru_cache(1)
    def questions(numbers: tuple[int, ...]) -> tuple[list[TagQuestion], list[str]]:
        asked = tag_questions([data.exif_of(int(k)) for k in numbers])
        pairs = [{question.tag: value} for question in asked for value in question.values]
        return asked, [to_text(pair, config.data.tag_names) for pair in pairs]

    return validate


def read_splices(root: str) -> list[Sample]:
    """The samples of `config.eval.splices`; raises DatasetError."""
    return read_folder(root).samples if root else []


def splice_metrics(samples: list[Sample], model: Model) -> dict[str, float]:
    """Means over spliced photos, as `exif_jax.evaluate` measures them; each process takes a share.

    A photo that cannot be read is named on stderr and left out.
    """
    table = np.full((len(samples), len(METRICS) + 1), np.nan)  # the last column: the score
    detector = model_detector(model, LocalizationSettings(), "model")
    for k in range(jax.process_index(), len(samples), jax.process_count()):
        image, mask = samples[k].image, samples[k].mask
        try:
            pixels = read_photo(image).pixels
            tampered = read_mask(mask, pixels.shape[:2]).tampered if mask else None
            row = score_photo(pixels, tampered, detector, image)
        except (DatasetError, PhotoError, LocalizeError) as e:
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
    found: dict[str, float] = {name: float(x) for name, x in zip(METRICS, means, strict=True)}
    if len(pristine):
        found["detection_auc"] = detection_metrics(spliced[:, -1], pristine[:, -1])["auc"]
    return found


def probe_picture(photo: pathlib.Path, model: Model) -> Image.Image:
    """What the model makes of one photo: the photo with its middle patch marked, that patch's
    affinity to all others, and the affinities of all pairs; cosines 0 to 1 as colours.

    Raises:
        PhotoError, LocalizeError: the photo cannot be used.
    """
    pixels = read_photo(photo).pixels
    found: Localization = localize(pixels, model)
    grid = found.grid
    middle = grid.rows // 2 * grid.columns + grid.columns // 2
    y, x = grid.origins()[middle]
    marked = pixels.copy()
    side, line = model.patch_size, max(2, max(pixels.shape) // 300)
    frame = np.ones((side, side), bool)
    frame[line:-line, line:-line] = False
    marked[y : y + side, x : x + side][frame] = 255
    row = colorize(found.affinity[middle].reshape(grid.rows, grid.columns))
    pairs = colorize(found.affinity)
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
