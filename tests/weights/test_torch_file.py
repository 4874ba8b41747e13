"""Checkpoints are read as data: every layout, and no code in any of them."""

import importlib.util
import os
import pickle
import subprocess
import sys
import zipfile

import ml_dtypes
import numpy as np
import pytest
import torch_checkpoints as tc
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exif_jax.weights import torch_file
from exif_jax.weights.torch_file import TorchFileError, read_torch

RNG = np.random.default_rng(0)
SAVED = {
    "epoch": 3,
    "model": {
        "a": RNG.normal(size=(2, 3)).astype("f4"),
        "b": RNG.normal(size=4),
        "half": np.array([1.5, -2], "f2"),
        "count": np.array(5, "i8"),
        "empty": np.zeros((0, 3), "f4"),
    },
    "groups": [{"lr": 1e-4, "betas": (0.9, 0.98), "name": None, "on": True}],
}


def same(a, b):
    assert type(a) is type(b)
    if isinstance(a, dict):
        assert list(a) == list(b)
        for key in a:
            same(a[key], b[key])
    elif isinstance(a, list | tuple):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            same(x, y)
    elif isinstance(a, np.ndarray):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)
    else:
        assert a == b


@pytest.mark.parametrize("save", [tc.save, tc.save_legacy])
def test_both_layouts_give_what_was_saved(tmp_path, save):
    save(SAVED, tmp_path / "x.pth")
    same(read_torch(tmp_path / "x.pth"), SAVED)


# In a process of its own: torch.optim brings a compiler that crashes beside TensorFlow's and JAX's.
PYTORCH_WRITES = """
import sys, torch
base = torch.arange(24, dtype=torch.float32).reshape(4, 6)
values = {
    "view": base[1:3, ::2],
    "turned": base.T,
    "shared": base,
    "bf16": torch.tensor([1.0, -3.5, 1e-8, 3e38], dtype=torch.bfloat16),
    "parameter": torch.nn.Parameter(torch.ones(3)),
    "flags": torch.tensor([True, False]),
    "bytes": torch.tensor([1, 255], dtype=torch.uint8),
    "scalar": torch.tensor(4.6),
    "size": base.shape,
    "optimizer": torch.optim.Adam([torch.nn.Parameter(torch.ones(2))]).state_dict(),
}
torch.save(values, sys.argv[1], _use_new_zipfile_serialization=sys.argv[2] == "True")
"""


@pytest.mark.parametrize("zipped", [True, False])
def test_what_pytorch_itself_writes(tmp_path, zipped):
    if importlib.util.find_spec("torch") is None:
        pytest.skip("PyTorch is not installed")
    path = tmp_path / "x.pth"
    subprocess.run([sys.executable, "-c", PYTORCH_WRITES, path, str(zipped)], check=True)
    read = read_torch(path)
    base = np.arange(24, dtype="f4").reshape(4, 6)
    expected = {
        "view": base[1:3, ::2],
        "turned": base.T,
        "shared": base,
        "bf16": np.array([1.0, -3.5, 1e-8, 3e38], ml_dtypes.bfloat16).astype("f4"),
        "parameter": np.ones(3, "f4"),
        "flags": np.array([True, False]),
        "bytes": np.array([1, 255], np.uint8),
        "scalar": np.float32(4.6),
    }
    for name, value in expected.items():
        np.testing.assert_array_equal(read[name], value)
    assert read["size"] == (4, 6)
    assert read["optimizer"]["param_groups"][0]["betas"] == (0.9, 0.999)


