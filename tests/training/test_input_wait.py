"""What counts as waiting for input: only time in which no step is being computed."""

import contextlib
import threading
import time

import jax
import pytest

from exif_jax.training import input_wait
from exif_jax.training.input_wait import InputWait


class World:
    """A clock that is set by hand, and steps that end when they are told to."""

    def __init__(self):
        self.now, self.ends = 0.0, threading.Event()

    def wait_for_end(self, results):
        assert self.ends.wait(60)


@pytest.fixture
def world(monkeypatch):
    world = World()
    monkeypatch.setattr(input_wait.time, "monotonic", lambda: world.now)
    monkeypatch.setattr(jax, "block_until_ready", world.wait_for_end)
    yield world
    world.ends.set()


def ends_at(world, waits, seconds):
    """The step that is being computed ends at some time."""
    world.now = seconds
    world.ends.set()
    waits._ended.result(60)


def test_the_first_batch_is_waited_for(world):
    def batches():
        world.now = 3.0
        yield "a"

    with contextlib.closing(InputWait(batches())) as waits:
        assert waits.next_batch() == "a"
        assert waits.seconds == 3


def test_time_in_which_a_step_is_computed_is_not_counted(world):
    def batches():
        for seconds in (0.0, 7.0):
            world.now = seconds
            yield seconds

    with contextlib.closing(InputWait(batches())) as waits:
        waits.next_batch()
        waits.computing("a step")
        assert waits.next_batch() == 7  # there before the step ends
        assert waits.seconds == 0
        world.ends.set()


@pytest.mark.parametrize(("asked", "counted"), [(2.0, 4.0), (6.0, 3.0)])
def test_what_passes_after_the_last_step_is_counted(world, asked, counted):
    """The step ends at 5, the batch comes at 9: idle since 5, or since it was asked for."""

    def batches():
        yield 0
        if not world.ends.is_set():
            ends_at(world, waits, 5.0)
        world.now = 9.0
        yield 1

    with contextlib.closing(InputWait(batches())) as waits:
        waits.next_batch()
        waits.computing("a step")
        if asked > 5:
            ends_at(world, waits, 5.0)
        world.now = asked
        waits.next_batch()
        assert waits.seconds == counted
        waits.seconds = 0.0  # counting begins anew
        world.now = 9.5
        with pytest.raises(StopIteration):
            waits.next_batch()
        assert waits.seconds == 0


def test_real_steps_are_watched():
    with contextlib.closing(InputWait(iter((1, 2)))) as waits:
        start = time.monotonic()
        result = jax.jit(lambda x: x + 1)(waits.next_batch())
        waits.computing(result)
        assert waits._ended is not None and waits._ended.result(60) >= start
        assert waits.next_batch() == 2 and waits.seconds >= 0
