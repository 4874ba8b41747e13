"""Settings of every test: the CPU, several emulated devices, and strict array shapes."""

import os
import pathlib
import sys
import tempfile

import pytest

# Test modules share helpers across folders.
sys.path += [str(p) for p in pathlib.Path(__file__).parent.rglob("*") if p.is_dir()]

# All tests and the commands that they start share one cache of compiled code, which ends with the
# session: they compile the same small steps again and again, for far longer than they compute, so
# that the compiler may leave the code slow. Workers of xdist inherit it.
if "PYTEST_XDIST_WORKER" not in os.environ:
    _compiled = tempfile.TemporaryDirectory()
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _compiled.name
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.2"
    os.environ["XLA_FLAGS"] = " ".join(
        (
            "--xla_backend_optimization_level=0",
            "--xla_llvm_disable_expensive_passes=true",
            "--xla_cpu_use_fusion_emitters=false",  # a train step compiles in a third of the time
            os.environ.get("XLA_FLAGS", ""),
        )
    )

import jax

# The suite passes on any number of devices; EXIF_JAX_TEST_DEVICES=1 tries the single-device path.
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", int(os.environ.get("EXIF_JAX_TEST_DEVICES", "8")))
jax.config.update("jax_numpy_rank_promotion", "raise")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips on Windows what uses signals, file modes and the like that it lacks."""
    if os.name != "posix":
        for item in items:
            if item.get_closest_marker("posix"):
                item.add_marker(pytest.mark.skip(reason="needs a POSIX system"))


@pytest.fixture(scope="session")
def real_photos() -> pathlib.Path:
    """The folder of real photos that EXIF_JAX_PHOTOS names; skips where it is not set.

    A folder that is not there is a mistake, and fails: skipped, it would pass for tested.
    """
    name = os.environ.get("EXIF_JAX_PHOTOS")
    if not name:
        pytest.skip("EXIF_JAX_PHOTOS is not set")
    missing = [part for part in ("train", "splices") if not pathlib.Path(name, part).is_dir()]
    if missing:
        pytest.fail(f"EXIF_JAX_PHOTOS={name}: no folder {' and '.join(missing)} in it")
    return pathlib.Path(name)
