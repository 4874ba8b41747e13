"""The encoders against the same model written with torch.nn, in float64."""

import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from tiny_model import (
    embed,
    images_of,
    nnx_with,
    random_batch,
    random_params,
    relative_error,
    scipy_spectrum,
    texts_of,
    tiny_config,
)

from exif_jax.api import resolve_model
from exif_jax.models.dual_encoder import embed_images, photo_features
from exif_jax.models.transformer import Attention, Block


@pytest.fixture(scope="module")
def torch_reference():
    """Functions that run our parameters through PyTorch's own layers."""
    torch = pytest.importorskip("torch")
    nn = torch.nn

    def tensor(x):
        return torch.from_numpy(np.array(x, np.float64))

    def layer(module, **values):
        values.pop("kernel", None)
        module.load_state_dict({name: tensor(x) for name, x in values.items()})
        return module.double().eval()

    def linear(p):
        kernel = np.asarray(p["kernel"])
        module = nn.Linear(*kernel.shape, bias="bias" in p)
        return layer(module, **p | {"weight": kernel.T})

    def norm(p):
        return layer(nn.LayerNorm(len(p["scale"]), eps=1e-6), weight=p["scale"], bias=p["bias"])

    def attention(p, x, heads, mask=None):
        ours = {
            "in_proj_weight": np.asarray(p["qkv"]["kernel"]).T,
            "in_proj_bias": p["qkv"]["bias"],
            "out_proj.weight": np.asarray(p["out"]["kernel"]).T,
            "out_proj.bias": p["out"]["bias"],
        }
        module = layer(nn.MultiheadAttention(x.shape[-1], heads, batch_first=True), **ours)
        padding = None if mask is None else ~torch.from_numpy(np.array(mask))
        return module(x, x, x, key_padding_mask=padding, need_weights=False)[0]

    def block(p, x, heads, mask=None):
        x = x + attention(p["attention"], norm(p["norm1"])(x), heads, mask)
        return x + linear(p["mlp2"])(nn.GELU()(linear(p["mlp1"])(norm(p["norm2"])(x))))

    def stack(p, x, heads, mask=None):
        for n in range(len(p["blocks"]["norm1"]["scale"])):
            x = block(jax.tree.map(lambda a, n=n: a[n], p["blocks"]), x, heads, mask)
        return norm(p["norm"])(x)

    def vit(c, p, images):
        x = tensor(images).permute(0, 3, 1, 2) / 127.5 - 1
        s = c.token_size
        if c.features == "spectrum":
            x = tensor(scipy_spectrum(images)).permute(0, 3, 1, 2)
        if c.features == "texture":
            means = nn.functional.avg_pool2d(x, s)
            x = x - nn.functional.interpolate(means, scale_factor=s, mode="nearest")
        # The tokens' linear map is a convolution whose stride is its size.
        kernel = np.asarray(p["embed"]["kernel"]).reshape(s, s, 3, c.width).transpose(3, 2, 0, 1)
        patches = layer(nn.Conv2d(3, c.width, s, stride=s), weight=kernel, bias=p["embed"]["bias"])
        x = patches(x).flatten(2).transpose(1, 2)
        if c.pool == "cls":
            x = torch.cat([tensor(p["cls"]).expand(len(x), 1, -1), x], dim=1)
        x = x + tensor(p["position"]) if c.positions == "learned" else x
        x = stack(p["stack"], x, c.heads)
        if c.pool == "cls":
            return x[:, 0]
        if c.pool == "mean":
            return x.mean(1)
        return torch.cat([x.mean(1), (x.var(1, unbiased=False) + 1e-6).sqrt()], dim=1)

    def text(c, p, tokens, mask):
        x = nn.functional.embedding(
            torch.from_numpy(tokens).long(), tensor(p["embed"]["embedding"])
        )
        x = stack(p["stack"], x + tensor(p["position"])[: tokens.shape[1]], c.heads, mask)
        kept = torch.from_numpy(mask)[:, :, None]
        return (x * kept).sum(1) / kept.sum(1)

    def project(p, x):
        return nn.functional.normalize(linear(p)(x), dim=1).detach().numpy()

    def embed_images(c, p, batch):
        return project(p["image_projection"], vit(c.image, p["image"], batch["image"]))

    def embed_texts(c, p, batch):
        features = text(c.text, p["text"], batch["tokens"], batch["token_mask"])
        return project(p["text_projection"], features)

    return types.SimpleNamespace(
        tensor=tensor,
        attention=attention,
        block=block,
        embed_images=embed_images,
        embed_texts=embed_texts,
    )


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("part", ["attention", "block"])
def test_attention_and_block_equal_torch(torch_reference, part, masked):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(3, 7, 24)).astype(np.float32)
    mask = np.arange(7) < np.array([[7], [1], [4]]) if masked else None
    args = (24, 3) if part == "attention" else (24, 3, 40)
    kind = Attention if part == "attention" else Block
    module, params = nnx_with(lambda: kind(*args, jnp.dtype("float32"), nnx.Rngs(0)), seed=2)
    with jax.default_matmul_precision("highest"):
        out = module(x, None if mask is None else jnp.asarray(mask))
    reference = getattr(torch_reference, part)(params, torch_reference.tensor(x), 3, mask)
    assert relative_error(out, reference.detach().numpy()) < 1e-5


@pytest.mark.parametrize(
    ("pool", "features"),
    [("mean", "pixels"), ("mean_std", "texture"), ("mean_std", "spectrum"), ("cls", "pixels")],
)
def test_the_image_tower_equals_torch(torch_reference, pool, features):
    config = tiny_config(image={"image_size": 24, "pool": pool, "features": features, "heads": 4})
    params, batch = random_params(config), random_batch(config, rows=5)
    z_img, _ = embed(config, params, images_of(batch))
    reference = torch_reference.embed_images(config, params, batch)
    assert relative_error(z_img, reference) < 1e-5


def test_the_text_tower_equals_torch(torch_reference):
    config = tiny_config(text={"depth": 2})
    params, batch = random_params(config), random_batch(rows=6)
    _, z_txt = embed(config, params, texts_of(batch))
    assert relative_error(z_txt, torch_reference.embed_texts(config, params, batch)) < 1e-5


def test_the_weights_that_ship_embed_as_in_torch(torch_reference):
    """Patches as they are, and cut from the features of a whole photo."""
    model = resolve_model(None)
    rng = np.random.default_rng(5)
    noise = rng.normal(size=(136, 144, 3)).cumsum(0).cumsum(1)  # falls with the frequency
    photo = np.clip(128 + 4 * noise / noise.std() * 8, 0, 255).astype(np.uint8)
    patches = np.stack([photo[y : y + 128, x : x + 128] for y, x in [(0, 0), (8, 16)]])
    reference = torch_reference.embed_images(model.config, model.params, {"image": patches})
    embed = jax.jit(functools.partial(embed_images, model.config))
    np.testing.assert_allclose(embed(model.params, patches), reference, atol=1e-5)
    features = np.asarray(jax.jit(photo_features)(photo))
    cut = np.stack([features[:128, :128], features[8:136, 16:144]])
    np.testing.assert_allclose(embed(model.params, cut), reference, atol=1e-5)
