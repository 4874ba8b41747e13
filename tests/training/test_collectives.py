"""What a training step sends between devices: what the algorithm needs and nothing else."""

import functools

import jax
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from tiny_model import tiny_config

from benchmarks.collectives import collectives, compile_step, least_bytes
from exif_jax.training import sharding
from exif_jax.training.step_config import StepConfig

# Deep enough that the image encoder's blocks are a loop in the compiled program.
MODEL = tiny_config(image={"depth": 7, "width": 32, "mlp_dim": 64})
EMBEDDINGS_DTYPE_BYTES = 4

pytestmark = pytest.mark.skipif(jax.device_count() < 8, reason="needs 8 devices")


def sent_in_a_step(devices: int, fsdp: int, chunk: int, batch_size: int):
    mesh = sharding.make_mesh(-1, fsdp, jax.devices()[:devices])
    step_config = StepConfig(MODEL, optax.adam(1e-3), mesh, image_weight=1.0, loss_chunk=chunk)
    compiled, state = compile_step(step_config, mesh, batch_size, patches_per_text=2)
    in_step = collectives(compiled.as_text(), devices)
    least = least_bytes(state, mesh, MODEL.embed_dim, batch_size, 2, 4)
    return in_step, least


def total(in_step, *kinds: str) -> float:
    return sum(c.sent for c in in_step if not kinds or c.kind in kinds)


@pytest.mark.parametrize("devices", [2, 8])
@pytest.mark.parametrize("chunk", [0, 16])
def test_gradients_are_summed_once_and_embeddings_gathered_once(devices, chunk):
    in_step, least = sent_in_a_step(devices, 1, chunk, batch_size=64)
    assert {c.kind for c in in_step} <= {"all-reduce", "all-gather", "reduce-scatter"}
    # The rest: ids, metrics, and in the plain loss softmax sums.
    rest = 64 * 40 + 4096
    assert sum(least.values()) * 0.98 <= total(in_step) <= sum(least.values()) * 1.02 + rest
    rows = 64 + 32
    gathered = rows * MODEL.embed_dim * EMBEDDINGS_DTYPE_BYTES * (devices - 1) / devices
    if chunk:
        assert gathered <= total(in_step, "all-gather") <= gathered + 4 * rows


@pytest.mark.parametrize("fsdp", [2, 4])
def test_with_fsdp_parameters_travel_and_activations_do_not(fsdp, monkeypatch):
    monkeypatch.setattr(sharding, "MIN_SHARDED_SIZE", 256)
    few, _ = sent_in_a_step(8, fsdp, 16, batch_size=64)
    many, least = sent_in_a_step(8, fsdp, 16, batch_size=256)
    assert {c.kind for c in many} <= {"all-reduce", "all-gather", "reduce-scatter"}
    # Four times the batch: four times the embeddings and the four bytes of an id, nothing else.
    rows = (256 - 64) * 3 / 2
    assert total(many) - total(few) <= (1 - 64 / 256) * least["embeddings"] + 2 * 4 * rows
    # A block's gradients are summed before they are split: at most once more over fsdp.
    assert total(many) <= sum(least.values()) + least["parameters"] + 256 * 40 + 4096


def test_what_grows_with_devices_is_only_the_rings_share():
    sent = {n: total(sent_in_a_step(n, 1, 16, batch_size=64)[0]) for n in (2, 4, 8)}
    for n in (4, 8):
        assert sent[n] <= sent[2] * 2 * (n - 1) / n * 1.02 + 4096


def test_a_resharding_would_be_seen():
    mesh = sharding.make_mesh(-1, 1)
    rows, columns = (NamedSharding(mesh, spec) for spec in (P("data"), P(None, "data")))
    x = jax.ShapeDtypeStruct((64, 64), np.float32)
    step = jax.jit(lambda x: x + 1, in_shardings=rows, out_shardings=columns)
    (one,) = collectives(step.lower(x).compile().as_text(), 8)
    assert one.kind == "all-to-all" and one.group == 8


def test_a_loop_counts_as_often_as_it_runs():
    mesh = sharding.make_mesh(-1, 1)
    whole = sharding.replicated(mesh)

    def step(x):
        def body(x, _):
            return jax.lax.with_sharding_constraint(jax.numpy.tanh(x @ x.T @ x), whole), None

        return jax.lax.scan(body, x, length=5)[0]

    split = NamedSharding(mesh, P(None, "data"))
    run = jax.jit(functools.partial(step), in_shardings=split, out_shardings=split)
    x = jax.ShapeDtypeStruct((16, 64), np.float32)
    in_step = collectives(run.lower(x).compile().as_text(), 8)
    assert any(c.times in (4, 5) for c in in_step)
    # Of 8 devices each sends 7/8 of an array for gathering it and twice that for a sum.
    for c in in_step:
        share = 2 * 7 / 8 if c.kind == "all-reduce" else 7 / 8
        assert c.sent == c.times * c.array_bytes * share
