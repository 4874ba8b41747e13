"""One mesh, the rules that place arrays on it, and the way from a host's batch to the devices.

Everything runs under `jax.jit` with `NamedSharding`: the compiler inserts the collectives. The
rules, all of them:

| array                                                | along "data"  | along "fsdp"              |
|------------------------------------------------------|---------------|---------------------------|
| batch: patches, tokens, ids                          | first axis    | first axis                |
| parameters, their average, the optimiser's moments:  |               |                           |
| of at least MIN_SHARDED_SIZE elements                | copied        | largest axis that divides |
| smaller, or with no axis that divides                | copied        | copied                    |
| metrics                                              | copied        | copied                    |

There is no axis for tensor parallelism: docs/scaling.md has the arithmetic why it would not pay.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from exif_jax.io.errors import ExifJaxError

# Below this many elements a parameter costs more to gather than it saves in memory.
MIN_SHARDED_SIZE = 2**16


class MeshError(ExifJaxError):
    """The mesh or the batch does not fit the devices that are there."""


def make_mesh(data: int, fsdp: int, devices: Sequence[Any] | None = None) -> Mesh:
    """A mesh of data x fsdp devices; data = -1 takes all devices that fsdp leaves.

    Neighbours along "fsdp", which talk the most, are neighbours in the machine. Where devices form
    several slices of a TPU, or several hosts of GPUs, "fsdp" stays within one and only "data"
    crosses the slower network between them.

    Args:
        data, fsdp: sizes of the axes.
        devices: those of this program where None.

    Raises:
        MeshError: the devices do not divide so.
    """
    devices = jax.devices() if devices is None else devices
    number = len(devices)
    if fsdp < 1 or number % fsdp or data not in (-1, number // fsdp):
        raise MeshError(
            f"mesh data={data}, fsdp={fsdp} does not fit the {number} device(s) found: "
            f"their product must be {number}; data=-1 takes what fsdp leaves"
        )
    data = number // fsdp
    slices = len({getattr(device, "slice_index", 0) for device in devices})
    if slices > 1:
        if data % slices:
            raise MeshError(
                f"mesh data={data}, fsdp={fsdp}: fsdp would cross the network between the {slices} "
                f"slices of {number // slices} devices; choose an fsdp that divides "
                f"{number // slices}"
            )
        grid = mesh_utils.create_hybrid_device_mesh(
            (data // slices, fsdp), (slices, 1), devices, allow_split_physical_axes=True
        )
    else:
        grid = mesh_utils.create_device_mesh((data, fsdp), devices, allow_split_physical_axes=True)
    return Mesh(grid, ("data", "fsdp"), axis_types=(AxisType.Auto, AxisType.Auto))


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """The first axis is split over all devices."""
    return NamedSharding(mesh, P(("data", "fsdp")))


def replicated(mesh: Mesh) -> NamedSharding:
    """Every device has a copy."""
    return NamedSharding(mesh, P())


def state_shardings(mesh: Mesh, state: Any) -> Any:
    """Shardings for a tree of arrays or shapes.

    An array of at least MIN_SHARDED_SIZE elements is split over "fsdp" along its largest axis
    that divides; everything else is replicated.
    """
    fsdp = mesh.shape["fsdp"]

    def rule(x) -> NamedSharding:
        if fsdp > 1 and x.size >= MIN_SHARDED_SIZE:
            for axis in np.argsort(x.shape)[::-1]:
                if x.shape[axis] % fsdp == 0:
                    spec = [None] * x.ndim
                    spec[int(axis)] = "fsdp"
                    return NamedSharding(mesh, P(*spec))
        return replicated(mesh)

    return jax.tree.map(rule, state)


def check_batch(mesh: Mesh, batch_size: int) -> None:
    """Raises MeshError where the global batch cannot be split evenly."""
    if batch_size < 1 or batch_size % mesh.size:
        raise MeshError(
            f"batch_size {batch_size} does not divide over {mesh.size} devices: "
            f"choose a multiple of {mesh.size}"
        )


def to_device(mesh: Mesh, batch: dict[str, np.ndarray]) -> dict[str, jax.Array]:
    """This process's rows of a batch to global arrays split over the mesh."""
    sharding = batch_sharding(mesh)
    return {k: jax.make_array_from_process_local_data(sharding, v) for k, v in batch.items()}
