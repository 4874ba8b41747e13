"""The image encoder: a Vision Transformer on one patch of a photo.

Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021. In this project a *patch* is the
square that is cut out of a photo, so the squares inside it are called *tokens*.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from exif_jax.models.transformer import REMAT, Linear, Stack
from exif_jax.reading.pixels import BLOCK


@dataclasses.dataclass(frozen=True)
class ViTConfig:
    """Shape of the image encoder.

    Attributes:
        image_size: side S of the patch in pixels; without positions it is what training is
            validated by, and patches of any multiple of `token_size` can be encoded.
        token_size: side of one token in pixels; divides `image_size`.
        width, depth, heads, mlp_dim: the transformer.
        pool: "mean" over tokens, "mean_std" (mean and standard deviation side by side, which
            keeps how much a trace varies within the patch) or "cls" (a learned extra token).
        features: what a token holds: "pixels"; "texture", pixels less the token's mean colour, so
            that the encoder sees what a camera leaves and not the scene's brightness and hue; or
            "spectrum", the log magnitudes of its 8 x 8 DCT blocks (see `log_spectrum`), where
            compression, resampling, denoising and demosaicing leave their traces in the open.
        positions: "learned", one vector for each place in the patch, or "none": traces are the
            same all over a patch, and one set of weights then serves patches of any size.
        remat: what the backward pass computes again instead of keeping it: "" is nothing, "dots"
            is all but matrix products, "all" is everything inside the blocks.
    """

    kind: ClassVar[str] = "vit"

    image_size: int = 224
    token_size: int = 16
    width: int = 768
    depth: int = 12
    heads: int = 12
    mlp_dim: int = 3072
    pool: Literal["mean", "mean_std", "cls"] = "mean"
    features: Literal["pixels", "texture", "spectrum"] = "pixels"
    positions: Literal["learned", "none"] = "learned"
    remat: Literal["", "dots", "all"] = ""

    def __post_init__(self):
        if self.image_size % self.token_size:
            raise ValueError(
                f"image_size {self.image_size} is not a multiple of token_size {self.token_size}"
            )
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of {self.heads} heads")
        if self.remat not in REMAT:
            raise ValueError(f"remat is {self.remat!r}, not '', 'dots' or 'all'")
        if self.pool not in ("mean", "mean_std", "cls"):
            raise ValueError(f"pool is {self.pool!r}, not 'mean', 'mean_std' or 'cls'")
        if self.features not in ("pixels", "texture", "spectrum"):
            raise ValueError(f"features is {self.features!r}, not 'pixels', 'texture', 'spectrum'")
        if self.positions not in ("learned", "none"):
            raise ValueError(f"positions is {self.positions!r}, not 'learned' or 'none'")
        if self.features == "spectrum" and self.token_size % BLOCK:
            raise ValueError(
                f"token_size {self.token_size} is not a multiple of {BLOCK}, the side of the DCT "
                "blocks of features 'spectrum'"
            )

    @property
    def num_tokens(self) -> int:
        """Tokens T of a patch, without the class token."""
        return (self.image_size // self.token_size) ** 2

    @property
    def output_width(self) -> int:
        """Width of what the encoder returns for a patch."""
        return 2 * self.width if self.pool == "mean_std" else self.width


class ViT(nnx.Module):
    """Encodes patches [B, S, S, 3] as features [B, output_width]."""

    def __init__(self, config: ViTConfig, dtype: jnp.dtype, rngs: nnx.Rngs):
        c = self.config = config
        self.embed = Linear(
            3 * c.token_size**2,
            c.width,
            kernel_init=nnx.initializers.lecun_normal(),
            dtype=dtype,
            rngs=rngs,
        )
        if c.positions == "learned":
            number, std = c.num_tokens + (c.pool == "cls"), c.width**-0.5
            self.position = nnx.Param(jax.random.normal(rngs.params(), (number, c.width)) * std)
        if c.pool == "cls":
            self.cls = nnx.Param(jnp.zeros((1, c.width)))
        self.stack = Stack(c.depth, c.width, c.heads, c.mlp_dim, c.remat, dtype, rngs)

    def __call__(self, x_BxSxSx3: jax.Array, spectra: bool = False) -> jax.Array:
        """Encodes patches.

        Args:
            x_BxSxSx3: floats in [-1, 1].
            spectra: the patches were cut from the `log_spectrum` of a photo, on its 8 x 8 blocks.

        Returns:
            [B, output_width] in the compute dtype.
        """
        c = self.config
        tokens = tokenize(x_BxSxSx3, c.token_size)
        B, T = tokens.shape[:2]
        if c.features == "spectrum" and not spectra:
            x_BxTxD = self._embed_spectra(tokens)
        else:
            if c.features == "texture":
                tokens = tokens - tokens.mean(axis=2, keepdims=True)
            x_BxTxD = self.embed(tokens.reshape(B, T, -1))
        if c.pool == "cls":
            cls = jnp.broadcast_to(self.cls[...].astype(x_BxTxD.dtype), (B, 1, c.width))
            x_BxTxD = jnp.concatenate([cls, x_BxTxD], axis=1)
        if c.positions == "learned":
            x_BxTxD = x_BxTxD + self.position[...].astype(x_BxTxD.dtype)[None]
        x_BxTxD = self.stack(x_BxTxD)
        if c.pool == "cls":
            return x_BxTxD[:, 0]
        mean_BxD = x_BxTxD.mean(axis=1)
        if c.pool == "mean":
            return mean_BxD
        # The floor keeps the gradient of the root finite where all tokens agree (a flat patch).
        variance_BxD = jnp.square(x_BxTxD - mean_BxD[:, None]).mean(axis=1)
        return jnp.concatenate([mean_BxD, jnp.sqrt(variance_BxD + 1e-6)], axis=-1)

    def _embed_spectra(self, tokens_BxTxPx3: jax.Array) -> jax.Array:
        """`embed` of the log spectra of tokens of P pixels: [B, T, width].

        The rows of the kernel are brought into the order of `block_spectra`, and not the spectra
        into that of pixels: there are so many more of them.
        """
        B, T, _, C = tokens_BxTxPx3.shape
        side, dtype = self.config.token_size, self.embed.dtype
        assert self.embed.bias is not None
        spectra = block_spectra(tokens_BxTxPx3.reshape(B * T, side, side, C))
        n = side // BLOCK
        kernel = self.embed.kernel[...].astype(dtype).reshape(n, BLOCK, n, BLOCK, C, -1)
        kernel = kernel.transpose(0, 2, 1, 3, 4, 5).reshape(side * side * C, -1)
        x_NxD = spectra.reshape(B * T, -1).astype(dtype) @ kernel
        return (x_NxD + self.embed.bias[...].astype(dtype)[None]).reshape(B, T, -1)


def tokenize(x_BxSxSx3: jax.Array, size: int) -> jax.Array:
    """Cuts patches into tokens, row by row: [B, S, S, 3] -> [B, T, size * size, 3]."""
    B, S, _, C = x_BxSxSx3.shape
    n = S // size
    x = x_BxSxSx3.reshape(B, n, size, n, size, C).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(B, n * n, size * size, C)


def dct_basis() -> np.ndarray:
    """Returns the orthonormal DCT-II of 8 x 8 blocks, float32 [64 positions, 64 frequencies].

    The Kronecker product of the DCT of columns and that of rows, both row by row.
    """
    frequency, position = np.mgrid[:BLOCK, :BLOCK]
    basis = np.cos((2 * position + 1) * frequency * np.pi / (2 * BLOCK)) * np.sqrt(2 / BLOCK)
    basis[0] /= np.sqrt(2)
    return np.kron(basis, basis).T.astype(np.float32)


def typical_spectrum() -> tuple[np.ndarray, np.ndarray]:
    """Returns the mean and the standard deviation of log(1 + |coefficient|) of photos.

    Each is float32 [3, 1, 64]. Both fall with the logarithm of the frequency. The lines were
    fitted by least squares to the blocks of camera photos; they only bring the features to a
    common scale.
    """
    log_radius = np.log(np.maximum(np.hypot(*np.mgrid[:BLOCK, :BLOCK]), 1)).reshape(1, 1, -1)
    luma = np.array([True, False, False]).reshape(3, 1, 1)
    mean = np.where(luma, 2.54 - 1.09 * log_radius, 0.84 - 0.37 * log_radius)
    std = np.where(luma, 1.65 - 0.55 * log_radius, 0.88 - 0.365 * log_radius)
    return mean.astype(np.float32), np.maximum(std, 0.15).astype(np.float32)


def ycbcr_matrix() -> np.ndarray:
    """Returns the matrix from RGB to Y, Cb, Cr of ITU-R BT.601 and JFIF 1.02: float32 [3, 3].

    The offset of Cb and Cr, 128, is left out: it would only move the mean, which is dropped.
    """
    luma = np.array([0.299, 0.587, 0.114])
    red, _, blue = np.eye(3)
    return np.stack([luma, (blue - luma) / 1.772, (red - luma) / 1.402]).astype(np.float32)


def log_spectrum(x_BxHxWx3: jax.Array) -> jax.Array:
    """Replaces every 8 x 8 block of Y, Cb and Cr by its log |DCT|, at about unit variance.

    The step from coefficients to magnitudes is the one that a linear embedding of pixels cannot
    take: noise, quantisation and interpolation change how large coefficients are, not their sign.

    Args:
        x_BxHxWx3: RGB in [-1, 1], H and W multiples of 8.

    Returns:
        float32 [B, H, W, 3]; the blocks' mean colours are dropped (0).
    """
    B, H, W, C = x_BxHxWx3.shape
    spectra = block_spectra(x_BxHxWx3).reshape(B, H // BLOCK, W // BLOCK, BLOCK, BLOCK, C)
    return spectra.transpose(0, 1, 3, 2, 4, 5).reshape(B, H, W, C)


def block_spectra(x_BxHxWx3: jax.Array) -> jax.Array:
    """What `log_spectrum` computes, block by block.

    Colours and coefficients are one matrix product with all 192 numbers of a block. That is many
    times the multiplications of one product for the colours and two along the sides, and a
    fraction of their time: nothing is turned over between them, and long rows suit the matrix
    units of every device.

    Args:
        x_BxHxWx3: as for `log_spectrum`.

    Returns:
        float32 [N, 192]: all blocks, row by row, and of each its frequencies, row by row, each in
        Y, Cb and Cr.
    """
    B, H, W, C = x_BxHxWx3.shape
    blocks = x_BxHxWx3.reshape(B, H // BLOCK, BLOCK, W // BLOCK, BLOCK * C).transpose(0, 1, 3, 2, 4)
    blocks = blocks.reshape(-1, BLOCK * BLOCK * C)
    dct_Nx192 = jnp.dot(blocks, block_transform() * np.float32(127.5), precision="highest")
    mean, std, kept = spectrum_scale()
    return (jnp.log1p(jnp.abs(dct_Nx192)) - mean[None]) / std[None] * kept[None]


@functools.lru_cache
def block_transform() -> np.ndarray:
    """RGB of a block, [row, column, colour] in one, to its DCT in YCbCr: float32 [192, 192]."""
    dct, colours = dct_basis().astype(np.float64), ycbcr_matrix().astype(np.float64)
    matrix = np.einsum("pf,dc->pcfd", dct, colours)
    return matrix.reshape(3 * BLOCK**2, 3 * BLOCK**2).astype(np.float32)


@functools.lru_cache
def spectrum_scale() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean and deviation of photos' log |DCT|, and 0 for the block's mean colour: float32 [192]."""
    mean, std = (x.reshape(3, BLOCK**2).T.ravel() for x in typical_spectrum())
    kept = np.ones((BLOCK, BLOCK, 3), np.float32)
    kept[0, 0] = 0
    return mean, std, kept.ravel()
