"""What commands share: their help, how they fail, and which extra they say they lack."""

import os
import pathlib
import subprocess
import sys

import pytest

from exif_jax.cli import command

ROOT = pathlib.Path(__file__).parents[2]
RAISE = "import sys; sys.argv = [{program!r}]; import exif_jax; {act}"
MISSING = "raise ModuleNotFoundError('No module named {0}', name={0!r})"


def run(program: str, act: str) -> subprocess.CompletedProcess:
    code = RAISE.format(program=program, act=act)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


def run_without(package: str, folder: pathlib.Path, *words: str) -> subprocess.CompletedProcess:
    """`python -m` where a package is not installed."""
    (folder / f"{package}.py").write_text(MISSING.format(package))
    path = os.pathsep.join([str(folder), str(ROOT)])
    return subprocess.run(
        [sys.executable, "-m", *words],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("program", ["-m", "/usr/bin/exif-localize"])
@pytest.mark.parametrize(
    ("package", "extra"), [("optax", "train"), ("sklearn.metrics", "eval"), ("fsspec", "data")]
)
def test_a_missing_package_is_named_with_its_extra(program, package, extra):
    done = run(program, MISSING.format(package))
    assert done.returncode == 1
    name = package.partition(".")[0]
    assert done.stderr == f"error: this command needs {name}; pip install 'exif-jax[{extra}]'\n"


@pytest.mark.parametrize(
    ("package", "words", "extras"),
    [
        ("google_crc32c", ("data_prep.photos", "--help"), "data"),
        ("google_crc32c", ("exif_jax.train", "--help"), "train"),
        ("sklearn", ("exif_jax.calibrate", "--help"), "data,eval"),
    ],
)
def test_a_command_names_all_that_it_needs_at_once(tmp_path, package, words, extras):
    done = run_without(package, tmp_path, *words)
    assert done.returncode == 1
    told = f"error: this command needs {package}; pip install 'exif-jax[{extras}]'\n"
    assert done.stderr.endswith(told) and "Traceback" not in done.stderr


def test_a_script_is_its_module():
    done = run("/usr/bin/exif-train", MISSING.format("google_crc32c"))
    assert done.stderr.endswith("pip install 'exif-jax[train]'\n")


def test_other_programs_and_other_packages_keep_their_traceback():
    assert "Traceback" in run("program.py", MISSING.format("optax")).stderr
    assert "Traceback" in run("-m", MISSING.format("unheard_of")).stderr
    assert "Traceback" in run("-m", "raise ValueError(3)").stderr


def test_an_interruption_is_no_traceback():
    assert run("-m", "raise KeyboardInterrupt").stderr == "interrupted\n"


def test_fail_says_why_and_returns_the_exit_code(capsys):
    assert command.fail("a.jpg: empty; copy it again") == 1
    assert command.fail("no such flag", 2) == 2
    assert capsys.readouterr().err == "error: a.jpg: empty; copy it again\nerror: no such flag\n"


def test_a_stopped_run_says_how_it_goes_on(capsys):
    assert command.stopped() == 130
    assert "same command again" in capsys.readouterr().err


def test_help_wraps_paragraphs_and_keeps_lines(monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    told = command.parser(
        "exif_jax.x", "word " * 40, f"examples:\n  {'y' * 70}\n\nend"
    ).format_help()
    assert told.startswith("usage: python -m exif_jax.x [-h]\n")
    assert f"examples:\n  {'y' * 70}\n\nend" in told
    lines = [line for line in told.splitlines() if line.startswith("word")]
    assert len(lines) > 3 and max(map(len, lines)) < 60


def test_the_environment_hides_progress_bars(tmp_path):
    words = ["data_prep.simulate", "--num-photos", "1", "--size", "64", "--output", str(tmp_path)]
    for quiet in ({}, {"TQDM_DISABLE": "1"}):
        done = subprocess.run(
            [sys.executable, "-m", *words],
            cwd=ROOT,
            env={k: v for k, v in os.environ.items() if k != "TQDM_DISABLE"} | quiet,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0 and bool(done.stderr) == (not quiet)
