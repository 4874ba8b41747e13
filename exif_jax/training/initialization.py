"""Where training begins: image encoders that others trained on ImageNet, or a model of ours."""

from __future__ import annotations

import math
import os
import pathlib

import numpy as np

from exif_jax.io.errors import ExifJaxError
from exif_jax.models.distilbert import DistilBertConfig
from exif_jax.models.dual_encoder import DualEncoderConfig, Params, param_shapes
from exif_jax.models.resnet import ResNetConfig
from exif_jax.models.vit import ViTConfig
from exif_jax.weights import release_file, torch_names
from exif_jax.weights.torch_file import read_torch


class PretrainedError(ExifJaxError):
    """A file that is no start for the image encoder; the message names it and the cause."""


def load_pretrained(
    params: Params, model: release_file.Model, parts: tuple[str, ...], path: str
) -> Params:
    """Fresh parameters with those of a trained model in their place.

    Args:
        params: nested arrays or shapes.
        model: whose weights to take.
        parts: top-level names ("image", "text", "text_projection", ...); () for all that both have.
        path: of the model, for messages.

    Raises:
        StartError: a part is missing, or is of another shape.
    """
    wanted = parts or tuple(name for name in params if name in model.params)
    missing = [name for name in wanted if name not in params or name not in model.params]
    if missing:
        raise PretrainedError(
            f"{path}: config.train.init_parts names {', '.join(missing)}; it has "
            f"{', '.join(sorted(model.params))}, and the config's model {', '.join(sorted(params))}"
        )
    taken = {name: model.params[name] for name in wanted}
    ours = {k: x.shape for k, x in release_file.flatten({n: params[n] for n in wanted}).items()}
    theirs = {k: x.shape for k, x in release_file.flatten(taken).items()}
    wrong = sorted(k for k in ours | theirs if ours.get(k) != theirs.get(k))
    if wrong:
        raise PretrainedError(
            f"{path}: its weights do not fit config.model; missing, unexpected or of another "
            f"shape: {', '.join(wrong[:6])}"
        )
    return params | taken


def load_pretrained_image_encoder(
    path: str | os.PathLike, config: ViTConfig | ResNetConfig
) -> Params:
    """The image encoder of a file, to begin a training run from.

    Args:
        path: `.npz` of the AugReg Vision Transformers (https://arxiv.org/abs/2106.10270), `.pth`
            of a torchvision ResNet, or `.safetensors` of ours.
        config: the image encoder to fill. A ViT needs `features = "pixels"` (of other files than
            ours); its positions are resized to the patch.

    Returns:
        float32 nested parameters, without the ResNet's `fc`, which the paper starts anew.

    Raises:
        StartError, TorchFileError, release.ReleaseError: naming the file and the cause.
    """
    kind = pathlib.Path(path).suffix
    if kind == ".safetensors":
        flat = release_file.flatten(release_file.load_model(path).params["image"])
    elif kind == ".npz" and isinstance(config, ViTConfig):
        flat = _read_augreg(path, config)
    elif kind in (".pth", ".pt") and isinstance(config, ResNetConfig):
        flat = _read_torchvision(path, config)
    else:
        raise PretrainedError(
            f"{path}: no start for this image encoder; a ViT starts from an AugReg .npz, a ResNet "
            "from a torchvision .pth, either from a .safetensors of ours"
        )
    flat = {k: np.asarray(x, np.float32) for k, x in flat.items() if not k.startswith("fc/")}
    text = DistilBertConfig(vocab_size=2, width=8, depth=1, heads=1, mlp_dim=8)
    whole = DualEncoderConfig(config, text, embed_dim=8)
    shapes = param_shapes(whole)["image"]
    expected = {
        k: x.shape for k, x in release_file.flatten(shapes).items() if not k.startswith("fc/")
    }
    found = {k: x.shape for k, x in flat.items()}
    wrong = sorted(k for k in expected | found if expected.get(k) != found.get(k))
    if wrong:
        raise PretrainedError(
            f"{path}: does not fit config.model.image; missing, unexpected or of another shape: "
            f"{', '.join(wrong[:6])}"
        )
    return release_file.unflatten(flat)


