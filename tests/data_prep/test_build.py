"""data_prep.build with Apache Beam: the bytes of data_prep.photos on any runner, after any kill."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import fsspec
import numpy as np
import pytest
from photo_folders import SECRETS, all_records, contents, make_folder, rejects, save_photo

pytest.importorskip("apache_beam")

from data_prep import build, photos
from exif_jax.data.records import RecordReader
from exif_jax.io.files import list_names, read_file

pytestmark = [pytest.mark.filterwarnings("ignore")]  # Beam's own, by the dozen
REPOSITORY = Path(__file__).parents[2]
OPTIONS = ["--region-size", "128", "--validation-fraction", "0.3", "--shards", "2"]
CAPS = ["--max-per-camera", "5", "--max-per-photographer", "9"]


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """Photos of six cameras; copies, crops, near duplicates and every kind of bad file."""
    folder = make_folder(tmp_path_factory.mktemp("photos"))
    good = (folder / "a" / "01.JPG").read_bytes()
    (folder / "copy.jpg").write_bytes(good)
    (folder / "cut.jpg").write_bytes(good[: len(good) // 2])
    save_photo(folder / "plain.jpg", 50, exif=False)
    rng = np.random.default_rng(0)
    soft = np.kron(rng.integers(0, 256, (8, 16, 3), np.uint8), np.ones((20, 20, 1), np.uint8))
    save_photo(folder / "soft1.jpg", 51, model="C1", pixels=soft)
    save_photo(folder / "soft2.jpg", 52, model="C1", pixels=soft // 2 + 60)
    rows = [{"file": "soft2.jpg", "exif": {"Make": "Other"}}]
    for seed in range(60, 66):
        file = save_photo(folder / f"crop{seed}.jpg", seed, model=f"X{seed % 2}").name
        rows.append({"file": file, "photo": "one", "owner": "erika"})
    for name in sorted(path.name for path in (folder / "a").iterdir()):
        rows.append({"file": f"a/{name}", "owner": "erika", "licence": "CC BY"})
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture(scope="module")
def made(root, tmp_path_factory) -> Path:
    """The same photos by the driver without Beam."""
    output = tmp_path_factory.mktemp("made") / "records"
    line = ["--input", str(root), "--output", str(output), "--workers", "1", *OPTIONS, *CAPS]
    assert photos.main(line) == 0
    return output


def command(root: Path, output: Path | str, *more: str) -> list[str]:
    return ["--input", str(root), "--output", str(output), *OPTIONS, *CAPS, *more]


@pytest.mark.parametrize("workers", ["1", "3"])
def test_the_bytes_are_those_of_the_plain_driver(root, made, tmp_path, workers):
    assert build.main(command(root, tmp_path / "out", "--workers", workers)) == 0
    assert contents(tmp_path / "out") == contents(made)
    assert set(rejects(made).values()) == {
        *("duplicate", "near duplicate", "two cameras", "damaged", "no EXIF"),
        *("camera cap", "photographer cap"),
    }


@pytest.mark.parametrize("mode", ["in_memory", "multi_threading"])
def test_other_ways_to_run_give_the_same_bytes(root, made, tmp_path, mode):
    flags = ["--runner=DirectRunner", "--direct_num_workers=2", f"--direct_running_mode={mode}"]
    assert build.main(command(root, tmp_path / "out", *flags)) == 0
    assert contents(tmp_path / "out") == contents(made)


def test_from_a_bucket_to_a_bucket(root, made, tmp_path):
    bucket = fsspec.filesystem("memory")
    for path in root.rglob("*"):
        if path.is_file():
            name = f"/{tmp_path.name}/in/{path.relative_to(root).as_posix()}"
            bucket.pipe(name, path.read_bytes())
    url = f"memory://{tmp_path.name}"
    line = command(Path("x"), f"{url}/out", "--workers", "1")
    line[line.index("--input") + 1] = f"{url}/in"
    assert build.main(line) == 0
    written = {name: read_file(f"{url}/out/{name}") for name in list_names(f"{url}/out")}
    assert written == contents(made)
    reader = RecordReader(f"{url}/out", "train")
    assert reader[0] == RecordReader(made, "train")[0]
    assert build.main(line) == 0  # complete already


def test_tar_shards_are_sources_of_both_drivers(root, tmp_path):
    import tarfile

    for shard in range(3):
        with tarfile.open(tmp_path / f"{shard:05}.tar", "w") as archive:
            for path in sorted((root / "a").iterdir())[shard::3]:
                archive.add(path, f"{path.stem}.jpg")
    line = [*OPTIONS, "--workers", "1", "--output"]
    pattern = str(tmp_path / "*.tar")
    assert build.main(["--input", pattern, *line, str(tmp_path / "beam")]) == 0
    assert photos.main(["--input", pattern, *line, str(tmp_path / "plain")]) == 0
    assert contents(tmp_path / "beam") == contents(tmp_path / "plain")
    records = [r for split in all_records(tmp_path / "beam").values() for r in split]
    assert len(records) == 36 and {r.source[:6] for r in records} == {"00000/", "00001/", "00002/"}


def test_twenty_kills_at_random_moments_then_the_same_command(root, made, tmp_path):
    """Killed with all its processes between its first file and a little after its last."""
    output = tmp_path / "out"
    line = [sys.executable, "-m", "data_prep.build", *command(root, output), "--workers", "1"]
    chance = random.Random(0)
    unfinished = 0

    def began() -> int:
        note = output / ".work" / "run.json"  # every run writes it anew
        return note.stat().st_mtime_ns if note.exists() else 0

    for _ in range(20):
        before = began()
        process = subprocess.Popen(
            line,
            cwd=REPOSITORY,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        while process.poll() is None and began() == before:  # while it starts
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 1.2))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=60)
        if (output / "dataset_info.json").exists():
            shutil.rmtree(output / ".work", ignore_errors=True)  # killed while it cleaned up
            assert contents(output) == contents(made)
            shutil.rmtree(output)
        else:
            unfinished += 1
    assert unfinished >= 10
    assert build.main(command(root, output, "--workers", "1")) == 0
    assert contents(output) == contents(made)


def test_chunks_that_are_there_are_not_made_again(root, made, tmp_path, monkeypatch):
    output = tmp_path / "out"
    monkeypatch.setattr("data_prep.build.write_metadata", None)
    assert build.main(command(root, output, "--workers", "1")) == 1
    assert list((output / ".work").glob("*.tfrecord"))
    monkeypatch.undo()
    monkeypatch.setattr("data_prep.records.chunks.process_photo", None)
    assert build.main(command(root, output, "--workers", "1")) == 0
    assert contents(output) == contents(made)


def test_nothing_private_reaches_any_file(root, made):
    for name, data in contents(made).items():
        for secret in (*SECRETS, b"erika"):
            for form in (secret, secret.decode().encode("utf-16-le")):
                assert form not in data, name


def test_bad_input_is_named(root, tmp_path, capsys):
    assert build.main(command(tmp_path / "nowhere", tmp_path / "out")) == 2
    assert "nowhere" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert build.main(command(tmp_path / "empty", tmp_path / "out")) == 2
    assert "no photos" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    save_photo(tmp_path / "in" / "0.jpg", 0, exif=False)
    assert build.main(command(tmp_path / "in", tmp_path / "out", "--workers", "1")) == 1
    assert "no photo is usable" in capsys.readouterr().err
    assert rejects(tmp_path / "out") == {"0.jpg": "no EXIF"}
    with pytest.raises(SystemExit) as stop:
        build.main(command(root, tmp_path / "out", "--max-hamming-distance", "99"))
    assert stop.value.code == 2


def test_a_disk_that_is_full_is_named(root, made, tmp_path, capsys):
    from small_disk import tmpfs

    with tmpfs(tmp_path / "disk", "size=1m"):
        output = tmp_path / "disk" / "out"
        assert build.main(command(root, output, "--workers", "1")) == 1
        message = capsys.readouterr().err
        assert "No space left on device" in message and "go on" in message
        assert not (output / "dataset_info.json").exists()
        shutil.rmtree(output)
