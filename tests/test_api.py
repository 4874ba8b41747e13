"""The Python interface: arrays, paths and photos in, results out."""

import io

import numpy as np
import pytest
from PIL import Image
from stand_in import FakeModel, spliced, tiny_release

import exif_jax
from exif_jax.weights.release_file import ReleaseError


def camera_exif() -> Image.Exif:
    """As many tags as cameras write at least."""
    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = "Canon", "Canon EOS 5D"
    exif[0x011A], exif[0x011B], exif[0x0128], exif[0x0213] = 72, 72, 2, 2
    exposure = exif.get_ifd(0x8769)
    exposure[0x829A], exposure[0x829D], exposure[0x8827] = 0.01, 4.0, 200
    exposure[0x9207], exposure[0x920A], exposure[0xA001] = 5, 50.0, 1
    return exif


def test_arrays_paths_and_photos_give_the_same(tmp_path):
    image, _ = spliced()
    Image.fromarray(image).save(tmp_path / "photo.png")
    model_file = tiny_release(tmp_path / "model.safetensors")
    settings = exif_jax.LocalizationSettings(num_per_dim=10)
    photo = exif_jax.read_photo(tmp_path / "photo.png")
    results = [
        exif_jax.localize_photo(image, exif_jax.load_model(model_file), settings),
        exif_jax.localize_photo(tmp_path / "photo.png", model_file, settings),
        exif_jax.localize_photo(photo, str(model_file), settings),
    ]
    for result in results:
        np.testing.assert_array_equal(result.heatmap, results[0].heatmap)
        np.testing.assert_allclose(np.linalg.norm(result.embeddings, axis=1), 1, atol=1e-4)
        assert result.grid.stride == 16


def test_a_model_that_is_loaded_already_is_taken_as_it_is():
    image, _ = spliced()
    assert exif_jax.localize_photo(image, FakeModel).grid.patch == FakeModel.patch_size


def test_a_photo_that_may_be_damaged_is_not_judged(tmp_path):
    """A progressive JPEG without its last scans is a picture, but not all that the camera saw."""
    image = np.random.default_rng(0).integers(0, 256, (384, 512, 3), dtype=np.uint8)
    exif = camera_exif()
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=90, progressive=True, exif=exif)
    data = file.getvalue()
    whole, coarse = tmp_path / "whole.jpg", tmp_path / "coarse.jpg"
    whole.write_bytes(data)
    coarse.write_bytes(data[: data.rindex(b"\xff\xda")] + b"\xff\xd9")
    assert exif_jax.localize_photo(whole).band and exif_jax.verify_photo(whole).band
    result = exif_jax.localize_photo(coarse)
    assert result.p_value is None and result.band is None and "may be damaged" in result.reason
    result = exif_jax.verify_photo(coarse)
    assert result.p_value is None and result.band is None and "may be damaged" in result.summary


@pytest.mark.parametrize("function", [exif_jax.localize_photo, exif_jax.verify_photo])
def test_an_empty_path_is_not_taken_for_the_weights_that_ship(tmp_path, function):
    Image.fromarray(spliced()[0]).save(tmp_path / "photo.png")
    with pytest.raises(ReleaseError, match="path of the model is empty"):
        function(tmp_path / "photo.png", "")


def test_the_weights_that_ship_verify_photos_and_hold_nothing_private(tmp_path):
    shipped = exif_jax.load_model()
    calibration = shipped.calibration
    assert calibration["measured_on"]["num_cameras"] >= 18
    tags = set(calibration["reference_set"]["tags"])
    assert len(calibration["reference_set"]["photos"]) > 100
    assert not [t for t in tags if "GPS" in t or "Serial" in t or "Date" in t or "Owner" in t]
    image = np.random.default_rng(0).integers(0, 256, (256, 320, 3), dtype=np.uint8)
    Image.fromarray(image).save(tmp_path / "photo.png", exif=camera_exif())
    result = exif_jax.verify_photo(tmp_path / "photo.png")
    assert 0 < result.p_value <= 1 and result.band is not None
    assert result.reference_size == len(calibration["reference_set"]["photos"])
