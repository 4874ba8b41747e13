"""What Windows lacks is done without: the package imports and localises where it is taken away."""

import json
import subprocess
import sys

import numpy as np
from PIL import Image
from stand_in import tiny_release

# Other libraries are imported first: those for Windows have their own ways around.
WITHOUT_POSIX = """
import os, pathlib, signal, sys, types
import flax, jax, numpy, PIL.Image, tqdm, {libraries}
for name in ("fcntl", "resource", "grp", "pwd", "termios"):
    sys.modules[name] = None
windows = types.ModuleType("msvcrt")
windows.LK_NBLCK, windows.locking = 2, lambda descriptor, mode, num_bytes: None
sys.modules["msvcrt"] = windows
for name in ("pread", "fork", "register_at_fork", "sched_getaffinity", "geteuid", "mkfifo"):
    delattr(os, name)
for name in ("O_NONBLOCK", "O_DIRECTORY", "O_NOFOLLOW"):
    delattr(os, name)
for name in ("SIGKILL", "SIGHUP", "SIGUSR1"):
    delattr(signal, name)
"""
LOCALIZE = """
from exif_jax import localize
sys.exit(localize.main(sys.argv[1:]))
"""
IMPORT_ALL = """
import importlib
OPTIONAL = ("apache_beam", "array_record", "tensorflow", "tensorflow_datasets")
root = pathlib.Path(sys.argv[1])
for package in ("exif_jax", "data_prep"):
    for path in sorted((root / package).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as error:  # an extra that is not installed here
            if error.name.partition(".")[0] not in OPTIONAL:
                raise
"""


def start(code, *words, libraries="safetensors"):
    code = WITHOUT_POSIX.format(libraries=libraries) + code
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, timeout=240
    )


def test_a_folder_is_localized(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (70, 90, 3), dtype=np.uint8)
    for name in ("a.png", "b.jpg"):
        Image.fromarray(image).save(tmp_path / name)
    model, out = tiny_release(tmp_path / "model.safetensors"), tmp_path / "out"
    for _ in range(2):
        done = start(LOCALIZE, tmp_path, "--model", model, "--output", out, "--report")
        assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (out / "results.jsonl").read_bytes().splitlines()]
    assert [row["status"] for row in rows] == ["done", "done"]


def test_every_module_can_be_imported(request):
    libraries = "absl.app, aiohttp, fsspec, optax, orbax.checkpoint, scipy, sklearn, tensorboardX"
    done = start(IMPORT_ALL, request.config.rootpath, libraries=libraries)
    assert done.returncode == 0, done.stderr
