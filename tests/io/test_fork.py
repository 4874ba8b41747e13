"""A forked child of a process that has used JAX is refused instead of hanging."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the system knows no fork")

FORK = """
import os, sys, warnings
warnings.simplefilter("ignore")
import exif_jax.api, jax
from exif_jax.io.errors import ExifJaxError
{before}
child = os.fork()
if child == 0:
    try:
        exif_jax.api.resolve_model("no such file")
    except ExifJaxError as error:
        os._exit(3 if "forked" in str(error) and "spawn" in str(error) else 4)
    os._exit(5)
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
try:
    exif_jax.api.resolve_model("no such file")
except ExifJaxError as error:  # the parent itself goes on
    assert "forked" not in str(error)
sys.exit(status)
"""


@pytest.mark.parametrize(
    ("before", "refused"), [("jax.numpy.zeros(3).block_until_ready()", True), ("", False)]
)
def test_a_child_is_refused_once_jax_has_started(before, refused):
    done = subprocess.run(
        [sys.executable, "-c", FORK.format(before=before)], capture_output=True, timeout=120
    )
    assert done.returncode == (3 if refused else 4), done.stderr.decode()


def test_a_child_that_localizes_raises_and_does_not_hang():
    code = (
        "import multiprocessing, sys, warnings\n"
        "warnings.simplefilter('ignore')\n"
        "import numpy as np, exif_jax\n"
        "def localize(image): return exif_jax.localize_photo(image).score\n"
        "image = np.random.default_rng(0).integers(0, 256, (130, 140, 3), dtype=np.uint8)\n"
        "localize(image)\n"
        "with multiprocessing.get_context('fork').Pool(1) as pool:\n"
        "    try: pool.map(localize, [image])\n"
        "    except Exception as error: print(type(error).__name__)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=200)
    assert done.stdout == "ForkError\n", done.stderr
