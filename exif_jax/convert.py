"""Makes a release file of a published checkpoint: `python -m exif_jax.convert wrapper.pth OUT`.

It reads the checkpoint of the paper's authors ({'epoch', 'model', 'optimizer', 'lr_sched'} with
`model.visual.*` as torchvision names a ResNet-50 and `model.transformer.*` as transformers names a
DistilBERT) and the pruned form that PhotoHolmes keeps of it. Nothing in the file is executed.
"""

from __future__ import annotations

import hashlib
import math
import os
import pathlib
import sys
from typing import Any

import numpy as np

from exif_jax.cli import command
from exif_jax.data.tokenizer import TokenizerError
from exif_jax.data.wordpiece import WordPiece
from exif_jax.io.errors import ExifJaxError
from exif_jax.models.distilbert import DistilBertConfig
from exif_jax.models.dual_encoder import DualEncoderConfig
from exif_jax.models.parameters import name_mismatch
from exif_jax.models.resnet import ResNetConfig
from exif_jax.reading.exif import TAGS
from exif_jax.weights import release_file, torch_names
from exif_jax.weights.torch_file import read_torch

# What the authors' checkpoint still holds of the CLIP that they took apart, and never uses.
LEFTOVERS = (
    "positional_embedding",
    "ln_final.weight",
    "ln_final.bias",
    "token_embedding.weight",
    "text_projection",
    "sink_temp",
)
# The paper's texts are "Name: value, Name: value" of the tags that half of its photos carry. Which
# these are was not published, so the model reads every canonical tag that a photo has.
TAG_NAMES = tuple(tag.name for table in TAGS.values() for tag in table)
MAX_LOG_SCALE = math.log(100.0)  # CLIP's bound, which a checkpoint without a scale is given
HEAD_WIDTH = 64  # of every DistilBERT; a checkpoint does not say how many heads it has


class ConvertError(ExifJaxError):
    """The file does not hold the paper's model; the message names the file and what is wrong."""


def convert(
    path: str | os.PathLike, vocabulary: bytes = b"", patch_size: int = 124
) -> tuple[release_file.Model, list[str]]:
    """Reads a published checkpoint of the paper's model.

    Args:
        path: `wrapper*.pth`, or what PhotoHolmes keeps of it.
        vocabulary: `vocab.txt` of `distilbert-base-uncased`; without it the model locates splices
            but reads no EXIF text.
        patch_size: side of a patch in pixels. The released evaluator uses 124, PhotoHolmes 128.

    Returns:
        The model, and notes on what was left out and why.

    Raises:
        ConvertError, TorchFileError, TokenizerError: the file or the vocabulary is not what it
            should be; the message names the file and the cause.
    """
    checkpoint = read_torch(path)
    try:
        tensors = torch_names.state_dict(checkpoint)
    except ValueError as e:
        raise ConvertError(f"{path}: {e}") from e
    image = _below("visual.", tensors)
    text = _below("transformer.", tensors)
    stages = ResNetConfig().stages
    depth = len({name.split(".")[2] for name in text if name.startswith("transformer.layer.")})
    _check_names(path, tensors, stages, max(depth, 1))
    notes = [f"left out {name}: never used" for name in tensors if name in LEFTOVERS]
    if "logit_scale" not in tensors:
        notes.append("no logit_scale: 100, CLIP's, is taken")
    try:
        text_config = _distilbert_config(text, depth)
        config = DualEncoderConfig(
            image=ResNetConfig(image_size=patch_size), text=text_config, embed_dim=text_config.width
        )
        log_scale = float(tensors.get("logit_scale", MAX_LOG_SCALE))
        log_scale = np.float32(min(max(log_scale, 0.0), MAX_LOG_SCALE))
        weights = {
            **{f"image/{k}": x for k, x in torch_names.read_resnet(image, stages).items()},
            **{f"text/{k}": x for k, x in torch_names.read_distilbert(text, depth).items()},
            "log_scale": log_scale,
            "log_image_scale": log_scale,
        }
        provenance = {"converted_from": _describe(path, checkpoint, tensors)}
        tokenizer = WordPiece(vocabulary)
        model = release_file.make_model(weights, config, tokenizer, TAG_NAMES, provenance)
    except (ValueError, TypeError, IndexError, TokenizerError) as e:  # of shapes that do not fit
        raise ConvertError(f"{path}: {e}") from e
    return model, notes


