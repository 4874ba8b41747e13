"""The bridge to PhotoHolmes, on a double of its interface.

PhotoHolmes is not on PyPI. The double has what the bridge touches, as its repository has it:
`MethodFactory.load`, pipelines with `inputs`, `BaseMethod.benchmark`, `read_jpeg_data`, and what
`Benchmark.run` does with a method and a dataset's item. The bridge was also run with PhotoHolmes
itself (docs/results.md).
"""

import pathlib
import sys
import types
import warnings

import numpy as np
import pytest
from stand_in import FakeModel, spliced

from exif_jax.evaluation import photoholmes
from exif_jax.forensics.localization import localize
from exif_jax.forensics.methods import LocalizationSettings, LocalizeError

torch = pytest.importorskip("torch", reason="PhotoHolmes' interface is PyTorch's tensors")


class BaseMethod:
    device = None

    def __init__(self):
        self.device = torch.device("cpu")


class Pipeline:
    """PreProcessingPipeline: asked for `inputs`, gives a dict for `benchmark`."""

    def __init__(self, inputs):
        self.inputs = inputs

    def __call__(self, **inputs):
        assert set(inputs) == set(self.inputs)
        return {"image": inputs["image"].float() / 255} | {
            k: v for k, v in inputs.items() if k != "image"
        }


class Brightness(BaseMethod):
    """Suspects what is bright; the interface of a method with all three outputs."""

    def benchmark(self, image):
        assert image.shape[0] == 3 and float(image.max()) <= 1
        warnings.simplefilter("error")  # as Splicebuster does, and leaves it
        heat = image.mean(dim=0)
        return {"heatmap": heat[None], "mask": None, "detection": heat.max()[None, None]}


class Blocks(BaseMethod):
    """Wants the coefficients of the file, as DQ and CAT-Net do, and gives only a mask."""

    def benchmark(self, image, dct_coefficients):
        if dct_coefficients is None:
            raise RuntimeError("no coefficients")
        return {"heatmap": None, "mask": (image[0] > 0.5) * dct_coefficients.max(),
                "detection": None}  # fmt: skip


@pytest.fixture(autouse=True)
def double(monkeypatch):
    class MethodFactory:
        @staticmethod
        def load(name, config=None):
            if name == "brightness":
                return Brightness(), Pipeline(["image"])
            if name == "blocks":
                assert pathlib.Path(config).name == "blocks.yaml"
                return Blocks(), Pipeline(["image", "dct_coefficients"])
            raise ValueError(f"'{name}' is not a valid MethodRegistry")

    def read_jpeg_data(image_path, num_dct_channels=None, all_quant_tables=False,
                       suppress_not_jpeg_warning=False):  # fmt: skip
        if not image_path.endswith((".jpg", ".jpeg")):  # compressed anew, and read then
            return torch.zeros(1, 8, 8), torch.ones(1, 8, 8)
        content = pathlib.Path(image_path).read_bytes()
        return torch.full((1, 8, 8), float(len(content))) if content else None, torch.ones(1, 8, 8)

    for name, content in {
        "photoholmes": {},
        "photoholmes.methods": {},
        "photoholmes.methods.base": {"BaseMethod": BaseMethod},
        "photoholmes.methods.factory": {"MethodFactory": MethodFactory},
        "photoholmes.utils": {},
        "photoholmes.utils.image": {"read_jpeg_data": read_jpeg_data},
    }.items():
        module = types.ModuleType(name)
        module.__dict__.update(content)
        monkeypatch.setitem(sys.modules, name, module)


def test_their_methods_are_detectors_here(tmp_path):
    image, _ = spliced()
    brightness = photoholmes.detector("brightness")
    assert brightness.name == "brightness"
    before, kept = warnings.filters, [*warnings.filters]
    result = brightness.predict(image, None)
    np.testing.assert_allclose(result.heatmap, image.mean(axis=2) / 255, atol=1e-6)
    assert result.score == pytest.approx(result.heatmap.max()) and result.p_value is None
    assert warnings.filters is before and [*before] == kept  # what a method does to them is undone


