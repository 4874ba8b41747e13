"""How commands fail: a missing package is named with its extra, in commands and nowhere else."""

import subprocess
import sys

import pytest

from exif_jax import cli

RAISE = "import sys; sys.argv = [{program!r}]; import exif_jax; {act}"
MISSING = "raise ModuleNotFoundError('No module named {0}', name={0!r})"


def run(program: str, act: str) -> subprocess.CompletedProcess:
    code = RAISE.format(program=program, act=act)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


@pytest.mark.parametrize("program", ["-m", "/usr/bin/exif-train"])
@pytest.mark.parametrize(
    ("package", "extra"), [("optax", "train"), ("sklearn.metrics", "eval"), ("fsspec", "data")]
)
def test_a_missing_package_is_named_with_its_extra(program, package, extra):
    done = run(program, MISSING.format(package))
    assert done.returncode == 1
    name = package.partition(".")[0]
    assert done.stderr == f"error: this command needs {name}; pip install 'exif-jax[{extra}]'\n"


def test_other_programs_and_other_packages_keep_their_traceback():
    assert "Traceback" in run("program.py", MISSING.format("optax")).stderr
    assert "Traceback" in run("-m", MISSING.format("unheard_of")).stderr
    assert "Traceback" in run("-m", "raise ValueError(3)").stderr


def test_an_interruption_is_no_traceback():
    assert run("-m", "raise KeyboardInterrupt").stderr == "interrupted\n"


def test_fail_says_why_and_returns_the_exit_code(capsys):
    assert cli.fail("a.jpg: empty; copy it again") == 1
    assert cli.fail("no such flag", 2) == 2
    assert capsys.readouterr().err == "error: a.jpg: empty; copy it again\nerror: no such flag\n"
