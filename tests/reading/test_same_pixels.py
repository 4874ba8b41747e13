"""Camera traces survive: training, localisation and other decoders see the very same pixels."""

import pathlib

import numpy as np
import pytest
from photo_folders import all_records, command
from PIL import Image
from stand_in import FakeModel
from test_dataset import PLAIN

import exif_jax
from data_prep.photos import main
from data_prep.train_tokenizer import main as train_tokenizer
from exif_jax.data.config import DataConfig
from exif_jax.data.dataset import PatchDataset
from exif_jax.data.records import decode_image
from exif_jax.data.records_folder import load_tokenizer
from exif_jax.forensics import localization

FORMS = {
    "4:4:4": ("JPEG", {"quality": 93, "subsampling": 0}),
    "4:2:2": ("JPEG", {"quality": 88, "subsampling": 1}),
    "4:2:0": ("JPEG", {"quality": 91, "subsampling": 2}),
    "progressive": ("JPEG", {"quality": 90, "subsampling": 2, "progressive": True}),
    "PNG": ("PNG", {}),
}


def scene(seed: int, height: int = 220, width: int = 301) -> np.ndarray:
    """Detail of every size, in colour; odd sides, so that the last blocks are not whole."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (11, 15, 3), np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), np.float32)
    return np.clip(smooth + rng.normal(0, 12, smooth.shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module", params=FORMS, ids=list(FORMS))
def photos(request, tmp_path_factory) -> pathlib.Path:
    """Photos of two cameras in one form."""
    kind, how = FORMS[request.param]
    folder = tmp_path_factory.mktemp("photos")
    for seed in range(4):
        exif = Image.Exif()
        exif[0x010F], exif[0x0110], exif[0x0112] = "Canopus", f"C{seed % 2}", 1
        camera = exif.get_ifd(0x8769)
        camera[0x829A], camera[0x829D], camera[0x8827] = 1 / 60, 2.8, 100 + seed
        suffix = ".png" if kind == "PNG" else ".jpg"
        Image.fromarray(scene(seed)).save(folder / f"{seed}{suffix}", kind, exif=exif, **how)
    return folder


def test_training_and_localisation_read_the_same_pixels(photos, tmp_path, monkeypatch):
    seen: dict[str, np.ndarray] = {}

    def look(image, *args, **kwargs):
        seen[path.name] = np.array(image)
        raise LookupError

    monkeypatch.setattr(localization, "localize_with_encoder", look)
    for path in sorted(photos.iterdir()):
        with pytest.raises(LookupError):
            exif_jax.localize_photo(path, FakeModel())
    out = tmp_path / "records"
    assert main(command(photos, out)) == 0
    records = [record for split in all_records(out).values() for record in split]
    assert {record.source for record in records} == seen.keys()
    for record in records:
        y, x, h, w = record.region
        there = seen[record.source][y : y + h, x : x + w]
        np.testing.assert_array_equal(decode_image(record), there)

    # The same through the batches of a training run: each patch lies somewhere in its photo.
    assert train_tokenizer(["--records", str(out)]) == 0
    config = DataConfig(records=str(out), max_corrupt_fraction=0.0, **PLAIN)
    data = PatchDataset(config, "train", load_tokenizer(str(out)), 64, 32)
    for image in data.batch(0, data.num_photos)["image"]:
        assert any(_lies_in(image, photo) for photo in seen.values())


def _lies_in(patch: np.ndarray, photo: np.ndarray) -> bool:
    """Whether a patch is a part of a photo, on the JPEG grid, level for level."""
    size = len(patch)
    return any(
        np.array_equal(photo[y : y + size, x : x + size], patch)
        for y in range(0, photo.shape[0] - size + 1, 8)
        for x in range(0, photo.shape[1] - size + 1, 8)
    )


@pytest.mark.filterwarnings("ignore")  # TensorFlow's own
def test_tensorflow_decodes_photos_and_records_to_the_same_pixels(photos, tmp_path):
    tf = pytest.importorskip("tensorflow")
    out = tmp_path / "records"
    assert main(command(photos, out)) == 0
    for record in all_records(out)["train"]:
        data = (photos / record.source).read_bytes()
        if record.source.endswith(".jpg"):
            # Not the default, which is up to four levels off.
            whole = tf.io.decode_jpeg(data, dct_method="INTEGER_ACCURATE").numpy()
        else:
            whole = tf.io.decode_png(data).numpy()
        y, x, h, w = record.region
        ours = decode_image(record)
        np.testing.assert_array_equal(whole[y : y + h, x : x + w], ours)
        theirs = tf.io.decode_image(record.image, channels=3, expand_animations=False).numpy()
        np.testing.assert_array_equal(theirs, ours)
