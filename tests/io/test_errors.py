"""Every exception of the project is an ExifJaxError: a command catches them by one name."""

import ast
import builtins
import pathlib

ROOT = pathlib.Path(__file__).parents[2]
BUILTIN = {
    name
    for name, value in vars(builtins).items()
    if isinstance(value, type) and issubclass(value, BaseException)
}


def test_every_exception_has_the_one_base():
    seen = []
    for folder in ("exif_jax", "data_prep"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if not isinstance(node, ast.ClassDef):
                    continue
                bases = {base.id for base in node.bases if isinstance(base, ast.Name)}
                if bases & BUILTIN and node.name != "ExifJaxError":
                    seen.append(node.name)
                    assert "ExifJaxError" in bases, f"{path}: {node.name}"
    assert "LocalizeError" in seen  # a ValueError too, so that the walk met some
