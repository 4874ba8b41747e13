"""The command of retrieval and tag prediction, on records of simulated photos."""

import json

import numpy as np
import pytest
from test_calibrate import records, uncalibrated  # noqa: F401

from exif_jax import tag_prediction
from exif_jax.tag_prediction import main, predict_tags
from exif_jax.weights.release_file import load_model


def test_figures_and_table(records, uncalibrated, tmp_path, capsys):  # noqa: F811
    output = ["--output", str(tmp_path / "tags")]
    arguments = ["--records", str(records), "--model", str(uncalibrated)]
    assert main([*arguments, *output]) == 0
    metrics = json.loads((tmp_path / "tags" / "tag_prediction.json").read_text())
    table = capsys.readouterr().out
    for name in ("image_to_exif", "recall@10", "Make", "mean"):
        assert name in table
    assert metrics["chance_r1"] == pytest.approx(1 / metrics["photos"])
    assert 0 <= metrics["image_to_exif_r1"] <= metrics["image_to_exif_r10"] <= 1
    train = predict_tags(load_model(uncalibrated), str(records), "train")
    assert train["photos"] > metrics["photos"]
    (tmp_path / "tag_prediction.json").mkdir()
    assert main([*arguments, "--output", str(tmp_path)]) == 1
    assert f"{tmp_path / 'tag_prediction.json'}: cannot be written" in capsys.readouterr().err
    assert main([*arguments[:-1], "none.safetensors", *output]) == 1
    assert main(["--records", str(tmp_path), *arguments[2:], *output]) == 1
    assert len(capsys.readouterr().err.strip().splitlines()) >= 2


def test_an_oracle_finds_everything(records, uncalibrated, monkeypatch):  # noqa: F811
    """Images and texts that are embedded by what they are lie together."""
    model, width = load_model(uncalibrated), 64

    def as_vector(exif):
        rng = np.random.default_rng(abs(hash(tuple(sorted(exif.items())))) % 2**32)
        z = rng.normal(size=width)
        return z / np.linalg.norm(z)

    def texts(exif, _):
        return np.stack([as_vector(e) for e in exif]).astype(np.float32)

    monkeypatch.setattr(tag_prediction, "embed_exif", texts)

    def images(pixels, _):
        from exif_jax.data import records as r

        reader, seen = r.RecordReader(records, "validation"), {}
        for i in range(len(reader)):
            record = r.decode_record(reader[i])
            seen.setdefault(record.photo_id, record)
        list(pixels)
        rows = [{t: s.exif[t] for t in model.tags if t in s.exif} for s in seen.values()]
        z = np.stack([as_vector(row) for row in rows]).astype(np.float32)
        return np.concatenate([3 * z, 0 * z], axis=1)

    monkeypatch.setattr(tag_prediction, "embed_tiles", images)
    metrics = predict_tags(model, str(records))
    # Photos of one camera model may share all these tags: they tie, and half of a tie counts.
    assert metrics["image_to_exif_r10"] > 0.9 and metrics["image_to_exif_median_rank"] <= 3
