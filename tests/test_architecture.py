"""The packages import each other in one direction, and no package brings what it must not."""

import ast
import functools
import os
import pathlib
import subprocess
import sys
from collections.abc import Iterator

ROOT = pathlib.Path(__file__).parents[1]
TOP_PACKAGES = ("exif_jax", "data_prep")
MAX_LINES = 350
JAX = frozenset(("jax", "jaxlib", "flax", "optax", "orbax"))
TENSORFLOW = frozenset(("tensorflow", "tensorflow_datasets", "tensorflow_text"))
# Not in every environment; each takes a command of its own.
OPTIONAL = frozenset(("apache_beam", "array_record", *TENSORFLOW))

Graph = dict[str, dict[str, str]]  # importing -> imported -> the import that does it


# --- imports, by their syntax ---------------------------------------------------------------------


@functools.cache
def module_paths() -> dict[str, pathlib.Path]:
    """Dotted name -> file, of every module; a package goes by its own name."""
    paths = {}
    for top in TOP_PACKAGES:
        for path in sorted((ROOT / top).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            paths[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return paths


def imported_names(node: ast.AST) -> Iterator[tuple[str, int]]:
    """(name, line) of what a syntax tree imports, in functions too.

    What stands under `if TYPE_CHECKING:` is for type checkers only.
    """
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            yield from imported_names(ast.Module(child.orelse, []))
        elif isinstance(child, ast.Import):
            yield from ((alias.name, child.lineno) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert not child.level, f"a relative import: {ast.unparse(child)}"
            yield from ((f"{child.module}.{alias.name}", child.lineno) for alias in child.names)
        else:
            yield from imported_names(child)


@functools.cache
def all_imports() -> dict[str, dict[str, str]]:
    """Module -> dotted name of all that it imports -> file and line."""
    imports: dict[str, dict[str, str]] = {}
    for module, path in module_paths().items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        where = path.relative_to(ROOT).as_posix()
        imports[module] = {name: f"{where}:{line}" for name, line in imported_names(tree)}
    return imports


def own_module(name: str) -> str | None:
    """The module of ours that an imported name is or lies in; None for other libraries."""
    while name and name not in module_paths():
        name = name.rpartition(".")[0]
    return name or None


@functools.cache
def module_graph() -> Graph:
    """Module -> modules of ours that it imports."""
    graph: Graph = {}
    for module, names in all_imports().items():
        targets = {own_module(name): where for name, where in names.items()}
        graph[module] = {
            target: f"{where} imports {target}"
            for target, where in targets.items()
            if target and target not in (module, *TOP_PACKAGES)
        }
    return graph


def package_of(module: str) -> str:
    """The package of a module, like "exif_jax.io"; a command stands for itself."""
    return ".".join(module.split(".")[:2])


def package_graph() -> Graph:
    graph: Graph = {}
    for module, targets in module_graph().items():
        edges = graph.setdefault(package_of(module), {})
        for target, where in targets.items():
            if package_of(target) != package_of(module):
                edges.setdefault(package_of(target), where)
    return graph


def reachable(graph: Graph, start: str) -> set[str]:
    """All that a node leads to, and the node itself if it lies on a circle."""
    seen: set[str] = set()
    pending = [start]
    while pending:
        for target in graph.get(pending.pop(), {}):
            if target not in seen:
                seen.add(target)
                pending.append(target)
    return seen


def circular_imports(graph: Graph) -> list[str]:
    """The imports that lie on a circle."""
    reach = {node: reachable(graph, node) for node in graph}
    return sorted(
        f"{node} -> {target}: {where}"
        for node, targets in graph.items()
        for target, where in targets.items()
        if node in reach.get(target, ())
    )


def listed(lines: list[str]) -> str:
    return "\n" + "\n".join(lines)


def test_circles_are_seen():
    graph = {"a": {"b": "1"}, "b": {"c": "2", "d": "3"}, "c": {"a": "4"}, "d": {}}
    assert circular_imports(graph) == ["a -> b: 1", "b -> c: 2", "c -> a: 4"]
    assert circular_imports({"a": {"b": "1"}, "b": {}}) == []


def test_imports_in_functions_count_and_those_for_type_checkers_do_not():
    code = """
if TYPE_CHECKING:
    import a
else:
    import b
def f():
    from c import d
"""
    assert [name for name, _ in imported_names(ast.parse(code))] == ["b", "c.d"]


def test_packages_import_each_other_in_no_circle():
    knots = circular_imports(package_graph())
    assert not knots, listed(knots)


def test_modules_import_each_other_in_no_circle():
    knots = circular_imports(module_graph())
    assert not knots, listed(knots)


def foreign_imports(start: str, libraries: frozenset[str]) -> list[str]:
    """The imports of some libraries, of a module and of all modules of ours that it leads to."""
    return sorted(
        f"{where} imports {name}"
        for module in {start, *reachable(module_graph(), start)}
        for name, where in all_imports()[module].items()
        if name.partition(".")[0] in libraries
    )


def test_localize_and_verify_lead_to_no_tensorflow():
    for module in ("exif_jax.localize", "exif_jax.verify", "exif_jax.api"):
        imports = foreign_imports(module, TENSORFLOW)
        assert not imports, listed(imports)


def test_data_prep_leads_to_no_jax():
    for module in module_paths():
        if module.startswith("data_prep"):
            imports = foreign_imports(module, JAX)
            assert not imports, listed(imports)


# --- imports, as they happen ----------------------------------------------------------------------

_IMPORT_ALL = """
import importlib, sys
unwanted, *modules = sys.argv[1:]
for module in modules:
    importlib.import_module(module)
    brought = [name for name in unwanted.split(",") if name in sys.modules]
    if brought:
        sys.exit(f"{module} brings {', '.join(brought)}")
"""


def import_all(modules: list[str], unwanted: frozenset[str], path: pathlib.Path = ROOT) -> str:
    """Imports modules in a process of their own; returns which brings what it must not, or ""."""
    done = subprocess.run(
        [sys.executable, "-c", _IMPORT_ALL, ",".join(sorted(unwanted)), *modules],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(path), str(ROOT)])},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    return done.stderr if done.returncode else ""


def test_data_prep_brings_no_jax():
    modules = [
        module
        for module in module_paths()
        if module.startswith("data_prep") and not foreign_imports(module, OPTIONAL)
    ]
    assert len(modules) > 20
    assert import_all(modules, JAX) == ""


def test_packages_bring_no_jax():
    packages = [name for name, path in module_paths().items() if path.name == "__init__.py"]
    assert len(packages) > 10
    assert import_all(packages, JAX) == ""


def test_localize_and_verify_bring_no_tensorflow(tmp_path):
    # A library may look for TensorFlow by itself: here it finds one.
    (tmp_path / "tensorflow").mkdir()
    (tmp_path / "tensorflow" / "__init__.py").write_text("")
    modules = ["exif_jax.localize", "exif_jax.verify", "exif_jax.api"]
    assert import_all(modules, TENSORFLOW, tmp_path) == ""


# --- files ----------------------------------------------------------------------------------------


def test_no_file_is_long():
    long = []
    for top in TOP_PACKAGES:
        for path in (ROOT / top).rglob("*"):
            if path.suffix in (".py", ".css", ".js", ".html"):
                number = len(path.read_text(encoding="utf-8").splitlines())
                if number > MAX_LINES:
                    long.append(f"{path.relative_to(ROOT).as_posix()}: {number} lines")
    assert not long, listed(sorted(long))


def test_no_two_test_files_have_one_name():
    """pytest imports them by their names alone."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))
