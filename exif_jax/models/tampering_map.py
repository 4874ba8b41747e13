"""The learned map: a network from the spectra of a photo's blocks to how likely each is tampered.

Every 8 x 8 block of the photo becomes a short vector (log |DCT| and the energy of each row and
column of the block, which shows the grids of earlier compressions and resampling), four of them
become a cell of 16 x 16 together with the DCT of the cell's colours at half resolution, as JPEG
files mostly hold them, and residual blocks compare a cell with the means around it and with the
photo's, or with the mean of cells that look like it. The network weights the photo's mean itself,
so that later blocks may leave out what earlier ones found tampered. What the cells say goes back to
the blocks, where further residual blocks compare these with each other: regions of small pictures
are mostly border at 16 pixels.

Shape letters: B photos, H and W pixels, h = H / 8 and w = W / 8 blocks, C channels.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from exif_jax.models.parameters import Params
from exif_jax.models.vit import block_transform, spectrum_scale, ycbcr_matrix
from exif_jax.reading.pixels import BLOCK, CELL

_SPECTRUM, _PHASES = 3 * BLOCK**2, 4 * BLOCK  # features of a block
_COLOURS = 2 * (BLOCK**2 - 1)  # features of a cell
# Cells that each cell is compared with at most: of larger pictures every second, third, ... is.
_MOST_KEYS = 512
_FLOOR = 1e-4  # of a variance, so that the gradient of its root is finite


@dataclasses.dataclass(frozen=True)
class TamperingMapConfig:
    """Shape of the network.

    Attributes:
        block_width: channels of an 8 x 8 block.
        width: channels of a 16 x 16 cell.
        hidden: channels inside a residual block of cells.
        radii: one residual block each: sides of its local mean, odd, in cells.
        fine_radii: the same for the residual blocks behind them, in 8 x 8 blocks.
        references: groups of channels, each with its own weights for the photo's reference mean.
        alike: after so many residual blocks of cells one more, which compares each cell with those
            that look like it, wherever they lie; () for none.
        head_width: channels by which a group of channels finds what looks alike.
    """

    kind: ClassVar[str] = "tampering_map"

    block_width: int = 64
    width: int = 128
    hidden: int = 192
    radii: tuple[int, ...] = (3, 7, 3, 9)
    fine_radii: tuple[int, ...] = (3, 7)
    references: int = 4
    alike: tuple[int, ...] = ()
    head_width: int = 32

    def __post_init__(self):
        for name in ("block_width", "width"):
            if getattr(self, name) % self.references:
                raise ValueError(
                    f"{name} {getattr(self, name)} is not a multiple of {self.references} "
                    "references"
                )
        for name in ("radii", "fine_radii"):
            sides = getattr(self, name)
            if not sides or any(side < 1 or side % 2 == 0 for side in sides):
                raise ValueError(f"{name} {sides} are not odd numbers")
        number = len(self.radii)
        if any(not 1 <= k <= number for k in self.alike) or len(set(self.alike)) < len(self.alike):
            raise ValueError(f"alike {self.alike} are not different numbers from 1 to {number}")
        if self.head_width < 1:
            raise ValueError(f"head_width {self.head_width} is not positive")


class TamperingMap(nnx.Module):
    """Photos [B, H, W, 3] to a logit for every 8 x 8 block, [B, H / 8, W / 8]."""

    def __init__(self, config: TamperingMapConfig, rngs: nnx.Rngs):
        c, self.config = config, config
        self.embed = nnx.Linear(_SPECTRUM + _PHASES, c.block_width, rngs=rngs)
        self.block = Comparison(c.block_width, 3 * c.block_width // 2, 3, c.references, rngs)
        self.merge = nnx.Linear(4 * c.block_width, c.width, rngs=rngs)
        self.colours = nnx.Linear(_COLOURS, c.width, use_bias=False, rngs=rngs)
        for k, radius in enumerate(c.radii):
            setattr(self, f"cells{k}", Comparison(c.width, c.hidden, radius, c.references, rngs))
        for k in c.alike:
            setattr(self, f"alike{k}", AlikeComparison(c, rngs))
        self.skip = nnx.Linear(c.block_width, c.block_width, rngs=rngs)
        self.spread = nnx.Linear(c.width, c.block_width, use_bias=False, rngs=rngs)
        for k, radius in enumerate(c.fine_radii):
            fine = Comparison(c.block_width, 2 * c.block_width, radius, c.references, rngs)
            setattr(self, f"fine{k}", fine)
        self.out = nnx.Linear(c.block_width, 1, kernel_init=nnx.initializers.zeros, rngs=rngs)

    def __call__(self, photos: jax.Array, valid: jax.Array | None = None) -> jax.Array:
        """Gives a logit for every block.

        Args:
            photos: uint8 [B, H, W, 3], H and W multiples of 16.
            valid: bool [B, h, w], False where a block is padding; a cell of 2 x 2 blocks is valid
                or padding as a whole. None: no padding.

        Returns:
            float32 [B, h, w]; what stands at padding means nothing.
        """
        features = block_features(photos)
        B, h, w, _ = features.shape
        mask = jnp.ones((B, h, w), bool) if valid is None else valid
        blocks = self.embed(features)
        blocks = blocks + self.block(blocks, mask)
        quads = blocks.reshape(B, h // 2, 2, w // 2, 2, -1).transpose(0, 1, 3, 2, 4, 5)
        cells = self.merge(normalized(quads).reshape(B, h // 2, w // 2, -1))
        cells = cells + self.colours(colour_features(photos))
        cell_mask = mask[:, ::2, ::2]
        for k in range(len(self.config.radii)):
            cells = cells + getattr(self, f"cells{k}")(cells, cell_mask)
            if k + 1 in self.config.alike:
                cells = cells + getattr(self, f"alike{k + 1}")(cells, cell_mask)
        fine = jnp.repeat(jnp.repeat(self.spread(normalized(cells)), 2, axis=1), 2, axis=2)
        fine = fine + self.skip(normalized(blocks))
        for k in range(len(self.config.fine_radii)):
            fine = fine + getattr(self, f"fine{k}")(fine, mask)
        return self.out(jax.nn.gelu(fine))[..., 0]


class Comparison(nnx.Module):
    """What a residual block adds: each place beside its surroundings and the photo's reference."""

    def __init__(self, width: int, hidden: int, radius: int, references: int, rngs: nnx.Rngs):
        self.radius, self.references = radius, references
        self.weigh = nnx.Linear(
            width, references, use_bias=False, kernel_init=nnx.initializers.zeros, rngs=rngs
        )
        self.up = nnx.Linear(3 * width, hidden, rngs=rngs)
        self.of_photo = nnx.Linear(width, hidden, use_bias=False, rngs=rngs)
        small = nnx.initializers.variance_scaling(0.1, "fan_in", "normal")
        self.down = nnx.Linear(hidden, width, kernel_init=small, rngs=rngs)

    def __call__(self, x_BxhxwxC: jax.Array, mask_Bxhxw: jax.Array) -> jax.Array:
        """[B, h, w, C] -> [B, h, w, C]."""
        B, h, w, C = x_BxhxwxC.shape
        n = normalized(x_BxhxwxC)
        mean, spread = reference(n, self.weigh(n), mask_Bxhxw)
        away = (local_mean(n, mask_Bxhxw, self.radius) - mean) * (1 / spread)
        # One flat product: a CPU multiplies matrices faster than it contracts higher ranks.
        y = self.up(jnp.concatenate([n, away, jnp.abs(away)], axis=-1).reshape(-1, 3 * C))
        y = y.reshape(B, h, w, -1) + self.of_photo(jnp.log(spread))
        y = self.down(jax.nn.gelu(y).reshape(B * h * w, -1))
        return y.reshape(B, h, w, C)


