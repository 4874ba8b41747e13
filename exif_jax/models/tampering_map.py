"""The learned map: a network from the spectra of a photo's blocks to how likely each is tampered.

Every 8 x 8 block of the photo becomes a short vector (log |DCT| and the energy of each row and
column of the block, which shows the grids of earlier compressions and resampling), four of them
become a cell of 16 x 16 together with the DCT of the cell's colours at half resolution, as JPEG
files mostly hold them, and residual blocks compare a cell with the means around it and with the
photo's, or with the mean of cells that look like it. The network weights the photo's mean itself,
so that later blocks may leave out what earlier ones found tampered. Spectra keep no phase: how the
edges in and around a block run, and whether luma and chroma change at one place, it is told by
filters on the pixels themselves. What the cells say goes back to the blocks, where further residual
blocks compare these with each other: regions of small pictures are mostly border at 16 pixels.
Means tell no direction: a convolution of cells and one of blocks see on which side what lies.

Shape letters: B photos, H and W pixels, h = H / 8 and w = W / 8 blocks, C channels.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import nnx

from exif_jax.models.map_blocks import (
    AlikeComparison,
    Comparison,
    Convolution,
    Windows,
    normalized,
)
from exif_jax.models.map_features import (
    NUM_BLOCK_FEATURES,
    NUM_COLOUR_FEATURES,
    block_features,
    colour_features,
    features_of_cells,
    pixel_tiles,
)
from exif_jax.models.parameters import Params


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
        windows: filters on 8 x 8 windows of pixels, and channels of what is made of the nine in and
            around a block; () for neither.
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
    windows: tuple[int, ...] = ()
    convolutions: tuple[int, ...] = ()

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
        for name in ("windows", "convolutions"):
            widths = getattr(self, name)
            if len(widths) not in (0, 2) or any(width < 1 for width in widths):
                raise ValueError(f"{name} {widths} are not two positive numbers")


class TamperingMap(nnx.Module):
    """Photos [B, H, W, 3] to a logit for every 8 x 8 block, [B, H / 8, W / 8]."""

    def __init__(self, config: TamperingMapConfig, rngs: nnx.Rngs):
        c, self.config = config, config
        self.embed = nnx.Linear(NUM_BLOCK_FEATURES, c.block_width, rngs=rngs)
        self.block = Comparison(c.block_width, 3 * c.block_width // 2, 3, c.references, rngs)
        self.merge = nnx.Linear(4 * c.block_width, c.width, rngs=rngs)
        self.colours = nnx.Linear(NUM_COLOUR_FEATURES, c.width, use_bias=False, rngs=rngs)
        if c.windows:
            self.windows = Windows(c, rngs)
        for k, radius in enumerate(c.radii):
            setattr(self, f"cells{k}", Comparison(c.width, c.hidden, radius, c.references, rngs))
        for k in c.alike:
            setattr(self, f"alike{k}", AlikeComparison(c, rngs))
        self.skip = nnx.Linear(c.block_width, c.block_width, rngs=rngs)
        self.spread = nnx.Linear(c.width, c.block_width, use_bias=False, rngs=rngs)
        for k, radius in enumerate(c.fine_radii):
            fine = Comparison(c.block_width, 2 * c.block_width, radius, c.references, rngs)
            setattr(self, f"fine{k}", fine)
        if c.convolutions:
            of_cells, of_blocks = c.convolutions
            self.cells_around = Convolution(c.width, of_cells, rngs)
            self.blocks_around = Convolution(c.block_width, of_blocks, rngs)
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
        mask = jnp.ones(features.shape[:3], bool) if valid is None else valid
        tiles = pixel_tiles(photos)[:, None, None]
        return self.from_features(features, colour_features(photos), tiles, mask)

    def from_features(
        self, features: jax.Array, colours: jax.Array, tiles: jax.Array, mask: jax.Array
    ) -> jax.Array:
        """The same from what is seen of a photo, or of parts of it that stand side by side.

        Args:
            features: float32 [B, h, w, 224].
            colours: float32 [B, h / 2, w / 2, 126].
            tiles: float32 [B, R, C, 2 h / R + 2, 2 w / C + 2, 48], those of R x C parts.
            mask: bool [B, h, w], what is valid.
        """
        B, h, w, _ = features.shape
        blocks = self.embed(features)
        if self.config.windows:
            blocks = blocks + self.windows(tiles)
        blocks = blocks + self.block(blocks, mask)
        quads = blocks.reshape(B, h // 2, 2, w // 2, 2, -1).transpose(0, 1, 3, 2, 4, 5)
        cells = self.merge(normalized(quads).reshape(B, h // 2, w // 2, -1))
        cells = cells + self.colours(colours)
        cell_mask = mask[:, ::2, ::2]
        for k in range(len(self.config.radii)):
            cells = cells + getattr(self, f"cells{k}")(cells, cell_mask)
            if k + 1 in self.config.alike:
                cells = cells + getattr(self, f"alike{k + 1}")(cells, cell_mask)
            if self.config.convolutions and k + 1 == (len(self.config.radii) + 1) // 2:
                cells = cells + self.cells_around(cells, cell_mask)
        fine = jnp.repeat(jnp.repeat(self.spread(normalized(cells)), 2, axis=1), 2, axis=2)
        fine = fine + self.skip(normalized(blocks))
        for k in range(len(self.config.fine_radii)):
            fine = fine + getattr(self, f"fine{k}")(fine, mask)
            if self.config.convolutions and k == 0:
                fine = fine + self.blocks_around(fine, mask)
        return self.out(jax.nn.gelu(fine))[..., 0]


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


def cell_logits(
    config: TamperingMapConfig, params: Params, windows: jax.Array, valid: jax.Array
) -> jax.Array:
    """A logit for each of some cells of a photo, as if they were all of it.

    Args:
        config, params: the network.
        windows: uint8 [B, R, C, 32, 32, 3] (`features_of_cells`).
        valid: bool [B, R, C], False where a cell is padding.

    Returns:
        float32 [B, R, C], the means of the cells' blocks.
    """
    B, R, C = valid.shape
    model = nnx.merge(_structure(config)[0], nnx.State(params))
    mask = jnp.repeat(jnp.repeat(valid, 2, axis=1), 2, axis=2)
    logits = model.from_features(*features_of_cells(windows), mask)
    return logits.reshape(B, R, 2, C, 2).mean((2, 4))
