"""Models for programs without this package: StableHLO or ONNX, weights included.

python -m exif_jax.export OUT [--model PATH] [--size WIDTHxHEIGHT ...] [--onnx]

Two functions leave: patches to embeddings, and a whole photo of one size to its map, score and
p-value (`photo_to_map`), both for any number at a time, as `jax.export` writes and keeps readable
(https://docs.jax.dev/en/latest/export/export.html). The first also leaves as ONNX, by jax2onnx.
"""

from __future__ import annotations

import argparse
import functools
import logging
import math
import pathlib
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

from exif_jax.api import resolve_model
from exif_jax.cli import command
from exif_jax.forensics import affinity, clustering, patches
from exif_jax.forensics.calibration import objection_to_score
from exif_jax.forensics.localization import sides_of_patches
from exif_jax.forensics.methods import METHODS, LocalizationSettings
from exif_jax.forensics.score_calibration import (
    Conditions,
    least_reach,
    survival,
    value_at,
)
from exif_jax.forensics.suitability import is_flat
from exif_jax.forensics.verdict import LEVELS, MIN_POWER
from exif_jax.io.atomic import write_bytes
from exif_jax.io.errors import ExifJaxError
from exif_jax.io.text import printable
from exif_jax.models.dual_encoder import embed_images
from exif_jax.reading.quantization import quantization_step
from exif_jax.reports.outputs import prepare_folder

if TYPE_CHECKING:
    from exif_jax.weights.release_file import Model

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")
_BATCH_SIZE = 32  # patches; as many as a CPU's cache likes
# Where p-values are computed beforehand: the excess over what pristine photos score.
_EXCESS_LOGITS = np.linspace(-16.0, 16.0, 4097)


class ExportError(ExifJaxError):
    """It cannot be exported; the message says why and what to do."""


def patch_embedder(model: Model) -> Callable[[jax.Array], dict[str, jax.Array]]:
    """Patches, uint8 [B, S, S, 3], to {"embeddings": float32 [B, D]} with rows of length 1."""
    params = jax.tree.map(jnp.asarray, model.params)
    return lambda patches: {"embeddings": embed_images(model.config, params, patches)}


def photo_to_map(
    model: Model, height: int, width: int
) -> Callable[[jax.Array], dict[str, jax.Array]]:
    """`localize` by the cut, otherwise with its default settings, for photos of one size.

    Args:
        model: the weights, which become a part of the function.
        height, width: of the photos, in pixels.

    Returns:
        A function of uint8 [B, height, width, 3] that returns "map", float32 [B, height, width],
        "score" and "gradient_energy_gap", float32 [B], and "p_value", float32 [B], where the
        model's calibration holds for photos of this size, as `Localization` has them; NaN of a
        photo on which the method is blind. (A plain colour, which `localize` leaves out, is given
        the score 0 and a map of zeros here too.)

    Raises:
        ValueError: such photos hold no patch.
    """
    settings = LocalizationSettings(method="cut")
    method = METHODS[settings.method]
    *finer, grid = (
        patches.patch_grid(
            height,
            width,
            side,
            num_per_dim=settings.num_per_dim,
            max_patches=settings.max_patches,
            align=settings.align,
        )
        for side in sides_of_patches(height, width, model, settings.method)
    )
    encode, params = patches.image_encoder(model.config), jax.tree.map(jnp.asarray, model.params)
    area = height * width / model.patch_size**2
    objection = objection_to_score(model.calibration, grid, area, settings.method)
    calibration = None if objection else model.calibration["scores"][settings.method]

    def embed(photo: jax.Array, grid: patches.Grid) -> jax.Array:
        origins = patches.batch_origins(grid.origins(), _BATCH_SIZE, grid.num_patches)
        z_PxD = patches.embed_batches(
            encode, grid.patch, params, photo, jnp.asarray(origins), len(origins)
        )
        return z_PxD[: grid.num_patches]

    def map_photo(photo: jax.Array) -> dict[str, jax.Array]:
        z_PxD = embed(photo, grid)
        result = method.analyze(z_PxD, photo, grid)
        maps = [result.heatmap]
        for other in finer:
            cells, _, _ = clustering.spatial_cut(embed(photo, other), other)
            maps.append(affinity.upsample(cells, other))
        textured = ~is_flat(photo)
        outputs = {
            "map": jnp.where(textured, sum(maps) / len(maps), 0.0),
            "score": jnp.where(textured, result.score, 0.0),
            "gradient_energy_gap": jnp.where(textured, result.gradient_energy_gap, 0.0),
        }
        if calibration:
            at = Conditions(
                math.log(area),
                quantization_step(photo),
                math.log(grid.patch / model.patch_size),
                result.gradient_energy_gap,
                result.variation,
            )
            outputs["p_value"] = _p_value(calibration, outputs["score"], at)
        return outputs

    return lambda photos: jax.lax.map(map_photo, photos)