class AlikeComparison(nnx.Module):
    """What a residual block adds: each cell beside the mean of those that look like it.

    Grass differs from sky more than one camera's grass from another's, so that the photo's mean
    tells little. Attention weights the other cells, in each group of channels by its own queries
    and keys; the weighted mean is of the channels as they are.
    """

    def __init__(self, config: TamperingMapConfig, rngs: nnx.Rngs):
        c = config
        self.groups, self.head_width = c.references, c.head_width
        across = c.references * c.head_width
        self.query = nnx.Linear(c.width, across, use_bias=False, rngs=rngs)
        self.key = nnx.Linear(c.width, across, use_bias=False, rngs=rngs)
        self.up = nnx.Linear(3 * c.width, c.hidden, rngs=rngs)
        small = nnx.initializers.variance_scaling(0.1, "fan_in", "normal")
        self.down = nnx.Linear(c.hidden, c.width, kernel_init=small, rngs=rngs)

    def __call__(self, x_BxhxwxC: jax.Array, mask_Bxhxw: jax.Array) -> jax.Array:
        """[B, h, w, C] -> [B, h, w, C]."""
        B, h, w, C = x_BxhxwxC.shape
        G, D = self.groups, self.head_width
        n = normalized(x_BxhxwxC)
        step = max(1, math.ceil(math.sqrt(h * w / _MOST_KEYS)))
        seen_BxKxC = n[:, ::step, ::step].reshape(B, -1, C)
        seen_mask = mask_Bxhxw[:, ::step, ::step].reshape(B, 1, 1, -1)
        flat = n.reshape(B * h * w, C)
        query = self.query(flat).reshape(B, h * w, G, D)
        key = self.key(seen_BxKxC.reshape(-1, C)).reshape(B, -1, G, D)
        logits = jnp.einsum("bngd,bkgd->bgnk", query, key) * (D**-0.5)
        weights = jax.nn.softmax(jnp.where(seen_mask, logits, -jnp.inf), axis=-1)
        values = seen_BxKxC.reshape(B, -1, G, C // G)
        mean = jnp.einsum("bgnk,bkgc->bngc", weights, values).reshape(B * h * w, C)
        away = flat - mean
        y = self.up(jnp.concatenate([flat, away, jnp.abs(away)], axis=-1))
        return self.down(jax.nn.gelu(y)).reshape(B, h, w, C)


def normalized(x: jax.Array) -> jax.Array:
    """Vectors along the last axis at root mean square 1; near 0 they stay near 0."""
    return x * jax.lax.rsqrt(jnp.square(x).mean(-1, keepdims=True) + _FLOOR)


def reference(
    x_BxhxwxC: jax.Array, logits_BxhxwxR: jax.Array, mask_Bxhxw: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Mean and standard deviation over a photo, weighted by a softmax over its places.

    Args:
        x_BxhxwxC: float32; the C channels are R groups in order, each with its own weights.
        logits_BxhxwxR: of the weights.
        mask_Bxhxw: bool; what is False has no weight.

    Returns:
        The mean and the standard deviation, float32 [B, 1, 1, C].
    """
    B, h, w, C = x_BxhxwxC.shape
    R = logits_BxhxwxR.shape[-1]
    logits = jnp.where(mask_Bxhxw[..., None], logits_BxhxwxR, -jnp.inf).reshape(B, h * w, R)
    weights = jax.nn.softmax(logits, axis=1)
    x = x_BxhxwxC.reshape(B, h * w, R, C // R)
    mean = jnp.einsum("bnr,bnrc->brc", weights, x)
    variance = jnp.einsum("bnr,bnrc->brc", weights, jnp.square(x - mean[:, None]))
    spread = jnp.sqrt(variance + _FLOOR)
    return mean.reshape(B, 1, 1, C), spread.reshape(B, 1, 1, C)


def local_mean(x_BxhxwxC: jax.Array, mask_Bxhxw: jax.Array, side: int) -> jax.Array:
    """The mean over a square of `side` places around each, of those inside the photo's mask.

    Sums along both axes are products with band matrices, which a CPU does many times faster than
    the windowed sums of XLA.
    """
    _, h, w, _ = x_BxhxwxC.shape
    mask = mask_Bxhxw[..., None].astype(x_BxhxwxC.dtype)
    down, across = _band(h, side), _band(w, side)

    def total(v: jax.Array) -> jax.Array:
        return jnp.einsum("ij,kl,bjlc->bikc", down, across, v)

    return total(x_BxhxwxC * mask) / jnp.maximum(total(mask), 1)


def _band(number: int, side: int) -> np.ndarray:
    """float32 [number, number], 1 where two places lie within half of `side` of each other."""
    place = np.arange(number)
    return (np.abs(place[:, None] - place[None]) <= side // 2).astype(np.float32)


def block_features(photos: jax.Array) -> jax.Array:
    """What the network sees of each 8 x 8 block: uint8 [B, H, W, 3] -> float32 [B, h, w, 224].

    192 log |DCT|, those of `vit.log_spectrum` in the order (row, column, Y Cb Cr), then the log
    energy of the luma's 8 columns and 8 rows, how far pixels lie from the mean of their two
    neighbours, and of the chroma's, the steps of Cb and Cr to the next column and row. Energy by
    its place on the grid is how the blocks of earlier compressions, interpolation and the pairs of
    subsampled colours show.
    """
    B, H, W, _ = photos.shape
    h, w = H // BLOCK, W // BLOCK
    blocks = photos.reshape(B, h, BLOCK, w, BLOCK, 3).transpose(0, 1, 3, 2, 4, 5)
    dct = blocks.reshape(B * h * w, _SPECTRUM).astype(jnp.float32) @ block_transform()
    mean, std, kept = spectrum_scale()
    spectra = (jnp.log1p(jnp.abs(dct)) - mean[None]) / std[None] * kept[None]
    luma, blue, red = jnp.einsum("bhwc,dc->dbhw", photos.astype(jnp.float32), ycbcr_matrix())
    across = jnp.stack([_residual(luma, 2), _step(blue, 2) + _step(red, 2)])
    down = jnp.stack([_residual(luma, 1), _step(blue, 1) + _step(red, 1)])
    columns = across.reshape(2, B, h, BLOCK, w, BLOCK).mean(3).transpose(1, 2, 3, 0, 4)
    rows = down.reshape(2, B, h, BLOCK, w, BLOCK).mean(5).transpose(1, 2, 4, 0, 3)
    energy = jnp.concatenate([columns, rows], axis=-1).reshape(B, h, w, _PHASES)
    return jnp.concatenate([spectra.reshape(B, h, w, _SPECTRUM), jnp.log(energy + 0.1)], axis=-1)


def colour_features(photos: jax.Array) -> jax.Array:
    """What a cell of 16 x 16 shows at half resolution: uint8 [B, H, W, 3] -> float32 [..., 126].

    log |DCT| of the cell's 8 x 8 means of four pixels in Cb and Cr, without the mean colours:
    in the order (frequency, row by row; Cb Cr), [B, H / 16, W / 16, 126]. JPEG files mostly hold
    colours so; what an earlier compression left at 0 there stays small until the picture is moved.
    """
    B, H, W, _ = photos.shape
    h, w = H // CELL, W // CELL
    halved = photos.astype(jnp.float32).reshape(B, H // 2, 2, W // 2, 2, 3).mean((2, 4))
    cells = halved.reshape(B, h, BLOCK, w, BLOCK, 3).transpose(0, 1, 3, 2, 4, 5)
    dct = cells.reshape(B * h * w, _SPECTRUM) @ block_transform()
    colours = dct.reshape(B, h, w, BLOCK**2, 3)[..., 1:, 1:]
    return jnp.log(jnp.abs(colours) + 0.1).reshape(B, h, w, _COLOURS)


def _step(x: jax.Array, axis: int) -> jax.Array:
    """|x - the next| along an axis; 0 at the end."""
    return jnp.abs(jnp.diff(x, axis=axis, append=jax.lax.slice_in_dim(x, -1, None, axis=axis)))


def _residual(x: jax.Array, axis: int) -> jax.Array:
    """|x - the mean of its two neighbours| along an axis; the border is its own neighbour."""
    padding = [(1, 1) if k == axis else (0, 0) for k in range(x.ndim)]
    padded = jnp.pad(x, padding, mode="edge")
    size = x.shape[axis]
    before = jax.lax.slice_in_dim(padded, 0, size, axis=axis)
    after = jax.lax.slice_in_dim(padded, 2, size + 2, axis=axis)
    return jnp.abs(x - (before + after) / 2)


@functools.lru_cache
def _structure(config: TamperingMapConfig) -> tuple[nnx.GraphDef, Params]:
    """The network without its numbers, and the shapes of its parameters."""
    build = functools.partial(TamperingMap, config)
    graphdef, state = nnx.split(nnx.eval_shape(lambda: build(rngs=nnx.Rngs(0))))
    return graphdef, nnx.to_pure_dict(state)


def map_param_shapes(config: TamperingMapConfig) -> Params:
    """Returns the tree that `init_map_params` would give, with `jax.ShapeDtypeStruct` as leaves."""
    return jax.tree.map(lambda x: x, _structure(config)[1])  # a copy of the cached tree


def init_map_params(config: TamperingMapConfig, key: jax.Array) -> Params:
    """Returns fresh float32 parameters: nested dicts of arrays."""
    return nnx.to_pure_dict(nnx.state(TamperingMap(config, rngs=nnx.Rngs(params=key))))


def map_logits(
    config: TamperingMapConfig, params: Params, photos: jax.Array, valid: jax.Array | None = None
) -> jax.Array:
    """`TamperingMap.__call__` as a pure function of the parameters."""
    model = nnx.merge(_structure(config)[0], nnx.State(params))
    return model(photos, valid)
