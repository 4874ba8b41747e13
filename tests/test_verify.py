"""Pixels against EXIF: planted embeddings, the words, the command, and the weights that ship."""

import json
import types

import numpy as np
import pytest
from PIL import Image
from stand_in import CONFIG, PATCH, FakeModel, spliced

import exif_jax
from exif_jax.forensics import reference_set as banks
from exif_jax.forensics import verification as module
from exif_jax.forensics.calibration import null_distribution
from exif_jax.forensics.verification import VerifyError, as_json, verify_embeddings
from exif_jax.reading.photo import Photo
from exif_jax.verify import as_text, main

CAMERAS = [("Canon", "Canon 1"), ("NIKON", "D1"), ("SONY", "S1"), ("Apple", "iPhone 1")]
PHOTOS = [
    {"Make": make, "Model": model, "ISO": iso} for make, model in CAMERAS for iso in ("100", "1600")
]
SKILL = {"Make": {"auc": 0.9, "low": 0.8}, "ISO": {"auc": 0.6, "low": 0.5}}


@pytest.fixture
def model(monkeypatch):
    """Every photo of the bank has a direction of its own: an embedding names its photo."""
    calibration = {
        "bank": banks.to_json(banks.make_reference_set(PHOTOS)),
        "skill": SKILL,
        "agreement": null_distribution(list(np.linspace(0, 4, 60)), [str(i) for i in range(60)]),
    }
    monkeypatch.setattr(module, "embed_exif", lambda photos, model: np.eye(len(photos))[:, :8])
    monkeypatch.setattr(module, "_REFERENCE_SETS", {})
    params = FakeModel.params | {"log_scale": np.float32(3.0)}
    return types.SimpleNamespace(
        id="m", calibration=calibration, params=params, config=CONFIG, patch_size=PATCH
    )


def patches_of(photo: int, count: int = 5) -> np.ndarray:
    return np.tile(np.eye(8, dtype=np.float32)[photo], (count, 1))


def test_a_photo_agrees_with_its_own_exif(model):
    found = verify_embeddings(patches_of(2), PHOTOS[2], model)
    assert found.closest[0][0] == "NIKON D1" and found.closest[0][1] > 0.7
    assert found.rank == 0 and found.bank_size == 8
    assert found.agreement > 1 and found.band == "no contradiction"
    says = {f.tag: f.says for f in found.tags}
    assert says == {"Make": "agrees", "Model": "cannot tell", "ISO": "cannot tell"}  # no skill
    assert [f.tag for f in found.looks_like] == ["Make"]
    assert found.looks_like[0].preferred[0][0] == "NIKON"


def test_another_cameras_exif_is_doubted(model):
    found = verify_embeddings(patches_of(2), PHOTOS[7], model)
    assert found.agreement < -1 and found.rank > 4
    assert found.band == "strong doubt" and found.p_value < 0.02
    doubted = [f for f in found.tags if f.says == "disagrees"]
    assert [f.tag for f in doubted] == ["Make"]
    assert doubted[0].value == "Apple" and doubted[0].preferred[0][0] == "NIKON"
    assert "strong doubt" in found.summary and "Make Apple (pixels: NIKON)" in found.summary


@pytest.mark.parametrize(
    "factor, says",
    [(0.33, "disagrees"), (0.34, "cannot tell"), (0.999, "cannot tell"), (1.0, "agrees")],
)
def test_a_value_is_doubted_where_the_pixels_make_it_three_times_rarer(factor, says):
    values = {"a": (0.3 * factor, 0.3), "b": (1 - 0.3 * factor, 0.7)}
    assert module._finding("Make", "a", values, SKILL["Make"]).says == says
    assert module._finding("Make", "a", values, {}).says == "cannot tell"


def test_without_exif_it_says_what_the_pixels_look_like(model):
    for exif in ({}, {"Lens Model": "x"}):
        found = verify_embeddings(patches_of(4), exif, model)
        assert found.agreement is None and found.p_value is None and found.rank is None
        assert found.tags == () and "nothing to verify" in found.summary
        assert found.looks_like[0].preferred[0][0] == "SONY"


def test_a_value_that_no_photo_of_the_bank_has_is_left_open(model):
    found = verify_embeddings(patches_of(0), {"Make": "Unheard"}, model)
    assert found.tags[0].says == "cannot tell" and found.tags[0].probability is None
    assert found.agreement == 0.0


def test_a_flat_photo_says_nothing(model):
    found = verify_embeddings(patches_of(0), PHOTOS[0], model, flat=True)
    assert found.band is None and found.tags == () and "flat" in found.summary


