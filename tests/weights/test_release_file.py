"""Release files: the round trip, and hostile files that must end in one kind of error."""

import base64
import dataclasses
import functools
import hashlib
import json
import os
import pathlib
import pickle
import re
import struct

import jax
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_model import random_params, tiny_config

from configs import vit_b
from data_prep.train_tokenizer import text_parts, train_tokenizer
from exif_jax.data.tokenizer import Tokenizer
from exif_jax.models.parameters import flatten_params
from exif_jax.weights.release_file import Model, ReleaseError, load_model, save_model

TAGS = ("Make", "Model", "Focal Length")


@functools.cache
def model() -> Model:
    tokenizer = Tokenizer(train_tokenizer([f"Make: {a}{b}" for a in "xyz" for b in "uvw"], 128))
    config = tiny_config(
        image={"token_size": 16, "width": 4, "mlp_dim": 4},
        text={"vocab_size": tokenizer.vocab_size, "width": 4, "mlp_dim": 4},
        embed_dim=4,
    )
    provenance, calibration = {"steps": 7, "note": "é"}, {"null": [0.1, 0.25]}
    return Model(config, random_params(config), tokenizer, TAGS, provenance, calibration)


@pytest.fixture(scope="module")
def released(tmp_path_factory) -> pathlib.Path:
    path = tmp_path_factory.mktemp("release") / "model.safetensors"
    save_model(model(), path)
    return path


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_a_round_trip_keeps_everything(tmp_path, dtype):
    path = tmp_path / "m.safetensors"
    save_model(model(), path, dtype)
    loaded = load_model(path)
    rounded = jax.tree.map(lambda x: x.astype(dtype).astype(np.float32), model().params)
    jax.tree.map(np.testing.assert_array_equal, loaded.params, rounded)
    assert {x.dtype for x in jax.tree.leaves(loaded.params)} == {np.dtype("float32")}
    assert loaded.config == model().config and hash(loaded.config) == hash(model().config)
    assert loaded.tokenizer.model_bytes == model().tokenizer.model_bytes
    assert loaded.tags == TAGS and loaded.provenance == model().provenance
    assert loaded.calibration == model().calibration
    assert loaded.patch_size == 16
    assert loaded.id == hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    assert os.listdir(tmp_path) == ["m.safetensors"]


def test_the_same_model_gives_the_same_file(released, tmp_path):
    save_model(load_model(released), tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == released.read_bytes()


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e6])
def test_weights_that_float16_cannot_hold_are_refused(tmp_path, value):
    params = jax.tree.map(np.copy, model().params)
    params["image"]["position"][0, 0] = value
    with pytest.raises(ReleaseError, match=r"image/position.*float16"):
        save_model(dataclasses.replace(model(), params=params), tmp_path / "m")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("broken", ["os.fsync", "os.replace"])
@pytest.mark.parametrize("before", [None, b"the model of yesterday"])
def test_a_failed_write_leaves_what_was_there(tmp_path, monkeypatch, broken, before):
    path = tmp_path / "m"
    if before:
        path.write_bytes(before)

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(broken, fail)
    with pytest.raises(OSError, match="No space left"):
        save_model(model(), path)
    monkeypatch.undo()
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == ({"m": before} if before else {})


# --- hostile files --------------------------------------------------------------------------------


def refuses(path, words="") -> None:
    """Loading ends in ReleaseError, which names the file and says `words`."""
    with pytest.raises(ReleaseError) as error:
        load_model(path)
    assert str(path) in str(error.value) and words in str(error.value)


def refuses_bytes(path, data: bytes, words="") -> None:
    path.write_bytes(data)
    refuses(path, words)


