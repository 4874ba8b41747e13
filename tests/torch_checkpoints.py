"""Writes files as `torch.save` does, without PyTorch: pickles put together opcode by opcode."""

import dataclasses
import io
import math
import pickle
import struct
import zipfile

import numpy as np

STORAGES = {"f4": "FloatStorage", "f8": "DoubleStorage", "f2": "HalfStorage", "i8": "LongStorage"}
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C


@dataclasses.dataclass(frozen=True, eq=False)
class Call:
    """A call of a named function, as a pickle writes it: what malice would use."""

    module: str
    name: str
    args: tuple = ()


@dataclasses.dataclass(frozen=True, eq=False)
class View:
    """A tensor with a description of its own, to lie about its storage."""

    data: np.ndarray
    offset: int
    shape: tuple
    stride: tuple
    count: int


def plain(value) -> bytes:
    return pickle.dumps(value, 2)[2:-1]  # less protocol and STOP


def encode(value, storages: list, legacy=False) -> bytes:
    """The opcodes that push a value; arrays are appended to `storages`."""
    if isinstance(value, Call):
        head = b"c" + value.module.encode() + b"\n" + value.name.encode() + b"\n"
        return head + encode(value.args, storages, legacy) + b"R"
    if isinstance(value, np.ndarray):
        stride = tuple(math.prod(value.shape[i + 1 :]) for i in range(value.ndim))
        value = View(value, 0, value.shape, stride, value.size)
    if isinstance(value, View):
        key = str(len(storages))
        storages.append(np.ascontiguousarray(value.data))
        kind = b"ctorch\n" + STORAGES[value.data.dtype.str[1:]].encode() + b"\n"
        pid = b"(" + plain("storage") + kind + plain(key) + plain("cpu") + plain(value.count)
        pid += (plain(None) if legacy else b"") + b"tQ"
        args = b"(" + pid + plain(value.offset) + plain(value.shape) + plain(value.stride)
        args += plain(False) + b"ccollections\nOrderedDict\n)R" + b"t"
        return b"ctorch._utils\n_rebuild_tensor_v2\n" + args + b"R"
    if isinstance(value, dict):
        items = b"".join(plain(k) + encode(v, storages, legacy) for k, v in value.items())
        return b"}(" + items + b"u"
    if isinstance(value, tuple | list):
        kind = (b"(", b"t") if isinstance(value, tuple) else (b"](", b"e")
        return kind[0] + b"".join(encode(v, storages, legacy) for v in value) + kind[1]
    return plain(value)


def save(value, path, name="archive", compression=zipfile.ZIP_STORED) -> None:
    """The zip layout of PyTorch 1.6 and later."""
    storages: list = []
    program = b"\x80\x02" + encode(value, storages) + b"."
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr(f"{name}/data.pkl", program)
        for key, data in enumerate(storages):
            archive.writestr(f"{name}/data/{key}", data.tobytes())
        archive.writestr(f"{name}/version", "3\n")


def save_legacy(value, path) -> None:
    """The layout before it: pickles one after the other, then the numbers."""
    storages: list = []
    file = io.BytesIO()
    for head in (LEGACY_MAGIC, 1001, {"protocol_version": 1001, "little_endian": True}):
        file.write(pickle.dumps(head, 2))
    file.write(b"\x80\x02" + encode(value, storages, legacy=True) + b".")
    file.write(pickle.dumps([str(key) for key in range(len(storages))], 2))
    for data in storages:
        file.write(struct.pack("<q", data.size) + data.tobytes())
    path.write_bytes(file.getvalue())


# --- The published models, with random weights ----------------------------------------------------


