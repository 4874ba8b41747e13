"""The paper's encoders against PyTorch layers under torchvision's and transformers' names."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny_model import embed_images, embed_texts, relative_error

from configs import resnet50_paper
from exif_jax.models.config import config_from_dict, config_to_dict
from exif_jax.models.distilbert import DistilBertConfig
from exif_jax.models.dual_encoder import (
    DualEncoderConfig,
    apply,
    apply_training,
    init_params,
)
from exif_jax.models.parameters import update_batch_stats
from exif_jax.models.resnet import ResNetConfig
from exif_jax.models.text import TextConfig
from exif_jax.models.vit import ViTConfig
from exif_jax.training import sharding, train_state

CONFIG = DualEncoderConfig(
    ResNetConfig(image_size=44, width=8, stages=(2, 1, 2)),
    DistilBertConfig(vocab_size=50, max_length=12, width=24, depth=2, heads=3, mlp_dim=40),
    embed_dim=24,
)


def random_params(config, seed=0):
    """All leaves random, variances positive, so that no term of a layer can be missed."""
    shapes = jax.eval_shape(functools.partial(init_params, config), jax.random.key(0))
    rng = np.random.default_rng(seed)

    def draw(path, x):
        name = path[-1].key
        if name in ("scale", "var"):
            return rng.uniform(0.5, 1.5, x.shape).astype(np.float32)
        spread = 0.3 if name in ("bias", "mean") else x.shape[-2] ** -0.5 if x.ndim > 1 else 0.3
        return (rng.normal(size=x.shape) * spread).astype(np.float32)

    return jax.tree_util.tree_map_with_path(draw, shapes)


def images(count=5, size=44, seed=1):
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


def reference_resnet(torch, params, config):
    """torch.nn modules in a nest of torchvision's names, holding these parameters in float64."""
    nn = torch.nn

    def tensor(x):
        return torch.from_numpy(np.asarray(x, np.float64))

    def pair(p, stride):
        kernel = np.asarray(p["kernel"]).transpose(3, 2, 0, 1)
        out, inputs, size, _ = kernel.shape
        conv = nn.Conv2d(inputs, out, size, stride, (size - 1) // 2, bias=False).double()
        norm = nn.BatchNorm2d(out).double()
        conv.load_state_dict({"weight": tensor(kernel)})
        stats = {"running_mean": tensor(p["mean"]), "running_var": tensor(p["var"])}
        count = {"num_batches_tracked": torch.tensor(0)}
        norm.load_state_dict(
            {"weight": tensor(p["scale"]), "bias": tensor(p["bias"]), **stats, **count}
        )
        return nn.Sequential(conv, norm)

    class Block(nn.Module):
        def __init__(self, p, stride):
            super().__init__()
            self.a, self.b, self.c = (
                pair(p["conv1"], 1),
                pair(p["conv2"], stride),
                pair(p["conv3"], 1),
            )
            self.shortcut = pair(p["shortcut"], stride) if "shortcut" in p else nn.Identity()

        def forward(self, x):
            y = self.c(self.b(self.a(x).relu()).relu())
            return (y + self.shortcut(x)).relu()

    layers = [pair(params["stem"], 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    for i, blocks in enumerate(config.stages):
        for j in range(blocks):
            layers.append(Block(params[f"stage{i}_block{j}"], 2 if i > 0 and j == 0 else 1))
    fc = nn.Linear(*np.asarray(params["fc"]["kernel"]).shape).double()
    fc.load_state_dict(
        {
            "weight": tensor(np.asarray(params["fc"]["kernel"]).T),
            "bias": tensor(params["fc"]["bias"]),
        }
    )
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), fc)


def normalised(torch, pixels):
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073], dtype=torch.float64)
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711], dtype=torch.float64)
    x = torch.from_numpy(pixels.astype(np.float64)) / 255
    return ((x - mean) / std).permute(0, 3, 1, 2)


def unit(x):
    return x / x.norm(dim=-1, keepdim=True)


@pytest.mark.parametrize("size", [44, 61])
def test_resnet_in_inference(torch, size):
    params = random_params(CONFIG)
    net = reference_resnet(torch, params["image"], CONFIG.image).eval()
    with torch.no_grad():
        expected = unit(net(normalised(torch, images(size=size)))).numpy()
    assert relative_error(embed_images(CONFIG, params, images(size=size)), expected) < 1e-5


