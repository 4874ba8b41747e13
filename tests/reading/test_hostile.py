"""Whole commands over the corpus of malformed files, and files that misbehave in other ways."""

import hashlib
import io
import json
import os
import pathlib
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from hostile.make import FOLDER, corpus
from PIL import Image
from stand_in import tiny_release

from exif_jax import localize
from exif_jax.reading.photo import PhotoError, read_photo

CORPUS = corpus()
PHOTO = Image.fromarray(np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8))


def test_every_case_has_its_committed_file_and_every_file_its_case():
    # Only names: encoders of another Pillow give other bytes around the same lies.
    assert CORPUS.keys() == {path.name for path in FOLDER.glob("*.*")} - {"make.py"}


@pytest.mark.parametrize("name", CORPUS)
def test_each_file_gives_its_photo_or_its_refusal(name):
    words = CORPUS[name][1]
    if words is None:
        photo = read_photo(FOLDER / name)
        assert photo.pixels.dtype == np.uint8 and photo.pixels.shape[2] == 3
        assert all(value.isprintable() and value.isascii() for value in photo.exif.values())
    else:
        with pytest.raises(PhotoError, match=words) as caught:
            read_photo(FOLDER / name)
        assert str(FOLDER / name) in str(caught.value)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> pathlib.Path:
    return tiny_release(tmp_path_factory.mktemp("model") / "tiny.safetensors")


@pytest.fixture(scope="module")
def worked(model, tmp_path_factory) -> tuple[pathlib.Path, subprocess.CompletedProcess]:
    """The output folder of a process of its own that went through all of them and a good photo."""
    folder = tmp_path_factory.mktemp("worked")
    out = folder / "out"
    PHOTO.save(folder / "good.png")
    done = subprocess.run(
        [
            *(sys.executable, "-c", MEASURED, "--model", str(model), "--output", str(out)),
            *("--report", str(FOLDER), str(folder / "good.png")),
        ],
        capture_output=True,
        text=True,
        timeout=250,
    )
    return out, done


def test_a_folder_of_them_is_worked_through(worked):
    out, done = worked
    assert done.returncode == 1, done.stderr[-2000:]
    assert "Traceback" not in done.stderr
    lines = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    entries = {pathlib.Path(line["file"]).name: line for line in lines}
    assert entries.keys() == CORPUS.keys() - {"make.py"} | {"good.png"}
    assert entries["good.png"].get("error") is None
    for name, (_, words) in CORPUS.items():
        if words is not None:
            assert words in entries[name]["error"]
        elif entries[name].get("error"):  # a photo too small for the grid, or without texture
            assert "small" in entries[name]["error"] or "texture" in entries[name]["error"], (
                entries[name]
            )


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="memory is read from /proc")
def test_a_folder_of_them_takes_less_than_two_gigabytes(worked):
    peak = int(worked[1].stdout.rpartition("peak ")[2])
    assert peak < 2 << 20, f"{peak >> 10} MiB"


MEASURED = """
import pathlib, sys
from exif_jax import localize
status = localize.main(sys.argv[1:])
# ru_maxrss would count what the parent held when it forked.
memory = pathlib.Path("/proc/self/status")
if memory.exists():
    print("peak", memory.read_text().partition("VmHWM:")[2].split()[0])
sys.exit(status)
"""


# --- names and places -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        *("-rf.png", "--help.png", "with space.png", "naïve-日本.png", "\u202egnp.exe.png"),
        *(
            "<script>alert(1)</script>.png".replace("/", "∕"),
            "a\nb.png",
            "%s{0}.png",
            "n" * 251 + ".png",
        ),
        *(b"\xff\xfe.png".decode("utf-8", "surrogateescape"), "CON.png", ".hidden.png"),
    ],
)
def test_any_name_works(model, tmp_path, name):
    folder = tmp_path / "in"
    folder.mkdir()
    PHOTO.save(folder / "x.png")
    os.rename(folder / "x.png", folder / name)
    out = tmp_path / "out"
    argv = ["--model", str(model), "--output", str(out), "--", os.path.join(folder, name)]
    assert localize.main(argv) == 0
    assert any(path.name.endswith(".overlay.png") for path in out.iterdir())
    assert {path.name for path in tmp_path.iterdir()} == {"in", "out"}


