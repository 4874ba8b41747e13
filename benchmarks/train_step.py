"""How fast a training step runs here: `python -m benchmarks.train_step --config configs/vit_b.py`.

Prints pairs/s and TFLOP/s of the step on random input, beside the matmul peak of the same device
measured in the same run. Floating-point operations are the model's matrix products, counted by
hand: 2 x multiply-adds, three times for forward and backward. No input pipeline, no recomputation.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import time

import jax
import jax.numpy as jnp

from benchmarks.machine import image_flops, matmul_peak, median_seconds, text_flops
from exif_jax import train_state
from exif_jax.optim import make_optimizer
from exif_jax.train import make_model_config


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--config", default="configs/vit_ti_cpu.py")
    parser.add_argument("--batch-size", type=int, help="default: the config's")
    parser.add_argument("--dtype", help="default: the config's")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    config = load_config(args.config)
    batch_size = args.batch_size or config.train.batch_size
    dtype = args.dtype or config.train.dtype
    model = make_model_config(config, vocab_size=2048)
    tx = make_optimizer(config.optim, 1000)
    state = jax.jit(functools.partial(train_state.init, model, tx))(jax.random.key(0))
    step = jax.jit(
        functools.partial(train_state.train_step, model, tx, dtype, 0.0), donate_argnums=0
    )
    batch = random_batch(model, batch_size)
    started = time.perf_counter()
    compiled = step.lower(state, batch).compile()
    compile_s = time.perf_counter() - started

    def run():
        nonlocal state
        state, _ = compiled(state, batch)
        return state

    seconds = median_seconds(run, args.repeats)
    rate = batch_size * model_flops(model) / seconds
    peak = matmul_peak(dtype)
    print(f"device          {jax.devices()[0].device_kind}, {dtype}, jax {jax.__version__}")
    print(f"parameters      {sum(x.size for x in jax.tree.leaves(state.params)):,}")
    print(f"batch           {batch_size} pairs, {model_flops(model) / 1e9:.2f} GFLOP a pair")
    print(f"compile         {compile_s:.1f} s")
    print(f"step            {seconds * 1e3:.1f} ms, {batch_size / seconds:.1f} pairs/s")
    print(f"rate            {rate / 1e12:.3f} TFLOP/s, {rate / peak:.0%} of the matmul peak")
    print(f"matmul peak     {peak / 1e12:.3f} TFLOP/s (4096 x 4096 x 4096)")


def load_config(path: str):
    spec = importlib.util.spec_from_file_location("config", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config()


def random_batch(model, batch_size: int) -> dict[str, jax.Array]:
    S, L = model.image.image_size, model.text.max_length
    keys = jax.random.split(jax.random.key(1), 2)
    return {
        "image": jax.random.randint(keys[0], (batch_size, S, S, 3), 0, 256).astype(jnp.uint8),
        "tokens": jax.random.randint(keys[1], (batch_size, L), 2, model.text.vocab_size),
        "token_mask": jnp.ones((batch_size, L), bool),
        "text_id": jnp.arange(batch_size, dtype=jnp.uint32),
    }


def model_flops(model) -> float:
    """Forward and backward FLOPs of one pair."""
    return 3.0 * (image_flops(model.image) + text_flops(model.text))


if __name__ == "__main__":
    main()
