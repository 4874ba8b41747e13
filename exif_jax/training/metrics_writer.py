"""Metrics to the console, a JSONL file, TensorBoard (by tensorboardX) and Weights & Biases."""

from __future__ import annotations

import json
import pathlib
import sys
from typing import Any

import numpy as np
from PIL import Image

from exif_jax.io.atomic import write_bytes
from exif_jax.io.errors import ExifJaxError


class MetricsError(ExifJaxError):
    """What was asked for is not installed; the message says what to install."""


class MetricsWriter:
    """Appends one JSON object a call to `metrics.jsonl`, flushed at once.

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
        MetricsError: wandb is asked for and not installed.
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
        path = workdir / "metrics.jsonl"
        self._written = _keep_rows_up_to(path, first_step)
        self._file = path.open("a", encoding="utf-8")
        try:
            from tensorboardX import SummaryWriter

            self._board = SummaryWriter(str(workdir / "tensorboard"), purge_step=first_step + 1)
        except ImportError:
            pass

    def write(self, step: int, metrics: dict[str, float], note: str = "") -> None:
        """Writes scalars under `step`; `note` is printed on the console after them."""
        if self._silent:
            return
        row = {"step": step, **metrics}
        if (step, *metrics) not in self._written:
            self._file.write(json.dumps(row) + "\n")
            self._file.flush()
            if self._board:
                for name, value in metrics.items():
                    self._board.add_scalar(name, value, step)
            if self._wandb:
                self._wandb.log(metrics | {"step": step})
        # Single tags ("validation/tag_accuracy/Make") are for the files.
        told = {name: value for name, value in metrics.items() if name.count("/") < 2}
        shown = "  ".join(f"{name} {value:.4g}" for name, value in told.items())
        print(f"step {step:>7}  {shown}  {note}".rstrip(), file=sys.stderr, flush=True)

    def picture(self, step: int, name: str, picture: Image.Image) -> None:
        """Shows a picture under `step`, where there is something to show it in."""
        if self._board:
            self._board.add_image(name, np.asarray(picture), step, dataformats="HWC")
        if self._wandb:
            import wandb  # type: ignore[reportMissingImports]

            self._wandb.log({name: wandb.Image(picture), "step": step})

    def close(self) -> None:
        """Ends all that is written to; the run at Weights & Biases counts as finished."""
        if not self._silent:
            self._file.close()
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
    if not path.exists():
        return set()
    kept = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
            if row["step"] <= last_step:
                kept[(row.pop("step"), *row)] = line + "\n"
        except (ValueError, KeyError, TypeError):
            continue  # a row that a killed run left half-written
    write_bytes(path, "".join(kept.values()).encode())
    return set(kept)
