"""The notebooks: each runs from top to bottom, and what is saved in it was run so."""

import base64
import json
import pathlib
import re
import sys

import pytest

from exif_jax.weights import release_file

nbformat = pytest.importorskip("nbformat", reason="nbformat is missing; pip install -e '.[dev]'")
nbclient = pytest.importorskip("nbclient", reason="nbclient is missing; pip install -e '.[dev]'")
pytest.importorskip("ipykernel", reason="ipykernel is missing; pip install -e '.[dev]'")

ROOT = pathlib.Path(__file__).parent.parent
NOTEBOOKS = ROOT / "notebooks"
PICTURES = {"localize": 2, "train": 3, "pod": 1}
# The start of an absolute path, as of a home folder, a temporary one or an installed package.
MACHINE = re.compile(
    r"(?<![\w.~/-])/(?:home|root|tmp|work|var|Users|opt|mnt|content|private)/|site-packages"
)

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="preparing records needs POSIX, as the notebooks do"
)


def read(name: str):
    return nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)


def code_cells(notebook) -> list:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def set_parameters(notebook, **values) -> None:
    """Gives assignments of the cell tagged "parameters" other values."""
    (cell,) = (c for c in notebook.cells if "parameters" in c.metadata.get("tags", ()))
    for name, value in values.items():
        cell.source, number = re.subn(rf"(?m)^{name} = .*$", f"{name} = {value!r}", cell.source)
        assert number == 1, name


def execute(name: str, folder: pathlib.Path, monkeypatch, ask: str, **parameters):
    """Runs a notebook in a folder beside a clone; the value of the expression `ask` at its end."""
    (folder / "exif-jax").symlink_to(ROOT, target_is_directory=True)
    for variable, value in {
        "JAX_PLATFORMS": "cpu",
        "JUPYTER_PREFER_ENV_PATH": "1",  # the kernel of this interpreter, not one of the user's
        "JUPYTER_DATA_DIR": str(folder / "jupyter"),
        "IPYTHONDIR": str(folder / "ipython"),
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    }.items():
        monkeypatch.setenv(variable, value)
    notebook = read(name)
    set_parameters(notebook, **parameters)
    notebook.cells.append(nbformat.v4.new_code_cell(f"print(json.dumps({ask}))"))
    resources = {"metadata": {"path": str(folder)}}
    nbclient.NotebookClient(notebook, timeout=600, resources=resources).execute()
    return json.loads("".join(output.text for output in notebook.cells[-1].outputs))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_localize_marks_what_was_pasted(tmp_path, monkeypatch):
    ask = "[results, len(page), 'Explore' in page, checked.reference_size, len(checked.looks_like)]"
    rows, size, explorer, reference_size, telling = execute(
        "localize", tmp_path, monkeypatch, ask, SPLICES=2
    )
    shown = next(row for row in rows if row["splice"] == 1 and row["kind"] == "image")
    assert shown["inside"] > 2 * shown["outside"]
    assert shown["band"] == "strong"
    pristine = [row for row in rows if row["kind"] == "pristine"]
    assert len(pristine) == 2 and all(row["p_value"] > shown["p_value"] for row in pristine)
    assert size > 100_000 and explorer
    assert reference_size > 0 and telling > 0
    written = tmp_path / "runs" / "localize" / "report"
    assert (written / "001.overlay.png").exists() and (written / "001.json").exists()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_train_leads_from_photos_to_a_model_that_is_compared(tmp_path, monkeypatch):
    ask = "[chosen, [[row['step'], row['loss']] for row in curve], evaluation]"
    sizes = {"SIMULATED": 48, "STEPS": 4, "BATCH": 32, "SPLICES": 2}
    chosen, curve, evaluation = execute("train", tmp_path, monkeypatch, ask, **sizes)
    assert chosen == {"config": "vit_ti_cpu", "photos": 48, "steps": 4, "batch": 32}
    assert [step for step, _ in curve] == [1, 2, 3, 4]
    assert all(0 < loss < 20 for _, loss in curve)
    scores = {row["detector"]: row["mean"]["ap"] for row in evaluation}
    # By the cut alone: the learned map that ships would hide what the encoders differ in.
    compared = ("model", "untrained", release_file.PRETRAINED.stem)
    assert {*(f"{name}, cut" for name in compared), "constant"} <= scores.keys()
    assert all(0 <= score <= 1 for score in scores.values())
    work = tmp_path / "runs" / "train"
    assert (work / "run" / "model.safetensors").exists()
    assert len(list((work / "photos").glob("*.jpg"))) == 48


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_pod_goes_on_from_the_step_that_was_saved(tmp_path, monkeypatch):
    ask = "[saved_step, first_step, [step for step, _ in after], len(again)]"
    saved, first, steps, processes = execute("pod", tmp_path, monkeypatch, ask, STEPS=24)
    assert 6 <= saved < 24 and first == saved + 1
    assert steps == list(range(1, 25)) and processes == 2
    checkpoints = tmp_path / "runs" / "pod" / "run" / "checkpoints"
    assert {str(saved), "24"} <= {path.name for path in checkpoints.iterdir()}


@pytest.mark.parametrize("name", PICTURES)
def test_what_is_saved_was_run_in_order_without_errors(name):
    cells = code_cells(read(name))
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert outputs and all(output.output_type != "error" for output in outputs)
    for output in outputs:
        for kind, data in output.get("data", {}).items():
            if kind.startswith("image/"):
                assert kind == "image/png" and len(data) <= 300_000
    pictures = [o.data["image/png"] for o in outputs if "image/png" in o.get("data", {})]
    assert len(pictures) >= PICTURES[name]
    assert all(base64.b64decode(data).startswith(b"\x89PNG") for data in pictures)
    assert (NOTEBOOKS / f"{name}.ipynb").stat().st_size < 1_500_000


@pytest.mark.parametrize("name", PICTURES)
def test_what_is_saved_names_no_machine_and_holds_no_progress_bar(name):
    outputs = [output for cell in code_cells(read(name)) for output in cell.outputs]
    assert not MACHINE.findall(json.dumps(outputs))
    assert not any("\r" in output.get("text", "") for output in outputs)


def test_a_machine_is_recognised():
    for path in ("/home/me/x", 'File "/tmp/x"', "lib/python3.12/site-packages/jax"):
        assert MACHINE.search(path), path
    for path in ("runs/train/run", "~/x/y", "https://site.example/home/x"):
        assert not MACHINE.search(path), path