def parts(path) -> tuple[dict, dict[str, str]]:
    """Tensors and metadata of a file, to be changed and put together by `joined`."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    return safetensors.numpy.load(data), json.loads(data[8 : 8 + length])["__metadata__"]


def joined(tensors, meta) -> bytes:
    return safetensors.numpy.save(tensors, meta)


def test_the_weights_that_ship_name_no_path():
    provenance = load_model().provenance
    provenance.pop("validation", None)  # names such as tag_accuracy/Make
    assert "data" in provenance["config"]
    assert "/" not in json.dumps(provenance)


def test_the_weights_that_ship_are_the_ones_that_were_measured():
    """Their file may be written anew for its header; every published number is of these weights."""
    digest = hashlib.sha256()
    for path, x in sorted(flatten_params(load_model().params).items()):
        digest.update(path.encode() + x.tobytes())
    assert digest.hexdigest() == "44bd3a33076aed893d33654a1ce59fa6d5523a0402afb8c1b8977742c8c2b2c2"


def test_the_config_of_the_weights_that_ship_has_fields_that_are_explained():
    """Fields that a later version adds have defaults that change nothing."""
    recorded = load_model().provenance["config"]
    explained = vit_b.get_config().to_dict()
    assert recorded.keys() == explained.keys()
    for name, section in recorded.items():
        assert section.keys() <= explained[name].keys()


def test_what_is_no_file(tmp_path):
    refuses(tmp_path / "missing", "cannot read the model file (No such file")
    refuses(tmp_path, "not a regular file")
    refuses("/dev/zero", "not a regular file")
    refuses("null\0character", "cannot read the model file")
    os.mkfifo(tmp_path / "pipe")
    refuses(tmp_path / "pipe", "not a regular file")


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("the file was unpickled",))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00" * 7,
        b"\x00" * 8,
        b"\x00" * 100,
        b"\xff" * 100,
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 2**40) + b"{}" * 50,
        struct.pack("<Q", 2) + b"{}",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 4) + b"null",
        struct.pack("<Q", 60000) + b"[" * 60000,
        struct.pack("<Q", 20) + b'{"__metadata__":null}',
        pickle.dumps(Bomb()),
        pickle.dumps({"state_dict": [1.0]}),
        b"PK\x03\x04" + b"\x00" * 60,
        b"\x89PNG\r\n\x1a\n" + b"\x00" * 60,
    ],
)
def test_other_bytes(tmp_path, data):
    refuses_bytes(tmp_path / "m", data, "not a model that this version can read")


def test_truncation_anywhere(released, tmp_path):
    data = released.read_bytes()
    cuts = sorted({*range(0, 64), *np.linspace(64, len(data) - 1, 60).astype(int).tolist()})
    for cut in cuts:
        refuses_bytes(tmp_path / "m", data[:cut])
    refuses_bytes(tmp_path / "m", data + b"\x00")


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("format", "pt", "not an exif-jax file"),
        ("format_version", "one", ""),
        ("format_version", None, ""),
        ("config", None, "config"),
        ("config", "[]", ""),
        ("config", "{", ""),
        ("config", "[" * 100_000, ""),
        ("config", '{"image": 3, "text": {}}', ""),
        ("tokenizer_kind", None, "tokenizer_kind"),
        ("tokenizer_kind", "bpe", "bpe"),
        ("tokenizer", "?", ""),
        ("tokenizer", "", "tokenizer"),
        ("tokenizer", base64.b64encode(b"no model").decode(), "tokenizer"),
        ("tokenizer", base64.b64encode(pickle.dumps(Bomb())).decode(), "tokenizer"),
        ("tags", "7", ""),
        ("tags", '"Make"', "tags"),
        ("tags", "[1]", "tags"),
        ("provenance", "[1, 2]", ""),
        ("provenance", None, "provenance"),
        ("calibration", None, "calibration"),
        ("calibration", "3", ""),
    ],
)
def test_metadata_that_is_wrong(released, tmp_path, key, value, words):
    tensors, meta = parts(released)
    changed = {k: v for k, v in meta.items() if k != key} | ({} if value is None else {key: value})
    refuses_bytes(tmp_path / "m", joined(tensors, changed), words)


@pytest.mark.parametrize(
    ("version", "message"),
    [
        ("1", "an earlier exif-jax wrote this model .*train or convert the model again"),
        ("3", "a later exif-jax wrote this model .*update exif-jax"),
    ],
)
def test_a_file_of_another_version_is_refused_in_one_sentence(released, tmp_path, version, message):
    tensors, meta = parts(released)
    path = tmp_path / "m"
    path.write_bytes(joined(tensors, meta | {"format_version": version}))
    with pytest.raises(ReleaseError, match=rf"^{re.escape(str(path))}: {message}$"):
        load_model(path)


def test_no_metadata_at_all(released, tmp_path):
    refuses_bytes(tmp_path / "m", joined(parts(released)[0], None), "not an exif-jax file")


@pytest.mark.parametrize(
    "change",
    [
        {"width": 8},
        {"width": 0},
        {"width": "4"},
        {"width": 4.0},
        {"width": True},
        {"width": None},
        {"width": [4]},
        {"width": 10**12},
        {"width": 10**40},
        {"depth": 2},
        {"depth": 10**12},
        {"depth": -1},
        {"heads": 0},
        {"heads": 3},
        {"heads": -2},
        {"token_size": 0},
        {"token_size": 10**30},
        {"image_size": 32},
        {"image_size": 10**12 * 16},
        {"pool": "max"},
        {"pool": ["mean"]},
        {"pool": "cls"},
        {"remat": {}},
        {"unknown": 1},
    ],
)
def test_a_config_that_does_not_fit_the_weights(released, tmp_path, change):
    tensors, meta = parts(released)
    config = json.loads(meta["config"])
    config["image"] |= change
    refuses_bytes(tmp_path / "m", joined(tensors, meta | {"config": json.dumps(config)}))


@pytest.mark.parametrize("value", [0, -1.0, float("nan"), float("inf"), "x", None])
def test_a_temperature_that_cannot_be(released, tmp_path, value):
    tensors, meta = parts(released)
    config = json.loads(meta["config"]) | {"init_temperature": value}
    data = joined(tensors, meta | {"config": json.dumps(config)})
    refuses_bytes(tmp_path / "m", data, "init_temperature")


def test_tensors_that_are_wrong(released, tmp_path):
    tensors, meta = parts(released)
    name = "image/position"
    x = tensors[name]
    without = {k: v for k, v in tensors.items() if k != name}
    for change, words in [
        ({}, name),
        ({name: x, "extra": x}, "extra"),
        ({name: x, f"{name}/below": x}, ""),
        ({name: x, "/": x}, ""),
        ({name: x.reshape(-1)}, name),
        ({name: x[:0]}, name),
        ({name: np.full_like(x, np.nan)}, name),
        ({name: np.full_like(x, np.inf)}, name),
        ({name: x.astype(np.int8)}, name),
        ({name: x.astype(bool)}, name),
        ({name: np.full(x.shape, 1e300)}, name),
    ]:
        refuses_bytes(tmp_path / "m", joined(without | change, meta), words)


def test_a_tokenizer_with_other_pieces_is_refused(released, tmp_path):
    """Ids beyond the embedding table would come out as NaN, not as an error."""
    tensors, meta = parts(released)
    texts = [text_parts(a, b) for a in ("Make", "Flash") for b in ("Nadir", "Fired")]
    other = train_tokenizer(sorted({part for some in texts for part in some}), 256)
    assert Tokenizer(other).vocab_size != model().tokenizer.vocab_size
    changed = meta | {"tokenizer": base64.b64encode(other).decode()}
    refuses_bytes(tmp_path / "m", joined(tensors, changed), "pieces")


@pytest.fixture(scope="module")
def scratch(tmp_path_factory) -> pathlib.Path:
    return tmp_path_factory.mktemp("scratch") / "m"


def loads_or_refuses(path, data: bytes) -> None:
    """A changed byte may still be a model (a weight, a note); else it is a ReleaseError."""
    path.write_bytes(data)
    try:
        loaded = load_model(path)
    except ReleaseError as error:
        assert str(path) in str(error)
    else:
        assert all(np.isfinite(x).all() for x in jax.tree.leaves(loaded.params))
        assert loaded.tokenizer.vocab_size == loaded.config.text.vocab_size


@given(st.data())
@settings(max_examples=80, deadline=None)
def test_changed_bytes(released, scratch, data):
    content = bytearray(released.read_bytes())
    (header,) = struct.unpack("<Q", content[:8])
    # Half of the changes hit the header, which is where the structure is.
    end = data.draw(st.sampled_from([header + 8, len(content)]))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, end - 1))] = data.draw(st.integers(0, 255))
    loads_or_refuses(scratch, bytes(content))


@given(st.binary(max_size=300), st.booleans())
@settings(max_examples=100, deadline=None)
def test_random_bytes(scratch, content, framed):
    refuses_bytes(scratch, (struct.pack("<Q", len(content)) if framed else b"") + content)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=4,
)


@given(key=st.sampled_from(["tags", "provenance", "config", "image", "text"]), data=st.data())
@settings(max_examples=80, deadline=None)
def test_any_json_in_the_metadata(released, scratch, key, data):
    tensors, meta = parts(released)
    if key in ("image", "text"):
        config = json.loads(meta["config"])
        config[key][data.draw(st.sampled_from(sorted(config[key])))] = data.draw(JSON)
        key, value = "config", config
    else:
        value = data.draw(JSON)
    loads_or_refuses(scratch, joined(tensors, meta | {key: json.dumps(value)}))
