"""Where training begins: image encoders that others trained on ImageNet, or a model of ours."""

from __future__ import annotations

import math
import os
import pathlib

import numpy as np

from exif_jax.io.errors import ExifJaxError
from exif_jax.models.distilbert import DistilBertConfig
from exif_jax.models.dual_encoder import DualEncoderConfig, param_shapes
from exif_jax.models.parameters import (
    Params,
    flatten_params,
    name_mismatch,
    shape_mismatch,
    unflatten_params,
)
from exif_jax.models.resnet import ResNetConfig
from exif_jax.models.vit import ViTConfig
from exif_jax.weights import release_file, torch_names
from exif_jax.weights.torch_file import read_torch


class PretrainedError(ExifJaxError):
    """A file from which this training cannot begin; the message names it and the cause."""


def load_pretrained(
    params: Params, model: release_file.Model, parts: tuple[str, ...], path: str
) -> Params:
    """Returns fresh parameters with those of a trained model in their place.

    Args:
        params: nested arrays or shapes.
        model: whose weights to take.
        parts: top-level names ("image", "text", "text_projection", ...); () for all that both have.
        path: the model's file, for messages.

    Raises:
        PretrainedError: a part is missing, or is of another shape.
    """
    names = parts or tuple(name for name in params if name in model.params)
    missing = [name for name in names if name not in params or name not in model.params]
    if missing:
        raise PretrainedError(
            f"{path}: config.train.init_parts names {', '.join(missing)}; the file has "
            f"{', '.join(sorted(model.params))}, and the config's model {', '.join(sorted(params))}"
        )
    pretrained = {name: model.params[name] for name in names}
    if "image" in names and "position" not in params["image"]:
        pretrained["image"] = without_positions(pretrained["image"])
    mismatch = shape_mismatch(
        expected=flatten_params({name: params[name] for name in names}),
        given=flatten_params(pretrained),
    )
    if mismatch:
        raise PretrainedError(f"{path}: its weights do not fit config.model; {mismatch}")
    return params | pretrained


def without_positions(image: Params) -> Params:
    """The parameters of a ViT with the mean of its positions in the bias of its embedding."""
    if "position" not in image:
        return image
    position = np.asarray(image["position"], np.float32)
    embed = dict(image["embed"])
    embed["bias"] = embed["bias"] + position.mean(axis=0)
    rest = {name: x for name, x in image.items() if name not in ("position", "embed")}
    return rest | {"embed": embed}


def load_pretrained_image_encoder(
    path: str | os.PathLike, config: ViTConfig | ResNetConfig
) -> Params:
    """Reads an image encoder to begin a training run from.

    Args:
        path: `.npz` of the AugReg Vision Transformers (https://arxiv.org/abs/2106.10270), `.pth`
            of a torchvision ResNet, or `.safetensors` of ours.
        config: the image encoder to fill. To begin from an AugReg file, a ViT needs
            `features = "pixels"`; positions are resized to the patch.

    Returns:
        float32 nested parameters, without the ResNet's `fc`, which the paper starts anew.

    Raises:
        PretrainedError, TorchFileError, ReleaseError: the file cannot be read or does not fit; the
            message names the file and the cause.
    """
    suffix = pathlib.Path(path).suffix
    if suffix == ".safetensors":
        flat = flatten_params(release_file.load_model(path).params["image"])
    elif suffix == ".npz" and isinstance(config, ViTConfig):
        flat = _read_augreg(path, config)
    elif suffix in (".pth", ".pt") and isinstance(config, ResNetConfig):
        flat = _read_torchvision(path, config)
    else:
        raise PretrainedError(
            f"{path}: this image encoder cannot begin from such a file; a ViT begins from an "
            "AugReg .npz, a ResNet from a torchvision .pth, either from a .safetensors of ours"
        )
    if isinstance(config, ViTConfig) and config.positions == "none":
        flat = flatten_params(without_positions(unflatten_params(flat)))
    flat = {k: np.asarray(x, np.float32) for k, x in flat.items() if not k.startswith("fc/")}
    mismatch = shape_mismatch(_image_encoder_shapes(config), flat)
    if mismatch:
        raise PretrainedError(f"{path}: its weights do not fit config.model.image; {mismatch}")
    return unflatten_params(flat)


def _image_encoder_shapes(config: ViTConfig | ResNetConfig) -> Params:
    """Shapes of an image encoder's parameters by path, without the ResNet's `fc`."""
    # Any text encoder would do: shapes are known of whole models only.
    text = DistilBertConfig(vocab_size=2, width=8, depth=1, heads=1, mlp_dim=8)
    shapes = param_shapes(DualEncoderConfig(config, text, embed_dim=8))["image"]
    return {k: x for k, x in flatten_params(shapes).items() if not k.startswith("fc/")}


