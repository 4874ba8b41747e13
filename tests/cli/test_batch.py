"""Many photos: what is journalled, what a second run skips or keeps, what bad files do."""

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
from exif_jax.cli.batch import PhotoFailed, decode_photos, process_photos
from exif_jax.cli.inputs import PhotoInput, photo_identity
from exif_jax.cli.journal import JOURNAL
from exif_jax.io import locks


def photo(path, level=0, size=(8, 6)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*size, 3), level, np.uint8)).save(path)
    return path


def rows(out):
    return [json.loads(line) for line in (out / JOURNAL).read_bytes().splitlines()]


def run(paths, out, work, settings=None, resume=False, **options):
    """How many photos fail; the command is "localize" and its last file NAME.json."""
    options = {"command": "localize", "last_file": "json", **options}
    photos = [PhotoInput(path) for path in paths]
    return process_photos(photos, out, work, settings or {}, resume=resume, **options)


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


# --- decoding ---------------------------------------------------------------------------------


def test_the_next_photo_decodes_while_this_one_is_worked_on(tmp_path, monkeypatch):
    started = threading.Event()

    def read(path, **_):
        if path.name == "b":
            started.set()
        return path.name

    monkeypatch.setattr(batch, "read_photo", read)
    photos = decode_photos(PhotoInput(pathlib.Path(name)) for name in "abc")
    assert next(photos) == "a"
    assert started.wait(10)
    assert list(photos) == ["b", "c"]


def test_no_more_photos_are_held_than_said(monkeypatch):
    read = []
    monkeypatch.setattr(batch, "read_photo", lambda path, **_: read.append(path.name))
    photos = decode_photos((PhotoInput(pathlib.Path(str(i))) for i in range(50)), ahead=3)
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
    assert run(paths, out, Work(out, errors), {"s": 1}) == 3
    journal = rows(out)
    assert [row["status"] for row in journal] == ["done", "failed", "failed", "failed", "done"]
    assert [row.get("level") for row in journal] == [0, None, None, None, 4]
    assert journal[0]["name"] == "0" and len(journal[0]["sha256"]) == 64
    messages = capsys.readouterr().err
    for words in ("1.png: ", "2.png: too small", "3.png: cannot write", "3 of 5 photos failed"):
        assert words in messages


def test_a_bug_is_not_taken_for_a_bad_photo(tmp_path):
    paths = [photo(tmp_path / "0.png")]
    with pytest.raises(ZeroDivisionError):
        run(paths, tmp_path, Work(tmp_path, {"0": ZeroDivisionError()}), {})