class Runs:
    """A pickle of this runs a command when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("kind", ["zip", "legacy", "bare", "inside"])
def test_a_malicious_pickle_does_not_execute(tmp_path, kind):
    path, mark = tmp_path / "evil.pth", tmp_path / "was-executed"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", pickle.dumps(Runs(mark)))
    elif kind == "legacy":
        path.write_bytes(b"".join(pickle.dumps(x, 2) for x in (tc.LEGACY_MAGIC, 1001, {})))
        with open(path, "ab") as file:
            pickle.dump(Runs(mark), file)
    elif kind == "bare":
        path.write_bytes(pickle.dumps(Runs(mark)))
    else:
        tc.save({"model": SAVED["model"], "x": tc.Call("os", "mkdir", (str(mark),))}, path)
    with pytest.raises(TorchFileError, match=r"evil.pth: .*mkdir.*nothing was run"):
        read_torch(path)
    assert not mark.exists()
    if kind != "inside":  # that the fixture would have worked
        data = zipfile.ZipFile(path).read("archive/data.pkl") if kind == "zip" else None
        if kind == "bare":
            data = path.read_bytes()
        if data:
            pickle.loads(data)
            assert mark.exists()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        *(("builtins", "eval"), ("builtins", "getattr"), ("os", "system"), ("torch", "load")),
        *(("torch._utils", "_rebuild_tensor_v2.__globals__"), ("posix", "system")),
        *(("torch.hub", "load"), ("copyreg", "_reconstructor"), ("numpy", "load")),
    ],
)
def test_no_other_name_is_known(tmp_path, module, name):
    tc.save({"x": tc.Call(module, name, ("1",))}, tmp_path / "x.pth")
    with pytest.raises(TorchFileError, match="which no checkpoint of tensors needs"):
        read_torch(tmp_path / "x.pth")


@pytest.mark.parametrize(
    "view",
    [
        tc.View(np.zeros(4, "f4"), 0, (5,), (1,), 4),
        tc.View(np.zeros(4, "f4"), 1, (4,), (1,), 4),
        tc.View(np.zeros(4, "f4"), 0, (2, 2), (3, 1), 4),
        tc.View(np.zeros(4, "f4"), 0, (2, 2), (-1, 1), 4),
        tc.View(np.zeros(4, "f4"), 0, (10**9,), (0,), 4),
        tc.View(np.zeros(4, "f4"), 0, (4,), (1,), 10**12),
        tc.View(np.zeros(4, "f4"), 0, (4,), (1,), -1),
        tc.View(np.zeros(4, "f4"), 0, (2, 2), (1,), 4),
    ],
)
def test_tensors_that_lie_about_their_storage(tmp_path, view):
    for save in (tc.save, tc.save_legacy):
        save({"x": view}, tmp_path / "x.pth")
        with pytest.raises(TorchFileError, match=r"x\.pth"):
            read_torch(tmp_path / "x.pth")


def test_a_compressed_archive_is_refused_before_it_grows(tmp_path):
    tc.save({"x": np.zeros(10**6, "f4")}, tmp_path / "x.pth", compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(TorchFileError, match="compressed"):
        read_torch(tmp_path / "x.pth")


def rewritten(path, change) -> None:
    """The archive with `change(name, data)` of each entry in its place."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, change(name, data))


def test_numbers_of_the_other_byte_order_are_refused(tmp_path):
    path = tmp_path / "x.pth"
    tc.save({"x": np.zeros(3, "f4")}, path)
    with zipfile.ZipFile(path, "a") as archive:
        folder = next(n for n in archive.namelist() if n.endswith("data.pkl"))[: -len("data.pkl")]
        if folder + "byteorder" not in archive.namelist():
            archive.writestr(folder + "byteorder", "little")
    assert read_torch(path)["x"].shape == (3,)
    rewritten(path, lambda name, data: b"big" if name.endswith("byteorder") else data)
    with pytest.raises(TorchFileError, match="big-endian"):
        read_torch(path)


def test_a_large_pickle_is_refused(tmp_path, monkeypatch):
    tc.save({"x": np.zeros(3, "f4")}, tmp_path / "x.pth")
    tc.save_legacy({"x": np.zeros(3, "f4")}, tmp_path / "y.pth")
    monkeypatch.setattr(torch_file, "MAX_PICKLE_BYTES", 50)
    for name in ("x.pth", "y.pth"):
        with pytest.raises(TorchFileError, match=f"{name}: .*its pickle is larger than"):
            read_torch(tmp_path / name)


def test_numbered_memos_cannot_ask_for_memory(tmp_path):
    program = b"\x80\x02}r\xff\xff\xff\x7f."  # a dict, remembered under number 2 ** 31 - 1
    with zipfile.ZipFile(tmp_path / "x.pth", "w") as archive:
        archive.writestr("archive/data.pkl", program)
    with pytest.raises(TorchFileError, match="damaged"):
        read_torch(tmp_path / "x.pth")


def test_files_that_are_none(tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "text").write_text("hello")
    with zipfile.ZipFile(tmp_path / "zip", "w") as archive:
        archive.writestr("readme", "x")
    for name in ("empty", "text", "zip", "missing", "."):
        with pytest.raises(TorchFileError, match=str(tmp_path)):
            read_torch(tmp_path / name)


@pytest.fixture(scope="module")
def both_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("torch")
    tc.save(SAVED, folder / "zip")
    tc.save_legacy(SAVED, folder / "legacy")
    return [(folder / name).read_bytes() for name in ("zip", "legacy")]


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_files_give_one_error(both_files, tmp_path, data):
    content = bytearray(data.draw(st.sampled_from(both_files)))
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = (
        content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content
    )
    path = tmp_path / "x.pth"
    path.write_bytes(content)
    try:
        read_torch(path)
    except TorchFileError as e:
        assert str(path) in str(e)