def _below(prefix: str, tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The tensors whose names begin so, by the rest of their names."""
    return {name[len(prefix) :]: x for name, x in tensors.items() if name.startswith(prefix)}


def _check_names(
    path: str | os.PathLike,
    tensors: dict[str, np.ndarray],
    stages: tuple[int, ...],
    depth: int,
) -> None:
    """Raises ConvertError where a tensor of the model is missing, or one is not known."""
    image_names = (*torch_names.resnet_names(stages), "fc.weight", "fc.bias")
    expected = [f"visual.{name}" for name in image_names]
    expected += [f"transformer.{name}" for name in torch_names.distilbert_names(depth)]
    known = {*expected, *LEFTOVERS, "logit_scale"}
    mismatch = name_mismatch(
        missing=[name for name in expected if name not in tensors],
        unexpected=[n for n in tensors if n not in known and not torch_names.COUNTERS.match(n)],
    )
    if mismatch:
        raise ConvertError(f"{path}: not the paper's model; {mismatch}")


def _distilbert_config(text: dict[str, np.ndarray], depth: int) -> DistilBertConfig:
    """The shape of a text encoder, as its tensors have it."""
    vocab_size, width = text["embeddings.word_embeddings.weight"].shape
    return DistilBertConfig(
        vocab_size=vocab_size,
        max_length=text["embeddings.position_embeddings.weight"].shape[0],
        width=width,
        depth=depth,
        heads=max(width // HEAD_WIDTH, 1),
        mlp_dim=text["transformer.layer.0.ffn.lin1.bias"].shape[0],
    )


def _describe(
    path: str | os.PathLike, checkpoint: dict[str, Any], tensors: dict[str, np.ndarray]
) -> dict[str, Any]:
    """Which file a model was converted from, and what of it was left out."""
    with open(path, "rb") as file:  # by pieces: checkpoints are large
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    left_out = [n for n in tensors if n in LEFTOVERS or torch_names.COUNTERS.match(n)]
    description = {
        "file": pathlib.Path(path).name,
        "sha256": sha256,
        "left_out": sorted(left_out),
    }
    if isinstance(checkpoint.get("epoch"), int):
        description["epoch"] = checkpoint["epoch"]
    return description


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    parser = command.parser(
        "exif_jax.convert",
        "Makes a release file of the paper's published checkpoint (wrapper*.pth), or "
        "of the pruned form of it that PhotoHolmes keeps. The file is read without running "
        "anything in it.",
        "exit codes: 0 written, 1 not converted, 2 wrong usage",
    )
    parser.add_argument("checkpoint", type=pathlib.Path, help="wrapper*.pth")
    parser.add_argument("out", type=pathlib.Path, help="the file to write, NAME.safetensors")
    parser.add_argument(
        "--vocab",
        type=pathlib.Path,
        help="vocab.txt of distilbert-base-uncased; without it the model reads no EXIF text",
    )
    parser.add_argument(
        "--patch-size",
        type=int,
        default=124,
        help="side of a patch in pixels: 124 as in the released evaluator (default), 128 as in "
        "PhotoHolmes",
    )
    parser.add_argument(
        "--dtype",
        choices=("float16", "float32"),
        default="float32",
        help="of the weights (default float32, as in the checkpoint)",
    )
    args = parser.parse_args(argv)
    if args.patch_size < 32:
        parser.error(f"--patch-size is {args.patch_size}; a ResNet needs at least 32 pixels")
    try:
        vocabulary = args.vocab.read_bytes() if args.vocab else b""
        model, notes = convert(args.checkpoint, vocabulary, args.patch_size)
        release_file.save_model(model, args.out, args.dtype)
    except ExifJaxError as e:
        return command.fail(e)
    except OSError as e:
        return command.fail(f"{e.filename or args.out}: {e.strerror or e}")
    for note in notes:
        print(note, file=sys.stderr)
    if not args.vocab:
        print("no --vocab: the model locates splices and reads no EXIF text", file=sys.stderr)
    print(f"{args.out}: converted; localise with --model {args.out}")
    return 0


def run() -> None:
    """The console script."""
    command.run(main)


if __name__ == "__main__":
    run()