def test_a_method_that_reads_the_file(tmp_path):
    image, _ = spliced()
    yaml = tmp_path / "blocks.yaml"
    yaml.write_text("sides: 8")
    blocks = photoholmes.detector(f"blocks={yaml}")
    assert blocks.key != photoholmes.detector("brightness").key
    assert blocks.key == photoholmes.detector(f"blocks={yaml}").key
    yaml.write_text("sides: 4")
    assert blocks.key != photoholmes.detector(f"blocks={yaml}").key
    jpeg = b"\xff\xd8\xff" + bytes(30)
    for name in ("a.jpg", "a.jpeg", "a.JPG", "a.jpe", "a"):
        (tmp_path / name).write_bytes(jpeg)
        result = blocks.predict(image, tmp_path / name)
        np.testing.assert_array_equal(result.heatmap, (image[..., 0] > 127) * 33)  # the file's own
        assert result.score is None
    (tmp_path / "a.png").write_bytes(b"\x89PNG")
    assert blocks.predict(image, tmp_path / "a.png").heatmap.max() == 0
    with pytest.raises(LocalizeError, match="needs the file"):
        blocks.predict(image, None)
    (tmp_path / "none.jpg").write_bytes(b"")
    with pytest.raises(LocalizeError, match="blocks failed: no coefficients"):
        blocks.predict(image, tmp_path / "none.jpg")


def test_our_model_is_a_method_there():
    image, _ = spliced()
    method = photoholmes.method_class()(model=FakeModel)
    assert isinstance(method, BaseMethod) and method.device == torch.device("cpu")
    # As Benchmark.run hands over an item: tensors as float32, and compares with mask [H, W].
    tensor = torch.from_numpy(np.moveaxis(image, 2, 0).copy()).to(torch.float32)
    output = method.benchmark(**{"image": tensor})
    expected = localize(image, FakeModel, LocalizationSettings(method="cut"))
    assert set(output) == {"heatmap", "mask", "detection"}
    assert output["heatmap"].shape == output["mask"].shape == image.shape[:2]
    np.testing.assert_array_equal(output["heatmap"].numpy(), expected.heatmap)
    assert output["detection"].shape == (1,)
    assert float(output["detection"]) == pytest.approx(expected.score)
    assert output["mask"].dtype == torch.float32  # its ROC refuses whole numbers
    assert set(np.unique(output["mask"].numpy())) == {0, 1}
    with pytest.raises(LocalizeError, match=r"pixels of 0 \.\. 1; pass 0 \.\. 255"):
        method.benchmark(image=tensor / 255)
    grid, mask = expected.grid, output["mask"].numpy()
    for (y, x), part in zip(grid.origins(), expected.clusters.ravel(), strict=True):
        assert mask[y + grid.patch // 2, x + grid.patch // 2] == part


def test_without_photoholmes_it_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "photoholmes.methods.factory", None)
    with pytest.raises(photoholmes.PhotoHolmesError, match="pip install git"):
        photoholmes.detector("dq")
    monkeypatch.setitem(sys.modules, "photoholmes.methods.base", None)
    with pytest.raises(photoholmes.PhotoHolmesError, match="pip install git"):
        photoholmes.method_class()


def test_only_methods_that_read_coefficients_need_jpegio(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "photoholmes.utils.image", None)
    assert photoholmes.detector("brightness").name == "brightness"
    (tmp_path / "blocks.yaml").write_text("")
    with pytest.raises(photoholmes.PhotoHolmesError, match="reads JPEG coefficients"):
        photoholmes.detector(f"blocks={tmp_path / 'blocks.yaml'}")


def test_a_method_that_cannot_be_made_is_named():
    with pytest.raises(photoholmes.PhotoHolmesError, match="nonsense cannot be made"):
        photoholmes.detector("nonsense")
