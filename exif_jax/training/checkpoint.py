"""Checkpoints of the training state. The only file that knows orbax."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import sys
from collections.abc import Iterator
from typing import Any

import jax
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from exif_jax.io.errors import ExifJaxError

MAKE_ROOM = "make room and run the same command again"


class CheckpointError(ExifJaxError):
    """A checkpoint could not be written or read; the message says where, why and what to do."""


class Checkpoints:
    """Asynchronous checkpoints in one folder; use it as a context manager.

    Each is written aside and renamed when it is whole, so that a killed process leaves the one
    before. The next call reports the failure of an asynchronous write. All methods raise
    CheckpointError.
    """

    def __init__(
        self, directory: pathlib.Path, keep: int | None, keep_step: int | None = None
    ) -> None:
        """Opens the folder, which is made where it is missing.

        Args:
            directory: where the checkpoints lie.
            keep: how many of the newest stay; None to read only, as beside a running process.
            keep_step: a step whose checkpoint stays too.
        """
        self._directory, self._read_only = directory, keep is None
        if keep is None:
            options = ocp.CheckpointManagerOptions(read_only=True)
        else:
            policies = ocp.checkpoint_managers
            policy = policies.AnyPreservationPolicy(
                [policies.LatestN(keep), _PreserveStep(keep_step)]
            )
            options = ocp.CheckpointManagerOptions(preservation_policy=policy, create=True)
        self._manager = ocp.CheckpointManager(directory.absolute(), options=options)

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, kind, *_) -> None:
        try:
            with self._explained("write", MAKE_ROOM):
                try:
                    self._manager.wait_until_finished()
                finally:
                    self._manager.close()  # may raise the same failure again
        except CheckpointError:
            if kind is None:  # otherwise the error that brought us here says more
                raise

    @contextlib.contextmanager
    def _explained(self, verb: str, cure: str) -> Iterator[None]:
        try:
            yield
        except Exception as e:  # TensorStore and the file system fail in many ways
            newest = self._manager.latest_step()
            raise CheckpointError(
                f"{self._directory}: cannot {verb} a checkpoint ({_one_line(e)}); the newest whole "
                f"one is of step {newest}: {cure}"
            ) from e

    def save(self, step: int, state: Any) -> None:
        """Starts writing `state` (a pytree of arrays); returns once it is copied to the host."""
        if step != self._manager.latest_step():
            with self._explained("write", MAKE_ROOM):
                self._manager.save(step, args=ocp.args.StandardSave(state))

    def latest_step(self) -> int | None:
        """The step of the newest checkpoint; None where there is none."""
        return self._manager.latest_step()

    def restore(self, like: Any, shardings: Any) -> Any:
        """The newest checkpoint that can be read, laid out by `shardings`, whatever wrote it.

        A damaged one is passed over for the one before, which is said on stderr, and put beside
        the folder as `damaged-checkpoint-STEP`, so that its step can be saved again.

        Args:
            like: a tree of arrays or shapes with the structure to restore.
            shardings: a tree of shardings of the same structure.
        """
        target = jax.tree.map(
            lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), like, shardings
        )
        steps = sorted(self._manager.all_steps(), reverse=True)
        with self._explained("read", "is it of this model?"):
            for k, step in enumerate(steps):
                try:
                    state = self._manager.restore(step, args=ocp.args.StandardRestore(target))
                except Exception as e:  # as above
                    if step == steps[-1]:
                        raise
                    print(
                        f"{self._directory}: the checkpoint of step {step} is damaged "
                        f"({_one_line(e)}); going on from step {steps[k + 1]}",
                        file=sys.stderr,
                    )
                else:
                    self._put_aside(steps[:k])
                    return state
        raise CheckpointError(f"{self._directory}: holds no checkpoint")

    def _put_aside(self, steps: list[int]) -> None:
        """Moves damaged checkpoints out of the folder; nothing is deleted."""
        if not steps or self._read_only:
            return
        if jax.process_index() == 0:
            for step in steps:
                aside = self._directory.parent / f"damaged-checkpoint-{step}"
                shutil.rmtree(aside, ignore_errors=True)
                os.replace(self._directory / str(step), aside)
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices("damaged checkpoints put aside")
        self._manager.reload()


class _PreserveStep:
    """A policy of orbax: the checkpoint of a step stays."""

    def __init__(self, step: int | None) -> None:
        self._step = step

    def should_preserve(self, checkpoints, *, context) -> list[bool]:
        del context
        return [checkpoint.step == self._step for checkpoint in checkpoints]


def saved_steps(directory: pathlib.Path) -> list[int]:
    """The steps of the whole checkpoints in a folder, oldest first; [] where there is no folder."""
    if not directory.is_dir():
        return []
    return sorted(int(path.name) for path in directory.iterdir() if path.name.isdigit())


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
