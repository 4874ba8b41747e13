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
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

from exif_jax.cli import command
from exif_jax.forensics import affinity, clustering, localization
from exif_jax.forensics.calibration import survival_function
from exif_jax.forensics.localization import Settings
from exif_jax.io.atomic import write_bytes
from exif_jax.io.errors import ExifJaxError
from exif_jax.io.text import printable
from exif_jax.models.dual_encoder import embed_images
from exif_jax.reading.pixels import gradient_energy
from exif_jax.reports.outputs import prepare_folder

if TYPE_CHECKING:
    from exif_jax.weights.release_file import Model

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")
_AT_ONCE = 32  # patches; as many as a CPU's cache likes
_TABLE = np.linspace(-16.0, 16.0, 4097)  # of logit(score) less what content explains


class ExportError(ExifJaxError):
    """It cannot be exported; the message says why and what to do."""


def patch_embedder(model: Model) -> Callable[[jax.Array], dict[str, jax.Array]]:
    """Patches, uint8 [B, S, S, 3], to {"embeddings": float32 [B, D]} with rows of length 1."""
    params = jax.tree.map(jnp.asarray, model.params)
    return lambda patches: {"embeddings": embed_images(model.config, params, patches)}


def photo_to_map(
    model: Model, height: int, width: int
) -> Callable[[jax.Array], dict[str, jax.Array]]:
    """`exif_jax.localize` with its default settings as one function of photos of one size.

    Args:
        model: the weights, which become a part of the function.
        height, width: of the photos, in pixels.

    Returns:
        A function of uint8 [B, height, width, 3] that returns "map", float32 [B, height, width],
        "score" and "gradient_energy_gap", float32 [B], and, of a calibrated model, "p_value", float32
        [B], as `Localization` has them. (A plain colour, which `localize` leaves out, is given the
        score 0 and a map of zeros here too.)

    Raises:
        ValueError: such photos hold no patch.
    """
    settings, params = Settings(), jax.tree.map(jnp.asarray, model.params)
    grid = affinity.patch_grid(
        height,
        width,
        model.patch_size,
        settings.num_per_dim,
        settings.max_patches,
        settings.align,
    )
    batches = -(-grid.num_patches // _AT_ONCE)
    origins = np.zeros((batches * _AT_ONCE, 2), np.int32)
    origins[: grid.num_patches] = grid.origins()
    origins_KxBx2 = jnp.asarray(origins.reshape(batches, _AT_ONCE, 2))
    slopes, areas, p_values = _calibration(model, height * width / model.patch_size**2)

    def one(photo):
        def embed(origins_Bx2):
            def at(yx):
                return jax.lax.dynamic_slice(photo, (*yx, 0), (grid.patch, grid.patch, 3))

            return embed_images(model.config, params, jax.vmap(at)(origins_Bx2))

        z_KxBxD = jax.lax.map(embed, origins_KxBx2)
        z_PxD = z_KxBxD.reshape(-1, z_KxBxD.shape[-1])[: grid.num_patches]
        cells, parts_P, distance = clustering.spatial_cut(z_PxD, grid)
        gap = localization.gradient_energy_gap(gradient_energy(photo), parts_P, grid)
        textured = ~localization.is_flat(photo)
        score = jnp.where(textured, localization.content_adjusted_score(distance, gap), 0.0)
        found = {
            "map": jnp.where(textured, affinity.upsample(cells, grid), 0.0),
            "score": score,
            "gradient_energy_gap": jnp.where(textured, gap, 0.0),
        }
        if p_values is not None:
            inside = jnp.clip(score, 1e-3, 1 - 1e-3)
            left = jnp.log(inside) - jnp.log1p(-inside) - areas - slopes["gap"] * gap
            found["p_value"] = _interpolate(left, p_values)
        return found

    return lambda photos: jax.lax.map(one, photos)


def _calibration(model: Model, areas: float):
    """The slopes, what size adds to the expected logit(score), and p-values over `_TABLE`."""
    scores = model.calibration.get("scores", {})
    slopes = scores.get("slopes")
    if not slopes or scores.get("method") != Settings().method:
        return {}, 0.0, None
    p_values = [survival_function(float(x), scores["null"]) for x in _TABLE]
    expected = slopes["log_areas"] * math.log(areas / scores["areas"])
    return slopes, expected, np.array(p_values, np.float32)


def _interpolate(x: jax.Array, values: np.ndarray) -> jax.Array:
    """Between the values at the even places of `_TABLE`."""
    place = jnp.clip((x - _TABLE[0]) / (_TABLE[1] - _TABLE[0]), 0, len(values) - 1)
    low = jnp.minimum(place.astype(jnp.int32), len(values) - 2)
    return jnp.asarray(values)[low] + (place - low) * jnp.asarray(np.diff(values))[low]


def stablehlo(function: Callable, shape: tuple[int, ...]) -> bytes:
    """A function of uint8 [B, *shape], for any B, as `jax.export.deserialize` reads it."""
    import flatbuffers  # noqa: F401  (JAX needs it to serialize, and would not name our extra)

    (batch,) = jax.export.symbolic_shape("b")
    given = jax.ShapeDtypeStruct((batch, *shape), jnp.uint8)
    return bytes(jax.export.export(jax.jit(function), platforms=PLATFORMS)(given).serialize())


def onnx(model: Model) -> bytes:
    """`patch_embedder` as ONNX: "patches" in, "embeddings" out, for any B."""
    # They warn of shapes left open, dozens of times, and of examples whose packages are not there.
    for name in ("onnx_ir", "jax2onnx"):
        logging.getLogger(name).setLevel(logging.ERROR)
    from jax2onnx import to_onnx

    given = jax.ShapeDtypeStruct(("B", *(model.patch_size,) * 2, 3), jnp.uint8)
    written = to_onnx(
        patch_embedder(model), [given], input_names=["patches"], output_names=["embeddings"]
    )
    return written.SerializeToString()


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    args = _parser().parse_args(argv)
    out = pathlib.Path(args.out)
    from exif_jax.weights.release_file import ReleaseError, load_model

    try:
        model = load_model(*filter(None, [args.model]))
        if problem := prepare_folder(out):
            return command.fail(problem)
        for name, make in _files(model, args.size, args.onnx):
            print(f"{name} ...", file=sys.stderr)
            data = make()
            write_bytes(out / name, data)
            print(f"{out / name}: {len(data) / 1e6:.1f} MB")
    except (ReleaseError, ExportError) as e:
        return command.fail(printable(e))
    except OSError as e:
        return command.fail(f"{printable(out)}: {e.strerror}; make room or choose another folder")
    return 0


def _files(model: Model, sizes: Sequence[tuple[int, int]], with_onnx: bool):
    """(name, function that makes its bytes) of what is to be written."""
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
    found = re.fullmatch(r"([1-9]\d{0,5})x([1-9]\d{0,5})", text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is no WIDTHxHEIGHT in pixels, as 1024x768")
    return int(found[1]), int(found[2])


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