def _read_torchvision(path: str | os.PathLike, config: ResNetConfig) -> dict[str, np.ndarray]:
    try:
        tensors = torch_names.state_dict(read_torch(path))
    except ValueError as e:
        raise PretrainedError(f"{path}: {e}") from e
    names = torch_names.resnet_names(config.stages)
    missing = [name for name in names if name not in tensors]
    known = {*names, "fc.weight", "fc.bias"}
    unexpected = [n for n in tensors if n not in known and not torch_names.COUNTERS.match(n)]
    wrong = torch_names.name_differences(missing, unexpected)
    if wrong:
        raise PretrainedError(f"{path}: no ResNet with blocks {config.stages}; {wrong}")
    return torch_names.read_resnet(tensors, config.stages)


def _read_augreg(path: str | os.PathLike, config: ViTConfig) -> dict[str, np.ndarray]:
    """The names are those of google-research/vision_transformer.

    Those models use the tanh form of GELU and ours the exact one: activations differ by up to
    5e-4, which training closes at once.
    """
    if config.features != "pixels":
        raise PretrainedError(
            f"{path}: its first layer reads pixels; set model.image.features to it"
        )
    try:
        with np.load(path, allow_pickle=False) as file:
            tensors = {name: file[name] for name in file.files}
    except Exception as e:  # NumPy raises whatever its zip and header readers do
        raise PretrainedError(f"{path}: cannot read it ({e})") from e
    try:
        block = [f"Transformer/encoderblock_{i}/" for i in range(config.depth)]

        def stacked(name: str) -> np.ndarray:
            return np.stack([tensors[b + name] for b in block])

        kernel = tensors["embedding/kernel"]
        flat = {
            "embed/kernel": kernel.reshape(-1, kernel.shape[-1]),
            "embed/bias": tensors["embedding/bias"],
            "stack/norm/scale": tensors["Transformer/encoder_norm/scale"],
            "stack/norm/bias": tensors["Transformer/encoder_norm/bias"],
        }
        if config.pool == "cls":
            flat["cls"] = tensors["cls"].reshape(1, -1)
        positions = tensors["Transformer/posembed_input/pos_embedding"][0]
        flat["position"] = _resize_positions(positions, config)
        attention = "MultiHeadDotProductAttention_1/"
        width, depth = config.width, config.depth
        qkv = [stacked(f"{attention}{part}/kernel") for part in ("query", "key", "value")]
        biases = [stacked(f"{attention}{part}/bias") for part in ("query", "key", "value")]
        ours = {
            "attention/qkv/kernel": np.concatenate([x.reshape(depth, width, -1) for x in qkv], 2),
            "attention/qkv/bias": np.concatenate([x.reshape(depth, -1) for x in biases], 1),
            "attention/out/kernel": stacked(f"{attention}out/kernel").reshape(depth, -1, width),
            "attention/out/bias": stacked(f"{attention}out/bias"),
        }
        for mine, theirs in (
            *(("norm1", "LayerNorm_0"), ("norm2", "LayerNorm_2")),
            *(("mlp1", "MlpBlock_3/Dense_0"), ("mlp2", "MlpBlock_3/Dense_1")),
        ):
            for leaf in ("scale" if "norm" in mine else "kernel", "bias"):
                ours[f"{mine}/{leaf}"] = stacked(f"{theirs}/{leaf}")
    except KeyError as e:
        raise PretrainedError(
            f"{path}: not an AugReg ViT of depth {config.depth}: {e} is missing"
        ) from e
    except ValueError as e:
        raise PretrainedError(f"{path}: not an AugReg ViT of width {config.width} ({e})") from e
    return flat | {f"stack/blocks/{name}": x for name, x in ours.items()}


def _resize_positions(positions: np.ndarray, config: ViTConfig) -> np.ndarray:
    """[1 + n * n, D], the class token first, -> what the config has, bilinearly."""
    import jax

    cls, grid = positions[:1], positions[1:]
    old, new = math.isqrt(len(grid)), math.isqrt(config.num_tokens)
    if old * old != len(grid):
        raise ValueError(f"{len(positions)} positions are no square grid and a class token")
    if old != new:
        square = grid.reshape(old, old, -1)
        square = jax.image.resize(square, (new, new, grid.shape[1]), "bilinear")
        grid = np.asarray(square).reshape(new * new, -1)
    return np.concatenate([cls, grid]) if config.pool == "cls" else grid
