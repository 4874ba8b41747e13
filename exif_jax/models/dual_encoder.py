"""Both encoders, their projections into one space, and the only door to Flax NNX.

Outside this package parameters are plain nested dicts of arrays, so that the optimiser, the
checkpoints, the sharding rules and the release file need to know nothing of Flax.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from exif_jax.models.distilbert import DistilBert, DistilBertConfig
from exif_jax.models.resnet import ResNet, ResNetConfig
from exif_jax.models.text import TextConfig, TextTransformer
from exif_jax.models.vit import ViT, ViTConfig, log_spectrum

Params = dict[str, Any]
BATCH_STATS = ("mean", "var")  # names of leaves that batch norms set, and no gradient
SCALARS = ("log_scale", "log_image_scale", "bias")  # parameters of the losses, not the encoders


@dataclasses.dataclass(frozen=True)
class DualEncoderConfig:
    """The model: two encoders, the width D of the shared space and the first temperature.

    Attributes:
        image, text: the encoders; ResNetConfig and DistilBertConfig are the paper's.
        embed_dim: D. The paper's text encoder has no projection: D is its width.
        init_temperature: tau at initialisation; logits are cosines / tau (CLIP: 0.07).
        init_bias: of the logits at initialisation, for the sigmoid loss (SigLIP: -10); 0: none.
    """

    image: ViTConfig | ResNetConfig
    text: TextConfig | DistilBertConfig
    embed_dim: int = 512
    init_temperature: float = 0.07
    init_bias: float = 0.0

    def __post_init__(self):
        if isinstance(self.text, DistilBertConfig) and self.embed_dim != self.text.width:
            raise ValueError(
                f"embed_dim {self.embed_dim} is not {self.text.width}, the width of DistilBERT, "
                "whose texts are not projected"
            )


class DualEncoder(nnx.Module):
    """Patches and EXIF texts to unit vectors in one space."""

    def __init__(self, config: DualEncoderConfig, dtype: jnp.dtype, rngs: nnx.Rngs):
        def projection(width):
            # CLIP's projections: normal with standard deviation width ** -0.5, no bias.
            init = nnx.initializers.normal(width**-0.5)
            return nnx.Linear(
                width, config.embed_dim, use_bias=False, kernel_init=init, dtype=dtype, rngs=rngs
            )

        if isinstance(config.image, ResNetConfig):
            self.image = ResNet(config.image, config.embed_dim, dtype, rngs)
        else:
            self.image = ViT(config.image, dtype, rngs)
            self.image_projection = projection(config.image.output_width)
        if isinstance(config.text, DistilBertConfig):
            self.text = DistilBert(config.text, dtype, rngs)
        else:
            self.text = TextTransformer(config.text, dtype, rngs)
            self.text_projection = projection(config.text.width)
        scale = jnp.asarray(-math.log(config.init_temperature), jnp.float32)
        self.log_scale = nnx.Param(scale)
        self.log_image_scale = nnx.Param(scale)
        if config.init_bias:
            self.bias = nnx.Param(jnp.asarray(config.init_bias, jnp.float32))

    def __call__(
        self,
        images: jax.Array | None = None,
        tokens: jax.Array | None = None,
        mask: jax.Array | None = None,
        train: bool = False,
    ) -> tuple[jax.Array | None, jax.Array | None, dict[str, jax.Array]]:
        """Embeds patches, texts or both.

        Args:
            images: uint8 [B, S, S, 3], or float32 cut from `photo_features`, or None.
            tokens: int32 [B, L] or None.
            mask: bool [B, L], True at real tokens.
            train: batch norms, where there are any, use the batch and move their statistics.

        Returns:
            z_img and z_txt, float32 [B, D] with unit rows (None where the input was None), and
            what `scales` gives.
        """
        z_img = z_txt = None
        if images is not None:
            features = images.dtype != jnp.uint8
            x = images if features else images.astype(jnp.float32) / 127.5 - 1.0
            if isinstance(self.image, ViT):
                z_img = unit(self.image_projection(self.image(x, features)))
            else:
                z_img = unit(self.image(x, train))
        if tokens is not None and mask is not None:
            features = self.text(tokens, mask)
            if not isinstance(self.text, DistilBert):
                features = self.text_projection(features)
            z_txt = unit(features)
        return z_img, z_txt, scales({n: getattr(self, n)[...] for n in SCALARS if hasattr(self, n)})


def scales(params: Params) -> dict[str, jax.Array]:
    """Of the parameters in SCALARS: 1 / temperature between patches and texts as "scale" and among
    patches as "image_scale", and the "bias" where there is one; float32 scalars."""
    found = {"scale": jnp.exp(params["log_scale"])}
    found["image_scale"] = jnp.exp(params["log_image_scale"])
    return found | ({"bias": params["bias"]} if "bias" in params else {})


def unit(x_BxD: jax.Array) -> jax.Array:
    """Rows scaled to length 1 in float32; a zero row stays zero."""
    x_BxD = x_BxD.astype(jnp.float32)
    return x_BxD * jax.lax.rsqrt(jnp.square(x_BxD).sum(-1, keepdims=True) + 1e-12)


@functools.lru_cache
def _abstract(config: DualEncoderConfig, dtype: str) -> tuple[nnx.GraphDef, Params]:
    make = functools.partial(DualEncoder, config, jnp.dtype(dtype))
    graphdef, state = nnx.split(nnx.eval_shape(lambda: make(rngs=nnx.Rngs(0))))
    return graphdef, nnx.to_pure_dict(state)


def param_shapes(config: DualEncoderConfig) -> Params:
    """What `init_params` would give, as `jax.ShapeDtypeStruct`."""
    return jax.tree.map(lambda x: x, _abstract(config, "float32")[1])


def init_params(config: DualEncoderConfig, key: jax.Array) -> Params:
    """Fresh float32 parameters as a nested dict. Pure: run it under `jax.jit` to shard them."""
    model = DualEncoder(config, jnp.dtype("float32"), rngs=nnx.Rngs(params=key))
    return nnx.to_pure_dict(nnx.state(model, nnx.Param))


def apply(
    config: DualEncoderConfig,
    params: Params,
    images: jax.Array | None = None,
    tokens: jax.Array | None = None,
    mask: jax.Array | None = None,
    dtype: str = "float32",
) -> tuple[jax.Array | None, jax.Array | None, dict[str, jax.Array]]:
    """`DualEncoder.__call__` as a pure function of the parameters; matmuls run in `dtype`."""
    model = nnx.merge(_abstract(config, dtype)[0], nnx.State(params))
    return model(images, tokens, mask)


def apply_training(
    config: DualEncoderConfig,
    params: Params,
    images: jax.Array,
    tokens: jax.Array,
    mask: jax.Array,
    dtype: str = "float32",
) -> tuple[tuple[jax.Array, jax.Array, dict[str, jax.Array]], Params]:
    """`apply` as training needs it: the outputs, and the running statistics after this batch.

    The statistics are a part of the tree of parameters, {} without batch norms; under `jax.jit`
    they are those of the global batch, however it is sharded.
    """
    model = nnx.merge(_abstract(config, dtype)[0], nnx.State(params))
    z_img, z_txt, scales = model(images, tokens, mask, train=True)
    moved = nnx.to_pure_dict(nnx.state(model, nnx.Param))
    return (z_img, z_txt, scales), _batch_stats(moved)


def _batch_stats(params: Params) -> Params:
    found = {k: _batch_stats(v) for k, v in params.items() if isinstance(v, dict)}
    found |= {k: v for k, v in params.items() if k in BATCH_STATS}
    return {k: v for k, v in found.items() if not isinstance(v, dict) or v}


def update_batch_stats(params: Params, running: Params) -> Params:
    """The parameters with these running statistics in place of their own."""
    return {
        k: update_batch_stats(v, running.get(k, {})) if isinstance(v, dict) else running.get(k, v)
        for k, v in params.items()
    }


def embed_images(
    config: DualEncoderConfig, params: Params, images: jax.Array, dtype: str = "float32"
) -> jax.Array:
    """Patches [B, S, S, 3], uint8 or cut from `photo_features`, to unit rows, float32 [B, D]."""
    z_img, _, _ = apply(config, params, images=images, dtype=dtype)
    assert z_img is not None
    return z_img


def photo_features(photo: jax.Array) -> jax.Array:
    """What a ViT of features "spectrum" computes of every patch, once for a whole photo.

    uint8 [H, W, 3], sides multiples of 8, -> float32 [H, W, 3]. Patches whose corners lie at
    multiples of 8 consist of the same blocks, so nothing is lost.
    """
    return log_spectrum(photo[None].astype(jnp.float32) / 127.5 - 1.0)[0]


def embed_texts(
    config: DualEncoderConfig,
    params: Params,
    tokens: jax.Array,
    mask: jax.Array,
    dtype: str = "float32",
) -> jax.Array:
    """int32 tokens [B, L] with their bool mask to unit rows, float32 [B, D]."""
    _, z_txt, _ = apply(config, params, tokens=tokens, mask=mask, dtype=dtype)
    assert z_txt is not None
    return z_txt