def test_an_uncalibrated_model_is_explained(model):
    model.calibration.pop("agreement")
    found = verify_embeddings(patches_of(0), PHOTOS[0], model)
    assert found.p_value is None and "not calibrated" in found.summary
    model.calibration.clear()
    module._REFERENCE_SETS.clear()
    with pytest.raises(VerifyError, match=r"no bank of EXIF texts.*exif_jax\.calibrate"):
        verify_embeddings(patches_of(0), PHOTOS[0], model)
    model.calibration["bank"] = {"tags": 3}
    with pytest.raises(VerifyError, match="not a bank"):
        verify_embeddings(patches_of(0), PHOTOS[0], model)


def test_embeddings_in_the_file_spare_the_text_encoder(model, monkeypatch):
    expected = verify_embeddings(patches_of(0), PHOTOS[0], model)
    module._REFERENCE_SETS.clear()
    monkeypatch.setattr(module, "embed_exif", None)
    model.calibration["bank"]["embeddings"] = banks.encode_embeddings(np.eye(8))
    model.config = types.SimpleNamespace(embed_dim=8)
    assert verify_embeddings(patches_of(0), PHOTOS[0], model) == expected
    module._REFERENCE_SETS.clear()
    model.calibration["bank"]["embeddings"] = banks.encode_embeddings(np.eye(7))
    with pytest.raises(VerifyError, match="not the embeddings of 8 texts"):
        verify_embeddings(patches_of(0), PHOTOS[0], model)


def test_hostile_exif_is_text_in_json_and_terminal(model):
    exif = {"Make": "\x1b]0;pwned\x07<script>", "Model": "‮evil", "ISO": "100"}
    found = verify_embeddings(patches_of(0), exif, model)
    text = as_text(found)
    assert "\x1b" not in text and "‮" not in text and "\x07" not in text
    record = json.loads(json.dumps(as_json(found), allow_nan=False))
    assert record["tags"][0]["value"] == exif["Make"]
    assert {"agreement", "rank", "p_value", "band", "summary", "closest"} <= record.keys()
    assert set(record["looks_like"][0]) == {"tag", "skill", "values"}


def test_the_command_writes_a_record_and_goes_on(model, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("exif_jax.weights.release_file.load_model", lambda path: model)
    image = Image.fromarray(spliced()[0])
    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = "NIKON", "D1"
    image.save(tmp_path / "a.jpg", exif=exif, quality=95)
    Image.fromarray(spliced()[0][:20]).save(tmp_path / "small.png")
    command = [str(tmp_path), "--model", "m", "--output", str(tmp_path / "out")]
    assert main(command) == 1
    said = capsys.readouterr()
    assert "small.png: too small" in said.err
    assert "agreement" in said.out and "a.jpg" in said.out
    record = json.loads((tmp_path / "out" / "a.verify.json").read_text())
    assert record["exif"]["Make"] == "NIKON" and record["verify"]["bank_size"] == 8
    assert main([*command, "--resume"]) == 1  # the small one only
    assert "1 of 2 photos were done" in capsys.readouterr().err


def test_the_weights_that_ship_carry_a_bank_and_a_calibration(tmp_path):
    shipped = exif_jax.load_model()
    assert len(banks.from_json(shipped.calibration["bank"]).photos) > 100
    assert shipped.calibration["measured_on"]["cameras"] >= 18
    image = np.random.default_rng(0).integers(0, 256, (160, 200, 3), dtype=np.uint8)
    photo = Photo(
        Image.fromarray(image), {"Make": "Canon", "ISO": "100"}, 1, "PNG", "0" * 64, 1, ()
    )
    found = exif_jax.verify_photo(photo)
    assert 0 < found.p_value <= 1 and found.band is not None
    text = {tag for f in banks.from_json(shipped.calibration["bank"]).photos for tag in f}
    assert not [t for t in text if "GPS" in t or "Serial" in t or "Date" in t or "Owner" in t]


def test_real_photos_fit_their_own_exif_better_than_swapped(real_photos):
    """Training photos of two cameras; held-out ones are measured by benchmarks.verify."""
    rows = map(json.loads, (real_photos / "train/manifest.jsonl").read_text().splitlines())
    rows = list(rows)
    first = next(r for r in rows if r["make"].startswith("OLYMPUS"))
    second = next(r for r in rows if r["make"].startswith("Apple"))
    read = [exif_jax.read_photo(real_photos / "train" / r["file"]) for r in (first, second)]
    own = [exif_jax.verify_photo(photo).agreement for photo in read]
    a, b = read
    swapped = [
        exif_jax.verify_photo(Photo(a.image, b.exif, 1, "JPEG", "", 0, ())).agreement,
        exif_jax.verify_photo(Photo(b.image, a.exif, 1, "JPEG", "", 0, ())).agreement,
    ]
    assert min(own) > max(swapped)
