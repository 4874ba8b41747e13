"""Encoders trained on ImageNet as starting points, with random weights in their layouts."""

import dataclasses

import jax
import numpy as np
import pytest
import torch_checkpoints as tc
from tiny_model import embed_images, init_params, relative_error

from exif_jax.data.wordpiece import WordPiece
from exif_jax.models.distilbert import DistilBertConfig
from exif_jax.models.dual_encoder import DualEncoderConfig, param_shapes
from exif_jax.models.resnet import ResNetConfig
from exif_jax.models.vit import ViTConfig
from exif_jax.training.initialization import (
    PretrainedError,
    load_pretrained,
    load_pretrained_image_encoder,
    without_positions,
)
from exif_jax.weights.release_file import Model
from exif_jax.weights.torch_file import TorchFileError

TEXT = DistilBertConfig(vocab_size=2, width=12, depth=1, heads=1, mlp_dim=8)
VIT = ViTConfig(image_size=32, token_size=8, width=12, depth=2, heads=3, mlp_dim=20, pool="cls")
RESNET = ResNetConfig(image_size=40, width=4, stages=(1, 2))


def augreg(rng, config, grid=4):
    """Arrays under the names of google-research/vision_transformer."""
    c, heads = config, config.heads
    draw = lambda *shape: rng.normal(0, 0.3, shape).astype(np.float32)  # noqa: E731
    tensors = {
        "embedding/kernel": draw(c.token_size, c.token_size, 3, c.width),
        "embedding/bias": draw(c.width),
        "cls": draw(1, 1, c.width),
        "Transformer/posembed_input/pos_embedding": draw(1, 1 + grid * grid, c.width),
        "Transformer/encoder_norm/scale": 1 + draw(c.width),
        "Transformer/encoder_norm/bias": draw(c.width),
        "head/kernel": draw(c.width, 1000),
        "head/bias": draw(1000),
    }
    for i in range(c.depth):
        at = f"Transformer/encoderblock_{i}/"
        for norm in ("LayerNorm_0", "LayerNorm_2"):
            tensors |= {f"{at}{norm}/scale": 1 + draw(c.width), f"{at}{norm}/bias": draw(c.width)}
        attention = f"{at}MultiHeadDotProductAttention_1/"
        for part in ("query", "key", "value"):
            tensors[f"{attention}{part}/kernel"] = draw(c.width, heads, c.width // heads)
            tensors[f"{attention}{part}/bias"] = draw(heads, c.width // heads)
        tensors[f"{attention}out/kernel"] = draw(heads, c.width // heads, c.width)
        tensors[f"{attention}out/bias"] = draw(c.width)
        for j, (a, b) in enumerate(((c.width, c.mlp_dim), (c.mlp_dim, c.width))):
            tensors[f"{at}MlpBlock_3/Dense_{j}/kernel"] = draw(a, b)
            tensors[f"{at}MlpBlock_3/Dense_{j}/bias"] = draw(b)
    return tensors


def vit_in_float64(tensors, config, pixels):
    """The class token after the last norm, straight from the arrays under their own names."""
    erf = pytest.importorskip("scipy.special").erf
    w = {name: np.float64(x) for name, x in tensors.items()}
    n, k = config.image_size // config.token_size, config.token_size

    def norm(x, name):
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
        return x * w[f"{name}/scale"] + w[f"{name}/bias"]

    rows = []
    for image in pixels / 127.5 - 1:
        tiles = [
            image[i * k : (i + 1) * k, j * k : (j + 1) * k] for i in range(n) for j in range(n)
        ]
        x = np.einsum("tyxc,yxcd->td", np.array(tiles), w["embedding/kernel"]) + w["embedding/bias"]
        x = np.concatenate([w["cls"][0], x]) + w["Transformer/posembed_input/pos_embedding"][0]
        for i in range(config.depth):
            at = f"Transformer/encoderblock_{i}/"
            attention = f"{at}MultiHeadDotProductAttention_1/"
            y = norm(x, f"{at}LayerNorm_0")
            q, key, v = (
                np.einsum("td,dhk->htk", y, w[f"{attention}{p}/kernel"])
                + w[f"{attention}{p}/bias"][:, None]
                for p in ("query", "key", "value")
            )
            logits = q @ key.transpose(0, 2, 1) / np.sqrt(q.shape[-1])
            p = np.exp(logits)
            y = p / p.sum(-1, keepdims=True) @ v
            y = np.einsum("htk,hkd->td", y, w[f"{attention}out/kernel"])
            x = x + y + w[f"{attention}out/bias"]
            h = norm(x, f"{at}LayerNorm_2") @ w[f"{at}MlpBlock_3/Dense_0/kernel"]
            h = h + w[f"{at}MlpBlock_3/Dense_0/bias"]
            h = h * (1 + erf(h / np.sqrt(2))) / 2
            x = x + h @ w[f"{at}MlpBlock_3/Dense_1/kernel"] + w[f"{at}MlpBlock_3/Dense_1/bias"]
        rows.append(norm(x, "Transformer/encoder_norm")[0])
    return np.array(rows)


def features(config, image_params, pixels):
    """The encoder's output, by a projection that is the identity."""
    whole = DualEncoderConfig(config, TEXT, embed_dim=12)
    params = init_params(whole, jax.random.key(0))
    params["image"] = image_params
    params["image_projection"] = {"kernel": np.eye(12, dtype=np.float32)}
    return embed_images(whole, params, pixels)


def test_augreg(tmp_path):
    tensors = augreg(np.random.default_rng(0), VIT)
    np.savez(tmp_path / "vit.npz", **tensors)
    pixels = np.random.default_rng(1).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    embeddings = features(VIT, load_pretrained_image_encoder(tmp_path / "vit.npz", VIT), pixels)
    expected = vit_in_float64(tensors, VIT, pixels)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert relative_error(embeddings, expected) < 1e-5


@pytest.mark.parametrize("old", [2, 8])
def test_positions_are_resized_to_the_patch(tmp_path, old):
    """A plane stays a plane, whatever the grid; the class token's place is kept or dropped."""
    tensors = augreg(np.random.default_rng(0), VIT, grid=old)
    y, x = np.mgrid[:old, :old] + 0.5
    plane = (y / old + 2 * x / old).reshape(-1, 1).repeat(12, 1)
    positions = np.concatenate([np.full((1, 12), 9.0), plane])[None].astype(np.float32)
    tensors["Transformer/posembed_input/pos_embedding"] = positions
    np.savez(tmp_path / "vit.npz", **tensors)
    y, x = np.mgrid[:4, :4] + 0.5
    inner = np.s_[1:3, 1:3]
    for pool in ("cls", "mean"):
        config = dataclasses.replace(VIT, pool=pool)
        resized = load_pretrained_image_encoder(tmp_path / "vit.npz", config)["position"]
        if pool == "cls":
            np.testing.assert_array_equal(resized[0], 9)
        grid = resized[-16:].reshape(4, 4, 12)
        expected = (y / 4 + 2 * x / 4)[..., None].repeat(12, 2)
        np.testing.assert_allclose(grid[inner], expected[inner], atol=1e-5)


def test_torchvision(tmp_path):
    tensors = tc.resnet50(np.random.default_rng(0), width=4, stages=(1, 2), outputs=1000)
    tc.save_legacy(tensors, tmp_path / "resnet.pth")
    params = load_pretrained_image_encoder(tmp_path / "resnet.pth", RESNET)
    assert "fc" not in params
    kernel = tensors["layer2.0.downsample.0.weight"]
    np.testing.assert_array_equal(
        params["stage1_block0"]["shortcut"]["kernel"], kernel.transpose(2, 3, 1, 0)
    )
    np.testing.assert_array_equal(
        params["stage1_block1"]["conv3"]["var"], tensors["layer2.1.bn3.running_var"]
    )
    fresh = init_params(DualEncoderConfig(RESNET, TEXT, 12), jax.random.key(0))["image"]
    del fresh["fc"]
    assert jax.tree.map(np.shape, params) == jax.tree.map(np.shape, fresh)


def test_refusals(tmp_path):
    tensors = augreg(np.random.default_rng(0), VIT)
    np.savez(tmp_path / "vit.npz", **tensors)
    np.savez(tmp_path / "evil.npz", x=np.array([object()], object))
    tc.save(tc.resnet50(np.random.default_rng(0), 4, (1, 2)), tmp_path / "r.pth")
    (tmp_path / "text.npz").write_text("hello")

    def refused(name, config, message, error=PretrainedError):
        with pytest.raises(error, match=message) as caught:
            load_pretrained_image_encoder(tmp_path / name, config)
        assert name in str(caught.value)

    refused("vit.npz", dataclasses.replace(VIT, features="spectrum"), "reads pixels")
    refused("vit.npz", dataclasses.replace(VIT, depth=3), "depth 3: .*encoderblock_2.* is missing")
    refused("vit.npz", dataclasses.replace(VIT, mlp_dim=8), "another shape: stack/blocks/mlp1/bias")
    refused("vit.npz", RESNET, "this image encoder cannot begin from such a file")
    refused("r.pth", VIT, "this image encoder cannot begin from such a file")
    refused(
        "r.pth",
        dataclasses.replace(RESNET, stages=(2, 2)),
        r"missing: layer1\.1\.bn1\.bias, .* more$",
    )
    refused("evil.npz", VIT, "cannot read it")
    refused("text.npz", VIT, "cannot read it")
    refused("nowhere.pth", RESNET, "cannot read it", TorchFileError)


def test_without_positions_the_encoder_begins_with_their_mean():
    model = dataclasses.replace(VIT, pool="mean_std", positions="learned")
    config = DualEncoderConfig(model, TEXT, embed_dim=12)
    params = jax.device_get(init_params(config, jax.random.key(0)))
    position = params["image"]["position"]
    params["image"]["position"] = np.broadcast_to(position.mean(0), position.shape)
    plain = dataclasses.replace(config, image=dataclasses.replace(model, positions="none"))
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    expected = embed_images(config, params, images)
    params["image"] = without_positions(params["image"])
    np.testing.assert_allclose(embed_images(plain, params, images), expected, atol=1e-5)
    assert without_positions(params["image"]) is params["image"]


def test_a_run_without_positions_begins_from_a_model_that_has_them(tmp_path):
    text = dataclasses.replace(TEXT)
    config = DualEncoderConfig(dataclasses.replace(VIT, pool="mean"), text, embed_dim=12)
    params = jax.device_get(init_params(config, jax.random.key(1)))
    trained = Model(config, params, WordPiece(b""), (), {})
    plain = dataclasses.replace(config, image=dataclasses.replace(config.image, positions="none"))
    begun = load_pretrained(param_shapes(plain), trained, (), "model")
    assert begun["image"].keys() == param_shapes(plain)["image"].keys()
    mean = params["image"]["position"].mean(axis=0)
    np.testing.assert_allclose(
        begun["image"]["embed"]["bias"], params["image"]["embed"]["bias"] + mean, atol=1e-7
    )
    np.testing.assert_array_equal(
        begun["image"]["stack"]["norm"]["scale"], params["image"]["stack"]["norm"]["scale"]
    )
