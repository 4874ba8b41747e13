"""The memory of the process, where the CPU itself is the device that computes."""

from __future__ import annotations

import ctypes
import glob

# Of glibc's mallopt(3): M_TRIM_THRESHOLD, M_MMAP_MAX and M_ARENA_MAX.
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8
_LARGEST = 2**31 - 1  # bytes: the option is an int


def keep_freed_memory() -> bool:
    """Has the allocator keep what is freed, for the next step of training.

    XLA asks for the scratch memory of a compiled program at every call on a CPU: half a gigabyte
    for a step of the small ViT. glibc takes so large a piece fresh from the system and gives it
    back at once, and the system zeroes each of its pages at the first touch, which was a fifth of
    the step's time. Must be called before JAX starts its threads: each would have an arena of its
    own, which cannot hold such pieces.

    Returns:
        Whether it was done: not with a GPU or a TPU, where scratch memory is the device's, and
        not with another C library than glibc.
    """
    accelerators = ("/dev/nvidia[0-9]*", "/dev/kfd", "/dev/accel*", "/dev/vfio/[0-9]*")
    if any(glob.glob(pattern) for pattern in accelerators):
        return False
    try:
        libc = ctypes.CDLL(None)
        libc.gnu_get_libc_version  # noqa: B018  # there with glibc only
        mallopt = libc.mallopt
    except (OSError, AttributeError, TypeError):  # TypeError: CDLL(None) on Windows
        return False
    options = {_ARENA_MAX: 1, _MMAP_MAX: 0, _TRIM_THRESHOLD: _LARGEST}
    return all(mallopt(option, value) == 1 for option, value in options.items())
