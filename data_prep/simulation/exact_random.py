"""Random numbers that are the same bits on every machine, for what must be made again exactly.

NumPy guarantees the raw stream of PCG64 for good, but not what its Generator makes of it, and
logarithms and exponentials differ in their last digit between processors. Here everything comes
from whole numbers of the raw stream by operations that IEEE 754 defines to the last bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

# Mean and standard deviation of the sum of eight bytes.
_BYTES_MEAN, _BYTES_STD = 8 * 255 / 2, (8 * (256**2 - 1) / 12) ** 0.5


class ExactRandom:
    """Stands in for `numpy.random.Generator` where simulated cameras and photos are drawn.

    Its methods are called as the Generator's of the same names, as far as they are needed here.

    Args:
      *key: Whole numbers that name the stream, at least 0.
    """

    def __init__(self, *key: int):
        self._bits = np.random.PCG64(key)

    def random(self) -> float:
        """A number in [0, 1), a multiple of 2^-53."""
        return (int(self._bits.random_raw()) >> 11) * 2.0**-53

    def uniform(self, low: float, high: float) -> float:
        """A number from `low` to `high`."""
        return low + (high - low) * self.random()

    def integers(self, low: int, high: int | None = None, size: Any = None) -> Any:
        """Whole numbers from `low`, or 0 where there is no `high`, to below the other; int64.

        Args:
          low, high: Fewer than 2^32 apart.
          size: Of an array, or None for one Python int.
        """
        first, count = (0, low) if high is None else (low, high - low)
        if size is None:
            return first + ((int(self._bits.random_raw()) >> 32) * count >> 32)
        raw = self._bits.random_raw(int(np.prod(size)))
        scaled = (raw >> np.uint64(32)) * np.uint64(count) >> np.uint64(32)
        return first + scaled.astype(np.int64).reshape(size)

    def choice(self, options: Sequence[Any], p: Sequence[float] | None = None) -> Any:
        """One of the options, as a NumPy scalar; `p`: how probable each is."""
        if p is None:
            return np.asarray(options)[self.integers(len(options))]
        drawn, total = self.random(), 0.0
        for number, share in enumerate(p):
            total += share
            if drawn < total:
                return np.asarray(options)[number]
        return np.asarray(options)[len(options) - 1]  # the shares add up to a little less than 1

    def normal(self, size: Any = None) -> Any:
        """Nearly normal numbers, mean 0 and deviation 1, no farther than 4.88: float64.

        Each is the sum of eight bytes, scaled; the fourth moment is 2.85 and not 3.
        """
        if size is None:
            return float(self.normal(1)[0])
        raw = self._bits.random_raw(int(np.prod(size)))
        # The order of the bytes does not matter to their sum.
        total = raw.view(np.uint8).reshape(-1, 8).sum(axis=1, dtype=np.int64)
        return ((total - _BYTES_MEAN) / _BYTES_STD).reshape(size)

    def standard_normal(self, size: Any, dtype: Any = np.float32) -> np.ndarray:
        """`normal` in another type."""
        return self.normal(size).astype(dtype)


def rounded(values: Any, grain: float) -> Any:
    """Multiples of `grain`, a power of two, nearest to the values; float64.

    What a logarithm, a sine or a Fourier transform gives is rounded so before it is used: machines
    differ in the sixteenth digit, and agree on one far before it.
    """
    return np.rint(np.asarray(values, np.float64) * (1 / grain)) * grain
