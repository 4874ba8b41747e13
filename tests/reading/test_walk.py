"""Walking folders: what is found and in which order, and what is said of all the rest."""

import os
import pathlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from exif_jax.reading import walk
from exif_jax.reading.walk import WalkReport, find_photos, is_own_picture, walk_files


def make(top, *names):
    for name in names:
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return top


def found(top, **options):
    report = WalkReport()
    paths = [p.relative_to(top).as_posix() for p in find_photos(top, report, **options)]
    return paths, report


def own_picture(path):
    info = PngImagePlugin.PngInfo()
    info.add_text("Software", f"{walk.SOFTWARE} 0.1.0")
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(path, "PNG", pnginfo=info)
    return path


def test_photos_come_folder_by_folder_whatever_their_case(tmp_path):
    make(tmp_path, "c.jpg", "B/2.PNG", "a/1.jpg", "a/b/0.tif", "b.JPEG")
    paths, report = found(tmp_path)
    assert paths == ["b.JPEG", "c.jpg", "B/2.PNG", "a/1.jpg", "a/b/0.tif"]
    assert report.summary() == "" and report.unreadable == []


def test_what_is_skipped_is_counted_with_its_cure(tmp_path):
    make(tmp_path, "a.jpg", "1.heic", "x/2.HEIC", "3.txt", "y.TXT", "z.txt", "none", "raw.dng")
    paths, report = found(tmp_path, extensions={".jpg"})
    assert paths == ["a.jpg"]
    assert report.summary() == (
        "skipped 2 .heic (pip install pillow-heif), 1 .dng (raw files are not read: export them "
        "as TIFF or JPEG at full size), 3 .txt, 1 without an ending"
    )


def test_many_endings_are_one_line(tmp_path):
    for k in range(20):
        make(tmp_path, f"x.{k:02}", f"y.{k:02}")
    _, report = found(tmp_path)
    line = report.summary()
    assert line.count(",") == 12 and line.endswith("16 with other endings")


@pytest.mark.posix
def test_endings_are_safe_for_terminals(tmp_path):
    make(tmp_path, "a.\x1b[31m" + "b" * 60)
    _, report = found(tmp_path)
    assert report.summary() == f"skipped 1 .?[31m{'b' * 14}"


def test_droppings_of_systems_are_skipped_and_counted(tmp_path):
    make(tmp_path, "a.jpg", "._a.jpg", "Thumbs.db", ".DS_Store", "x/desktop.ini")
    make(tmp_path, "@eaDir/a.jpg/SYNO_THUMB.jpg", "__MACOSX/._b.jpg", ".thumbnails/n/1.png")
    make(tmp_path, "_a.jpg", ".hidden.jpg")  # these are photos
    paths, report = found(tmp_path)
    assert paths == [".hidden.jpg", "_a.jpg", "a.jpg"]
    assert report.system_files == 7 and not report.endings
    assert report.summary() == "skipped 7 of operating systems (._*, Thumbs.db, ...)"


def test_unreadable_folders_are_named_and_the_rest_is_found(tmp_path, monkeypatch):
    make(tmp_path, "a/1.jpg", "closed/2.jpg", "z/3.jpg")
    scandir = os.scandir

    def refuse(folder):  # root may read any folder
        if pathlib.Path(folder).name == "closed":
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    paths, report = found(tmp_path)
    assert paths == ["a/1.jpg", "z/3.jpg"]
    assert report.unreadable == [f"{tmp_path / 'closed'}: Permission denied"]


def test_a_missing_folder_is_unreadable(tmp_path):
    report = WalkReport()
    assert list(walk_files(tmp_path / "none", report)) == []
    assert report.unreadable == [f"{tmp_path / 'none'}: No such file or directory"]


def link(path, target):
    try:
        path.symlink_to(target, target_is_directory=True)
    except OSError:  # Windows, for most users
        pytest.skip("no links may be made here")


def test_links_are_followed_and_circles_end(tmp_path):
    make(tmp_path, "top/b/1.jpg", "elsewhere/2.jpg", "elsewhere/deep/3.jpg")
    top = tmp_path / "top"
    link(top / "a_link", tmp_path / "elsewhere")
    link(top / "to_itself", top)
    link(top / "up", tmp_path)  # what holds the folder itself is a circle as well
    link(top / "b" / "again", top / "b")
    link(tmp_path / "elsewhere" / "deep" / "back", tmp_path / "elsewhere")
    link(top / "second", tmp_path / "elsewhere")
    link(top / "photo.jpg", tmp_path / "elsewhere" / "2.jpg")
    paths, _ = found(top)
    assert paths == ["photo.jpg", "b/1.jpg", "a_link/2.jpg", "a_link/deep/3.jpg"]


def test_a_folder_goes_by_its_own_path_before_a_links(tmp_path):
    make(tmp_path, "z/1.jpg")
    link(tmp_path / "a", tmp_path / "z")
    assert found(tmp_path)[0] == ["z/1.jpg"]


def test_broken_links_are_left_to_whoever_reads_them(tmp_path):
    make(tmp_path, "x.jpg")
    link(tmp_path / "gone.jpg", tmp_path / "nothing")
    link(tmp_path / "round.jpg", tmp_path / "round.jpg")
    assert found(tmp_path)[0] == ["gone.jpg", "round.jpg", "x.jpg"]


def test_own_results_are_no_photos(tmp_path):
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "photo.png")
    own_picture(tmp_path / "photo.overlay.png")
    own_picture(tmp_path / "renamed.png")
    make(tmp_path, "photo.map.npy", "photo.json", "photo.html", "photo.verify.json")
    make(tmp_path, "results.jsonl", ".exif-jax.lock", "sidecar.json")
    paths, report = found(tmp_path)
    assert paths == ["photo.png"]
    assert report.own_files == 8 and dict(report.endings) == {".json": 1}
    assert report.summary() == "skipped 1 .json, 8 results of exif-jax"


def test_a_mark_counts_only_in_the_head_of_a_png(tmp_path):
    own = own_picture(tmp_path / "own.png").read_bytes()
    (tmp_path / "own.jpg").write_bytes(own)
    (tmp_path / "late.png").write_bytes(own[:8] + b"\0" * 600 + own[8:])
    (tmp_path / "cut.png").write_bytes(own[:30])
    (tmp_path / "no_png.png").write_bytes(b"x" + own)
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "plain.png")
    assert is_own_picture(tmp_path / "own.png")
    for name in ("own.jpg", "late.png", "cut.png", "no_png.png", "plain.png", "gone.png"):
        assert not is_own_picture(tmp_path / name)
    assert not is_own_picture(tmp_path / "nul\0.png")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    assert found(tmp_path)[0] == ["pipe.png"]  # whoever reads it refuses it
