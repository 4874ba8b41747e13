"""What is measured during a run, against the same by hand, on all devices and to the last row."""

import dataclasses
import json
import types

import jax
import numpy as np
import pytest
from PIL import Image
from test_train import losses, records, tiny_config  # noqa: F401
from tiny_model import VOCAB, embed_texts, random_params
from tiny_model import tiny_config as tiny_model

from exif_jax import release, train
from exif_jax.data.dataset import PatchDataset
from exif_jax.data.records_folder import load_tokenizer
from exif_jax.data.tokenizer import Tokenizer
from exif_jax.evaluation import runner
from exif_jax.evaluation.detectors import model_detector
from exif_jax.evaluation.retrieval import alignment_and_uniformity, retrieval_metrics
from exif_jax.evaluation.splice_metrics import METRICS
from exif_jax.forensics.methods import LocalizationSettings
from exif_jax.models import dual_encoder
from exif_jax.training import sharding, validation
from exif_jax.training.config import parse_config
from exif_jax.training.initialization import PretrainedError
from exif_jax.weights import release_file


@pytest.fixture(scope="module")
def world(records):  # noqa: F811
    """The validation split, a model for it and its random parameters."""
    config = parse_config(tiny_config(records))
    tokenizer = load_tokenizer(str(records))
    model = tiny_model(text={"vocab_size": tokenizer.vocab_size, "max_length": 64})
    data = PatchDataset(config.data, "validation", tokenizer, model.image.image_size, 64)
    return data, model, random_params(model)


def by_hand(data, model, params, photos):
    batch = data.eval_batch(photos)
    z_img, z_txt, _ = dual_encoder.apply(
        model, params, batch["image"], batch["tokens"], batch["token_mask"]
    )
    return np.asarray(z_img), np.asarray(z_txt)


@pytest.mark.parametrize("at_once", [1, 8, 11, 64])
def test_every_photo_counts_once_whatever_the_batch(world, at_once, monkeypatch):
    data, model, params = world
    monkeypatch.setattr(validation, "ROWS_AT_ONCE", at_once)
    metrics = validation.validate(params, data, model, sharding.make_mesh(-1, 1))
    z = by_hand(data, model, params, range(data.num_photos))
    assert 8 < data.num_photos < 64 and data.num_photos % 8
    for name, value in (retrieval_metrics(*z) | alignment_and_uniformity(*z)).items():
        assert metrics[name] == pytest.approx(value, abs=1e-4), name
    assert 0 < metrics["tag_chance"] < 1
    assert {"tag_accuracy/Make", "tag_retrieval/ISO"} <= set(metrics)


def test_photos_without_a_tag_worth_asking_for_are_validated(world, monkeypatch):
    """As a validation split of two photos, none of whose values is another's."""
    data, model, params = world
    monkeypatch.setattr(PatchDataset, "exif_of", lambda self, photo: {"Make": f"Maker {photo}"})
    few = PatchDataset(data.config, "validation", data.tokenizer, data._size, 64)
    metrics = validation.validate(params, few, model, sharding.make_mesh(-1, 1))
    assert "image_to_exif_r1" in metrics
    assert not any(name.startswith("tag_") for name in metrics)


def test_a_photo_that_cannot_be_read_is_left_out(world, monkeypatch):
    data, model, params = world
    config = dataclasses.replace(data.config, max_corrupt_fraction=1.0)
    damaged = PatchDataset(config, "validation", data.tokenizer, data._size, 64)
    gone = 1
    for number in damaged.photos.record_numbers(gone):
        damaged.photos.corrupt[int(number)] = "made so"
    metrics = validation.validate(params, damaged, model, sharding.make_mesh(-1, 1))
    rest = [k for k in range(data.num_photos) if k != gone]
    expected = retrieval_metrics(*by_hand(data, model, params, rest))
    assert metrics["chance_r1"] == pytest.approx(1 / (data.num_photos - 1))
    assert metrics["image_to_exif_r5"] == pytest.approx(expected["image_to_exif_r5"], abs=1e-6)


@pytest.fixture(scope="module")
def splices(tmp_path_factory):
    root = tmp_path_factory.mktemp("splices")
    rng = np.random.default_rng(0)
    for part in ("images", "masks", "pristine"):
        (root / part).mkdir()
    for k in range(3):
        host = rng.normal(128, 10, (96, 128, 3)).clip(0, 255).astype(np.uint8)
        Image.fromarray(host).save(root / "pristine" / f"{k}.png")
        mask = np.zeros((96, 128), np.uint8)
        mask[:48, :64] = 255
        host[mask > 0] = rng.integers(0, 256, (int((mask > 0).sum()), 3))
        Image.fromarray(host).save(root / "images" / f"{k}.png")
        Image.fromarray(mask).save(root / "masks" / f"{k}.png")
    return root


def stand_in() -> release_file.Model:
    model = tiny_model()
    tokenizer = types.SimpleNamespace(vocab_size=VOCAB)
    return release_file.Model(model, random_params(model), tokenizer, (), {})  # type: ignore


