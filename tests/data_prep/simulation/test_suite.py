"""Our own benchmarking dataset: its layout, what its parts hold, and the same bytes everywhere."""

import hashlib
import io
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from data_prep import simulate
from data_prep.simulation import imaging, suite
from data_prep.simulation.suite import FOLDERS, PARTS, SuiteJob, make_pair, suite_digest
from exif_jax.evaluation.masks import Mask, read_mask
from exif_jax.reading.photo import read_photo

ROOT = pathlib.Path(__file__).parents[3]
# Makes two small pairs of the suite and prints their digest; run in other environments too.
SCRIPT = """
import sys
from pathlib import Path
from data_prep.simulation import suite
output = Path(sys.argv[1])
for part in suite.PARTS:
    for folder in suite.FOLDERS:
        (output / part / folder).mkdir(parents=True)
suite._WIDTH, suite._HEIGHT = 256, 192
suite._WEB, suite._SMALL = (160, 120), (96, 80)
for index in (0, 1):
    suite.make_pair(suite.SuiteJob(output, index))
print(suite.suite_digest(output))
"""


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(suite, "_WIDTH", 256)
    monkeypatch.setattr(suite, "_HEIGHT", 192)
    monkeypatch.setattr(suite, "_WEB", (160, 120))
    monkeypatch.setattr(suite, "_SMALL", (96, 80))


def make(output, *numbers):
    for part in PARTS:
        for folder in FOLDERS:
            (output / part / folder).mkdir(parents=True)
    for number in numbers:
        make_pair(SuiteJob(output, number))
    return output


def read(path):
    return read_photo(path).pixels


def test_parts_have_their_sizes_and_what_is_outside_the_mask_is_the_host(tmp_path, small):
    make(tmp_path, 0)  # the first pair is saved as PNG, so nothing but the paste changes pixels
    sizes = {"native": (192, 256), "recompressed": (192, 256), "web": (120, 160), "small": (80, 96)}
    sizes["same_camera"] = sizes["native"]
    for part, (height, width) in sizes.items():
        (image,) = (tmp_path / part / "images").iterdir()
        (host,) = (tmp_path / part / "pristine").iterdir()
        spliced, pristine = read(image), read(host)
        mask = read_mask(Mask(tmp_path / part / "masks" / "000.png"), (height, width)).tampered
        assert spliced.shape == pristine.shape == (height, width, 3) == (*mask.shape, 3)
        change = np.abs(spliced.astype(int) - pristine).mean(axis=2)
        assert change[mask].mean() > 5 * max(change[~mask].mean(), 0.5)
        if image.suffix == ".png":
            assert not change[~mask].any() and host.suffix == ".png"
        with Image.open(image) as opened:
            assert not opened.getexif()


def test_the_same_bytes_without_vector_instructions(tmp_path):
    digests = set()
    found = subprocess.run(
        [sys.executable, "-c", "import numpy._core._multiarray_umath as m; print(*(f for f in "
         "m.__cpu_dispatch__ if m.__cpu_features__.get(f)))"],
        capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip
    for number, more in enumerate(
        ({}, {"NPY_DISABLE_CPU_FEATURES": found, "JSIMD_FORCENONE": "1"})
    ):
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, str(tmp_path / str(number))],
            env={**os.environ, "PYTHONPATH": str(ROOT), **more}, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        digests.add(done.stdout.strip())
    assert digests == {"d4ab5f8dccffa3a9e84bcf2af3be730a8c55fb43792c75625d860618d8af4c2e"}


def test_the_last_digit_of_a_power_decides_nothing(tmp_path, small, monkeypatch):
    before = suite_digest(make(tmp_path / "before", 1))
    tables = []

    def in_more_digits(gamma, contrast, black):
        """As `imaging.tone_table`, in the machine's longest numbers."""
        light = np.linspace(0, 1, 1 << 14).astype(np.longdouble)
        toe, power = np.longdouble(0.004), 1 / np.longdouble(gamma)
        value = np.where(light < toe, light * (toe**power / toe), light**power)
        value += contrast * (value * value * (3 - 2 * value) - value)
        tables.append((black + (255 - black) * value).astype(np.float32))
        return tables[-1]

    monkeypatch.setattr(imaging, "tone_table", in_more_digits)
    assert suite_digest(make(tmp_path / "after", 1)) == before and len(tables) == 3


def test_pngs_are_right_and_owe_nothing_to_a_compressor():
    rng = np.random.default_rng(0)
    for pixels in (rng.integers(0, 256, (181, 200, 3), np.uint8), rng.random((35, 51)) < 0.5):
        data = suite.png_bytes(pixels)
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            assert image.mode == ("RGB" if pixels.ndim == 3 else "1")
            np.testing.assert_array_equal(np.asarray(image), pixels)
        assert len(data) > (pixels.size if pixels.ndim == 3 else pixels.size // 8)


def test_the_digest_is_of_the_suite_alone(tmp_path):
    make(tmp_path)
    empty = suite_digest(tmp_path)
    assert empty == suite_digest(tmp_path / "none") == hashlib.sha256().hexdigest()
    (tmp_path / "results.json").write_text("{}")
    (tmp_path / "native" / "images" / ".DS_Store").write_text("")
    assert suite_digest(tmp_path) == empty
    (tmp_path / "native" / "images" / "000.png").write_bytes(b"1")
    one = suite_digest(tmp_path)
    (tmp_path / "native" / "images" / "000.png").rename(tmp_path / "native" / "images" / "001.png")
    assert len({empty, one, suite_digest(tmp_path)}) == 3


def test_the_command_makes_it_once_and_says_whether_it_is_as_published(
    tmp_path, small, monkeypatch, capsys
):
    monkeypatch.setattr(suite, "PAIRS", 1)
    arguments = ["--suite", "own", "--output", str(tmp_path), "--workers", "1"]
    assert simulate.main(arguments) == 1
    message = capsys.readouterr().err
    digest = suite_digest(tmp_path)
    assert digest in message and suite.SHA256 in message and "Pillow" in message
    monkeypatch.setattr(suite, "SHA256", digest)
    monkeypatch.setattr(suite, "make_pair", lambda job: pytest.fail("it is there already"))
    assert simulate.main(arguments) == 0
    assert capsys.readouterr().out == f"suite own: sha256 {digest}, as published\n"
    with pytest.raises(SystemExit):
        simulate.main(["--suite", "own"])


def test_what_another_shard_made_meanwhile_is_not_made_again(tmp_path, monkeypatch):
    digests = iter(["", suite.SHA256])
    monkeypatch.setattr(suite, "suite_digest", lambda output: next(digests))
    monkeypatch.setattr(suite, "run_jobs", lambda *_, **__: pytest.fail("made a second time"))
    assert suite.make_suite(tmp_path / "own", 1) == suite.SHA256