def test_resume_does_what_failed_changed_or_is_gone(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    paths = [photo(tmp_path / f"{i}.png", i) for i in range(5)]
    assert run(paths, out, Work(out, {"4": PhotoFailed("once")}), {"s": 1}) == 1
    (out / "1.json").unlink()
    photo(paths[2], 99, (16, 16))
    work = Work(out)
    assert run([*paths, photo(tmp_path / "new.png")], out, work, {"s": 1}, True) == 0
    assert work.seen == ["1", "2", "4", "new"]
    last = {line["name"]: line for line in rows(out)}
    assert last["2"]["level"] == 99 and all(line["status"] == "done" for line in last.values())
    again = Work(out)
    assert run(paths, out, again, {"s": 1}, True) == 0
    assert again.seen == [] and len(rows(out)) == 6
    other = Work(out)
    assert run(paths, out, other, {"s": 2}, True) == 0  # other settings, other results
    assert len(other.seen) == 5


def test_names_stay_where_a_new_photo_comes_before_an_equal_one(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    first = photo(tmp_path / "b" / "x.png", 1)
    run([first], out, Work(out), {})
    second = photo(tmp_path / "a" / "x.png", 2)
    run([second, first], out, Work(out), {}, True)
    assert {line["level"]: line["name"] for line in rows(out)} == {1: "x", 2: "x-2"}


@pytest.mark.parametrize("name", ["../../escaped", "/tmp/escaped", "a/b", ".hidden", ""])
def test_a_journal_cannot_lead_out_of_the_folder(tmp_path, name):
    out = tmp_path / "out"
    out.mkdir()
    path = photo(tmp_path / "x.png")
    row = {"file": str(path), "name": name, "status": "failed", "settings": {}}
    row |= {"photo": photo_identity(PhotoInput(path)), "command": "localize"}
    (out / JOURNAL).write_text(json.dumps(row) + "\n")
    run([path], out, Work(out), {}, True)
    assert sorted(os.listdir(out)) == [JOURNAL, "x.json"]


@pytest.mark.parametrize("rest", [b'{"file": "x', b"\xff\xfe\n", b"[1]\n", b"{}\n", b"[" * 5000])
def test_a_damaged_journal_is_read_as_far_as_it_goes(tmp_path, rest):
    paths = [photo(tmp_path / "x.png"), photo(tmp_path / "y.png")]
    run(paths[:1], tmp_path, Work(tmp_path), {})
    with open(tmp_path / JOURNAL, "ab") as journal:
        journal.write(rest)
    work = Work(tmp_path)
    assert run(paths, tmp_path, work, {}, True) == 0
    assert work.seen == ["y"] and len(rows(tmp_path)) == 2


# --- results are never lost -------------------------------------------------------------------


def test_the_same_photo_judged_again_replaces_its_own_results(tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    path = photo(tmp_path / "x.png", 1)
    for settings in ({"s": 1}, {"s": 2}):
        assert run([path], out, Work(out), settings) == 0
        assert [row["settings"] for row in rows(out)] == [settings]
    assert "replaced" not in capsys.readouterr().err
    photo(path, 2, (16, 16))
    run([path], out, Work(out))
    assert [(row["name"], row["level"]) for row in rows(out)] == [("x", 2)]
    assert "x.png: changed since its former results, which are replaced" in capsys.readouterr().err
    assert sorted(os.listdir(out)) == [JOURNAL, "x.json"]


@pytest.mark.parametrize("resume", [False, True])
def test_results_of_other_photos_stay(tmp_path, monkeypatch, resume):
    """Equal names, even by equal relative paths, are told apart."""
    out = tmp_path / "out"
    out.mkdir()
    for level, folder in enumerate("abc"):
        photo(tmp_path / folder / "x.png", level)
        monkeypatch.chdir(tmp_path / folder)
        run([pathlib.Path("x.png")], out, Work(out), resume=resume)
    assert {row["name"]: row["level"] for row in rows(out)} == {"x": 0, "x-2": 1, "x-3": 2}
    assert [row["file"] for row in rows(out)] == ["x.png"] * 3
    assert sorted(os.listdir(out)) == [JOURNAL, "x-2.json", "x-3.json", "x.json"]
    work = Work(out)
    run([pathlib.Path("x.png")], out, work, resume=True)  # the third folder's
    assert work.seen == []


def test_what_is_no_result_of_ours_is_not_written_over(tmp_path):
    path = photo(tmp_path / "x.png")
    for name in ("x.json", "X-2.html"):
        (tmp_path / name).write_text("a side-car of the user's")
    work = Work(tmp_path)
    run([path], tmp_path, work)
    run([path], tmp_path, work)
    assert work.seen == ["x-3", "x-3"]
    assert "user" in (tmp_path / "x.json").read_text() + (tmp_path / "X-2.html").read_text()


def test_results_of_another_command_stay_under_the_same_name(tmp_path):
    path = photo(tmp_path / "x.png")
    for command in ("localize", "verify", "localize"):
        run([path], tmp_path, Work(tmp_path), command=command)
    assert {(row["command"], row["name"]) for row in rows(tmp_path)} == {
        ("localize", "x"),
        ("verify", "x"),
    }


def test_photos_that_moved_with_their_results_are_resumed(tmp_path, monkeypatch):
    photo(tmp_path / "here" / "x.png")
    (tmp_path / "here" / "out").mkdir()
    for place, seen in (("here", ["x"]), ("there", [])):
        if place == "there":
            os.rename(tmp_path / "here", tmp_path / "there")
        monkeypatch.chdir(tmp_path / place)
        work = Work(pathlib.Path("out"))
        run([pathlib.Path("x.png")], pathlib.Path("out"), work, resume=True)
        assert work.seen == seen
    run([pathlib.Path("x.png")], pathlib.Path("out"), Work(pathlib.Path("out")), {"s": 2})
    assert [row["settings"] for row in rows(tmp_path / "there" / "out")] == [{"s": 2}]


RUN = """
import pathlib, sys, time
from exif_jax.cli.batch import process_photos
from exif_jax.cli.inputs import PhotoInput
out = pathlib.Path(sys.argv[1])
def work(photo, shown, name):
    path = out / f"{name}.json"
    assert not path.exists(), f"{path} is another photo's"
    path.write_text(shown)
    return {}, shown
photos = [PhotoInput(pathlib.Path(name)) for name in sys.argv[2:]]
process_photos(photos, out, work, {}, command="localize", last_file="json")
"""


@pytest.mark.parametrize("at_once", [1, 3])
def test_processes_in_one_folder_take_turns(tmp_path, at_once):
    """As `xargs -n 2` and `xargs -n 2 -P 3` start them: all rows, and names for each photo."""
    out = tmp_path / "out"
    out.mkdir()
    paths = [photo(tmp_path / str(k) / "x.png", k) for k in range(12)]
    running = []
    for k in range(0, len(paths), 2):
        while len(running) >= at_once:
            assert running.pop(0).wait(120) == 0
        running.append(subprocess.Popen([sys.executable, "-c", RUN, out, *paths[k : k + 2]]))
    assert [process.wait(120) for process in running] == [0] * len(running)
    assert {row["file"] for row in rows(out)} == set(map(str, paths)) and len(rows(out)) == 12
    for row in rows(out):
        assert (out / f"{row['name']}.json").read_text() == row["file"]
    assert len(os.listdir(out)) == 13  # no lock and no reserved name is left


def test_the_same_command_started_twice_is_done_twice_and_kept_once(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    paths = [photo(tmp_path / f"{k}.png", k) for k in range(6)]
    code = RUN.replace("    assert not path", "    # ")
    code = code.replace("path.write_text(shown)", "write_bytes(path, shown.encode())")
    code = f"from exif_jax.io.atomic import write_bytes\n{code}"
    running = [subprocess.Popen([sys.executable, "-c", code, out, *paths]) for _ in range(3)]
    assert [process.wait(120) for process in running] == [0, 0, 0]
    assert sorted(row["name"] for row in rows(out)) == list("012345")
    assert {row["status"] for row in rows(out)} == {"done"}
    assert len(os.listdir(out)) == 7


def test_a_killed_runs_names_stay_its_photos(tmp_path):
    """The first run dies before its row; another photo of that name gets another one."""
    first, second = (photo(tmp_path / name / "x.png") for name in "ab")
    out = tmp_path / "out"
    out.mkdir()

    dying = RUN.replace("    path.write_text(shown)", "    path.write_text(shown); os._exit(9)")
    command = [sys.executable, "-c", f"import os\n{dying}", out, first]
    assert subprocess.run(command, timeout=120).returncode == 9
    run([second], out, Work(out))
    run([first], out, Work(out))
    names = {row["file"]: row["name"] for row in rows(out)}
    assert names == {str(first): "x", str(second): "x-2"}
    assert sorted(os.listdir(out)) == [JOURNAL, "x-2.json", "x.json"]


def test_one_photo_is_written_by_one_run_at_a_time(tmp_path):
    path = photo(tmp_path / "x.png")
    seen = []

    def work(photo, shown, name):
        with pytest.raises(BlockingIOError):
            descriptor = os.open(tmp_path / f".exif-jax-{name}.lock", os.O_RDWR)
            if locks._lock_descriptor(descriptor):
                pytest.fail("the files of the photo are not locked")
            raise BlockingIOError
        seen.append(name)
        return {}, shown

    run([path], tmp_path, work)
    assert seen == ["x"]


# --- printing decides nothing -----------------------------------------------------------------


class Broken(io.StringIO):
    encoding = "ascii"

    def __init__(self, error):
        super().__init__()
        self.problem = error

    def write(self, text):
        raise self.problem


@pytest.mark.parametrize("error", [BrokenPipeError(32, "Broken pipe"), OSError(28, "No space")])
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_stream_that_takes_nothing_fails_no_photo(tmp_path, monkeypatch, error, stream):
    paths = [photo(tmp_path / f"{k}.png") for k in range(3)]
    paths[1].write_bytes(b"no photo")
    monkeypatch.setattr(sys, stream, Broken(error))
    assert run(paths, tmp_path, Work(tmp_path)) == 1
    assert [row["status"] for row in rows(tmp_path)] == ["done", "failed", "done"]


def test_a_name_that_the_terminal_lacks_is_escaped(tmp_path, monkeypatch):
    paths = [photo(tmp_path / "é 日本.png"), photo(tmp_path / "b.png")]
    shown = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(shown, encoding="latin-1"))
    assert run(paths, tmp_path, Work(tmp_path)) == 0
    sys.stdout.flush()
    assert "é \\u65e5\\u672c.png" in shown.getvalue().decode("latin-1")
    assert rows(tmp_path)[0]["name"] == "é 日本"


def test_the_journal_is_written_before_anything_is_printed(tmp_path, monkeypatch):
    path = photo(tmp_path / "x.png")
    printed = []

    class Watching(io.StringIO):
        def write(self, text):
            if "done" in text:
                printed.append(len(rows(tmp_path)))
            return len(text)

    monkeypatch.setattr(sys, "stdout", Watching())
    run([path], tmp_path, Work(tmp_path))
    assert printed == [1]


def test_cures_name_the_options_of_the_command(tmp_path, capsys):
    assert run([photo(tmp_path / "x.png")], tmp_path, Work(tmp_path), max_pixels=47) == 1
    assert "8 pixels, more than 47. Raise --max-pixels (in" in capsys.readouterr().err
    assert run([photo(tmp_path / "x.png")], tmp_path, Work(tmp_path), max_pixels=48) == 0


def test_bytes_at_hand_are_a_photo(tmp_path):
    data = photo(tmp_path / "x.png", 7).read_bytes()
    options = {"command": "localize", "last_file": "json", "resume": True}
    for level, seen in ((7, ["stdin"]), (7, []), (8, ["stdin-2"])):
        if level == 8:
            data = photo(tmp_path / "x.png", 8).read_bytes()
        work = Work(tmp_path)
        given = [PhotoInput(pathlib.Path("stdin"), data)]
        assert process_photos(given, tmp_path, work, {}, **options) == 0
        assert work.seen == seen
    assert [row["level"] for row in rows(tmp_path)] == [7, 8]


@pytest.mark.posix
def test_a_name_of_undecodable_bytes_is_journalled_and_resumed(tmp_path):
    path = pathlib.Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.png"))
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "x.png")
    os.rename(tmp_path / "x.png", path)
    for resume, seen in ((False, 1), (True, 0)):
        work = Work(tmp_path)
        assert run([path], tmp_path, work, {}, resume) == 0
        assert len(work.seen) == seen
    assert rows(tmp_path)[0]["file"].endswith("\\xff.png")


@pytest.mark.posix
def test_a_killed_run_goes_on_where_it_was(tmp_path):
    """A real process, killed between photos; the second run does only the rest."""
    script = tmp_path / "work.py"
    script.write_text(
        "import pathlib, sys, time\n"
        "from exif_jax.cli.batch import process_photos\n"
        "from exif_jax.cli.inputs import PhotoInput\n"
        "out = pathlib.Path(sys.argv[1])\n"
        "def work(photo, shown, name):\n"
        "    print(name, flush=True)\n"
        "    if name == '3' and len(sys.argv) == 2: time.sleep(60)\n"
        "    (out / f'{name}.json').write_text('{}')\n"
        "    return {}, shown\n"
        "photos = [PhotoInput(path) for path in sorted(out.glob('*.png'))]\n"
        "process_photos(\n"
        "    photos, out, work, {}, command='localize', last_file='json', resume=True)\n"
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
    assert [line["status"] for line in rows(tmp_path)] == ["done"] * 6


def test_no_decoding_thread_outlives_a_run_that_an_error_ends(tmp_path):
    """A pool that the garbage collector ends can lock up the start of another thread."""

    def fail(photo, name, output_name):
        raise RuntimeError("not foreseen")

    out = tmp_path / "out"
    out.mkdir()
    paths = [photo(tmp_path / "x.png"), photo(tmp_path / "y.png")]
    with pytest.raises(RuntimeError) as error:  # which holds the frames of the run
        run(paths, out, fail, {})
    assert error.value and not [t for t in threading.enumerate() if "ThreadPool" in t.name]
