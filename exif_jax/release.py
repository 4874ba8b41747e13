"""Writes the newest checkpoint of a training run as a release file.

`python -m exif_jax.release WORKDIR OUT` also works while a run goes on, and after one was stopped.
"""

from __future__ import annotations

import pathlib

from absl import logging

from exif_jax.cli import command
from exif_jax.io.errors import ExifJaxError
from exif_jax.weights.release_file import DTYPES, load_model, save_model


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    parser = command.parser(
        "exif_jax.release",
        "Writes the newest checkpoint of a training run as a release file and prints "
        "its model card.",
        "exit codes: 0 written, 1 no checkpoint or cannot write, 2 wrong usage",
    )
    parser.add_argument("workdir", type=pathlib.Path, help="--workdir of exif_jax.train")
    parser.add_argument("out", type=pathlib.Path, help="the file to write, NAME.safetensors")
    parser.add_argument(
        "--dtype", choices=tuple(DTYPES), default="float16", help="of the weights (default float16)"
    )
    parser.add_argument(
        "--weights",
        choices=("averaged", "last"),
        help="the moving average (train.ema) or the last step's (default: averaged where the run "
        "has them)",
    )
    args = parser.parse_args(argv)
    logging.set_verbosity(logging.ERROR)  # orbax warns of what reading only implies
    try:
        from exif_jax.training.workdir import from_workdir, model_card

        averaged = None if args.weights is None else args.weights == "averaged"
        model = from_workdir(args.workdir, averaged)
        save_model(model, args.out, args.dtype)
    except ExifJaxError as e:
        return command.fail(e)
    except OSError as e:
        return command.fail(f"{args.out}: {e.strerror or e}; choose another OUT")
    print(f"{args.out}: step {model.provenance['steps']}\n")
    print(model_card(load_model(args.out)))
    return 0


if __name__ == "__main__":
    command.run(main)
