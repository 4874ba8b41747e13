"""Averages the weights of models whose training began from the same weights.

python -m exif_jax.average fourth/model.safetensors fifth/model.safetensors mean.safetensors

Runs that begin from the same weights and differ in data or length end near enough to each other
that the mean of their weights is a good model too, often better than each and never slower ("Model
soups", Wortsman et al., ICML 2022, https://arxiv.org/abs/2203.05482). This does not hold for runs
that begin from different weights.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence

import jax
import numpy as np

from exif_jax.cli import command
from exif_jax.io.errors import ExifJaxError
from exif_jax.models.parameters import flatten_params, is_batch_stat
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
    mean = jax.tree.map(
        lambda *weights: np.mean(weights, axis=0), *(model.params for model in models)
    )
    provenance = {
        # Validation measured one run, not the mean.
        **{name: value for name, value in last.provenance.items() if name != "validation"},
        "weights": "averaged",
        "mean_of": [{"id": m.id, "steps": m.provenance.get("steps", 0)} for m in models],
    }
    return dataclasses.replace(last, params=mean, provenance=provenance, calibration={}, id="")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    parser = command.parser(
        "exif_jax.average",
        "Writes the mean of the weights of release files whose training began from the same "
        "weights; it is often better than each. Calibrate it afterwards (exif_jax.calibrate).",
        "exit codes: 0 written, 1 models unreadable or unlike, or cannot write, 2 wrong usage",
    )
    parser.add_argument("models", nargs="+", metavar="MODEL", help="release files, two or more")
    parser.add_argument("out", type=pathlib.Path, metavar="OUT", help="release file to write")
    args = parser.parse_args(argv)
    if len(args.models) < 2:
        parser.error("the mean of one model is itself; name two or more, and OUT at the end")
    try:
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
