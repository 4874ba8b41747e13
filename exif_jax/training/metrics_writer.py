"""Metrics to the console, a JSONL file, TensorBoard (by tensorboardX) and Weights & Biases."""

from __future__ import annotations

import math
import pathlib
import sys
from typing import Any

import numpy as np
from PIL import Image

from exif_jax.io import jsonl
from exif_jax.io.atomic import write_bytes
from exif_jax.io.errors import ExifJaxError


class MetricsError(ExifJaxError):
    """Metrics cannot be written, or a package is missing; the message says what to do."""


class MetricsWriter:
    """Appends one row a call to `metrics.jsonl`, which is in the file when the call returns.

    JSON knows no NaN and no infinity: such a value, as a skipped step has, is null in the file.
    Of several processes only the first writes and prints.

    Args:
        workdir: where the files go.
        first_step: a resumed run starts here. Rows that a killed run wrote for later steps are
            dropped, and what it measured at this step is not written again, so that the file
            holds every row once.
        silent: of a process that is not the first.
        wandb_project: of Weights & Biases, which a run then reports to as well; "" for none. The
            run's name there is kept in WORKDIR/wandb_run, so that a resumed run goes on in it.
        settings: the run's config, for Weights & Biases.

    Raises:
        MetricsError: wandb is asked for and not installed, or `metrics.jsonl` cannot be written.
    """

    def __init__(
        self,
        workdir: pathlib.Path,
        first_step: int,
        silent: bool = False,
        wandb_project: str = "",
        settings: dict[str, Any] | None = None,
    ):
        self._silent, self._board, self._wandb = silent, None, None
        if silent:
            return
        if wandb_project:
            self._wandb = _begin_wandb(workdir, wandb_project, settings)
        self._path = workdir / "metrics.jsonl"
        self._written = _keep_rows_up_to(self._path, first_step)
        try:
            from tensorboardX import SummaryWriter

            self._board = SummaryWriter(str(workdir / "tensorboard"), purge_step=first_step + 1)
        except ImportError:
            pass

    def write(self, step: int, metrics: dict[str, float], note: str = "") -> None:
        """Writes scalars under `step`; `note` is printed on the console after them."""
        if self._silent:
            return
        if (step, *metrics) not in self._written:
            try:
                jsonl.append_rows(self._path, [_as_json({"step": step, **metrics})])
            except OSError as e:
                raise MetricsError(
                    f"{self._path}: cannot write ({e.strerror or e}); make room or give write "
                    "access, then run the same command again"
                ) from e
            if self._board:
                for name, value in metrics.items():
                    self._board.add_scalar(name, value, step)
            if self._wandb:
                self._wandb.log(metrics | {"step": step})
        # Single tags ("validation/tag_accuracy/Make") are for the files.
        printed = {name: value for name, value in metrics.items() if name.count("/") < 2}
        figures = "  ".join(f"{name} {value:.4g}" for name, value in printed.items())
        print(f"step {step:>7}  {figures}  {note}".rstrip(), file=sys.stderr, flush=True)

    def picture(self, step: int, name: str, picture: Image.Image) -> None:
        """Shows a picture under `step`, where there is something to show it in."""
        if self._board:
            self._board.add_image(name, np.asarray(picture), step, dataformats="HWC")
        if self._wandb:
            import wandb  # type: ignore[reportMissingImports]

            self._wandb.log({name: wandb.Image(picture), "step": step})

    def close(self) -> None:
        """Ends all that is written to; the run at Weights & Biases counts as finished."""
        if self._board:
            self._board.close()
        if self._wandb:
            self._wandb.finish()


def _begin_wandb(workdir: pathlib.Path, project: str, settings: dict[str, Any] | None):
    try:
        import wandb  # type: ignore[reportMissingImports]
    except ImportError as e:
        raise MetricsError(
            f"config.train.wandb_project is {project!r} and Weights & Biases is not installed: "
            "pip install 'exif-jax[wandb]', or leave the project out"
        ) from e
    kept = workdir / "wandb_run"
    run = wandb.init(
        project=project,
        dir=str(workdir),
        config=settings,
        id=kept.read_text().strip() if kept.exists() else None,
        resume="allow",
    )
    write_bytes(kept, f"{run.id}\n".encode())
    run.define_metric("*", step_metric="step")
    return run


def _keep_rows_up_to(path: pathlib.Path, last_step: int) -> set[tuple]:
    """Drops later and damaged rows; returns (step, names of the metrics) of those kept."""
    kept = {}
    for row in jsonl.read_rows(path):
        step = row.get("step")
        if isinstance(step, int) and step <= last_step:
            kept[(step, *(name for name in row if name != "step"))] = _as_json(row)
    if path.exists():
        jsonl.rewrite(path, kept.values())
    return set(kept)


def _as_json(row: dict[str, Any]) -> dict[str, Any]:
    """The row with null for every number that JSON does not know."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in row.items()
    }
