"""Trees of parameters: their paths, their running statistics, and shapes that do not fit."""

import jax
import numpy as np
from tiny_model import random_params

from exif_jax.models.parameters import (
    flatten_params,
    is_batch_stat,
    name_mismatch,
    shape_mismatch,
    unflatten_params,
    update_batch_stats,
)


def test_a_tree_comes_back_from_its_paths():
    params = random_params()
    flat = flatten_params(params)
    assert "image/stack/blocks/mlp1/kernel" in flat and "log_scale" in flat
    assert len(flat) == len(jax.tree.leaves(params))
    jax.tree.map(np.testing.assert_array_equal, unflatten_params(flat), params)


def test_batch_stats_replace_their_like_and_nothing_else():
    params = {"norm": {"mean": 1, "var": 2, "scale": 3}, "meanwhile": {"bias": 4}}
    updated = update_batch_stats(params, {"norm": {"mean": 5, "var": 6}})
    assert updated == {"norm": {"mean": 5, "var": 6, "scale": 3}, "meanwhile": {"bias": 4}}
    assert params["norm"]["mean"] == 1
    assert update_batch_stats(params, {}) == params
    assert [is_batch_stat(path) for path in flatten_params(params)] == [True, True, False, False]


def test_a_mismatch_names_each_tensor_and_both_shapes():
    expected = {"a": np.zeros((2, 3)), "b": np.zeros(4), "c": jax.ShapeDtypeStruct((5,), "float32")}
    assert shape_mismatch(expected, {"a": np.ones((2, 3)), "b": np.ones(4), "c": np.ones(5)}) == ""
    given = {"a": np.zeros((3, 2)), "c": np.zeros(5), "d": np.zeros(1)}
    assert shape_mismatch(expected, given) == (
        "missing: b; unexpected: d; of another shape: a (3, 2) instead of (2, 3)"
    )


def test_many_names_are_counted():
    message = name_mismatch(missing=[], unexpected=[f"tensor{i}" for i in range(9)])
    assert message.startswith("unexpected: tensor0, tensor1") and message.endswith(" and 3 more")