def test_full_resnet50_has_torchvisions_size_and_numbers(torch):
    config = DualEncoderConfig(ResNetConfig(), CONFIG.text, 24)
    params = random_params(config)
    trained = [
        x
        for path, x in jax.tree_util.tree_leaves_with_path(params["image"])
        if path[-1].key not in ("mean", "var")
    ]
    assert sum(x.size for x in trained) == 23_508_032 + 2048 * 24 + 24  # torchvision's, less its fc
    net = reference_resnet(torch, params["image"], config.image).eval()
    with torch.no_grad():
        expected = unit(net(normalised(torch, images(2, 124)))).numpy()
    assert relative_error(embed_images(config, params, images(2, 124)), expected) < 1e-5


def test_resnet_in_training_and_its_running_statistics(torch):
    params = random_params(CONFIG)
    net = reference_resnet(torch, params["image"], CONFIG.image).train()
    tokens, mask = np.ones((5, 3), np.int32), np.ones((5, 3), bool)
    run = jax.jit(functools.partial(apply_training, CONFIG))
    (z_img, _, _), batch_stats = run(params, images(), tokens, mask)
    with torch.no_grad():
        expected = unit(net(normalised(torch, images()))).numpy()
    assert relative_error(z_img, expected) < 1e-5
    after = update_batch_stats(params, batch_stats)
    again = reference_resnet(torch, after["image"], CONFIG.image).state_dict()
    moved = {k: v for k, v in net.state_dict().items() if "running" in k}
    assert len(moved) == 2 * (1 + 3 * 5 + 3)
    for name, value in moved.items():
        assert relative_error(again[name].numpy(), value.numpy()) < 1e-5, name
    np.testing.assert_array_equal(after["image"]["fc"]["kernel"], params["image"]["fc"]["kernel"])


def test_running_statistics_have_no_gradient():
    params, pixels = random_params(CONFIG), images()
    tokens, mask = np.ones((5, 3), np.int32), np.ones((5, 3), bool)

    def loss(params):
        return apply_training(CONFIG, params, pixels, tokens, mask)[0][0][:, 0].sum()

    grads = jax.jit(jax.grad(loss))(params)
    for path, g in jax.tree_util.tree_leaves_with_path(grads["image"]):
        assert (float(jnp.abs(g).max()) == 0) == (path[-1].key in ("mean", "var")), path


@pytest.mark.skipif(jax.device_count() < 8, reason="needs 8 devices")
def test_batch_norm_sees_the_batch_of_all_devices():
    tx = optax.sgd(0.1)
    step_config = train_state.StepConfig(CONFIG, tx)
    state = jax.jit(functools.partial(train_state.init_state, step_config))(jax.random.key(0))
    rng = np.random.default_rng(5)
    batch = {
        "image": images(16),
        "tokens": rng.integers(2, 50, (16, 4)).astype(np.int32),
        "token_mask": np.ones((16, 4), bool),
        "text_id": np.arange(16, dtype=np.uint32),
        "photo_id": np.arange(16, dtype=np.uint32),
    }
    step = functools.partial(train_state.train_step, step_config)
    alone, metrics = jax.jit(step)(state, batch)
    mesh = sharding.make_mesh(4, 2)
    shardings = sharding.state_shardings(mesh, jax.eval_shape(lambda: state))
    run = jax.jit(
        step,
        in_shardings=(shardings, sharding.batch_sharding(mesh)),
        out_shardings=(shardings, sharding.replicated(mesh)),
    )
    spread, spread_metrics = run(
        jax.device_put(state, shardings), jax.device_put(batch, sharding.batch_sharding(mesh))
    )
    np.testing.assert_allclose(spread_metrics["loss"], metrics["loss"], rtol=1e-5)
    assert np.abs(alone.params["image"]["stem"]["mean"]).max() > 1e-3  # it has moved from 0
    for (path, a), b in zip(
        jax.tree_util.tree_leaves_with_path(alone.params),
        jax.tree.leaves(spread.params),
        strict=True,
    ):
        # Sums over the batch are taken in another order: a few float32 roundings.
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-5, err_msg=str(path))


