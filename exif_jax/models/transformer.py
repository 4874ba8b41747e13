"""The pre-norm transformer block that both encoders stack.

Shape suffixes: B batch, T tokens, D width, H heads, K width of one head, F width of the MLP,
N number of blocks.
"""

from __future__ import annotations

import warnings

import jax
import jax.numpy as jnp
from flax import nnx

# eps of the ViT release (Dosovitskiy et al. 2021) and of big_vision.
LAYER_NORM_EPSILON = 1e-6
# Stacks no deeper than this are unrolled. On a busy CPU one trial of 4 blocks ran faster unrolled
# than as a loop; it has not been measured with care. So few blocks compile fast in either form.
UNROLL_UP_TO = 6
# What the blocks keep for the backward pass, which computes the rest again: everything, the results
# of their linear layers (attention is then computed again), or their inputs alone.
REMAT = {
    "": None,
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
    "all": jax.checkpoint_policies.nothing_saveable,
}


def layer_norm(width: int, dtype: jnp.dtype, rngs: nnx.Rngs) -> nnx.LayerNorm:
    """Returns a layer norm with float32 statistics by the two-pass formula."""
    return nnx.LayerNorm(
        width, epsilon=LAYER_NORM_EPSILON, dtype=dtype, use_fast_variance=False, rngs=rngs
    )


class Linear(nnx.Linear):
    """A linear layer that sees the rows of all leading axes as those of one matrix.

    Its gradient is then a product of two matrices as well. With two leading axes the CPU's
    compiler turns one of them over in memory first, which takes as long as the product.
    """

    def __call__(self, inputs: jax.Array) -> jax.Array:  # type: ignore[reportIncompatibleMethodOverride]
        rows = super().__call__(inputs.reshape(-1, inputs.shape[-1]))
        return rows.reshape(*inputs.shape[:-1], -1)


class Attention(nnx.Module):
    """Multi-head self-attention (Vaswani et al. 2017), one fused projection for q, k and v.

    Kernels are Glorot-uniform as in ViT; the fused kernel is scaled so that each of its three
    parts has the variance of a square one.
    """

    def __init__(self, width: int, heads: int, dtype: jnp.dtype, rngs: nnx.Rngs):
        self.heads = heads
        qkv_init = nnx.initializers.variance_scaling(2.0, "fan_avg", "uniform")
        glorot = nnx.initializers.xavier_uniform()
        self.qkv = Linear(width, 3 * width, kernel_init=qkv_init, dtype=dtype, rngs=rngs)
        self.out = Linear(width, width, kernel_init=glorot, dtype=dtype, rngs=rngs)

    def __call__(self, x_BxTxD: jax.Array, mask_BxT: jax.Array | None = None) -> jax.Array:
        B, T, D = x_BxTxD.shape
        # The gradient of a split is a concatenation; that of three slices is a sum of paddings.
        q, k, v = (
            x.reshape(B, T, self.heads, D // self.heads)
            for x in jnp.split(self.qkv(x_BxTxD), 3, axis=2)
        )
        y_BxTxHxK = attend(q, k, v, mask_BxT)
        return self.out(y_BxTxHxK.reshape(B, T, D))


def attend(q: jax.Array, k: jax.Array, v: jax.Array, mask_BxT: jax.Array | None) -> jax.Array:
    """Computes softmax attention, the softmax in float32.

    On a GPU in 16 bits, where cuDNN's fused kernel takes the shape (its backward pass needs an
    even T, and K a multiple of 8 up to 128), no scores [B, H, T, T] are written to memory.

    Args:
        q, k, v: [B, T, H, K] each.
        mask_BxT: bool, True at the tokens that may be attended to; None for all.

    Returns:
        [B, T, H, K] in the dtype of v.
    """
    T, K = q.shape[1], q.shape[3]
    cudnn = q.dtype.itemsize == 2 and mask_BxT is None and T % 2 == 0 and K % 8 == 0 and K <= 128
    if jax.default_backend() == "gpu" and cudnn:
        try:
            return jax.nn.dot_product_attention(q, k, v, implementation="cudnn")
        except (RuntimeError, NotImplementedError, ValueError) as e:
            # JAX raises these as it traces where there is no cuDNN, one too old for the device, or
            # a shape that it does not take. The plain attention below computes the same.
            warnings.warn(f"attention without cuDNN, which is slower: {e}", stacklevel=2)
    mask = None if mask_BxT is None else mask_BxT[:, None, None, :]
    return jax.nn.dot_product_attention(q, k, v, mask=mask)


@jax.checkpoint
def gelu(x: jax.Array) -> jax.Array:
    """The exact GELU (Hendrycks and Gimpel 2016), x times the normal distribution function.

    The backward pass computes it again from x, which is cheaper than to write and read what the
    forward pass knew: the arrays inside an MLP are the widest of the encoder. `nnx.gelu` says the
    same by erfc, which takes XLA twice the time on a CPU. It is computed in float32: in 16 bits
    1 + erf would have lost most of its digits below -1.
    """
    x32 = x.astype(jnp.float32)
    return (0.5 * x32 * (1.0 + jax.lax.erf(x32 * 2**-0.5))).astype(x.dtype)


class Block(nnx.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)); the MLP is Linear, exact GELU, Linear."""

    def __init__(self, width: int, heads: int, mlp_dim: int, dtype: jnp.dtype, rngs: nnx.Rngs):
        kernel_init = nnx.initializers.xavier_uniform()
        bias_init = nnx.initializers.normal(1e-6)
        self.norm1 = layer_norm(width, dtype, rngs)
        self.attention = Attention(width, heads, dtype, rngs)
        self.norm2 = layer_norm(width, dtype, rngs)
        self.mlp1 = Linear(
            width, mlp_dim, kernel_init=kernel_init, bias_init=bias_init, dtype=dtype, rngs=rngs
        )
        self.mlp2 = Linear(
            mlp_dim, width, kernel_init=kernel_init, bias_init=bias_init, dtype=dtype, rngs=rngs
        )

    def __call__(self, x_BxTxD: jax.Array, mask_BxT: jax.Array | None = None) -> jax.Array:
        x_BxTxD = x_BxTxD + self.attention(self.norm1(x_BxTxD), mask_BxT)
        h_BxTxF = gelu(self.mlp1(self.norm2(x_BxTxD)))
        return x_BxTxD + self.mlp2(h_BxTxF)


class Stack(nnx.Module):
    """`depth` blocks whose parameters carry a leading axis N, applied by `jax.lax.scan`.

    A deep stack compiles its block once. `remat` is a key of REMAT.
    """

    def __init__(
        self,
        depth: int,
        width: int,
        heads: int,
        mlp_dim: int,
        remat: str,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ):
        @nnx.split_rngs(splits=depth)
        @nnx.vmap(in_axes=0, out_axes=0)
        def stacked_blocks(rngs):
            return Block(width, heads, mlp_dim, dtype, rngs)

        self.blocks = stacked_blocks(rngs)
        self.norm = layer_norm(width, dtype, rngs)
        self.remat = remat
        self.unroll = depth if depth <= UNROLL_UP_TO else 1

    def __call__(self, x_BxTxD: jax.Array, mask_BxT: jax.Array | None = None) -> jax.Array:
        graphdef, state = nnx.split(self.blocks)

        def body(x_BxTxD, block_state):
            return nnx.merge(graphdef, block_state)(x_BxTxD, mask_BxT), None

        body = jax.checkpoint(body, policy=REMAT[self.remat]) if self.remat else body
        x_BxTxD, _ = jax.lax.scan(body, x_BxTxD, state, unroll=self.unroll)
        return self.norm(x_BxTxD)
