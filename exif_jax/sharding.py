"""One mesh, the rules that place arrays on it, and the way from a host's batch to the devices.

Everything runs under `jax.jit` with `NamedSharding`: the compiler inserts the collectives. The
mesh has two axes. Both split the batch; "fsdp" also splits parameters and optimiser state.
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

# Below this many elements a parameter costs more to gather than it saves in memory.
MIN_SHARDED_SIZE = 2**16


class MeshError(ValueError):
    """The mesh or the batch does not fit the devices that are there."""


def make_mesh(data: int, fsdp: int) -> Mesh:
    """A mesh of data x fsdp devices; data = -1 takes all devices that fsdp leaves.

    Raises:
        MeshError: the devices do not divide so.
    """
    devices = jax.device_count()
    if fsdp < 1 or devices % fsdp or data not in (-1, devices // fsdp):
        raise MeshError(
            f"mesh data={data}, fsdp={fsdp} does not fit the {devices} device(s) found: "
            f"their product must be {devices}; data=-1 takes what fsdp leaves"
        )
    shape = (devices // fsdp, fsdp)
    return jax.make_mesh(shape, ("data", "fsdp"), axis_types=(AxisType.Auto, AxisType.Auto))


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """The first axis is split over all devices."""
    return NamedSharding(mesh, P(("data", "fsdp")))


def replicated(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, P())


def state_sharding(mesh: Mesh, state: Any) -> Any:
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
