"""Metrics to the console, to a JSONL file and, where tensorboardX is installed, to TensorBoard."""

from __future__ import annotations

import json
import pathlib
import sys

from exif_jax.atomic import write_bytes


class MetricsWriter:
    """Appends one JSON object a call to `metrics.jsonl`, flushed at once.

    Of several processes only the first writes and prints.

    Args:
        workdir: where the files go.
        first_step: a resumed run starts here. Rows that a killed run wrote for later steps are
            dropped, and what it measured at this step is not written again, so that the file
            holds every row once.
    """

    def __init__(self, workdir: pathlib.Path, first_step: int, silent: bool = False):
        self._silent, self._board = silent, None
        if silent:
            return
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
        shown = "  ".join(f"{name} {value:.4g}" for name, value in metrics.items())
        print(f"step {step:>7}  {shown}  {note}".rstrip(), file=sys.stderr, flush=True)

    def close(self) -> None:
        if not self._silent:
            self._file.close()
        if self._board:
            self._board.close()


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
