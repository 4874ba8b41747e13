"""Checkpoints of the training state. The only file that knows orbax."""

from __future__ import annotations

import pathlib
from typing import Any

import jax
import orbax.checkpoint as ocp


class Checkpoints:
    """Asynchronous checkpoints in one folder; use it as a context manager.

    Each is written aside and renamed when whole, so a killed process leaves the one before.
    """

    def __init__(self, directory: pathlib.Path, keep: int):
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, create=True)
        self._manager = ocp.CheckpointManager(directory.absolute(), options=options)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._manager.wait_until_finished()
        self._manager.close()

    def save(self, step: int, state: Any) -> None:
        """Starts writing `state` (a pytree of arrays); returns once it is copied to the host."""
        if step != self._manager.latest_step():
            self._manager.save(step, args=ocp.args.StandardSave(state))

    def latest_step(self) -> int | None:
        return self._manager.latest_step()

    def restore(self, like: Any, shardings: Any) -> Any:
        """The newest checkpoint, laid out by `shardings`, whatever devices wrote it.

        Args:
            like: a tree of arrays or shapes with the structure to restore.
            shardings: a tree of shardings of the same structure.
        """
        target = jax.tree.map(
            lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), like, shardings
        )
        return self._manager.restore(
            self._manager.latest_step(), args=ocp.args.StandardRestore(target)
        )
