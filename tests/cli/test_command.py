"""What commands share: their help, how they fail, and which extra they say they lack."""

import os
import pathlib
import subprocess
import sys

import pytest

from exif_jax.cli import command

ROOT = pathlib.Path(__file__).parents[2]
MISSING = "raise ModuleNotFoundError('No module named {0}', name={0!r})"


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


@pytest.mark.parametrize(
    ("package", "words", "extras"),
    [
        ("google_crc32c", ("data_prep.photos", "--help"), "data"),
        ("google_crc32c", ("exif_jax.train", "--help"), "train"),
        ("sklearn", ("exif_jax.evaluate", "--help"), "eval"),
    ],
)
def test_a_command_names_all_that_it_needs_at_once(tmp_path, package, words, extras):
    done = run_without(package, tmp_path, *words)
    assert done.returncode == 1
    told = f"error: this command needs {package}; pip install 'exif-jax[{extras}]'\n"
    assert done.stderr.endswith(told) and "Traceback" not in done.stderr


# --- imports and run ----------------------------------------------------------------------------

IMPORTS = """
from exif_jax.cli import command
with command.imports(__name__{extras}):
    {act}
print("imported")
"""
MAIN = """
import sys
from exif_jax.cli import command
def main():
    {act}
if __name__ == "__main__":
    command.run(main{options})
"""


def start_module(
    folder: pathlib.Path, code: str, *, script: bool = False, name: str = "some_command"
) -> subprocess.CompletedProcess:
    """Runs a module by `python -m` or, as a console script does, by importing it."""
    (folder / f"{name}.py").write_text(code)
    path = os.pathsep.join([str(folder), str(ROOT)])
    words = ["-m", name]
    if script:
        starter = folder / ("exif-" + name.replace("_", "-"))
        starter.write_text(f"import sys\nimport {name}\nsys.exit(getattr({name}, 'run', int)())\n")
        words = [str(starter)]
    return subprocess.run(
        [sys.executable, *words],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("script", [False, True])
@pytest.mark.parametrize(
    ("package", "extras", "named"),
    [("optax", "", "train"), ("sklearn.metrics", "", "eval"), ("fsspec", "data,eval", "data,eval")],
)
def test_imports_name_what_is_missing(tmp_path, script, package, extras, named):
    code = IMPORTS.format(act=MISSING.format(package), extras=f", {extras!r}" if extras else "")
    done = start_module(tmp_path, code, script=script)
    name = package.partition(".")[0]
    assert done.stderr == f"error: this command needs {name}; pip install 'exif-jax[{named}]'\n"
    assert (done.returncode, done.stdout) == (1, "")


@pytest.mark.parametrize("script", [False, True])
def test_an_interruption_of_imports_is_no_traceback(tmp_path, script):
    code = IMPORTS.format(act="raise KeyboardInterrupt", extras="")
    done = start_module(tmp_path, code, script=script)
    assert (done.returncode, done.stderr) == (130, "interrupted\n")


@pytest.mark.parametrize(
    "act", [MISSING.format("unheard_of"), "raise ValueError(3)", "import exif_jax.no_such_module"]
)
def test_what_no_extra_brings_keeps_its_traceback(tmp_path, act):
    for code in (IMPORTS.format(act=act, extras=""), MAIN.format(act=act, options="")):
        done = start_module(tmp_path, code)
        assert done.returncode == 1 and "Traceback" in done.stderr


def test_importing_a_command_is_not_running_it(tmp_path):
    act = MISSING.format("optax")
    (tmp_path / "some_command.py").write_text(IMPORTS.format(act=act, extras=""))
    done = start_module(tmp_path, "import some_command", name="other_program")
    assert "Traceback" in done.stderr and "exif-jax[" not in done.stderr


@pytest.mark.parametrize(
    ("act", "status", "stderr"),
    [
        ("print('done')", 0, ""),
        ("return 3", 3, ""),
        ("sys.exit()", 0, ""),
        ("sys.exit(2)", 2, ""),
        ("sys.exit('error: why')", 1, "error: why\n"),
        ("raise KeyboardInterrupt", 130, "interrupted\n"),
        (
            "raise ModuleNotFoundError('no', name='fsspec')",
            1,
            "error: this command needs fsspec; pip install 'exif-jax[data]'\n",
        ),
    ],
)
@pytest.mark.parametrize("quick", [True, False])
def test_a_command_ends_as_its_main_says(tmp_path, act, status, stderr, quick):
    done = start_module(tmp_path, MAIN.format(act=act, options=f", quick={quick}"))
    assert (done.returncode, done.stderr) == (status, stderr)
    assert done.stdout == ("done\n" if "print" in act else "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="the system has no /dev/full")
@pytest.mark.parametrize("printed", [True, False])
def test_a_full_disk_behind_the_output_counts_where_only_it_has_the_results(tmp_path, printed):
    act = "print('x' * 9)\n    print('note', file=sys.stderr)"
    code = MAIN.format(act=act, options=f", results_are_printed={printed}")
    (tmp_path / "some_command.py").write_text(code)
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "some_command"],
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    failure = "error: standard output: No space left on device; make room and run it again\n"
    assert done.stderr == "note\n" + (failure if printed else "")
    assert done.returncode == int(printed)


@pytest.mark.parametrize("options", ["", ", quick=False"])
def test_a_closed_pipe_ends_the_printing_and_nothing_else(tmp_path, options):
    act = "print('x' * 100_000)\n    open(sys.argv[1], 'w').close()"
    (tmp_path / "some_command.py").write_text(MAIN.format(act=act, options=options))
    with subprocess.Popen(
        [sys.executable, "-m", "some_command", str(tmp_path / "reached")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 0
    assert (tmp_path / "reached").exists()


@pytest.mark.parametrize("kind", ["nonsense", "cuda"])
def test_a_device_that_is_not_there_is_one_line(tmp_path, monkeypatch, kind):
    monkeypatch.setenv("JAX_PLATFORMS", kind)
    act = "import jax; print(len(jax.devices()), 'devices')"
    done = start_module(tmp_path, MAIN.format(act=act, options=""))
    if kind == "cuda" and done.returncode == 0:
        pytest.skip("this machine has a GPU")
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"error: JAX_PLATFORMS={kind}: JAX finds no such device here")


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
