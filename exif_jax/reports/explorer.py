"""The data behind the report's affinity explorer: what its script needs to compute cosines.

Embeddings are sent in few components of 16 bits, so that a page stays small and a pointer's
movement needs one small matrix product in the browser.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import numpy as np

from exif_jax.forensics.patches import Grid
from exif_jax.reports.render import upright

if TYPE_CHECKING:
    from exif_jax.forensics.result import Localization

_MOST_COMPONENTS = 64
_LEFT_OUT = 0.004  # of a patch's squared length, which bounds the error of a cosine


def explorer_data(localization: Localization, turn: int) -> dict[str, Any]:
    """What the script needs to compute cosines and to lay patches over the upright photo."""
    grid = localization.grid
    coded, unit = quantised(localization.embeddings)
    turned = upright(coded.reshape(grid.rows, grid.columns, -1), turn)
    rows, columns = turned.shape[:2]
    stride, patch = grid.stride, grid.patch
    edge = (patch - stride) / 2
    cells = turned_box(grid, turn, edge, edge, grid.rows * stride, grid.columns * stride)
    down, across = (grid.rows - 1) * stride + patch, (grid.columns - 1) * stride + patch
    covered = turned_box(grid, turn, 0, 0, down, across)
    height, width = (grid.height, grid.width) if turn < 5 else (grid.width, grid.height)
    return {
        "rows": rows,
        "columns": columns,
        "components": turned.shape[2],
        "unit": unit,
        "embeddings": base64.b64encode(np.ascontiguousarray(turned, "<i2").tobytes()).decode(),
        "cells": cells,
        "patches": [*covered[:2], patch / width, patch / height],
        "step": [stride / width, stride / height],
    }


def turned_box(grid: Grid, turn: int, y: float, x: float, height: float, width: float):
    """A box of the stored photo as [x, y, width, height], shares of the upright one."""
    top, left, bottom, right = y, x, grid.height - y - height, grid.width - x - width
    full_height, full_width = float(grid.height), float(grid.width)
    if turn in (5, 6, 7, 8):
        top, left, bottom, right = left, top, right, bottom
        full_height, full_width = full_width, full_height
    if turn in (3, 4, 7, 8):
        top, bottom = bottom, top
    if turn in (2, 3, 6, 7):
        left, right = right, left
    tall, wide = full_height - top - bottom, full_width - left - right
    return [left / full_width, top / full_height, wide / full_width, tall / full_height]


def quantised(z_PxD: np.ndarray) -> tuple[np.ndarray, float]:
    """Embeddings in few numbers of 16 bits, for cosines good to about 0.01.

    Args:
        z_PxD: unit rows.

    Returns:
        int16 [P, K] and the unit: the product of two rows times the square of the unit is near
        their cosine. K is the fewest main directions that keep all but 0.4 % of every patch's
        squared length, at most 64.
    """
    z = np.asarray(z_PxD, np.float64)
    vectors = np.linalg.eigh(z.T @ z)[1]
    places = z @ vectors[:, ::-1][:, :_MOST_COMPONENTS]
    kept = np.cumsum(np.square(places), axis=1).min(axis=0)
    count = (
        1 + int(np.searchsorted(kept, 1 - _LEFT_OUT)) if kept[-1] >= 1 - _LEFT_OUT else len(kept)
    )
    # Rows are scaled back to length 1, which halves the error of what is left out.
    places = places[:, :count]
    places /= np.maximum(np.linalg.norm(places, axis=1, keepdims=True), 1e-12)
    unit = 1 / 32000
    return np.round(places / unit).astype(np.int16), unit
