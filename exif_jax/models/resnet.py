"""The paper's image encoder: ResNet-50 in torchvision's layout, with a new last layer.

He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, in the variant whose blocks
stride in the 3 x 3 convolution. Images are laid out [B, H, W, C]. Running statistics of the batch
norms are leaves of the tree of parameters (`mean`, `var`): inference reads them, while training
normalises by the batch and hands their new values to the training step.

Shape letters: B batch, S side of the patch, C channels.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

# The released code normalises by CLIP's constants, though the weights began as ImageNet's.
_MEAN = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)
_STD = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)
_EPSILON = 1e-5
_MOMENTUM = 0.1  # share of the batch in the running statistics, as PyTorch counts it
_EXPANSION = 4


@dataclasses.dataclass(frozen=True)
class ResNetConfig:
    """Shape of the image encoder; the defaults are ResNet-50.

    Attributes:
        image_size: side S of the patch in pixels (any size works; the paper trains on 124).
        width: channels after the stem.
        stages: bottleneck blocks in each stage; each stage halves the side and doubles the width.
    """

    kind: ClassVar[str] = "resnet"

    image_size: int = 124
    width: int = 64
    stages: tuple[int, ...] = (3, 4, 6, 3)

    def __post_init__(self):
        if not self.stages:
            raise ValueError("stages is empty; give the blocks of each stage")

    @property
    def output_width(self) -> int:
        """Channels of the last stage, which the projection reads."""
        return self.width * 2 ** (len(self.stages) - 1) * _EXPANSION


class ConvNorm(nnx.Module):
    """A convolution without bias, then a batch norm."""

    def __init__(self, size: int, inputs: int, outputs: int, rngs: nnx.Rngs, dtype: jnp.dtype):
        init = nnx.initializers.variance_scaling(2.0, "fan_out", "normal")
        self.kernel = nnx.Param(init(rngs.params(), (size, size, inputs, outputs)))
        self.scale, self.bias = nnx.Param(jnp.ones(outputs)), nnx.Param(jnp.zeros(outputs))
        self.mean = nnx.BatchStat(jnp.zeros(outputs))
        self.var = nnx.BatchStat(jnp.ones(outputs))
        self.dtype = dtype

    def __call__(self, x: jax.Array, stride: int = 1, train: bool = False) -> jax.Array:
        """[B, S, S, inputs] -> [B, S / stride, S / stride, outputs]."""
        kernel = self.kernel[...]
        if not train:
            # Scaling the kernel costs less than another pass over what comes out.
            scale = self.scale[...] * jax.lax.rsqrt(self.var[...] + _EPSILON)
            y = _convolve(x, (kernel * scale[None, None, None]).astype(self.dtype), stride)
            shift = self.bias[...] - self.mean[...] * scale
            return y + shift.astype(self.dtype)[None, None, None]
        y = _convolve(x, kernel.astype(self.dtype), stride).astype(jnp.float32)
        mean, var = y.mean((0, 1, 2)), y.var((0, 1, 2))
        count = y.size // y.shape[-1]
        unbiased = var * (count / max(count - 1, 1))
        for batch_stat, of_batch in ((self.mean, mean), (self.var, unbiased)):
            moved = (1 - _MOMENTUM) * batch_stat[...] + _MOMENTUM * of_batch
            batch_stat[...] = jax.lax.stop_gradient(moved)
        scale = self.scale[...] * jax.lax.rsqrt(var + _EPSILON)
        y = (y - mean[None, None, None]) * scale[None, None, None]
        return (y + self.bias[...][None, None, None]).astype(self.dtype)


def _convolve(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """Convolves with torchvision's padding: (size - 1) // 2 on all sides."""
    size = kernel.shape[0]
    if size == 1:  # a matrix product, which CPUs do faster than a convolution
        x = x[:, ::stride, ::stride]
        return jnp.einsum("bhwc,cd->bhwd", x, kernel[0, 0])
    padding = ((size - 1) // 2, (size - 1) // 2)
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), (padding, padding), dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


class Bottleneck(nnx.Module):
    """Convolutions of 1 x 1, 3 x 3 and 1 x 1 beside a shortcut, which is 1 x 1 or the input."""

    def __init__(self, inputs: int, width: int, shortcut: bool, rngs: nnx.Rngs, dtype: jnp.dtype):
        outputs = width * _EXPANSION
        self.conv1 = ConvNorm(1, inputs, width, rngs, dtype)
        self.conv2 = ConvNorm(3, width, width, rngs, dtype)
        self.conv3 = ConvNorm(1, width, outputs, rngs, dtype)
        if shortcut:
            self.shortcut = ConvNorm(1, inputs, outputs, rngs, dtype)

    def __call__(self, x: jax.Array, stride: int, train: bool) -> jax.Array:
        y = jax.nn.relu(self.conv1(x, train=train))
        y = jax.nn.relu(self.conv2(y, stride, train))
        y = self.conv3(y, train=train)
        if hasattr(self, "shortcut"):
            x = self.shortcut(x, stride, train)
        return jax.nn.relu(x + y)


class ResNet(nnx.Module):
    """Encodes patches [B, S, S, 3] as [B, embed_dim]; its last layer is the projection."""

    def __init__(self, config: ResNetConfig, embed_dim: int, dtype: jnp.dtype, rngs: nnx.Rngs):
        self.config, self.dtype = config, dtype
        self.stem = ConvNorm(7, 3, config.width, rngs, dtype)
        inputs = config.width
        for i, blocks in enumerate(config.stages):
            width = config.width * 2**i
            for j in range(blocks):
                block = Bottleneck(inputs, width, j == 0, rngs, dtype)
                setattr(self, f"stage{i}_block{j}", block)
                inputs = width * _EXPANSION
        self.fc = nnx.Linear(inputs, embed_dim, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Encodes patches.

        Args:
            x: floats [B, S, S, 3] in [-1, 1].
            train: batch norms use the batch's statistics and move the running ones.

        Returns:
            [B, embed_dim] in the compute dtype.
        """
        x = (((x + 1) / 2 - _MEAN[None, None, None]) / _STD[None, None, None]).astype(self.dtype)
        x = jax.nn.relu(self.stem(x, 2, train))
        padding: Any = ((1, 1), (1, 1))  # some versions of flax annotate it as str alone
        x = nnx.max_pool(x, (3, 3), (2, 2), padding)
        for i, blocks in enumerate(self.config.stages):
            for j in range(blocks):
                stride = 2 if i > 0 and j == 0 else 1
                x = getattr(self, f"stage{i}_block{j}")(x, stride, train)
        return self.fc(x.mean((1, 2)))
