"""A file is there whole, or as it was."""

import os
import signal
import subprocess
import sys

import pytest

from exif_jax.io.atomic import replacing, write_bytes


def names(folder) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.posix
def test_a_file_takes_the_place_of_another(tmp_path):
    path = tmp_path / "a.bin"
    write_bytes(path, b"one")
    with replacing(path) as file:
        file.write(b"two")
        assert path.read_bytes() == b"one"
    assert path.read_bytes() == b"two" and names(tmp_path) == {"a.bin"}
    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_an_error_leaves_what_was_there(tmp_path):
    path = tmp_path / "a.bin"
    write_bytes(path, b"one")
    with pytest.raises(RuntimeError), replacing(path) as file:
        file.write(b"half")
        raise RuntimeError
    assert path.read_bytes() == b"one" and names(tmp_path) == {"a.bin"}


def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    path = tmp_path / "a.bin"
    write_bytes(path, b"one")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as error:
        write_bytes(path, b"two")
    assert error.value.filename == str(path)  # which the system does not say
    assert path.read_bytes() == b"one" and names(tmp_path) == {"a.bin"}


def test_a_folder_that_cannot_be_written_to_is_told_by_the_files_own_name(tmp_path):
    with pytest.raises(OSError, match="No such file") as error:
        write_bytes(tmp_path / "none" / "a.bin", b"one")
    assert error.value.filename == str(tmp_path / "none" / "a.bin")


@pytest.mark.posix
def test_a_killed_process_leaves_what_was_there_and_the_next_goes_on(tmp_path):
    path = tmp_path / "a.bin"
    write_bytes(path, b"one")
    code = (
        "import os, signal, sys; from exif_jax.io.atomic import replacing\n"
        "with replacing(sys.argv[1]) as f: f.write(b'h'); f.flush(); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], cwd=os.getcwd())
    assert done.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"one" and names(tmp_path) == {"a.bin", ".a.bin.tmp"}
    write_bytes(path, b"two")
    assert path.read_bytes() == b"two" and names(tmp_path) == {"a.bin"}


@pytest.mark.posix
def test_a_planted_link_is_not_followed(tmp_path):
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / ".a.bin.tmp").symlink_to(victim)
    write_bytes(tmp_path / "a.bin", b"one")
    assert victim.read_bytes() == b"precious" and (tmp_path / "a.bin").read_bytes() == b"one"


def test_a_missing_folder_is_the_systems_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_bytes(tmp_path / "none" / "a.bin", b"")
