"""The workflows are YAML, and what they run and name is there."""

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
yaml = pytest.importorskip("yaml")


def steps(path):
    """The jobs' steps, each with its job's name."""
    jobs = yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"]
    return [(name, step) for name, job in jobs.items() for step in job["steps"]]


def test_there_are_two():
    assert [path.stem for path in WORKFLOWS] == ["release", "tests"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_every_step_does_one_thing_and_ends(path):
    for name, step in steps(path):
        assert ("uses" in step) != ("run" in step), (name, step)
    for name, job in yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"].items():
        assert job["timeout-minutes"] <= 90, name


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_what_they_name_is_there(path):
    commands = "\n".join(step.get("run", "") for _, step in steps(path))
    named = set(re.findall(r"(?<![\w/])(?:tests|containers|\.ci)/[\w/.]*\w", commands))
    assert named or path.stem != "tests"
    for name in named | ({"constraints.txt"} if "constraints" in commands else set()):
        assert (ROOT / name).exists(), name
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^make (\w+)", commands, re.MULTILINE):
        assert f"\n{target}:" in makefile
    scripts = (ROOT / "setup.py").read_text(encoding="utf-8")
    for script in re.findall(r"(?:^|/)(exif-(?!jax)\w+) ", commands, re.MULTILINE):
        assert f'"{script}=' in scripts


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_what_is_installed_has_the_versions_of_the_constraints(path):
    for _, step in steps(path):
        for line in step.get("run", "").splitlines():
            # Tools of a release alone are in no environment of ours.
            if "pip install" in line and "build twine" not in line:
                assert "-c constraints.txt" in line, line
