"""The mean of weights: against NumPy in float64, what is kept of the rest, and what is refused."""

import dataclasses

import jax
import numpy as np
import pytest
from small_disk import read_only
from tiny_model import random_params, tiny_config

from data_prep.train_tokenizer import train_tokenizer
from exif_jax.average import average, main
from exif_jax.data.tokenizer import Tokenizer
from exif_jax.models.parameters import flatten_params
from exif_jax.models.tampering_map import TamperingMapConfig, init_map_params
from exif_jax.weights.map_file import MapModel, load_map, save_map
from exif_jax.weights.release_file import FORMAT, Model, load_model, save_model

TAGS = ("Make", "Model")


def trained(first, second):
    return Tokenizer(train_tokenizer([f"Make: {a}{b}" for a in first for b in second], 128))


@pytest.fixture(scope="module")
def tokenizer():
    return trained("xyz", "uvw")


def model(tokenizer, seed=0, **config):
    config = tiny_config(text={"vocab_size": tokenizer.vocab_size}, **config)
    provenance = {"config": {"data": {}}, "steps": seed, "validation": {"loss": 1.0}}
    return Model(
        config, random_params(config, seed), tokenizer, TAGS, provenance, {"scores": [0.5]}, "f00d"
    )


@pytest.mark.parametrize("count", [2, 3])
def test_weights_are_the_mean(tokenizer, tmp_path, count):
    models = [model(tokenizer, seed) for seed in range(count)]
    paths = [str(tmp_path / f"{seed}.safetensors") for seed in range(count)]
    for each, path in zip(models, paths, strict=True):
        save_model(each, path, "float32")
    out = tmp_path / "mean.safetensors"
    assert main([*paths, str(out)]) == 0
    mean, ids = load_model(out), [load_model(path).id for path in paths]
    flat = [flatten_params(each.params) for each in models]
    for name, x in flatten_params(mean.params).items():
        expected = sum(each[name].astype(np.float64) for each in flat) / count
        np.testing.assert_allclose(x, expected, rtol=2**-11, atol=2**-24)  # of float16
    assert mean.tags == TAGS and mean.config == models[0].config
    assert mean.tokenizer.model_bytes == tokenizer.model_bytes
    # What was measured of one of them does not hold for the mean.
    assert mean.calibration == {} and "validation" not in mean.provenance
    assert mean.provenance["mean_of"] == [{"id": ids[i], "steps": i} for i in range(count)]
    assert mean.provenance["config"] == {"data": {}}


def a_map(seed, **config):
    shape = {"block_width": 8, "width": 8, "hidden": 8, "radii": (3,), "fine_radii": (3,)}
    shape |= {"references": 2, "alike": (), "head_width": 2}
    config = TamperingMapConfig(**(shape | config))
    params = init_map_params(config, jax.random.key(seed))
    return MapModel(config, params, {"steps": seed, "validation": {"ap": 0.5}}, "beef")


def test_weights_of_maps_are_the_mean_and_one_named_twice_counts_twice(tmp_path, capsys):
    one, other = (str(tmp_path / f"{seed}.safetensors") for seed in (1, 2))
    for path, seed in ((one, 1), (other, 2)):
        save_map(a_map(seed), path)
    out = tmp_path / "mean.safetensors"
    assert main([one, one, other, str(out)]) == 0
    mean, flat = load_map(out), [flatten_params(load_map(path).params) for path in (one, other)]
    for name, x in flatten_params(mean.params).items():
        expected = (2 * flat[0][name].astype(np.float64) + flat[1][name]) / 3
        np.testing.assert_allclose(x, expected, rtol=1e-6, atol=1e-8)
    assert [each["steps"] for each in mean.provenance["mean_of"]] == [1, 1, 2]
    assert "validation" not in mean.provenance

    save_map(a_map(3, width=16), other)
    assert main([one, other, str(out)]) == 1
    assert f"{one}, {other}: the maps differ in their configuration" in capsys.readouterr().err


def test_encoders_and_maps_have_no_mean(tokenizer, tmp_path, capsys):
    a, b, out = (str(tmp_path / f"{name}.safetensors") for name in ("a", "b", "out"))
    save_model(model(tokenizer), a)
    save_map(a_map(1), b)
    assert main([a, b, out]) == 1
    assert f"{b}: holds a tampering_map, not encoders" in capsys.readouterr().err
    assert main([b, a, out]) == 1
    assert f"{a}: holds encoders, not a learned map" in capsys.readouterr().err


def header(text):
    return len(text).to_bytes(8, "little") + text


NO_VERSION = header(b'{"__metadata__": {"format": "%s"}}' % FORMAT.encode())


@pytest.mark.parametrize("content", [b"", b"x", header(b"[]"), b"\xff" * 8, NO_VERSION])
def test_what_is_no_release_file_is_named(tmp_path, capsys, content):
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    assert main([str(path), str(path), f"{tmp_path}/out"]) == 1
    assert f"{path}: not a model that this version can read" in capsys.readouterr().err


def test_a_model_with_itself_is_itself(tokenizer):
    one = model(tokenizer, 3)
    mean = flatten_params(average([one, one]).params)
    for name, x in flatten_params(one.params).items():
        np.testing.assert_array_equal(mean[name], x)
        assert mean[name].dtype == np.float32


def test_unlike_models_are_refused(tokenizer):
    one = model(tokenizer)
    other = trained("xyz", "rst")
    for unlike, word in (
        (model(tokenizer, image={"depth": 2}), "configuration"),
        (dataclasses.replace(one, tokenizer=other), "tokenizer"),
        (dataclasses.replace(one, tags=("Make",)), "tags"),
    ):
        with pytest.raises(ValueError, match=word):
            average([one, unlike])


def test_batch_norms_are_refused(tokenizer):
    one = model(tokenizer)
    one.params["image"]["norm"] = {"mean": np.zeros(3), "var": np.ones(3)}
    with pytest.raises(ValueError, match="batch norms"):
        average([one, one])


def test_bad_input_ends_in_one_line(tokenizer, tmp_path, capsys):
    save_model(model(tokenizer), tmp_path / "a.safetensors")
    save_model(model(tokenizer, embed_dim=8), tmp_path / "b.safetensors")
    a, b, out = (str(tmp_path / f"{name}.safetensors") for name in ("a", "b", "out"))
    assert main([a, b, out]) == 1
    assert f"{a}, {b}: the models differ in their configuration" in capsys.readouterr().err
    assert main([a, f"{tmp_path}/none", out]) == 1
    assert "none: cannot read the model file" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main([a, out])
    assert "two or more" in capsys.readouterr().err
    with read_only(tmp_path / "locked"):
        assert main([a, a, f"{tmp_path}/locked/out"]) == 1
    assert "choose another OUT" in capsys.readouterr().err
    assert not (tmp_path / "out.safetensors").exists()
