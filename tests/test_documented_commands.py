"""Commands in the documentation exist and know the options that they are shown with."""

import functools
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent
PAGES = [
    "README.md",
    "data_prep/README.md",
    "exif_jax/pretrained/README.md",
    *ROOT.glob("docs/*.md"),
]
# Those of these packages are not installed for the tests.
ELSEWHERE = {"exif_jax.beam", "data_prep.build"}
SUBCOMMANDS = {"exif_jax.linear_probe": ("splices", "radial")}


def commands() -> set[tuple[str, str]]:
    """(module, option) of every `python -m` in a shell block; option "" for the module alone."""
    found = set()
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL):
            lines = re.sub(r"#.*", "", block.replace("\\\n", " ")).splitlines()
            for line in lines:
                for part in re.split(r"&&|\|", line):
                    named = re.search(
                        r"python -m ((?:exif_jax|data_prep|benchmarks)\.\w+)(.*)", part
                    )
                    if named:
                        options = re.findall(r"(?<!\S)\[?(--[a-z][\w-]*)(?![\w.-])", named[2])
                        found |= {(named[1], option) for option in ["", *options]}
    return found


@functools.cache
def help_of(module: str) -> str:
    text = ""
    for words in [[], *([name] for name in SUBCOMMANDS.get(module, ()))]:
        command = [sys.executable, "-m", module, *words, "--help"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
        assert done.stdout, done.stderr
        text += done.stdout
    return text


def modules() -> list[str]:
    return sorted({module for module, _ in commands()} - ELSEWHERE)


@pytest.mark.parametrize("module", modules())
def test_a_documented_command_has_the_options_it_is_shown_with(module):
    shown = {option for name, option in commands() if name == module}
    known = set(re.findall(r"--(?:\[no\])?[a-z][\w-]*", help_of(module))) | {""}
    assert shown <= {name.replace("[no]", "") for name in known}, module


def test_the_main_commands_are_documented():
    main = {"exif_jax.localize", "exif_jax.verify", "exif_jax.train", "exif_jax.evaluate"}
    assert main <= set(modules())
