"""The mean of the weights of several models that were trained from one start, in one release file.

python -m exif_jax.average fourth/model.safetensors fifth/model.safetensors mean.safetensors

Runs that begin with the same weights and differ in data or length end near enough that the weights
between them serve too, often better than either and never slower ("Model soups", Wortsman et al.,
ICML 2022, https://arxiv.org/abs/2203.05482). Runs from starts of their own do not.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence

import jax
import numpy as np

from exif_jax.cli import command
from exif_jax.models.dual_encoder import BATCH_STATS
from exif_jax.weights.release_file import Model, ReleaseError, flatten, load_model, save_model


def average(models: Sequence[Model]) -> Model:
    """A model of the mean of the weights, uncalibrated; all else is the last one's.

    Args:
        models: one or more, equal in all but weights, provenance and calibration.

    Raises:
        ValueError: configurations, tokenizers or tags differ, or there are batch norms, whose
            statistics would be wrong for the mean of the weights.
    """
    last = models[-1]
    for what, of in (
        ("configuration", lambda model: model.config),
        ("tokenizer", lambda model: model.tokenizer.model_bytes),
        ("tags", lambda model: model.tags),
    ):
        if any(of(model) != of(last) for model in models):
            raise ValueError(f"the models differ in their {what}")
    if any(name.split("/")[-1] in BATCH_STATS for name in flatten(last.params)):
        raise ValueError("batch norms cannot be averaged; choose models of a ViT")
    mean = jax.tree.map(lambda *each: np.mean(each, axis=0), *(model.params for model in models))
    provenance = {
        # What validation found was of one run, not of the mean.
        **{name: value for name, value in last.provenance.items() if name != "validation"},
        "weights": "averaged",
        "mean_of": [{"id": m.id, "steps": m.provenance.get("steps", 0)} for m in models],
    }
    return dataclasses.replace(last, params=mean, provenance=provenance, calibration={}, id="")


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = command.parser(
        "exif_jax.average",
        "Writes the mean of the weights of release files that were trained from one start, which "
        "is often better than each; exif_jax.calibrate comes after it.",
        "exit codes: 0 written, 1 unreadable or unlike models, or cannot write, 2 wrong usage",
    )
    parser.add_argument("models", nargs="+", metavar="MODEL", help="release files, two or more")
    parser.add_argument("out", type=pathlib.Path, metavar="OUT", help="release file to write")
    args = parser.parse_args(argv)
    if len(args.models) < 2:
        parser.error("the mean of one model is itself; name two or more, and OUT at the end")
    try:
        save_model(average([load_model(path) for path in args.models]), args.out)
    except ReleaseError as e:
        return command.fail(e)
    except ValueError as e:
        return command.fail(
            f"{', '.join(args.models)}: {e}; average runs of one config and one start"
        )
    except OSError as e:
        return command.fail(f"{args.out}: {e.strerror or e}; choose another OUT")
    return 0


def run() -> None:
    """The console script."""
    command.run(main)


if __name__ == "__main__":
    run()
