"""A fork of a process that computes with JAX: its threads are gone, and it would wait for ever."""

from __future__ import annotations

import os
import sys

from exif_jax.io.errors import ExifJaxError

_cut_off_from_threads = False


class ForkError(ExifJaxError):
    """This process was forked after JAX had started its threads; the message names the cure."""


def refuse_after_fork() -> None:
    """Raises ForkError in a process that was forked from one in which JAX had started."""
    if _cut_off_from_threads:
        raise ForkError(
            "this process was forked from one that had used JAX already, and would hang; start "
            'worker processes with multiprocessing.get_context("spawn"), or fork before the first '
            "photo"
        )


def _note_fork() -> None:
    global _cut_off_from_threads
    bridge = sys.modules.get("jax._src.xla_bridge")
    if bridge is not None:
        # JAX has no public way to ask this; should the name go away, any fork counts.
        started = getattr(bridge, "backends_are_initialized", lambda: True)
        _cut_off_from_threads = started()


if hasattr(os, "register_at_fork"):  # Windows knows no fork
    os.register_at_fork(after_in_child=_note_fork)
