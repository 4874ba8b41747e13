"""PhotoHolmes (github.com/photoholmes/photoholmes) beside us: its methods here, our model there.

PhotoHolmes is not on PyPI: `pip install git+https://github.com/photoholmes/photoholmes`. It and
PyTorch are imported where they are used. Its interface, as of 2024: `MethodFactory.load(name,
config)` gives a method and its preprocessing; `preprocessing(**inputs)` what `method.benchmark(**)`
takes; that returns {"heatmap", "mask", "detection"}, tensors or None.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import os
import pathlib
import shutil
import tempfile
import warnings
from typing import Any

import numpy as np

from exif_jax.evaluation.detectors import Detector, Prediction
from exif_jax.forensics.localization import localize
from exif_jax.forensics.methods import LocalizationSettings, LocalizeError
from exif_jax.io.errors import ExifJaxError
from exif_jax.weights.release_file import Model, load_model

_INSTALL = "pip install git+https://github.com/photoholmes/photoholmes"


class PhotoHolmesError(ExifJaxError):
    """PhotoHolmes or a method of it cannot be used; the message says why."""


def detector(name: str) -> Detector:
    """A method of PhotoHolmes as one of our detectors.

    Args:
        name: as its `MethodFactory` knows it ("splicebuster", "dq", "noisesniffer", ...), and
            optionally "=CONFIG", the path of the method's YAML file.

    Raises:
        PhotoHolmesError: it is not installed, or the method cannot be made.
    """
    method_name, _, config = name.partition("=")
    try:
        factory = importlib.import_module("photoholmes.methods.factory").MethodFactory
        torch: Any = importlib.import_module("torch")
    except ImportError as e:
        raise PhotoHolmesError(f"{name} needs PhotoHolmes ({e}): {_INSTALL}") from e
    try:
        with warnings.catch_warnings():  # Splicebuster sets filters for all, here and below
            method, preprocessing = factory.load(method_name, config or None)
    except Exception as e:  # whatever a method does at its start, it cannot be used
        raise PhotoHolmesError(f"PhotoHolmes' {method_name} cannot be made: {e}") from e
    read_jpeg_data: Any = None
    if {"dct_coefficients", "qtables"} & set(preprocessing.inputs):
        try:  # this imports jpegio, which other methods need not have
            read_jpeg_data = importlib.import_module("photoholmes.utils.image").read_jpeg_data
        except ImportError as e:
            raise PhotoHolmesError(f"{name} reads JPEG coefficients ({e}): {_INSTALL}") from e
    # Another file of settings under the same name is another detector.
    settings = hashlib.sha256(pathlib.Path(config).read_bytes()).hexdigest()[:12] if config else ""
    return Detector(
        method_name,
        f"photoholmes {name} {settings}".strip(),
        _Method(method_name, method, preprocessing, torch, read_jpeg_data).predict,
    )


@dataclasses.dataclass(frozen=True)
class _Method:
    """A method of PhotoHolmes with all that it needs.

    Attributes:
        name: of the method.
        method, preprocessing: as `MethodFactory.load` gives them.
        torch: the module.
        read_jpeg_data: PhotoHolmes' function of that name; None for a method of pixels alone.
    """

    name: str
    method: Any
    preprocessing: Any
    torch: Any
    read_jpeg_data: Any

    def predict(self, pixels: np.ndarray, file: pathlib.Path | None) -> Prediction:
        """As `Detector.predict`."""
        if self.read_jpeg_data and file is None:
            raise LocalizeError(f"{self.name} needs the file and not only its pixels")
        wanted = self.preprocessing.inputs
        try:
            inputs = {}
            if "image" in wanted:
                inputs["image"] = self.torch.from_numpy(np.moveaxis(pixels, 2, 0).copy())
            if self.read_jpeg_data and file:
                jpeg = _jpeg_data(self.read_jpeg_data, file)
                inputs |= {key: value for key, value in jpeg.items() if key in wanted}
            with warnings.catch_warnings():
                output = self.method.benchmark(**self.preprocessing(**inputs))
        except Exception as e:  # a method may fail on a photo in any way; the next may go well
            raise LocalizeError(f"PhotoHolmes' {self.name} failed: {e}") from e
        heatmap = output["heatmap"] if output["heatmap"] is not None else output["mask"]
        if heatmap is None:
            raise LocalizeError(f"PhotoHolmes' {self.name} gives no map")
        score = output["detection"]
        if score is not None:
            score = float(np.asarray(score.cpu()).reshape(-1)[0])
        return Prediction(np.squeeze(np.asarray(heatmap.cpu(), np.float32)), score)


def _jpeg_data(read_jpeg_data: Any, file: pathlib.Path) -> dict[str, Any]:
    """A file's coefficients and tables.

    What is not called .jpg or .jpeg, in small letters, PhotoHolmes would compress anew and read the
    coefficients of that: a JPEG under another name goes to it under a name that it knows. Other
    formats are compressed at quality 100, as it does.
    """
    with file.open("rb") as stream:
        is_jpeg = stream.read(3) == b"\xff\xd8\xff"
    if is_jpeg and file.suffix not in (".jpg", ".jpeg"):
        with tempfile.TemporaryDirectory() as folder:
            named = pathlib.Path(folder, "photo.jpg")
            shutil.copyfile(file, named)
            return _jpeg_data(read_jpeg_data, named)
    dct, tables = read_jpeg_data(str(file), suppress_not_jpeg_warning=True)
    return {"dct_coefficients": dct, "qtables": tables}


def method_class() -> type:
    """Our model as a PhotoHolmes method: a subclass of its BaseMethod.

    An object made with `model=`, a path or a loaded model (default: the weights that ship), goes
    into PhotoHolmes' `Benchmark.run` with a dataset that loads "image" and no preprocessing: pixels
    in 0 .. 255.

    Raises:
        PhotoHolmesError: it is not installed.
    """
    try:
        base = importlib.import_module("photoholmes.methods.base").BaseMethod
        torch: Any = importlib.import_module("torch")
    except ImportError as e:
        raise PhotoHolmesError(f"this needs PhotoHolmes ({e}): {_INSTALL}") from e

    class ExifJax(base):
        """EXIF as Language in JAX (exif-jax)."""

        def __init__(self, model: Model | str | None = None, method: str = "cut"):
            super().__init__()
            is_path = isinstance(model, str | os.PathLike)
            self.model = load_model(model) if is_path else model or load_model()
            self.settings = LocalizationSettings(method=method)

        def predict(self, image):
            """Tensor [3, H, W] of 0 .. 255 -> `exif_jax.forensics.localization.Localization`."""
            if image.is_floating_point() and 0 < float(image.max()) <= 1:
                raise LocalizeError("pixels of 0 .. 1; pass 0 .. 255, without a preprocessing")
            pixels = np.moveaxis(np.asarray(image.cpu()), 0, 2).round().astype(np.uint8)
            return localize(np.ascontiguousarray(pixels), self.model, self.settings)

        def benchmark(self, image) -> dict:
            """The same as PhotoHolmes wants it: heat map, smaller part as mask, score in [0, 1]."""
            localization = self.predict(image)
            grid, (height, width) = localization.grid, localization.heatmap.shape
            # Each pixel belongs to the patch whose middle is nearest.
            rows, columns = (
                np.clip(np.rint((np.arange(n) - grid.patch / 2) / grid.stride), 0, count - 1)
                for n, count in ((height, grid.rows), (width, grid.columns))
            )
            mask = localization.clusters[np.ix_(rows.astype(int), columns.astype(int))]
            return {
                "heatmap": torch.from_numpy(np.array(localization.heatmap)),
                "mask": torch.from_numpy(mask.astype(np.float32)),  # as its metrics want it
                "detection": torch.tensor([min(localization.score, 1.0)]),
            }

    return ExifJax
