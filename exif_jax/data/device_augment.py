"""`augment.augment` for whole batches inside a jitted step: the host only cuts squares and counts.

`augment` does to a batch what `packing.pack` says, in the order of `augment.augment` and with its
results: equal to the byte, but for noise, which comes from a key and the patch's number in the
batch. The regions of a small set may lie on the device for good (config.data.device_cache); then it
cuts the squares as well.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from exif_jax.data.augment import FILTERS
from exif_jax.data.filtering import FilterNumbers, add_noise, apply_filter, filter_numbers
from exif_jax.data.jpeg import compress_planes
from exif_jax.data.packing import MARGIN, NO_JPEG
from exif_jax.data.resample import Weights, resample

# Patches at a time: on a CPU as many as its caches hold.
_CHUNK, _CHUNK_CPU = 256, 8


def augment(
    regions: jax.Array,
    packed: dict[str, jax.Array],
    key: jax.Array,
    size: int,
    square: int = 0,
    chunk: int = 0,
) -> jax.Array:
    """Makes patches of regions; pure, to be called under `jax.jit`.

    Args:
        regions: uint8 [n, R, R, 3], the squares that `pack` cut; or, where it was given records,
            [N, H, W, 3], all regions of the set.
        packed: what else `pack` gives, stacked to [n, ...]; with noise also row uint32 [n], the
            patches' numbers in the whole batch.
        key: of the batch; noise alone comes from it.
        size: S, side of a patch.
        square: R, side of the squares to cut here; of squares that `pack` cut, nothing.
        chunk: patches at a time, which changes no result; 0: what suits the device. It bounds
            memory, and a step that no patch of a chunk takes is not computed for it.

    Returns:
        uint8 [n, S, S, 3].
    """
    chunk = chunk or (_CHUNK_CPU if jax.default_backend() == "cpu" else _CHUNK)
    n = len(packed["side"])
    chunk = next(k for k in range(min(chunk, n), 0, -1) if n % k == 0)

    def make(x):
        squares, packed = x
        if "record" in packed:
            squares = cut_squares(regions, packed["record"], packed["corner"], square)
        return _augment_chunk(squares, packed, key, size)

    sent = None if "record" in packed else regions
    chunks = jax.tree.map(lambda x: x.reshape(-1, chunk, *x.shape[1:]), (sent, packed))
    patches = jax.lax.map(make, chunks)
    return patches.reshape(-1, *patches.shape[2:])


def cut_squares(regions: jax.Array, record: jax.Array, corner: jax.Array, square: int) -> jax.Array:
    """Cuts squares out of regions; beyond a region's edge they are black.

    Args:
        regions: uint8 [N, H, W, 3], H and W at least `square`.
        record: int32 [n], which region.
        corner: int32 [n, 2], row and column where the square begins.
        square: its side R.

    Returns:
        uint8 [n, R, R, 3].
    """
    number, height, width, _ = regions.shape
    lines = regions.reshape(number * height, width * 3)
    last = jnp.array((height - square, width - square))
    room = ((0, square), (0, 3 * square))

    def cut(place):
        record, corner = place
        # A slice that does not fit is moved until it does; moved back, it leaves black behind.
        first = jnp.minimum(corner, last)
        start = (record * height + first[0], 3 * first[1])
        picture = jax.lax.dynamic_slice(lines, start, (square, 3 * square))
        down, across = corner - first

        def moved_back(picture):
            start = (down, 3 * across)
            return jax.lax.dynamic_slice(jnp.pad(picture, room), start, (square, 3 * square))

        return jax.lax.cond((down > 0) | (across > 0), moved_back, lambda x: x, picture)

    # One after another a CPU copies whole lines; all at once it would gather byte by byte.
    places = (record, corner)
    one_by_one = jax.default_backend() == "cpu"
    squares = jax.lax.map(cut, places) if one_by_one else jax.vmap(cut)(places)
    return squares.reshape(-1, square, square, 3)


def sharded_augment(
    mesh: Mesh,
    regions: jax.Array,
    packed: dict[str, jax.Array],
    key: jax.Array,
    size: int,
    square: int = 0,
    chunk: int = 0,
) -> jax.Array:
    """`augment` of a batch that is split over all devices of a mesh, each its own part.

    Where all regions of the set are given, every device has them all.
    """
    split = P(mesh.axis_names)
    return jax.shard_map(
        functools.partial(augment, size=size, square=square, chunk=chunk),
        mesh=mesh,
        in_specs=(P() if "record" in packed else split, split, P()),
        out_specs=split,
        check_vma=False,  # the conditions of `augment` differ from device to device
    )(regions, packed, key)


def _augment_chunk(
    regions: jax.Array, packed: dict[str, jax.Array], key: jax.Array, size: int
) -> jax.Array:
    def finish(large: int, regions: jax.Array, packed: dict[str, jax.Array]) -> jax.Array:
        return _save(_make(regions, packed, large), packed, key, size)

    largest = packed["resize_start"].shape[1] - MARGIN
    if largest == size:
        return finish(size, regions, packed)
    # Seldom is a batch shrunk, and then its patches are up to four times as large before.
    return jax.lax.cond(
        jnp.any(packed["large"] > size),
        functools.partial(finish, largest),
        functools.partial(finish, size),
        regions,
        packed,
    )


def _make(regions: jax.Array, packed: dict[str, jax.Array], large: int) -> jax.Array:
    """Photos' patches before post-processing: int32 [n, 3, large, large]."""
    canvas = large + MARGIN
    resize = Weights(packed["resize_start"][:, :canvas], packed["resize_weight"][:, :canvas])
    planes = resample(jnp.moveaxis(regions, 3, 1), resize, resize)
    sides = jnp.stack([packed["side"]] * 2, axis=1)
    if "filter" in packed:
        planes = jax.lax.cond(
            jnp.any(packed["filter"] != 0),
            lambda planes: apply_filter(planes, _filters(packed["filter"]), sides),
            lambda planes: planes,
            planes,
        )
    planes = _compress(planes, packed, 0, sides)

    def cut(picture, offset):
        return jax.lax.dynamic_slice(picture, (0, offset[0], offset[1]), (3, large, large))

    return jax.vmap(cut)(planes, packed["offset"])


