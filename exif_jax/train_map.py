"""Trains the learned map: `python -m exif_jax.train_map --config=configs/tampering_map.py`.

--workdir=DIR names the folder of the run and --config.data.photos and --config.data.pieces the
folders of photos that composites are made of; any field of the config can be changed so. The same
command goes on where a killed run stopped, with the same composites in the same order; a larger
--config.train.num_steps makes the run longer. --config.train.init begins from released weights,
such as exif_jax/weights/pretrained/tampering_map.safetensors.

WORKDIR holds config.json, metrics.jsonl, checkpoints/ and, at each validation, map.safetensors,
which `exif_jax.localize` and `exif_jax.evaluate` take as --map-model.

Exit codes: 0 done, 1 the run cannot start or go on (the message says why), 2 wrong flags, 143
stopped by SIGTERM.
"""

from __future__ import annotations

import pathlib
import signal
import sys
from typing import Any

from exif_jax.cli import command
from exif_jax.io.errors import ExifJaxError
from exif_jax.training.host_memory import keep_freed_memory

# JAX is imported where the command runs: worker processes import this module too, and need none.


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    with command.imports(__name__, "train"):
        from absl import flags
        from ml_collections import config_flags
    values = flags.FlagValues()
    config = config_flags.DEFINE_config_file(
        "config", None, "Config file: configs/tampering_map.py.", flag_values=values
    )
    workdir = flags.DEFINE_string("workdir", "", "Folder of the run.", flag_values=values)
    shows_help = flags.DEFINE_bool("help", False, "Show this.", flag_values=values)
    try:
        rest = values(["train_map", *(sys.argv[1:] if argv is None else argv)])
        _ = config.value and config.value.data  # a file that does not load fails here
    except (flags.Error, OSError, AttributeError, KeyError) as e:
        return command.fail(f"{str(e).splitlines()[-1].strip()}\n--help lists the flags", 2)
    if shows_help.value:
        print(f"{__doc__}\n{values.get_help()}")
        sys.exit(0)
    if len(rest) > 1:
        return command.fail(f"unexpected argument {rest[1]!r}; flags look like --workdir=DIR", 2)
    if not workdir.value or config.value is None:
        return command.fail("give --config=configs/tampering_map.py and --workdir=DIR", 2)
    return _train(config.value, pathlib.Path(workdir.value))


def _train(config: Any, workdir: pathlib.Path) -> int:
    with command.imports(__name__, "train"):
        from exif_jax.training.distributed import Preempted
        from exif_jax.training.map_loop import train_map
    try:
        train_map(config, workdir)
    except Preempted as e:
        print(f"{e}: the same command goes on from there", file=sys.stderr)
        return 128 + signal.SIGTERM
    except ExifJaxError as e:
        return command.fail(e)
    except OSError as e:
        return command.fail(f"{e.filename or workdir}: {e.strerror or e}")
    return 0


def run() -> None:
    """The console script."""
    keep_freed_memory()
    command.run(main, results_are_printed=False, quick=False)


if __name__ == "__main__":
    run()