def _p_value(calibration: dict[str, Any], score: jax.Array, at: Conditions) -> jax.Array:
    """`score_calibration.p_value`, traced; NaN where no verdict is given."""
    excess = _logit(score) - value_at(calibration["slopes"], at)
    null = calibration["null"]
    table = np.array([survival(null, float(x)).value for x in _EXCESS_LOGITS], np.float32)
    p = _interpolate(excess, table)
    if "splices" not in calibration:
        return p
    reach = value_at(calibration["splices"]["reach"], at)
    return jnp.where(reach < least_reach(calibration, LEVELS[1], MIN_POWER), jnp.nan, p)


def _logit(x: jax.Array) -> jax.Array:
    """`score_calibration.logit`, traced."""
    x = jnp.clip(x, 1e-3, 1 - 1e-3)
    return jnp.log(x) - jnp.log1p(-x)


def _interpolate(x: jax.Array, values: np.ndarray) -> jax.Array:
    """Linear between the values at the even places `_EXCESS_LOGITS`."""
    step = _EXCESS_LOGITS[1] - _EXCESS_LOGITS[0]
    place = jnp.clip((x - _EXCESS_LOGITS[0]) / step, 0, len(values) - 1)
    low = jnp.minimum(place.astype(jnp.int32), len(values) - 2)
    return jnp.asarray(values)[low] + (place - low) * jnp.asarray(np.diff(values))[low]


def stablehlo(function: Callable, shape: tuple[int, ...]) -> bytes:
    """A function of uint8 [B, *shape], for any B, as `jax.export.deserialize` reads it."""
    import flatbuffers  # noqa: F401  (JAX needs it to serialize, and would not name our extra)

    (batch,) = jax.export.symbolic_shape("b")
    argument = jax.ShapeDtypeStruct((batch, *shape), jnp.uint8)
    return bytes(jax.export.export(jax.jit(function), platforms=PLATFORMS)(argument).serialize())


def onnx(model: Model) -> bytes:
    """`patch_embedder` as ONNX: "patches" in, "embeddings" out, for any B."""
    # They warn of shapes left open, dozens of times, and of examples whose packages are not there.
    for name in ("onnx_ir", "jax2onnx"):
        logging.getLogger(name).setLevel(logging.ERROR)
    from jax2onnx import to_onnx

    argument = jax.ShapeDtypeStruct(("B", model.patch_size, model.patch_size, 3), jnp.uint8)
    onnx_model = to_onnx(
        patch_embedder(model), [argument], input_names=["patches"], output_names=["embeddings"]
    )
    return onnx_model.SerializeToString()


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    args = _parser().parse_args(argv)
    out = pathlib.Path(args.out)
    try:
        model = resolve_model(args.model)
        if problem := prepare_folder(out):
            return command.fail(problem)
        for name, make_bytes in _files(model, args.size, args.onnx):
            print(f"{name} ...", file=sys.stderr)
            data = make_bytes()
            write_bytes(out / name, data)
            print(f"{out / name}: {len(data) / 1e6:.1f} MB")
    except ExifJaxError as e:
        return command.fail(printable(e))
    except OSError as e:
        return command.fail(f"{printable(out)}: {e.strerror}; make room or choose another folder")
    return 0


def _files(
    model: Model, sizes: Sequence[tuple[int, int]], with_onnx: bool
) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Yields the name of each file that is to be written, and a function that makes its bytes."""
    side = model.patch_size
    yield "embedder.stablehlo", lambda: stablehlo(patch_embedder(model), (side, side, 3))
    if with_onnx:
        yield "embedder.onnx", lambda: onnx(model)
    for width, height in sizes:
        if min(width, height) < side:
            raise ExportError(
                f"--size {width}x{height}: holds no patch of {side} x {side} pixels; choose a "
                "larger one"
            )
        mapper = photo_to_map(model, height, width)
        shape = (height, width, 3)
        yield f"map_{width}x{height}.stablehlo", functools.partial(stablehlo, mapper, shape)


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"([1-9]\d{0,5})x([1-9]\d{0,5})", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is no WIDTHxHEIGHT in pixels, as 1024x768")
    return int(match[1]), int(match[2])


def _parser() -> argparse.ArgumentParser:
    parser = command.parser(
        "exif_jax.export",
        "Writes a model for programs without this package, its weights included: "
        "embedder.stablehlo (patches to embeddings) and map_WIDTHxHEIGHT.stablehlo for each "
        "--size (photos of that size to their maps, scores and p-values). Both take any number of "
        "patches or photos at a time. --onnx adds embedder.onnx.",
        "examples:\n"
        "  python -m exif_jax.export exported --size 4000x3000\n"
        "  python -m exif_jax.export exported --model model.safetensors\n\n"
        "docs/export.md shows how to run the files.\n"
        "exit codes: 0 done, 1 failed (the message says why), 2 wrong usage",
    )
    parser.add_argument("out", metavar="OUT", help="folder to write to")
    parser.add_argument("--model", metavar="PATH", help="release file (default: what ships)")
    parser.add_argument(
        "--size",
        type=_size,
        action="append",
        default=[],
        metavar="WIDTHxHEIGHT",
        help="of photos, in pixels; may be given several times",
    )
    parser.add_argument(
        "--onnx", action="store_true", help="also as ONNX; needs pip install 'exif-jax[onnx]'"
    )
    return parser


def run() -> None:
    """The console script."""
    command.run(main)


if __name__ == "__main__":
    run()
