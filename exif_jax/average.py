"""Averages the weights of models whose training began from the same weights.

python -m exif_jax.average fourth/model.safetensors fifth/model.safetensors mean.safetensors

The same of learned maps (`exif_jax.train_map`). A file that is named twice counts twice.

Runs that begin from the same weights and differ in data or length end near enough to each other
that the mean of their weights is a good model too, often better than each and never slower ("Model
soups", Wortsman et al., ICML 2022, https://arxiv.org/abs/2203.05482). This does not hold for runs
that begin from different weights.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from exif_jax.cli import command
from exif_jax.io.errors import ExifJaxError
from exif_jax.models.parameters import Params, flatten_params, is_batch_stat
from exif_jax.weights.map_file import MapModel, is_map, load_map, save_map
from exif_jax.weights.release_file import Model, load_model, save_model


def average(models: Sequence[Model]) -> Model:
    """Returns a model of the mean of the weights, uncalibrated; all else is the last model's.

    Args:
        models: one or more, equal in all but weights, provenance and calibration.

    Raises:
        ValueError: configurations, tokenizers or tags differ, or there are batch norms, whose
            statistics would be wrong for the mean of the weights.
    """
    last = models[-1]
    for model in models:
        if model.config != last.config:
            raise ValueError("the models differ in their configuration")
        if model.tokenizer.model_bytes != last.tokenizer.model_bytes:
            raise ValueError("the models differ in their tokenizer")
        if model.tags != last.tags:
            raise ValueError("the models differ in their tags")
    if any(is_batch_stat(path) for path in flatten_params(last.params)):
        raise ValueError("batch norms cannot be averaged; choose models of a ViT")
    return dataclasses.replace(
        last, params=_mean(models), provenance=_provenance(models), calibration={}, id=""
    )


def average_maps(models: Sequence[MapModel]) -> MapModel:
    """The same of learned maps; the scores of a mean have to be calibrated anew.

    Raises:
        ValueError: configurations differ.
    """
    last = models[-1]
    if any(model.config != last.config for model in models):
        raise ValueError("the maps differ in their configuration")
    return dataclasses.replace(last, params=_mean(models), provenance=_provenance(models), id="")


def _mean(models: Sequence[Model] | Sequence[MapModel]) -> Params:
    return jax.tree.map(
        lambda *weights: np.mean(weights, axis=0), *(model.params for model in models)
    )


def _provenance(models: Sequence[Model] | Sequence[MapModel]) -> dict[str, Any]:
    return {
        # Validation measured one run, not the mean.
        **{name: value for name, value in models[-1].provenance.items() if name != "validation"},
        "weights": "averaged",
        "mean_of": [{"id": m.id, "steps": m.provenance.get("steps", 0)} for m in models],
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    parser = command.parser(
        "exif_jax.average",
        "Writes the mean of the weights of release files whose training began from the same "
        "weights, or of learned maps; it is often better than each. Calibrate it afterwards "
        "(exif_jax.calibrate).",
        "exit codes: 0 written, 1 models unreadable or unlike, or cannot write, 2 wrong usage",
    )
    parser.add_argument(
        "models",
        nargs="+",
        metavar="MODEL",
        help="release files, two or more; one named twice counts twice",
    )
    parser.add_argument("out", type=pathlib.Path, metavar="OUT", help="release file to write")
    args = parser.parse_args(argv)
    if len(args.models) < 2:
        parser.error("the mean of one model is itself; name two or more, and OUT at the end")
    try:
        if is_map(args.models[0]):
            save_map(average_maps([load_map(path) for path in args.models]), args.out)
        else:
            save_model(average([load_model(path) for path in args.models]), args.out)
    except ExifJaxError as e:
        return command.fail(e)
    except ValueError as e:
        return command.fail(
            f"{', '.join(args.models)}: {e}; choose runs of one config that began alike"
        )
    except OSError as e:
        return command.fail(f"{args.out}: {e.strerror or e}; choose another OUT")
    return 0


def run() -> None:
    """The console script."""
    command.run(main)


if __name__ == "__main__":
    run()
