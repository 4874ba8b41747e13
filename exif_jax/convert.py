"""Makes a release file of a published checkpoint: `python -m exif_jax.convert wrapper.pth OUT`.

Read are the checkpoint of the paper's authors ({'epoch', 'model', 'optimizer', 'lr_sched'} with
`model.visual.*` as torchvision names a ResNet-50 and `model.transformer.*` as transformers names a
DistilBERT) and the pruned form that PhotoHolmes keeps of it. Nothing in the file is executed.
"""

from __future__ import annotations

import hashlib
import math
import os
import pathlib
import sys

import numpy as np

from exif_jax.cli import command
from exif_jax.data.tokenizer import TokenizerError
from exif_jax.data.wordpiece import WordPiece
from exif_jax.io.errors import ExifJaxError
from exif_jax.models.distilbert import DistilBertConfig
from exif_jax.models.dual_encoder import DualEncoderConfig
from exif_jax.models.resnet import ResNetConfig
from exif_jax.reading.exif import TAGS
from exif_jax.weights import release_file, torch_names
from exif_jax.weights.torch_file import TorchFileError, read_torch

# What the authors' checkpoint still holds of the CLIP that they took apart, and never uses.
LEFTOVERS = (
    *("positional_embedding", "ln_final.weight", "ln_final.bias", "token_embedding.weight"),
    *("text_projection", "sink_temp"),
)
DEFAULT_LOG_SCALE = math.log(100.0)


class ConvertError(ExifJaxError):
    """A file that holds none of the known models; the message names what is wrong."""


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
        ConvertError, TorchFileError, TokenizerError: naming the file and the cause.
    """
    saved = read_torch(path)
    try:
        tensors = torch_names.state_dict(saved)
    except ValueError as e:
        raise ConvertError(f"{path}: {e}") from e
    image = {k[len("visual.") :]: x for k, x in tensors.items() if k.startswith("visual.")}
    text = {k[len("transformer.") :]: x for k, x in tensors.items() if k.startswith("transformer.")}
    image_config = ResNetConfig(image_size=patch_size)
    depth = len({k.split(".")[2] for k in text if k.startswith("transformer.layer.")})
    wanted = [
        *(
            f"visual.{name}"
            for name in (*torch_names.resnet_names(image_config.stages), "fc.weight", "fc.bias")
        ),
        *(f"transformer.{name}" for name in torch_names.distilbert_names(max(depth, 1))),
    ]
    notes = [f"left out {name}: never used" for name in tensors if name in LEFTOVERS]
    known = {*wanted, *LEFTOVERS, "logit_scale"}
    unexpected = [n for n in tensors if n not in known and not torch_names.COUNTERS.match(n)]
    wrong = torch_names.name_differences([n for n in wanted if n not in tensors], unexpected)
    if wrong:
        raise ConvertError(f"{path}: not the paper's model; {wrong}")
    if "logit_scale" not in tensors:
        notes.append("no logit_scale: 100, CLIP's, is taken")
    vocab_size, width = text["embeddings.word_embeddings.weight"].shape
    config = DualEncoderConfig(
        image=image_config,
        text=DistilBertConfig(
            vocab_size=vocab_size,
            max_length=text["embeddings.position_embeddings.weight"].shape[0],
            width=width,
            depth=depth,
            heads=max(width // 64, 1),
            mlp_dim=text["transformer.layer.0.ffn.lin1.bias"].shape[0],
        ),
        embed_dim=width,
    )
    scale = float(tensors.get("logit_scale", DEFAULT_LOG_SCALE))
    scale = np.float32(min(max(scale, 0.0), DEFAULT_LOG_SCALE))
    flat = {f"image/{k}": x for k, x in torch_names.read_resnet(image, image_config.stages).items()}
    flat |= {f"text/{k}": x for k, x in torch_names.read_distilbert(text, depth).items()}
    flat |= {"log_scale": scale, "log_image_scale": scale}
    provenance = {
        "converted_from": {
            "file": pathlib.Path(path).name,
            "sha256": _sha256(path),
            "left_out": sorted(
                n for n in tensors if n in LEFTOVERS or torch_names.COUNTERS.match(n)
            ),
        }
    }
    if isinstance(saved.get("epoch"), int):
        provenance["converted_from"]["epoch"] = saved["epoch"]
    try:
        model = release_file.make_model(
            flat, config, WordPiece(vocabulary), tuple(TAGS), provenance
        )
    except (ValueError, TokenizerError) as e:
        raise ConvertError(f"{path}: {e}") from e
    return model, notes


def _sha256(path: str | os.PathLike) -> str:
    with open(path, "rb") as file:  # by pieces: checkpoints are large
        return hashlib.file_digest(file, "sha256").hexdigest()


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
    except (ConvertError, TorchFileError, TokenizerError, release_file.ReleaseError) as e:
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
