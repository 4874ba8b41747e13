"""The parameters of a model as a tree: nested dicts of arrays, and the paths of its leaves.

A leaf's path joins the keys that lead to it by "/", as in "image/stack/norm/scale". Frozen parts
of a config, tensors of release files and messages name leaves by these paths.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flax import traverse_util

Params = dict[str, Any]
BATCH_STATS = ("mean", "var")  # last keys of the leaves that batch norms set without a gradient
_MAX_NAMED = 6  # tensors that a message names of each kind


def flatten_params(params: Params) -> dict[str, Any]:
    """Returns the leaves of a tree by their paths."""
    return traverse_util.flatten_dict(params, sep="/")


def unflatten_params(flat: dict[str, Any]) -> Params:
    """Returns the tree whose leaves have these paths; the reverse of `flatten_params`."""
    return traverse_util.unflatten_dict(flat, sep="/")


def is_batch_stat(path: str) -> bool:
    """Whether the leaf at a path is a running statistic of a batch norm."""
    return path.rsplit("/", 1)[-1] in BATCH_STATS


def update_batch_stats(params: Params, batch_stats: Params) -> Params:
    """Returns the parameters with these running statistics in place of their own.

    Args:
        params: all parameters of a model.
        batch_stats: the part of the same tree that `apply_training` returns; {} changes nothing.
    """
    return unflatten_params(flatten_params(params) | flatten_params(batch_stats))


def shape_mismatch(expected: dict[str, Any], given: dict[str, Any]) -> str:
    """Returns in words how the shapes of parameters differ from those expected; "" where equal.

    Args:
        expected: arrays or `jax.ShapeDtypeStruct` by path, as the configuration has them.
        given: arrays by path, as a file has them.
    """
    reshaped = [
        f"{path} {given[path].shape} instead of {expected[path].shape}"
        for path in sorted(expected.keys() & given.keys())
        if given[path].shape != expected[path].shape
    ]
    names = name_mismatch(expected.keys() - given.keys(), given.keys() - expected.keys())
    shapes = f"of another shape: {_listed(reshaped)}" if reshaped else ""
    return "; ".join(part for part in (names, shapes) if part)


def name_mismatch(missing: Iterable[str], unexpected: Iterable[str]) -> str:
    """Returns in words which tensors of a file are missing or unexpected; "" where none are."""
    problems = {"missing": sorted(missing), "unexpected": sorted(unexpected)}
    return "; ".join(f"{problem}: {_listed(names)}" for problem, names in problems.items() if names)


def _listed(names: list[str]) -> str:
    rest = len(names) - _MAX_NAMED
    return ", ".join(names[:_MAX_NAMED]) + (f" and {rest} more" if rest > 0 else "")
