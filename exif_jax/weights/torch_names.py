"""PyTorch's names and layouts of the paper's encoders to ours.

Names are those of torchvision's ResNet-50 and of DistilBERT in transformers. PyTorch lays
convolutions out [out, in, height, width] and matrices [out, in]; ours are [height, width, in, out]
and [in, out].
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

# Neither weights nor needed: counters of batches, and 0, 1, 2, ...
COUNTERS = re.compile(r".*\.(num_batches_tracked|position_ids)$")


def state_dict(saved: Any) -> dict[str, np.ndarray]:
    """The tensors of what `torch.save` saved, alone or under 'model', without wrappers' prefixes.

    Raises:
        ValueError: there is no dict of tensors.
    """
    inner = saved.get("model", saved) if isinstance(saved, dict) else saved
    if not isinstance(inner, dict):
        raise ValueError(f"it holds a {type(inner).__name__}, not a dict of tensors")
    # "module." is what DataParallel puts before every name.
    prefix = re.compile(r"^(module\.)?(model\.)?")
    return {prefix.sub("", str(name)): x for name, x in inner.items() if isinstance(x, np.ndarray)}


def name_differences(missing: list[str], unexpected: list[str]) -> str:
    """What to tell of names that are not as expected; "" where all are."""
    parts = [
        f"{len(names)} {kind} ({', '.join(names[:6])}{', ...' if len(names) > 6 else ''})"
        for kind, names in (("missing", missing), ("unexpected", unexpected))
        if names
    ]
    return f"tensors {' and '.join(parts)}" if parts else ""


def resnet_names(stages: tuple[int, ...]) -> dict[str, str]:
    """torchvision's names of a ResNet to ours; `fc` apart."""
    pairs = {"conv1": "stem", "bn1": "stem"}
    for i, blocks in enumerate(stages):
        for j in range(blocks):
            theirs, ours = f"layer{i + 1}.{j}", f"stage{i}_block{j}"
            for k in (1, 2, 3):
                pairs |= {f"{theirs}.{kind}{k}": f"{ours}/conv{k}" for kind in ("conv", "bn")}
            if j == 0:
                pairs |= {f"{theirs}.downsample.{k}": f"{ours}/shortcut" for k in (0, 1)}
    norm = {"weight": "scale", "bias": "bias", "running_mean": "mean", "running_var": "var"}
    names = {}
    for theirs, ours in pairs.items():
        if "bn" in theirs or theirs.endswith("downsample.1"):
            names |= {f"{theirs}.{k}": f"{ours}/{v}" for k, v in norm.items()}
        else:
            names[f"{theirs}.weight"] = f"{ours}/kernel"
    return names


def read_resnet(tensors: Mapping[str, np.ndarray], stages: tuple[int, ...]) -> dict[str, Any]:
    """torchvision's ResNet, `fc` included where it is there, as our flat parameters."""
    names = resnet_names(stages) | {"fc.weight": "fc/kernel", "fc.bias": "fc/bias"}
    return {
        names[name]: x.transpose(2, 3, 1, 0) if x.ndim == 4 else x.T
        for name, x in tensors.items()
        if name in names
    }


def read_distilbert(tensors: Mapping[str, np.ndarray], depth: int) -> dict[str, Any]:
    """transformers' DistilBERT as our flat parameters.

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
    """transformers' names of the tensors of a DistilBERT."""
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
