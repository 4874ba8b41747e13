"""The worker on real pixels with a tiny model: what it writes, what it refuses."""

import json
import struct
import subprocess
import types
import zlib

import numpy as np
import pytest
from PIL import Image
from stand_in import PATCH, roughness, spliced, tiny_release

from exif_jax.cli.batch import PhotoFailed
from exif_jax.forensics.localization import localize_with_encoder
from exif_jax.reading.photo import PhotoError
from exif_jax.server import worker
from exif_jax.server.analyst import worker_command
from exif_jax.server.results import FILES, summary_of
from exif_jax.weights.release_file import load_model


@pytest.fixture(scope="module")
def model(tmp_path_factory):

    return load_model(tiny_release(tmp_path_factory.mktemp("model") / "model.safetensors"))


def analyse(path, folder, model, max_pixels=10**6):
    folder.mkdir()
    steps = []
    summary = worker.analyse(path, "shown.jpg", folder, model, max_pixels, steps.append)
    return summary, steps


def test_all_files_of_a_photo_are_made(tmp_path, model):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    Image.fromarray(spliced()[0]).save(tmp_path / "a.jpg", quality=95, exif=exif)
    summary, steps = analyse(tmp_path / "a.jpg", tmp_path / "out", model)
    made = {path.name for path in (tmp_path / "out").iterdir()}
    assert made == {file.path for file in FILES.values()}
    assert steps == ["Reading the photo", "Comparing its patches"]
    report = json.loads((tmp_path / "out" / "result.json").read_bytes())
    assert report["file"] == "shown.jpg" and summary["score"] == report["score"]
    assert (summary["width"], summary["height"]) == (160, 224)
    sizes = {}
    for name in ("photo.jpg", "map.png", "mask.png"):
        with Image.open(tmp_path / "out" / name) as picture:
            sizes[name] = (picture.size, picture.mode)
    assert sizes["photo.jpg"] == ((160, 224), "RGB")  # as seen
    assert sizes["map.png"][0] == (160, 224)
    assert sizes["mask.png"] == ((224, 160), "1")  # as stored, a pixel for a pixel


def test_the_mask_is_the_part_that_differs():

    image, truth = spliced()
    localization = localize_with_encoder(image, roughness, {}, PATCH)
    mask = np.asarray(worker._mask_picture(localization))
    overlap = (mask & truth).sum() / (mask | truth).sum()
    assert mask.shape == truth.shape and overlap > 0.6


def test_a_region_that_is_named_is_the_mask():
    region = np.arange(6).reshape(2, 3) % 2 == 0
    mask = worker._mask_picture(types.SimpleNamespace(mask=region))
    assert mask.mode == "1" and (np.asarray(mask) == region).all()


def bomb(width, height):
    """A PNG of few bytes that claims to be large."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(b"\0" * (1 << 20), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


@pytest.mark.parametrize("width, height", [(60_000, 60_000), (2**31 - 1, 1), (1001, 1000)])
def test_bombs_are_refused_by_their_header(tmp_path, model, width, height):
    path = tmp_path / "original"
    path.write_bytes(bomb(width, height))
    with pytest.raises(PhotoError, match="more than 1,000,000"):
        analyse(path, tmp_path / "out", model)
    assert list((tmp_path / "out").iterdir()) == []


def test_small_photos_are_refused(tmp_path, model):
    Image.new("RGB", (20, 20)).save(tmp_path / "a.png")
    with pytest.raises(PhotoFailed, match="too small"):
        analyse(tmp_path / "a.png", tmp_path / "out", model)


def test_the_process_answers_line_by_line_and_ends_with_its_input(tmp_path):
    model = tiny_release(tmp_path / "model.safetensors")
    good, bad = tmp_path / "good", tmp_path / "bad"
    Image.fromarray(spliced()[0]).save(good, "PNG")
    bad.write_bytes(bomb(60_000, 60_000))
    spooled = tmp_path / "spooled"
    spooled.mkdir()
    lines = ""
    for path in (bad, good, tmp_path / "missing"):
        (folder := tmp_path / f"{path.name}-out").mkdir()
        lines += json.dumps({"photo": str(path), "name": "a.jpg", "folder": str(folder)}) + "\n"
    done = subprocess.run(
        worker_command(str(model), 10**6, str(spooled)),
        input=lines,
        capture_output=True,
        text=True,
        timeout=240,
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    last = [answer for answer in answers if "step" not in answer]
    assert [next(iter(answer)) for answer in last] == ["failed", "done", "failed"], done.stderr
    assert last[0]["failed"].startswith("60000 x 60000 pixels")
    assert last[2]["failed"] == "No such file. Check the path."
    assert done.returncode == 0 and not spooled.exists()


def test_a_model_that_is_none_ends_it(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"none")
    command = worker_command(str(tmp_path / "model.safetensors"), 10, None)
    done = subprocess.run(command, input="", capture_output=True, text=True, timeout=240)
    assert done.returncode == 1 and "model.safetensors" in done.stderr.splitlines()[-1]


def test_summaries_take_what_is_known_of_any_report():
    assert summary_of({})["band"] is None and summary_of({})["score"] is None
    report = {"score": 1, "p_value": 0.5, "band": "no evidence", "size": {"width": 3, "height": 2}}
    report |= {"orientation": 8, "region": [[1, 2]], "findings": [{}], "likelihood_ratio": 3.0}
    summary = summary_of(report | {"verify": {"band": "weak doubt"}, "reason": "x" * 5000})
    assert (summary["width"], summary["height"], summary["exif"]) == (2, 3, "weak doubt")
    assert len(summary["reason"]) == 1000
    odd = {"score": "high", "band": 7, "note": None, "size": None, "verify": None}
    assert summary_of(odd) == summary_of({})
