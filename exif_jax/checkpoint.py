"""Checkpoints of the training state. The only file that knows orbax."""

from __future__ import annotations

import contextlib
import pathlib
from typing import Any

import jax
import orbax.checkpoint as ocp


class CheckpointError(Exception):
    """A checkpoint could not be written or read; the message says where, why and what to do."""


class Checkpoints:
    """Asynchronous checkpoints in one folder; use it as a context manager.

    All methods raise CheckpointError. A failed asynchronous write is told by the next call.

    Each is written aside and renamed when whole, so a killed process leaves the one before.
    """

    def __init__(self, directory: pathlib.Path, keep: int | None):
        """`keep` is how many of the newest stay; None to read only, as beside a running process."""
        self._directory = directory
        if keep is None:
            options = ocp.CheckpointManagerOptions(read_only=True)
        else:
            options = ocp.CheckpointManagerOptions(max_to_keep=keep, create=True)
        self._manager = ocp.CheckpointManager(directory.absolute(), options=options)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        try:
            with self._explained("write", "make room and run the same command again"):
                self._manager.wait_until_finished()
        except CheckpointError:
            if kind is None:  # otherwise the error that brought us here says more
                raise
        finally:
            self._manager.close()

    @contextlib.contextmanager
    def _explained(self, verb: str, cure: str):
        try:
            yield
        except Exception as e:  # TensorStore and the file system fail in many ways
            cause = " ".join(str(e).split())[:300]
            newest = self._manager.latest_step()
            raise CheckpointError(
                f"{self._directory}: cannot {verb} a checkpoint ({cause}); the newest whole one "
                f"is of step {newest}: {cure}"
            ) from e

    def save(self, step: int, state: Any) -> None:
        """Starts writing `state` (a pytree of arrays); returns once it is copied to the host."""
        if step != self._manager.latest_step():
            with self._explained("write", "make room and run the same command again"):
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
        with self._explained("read", "move its folder away to go on from the one before"):
            return self._manager.restore(
                self._manager.latest_step(), args=ocp.args.StandardRestore(target)
            )
