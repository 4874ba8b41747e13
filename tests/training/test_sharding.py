"""The mesh, what it refuses, and where arrays go."""

import re

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh
from jax.sharding import PartitionSpec as P

from exif_jax.training import sharding

DEVICES = jax.device_count()


def fsdp_mesh(fsdp: int) -> Mesh:
    if DEVICES % fsdp:
        pytest.skip(f"needs a multiple of {fsdp} devices, there are {DEVICES}")
    return sharding.make_mesh(-1, fsdp)


@pytest.mark.parametrize("fsdp", [1, 2, 4, 8])
def test_a_mesh_takes_all_devices(fsdp):
    mesh = fsdp_mesh(fsdp)
    assert dict(mesh.shape) == {"data": DEVICES // fsdp, "fsdp": fsdp}
    assert set(mesh.axis_types) == {AxisType.Auto}
    assert sharding.make_mesh(DEVICES // fsdp, fsdp) == mesh


@pytest.mark.parametrize(
    ("data", "fsdp"),
    [(-1, DEVICES + 1), (-1, 0), (-1, -1), (DEVICES + 1, 1), (0, 1), (-2, 1), (DEVICES, 2)],
)
def test_an_impossible_mesh_is_explained(data, fsdp):
    words = f"mesh data={data}, fsdp={fsdp} does not fit the {DEVICES} device"
    with pytest.raises(sharding.MeshError, match=re.escape(words)) as error:
        sharding.make_mesh(data, fsdp)
    assert f"must be {DEVICES}" in str(error.value)


class Chip:
    """A device of a slice, as far as laying out a mesh needs to know it."""

    platform, device_kind = "gpu", "made up"

    def __init__(self, number: int, slices: int, of: int):
        self.id, self.slice_index = number, number * slices // of
        self.process_index = self.slice_index

    def __repr__(self):
        return f"{self.id}@{self.slice_index}"


@pytest.mark.parametrize("fsdp", [1, 2, 4])
def test_only_the_data_axis_crosses_between_slices(fsdp, monkeypatch):
    chips = [Chip(k, 2, 8) for k in np.random.default_rng(fsdp).permutation(8)]
    monkeypatch.setattr(sharding, "Mesh", lambda grid, names, axis_types: grid)
    grid = sharding.make_mesh(-1, fsdp, chips)
    assert grid.shape == (8 // fsdp, fsdp)
    assert sorted(chip.id for chip in grid.flat) == list(range(8))
    for row in grid:
        assert len({chip.slice_index for chip in row}) == 1
    # Half of the rows on each slice, in one stretch.
    order = [row[0].slice_index for row in grid]
    assert order == sorted(order) and order.count(0) == len(order) / 2


def test_an_fsdp_axis_that_crosses_between_slices_is_refused():
    chips = [Chip(k, 2, 8) for k in range(8)]
    with pytest.raises(sharding.MeshError, match="cross the network between the 2 slices of 4"):
        sharding.make_mesh(-1, 8, chips)


@pytest.mark.parametrize("batch_size", [0, -DEVICES, DEVICES + 1, 2 * DEVICES - 1])
def test_a_batch_that_does_not_divide_is_explained(batch_size):
    if batch_size > 0 and DEVICES == 1:
        pytest.skip("every batch divides over one device")
    with pytest.raises(sharding.MeshError, match=f"choose a multiple of {DEVICES}"):
        sharding.check_batch(sharding.make_mesh(-1, 1), batch_size)


@pytest.mark.parametrize("multiple", [1, 3])
def test_a_batch_that_divides_passes(multiple):
    sharding.check_batch(sharding.make_mesh(-1, 1), multiple * DEVICES)


def spec(mesh, *shape) -> P:
    x = jax.ShapeDtypeStruct(shape, np.float32)
    return sharding.state_shardings(mesh, {"x": x})["x"].spec


@pytest.mark.parametrize("fsdp", [2, 4, 8])
def test_large_arrays_are_split_and_small_ones_copied(fsdp):
    mesh = fsdp_mesh(fsdp)
    size = sharding.MIN_SHARDED_SIZE
    assert spec(mesh, size) == P("fsdp")
    assert spec(mesh, size - 8) == P()
    assert spec(mesh) == P()
    # Along the largest axis that divides; none that divides: copied.
    assert spec(mesh, 12, 256, 1024) == P(None, None, "fsdp")
    assert spec(mesh, 1024, 257) == P("fsdp", None)
    assert spec(mesh, 256, 1025) == P("fsdp", None)
    assert spec(mesh, 257, 1025) == P()


def test_without_fsdp_everything_is_copied():
    assert spec(sharding.make_mesh(-1, 1), 4096, 4096) == P()


@pytest.mark.parametrize("fsdp", [1, 2])
def test_a_batch_is_split_over_all_devices_in_order(fsdp):
    mesh = fsdp_mesh(fsdp)
    batch = {
        "image": np.random.default_rng(0).integers(0, 256, (2 * DEVICES, 4, 4, 3), dtype=np.uint8),
        "text_id": np.arange(2 * DEVICES, dtype=np.uint32),
    }
    placed = sharding.to_device(mesh, batch)
    for name, x in placed.items():
        assert x.dtype == batch[name].dtype
        assert {s.data.shape[0] for s in x.addressable_shards} == {2}
        assert len(x.addressable_shards) == DEVICES
        np.testing.assert_array_equal(x, batch[name])
