"""Many photos: what is found, what is journalled, what a second run skips, what bad files do."""

import io
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from PIL import Image

from exif_jax.cli import batch
from exif_jax.cli.batch import PhotoFailed, decode_photos, find_photos, run


def photo(path, level=0, size=(8, 6)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*size, 3), level, np.uint8)).save(path)
    return path


def lines(out):
    return [json.loads(line) for line in (out / batch.JOURNAL).read_bytes().splitlines()]


class Work:
    """Writes NAME.json, remembers whom it saw, and fails where it is told to."""

    def __init__(self, out, errors=None):
        self.out, self.errors, self.seen = out, errors or {}, []

    def __call__(self, photo, shown, name):
        self.seen.append(name)
        if error := self.errors.get(name):
            raise error
        (self.out / f"{name}.json").write_text("{}")
        return {"level": int(photo.pixels[0, 0, 0])}, f"done {shown}"


# --- finding ----------------------------------------------------------------------------------


def test_files_folders_patterns_and_standard_input(tmp_path, monkeypatch):
    for name in ("a/1.jpg", "a/b/2.PNG", "a/b/no.txt", "out/3.jpg", "c[1].jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    out = pathlib.Path("out")

    def found(*sources):
        return [p.as_posix() for p in find_photos(sources, out)]

    assert found(".") == ["c[1].jpg", "a/1.jpg", "a/b/2.PNG"]
    assert found("a/**/*.PNG") == ["a/b/2.PNG"]
    assert found("c[1].jpg") == ["c[1].jpg"]  # a file of that name comes before the pattern
    assert found("a*") == ["a/1.jpg", "a/b/2.PNG"]  # a pattern that means a folder
    assert found("none/*.jpg", "gone.jpg") == ["none/*.jpg", "gone.jpg"]
    for listed in (b"a/1.jpg\nx y.jpg\n", b"a/1.jpg\0x y.jpg\0"):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(listed)))
        assert found("-") == ["a/1.jpg", "x y.jpg"]


# --- decoding ---------------------------------------------------------------------------------


def test_the_next_photo_decodes_while_this_one_is_worked_on(tmp_path, monkeypatch):
    started = threading.Event()

    def read(path):
        if path.name == "b":
            started.set()
        return path.name

    monkeypatch.setattr(batch, "read_photo", read)
    photos = decode_photos(map(pathlib.Path, "abc"))
    assert next(photos) == (pathlib.Path("a"), "a")
    assert started.wait(10)
    assert [found for _, found in photos] == ["b", "c"]


def test_no_more_photos_are_held_than_said(monkeypatch):
    read = []
    monkeypatch.setattr(batch, "read_photo", lambda path: read.append(path.name) or path.name)
    photos = decode_photos((pathlib.Path(str(i)) for i in range(50)), ahead=3)
    for _ in range(10):
        next(photos)
    time.sleep(0.1)
    assert len(read) <= 13


# --- the journal ------------------------------------------------------------------------------


