"""What the machine can do and what the models cost: the floors that benchmarks stand beside."""

from __future__ import annotations

import importlib.util
import time

import jax
import jax.numpy as jnp

from exif_jax.models.resnet import ResNetConfig
from exif_jax.models.text import TextConfig
from exif_jax.models.vit import ViTConfig


def median_seconds(run, repeats: int) -> float:
    """Median wall time of calls after a warm-up."""
    jax.block_until_ready(run())
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        jax.block_until_ready(run())
        times.append(time.perf_counter() - started)
    return sorted(times)[len(times) // 2]


def matmul_peak(dtype: str, n: int = 4096) -> float:
    """FLOP/s of a large matrix product of random numbers."""
    a, b = (jax.random.normal(key, (n, n), dtype) for key in jax.random.split(jax.random.key(2)))
    product = jax.jit(jnp.matmul)
    return 2 * n**3 / median_seconds(lambda: product(a, b), 5)


def bandwidth(megabytes: int = 256) -> float:
    """Bytes per second of adding 1 to an array: what is read and what is written."""
    x = jnp.zeros(megabytes << 18, jnp.float32)
    add = jax.jit(lambda x: x + 1)
    return 2 * x.nbytes / median_seconds(lambda: add(x), 5)


def image_flops(c: ViTConfig | ResNetConfig) -> float:
    """Forward FLOPs of one patch, 2 for each multiplication; norms and softmax left out."""
    if isinstance(c, ResNetConfig):
        return _resnet_flops(c)
    return _transformer_flops(c, c.num_tokens) + 2 * c.num_tokens * 3 * c.token_size**2 * c.width


def text_flops(c: TextConfig) -> float:
    """Forward FLOPs of one text of full length."""
    return _transformer_flops(c, c.max_length)


def _transformer_flops(c, tokens: int) -> float:
    per_token = 4 * c.width**2 + 2 * c.width * c.mlp_dim + 2 * tokens * c.width
    return 2.0 * tokens * c.depth * per_token


def _resnet_flops(c: ResNetConfig) -> float:
    """The last layer, of 2048 x 768, is left out: a thousandth."""
    side = -(-c.image_size // 2)
    macs = side**2 * 49 * 3 * c.width
    side, inputs = -(-side // 2), c.width
    for i, blocks in enumerate(c.stages):
        width = c.width * 2**i
        for j in range(blocks):
            before = side
            side = -(-side // 2) if i and not j else side
            macs += before**2 * inputs * width + side**2 * (9 * width**2 + 4 * width**2)
            macs += side**2 * inputs * 4 * width * (j == 0)
            inputs = 4 * width
    return 2.0 * macs


def load_config(path: str):
    """The config of a file."""
    spec = importlib.util.spec_from_file_location("config", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config()
