"""What the words of a command line mean: files, folders, patterns, names or a photo on stdin."""

import io
import pathlib
import sys

import numpy as np
import pytest
from PIL import Image

from exif_jax.cli.inputs import PhotoInput, find_inputs, looks_like_photo, photo_identity
from exif_jax.reading.walk import WalkReport
from exif_jax.reports.render import png_bytes


def encoded(kind, size=(8, 6)):
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((*size, 3), np.uint8)).save(buffer, kind)
    return buffer.getvalue()


def listed(*sources, report=None):
    photos = find_inputs(sources, report or WalkReport())
    assert all(photo.data is None for photo in photos)
    return [photo.path.as_posix() for photo in photos]


def pipe(monkeypatch, data):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def test_files_folders_patterns_and_names_on_standard_input(tmp_path, monkeypatch):
    for name in ("a/1.jpg", "a/b/2.PNG", "a/b/no.txt", "c[1].jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    assert listed(".") == ["c[1].jpg", "a/1.jpg", "a/b/2.PNG"]
    assert listed("a/**/*.PNG") == ["a/b/2.PNG"]
    assert listed("c[1].jpg") == ["c[1].jpg"]  # a file of that name comes before the pattern
    assert listed("a*") == ["a/1.jpg", "a/b/2.PNG"]  # a pattern that means a folder
    assert listed("none/*.jpg", "gone.jpg") == ["none/*.jpg", "gone.jpg"]
    assert listed("gone.jpg", "gone.jpg", "a", "a/1.jpg") == ["gone.jpg", "a/1.jpg", "a/b/2.PNG"]
    for names in (b"a/1.jpg\nx y.jpg\n", b"a/1.jpg\0x y.jpg\0", b"a/1.jpg\r\nx y.jpg"):
        pipe(monkeypatch, names)
        assert listed("-") == ["a/1.jpg", "x y.jpg"]
    pipe(monkeypatch, b"")
    assert listed("-") == []


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "BMP", "GIF"])
def test_a_photo_on_standard_input_is_one_photo(monkeypatch, kind):
    data = encoded(kind)
    pipe(monkeypatch, data)
    report = WalkReport()
    assert find_inputs(["-"], report) == [PhotoInput(pathlib.Path("stdin"), data)]


@pytest.mark.parametrize(
    ("data", "photo"),
    [
        *((b"a.jpg", False), (b"\xc3\xa9.jpg\n", False), (b"II.jpg\nMM.jpg\n", False)),
        *((b"a.jpg\0b\nc.jpg\0", False), (b"tab\t.jpg\n", False), (b"RIFF.webp", False)),
        *((b"\xff\xd8\xff", True), (b"II*\0", True), (b"MM\0*", True), (b"BM\x36\x01", True)),
        *((b"a.jpg\n" * 700, False), (b"a.jpg\n" * 700 + b"\x01", False)),  # only its beginning
        (b"\0\0\0\x18ftypheic", True),
        (b"", False),
    ],
)
def test_names_and_photos_are_told_apart(data, photo):
    assert looks_like_photo(data) == photo


def test_own_pictures_are_skipped_wherever_they_are_named(tmp_path, monkeypatch):
    own = tmp_path / "own.png"
    own.write_bytes(png_bytes(Image.new("RGB", (4, 4))))
    (tmp_path / "a.png").write_bytes(encoded("PNG"))
    monkeypatch.chdir(tmp_path)
    for sources in (["."], ["own.png", "a.png"], ["*.png"]):
        report = WalkReport()
        assert listed(*sources, report=report) == ["a.png"]
        assert report.own_files == 1
    pipe(monkeypatch, b"own.png\na.png\n")
    assert listed("-", report=report) == ["a.png"]
    assert report.own_files == 2


def test_identities_tell_equal_names_of_two_folders_apart(tmp_path, monkeypatch):
    photo = PhotoInput(pathlib.Path("x.jpg"))
    identities = set()
    for name in "ab":
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        assert photo_identity(photo) == photo_identity(photo)
        identities.add(photo_identity(photo))
    assert len(identities) == 2
    piped = {photo_identity(PhotoInput(pathlib.Path("stdin"), data)) for data in (b"1", b"2")}
    assert len(piped) == 2
    assert len(photo_identity(PhotoInput(pathlib.Path("\udcff.jpg")))) == 16


@pytest.mark.posix
def test_a_removed_working_folder_leaves_an_identity(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert len(photo_identity(PhotoInput(pathlib.Path("x.jpg")))) == 16
