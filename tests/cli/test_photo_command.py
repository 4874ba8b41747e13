"""Where commands keep what XLA compiled for them."""

import os
import subprocess
import sys

import pytest

ASK = """
import jax
from exif_jax import command
command.keep_compiled()
print(jax.config.jax_compilation_cache_dir)
"""


def kept(**environment: str) -> str:
    """The folder, as a process with this environment sees it."""
    names = ("JAX_COMPILATION_CACHE_DIR", "XDG_CACHE_HOME")
    inherited = {k: v for k, v in os.environ.items() if k not in names}
    done = subprocess.run(
        [sys.executable, "-c", ASK], env=inherited | environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_users_cache_folder_keeps_it_apart_by_processor(tmp_path):
    folder = kept(XDG_CACHE_HOME=str(tmp_path))
    assert folder == kept(XDG_CACHE_HOME=str(tmp_path))
    ((name, mode),) = [(p.name, p.stat().st_mode) for p in (tmp_path / "exif-jax").iterdir()]
    assert folder == str(tmp_path / "exif-jax" / name) and len(name) == 12
    assert mode & 0o077 == 0  # machine code that others could write would be run


@pytest.mark.parametrize("place", ["", "elsewhere"])
def test_the_environment_decides_where_it_does(tmp_path, place):
    folder = str(tmp_path / place) if place else ""
    found = kept(XDG_CACHE_HOME=str(tmp_path), JAX_COMPILATION_CACHE_DIR=folder)
    assert found == (folder or "None") or found == folder
    assert not (tmp_path / "exif-jax").exists()


def test_a_folder_that_cannot_be_made_is_done_without(tmp_path):
    (tmp_path / "file").write_text("")
    assert kept(XDG_CACHE_HOME=str(tmp_path / "file")) == "None"