def _read_torchvision(path: str | os.PathLike, config: ResNetConfig) -> dict[str, np.ndarray]:
    """The tensors of a torchvision ResNet by our paths."""
    try:
        tensors = torch_names.state_dict(read_torch(path))
    except ValueError as e:
        raise PretrainedError(f"{path}: {e}") from e
    names = torch_names.resnet_names(config.stages)
    known = {*names, "fc.weight", "fc.bias"}
    mismatch = name_mismatch(
        missing=[name for name in names if name not in tensors],
        unexpected=[n for n in tensors if n not in known and not torch_names.COUNTERS.match(n)],
    )
    if mismatch:
        raise PretrainedError(f"{path}: not a ResNet with blocks {config.stages}; {mismatch}")
    return torch_names.read_resnet(tensors, config.stages)


def _read_augreg(path: str | os.PathLike, config: ViTConfig) -> dict[str, np.ndarray]:
    """The arrays of an AugReg ViT by our paths.

    Their names are those of google-research/vision_transformer. Those models use the tanh form of
    GELU and ours the exact one: activations differ by up to 5e-4, which training closes at once.
    """
    if config.features != "pixels":
        raise PretrainedError(
            f"{path}: its first layer reads pixels; set config.model.image.features to 'pixels'"
        )
    try:
        with np.load(path, allow_pickle=False) as file:
            tensors = {name: file[name] for name in file.files}
    except Exception as e:  # NumPy raises whatever its zip and header readers do
        raise PretrainedError(f"{path}: cannot read it ({e})") from e
    try:
        return _rename_augreg(tensors, config)
    except KeyError as e:
        raise PretrainedError(
            f"{path}: not an AugReg ViT of depth {config.depth}: {e} is missing"
        ) from e
    except ValueError as e:
        raise PretrainedError(f"{path}: not an AugReg ViT of width {config.width} ({e})") from e


# Layers of our blocks, and theirs, that differ in nothing but the name.
_AUGREG_LAYERS = {
    "norm1": "LayerNorm_0",
    "norm2": "LayerNorm_2",
    "mlp1": "MlpBlock_3/Dense_0",
    "mlp2": "MlpBlock_3/Dense_1",
}


def _rename_augreg(tensors: dict[str, np.ndarray], config: ViTConfig) -> dict[str, np.ndarray]:
    """Raises KeyError and ValueError where arrays are missing or of another width."""
    depth, width = config.depth, config.width

    def stacked(name: str) -> np.ndarray:
        """One array of all blocks, along a leading axis."""
        return np.stack([tensors[f"Transformer/encoderblock_{i}/{name}"] for i in range(depth)])

    kernel = tensors["embedding/kernel"]
    positions = tensors["Transformer/posembed_input/pos_embedding"][0]
    flat = {
        "embed/kernel": kernel.reshape(-1, kernel.shape[-1]),
        "embed/bias": tensors["embedding/bias"],
        "position": _resize_positions(positions, config),
        "stack/norm/scale": tensors["Transformer/encoder_norm/scale"],
        "stack/norm/bias": tensors["Transformer/encoder_norm/bias"],
    }
    if config.pool == "cls":
        flat["cls"] = tensors["cls"].reshape(1, -1)
    attention = "MultiHeadDotProductAttention_1"
    parts = ("query", "key", "value")
    kernels = [stacked(f"{attention}/{part}/kernel").reshape(depth, width, -1) for part in parts]
    biases = [stacked(f"{attention}/{part}/bias").reshape(depth, -1) for part in parts]
    blocks = {
        "attention/qkv/kernel": np.concatenate(kernels, axis=2),
        "attention/qkv/bias": np.concatenate(biases, axis=1),
        "attention/out/kernel": stacked(f"{attention}/out/kernel").reshape(depth, -1, width),
        "attention/out/bias": stacked(f"{attention}/out/bias"),
    }
    for ours, theirs in _AUGREG_LAYERS.items():
        weight = "scale" if ours.startswith("norm") else "kernel"
        blocks[f"{ours}/{weight}"] = stacked(f"{theirs}/{weight}")
        blocks[f"{ours}/bias"] = stacked(f"{theirs}/bias")
    return flat | {f"stack/blocks/{name}": x for name, x in blocks.items()}


def _resize_positions(positions: np.ndarray, config: ViTConfig) -> np.ndarray:
    """Resizes positions bilinearly to the grid of a config.

    Args:
        positions: [1 + n * n, D], the class token first.
        config: its `num_tokens` and `pool` decide what is returned.

    Returns:
        [num_tokens, D], behind the class token's position where the config pools by it.
    """
    import jax

    cls, grid = positions[:1], positions[1:]
    old, new = math.isqrt(len(grid)), math.isqrt(config.num_tokens)
    if old * old != len(grid):
        raise ValueError(f"{len(positions)} positions are not a square grid and a class token")
    if old != new:
        square = grid.reshape(old, old, -1)
        square = jax.image.resize(square, (new, new, grid.shape[1]), "bilinear")
        grid = np.asarray(square).reshape(new * new, -1)
    return np.concatenate([cls, grid]) if config.pool == "cls" else grid
