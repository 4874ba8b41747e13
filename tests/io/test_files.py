"""Paths and URLs alike: one specification, held by a local folder and by a bucket in memory."""

import os
import pathlib
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exif_jax.io import files
from exif_jax.io.atomic import write_bytes
from exif_jax.io.files import FilesError, exists, join, list_names, read_file, read_range, size_of

DATA = bytes(range(100))


@pytest.fixture(params=["local", "memory"])
def folder(request, tmp_path):
    """A folder with a file of 100 bytes and, in a folder below, an empty one."""
    path = str(tmp_path / "in") if request.param == "local" else f"memory://{tmp_path.name}"
    files.make_folder(join(path, "below/it"))
    write_bytes(join(path, "data.bin"), DATA)
    write_bytes(join(path, "below/it/empty"), b"")
    yield path
    files.remove(path)


def test_names_are_sorted_and_of_one_level(folder):
    write_bytes(join(folder, "a ü#?.bin"), b"")
    assert list_names(folder) == ["a ü#?.bin", "below", "data.bin"]
    assert list_names(f"{folder}/") == list_names(folder)
    assert list_names(join(folder, "below")) == ["it"]


def test_a_name_is_joined_with_one_slash(folder):
    assert join(folder, "x") == join(f"{folder}/", "x") == f"{folder}/x"
    assert join(pathlib.Path("photos"), "x") == "photos/x"


def test_files_and_folders_exist_and_others_do_not(folder):
    assert exists(folder) and exists(join(folder, "data.bin")) and exists(join(folder, "below"))
    assert not exists(join(folder, "data")) and not exists(join(folder, "below/it/none"))


def test_a_file_is_read_whole_and_by_range(folder):
    path = join(folder, "data.bin")
    assert (size_of(path), read_file(path)) == (100, DATA)
    empty = join(folder, "below/it/empty")
    assert (size_of(empty), read_file(empty), read_range(empty, 0, 9)) == (0, b"", b"")


@pytest.mark.parametrize(
    ("start", "length"),
    [(0, 100), (10, 5), (10, 0), (95, 5), (95, 6), (99, 99), (100, 1), (101, 9), (10**6, 1)],
)
def test_a_range_ends_where_the_file_ends(folder, start, length):
    assert read_range(join(folder, "data.bin"), start, length) == DATA[start : start + length]


@settings(max_examples=50, deadline=None, derandomize=True)
@given(data=st.binary(max_size=40), start=st.integers(0, 50), length=st.integers(0, 50))
def test_any_range_is_the_slice(tmp_path_factory, data, start, length):
    folder = tmp_path_factory.getbasetemp()
    for path in (str(folder / "range.bin"), f"memory://{folder.name}/range.bin"):
        write_bytes(path, data)
        assert read_range(path, start, length) == data[start : start + length]
        files.remove(path)


@pytest.mark.parametrize("ask", [size_of, read_file, lambda path: read_range(path, 0, 1)])
def test_a_missing_file_is_the_systems_error(folder, ask):
    with pytest.raises(FileNotFoundError, match="none"):
        ask(join(folder, "none"))


@pytest.mark.parametrize("ask", [read_file, lambda path: read_range(path, 0, 1)])
def test_a_folder_is_no_file_to_read(folder, ask):
    with pytest.raises(OSError):
        ask(join(folder, "below"))


def test_a_missing_folder_has_no_names(folder):
    with pytest.raises(FileNotFoundError, match="none"):
        list_names(join(folder, "none"))


def test_a_folder_that_is_there_is_left_as_it_is(folder):
    files.make_folder(folder)
    files.make_folder(join(folder, "below/it"))
    assert list_names(folder) == ["below", "data.bin"]


def test_what_is_removed_is_gone_with_all_in_it_and_nothing_else(folder):
    files.remove(join(folder, "below"))
    assert not exists(join(folder, "below/it/empty")) and list_names(folder) == ["data.bin"]
    files.remove(join(folder, "data.bin"))
    assert not exists(join(folder, "data.bin"))
    files.remove(join(folder, "data.bin"))  # again: no error


@pytest.mark.parametrize("kind", ["file", "folder", "nothing"])
def test_a_link_is_removed_and_not_what_it_leads_to(tmp_path, kind):
    (tmp_path / "folder").mkdir()
    for name in ("file", "folder/file"):
        (tmp_path / name).write_bytes(DATA)
    (tmp_path / "link").symlink_to(tmp_path / kind)
    files.remove(tmp_path / "link")
    assert not os.path.lexists(tmp_path / "link")
    assert (tmp_path / "file").read_bytes() == (tmp_path / "folder/file").read_bytes() == DATA


def test_a_link_inside_a_removed_folder_is_not_followed(tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_bytes(DATA)
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "link").symlink_to(tmp_path / "precious")
    files.remove(tmp_path / "old")
    assert (tmp_path / "precious" / "file").read_bytes() == DATA


def test_two_colons_in_a_local_name_are_no_chain_of_file_systems(tmp_path):
    path = tmp_path / "zip::data.bin"
    path.write_bytes(DATA)
    found, where = files.file_system(path)
    assert not files.is_url(path) and files.is_url("gs://bucket/x")
    assert found.cat_file(where) == DATA


@pytest.mark.parametrize("ask", [exists, size_of, read_file, list_names, files.remove])
def test_two_colons_in_a_url_are_refused(ask):
    """fsspec would take them for a chain, and read or remove another file."""
    with pytest.raises(FilesError, match=r"^memory://a::b: '::' in a URL is not supported"):
        ask("memory://a::b")


@pytest.mark.parametrize(
    ("url", "missing", "named"),
    [
        *(("gs://b/x", "gcsfs", "gcsfs"), ("s3://b/x", "s3fs", "s3fs")),
        ("memory://b/x", "fsspec", r"pip install 'exif-jax\[data\]'"),
        ("nosuch://b/x", "nosuch", "nosuch"),
    ],
)
@pytest.mark.parametrize("ask", [exists, size_of, read_file, list_names, files.remove])
def test_what_is_not_installed_is_named(monkeypatch, ask, url, missing, named):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(FilesError, match=f"^{url}: .*{named}"):
        ask(url)