def test_a_name_that_begins_with_a_dash_from_where_it_lies(model, tmp_path, monkeypatch):
    PHOTO.save(tmp_path / "-x.png")
    monkeypatch.chdir(tmp_path)
    assert localize.main(["--model", str(model), "--", "-x.png"]) == 0
    assert (tmp_path / "results" / "_-x.overlay.png").exists()


def test_output_never_leaves_its_folder(model, tmp_path):
    """A photo named through .. and links; a link planted where a result will be written."""
    inner, out, aim = tmp_path / "a" / "b", tmp_path / "out", tmp_path / "precious.txt"
    inner.mkdir(parents=True)
    out.mkdir()
    PHOTO.save(tmp_path / "x.png")
    aim.write_text("keep me")
    (out / "x.overlay.png").symlink_to(aim)
    (inner / "link.png").symlink_to(tmp_path / "x.png")
    names = [str(inner / ".." / ".." / "x.png"), str(inner / "link.png")]
    assert localize.main(["--model", str(model), "--output", str(out), *names]) == 0
    assert aim.read_text() == "keep me"
    assert not (out / "x.overlay.png").is_symlink()
    assert {p.name for p in tmp_path.iterdir()} == {"a", "out", "x.png", "precious.txt"}
    assert {p.name for p in inner.iterdir()} == {"link.png"}


# --- a file that changes under our feet -----------------------------------------------------------


def test_a_file_that_changes_is_one_of_its_versions_or_refused(tmp_path):
    path = tmp_path / "x.png"
    versions = []
    for colour in (10, 200):
        Image.new("RGB", (64, 64), (colour,) * 3).save(path)
        versions.append(path.read_bytes())
    known = {hashlib.sha256(data).hexdigest(): read_photo(data).pixels for data in versions}
    stop = threading.Event()

    def write():
        turn = 0
        while not stop.is_set():
            turn += 1
            data = versions[turn % 2]
            path.write_bytes(data[: len(data) // 2] if turn % 3 == 0 else data)
            time.sleep(0.0002)  # lets the reader have its turn

    writer = threading.Thread(target=write)
    writer.start()
    try:
        read = refused = 0
        while read < 20 or refused < 20:
            try:
                photo = read_photo(path)
            except PhotoError:
                refused += 1
                continue
            read += 1
            np.testing.assert_array_equal(photo.pixels, known[photo.sha256])
    finally:
        stop.set()
        writer.join()


def test_a_file_that_grows_while_it_is_read_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "x.jpg"
    Image.new("RGB", (64, 64)).save(path)
    fstat = os.fstat

    def then_grow(descriptor):
        info = fstat(descriptor)
        with path.open("ab") as file:
            file.write(b"more")
        return info

    monkeypatch.setattr(os, "fstat", then_grow)
    with pytest.raises(PhotoError, match="changed while it was read"):
        read_photo(path)


def test_a_png_whose_pixels_fail_their_checksum_is_refused():
    """As one torn between two versions, whose pixels may decode to those of neither."""
    out = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(out, "PNG")
    data = bytearray(out.getvalue())
    assert read_photo(bytes(data)).pixels.shape == (64, 64, 3)
    data[-13] ^= 1  # the last byte before IEND, which takes 12: of the checksum
    with Image.open(io.BytesIO(data)) as image:
        image.load()  # Pillow alone takes it
    with pytest.raises(PhotoError, match="checksum"):
        read_photo(bytes(data))


def test_a_file_that_goes_away(tmp_path):
    with pytest.raises(PhotoError, match="no such file"):
        read_photo(tmp_path / "gone.jpg")


def test_an_array_that_finds_no_memory_is_a_photo_error(monkeypatch, tmp_path):
    path = tmp_path / "large.png"
    Image.new("RGB", (4, 4)).save(path)
    photo = read_photo(path)

    def no_room(*args, **kwargs):
        raise MemoryError

    monkeypatch.setattr(np, "asarray", no_room)
    with pytest.raises(PhotoError, match=r"large\.png: too large for the memory"):
        _ = photo.pixels
