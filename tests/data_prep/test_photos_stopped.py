"""data_prep.photos: runs that are killed, that find no room, and runs after them."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from photo_folders import command, contents, make_folder, save_photo
from small_disk import read_only, tmpfs

from data_prep import photos
from data_prep.photos import main
from exif_jax.io import locks

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return make_folder(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="module")
def made(root, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("made") / "records"
    assert main(command(root, output)) == 0
    return output


def test_a_finished_run_is_quick_and_says_so(root, made, capsys, monkeypatch):
    monkeypatch.setattr(photos, "process_chunks", None)  # any work would fail
    before = contents(made)
    assert main(command(root, made)) == 0
    assert "complete already" in capsys.readouterr().out
    assert main([*command(root, made), "--workers", "2"]) == 0
    assert contents(made) == before


def test_finished_records_may_lie_where_nothing_can_be_written(root, made, monkeypatch, capsys):
    def refuse(*_):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("data_prep.records.output_folder.hold", refuse)
    assert main(command(root, made)) == 0
    assert "complete already" in capsys.readouterr().out


def test_another_run_never_mixes_into_a_used_folder(root, made, tmp_path, capsys):
    output = tmp_path / "out"
    save_photo(tmp_path / "in" / "0.jpg", 0)
    save_photo(tmp_path / "in" / "1.jpg", 1)
    assert main(command(tmp_path / "in", output)) == 0
    (output / "tokenizer.model").write_bytes(b"of the old records")
    before = contents(output)
    for line in (command(root, output), command(tmp_path / "in", output, "--seed", "5")):
        assert main(line) == 2
        assert "--overwrite" in capsys.readouterr().err
    assert contents(output) == before
    assert main(command(root, output, "--overwrite")) == 0
    assert contents(output) == contents(made)


def test_damaged_records_do_not_pass_for_complete(root, tmp_path, capsys):
    assert main(command(root, tmp_path / "out")) == 0
    shard = next((tmp_path / "out").glob("train-*.tfrecord"))
    shard.write_bytes(shard.read_bytes()[:-5])
    assert main(command(root, tmp_path / "out")) == 1
    error = capsys.readouterr().err
    assert shard.name in error and "--overwrite" in error
    info = tmp_path / "out" / "statistics.json"
    info.write_text(json.dumps(json.loads(info.read_text()) | {"splits": []}))
    assert main(command(root, tmp_path / "out")) == 2
    assert "--overwrite" in capsys.readouterr().err


def test_two_runs_at_once_are_kept_apart(root, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    with locks.hold(tmp_path / "out"):
        assert main(command(root, tmp_path / "out")) == 1
        assert f"held by process {os.getpid()}" in capsys.readouterr().err
    assert list((tmp_path / "out").iterdir()) == []


def run_python(code: str, *args: str, **options) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", code, *args],
        cwd=REPOSITORY,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        **options,
    )


# Kills itself when the n-th file has been written aside but not yet put in place.
_KILLED = """
import os, signal, sys
from data_prep.photos import main
replace, left = os.replace, [int(sys.argv[1])]
def replace_or_die(*paths):
    left[0] -= 1
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    replace(*paths)
os.replace = replace_or_die
main(sys.argv[2:])
"""


# 1: the run's own note; 2-7: two chunks of three files; 8-15: shards and indexes; 16: rejects;
# 17: tag counts; 18, 19: statistics and their page; 20: features; 21: the mark of a whole folder.
@pytest.mark.parametrize("at", range(2, 22))
def test_kill_9_then_the_same_command_gives_the_same_bytes(root, made, tmp_path, at):
    output = tmp_path / "out"
    process = run_python(_KILLED, str(at), *command(root, output))
    _, errors = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, errors
    assert not (output / "dataset_info.json").exists()
    assert main(command(root, output)) == 0
    assert contents(output) == contents(made)


def test_finished_chunks_are_not_done_again(root, made, tmp_path, monkeypatch):
    output = tmp_path / "out"
    process = run_python(_KILLED, "8", *command(root, output))
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    monkeypatch.setattr("data_prep.records.chunks.process_photo", None)
    assert main(command(root, output)) == 0
    assert contents(output) == contents(made)


_KILLED_WITH_WORKERS = """
import os, signal, sys
from data_prep.records import chunks
from data_prep.photos import main
class Bar(chunks.tqdm):
    def update(self, n=1):
        os.kill(os.getpid(), signal.SIGKILL)
chunks.tqdm = Bar
main(sys.argv[1:])
"""


def living_members(group: int) -> list[str]:
    alive = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            if int(fields[2]) == group and fields[0] != "Z":
                alive.append(path.parent.name)
    return alive


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_workers_do_not_outlive_a_killed_run(root, made, tmp_path):
    output = tmp_path / "out"
    line = [*command(root, output), "--workers", "2"]
    process = run_python(_KILLED_WITH_WORKERS, *line, start_new_session=True)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    for _ in range(200):
        if not living_members(process.pid):
            break
        time.sleep(0.1)
    assert living_members(process.pid) == []
    assert main(command(root, output)) == 0
    assert contents(output) == contents(made)


_LIMITED = """
import resource, sys
from data_prep.photos import main
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
sys.exit(main(sys.argv[2:]))
"""


def half_written(output: Path) -> list[Path]:
    """Files written aside, and shards of a run that has not finished."""
    return [path for path in output.rglob("*") if path.name.endswith(".tmp")]


# 100 kB stop the first chunk; the lists of results and the indexes always fit.
def test_a_write_that_fails_leaves_nothing_half_written(root, made, tmp_path, monkeypatch):
    output = tmp_path / "out"
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)  # its own file would not fit
    process = run_python(_LIMITED, "100000", *command(root, output))
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert b"Make room and give the same command again" in errors and b"Traceback" not in errors
    assert half_written(output) == [] and not (output / "dataset_info.json").exists()
    assert main(command(root, output)) == 0
    assert contents(output) == contents(made)


def disk_use(folder: Path) -> int:
    return sum(len(data) for data in contents(folder).values())


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_full_disk_is_named(root, made, tmp_path, capsys, workers):
    with tmpfs(tmp_path / "disk", f"size={disk_use(made) // 2}"):
        output = tmp_path / "disk" / "out"
        assert main([*command(root, output), "--workers", workers]) == 1
        assert "No space left on device" in capsys.readouterr().err
        assert half_written(output) == [] and not (output / "dataset_info.json").exists()


def test_a_full_disk_goes_on_when_there_is_room(root, made, tmp_path):
    # Room for the work in progress but not for all shards beside it.
    with tmpfs(tmp_path / "disk", f"size={disk_use(made) * 3 // 2}"):
        output = tmp_path / "disk" / "out"
        assert main(command(root, output)) == 1
        line = ["mount", "-o", "remount,size=40m", str(tmp_path / "disk")]
        subprocess.run(line, check=True)
        assert main(command(root, output)) == 0
        assert contents(output) == contents(made)


def test_a_read_only_output_is_named(root, tmp_path, capsys):
    with read_only(tmp_path / "disk"):
        for output in (tmp_path / "disk", tmp_path / "disk" / "deep" / "out"):
            assert main(command(root, output)) == 1
            assert "choose an --output folder that can be written to" in capsys.readouterr().err


def test_an_output_that_is_a_file_is_named(root, tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    assert main(command(root, tmp_path / "file")) == 1
    assert "file" in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "mine"
