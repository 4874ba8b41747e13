"""Commands in the documentation exist and know the options that they are shown with."""

import importlib
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent
PAGES = [
    "README.md",
    "data_prep/README.md",
    "exif_jax/weights/pretrained/README.md",
    *ROOT.glob("docs/*.md"),
]
# Those of these packages are not installed for the tests.
ELSEWHERE = {"exif_jax.beam", "data_prep.build", "data_prep.array_records"}
SUBCOMMANDS = {
    "benchmarks.one_gpu": ("pack", "train"),
    "exif_jax.linear_probe": ("splices", "radial"),
}


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


def help_of(module: str, capsys) -> str:
    """The help texts of a command and its subcommands, from this process: each takes no start."""
    if module == "exif_jax.train":  # absl's flags can be defined once in a process
        command = [sys.executable, "-m", module, "--help"]
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT).stdout
    main = importlib.import_module(module).main
    for words in [[], *([name] for name in SUBCOMMANDS.get(module, ()))]:
        with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as ended:
            patch.setattr(sys, "argv", [module, *words, "--help"])
            main()
        assert not ended.value.code
    return capsys.readouterr().out


def modules() -> list[str]:
    return sorted({module for module, _ in commands()} - ELSEWHERE)


@pytest.mark.parametrize("module", modules())
def test_a_documented_command_has_the_options_it_is_shown_with(module, capsys):
    shown = {option for name, option in commands() if name == module}
    known = set(re.findall(r"--(?:\[no\])?[a-z][\w-]*", help_of(module, capsys))) | {""}
    assert shown <= {name.replace("[no]", "") for name in known}, module


def test_the_main_commands_are_documented():
    main = {"exif_jax.localize", "exif_jax.verify", "exif_jax.train", "exif_jax.evaluate"}
    assert main <= set(modules())