def _save(planes: jax.Array, packed: dict[str, jax.Array], key: jax.Array, size: int) -> jax.Array:
    """Post-processing; returns uint8 [n, size, size, 3]."""
    if "shrink_start" in packed:
        shrink = Weights(packed["shrink_start"], packed["shrink_weight"])
        planes = resample(planes, shrink, shrink)
    if "noise" in packed:
        planes = jax.lax.cond(
            jnp.any(packed["noise"] != 0),
            lambda planes: add_noise(planes, packed["noise"], key, packed["row"]),
            lambda planes: planes,
            planes,
        )
    sides = jnp.full((len(planes), 2), size, jnp.int32)
    planes = _compress(planes, packed, 1, sides)
    return jnp.moveaxis(planes, 1, 3).astype(jnp.uint8)


def _compress(
    planes: jax.Array, packed: dict[str, jax.Array], which: int, sides: jax.Array
) -> jax.Array:
    """The first or the second compression, of those that take it."""
    tables, subsampling = packed["jpeg_tables"][:, which], packed["jpeg_subsampling"][:, which]
    taken = subsampling != NO_JPEG

    def compress(planes):
        compressed = compress_planes(planes, tables, subsampling, sides)
        return jnp.where(taken[:, None, None, None], compressed, planes)

    return jax.lax.cond(jnp.any(taken), compress, lambda planes: planes, planes)


def _filters(number: jax.Array) -> FilterNumbers:
    table = [filter_numbers(None), *map(filter_numbers, FILTERS.values())]
    columns = (np.stack(column) for column in zip(*table, strict=True))
    return FilterNumbers(*(jnp.asarray(column)[number] for column in columns))
