"""Both encoders, their projections into one space, and the only door to Flax NNX.

Outside this package parameters are plain nested dicts of arrays, so that the optimiser, the
checkpoints, the sharding rules and the release file need to know nothing of Flax.
"""

from __future__ import annotations

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
from flax import nnx

from exif_jax.models.distilbert import DistilBert, DistilBertConfig
from exif_jax.models.parameters import Params
from exif_jax.models.resnet import ResNet, ResNetConfig
from exif_jax.models.text import TextConfig, TextTransformer
from exif_jax.models.vit import ViT, ViTConfig, log_spectrum

SCALARS = ("log_scale", "log_image_scale", "bias")  # parameters of the losses, not the encoders


@dataclasses.dataclass(frozen=True)
class DualEncoderConfig:
    """The model: two encoders, the width D of their shared space, and the losses' first scalars.

    Attributes:
        image, text: the encoders; ResNetConfig and DistilBertConfig are the paper's.
        embed_dim: D. The paper's text encoder has no projection, so D is its width there.
        init_temperature: tau at initialisation; logits are cosines / tau (CLIP: 0.07).
        init_bias: what is added to the logits at initialisation, for the sigmoid loss (SigLIP:
            -10); with 0 the model has no bias.
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
    """Encodes patches and EXIF texts as unit vectors in one space."""

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
            are_features = images.dtype != jnp.uint8
            x = images if are_features else images.astype(jnp.float32) / 127.5 - 1.0
            if isinstance(self.image, ViT):
                z_img = unit(self.image_projection(self.image(x, are_features)))
            else:
                z_img = unit(self.image(x, train))
        if tokens is not None and mask is not None:
            y = self.text(tokens, mask)
            z_txt = unit(y if isinstance(self.text, DistilBert) else self.text_projection(y))
        scalars = {name: getattr(self, name)[...] for name in SCALARS if hasattr(self, name)}
        return z_img, z_txt, scales(scalars)


def scales(params: Params) -> dict[str, jax.Array]:
    """Returns what the losses multiply and shift cosines by, as float32 scalars.

    "scale" is 1 / temperature between patches and texts, "image_scale" that among patches, and
    "bias", where the parameters have one, is added to the logits.

    Args:
        params: those of SCALARS at least.
    """
    values = {
        "scale": jnp.exp(params["log_scale"]),
        "image_scale": jnp.exp(params["log_image_scale"]),
    }
    if "bias" in params:
        values["bias"] = params["bias"]
    return values


def unit(x_BxD: jax.Array) -> jax.Array:
    """Scales rows to length 1, in float32; a zero row stays zero."""
    x_BxD = x_BxD.astype(jnp.float32)
    return x_BxD * jax.lax.rsqrt(jnp.square(x_BxD).sum(-1, keepdims=True) + 1e-12)


@functools.lru_cache
def _abstract(config: DualEncoderConfig, dtype: str) -> tuple[nnx.GraphDef, Params]:
    """The model without its numbers: its structure, and the shapes of its parameters."""
    build = functools.partial(DualEncoder, config, jnp.dtype(dtype))
    graphdef, state = nnx.split(nnx.eval_shape(lambda: build(rngs=nnx.Rngs(0))))
    return graphdef, nnx.to_pure_dict(state)


def param_shapes(config: DualEncoderConfig) -> Params:
    """Returns the tree that `init_params` would give, with `jax.ShapeDtypeStruct` as leaves."""
    return jax.tree.map(lambda x: x, _abstract(config, "float32")[1])  # a copy of the cached tree


def init_params(config: DualEncoderConfig, key: jax.Array) -> Params:
    """Returns fresh float32 parameters. It is pure: run it under `jax.jit` to shard them."""
    model = DualEncoder(config, jnp.dtype("float32"), rngs=nnx.Rngs(params=key))
    return nnx.to_pure_dict(nnx.state(model))


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
    """`apply` as training needs it: batch norms use the batch and move their statistics.

    Returns:
        The outputs of `apply`, and the running statistics after this batch: a part of the tree of
        parameters, {} for a model without batch norms. Under `jax.jit` they are those of the
        global batch, however it is sharded.
    """
    model = nnx.merge(_abstract(config, dtype)[0], nnx.State(params))
    z_img, z_txt, scales = model(images, tokens, mask, train=True)
    batch_stats = nnx.to_pure_dict(nnx.state(model, nnx.BatchStat))
    return (z_img, z_txt, scales), batch_stats


def embed_images(
    config: DualEncoderConfig, params: Params, images: jax.Array, dtype: str = "float32"
) -> jax.Array:
    """Embeds patches [B, S, S, 3], uint8 or of `photo_features`: float32 [B, D], unit rows."""
    z_img, _, _ = apply(config, params, images=images, dtype=dtype)
    assert z_img is not None
    return z_img


def photo_features(photo: jax.Array) -> jax.Array:
    """Computes once for a whole photo what a ViT of features "spectrum" computes of every patch.

    Patches whose corners lie at multiples of 8 consist of the same 8 x 8 blocks as the photo, so
    nothing is lost.

    Args:
        photo: uint8 [H, W, 3], H and W multiples of 8.

    Returns:
        float32 [H, W, 3]; cut patches from it and give them to `embed_images`.
    """
    return log_spectrum(photo[None].astype(jnp.float32) / 127.5 - 1.0)[0]


def embed_texts(
    config: DualEncoderConfig,
    params: Params,
    tokens: jax.Array,
    mask: jax.Array,
    dtype: str = "float32",
) -> jax.Array:
    """Embeds int32 tokens [B, L] with their bool mask: float32 [B, D], unit rows."""
    _, z_txt, _ = apply(config, params, tokens=tokens, mask=mask, dtype=dtype)
    assert z_txt is not None
    return z_txt
