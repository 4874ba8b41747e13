"""Reads the tensors of a PyTorch checkpoint without PyTorch and without running its code.

A checkpoint is a pickle, and a pickle is a program: it may name any function and have it called.
This reader knows a dozen harmless names, which build dicts and descriptions of tensors, and
refuses the file at any other. It reads both layouts of `torch.save`: the zip archive of PyTorch
1.6 and later, and the sequence of pickles before it
(https://docs.pytorch.org/docs/stable/notes/serialization.html).
"""

from __future__ import annotations

import dataclasses
import io
import math
import os
import pickle
import pickletools
import struct
import zipfile
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np

from exif_jax.io.errors import ExifJaxError

MAX_PICKLE_BYTES = 64 * 2**20
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C

# bfloat16 has no NumPy type; its bits are the upper half of a float32.
_STORAGES = {
    "FloatStorage": np.dtype("<f4"),
    "DoubleStorage": np.dtype("<f8"),
    "HalfStorage": np.dtype("<f2"),
    "BFloat16Storage": np.dtype("<u2"),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("i1"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("?"),
}


class TorchFileError(ExifJaxError):
    """The file is not a PyTorch checkpoint, or is one that this reader refuses."""


@dataclasses.dataclass(frozen=True, eq=False)
class _Storage:
    """A flat array, described by where its bytes are.

    Attributes:
        dtype_name: one of _STORAGES.
        key: the name of its bytes in the file.
        count: number of elements.
    """

    dtype_name: str
    key: str
    count: int


@dataclasses.dataclass(frozen=True, eq=False)
class _Tensor:
    """A tensor, described as a view of a storage; `offset` and `stride` count elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


def _rebuild_tensor(storage, offset, shape, stride, *_):
    numbers = (offset, *shape, *stride)
    if not isinstance(storage, _Storage) or not all(type(n) is int and n >= 0 for n in numbers):
        raise TorchFileError("a tensor's description is damaged")
    count = math.prod(shape)
    last = offset + sum((n - 1) * step for n, step in zip(shape, stride, strict=True))
    # Strides of 0 would spread a small storage over a huge array.
    if count > storage.count or (count and last >= storage.count):
        raise TorchFileError("a tensor reaches beyond its storage")
    return _Tensor(storage, offset, tuple(shape), tuple(stride))


def _ordered_dict(*args):
    return dict(*args)


class _Ignored:
    """Stands for a value that no tensor needs, such as a schedule's NumPy number."""

    def __init__(self, *_):
        pass

    def __setstate__(self, _):
        pass


_NAMES: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): _ordered_dict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): lambda data, *_: data,
    ("torch", "Size"): lambda *args: tuple(*args),
    ("torch", "device"): _Ignored,
    ("numpy", "dtype"): _Ignored,
    ("numpy.core.multiarray", "scalar"): _Ignored,
    ("numpy._core.multiarray", "scalar"): _Ignored,
}


class _Unpickler(pickle.Unpickler):
    """Knows `_NAMES` and the storage types, and no other name."""

    def find_class(self, module_name: str, global_name: str) -> Any:
        if module_name == "torch" and global_name in _STORAGES:
            return global_name
        known = _NAMES.get((module_name, global_name))
        if known is None:
            raise TorchFileError(
                f"it asks for {module_name}.{global_name}, which no checkpoint of tensors needs; "
                "nothing was run. Do not open this file with other tools"
            )
        return known

    def persistent_load(self, pid: Any) -> _Storage:
        if not (isinstance(pid, tuple) and len(pid) >= 5 and pid[0] == "storage"):
            raise TorchFileError("an unknown reference")
        dtype_name, key, count = pid[1], pid[2], pid[4]
        valid_count = type(count) is int and count >= 0
        if dtype_name not in _STORAGES or not isinstance(key, str) or not valid_count:
            raise TorchFileError("a storage's description is damaged")
        return _Storage(dtype_name, key, count)


def read_torch(path: str | os.PathLike) -> Any:
    """Reads a file that `torch.save` wrote.

    Args:
        path: the checkpoint.

    Returns:
        The dicts, lists, tuples, strings and numbers that were saved, with a NumPy array for every
        tensor and parameter (bfloat16 becomes float32).

    Raises:
        TorchFileError: it cannot be read, is damaged, or names anything but tensors; the message
            names the file and the cause.
    """
    try:
        with open(path, "rb") as file:
            if not os.path.isfile(path):
                raise TorchFileError("not a regular file")
            if zipfile.is_zipfile(file):
                return _read_zip(file)
            file.seek(0)
            return _read_legacy(file)
    except OSError as e:
        raise TorchFileError(f"{path}: cannot read it ({e.strerror or e})") from e
    except TorchFileError as e:
        raise TorchFileError(f"{path}: not read: {e}") from e
    except Exception as e:  # whatever goes wrong in here, the bytes of the file are the cause
        raise TorchFileError(f"{path}: not a PyTorch checkpoint, or damaged ({e})") from e


