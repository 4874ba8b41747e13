"""From PyTorch's names and layouts of the paper's encoders to ours.

PyTorch's names are those of torchvision's ResNet-50 and of DistilBERT in transformers. It lays
convolutions out as [out, in, height, width] and matrices as [out, in]; ours are
[height, width, in, out] and [in, out].
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

# Tensors that are no weights and are not needed: counters of batches, and 0, 1, 2, ...
COUNTERS = re.compile(r".*\.(num_batches_tracked|position_ids)$")


def state_dict(saved: Any) -> dict[str, np.ndarray]:
    """Returns the tensors of a checkpoint by name, without the prefixes that wrappers add.

    Args:
        saved: what `read_torch` returns: a dict of tensors, or one that holds it as "model".

    Raises:
        ValueError: there is no dict of tensors.
    """
    tensors = saved.get("model", saved) if isinstance(saved, dict) else saved
    if not isinstance(tensors, dict):
        raise ValueError(f"it holds a {type(tensors).__name__}, not a dict of tensors")
    # DataParallel puts "module." before every name.
    prefix = re.compile(r"^(module\.)?(model\.)?")
    return {
        prefix.sub("", str(name)): x for name, x in tensors.items() if isinstance(x, np.ndarray)
    }


def resnet_names(stages: tuple[int, ...]) -> dict[str, str]:
    """Returns our path of each of torchvision's tensors of a ResNet, without its `fc`.

    Args:
        stages: bottleneck blocks in each stage.
    """
    modules = {"conv1": "stem", "bn1": "stem"}
    for i, blocks in enumerate(stages):
        for j in range(blocks):
            theirs, ours = f"layer{i + 1}.{j}", f"stage{i}_block{j}"
            for k in (1, 2, 3):
                modules |= {f"{theirs}.{kind}{k}": f"{ours}/conv{k}" for kind in ("conv", "bn")}
            if j == 0:
                modules |= {f"{theirs}.downsample.{k}": f"{ours}/shortcut" for k in (0, 1)}
    norm = {"weight": "scale", "bias": "bias", "running_mean": "mean", "running_var": "var"}
    names = {}
    for theirs, ours in modules.items():
        if "bn" in theirs or theirs.endswith("downsample.1"):
            names |= {f"{theirs}.{kind}": f"{ours}/{leaf}" for kind, leaf in norm.items()}
        else:
            names[f"{theirs}.weight"] = f"{ours}/kernel"
    return names


def read_resnet(tensors: Mapping[str, np.ndarray], stages: tuple[int, ...]) -> dict[str, Any]:
    """Returns the tensors of torchvision's ResNet by our paths and in our layout.

    Tensors of other names are left out; `fc` is read where the file has it.
    """
    names = resnet_names(stages) | {"fc.weight": "fc/kernel", "fc.bias": "fc/bias"}
    return {
        names[name]: x.transpose(2, 3, 1, 0) if x.ndim == 4 else x.T
        for name, x in tensors.items()
        if name in names
    }


def read_distilbert(tensors: Mapping[str, np.ndarray], depth: int) -> dict[str, Any]:
    """Returns the tensors of transformers' DistilBERT by our paths and in our layout.

    Args:
        tensors: by transformers' names.
        depth: number of its layers, which ours stacks along a leading axis.

    Raises:
        KeyError: a tensor is missing.
    """

    def stacked(name: str) -> np.ndarray:
        return np.stack([tensors[f"transformer.layer.{i}.{name}"] for i in range(depth)])

    def linear(name: str) -> tuple[np.ndarray, np.ndarray]:
        return stacked(f"{name}.weight").swapaxes(1, 2), stacked(f"{name}.bias")

    flat = {
        "embed/embedding": tensors["embeddings.word_embeddings.weight"],
        "position": tensors["embeddings.position_embeddings.weight"],
        "norm/scale": tensors["embeddings.LayerNorm.weight"],
        "norm/bias": tensors["embeddings.LayerNorm.bias"],
    }
    qkv = [linear(f"attention.{part}_lin") for part in "qkv"]
    flat["blocks/attention/qkv/kernel"] = np.concatenate([kernel for kernel, _ in qkv], axis=2)
    flat["blocks/attention/qkv/bias"] = np.concatenate([bias for _, bias in qkv], axis=1)
    for ours, theirs in (
        ("attention/out", "attention.out_lin"),
        ("mlp1", "ffn.lin1"),
        ("mlp2", "ffn.lin2"),
    ):
        flat[f"blocks/{ours}/kernel"], flat[f"blocks/{ours}/bias"] = linear(theirs)
    for ours, theirs in (("norm1", "sa_layer_norm"), ("norm2", "output_layer_norm")):
        flat[f"blocks/{ours}/scale"] = stacked(f"{theirs}.weight")
        flat[f"blocks/{ours}/bias"] = stacked(f"{theirs}.bias")
    return flat


def distilbert_names(depth: int) -> list[str]:
    """Returns transformers' names of the tensors of a DistilBERT of so many layers."""
    parts = [
        *(f"attention.{part}_lin" for part in ("q", "k", "v", "out")),
        *("ffn.lin1", "ffn.lin2", "sa_layer_norm", "output_layer_norm"),
    ]
    modules = ["embeddings.LayerNorm"]
    modules += [f"transformer.layer.{i}.{part}" for i in range(depth) for part in parts]
    return [
        "embeddings.word_embeddings.weight",
        "embeddings.position_embeddings.weight",
        *(f"{module}.{kind}" for module in modules for kind in ("weight", "bias")),
    ]
