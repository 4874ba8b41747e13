"""The commands on photos as people start them, and where they keep what XLA compiled for them."""

import io
import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest
from PIL import Image
from stand_in import FakeModel, spliced, tiny_release

from exif_jax import localize
from exif_jax.cli import batch
from exif_jax.cli.journal import JOURNAL

ROOT = pathlib.Path(__file__).parents[2]

ASK = """
import jax
from exif_jax.cli import photo_command
photo_command.keep_compiled()
print(jax.config.jax_compilation_cache_dir)
"""


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Runs `localize` in this process, with a stand-in model, into tmp_path/out."""
    monkeypatch.setattr("exif_jax.weights.release_file.load_model", lambda path: FakeModel)

    def go(*words):
        options = ["--model", "m", "--output", str(tmp_path / "out"), *map(str, words)]
        return localize.main(options)

    return go


def save(path, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(spliced(seed=seed)[0]).save(path)
    return path


def rows(out):
    return [json.loads(line) for line in (out / JOURNAL).read_bytes().splitlines()]


def last_lines(capsys, count):
    return capsys.readouterr().err.splitlines()[-count:]


# --- nothing is left out without a word -------------------------------------------------------


def test_what_a_folder_holds_besides_is_said_in_one_line(tmp_path, start, capsys):
    save(tmp_path / "in" / "a.png")
    for name in ("x.txt", "y.txt", "._a.png", "b.svg"):
        (tmp_path / "in" / name).write_bytes(b"")
    assert start(tmp_path / "in") == 0
    assert last_lines(capsys, 1) == [
        "skipped 2 .txt, 1 .svg, 1 of operating systems (._*, Thumbs.db, ...)"
    ]
    assert start(tmp_path / "in" / "a.png") == 0
    assert "skipped" not in capsys.readouterr().err


def test_a_folder_of_nothing_but_other_files_says_so(tmp_path, start, capsys):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "x.txt").write_bytes(b"")
    assert start(tmp_path / "in") == 1
    error, skipped = last_lines(capsys, 2)
    assert error.startswith(f"error: no photos in {tmp_path / 'in'}; looked for files that end in")
    assert skipped == "skipped 1 .txt" and not (tmp_path / "out").exists()


def test_an_unreadable_folder_is_named_and_the_rest_is_done(tmp_path, start, capsys, monkeypatch):
    save(tmp_path / "in" / "a.png")
    (tmp_path / "in" / "closed").mkdir()
    scandir = os.scandir

    def refuse(folder):  # root may read any folder
        if str(folder).endswith("closed"):
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    assert start(tmp_path / "in") == 1
    assert last_lines(capsys, 1) == [
        f"error: {tmp_path / 'in' / 'closed'}: Permission denied; make the folder readable, or "
        "leave it out"
    ]
    assert [row["status"] for row in rows(tmp_path / "out")] == ["done"]


def test_own_results_are_skipped_by_every_command(tmp_path, start, capsys, monkeypatch):
    save(tmp_path / "a.png")
    monkeypatch.chdir(tmp_path)
    for again in range(3):
        assert localize.main([".", "--model", "m", "--output", ".", "--report"]) == 0
        assert len(rows(tmp_path)) == 1
        files = {"a.png", "a.html", "a.json", "a.map.npy", "a.overlay.png", JOURNAL}
        assert set(os.listdir()) == files
        if again:
            assert last_lines(capsys, 1) == ["skipped 5 results of exif-jax"]
    shutil.move("a.overlay.png", "evidence.png")  # under any name
    assert start("evidence.png") == 1
    assert "skipped 1 results of exif-jax" in last_lines(capsys, 1)


# --- standard input ---------------------------------------------------------------------------


def test_a_photo_on_standard_input_is_judged(tmp_path, start, monkeypatch):
    data = save(tmp_path / "a.png").read_bytes()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    assert start("-") == 0
    (row,) = rows(tmp_path / "out")
    assert (row["file"], row["name"], row["num_bytes"]) == ("stdin", "stdin", len(data))
    assert json.loads((tmp_path / "out" / "stdin.json").read_text())["file"] == "stdin"


def test_what_is_no_photo_on_standard_input_is_one_error(tmp_path, start, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\x7fELF\x02\x01" * 999)))
    assert start("-") == 1
    assert "error: stdin: not an image of a known format" in capsys.readouterr().err
    assert len(rows(tmp_path / "out")) == 1


# --- stopping and limits ----------------------------------------------------------------------


def test_an_interrupted_run_says_how_it_goes_on(tmp_path, start, capsys, monkeypatch):
    paths = [save(tmp_path / f"{k}.png") for k in range(3)]

    def interrupt(*arguments):
        raise KeyboardInterrupt

    assert start(paths[0]) == 0
    with monkeypatch.context() as patch:
        patch.setattr(batch, "_judge", interrupt)
        assert start(*paths, "--resume") == 130
    assert last_lines(capsys, 1) == ["stopped: the same command with --resume goes on"]
    assert start(*paths, "--resume") == 0
    assert "1 of 3 photos were done" in capsys.readouterr().err


@pytest.mark.parametrize(("limit", "status"), [(160 * 224, 0), (160 * 224 - 1, 1)])
def test_the_option_that_a_message_names_is_there(tmp_path, start, capsys, limit, status):
    assert start(save(tmp_path / "a.png"), "--max-pixels", limit) == status
    assert ("Raise --max-pixels" in capsys.readouterr().err) == bool(status)


# --- whole processes --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """A folder of photos of equal names, and a model."""
    folder = tmp_path_factory.mktemp("many")
    for k in range(4):
        save(folder / "in" / str(k) / "é.png", k)
    tiny_release(folder / "model.safetensors")
    return folder


def command_line(many, out, *words):
    module = [sys.executable, "-m", "exif_jax.localize"]
    return [*module, "--model", many / "model.safetensors", "--output", out, *words]


def environment(**more):
    return os.environ | {"PYTHONPATH": str(ROOT)} | more


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="the system has no /dev/full")
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_full_disk_behind_the_terminal_decides_nothing(many, tmp_path, stream):
    with open("/dev/full", "w") as full:
        streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE} | {stream: full}
        done = subprocess.run(
            command_line(many, tmp_path, many / "in"), env=environment(), text=True, **streams
        )
    assert done.returncode == 0
    assert [row["status"] for row in rows(tmp_path)] == ["done"] * 4
    if stream == "stdout":
        assert "error" not in done.stderr and "Traceback" not in done.stderr


def test_a_closed_pipe_decides_nothing(many, tmp_path):
    with subprocess.Popen(
        command_line(many, tmp_path, many / "in"),
        env=environment(PYTHONUNBUFFERED="1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        process.stdout.readline()  # as `| head -1` does
        process.stdout.close()
        messages = process.stderr.read().decode()
        assert process.wait(120) == 0
    assert "error" not in messages and "Broken" not in messages
    assert [row["status"] for row in rows(tmp_path)] == ["done"] * 4


def test_a_terminal_of_few_letters_decides_nothing(many, tmp_path):
    done = subprocess.run(
        command_line(many, tmp_path, many / "in"),
        env=environment(PYTHONIOENCODING="ascii:strict"),
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert b"\\xe9.png" in done.stdout
    assert {row["name"] for row in rows(tmp_path)} == {"é", "é-2", "é-3", "é-4"}


@pytest.mark.skipif(not shutil.which("xargs"), reason="the system has no xargs")
@pytest.mark.parametrize("at_once", ["1", "2"])
def test_many_starts_into_one_folder_keep_all_results(many, tmp_path, at_once):
    names = b"".join(os.fsencode(path) + b"\0" for path in (many / "in").rglob("*.png"))
    words = ["xargs", "-0", "-n", "1", "-P", at_once, *command_line(many, tmp_path)]
    done = subprocess.run(words, input=names, env=environment(), capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    assert {row["name"] for row in rows(tmp_path)} == {"é", "é-2", "é-3", "é-4"}
    assert len(rows(tmp_path)) == 4 and len(os.listdir(tmp_path)) == 4 * 3 + 1
    for row in rows(tmp_path):
        report = json.loads((tmp_path / f"{row['name']}.json").read_text("utf-8"))
        assert (report["file"], report["sha256"]) == (row["file"], row["sha256"])


# --- what XLA compiled ------------------------------------------------------------------------


def kept(**environment: str) -> str:
    """The folder, as a process with this environment sees it."""
    names = ("JAX_COMPILATION_CACHE_DIR", "XDG_CACHE_HOME")
    inherited = {k: v for k, v in os.environ.items() if k not in names}
    done = subprocess.run(
        [sys.executable, "-c", ASK], env=inherited | environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_users_cache_folder_keeps_it_apart_by_processor(tmp_path):
    folder = kept(XDG_CACHE_HOME=str(tmp_path))
    assert folder == kept(XDG_CACHE_HOME=str(tmp_path))
    ((name, mode),) = [(p.name, p.stat().st_mode) for p in (tmp_path / "exif-jax").iterdir()]
    assert folder == str(tmp_path / "exif-jax" / name) and len(name) == 12
    assert mode & 0o077 == 0  # machine code that others could write would be run


@pytest.mark.parametrize("place", ["", "elsewhere"])
def test_the_environment_decides_where_it_does(tmp_path, place):
    folder = str(tmp_path / place) if place else ""
    found = kept(XDG_CACHE_HOME=str(tmp_path), JAX_COMPILATION_CACHE_DIR=folder)
    assert found == (folder or "None") or found == folder
    assert not (tmp_path / "exif-jax").exists()


def test_a_folder_that_cannot_be_made_is_done_without(tmp_path):
    (tmp_path / "file").write_text("")
    assert kept(XDG_CACHE_HOME=str(tmp_path / "file")) == "None"