def _read_zip(file: BinaryIO) -> Any:
    with zipfile.ZipFile(file) as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
        packed = [name for name, e in entries.items() if e.compress_type != zipfile.ZIP_STORED]
        if packed:  # PyTorch never compresses; a small file that grows without end would
            raise TorchFileError(f"{packed[0]} is compressed")
        pickles = [name for name in entries if name.endswith("/data.pkl") or name == "data.pkl"]
        if len(pickles) != 1:
            raise TorchFileError("no data.pkl in the archive")
        folder = pickles[0][: -len("data.pkl")]
        if entries.get(folder + "byteorder") and archive.read(folder + "byteorder") != b"little":
            raise TorchFileError("its numbers are big-endian")
        if entries[pickles[0]].file_size > MAX_PICKLE_BYTES:
            raise TorchFileError(f"its pickle is larger than {MAX_PICKLE_BYTES >> 20} MiB")
        described = _load(io.BytesIO(archive.read(pickles[0])))
        return _Reader(lambda storage: archive.read(f"{folder}data/{storage.key}")).fill(described)


def _read_legacy(file: BinaryIO) -> Any:
    data = file.read()
    stream = io.BytesIO(data)
    if _load(stream) != _LEGACY_MAGIC:
        raise TorchFileError("it does not begin as one")
    _load(stream)  # the version of the layout
    _load(stream)  # the sizes of C types
    described = _load(stream)
    dtype_names = {storage.key: storage.dtype_name for storage in _storages(described)}
    spans = {}
    for key in _load(stream):
        (count,) = struct.unpack("<q", stream.read(8))
        if key not in dtype_names or count < 0:
            raise TorchFileError(f"storage {key} is described nowhere")
        size = count * _STORAGES[dtype_names[key]].itemsize
        spans[key] = slice(stream.tell(), stream.tell() + size)
        stream.seek(size, io.SEEK_CUR)
    return _Reader(lambda storage: data[spans[storage.key]]).fill(described)


def _load(stream: io.BytesIO) -> Any:
    """Loads one pickle and checks it before: numbered memos can ask for any amount of memory."""
    start = stream.tell()
    for opcode, argument, _ in pickletools.genops(stream):
        if stream.tell() - start > MAX_PICKLE_BYTES:
            raise TorchFileError(f"its pickle is larger than {MAX_PICKLE_BYTES >> 20} MiB")
        if opcode.name in ("PUT", "LONG_BINPUT") and int(argument or 0) > stream.tell():
            raise TorchFileError("its pickle is damaged")
    stream.seek(start)
    return _Unpickler(stream).load()


def _storages(described: Any) -> list[_Storage]:
    """The storages of all tensors in nested dicts, lists and tuples."""
    if isinstance(described, _Tensor):
        return [described.storage]
    if isinstance(described, dict):
        described = list(described.values())
    if isinstance(described, list | tuple):
        return [storage for value in described for storage in _storages(value)]
    return []


class _Reader:
    """Puts arrays in the place of described tensors; a shared storage is read once."""

    def __init__(self, read_bytes: Callable[[_Storage], bytes]):
        self._read_bytes = read_bytes
        self._arrays: dict[str, np.ndarray] = {}

    def fill(self, described: Any) -> Any:
        if isinstance(described, _Tensor):
            return self._array(described)
        if isinstance(described, dict):
            return {key: self.fill(value) for key, value in described.items()}
        if isinstance(described, list | tuple):
            return type(described)(self.fill(value) for value in described)
        return described

    def _array(self, tensor: _Tensor) -> np.ndarray:
        flat = self._flat_array(tensor.storage)[tensor.offset :]
        strides = tuple(step * flat.itemsize for step in tensor.stride)
        x = np.lib.stride_tricks.as_strided(flat, tensor.shape, strides, writeable=False)
        if tensor.storage.dtype_name == "BFloat16Storage":
            return (x.astype(np.uint32) << 16).view(np.float32)
        return x.copy()

    def _flat_array(self, storage: _Storage) -> np.ndarray:
        if storage.key not in self._arrays:
            data = self._read_bytes(storage)
            dtype = _STORAGES[storage.dtype_name]
            if len(data) != storage.count * dtype.itemsize:
                raise TorchFileError(f"storage {storage.key} is cut short")
            self._arrays[storage.key] = np.frombuffer(data, dtype)
        return self._arrays[storage.key]
