"""Pages that the system hands out while a compiled program with much scratch memory runs."""

import platform
import subprocess
import sys

import pytest

from exif_jax.training.host_memory import keep_freed_memory

_FAULTS_OF_CALLS = """
import resource, sys
from exif_jax.training.host_memory import keep_freed_memory
print(keep_freed_memory() if sys.argv[1] == "kept" else False)
import jax
import jax.numpy as jnp
@jax.jit
def total(x):
    scratch = jax.lax.optimization_barrier(3.0 * x)
    return (scratch[::-1] * scratch).sum()
x = jnp.ones(20_000_000)
counts = []
for _ in range(12):  # each thread that allocates has a heap of its own, which finds its size
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    total(x).block_until_ready()
    counts.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(min(counts))
"""


def faults(kind: str) -> tuple[str, int]:
    """What the call said, and the faults of the call of the program that had the fewest."""
    done = subprocess.run(
        [sys.executable, "-c", _FAULTS_OF_CALLS, kind], capture_output=True, text=True, check=True
    )
    said, count = done.stdout.split()
    return said, int(count)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_scratch_memory_is_not_taken_from_the_system_at_every_call():
    given, usual = faults("given back")
    said, kept = faults("kept")
    if said == "False":
        pytest.skip("this machine has an accelerator")
    assert (given, said) == ("False", "True")
    assert usual > 80_000_000 // 4096  # at least one array of scratch at every call
    assert kept < usual / 20


def test_another_c_library_is_left_alone(monkeypatch):
    class Musl:
        """A C library without glibc's names."""

    monkeypatch.setattr("ctypes.CDLL", lambda name: Musl())
    assert not keep_freed_memory()


def test_with_an_accelerator_nothing_is_changed(monkeypatch):
    monkeypatch.setattr(
        "glob.glob", lambda pattern: ["/dev/nvidia0"] if "nvidia" in pattern else []
    )
    monkeypatch.setattr("ctypes.CDLL", lambda name: pytest.fail("the allocator was touched"))
    assert not keep_freed_memory()
