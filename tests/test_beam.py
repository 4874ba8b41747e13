"""Localising with Apache Beam, on its DirectRunner; skipped where Beam is not installed."""

import json
import os
import pathlib

import numpy as np
import pytest
from PIL import Image
from stand_in import tiny_release

pytest.importorskip("apache_beam")

import apache_beam as beam
from apache_beam.testing.util import assert_that, equal_to

from exif_jax import beam as module
from exif_jax import localize

pytestmark = [pytest.mark.filterwarnings("ignore")]  # Beam's own, by the dozen


@pytest.fixture
def folder(tmp_path) -> pathlib.Path:
    """Three photos in two folders, two of one name; a damaged one; one that is too small."""
    rng = np.random.default_rng(0)
    for i, name in enumerate(("a/x.png", "b/x.png", "b/ü <b>.jpg", "b/small.png")):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        size = (20, 20, 3) if "small" in name else (96 + 8 * i, 128, 3)
        Image.fromarray(rng.integers(0, 256, size, dtype=np.uint8)).save(path)
    (tmp_path / "in" / "b" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no photo")
    (tmp_path / "in" / "b" / "notes.txt").write_text("no photo, and not looked at")
    tiny_release(tmp_path / "m.safetensors")
    return tmp_path


def lines(out: pathlib.Path) -> dict[str, dict]:
    rows = [row for path in out.glob("results*.jsonl") for row in path.read_text().splitlines()]
    entries = [json.loads(row) for row in rows]
    assert len({entry["name"] for entry in entries}) == len(entries)
    return {entry["file"]: entry for entry in entries}


@pytest.mark.parametrize("mode", ["in_memory", "multi_processing"])
def test_the_pipeline_gives_what_the_command_gives(folder, mode):
    out = folder / "out"
    argv = ["--input", f"{folder}/in/**", "--output", str(out)]
    argv += ["--model", f"{folder}/m.safetensors"]
    argv += ["--report", "--runner", "DirectRunner", "--direct_num_workers", "2"]
    assert module.main([*argv, "--direct_running_mode", mode]) == 0
    entries = lines(out)
    names = {os.path.relpath(path, folder / "in") for path in entries}
    assert names == {"a/x.png", "b/x.png", "b/ü <b>.jpg", "b/small.png", "b/broken.jpg"}
    for path, line in entries.items():
        if "broken" in path or "small" in path:
            assert line["status"] == "failed"
            assert path in line["error"]
            continue
        assert line["status"] == "done"
        alone = folder / "alone" / line["name"]
        assert (
            localize.main(["--model", f"{folder}/m.safetensors", "--output", str(alone), path]) == 0
        )
        (expected,) = alone.glob("*.json")
        report = json.loads(expected.read_text())
        assert line["score"] == pytest.approx(report["score"], abs=1e-6)
        ours = np.load(out / f"{line['name']}.map.npy", allow_pickle=False)
        (theirs,) = alone.glob("*.map.npy")
        np.testing.assert_allclose(ours, np.load(theirs, allow_pickle=False), atol=1e-5)
        assert (out / f"{line['name']}.html").stat().st_size > 10_000
    assert not list(out.glob("*.part-*"))


def test_the_transform_in_a_pipeline_of_ones_own(folder):
    paths = [str(folder / "in" / "a" / "x.png"), str(folder / "in" / "nowhere.jpg")]
    (folder / "out").mkdir()
    with beam.Pipeline("DirectRunner") as pipeline:
        statuses = (
            pipeline
            | beam.Create(paths)
            | module.LocalizePhotos(str(folder / "out"), str(folder / "m.safetensors"))
            | beam.Map(lambda line: (line["file"], line["status"]))
        )
        assert_that(statuses, equal_to([(paths[0], "done"), (paths[1], "failed")]))


def test_a_pipeline_run_again_replaces_what_it_wrote(folder):
    argv = ["--input", f"{folder}/in/a/*", "--output", f"{folder}/out"]
    argv += ["--model", f"{folder}/m.safetensors"]
    for _ in range(2):
        assert module.main(argv) == 0
    assert len(list((folder / "out").glob("*.overlay.png"))) == 1
    assert len(lines(folder / "out")) == 1


def test_names_differ_by_folder_and_never_lead_elsewhere():
    names = [module.output_name(p) for p in ("gs://b/a/x.jpg", "gs://b/c/x.jpg", "../../x.jpg")]
    assert len(set(names)) == 3
    assert all(name.startswith("x-") and "/" not in name for name in names)


def test_a_model_that_cannot_be_read_is_an_error_of_the_command(folder, capsys):
    argv = ["--input", f"{folder}/in/a/*", "--output", f"{folder}/out", "--model", "nowhere"]
    assert module.main(argv) == 1
    assert "nowhere" in capsys.readouterr().err
