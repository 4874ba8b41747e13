"""Random numbers that are the same bits on every machine."""

import numpy as np
import pytest

from data_prep.simulation.exact_random import ExactRandom, rounded


def test_the_stream_is_what_it_was():
    rng = ExactRandom(1, 2)
    assert [rng.integers(1000) for _ in range(4)] == [448, 430, 419, 277]
    assert rng.random().hex() == "0x1.a4d1bab99f72dp-1"
    assert ExactRandom(1, 3).random() != ExactRandom(1, 2).random() == ExactRandom(1, 2).random()


def test_whole_numbers_are_even_and_within_their_bounds():
    rng = ExactRandom(5)
    drawn = rng.integers(-3, 4, size=(70, 100))
    assert drawn.shape == (70, 100) and drawn.dtype == np.int64
    counts = np.bincount(drawn.ravel() + 3)
    assert len(counts) == 7 and np.abs(counts - 1000).max() < 150
    assert {rng.integers(2) for _ in range(50)} == {0, 1}
    same = ExactRandom(5)
    assert [same.integers(-3, 4) for _ in range(50)] == drawn.ravel()[:50].tolist()


def test_normal_numbers_are_nearly_normal():
    drawn = ExactRandom(6).normal((400, 500))
    assert drawn.shape == (400, 500)
    assert drawn.mean() == pytest.approx(0, abs=0.01) and drawn.std() == pytest.approx(1, abs=0.01)
    assert (drawn**4).mean() == pytest.approx(2.85, abs=0.05)
    assert 3.8 < np.abs(drawn).max() < 4.89
    as_float32 = ExactRandom(6).standard_normal((400, 500), dtype=np.float32)
    np.testing.assert_array_equal(as_float32, drawn.astype(np.float32))
    assert ExactRandom(6).normal() == drawn[0, 0]


def test_choices_follow_their_shares():
    rng = ExactRandom(7)
    names = [str(rng.choice(["a", "b", "c"], p=[0.1, 0.2, 0.7])) for _ in range(3000)]
    assert [names.count(name) / 3000 for name in "abc"] == pytest.approx([0.1, 0.2, 0.7], abs=0.03)
    assert {rng.choice([1.5, 2.5]).item() for _ in range(40)} == {1.5, 2.5}
    # Shares that add up to a hair less than 1 still choose one.
    assert {str(rng.choice(["a", "b"], p=[0.0, 0.0])) for _ in range(3)} == {"b"}
    assert 2 <= rng.uniform(2, 3) < 3


def test_rounded_takes_the_last_digits_away():
    values = np.exp(ExactRandom(8).normal(10_000))
    grid = rounded(values, 2.0**-12)
    assert np.abs(grid - values).max() <= 2.0**-13
    np.testing.assert_array_equal(grid * 4096, np.rint(grid * 4096))
    np.testing.assert_array_equal(rounded(values * (1 + 1e-14), 2.0**-12), grid)