def test_each_photo_has_a_line_and_bad_ones_do_not_stop_the_rest(tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    paths = [photo(tmp_path / f"{i}.png", i) for i in range(5)]
    paths[1].write_bytes(b"no photo")
    errors = {"2": PhotoFailed("too small"), "3": OSError(28, "No space left on device")}
    assert run(paths, out, Work(out, errors), {"s": 1}, "json") == 3
    told = lines(out)
    assert [line["status"] for line in told] == ["done", "failed", "failed", "failed", "done"]
    assert [line.get("level") for line in told] == [0, None, None, None, 4]
    assert told[0]["name"] == "0" and len(told[0]["sha256"]) == 64
    said = capsys.readouterr().err
    for words in ("1.png: ", "2.png: too small", "3.png: cannot write", "3 of 5 photos failed"):
        assert words in said


def test_a_bug_is_not_taken_for_a_bad_photo(tmp_path):
    paths = [photo(tmp_path / "0.png")]
    with pytest.raises(ZeroDivisionError):
        run(paths, tmp_path, Work(tmp_path, {"0": ZeroDivisionError()}), {}, "json")


def test_resume_does_what_failed_changed_or_is_gone(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    paths = [photo(tmp_path / f"{i}.png", i) for i in range(5)]
    assert run(paths, out, Work(out, {"4": PhotoFailed("once")}), {"s": 1}, "json") == 1
    (out / "1.json").unlink()
    photo(paths[2], 99, (16, 16))
    work = Work(out)
    assert run([*paths, photo(tmp_path / "new.png")], out, work, {"s": 1}, "json", True) == 0
    assert work.seen == ["1", "2", "4", "new"]
    last = {line["name"]: line for line in lines(out)}
    assert last["2"]["level"] == 99 and all(line["status"] == "done" for line in last.values())
    again = Work(out)
    assert run(paths, out, again, {"s": 1}, "json", True) == 0
    assert again.seen == [] and len(lines(out)) == 6
    other = Work(out)
    assert run(paths, out, other, {"s": 2}, "json", True) == 0  # other settings, other results
    assert len(other.seen) == 5


def test_names_stay_where_a_new_photo_comes_before_an_equal_one(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    first = photo(tmp_path / "b" / "x.png", 1)
    run([first], out, Work(out), {}, "json")
    second = photo(tmp_path / "a" / "x.png", 2)
    run([second, first], out, Work(out), {}, "json", True)
    assert {line["level"]: line["name"] for line in lines(out)} == {1: "x", 2: "x-2"}


@pytest.mark.parametrize("name", ["../../escaped", "/tmp/escaped", "a/b", ".hidden", ""])
def test_a_journal_cannot_lead_out_of_the_folder(tmp_path, name):
    out = tmp_path / "out"
    out.mkdir()
    path = photo(tmp_path / "x.png")
    line = {"file": str(path), "name": name, "status": "failed", "settings": {}}
    (out / batch.JOURNAL).write_text(json.dumps(line) + "\n")
    run([path], out, Work(out), {}, "json", True)
    assert sorted(os.listdir(out)) == [batch.JOURNAL, "x.json"]


@pytest.mark.parametrize("rest", [b'{"file": "x', b"\xff\xfe\n", b"[1]\n", b"{}\n", b"[" * 5000])
def test_a_damaged_journal_is_read_as_far_as_it_goes(tmp_path, rest):
    paths = [photo(tmp_path / "x.png"), photo(tmp_path / "y.png")]
    run(paths[:1], tmp_path, Work(tmp_path), {}, "json")
    with open(tmp_path / batch.JOURNAL, "ab") as journal:
        journal.write(rest)
    work = Work(tmp_path)
    assert run(paths, tmp_path, work, {}, "json", True) == 0
    assert work.seen == ["y"] and len(lines(tmp_path)) == 2


def test_without_resume_the_journal_starts_anew(tmp_path):
    path = photo(tmp_path / "x.png")
    for _ in range(2):
        assert run([path], tmp_path, Work(tmp_path), {}, "json") == 0
        assert len(lines(tmp_path)) == 1


def test_a_name_of_undecodable_bytes_is_journalled_and_resumed(tmp_path):
    path = pathlib.Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.png"))
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "x.png")
    os.rename(tmp_path / "x.png", path)
    for resume, seen in ((False, 1), (True, 0)):
        work = Work(tmp_path)
        assert run([path], tmp_path, work, {}, "json", resume) == 0
        assert len(work.seen) == seen
    assert lines(tmp_path)[0]["file"].endswith("\\xff.png")


def test_a_killed_run_goes_on_where_it_was(tmp_path):
    """A real process, killed between photos; the second run does only the rest."""
    script = tmp_path / "work.py"
    script.write_text(
        "import pathlib, sys, time\n"
        "from exif_jax.cli.batch import run\n"
        "out = pathlib.Path(sys.argv[1])\n"
        "def work(photo, shown, name):\n"
        "    print(name, flush=True)\n"
        "    if name == '3' and len(sys.argv) == 2: time.sleep(60)\n"
        "    (out / f'{name}.json').write_text('{}')\n"
        "    return {}, shown\n"
        "paths = sorted(out.glob('*.png'))\n"
        "run(paths, out, work, {}, 'json', True)\n"
    )
    for i in range(6):
        photo(tmp_path / f"{i}.png")
    environment = os.environ | {"PYTHONPATH": os.getcwd()}
    command = [sys.executable, str(script), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        while process.stdout.readline() != "3\n":
            assert process.poll() is None
        process.send_signal(signal.SIGKILL)
    second = subprocess.run(
        [*command, "go on"], capture_output=True, text=True, env=environment, timeout=60
    )
    assert second.returncode == 0, second.stderr
    names = [line for line in second.stdout.splitlines() if line.isdigit()]
    assert names == ["3", "4", "5"]
    assert [line["status"] for line in lines(tmp_path)] == ["done"] * 6