def test_distilbert(torch):
    nn, c = torch.nn, CONFIG.text
    params = random_params(CONFIG)
    p = params["text"]
    rng = np.random.default_rng(3)
    tokens = rng.integers(0, c.vocab_size, (4, 9)).astype(np.int32)
    mask = np.arange(9) < np.array([9, 1, 4, 7])[:, None]

    def tensor(x):
        return torch.from_numpy(np.asarray(x, np.float64))

    def linear(q, x):
        return x @ tensor(q["kernel"]) + tensor(q["bias"])

    def norm(q, x):
        return nn.functional.layer_norm(
            x, x.shape[-1:], tensor(q["scale"]), tensor(q["bias"]), 1e-12
        )

    x = tensor(p["embed"]["embedding"])[tokens.astype(np.int64)] + tensor(p["position"])[:9]
    x = norm(p["norm"], x)
    for i in range(c.depth):
        b = jax.tree.map(lambda leaf, i=i: np.asarray(leaf)[i], p["blocks"])
        attention = nn.MultiheadAttention(c.width, c.heads, batch_first=True).double()
        attention.load_state_dict(
            {
                "in_proj_weight": tensor(b["attention"]["qkv"]["kernel"].T),
                "in_proj_bias": tensor(b["attention"]["qkv"]["bias"]),
                "out_proj.weight": tensor(b["attention"]["out"]["kernel"].T),
                "out_proj.bias": tensor(b["attention"]["out"]["bias"]),
            }
        )
        with torch.no_grad():
            seen = attention(x, x, x, key_padding_mask=~torch.from_numpy(mask), need_weights=False)[
                0
            ]
        x = norm(b["norm1"], x + seen)
        x = norm(b["norm2"], x + linear(b["mlp2"], nn.functional.gelu(linear(b["mlp1"], x))))
    keep = torch.from_numpy(mask.astype(np.float64))[..., None]
    expected = unit((x * keep).sum(1) / keep.sum(1)).numpy()
    assert relative_error(embed_texts(CONFIG, params, tokens, mask), expected) < 1e-5


def test_what_follows_a_text_does_not_change_it():
    params = random_params(CONFIG)
    tokens = np.array([[3, 4, 5, 0, 0], [3, 4, 5, 9, 7]], np.int32)
    mask = np.array([[1, 1, 1, 0, 0]] * 2, bool)
    z = embed_texts(CONFIG, params, tokens, mask)
    np.testing.assert_allclose(z[0], z[1], atol=1e-6)


def test_the_widths_must_fit():
    with pytest.raises(ValueError, match="embed_dim 512 is not 24"):
        DualEncoderConfig(CONFIG.image, CONFIG.text, 512)


def test_towers_mix():
    config = DualEncoderConfig(
        CONFIG.image, TextConfig(vocab_size=9, width=8, heads=2, depth=1, mlp_dim=8), 16
    )
    z_img, z_txt, _ = apply(
        config, random_params(config), images(2), np.ones((2, 3), np.int32), np.ones((2, 3), bool)
    )
    assert z_img.shape == z_txt.shape == (2, 16)
    vit = ViTConfig(image_size=16, token_size=8, width=8, heads=2, depth=1, mlp_dim=8)
    config = DualEncoderConfig(vit, CONFIG.text, 24)
    assert embed_images(config, random_params(config), images(2, 16)).shape == (2, 24)


def test_the_papers_config_has_the_papers_size():
    """torchvision's ResNet-50 less its fc, transformers' DistilBERT; the counts are theirs."""
    fields = resnet50_paper.get_config().model.to_dict()
    fields["text"]["vocab_size"] = 30_522
    config = config_from_dict(fields)
    assert config_from_dict(config_to_dict(config)) == config
    shapes = jax.eval_shape(lambda key: init_params(config, key), jax.random.key(0))
    running = sum(
        x.size
        for path, x in jax.tree_util.tree_leaves_with_path(shapes["image"])
        if path[-1].key in ("mean", "var")
    )
    count = lambda tree: sum(x.size for x in jax.tree.leaves(tree))  # noqa: E731
    assert count(shapes["image"]) - running == 23_508_032 + 2048 * 768 + 768
    assert count(shapes["text"]) == 66_362_880