def test_splices_are_scored_as_the_command_scores_them(splices, capsys):
    samples, model = validation.read_splices(str(splices)), stand_in()
    metrics = validation.splice_metrics(samples, model)
    detector = model_detector(model, LocalizationSettings(method="cut"), "model")
    rows = runner.evaluate(samples, "set", [detector], print)
    expected = runner.summarize(rows, "set", "model")
    assert expected["tampered"] == expected["pristine"] == 3
    assert metrics.pop("detection_auc") == expected["detection"]["auc"]
    assert metrics == pytest.approx({name: expected["mean"][name] for name in METRICS})
    assert validation.read_splices("") == [] and validation.splice_metrics([], model) == {}
    (splices / "images" / "1.png").rename(splices / "away.png")
    try:
        assert 0 <= validation.splice_metrics(samples, model)["ap"] <= 1
        assert "1.png: left out" in capsys.readouterr().err
    finally:
        (splices / "away.png").rename(splices / "images" / "1.png")


def test_the_probe_shows_the_photo_and_two_affinities(splices):
    picture = np.asarray(validation.probe_picture(splices / "images" / "0.png", stand_in()))
    side = validation.PROBE_SIDE
    assert picture.shape[0] == side and picture.shape[1] > 2 * side
    square = picture[:, -side:]
    diagonal = square[np.arange(side), np.arange(side)]
    assert np.all(diagonal == validation.colorize(np.ones(1)))  # a patch and itself: cosine 1


def test_a_run_reports_splices_a_probe_and_its_average(records, splices, tmp_path):  # noqa: F811
    c = tiny_config(records, num_steps=4)
    c.eval.splices, c.eval.probe = str(splices), str(splices / "images" / "2.png")
    c.train.ema, c.train.eval_every = 0.5, 2
    c.model.image.image_size = 32
    train.train(c, tmp_path / "run")
    rows = [json.loads(x) for x in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    measured = [row for row in rows if "validation/splice_p_map" in row]
    assert [row["step"] for row in measured] == [0, 2, 4]
    assert "validation/tag_accuracy/Make" in measured[0]
    names = sorted(path.name for path in (tmp_path / "run" / "probe").iterdir())
    assert names == ["00000000.png", "00000002.png", "00000004.png"]
    best = release_file.load_model(tmp_path / "run" / "best.safetensors").provenance
    values = {row["step"]: row["validation/image_to_exif_r10"] for row in measured}
    assert best["validation"]["image_to_exif_r10"] == max(values.values())
    assert best["steps"] == min(k for k, v in values.items() if v == max(values.values()))
    # What is released is the average, unless the last step is asked for.
    out = {}
    for name in ("averaged", "last"):
        path = tmp_path / f"{name}.safetensors"
        code = release.main(
            [str(tmp_path / "run"), str(path), "--weights", name, "--dtype", "bfloat16"]
        )
        assert code == 0
        out[name] = release_file.load_model(path).params["image"]["embed"]["kernel"]
    trained = release_file.load_model(tmp_path / "run" / "model.safetensors")
    kernel = trained.params["image"]["embed"]["kernel"]
    np.testing.assert_allclose(out["averaged"], kernel, rtol=1e-2, atol=1e-5)
    assert np.abs(out["last"] - kernel).max() > 1e-4
    assert trained.provenance["config"]["eval"]["splices"] == splices.name
    # Another run begins where this one ended: all of it, or a part.
    c.train.init_model = str(tmp_path / "run" / "model.safetensors")
    c.eval.splices = c.eval.probe = ""
    train.train(c, tmp_path / "again")
    begun = release_file.load_model(tmp_path / "again" / "untrained.safetensors")
    jax.tree.map(np.testing.assert_array_equal, begun.params, trained.params)
    c.train.init_parts = ("text",)
    train.train(c, tmp_path / "part")
    begun = release_file.load_model(tmp_path / "part" / "untrained.safetensors").params
    jax.tree.map(np.testing.assert_array_equal, begun["text"], trained.params["text"])
    assert np.abs(begun["image"]["embed"]["kernel"] - kernel).max() > 1e-4
    c.train.init_parts = ("colour",)
    with pytest.raises(PretrainedError, match=r"init_parts names colour; the file has .*text"):
        train.train(c, tmp_path / "never")
    c.train.init_parts, c.model.text.depth = (), 2
    with pytest.raises(PretrainedError, match=r"do not fit config\.model; .*text/stack"):
        train.train(c, tmp_path / "never")


def test_texts_without_names_stay_so_in_the_released_model(records, tmp_path):  # noqa: F811
    from exif_jax.forensics.embed import embed_exif

    c = tiny_config(records, num_steps=1)
    c.data.tag_names, c.data.tags = False, ("Make", "Model")
    train.train(c, tmp_path)
    model = release_file.load_model(tmp_path / "model.safetensors")
    assert model.tags == ("Make", "Model")
    z = embed_exif([{"Make": "Canon", "Model": "EOS", "ISO": "100"}], model)
    assert isinstance(model.tokenizer, Tokenizer)
    tokens, mask = model.tokenizer.encode(["Canon, EOS"], model.config.text.max_length)
    expected = embed_texts(model.config, model.params, tokens, mask)
    np.testing.assert_allclose(z, expected, atol=1e-5)
