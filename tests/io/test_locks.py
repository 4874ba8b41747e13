"""Locks between processes: who is kept out, who waits, and what a killed holder leaves behind."""

import contextlib
import errno
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import types

import pytest

from exif_jax.io import locks
from exif_jax.io.locks import FolderHeldError

HOLD = (
    "import sys\n"
    "from exif_jax.io.locks import hold\n"
    "with hold(sys.argv[1]):\n"
    "    print('held', flush=True)\n"
    "    sys.stdin.read()\n"
)


def as_on_windows(monkeypatch):
    """The module as it loads where there is no fcntl; msvcrt's locks are made of flock."""
    fcntl = pytest.importorskip("fcntl")
    fake = types.ModuleType("msvcrt")

    def locking(descriptor, mode, num_bytes):
        assert (mode, num_bytes) == (fake.LK_NBLCK, 1)
        assert os.lseek(descriptor, 0, os.SEEK_CUR) > 1 << 20  # not a byte of the content
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise PermissionError(errno.EACCES, "Permission denied") from error

    fake.LK_NBLCK, fake.locking = 2, locking
    monkeypatch.setitem(sys.modules, "fcntl", None)
    monkeypatch.setitem(sys.modules, "msvcrt", fake)
    return fresh_module()


def fresh_module():
    spec = importlib.util.find_spec("exif_jax.io.locks")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(params=["posix", "windows"])
def system(request, monkeypatch):
    return locks if request.param == "posix" else as_on_windows(monkeypatch)


@contextlib.contextmanager
def holder(folder):
    """Another process that holds a folder."""
    words = [sys.executable, "-c", HOLD, str(folder)]
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.stdin.close()


def test_a_held_folder_is_refused_with_its_holder(tmp_path):
    with holder(tmp_path) as process:
        with pytest.raises(FolderHeldError) as refused, locks.hold(tmp_path):
            pass
        said = str(refused.value)
        assert said.startswith(f"{tmp_path}: held by process {process.pid} on ")
        assert re.search(r" since \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00; wait until it ends", said)
    with locks.hold(tmp_path):  # free again
        pass
    assert list(tmp_path.iterdir()) == []


def test_within_one_process_too_and_only_for_that_folder(system, tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
    with system.hold(tmp_path / "a"):
        with pytest.raises(system.FolderHeldError), system.hold(tmp_path / "a"):
            pass
        with system.hold(tmp_path / "b"):
            pass
        with pytest.raises(system.FolderHeldError), system.hold(tmp_path / "a"):
            pass  # the refused ones did not lift the lock
    with system.hold(tmp_path / "a"):
        pass


def test_a_killed_holder_holds_no_longer(tmp_path):
    with holder(tmp_path) as process:
        process.kill()
        process.wait()
    assert (tmp_path / locks.LOCK_NAME).exists() or os.name != "posix"
    with locks.hold(tmp_path):
        told = json.loads((tmp_path / locks.LOCK_NAME).read_bytes())
        assert told["pid"] == os.getpid()


@pytest.mark.parametrize("content", [b"", b"no JSON", b"[]", b"{}", b"\xff", b"[" * 9999])
def test_a_holder_that_cannot_be_read_is_another_run(tmp_path, monkeypatch, content):
    monkeypatch.setattr(locks, "_own_description", lambda: content)
    held = pytest.raises(FolderHeldError, match="held by another run; wait")
    with locks.hold(tmp_path), held, locks.hold(tmp_path):
        pass


def test_a_folder_without_room_or_that_is_not_there_is_the_systems_error(tmp_path):
    with pytest.raises(FileNotFoundError), locks.hold(tmp_path / "none"):
        pass


def test_a_file_system_without_locks_keeps_nobody_apart(tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")

    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with locks.hold(tmp_path), locks.take_turns(tmp_path / "lock"):
        pass


def test_an_error_of_the_disk_is_no_other_run(tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")

    def fail(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fcntl, "flock", fail)
    with pytest.raises(OSError, match="Input/output"), locks.hold(tmp_path):
        pass


def test_an_exception_lifts_the_lock(system, tmp_path):
    with pytest.raises(ZeroDivisionError), system.take_turns(tmp_path / "lock"):
        raise ZeroDivisionError
    with system.take_turns(tmp_path / "lock"):
        pass
    assert list(tmp_path.iterdir()) == []


COUNT = (
    "import pathlib, sys\n"
    "from exif_jax.io.locks import take_turns\n"
    "path = pathlib.Path(sys.argv[1])\n"
    "for _ in range(60):\n"
    "    with take_turns(path.with_suffix('.lock')):\n"
    "        number = int(path.read_text())\n"
    "        path.write_text(str(number + 1))\n"
)


def test_processes_take_turns(tmp_path):
    """Without turns, or with a lock file that two processes hold, counts would be lost."""
    path = tmp_path / "count"
    path.write_text("0")
    processes = [subprocess.Popen([sys.executable, "-c", COUNT, str(path)]) for _ in range(3)]
    assert [process.wait(120) for process in processes] == [0, 0, 0]
    assert path.read_text() == "180"
    assert [p.name for p in tmp_path.iterdir()] == ["count"]


@pytest.mark.posix
def test_whoever_waits_can_be_interrupted(tmp_path):
    code = (
        "import signal, sys; from exif_jax.io.locks import take_turns\n"
        # Where the tests run in the background, children are started with the signal ignored.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "print('waits', flush=True)\n"
        "with take_turns(sys.argv[1]): pass\n"
    )
    path = tmp_path / "lock"
    with locks.take_turns(path):
        with subprocess.Popen(
            [sys.executable, "-c", code, str(path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout.readline() == "waits\n"
            process.send_signal(signal.SIGINT)
            assert "KeyboardInterrupt" in process.communicate(timeout=60)[1]
        assert path.exists()  # who only waited removes nothing
