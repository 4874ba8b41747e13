"""The pure parts of the benchmark that runs on a borrowed GPU, and what a cut leaves."""

import io
import json
import os
import pathlib
import signal
import subprocess
import sys
import tarfile
import textwrap
import time

import pytest

from benchmarks import one_gpu
from benchmarks.one_gpu_train import OneGpuError, choose, last_rate, pack, steps_that_fit, unpack
from benchmarks.parts import Clock, Part, run_parts

ROOT = pathlib.Path(__file__).parent.parent


# --- parts ----------------------------------------------------------------------------------------


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """Modules that a part can run: `python -m NAME OUTPUT`."""
    bodies = {
        "good": "open(out, 'w').write('{\"rate\": 3}')",
        "fails": "open(out, 'w').write('{\"rate\": 1}'); sys.exit('no such device')",
        "crashes": "import os; os.abort()",
        "hangs": "open(out, 'w').write('{\"rate\": 2}'); import time; time.sleep(600)",
        "writes_nothing": "",
    }
    for name, body in bodies.items():
        (tmp_path / f"{name}.py").write_text(f"import sys\nout = sys.argv[1]\n{body}\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(ROOT)]))
    return tmp_path


def part(name: str, seconds: float = 60.0) -> Part:
    return Part(name, [name, "{output}"], seconds)


def test_a_part_that_fails_costs_no_more_than_itself(programs):
    path = programs / "report.json"
    names = ["writes_nothing", "crashes", "fails", "good"]
    report = run_parts([part(n) for n in names], Clock(5), path, programs, {"rehearsal": True})
    assert json.loads(path.read_text()) == report
    assert list(report)[:2] == ["fails", "good"]  # figures first, in the parts' order
    assert report["good"] == {"rate": 3} and report["fails"] == {"rate": 1}
    assert set(report["failed"]) == {"writes_nothing", "crashes", "fails"}
    assert "no such device" in report["failed"]["fails"]
    assert "no figures" in report["failed"]["writes_nothing"]
    assert set(report["seconds"]) == set(names) and report["rehearsal"] is True


def test_a_part_that_hangs_is_ended_and_keeps_what_it_wrote(programs):
    parts = [part("hangs", 5.0), part("good")]
    report = run_parts(parts, Clock(5), programs / "report.json", programs, {})
    assert report["hangs"] == {"rate": 2} and report["good"] == {"rate": 3}
    assert report["failed"]["hangs"].startswith("stopped after 5 s")


def test_without_time_a_part_is_left_out(programs):
    now = iter([0.0, 1.0, 1.0, *[58.0] * 20])  # the first part takes 57 of 60 seconds
    clock = Clock(1.0, now=lambda: next(now))
    parts = [part("good"), part("fails")]
    report = run_parts(parts, clock, programs / "report.json", programs, {})
    assert report["good"] == {"rate": 3}
    assert report["left_out"] == ["fails"] and "fails" not in report["seconds"]


def test_a_run_that_is_cut_leaves_the_parts_before(programs):
    code = """
        import pathlib, sys
        from benchmarks.parts import Clock, Part, run_parts
        folder = pathlib.Path(sys.argv[1])
        parts = [Part(n, [n, "{output}"], 60.0) for n in ("good", "hangs")]
        run_parts(parts, Clock(5), folder / "report.json", folder, {})
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code), str(programs)])
    path = programs / "hangs.json"
    for _ in range(600):
        if path.exists() and path.read_text():
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    report = json.loads((programs / "report.json").read_text())
    assert report["good"] == {"rate": 3}


@pytest.mark.parametrize("rehearse", [False, True])
def test_every_part_is_a_benchmark_with_these_options(rehearse, capsys):
    for name, words, seconds, _ in one_gpu.benchmark_parts(rehearse):
        module = ROOT / (words[0].replace(".", "/") + ".py")
        assert module.exists(), f"{name}: {words[0]}"
        text = module.read_text()
        for option in (word for word in words if word.startswith("--")):
            assert f'"{option}"' in text, f"{words[0]} has no {option}"
        assert seconds > 0 and words[-1] != "--output"


# --- crops ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("most", [20_000, 60_000, 10_000_000])
def test_the_tar_file_has_no_more_bytes_than_it_may(tmp_path, most):
    photos = tmp_path / "photos"
    photos.mkdir()
    for k in range(40):
        (photos / f"{k:02d}.jpg").write_bytes(bytes(100 + 97 * k))
    (photos / "notes.txt").write_text("no photo")
    (photos / "manifest.jsonl").write_text("{}\n" * 200)
    names = pack(photos, tmp_path / "crops.tar", most)
    assert (tmp_path / "crops.tar").stat().st_size <= most
    assert unpack(tmp_path / "crops.tar", tmp_path / "out") == len(names) > 0
    for name in [*names, "manifest.jsonl"]:
        assert (tmp_path / "out" / name).read_bytes() == (photos / name).read_bytes()
    if most == 10_000_000:
        assert len(names) == 40
    else:  # spread over all, and about as many as fit
        assert int(names[-1][:2]) >= 20 and (tmp_path / "crops.tar").stat().st_size > most / 2


def test_the_choice_is_spread_over_all_files():
    paths = [pathlib.Path(f"{k}") for k in range(100)]
    chosen = choose(dict.fromkeys(paths, 512), 10 * 1024 + tarfile.RECORDSIZE)
    assert chosen == paths[::10]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("../outside.jpg", tarfile.REGTYPE),
        ("/outside.jpg", tarfile.REGTYPE),
        ("program.py", tarfile.REGTYPE),
        ("link.jpg", tarfile.SYMTYPE),
    ],
)
def test_a_foreign_tar_file_is_refused(tmp_path, name, kind):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, "/etc"
    with tarfile.open(tmp_path / "crops.tar", "w") as archive:
        archive.addfile(info, io.BytesIO())
    with pytest.raises(OneGpuError, match="no photo"):
        unpack(tmp_path / "crops.tar", tmp_path / "out")
    assert not (tmp_path / "outside.jpg").exists()


def test_half_a_tar_file_is_refused(tmp_path):
    (tmp_path / "crops.tar").write_bytes(b"\xff\xd8 no tar file at all" * 100)
    with pytest.raises(OneGpuError, match="pack it again"):
        unpack(tmp_path / "crops.tar", tmp_path / "out")


def test_a_folder_without_photos_is_refused(tmp_path):
    with pytest.raises(OneGpuError, match="--photos"):
        pack(tmp_path, tmp_path / "crops.tar", 1000)
    (tmp_path / "a.jpg").write_bytes(bytes(20_000))
    with pytest.raises(OneGpuError, match="--most-mb"):
        pack(tmp_path, tmp_path / "crops.tar", 15_000)


# --- time -----------------------------------------------------------------------------------------


def test_the_steps_fill_the_time_that_is_left():
    # 300 s, of which 60 to start: 240 s of 500 pairs/s in steps of 100.
    assert steps_that_fit(500.0, 100, 60.0, 300.0) == 1200
    assert steps_that_fit(500.0, 100, 60.0, 50.0) == 0


def test_the_last_rate_of_a_run():
    rows = [{"step": 50, "pairs_per_second": 10.5}, {"step": 100, "pairs_per_second": 12.0}]
    rows += [{"step": 100, "validation/loss": 1.0}]
    assert last_rate("\n".join(map(json.dumps, rows)) + "\n") == 12.0
    assert last_rate("") == 0.0
