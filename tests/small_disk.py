"""Disks that are full or read-only, for root as well, who may write to any folder."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


@contextlib.contextmanager
def tmpfs(folder: Path, options: str) -> Iterator[None]:
    """A disk in memory, mounted at `folder`; the test is skipped where nothing can be mounted."""
    folder.mkdir()
    line = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if os.geteuid():
        pytest.skip("mounting a small tmpfs needs root")
    done = subprocess.run(line, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"this machine lets root mount no tmpfs: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """`folder`, made so that nobody may write to it."""
    if not hasattr(os, "geteuid"):
        pytest.skip("Windows has no mode that keeps its owner from writing")
    if os.geteuid() == 0:
        with tmpfs(folder, "ro"):
            yield
    else:
        folder.mkdir(mode=0o555)
        yield
