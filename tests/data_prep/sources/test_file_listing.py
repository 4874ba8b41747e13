"""What is passed over in folders and buckets is counted, and what cannot be read is named."""

import pathlib

import fsspec
import pytest
from photo_folders import close_folders
from source_folders import read_all

from data_prep.sources.listing import list_chunks
from data_prep.sources.raw_photo import SourceError

URL_NAMES = ("a.jpg", "x/b.JPG", "x/._b.jpg", "x/Thumbs.db", "@eaDir/a.jpg/small.jpg", "n.txt")


def make(top: pathlib.Path, *names: str) -> pathlib.Path:
    for name in names:
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_bytes(b"photo")
    return top


def names(source) -> list[str]:
    return [file.file for chunk in list_chunks(str(source)).chunks for file in chunk.files]


@pytest.fixture(params=["folder", "bucket"])
def source(request, tmp_path) -> str:
    """The same files in a folder and in a bucket."""
    if request.param == "folder":
        return str(make(tmp_path, *URL_NAMES))
    bucket = fsspec.filesystem("memory")
    for name in URL_NAMES:
        bucket.pipe(f"/{tmp_path.name}/{name}", b"photo")
    return f"memory://{tmp_path.name}"


def test_droppings_of_systems_are_counted_and_are_no_photos(source):
    assert names(source) == ["a.jpg", "x/b.JPG"]
    report = list_chunks(source).report
    assert report.system_files == 3 and report.endings == {".txt": 1}


def test_formats_that_are_not_read_are_counted_with_their_cure(tmp_path):
    make(tmp_path, "a.jpg", "1.dng", "2.DNG", "b/3.xyz", "a.jpg.json", "4.json", "manifest.jsonl")
    (tmp_path / "manifest.jsonl").write_text("{}\n")
    assert names(tmp_path) == ["a.jpg"]
    summary = list_chunks(str(tmp_path)).report.summary()
    # Neither the side-car of a photo nor the manifest is passed over.
    assert summary.startswith("skipped 2 .dng (raw files are not read: export them")
    assert summary.endswith(", 1 .json, 1 .xyz")


def test_a_folder_without_any_photo_says_what_it_holds(tmp_path):
    make(tmp_path, "1.dng")
    with pytest.raises(SourceError, match=r"no photos \(skipped 1 \.dng \(raw files"):
        list_chunks(str(tmp_path))


def test_links_to_folders_are_followed_and_circles_end(tmp_path):
    make(tmp_path, "in/a/1.jpg", "elsewhere/2.jpg")
    (tmp_path / "in" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in" / "a" / "up").symlink_to(tmp_path / "in")
    assert names(tmp_path / "in") == ["a/1.jpg", "link/2.jpg"]
    assert [photo.data for photo in read_all(tmp_path / "in")] == [b"photo", b"photo"]


def test_folders_that_cannot_be_read_are_named_and_the_rest_is_taken(tmp_path, monkeypatch):
    make(tmp_path, "a/1.jpg", "closed/2.jpg", "deep/closed/3.jpg")
    close_folders(monkeypatch, "closed")
    assert names(tmp_path) == ["a/1.jpg"]
    assert list_chunks(str(tmp_path)).report.unreadable == [
        f"{tmp_path / 'closed'}: Permission denied",
        f"{tmp_path / 'deep' / 'closed'}: Permission denied",
    ]


def test_parts_of_a_bucket_that_cannot_be_read_are_named(tmp_path, monkeypatch):
    bucket = fsspec.filesystem("memory")
    for name in ("a/1.jpg", "closed/2.jpg"):
        bucket.pipe(f"/{tmp_path.name}/{name}", b"photo")
    listed = type(bucket).ls

    def refuse(self, path, *args, **kwargs):
        if path.endswith("closed"):
            raise PermissionError(13, "Permission denied")
        return listed(self, path, *args, **kwargs)

    monkeypatch.setattr(type(bucket), "ls", refuse)
    assert names(f"memory://{tmp_path.name}") == ["a/1.jpg"]
    report = list_chunks(f"memory://{tmp_path.name}").report
    assert report.unreadable == [f"/{tmp_path.name}/closed: Permission denied"]
    monkeypatch.setattr(type(bucket), "ls", lambda *_, **__: refuse(bucket, "closed"))
    with pytest.raises(SourceError, match=f"{tmp_path.name}: Permission denied"):
        list_chunks(f"memory://{tmp_path.name}")


def test_results_of_exif_jax_are_no_photos(tmp_path):
    from test_walk import own_picture

    make(tmp_path, "a.jpg", "results.jsonl")
    own_picture(tmp_path / "a.overlay.png")
    assert names(tmp_path) == ["a.jpg"]
    assert list_chunks(str(tmp_path)).report.own_files == 2