def resnet50(rng, width=64, stages=(3, 4, 6, 3), outputs=768) -> dict:
    """Tensors under torchvision's names, in its order."""

    def norm(name, n):
        return {
            f"{name}.weight": rng.uniform(0.5, 1, n).astype("f4"),
            f"{name}.bias": rng.normal(0, 0.1, n).astype("f4"),
            f"{name}.running_mean": rng.normal(0, 0.1, n).astype("f4"),
            f"{name}.running_var": rng.uniform(0.5, 1.5, n).astype("f4"),
            f"{name}.num_batches_tracked": np.array(7, "i8"),
        }

    def conv(name, out, inputs, size):
        spread = (out * size * size) ** -0.5
        return {f"{name}.weight": rng.normal(0, spread, (out, inputs, size, size)).astype("f4")}

    tensors = conv("conv1", width, 3, 7) | norm("bn1", width)
    inputs = width
    for i, blocks in enumerate(stages):
        inner = width * 2**i
        for j in range(blocks):
            at = f"layer{i + 1}.{j}"
            sizes = ((inner, inputs, 1), (inner, inner, 3), (4 * inner, inner, 1))
            for k, (out, into, size) in enumerate(sizes, 1):
                tensors |= conv(f"{at}.conv{k}", out, into, size) | norm(f"{at}.bn{k}", out)
            if j == 0:
                tensors |= conv(f"{at}.downsample.0", 4 * inner, inputs, 1)
                tensors |= norm(f"{at}.downsample.1", 4 * inner)
            inputs = 4 * inner
    tensors["fc.weight"] = rng.normal(0, 0.02, (outputs, inputs)).astype("f4")
    tensors["fc.bias"] = rng.normal(0, 0.02, outputs).astype("f4")
    return tensors


def distilbert(rng, vocab=30, width=768, depth=2, mlp=64, length=512) -> dict:
    """Tensors under transformers' names."""

    def draw(*shape):
        return rng.normal(0, 0.05, shape).astype("f4")

    def linear(name, out, inputs):
        return {f"{name}.weight": draw(out, inputs), f"{name}.bias": draw(out)}

    def norm(name):
        return {f"{name}.weight": 1 + draw(width), f"{name}.bias": draw(width)}

    tensors = {
        "embeddings.position_ids": np.arange(length, dtype="i8")[None],
        "embeddings.word_embeddings.weight": draw(vocab, width),
        "embeddings.position_embeddings.weight": draw(length, width),
    }
    tensors |= norm("embeddings.LayerNorm")
    for i in range(depth):
        at = f"transformer.layer.{i}"
        for part in ("q", "k", "v", "out"):
            tensors |= linear(f"{at}.attention.{part}_lin", width, width)
        tensors |= norm(f"{at}.sa_layer_norm") | norm(f"{at}.output_layer_norm")
        tensors |= linear(f"{at}.ffn.lin1", mlp, width) | linear(f"{at}.ffn.lin2", width, mlp)
    return tensors


def published(rng, **text) -> dict:
    """What the paper's authors saved: the model between leftovers, optimiser and schedule."""
    model = {
        "sink_temp": np.array(2.659, "f4"),
        "model.positional_embedding": np.zeros((77, 8), "f4"),
        "model.text_projection": np.zeros((8, 8), "f4"),
        "model.logit_scale": np.array(4.6052, "f4"),
        "model.token_embedding.weight": np.zeros((9, 8), "f4"),
        "model.ln_final.weight": np.ones(8, "f4"),
        "model.ln_final.bias": np.zeros(8, "f4"),
    }
    model |= {f"model.visual.{name}": x for name, x in resnet50(rng).items()}
    model |= {f"model.transformer.{name}": x for name, x in distilbert(rng, **text).items()}
    return {
        "epoch": 75,
        "model": model,
        "optimizer": {
            "state": {0: {"step": np.array(9.0, "f4"), "exp_avg": np.zeros(3, "f4")}},
            "param_groups": [{"lr": 1e-4, "betas": (0.9, 0.98), "params": [0]}],
        },
        "lr_sched": {"T_max": 100, "base_lrs": [1e-4], "_last_lr": [9e-5]},
    }


def pruned(saved: dict) -> dict:
    """What PhotoHolmes keeps of it."""
    dropped = ("positional_embedding", "ln_final", "token_embedding", "text_projection", "sink")
    names = {name: name.replace("model.", "") for name in saved["model"]}
    return {new: saved["model"][old] for old, new in names.items() if not new.startswith(dropped)}
