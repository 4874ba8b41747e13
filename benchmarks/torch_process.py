"""Steps of PyTorch at call, from the process of `benchmarks/torch_step.py`.

One step at a time, so that steps of both frameworks can take turns: on a machine that others use as
well, two timings are worth comparing only where they lie side by side.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any


class TorchFailed(RuntimeError):
    """PyTorch's process ended; what it said stands on the standard error."""


class TorchSteps:
    """A process that takes steps in PyTorch, one at each call; a context manager.

    It compiles and warms up on its own; the first call waits for that.

    Args:
        model: a model's configuration as nested dicts, as `config_to_dict` gives it.
        step: the keyword arguments of `make_step`, without the model's.
    """

    def __init__(self, model: Mapping[str, Any], step: Mapping[str, Any]):
        options = json.dumps([dict(model), dict(step)])
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.torch_step", options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._is_ready = False

    def __enter__(self) -> TorchSteps:
        return self

    def __exit__(self, *_) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._process.communicate()

    def wait(self) -> None:
        """Waits until it has compiled and warmed up.

        Raises:
            TorchFailed: it ended.
        """
        if not self._is_ready:
            self._answer()
            self._is_ready = True

    def __call__(self) -> tuple[float, float]:
        """Takes a step; returns its seconds and the seconds of all cores.

        Raises:
            TorchFailed: the process ended.
        """
        self.wait()
        assert self._process.stdin
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write("step\n")
            self._process.stdin.flush()
        seconds, cpu_seconds = self._answer()
        return seconds, cpu_seconds

    def _answer(self) -> list[float]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise TorchFailed(f"PyTorch's step ended with {self._process.wait()}")
        return json.loads(line)
