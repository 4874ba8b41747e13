"""Detectors: patches against the file's own EXIF."""

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from stand_in import PATCH, roughness, spliced

from exif_jax.evaluation import detectors
from exif_jax.forensics.localization import localize_with_encoder
from exif_jax.forensics.methods import LocalizationSettings, LocalizeError


def test_text_sets_patches_against_the_files_own_exif(tmp_path, monkeypatch):
    image, _ = spliced()
    exif = Image.Exif()
    exif[271] = "Canopus"
    Image.fromarray(image).save(tmp_path / "said.jpg", exif=exif, quality=98)
    Image.fromarray(image).save(tmp_path / "silent.png")
    z = np.array([0.6, 0.8], np.float32)
    monkeypatch.setattr(
        detectors,
        "localize_by_own_patches",
        lambda p, *_: localize_with_encoder(p, roughness, {}, PATCH),
    )
    asked = []
    monkeypatch.setattr(detectors, "embed_exif", lambda exif, _: asked.extend(exif) or z[None])
    model = SimpleNamespace(id="m", tags=("Make", "Model"))
    detector = detectors.text_detector(model, "text")
    prediction = detector.predict(image, tmp_path / "said.jpg")
    assert asked == [{"Make": "Canopus"}]
    reference = localize_with_encoder(image, roughness, {}, PATCH)
    apart = (1 - reference.embeddings @ z) / 2
    assert prediction.score == pytest.approx(apart.mean())
    heatmap = prediction.heatmap
    assert heatmap.shape == image.shape[:2]
    assert apart.min() - 1e-6 <= heatmap.min() <= heatmap.max() <= apart.max() + 1e-6
    for file in (tmp_path / "silent.png", None):
        with pytest.raises(LocalizeError, match="no EXIF of the camera was found"):
            detector.predict(image, file)


def test_keys_tell_what_changes_figures_and_not_what_changes_speed():
    model = SimpleNamespace(id="m")

    def key(**settings):
        return detectors.model_detector(model, LocalizationSettings(**settings), "name").key

    different = {key(), key(method="mean_shift"), key(num_per_dim=20), key(max_patches=99)}
    assert len(different | {key(align=1)}) == 5
    assert key(batch_size=7) == key()
