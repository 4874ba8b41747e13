"""requirements-light.txt holds all packages that the commands on photos import."""

import importlib.metadata
import json
import pathlib
import re
import subprocess
import sys

import pytest
from PIL import Image
from stand_in import spliced, tiny_release

LISTED = pathlib.Path(__file__).parents[1] / "requirements-light.txt"

# Import packages of distributions that are not listed are not there: their import fails.
LOCALIZE = """
import importlib.machinery, importlib.metadata, json, re, sys
listed = set(json.loads(sys.argv[1]))
def key(name):
    return re.sub("[-_.]+", "-", name).lower()
homes = importlib.metadata.packages_distributions()
unlisted = {top for top, names in homes.items()
            if not {key(name) for name in names} & listed and top != "exif_jax"}
finder = importlib.machinery.PathFinder
find_spec = finder.find_spec
finder.find_spec = lambda name, path=None, target=None: (
    None if name.partition(".")[0] in unlisted else find_spec(name, path, target))
from exif_jax import localize, serve, verify
assert "orbax" in unlisted and "tensorstore" in unlisted
sys.exit(localize.main(sys.argv[2:]))
"""


def listed():
    lines = LISTED.read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


@pytest.mark.slow
def test_nothing_else_is_needed_for_a_photo(tmp_path):
    Image.fromarray(spliced()[0]).save(tmp_path / "a.png")
    model = tiny_release(tmp_path / "m.safetensors")
    words = [str(tmp_path / "a.png"), "--model", str(model), "--report"]
    done = subprocess.run(
        [sys.executable, "-c", LOCALIZE, json.dumps(listed()), *words, "--output", str(tmp_path)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a.html").stat().st_size


def test_it_lists_what_the_listed_ones_ask_for():
    # But for what Flax asks for and only training uses, and what JAX brings besides.
    left_out = {"orbax-checkpoint", "orbax-export", "tensorstore", "etils"}
    for name in listed():
        for wanted in importlib.metadata.requires(name) or []:
            plain = re.sub("[-_.]+", "-", re.match(r"[\w.-]+", wanted)[0]).lower()
            if ";" not in wanted:
                assert plain in {*listed(), *left_out}, f"{name} asks for {plain}"
