"""Batches as a function of the step, on a small folder of records."""

import hashlib
import json

import jax
import numpy as np
import pytest

from data_prep.train_tokenizer import text_parts, train_tokenizer
from exif_jax.data import device_augment
from exif_jax.data.config import DataConfig
from exif_jax.data.dataset import PatchDataset, concatenate
from exif_jax.data.packing import PACKED, AugmentError
from exif_jax.data.photo_reader import PhotoReader
from exif_jax.data.records import (
    Record,
    encode_image,
    encode_record,
    shard_name,
    write_shard,
)
from exif_jax.data.records_folder import DataError, load_tokenizer
from exif_jax.data.sampler import photo_indices
from exif_jax.reading.exif import to_text

PHOTOS, SIZE, LENGTH = 11, 32, 192
VOCABULARY = ["Make", "Model", "Flash"]


def tags_of(photo: int) -> dict[str, str]:
    tags = {"Make": "Canopus" if photo % 2 else "Nadir", "Model": f"C{photo}", "Flash": "Fired"}
    return tags | {"Rare Tag": "hidden"}


def pixels_of(photo: int, region: int, side: int = 56) -> np.ndarray:
    """The photo's number stands in the red channel, the region's in the green one."""
    pixels = np.random.default_rng([photo, region]).integers(0, 256, (side, side, 3), np.uint8)
    pixels[:, :, 0], pixels[:, :, 1] = photo, region
    return pixels


def record(photo: int, region: int, side: int = 56, pixels=pixels_of) -> bytes:
    photo_id = hashlib.sha256(str(photo).encode()).hexdigest()
    image = encode_image(pixels(photo, region, side))
    place = (0, 64 * region, side, side)
    return encode_record(Record(image, tags_of(photo), photo_id, place, f"{photo}.jpg"))


def write_folder(folder, photos=PHOTOS, side=56, pixels=pixels_of):
    """Photo k has 1, 2 or 3 regions; the photos are spread over two shards."""
    folder.mkdir()
    for split in ("train", "validation"):
        for shard in (0, 1):
            rows = [
                record(photo, region, side, pixels)
                for photo in range(shard, photos, 2)
                for region in range(photo % 3 + 1)
            ]
            write_shard(folder / shard_name(split, shard, 2), rows)
    (folder / "tag_counts.json").write_text(json.dumps({"vocabulary": VOCABULARY}))
    texts = {part for k in range(photos) for tag in tags_of(k).items() for part in text_parts(*tag)}
    (folder / "tokenizer.model").write_bytes(train_tokenizer(sorted(texts), 160))
    return folder


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("data") / "records")


def make(records, **changes) -> PatchDataset:
    config = {
        "records": str(records),
        "more_records": "",
        "seed": 0,
        "rescale_prob": 0.5,
        "recompress_prob": 0.5,
        "texts_per_photo": 1,
        "patches_per_text": 1,
        "shift_prob": 0.5,
        "save_prob": 0.5,
        "shrink_prob": 0.5,
        "noise_prob": 0.5,
        "filter_prob": 0.5,
        "contrast_prob": 0.5,
        "keep_tag_prob": 0.8,
        "shuffle_tags": True,
        "tag_names": True,
        "tags": (),
        "cache_regions": 4,
        "max_corrupt_fraction": 0.0,
    }
    split = changes.pop("split", "train")
    tokenizer = load_tokenizer(str(records))
    return PatchDataset(DataConfig(**(config | changes)), split, tokenizer, SIZE, LENGTH)


PLAIN = {
    "rescale_prob": 0.0,
    "recompress_prob": 0.0,
    "shift_prob": 0.0,
    "filter_prob": 0.0,
    "contrast_prob": 0.0,
    "save_prob": 0.0,
    "shrink_prob": 0.0,
    "noise_prob": 0.0,
    "keep_tag_prob": 1.0,
    "shuffle_tags": False,
}


def texts_of(dataset: PatchDataset, batch) -> list[str]:
    pieces = dataset.tokenizer._processor
    rows = zip(batch["tokens"], batch["token_mask"], strict=True)
    return [pieces.decode(tokens[mask].tolist()) for tokens, mask in rows]


def assert_same(a, b):
    assert a.keys() == b.keys()
    for name in a:
        assert a[name].dtype == b[name].dtype
        np.testing.assert_array_equal(a[name], b[name])


# --- training batches ---------------------------------------------------------------------------


def test_more_records_are_trained_on_and_not_validated_on(records, tmp_path):
    folder = tmp_path / "more"
    folder.mkdir()
    rows = [record(photo + 100, 0) for photo in range(5)]
    write_shard(folder / shard_name("train", 0, 1), rows)
    dataset = make(records, more_records=str(folder), **PLAIN)
    assert dataset.num_photos == PHOTOS + 5
    numbers = dataset.batch(0, PHOTOS + 5)["image"][:, 0, 0, 0]
    assert sorted(set(numbers.tolist())) == [*range(PHOTOS), *range(100, 105)]
    assert make(records, more_records=str(folder), split="validation").num_photos == PHOTOS


def test_a_batch_has_the_agreed_arrays(records):
    batch = make(records).batch(0, 4)
    arrays = {name: (x.shape, x.dtype.name) for name, x in batch.items()}
    assert arrays == {
        "image": ((4, SIZE, SIZE, 3), "uint8"),
        "tokens": ((4, LENGTH), "int32"),
        "token_mask": ((4, LENGTH), "bool"),
        "text_id": ((4,), "uint32"),
        "photo_id": ((4,), "uint32"),
    }
    grouped = make(records, texts_per_photo=2, patches_per_text=3).batch(0, 12)
    assert grouped["image"].shape == (12, SIZE, SIZE, 3)
    assert grouped["tokens"].shape == grouped["token_mask"].shape == (4, LENGTH)
    assert grouped["text_id"].shape == (4,)


def test_a_batch_is_a_function_of_the_step(records):
    a, b = make(records), make(records, cache_regions=1)
    forwards = {step: a.batch(step, 4) for step in range(6)}
    for step in (5, 0, 3, 3, 1, 4, 2):
        assert_same(b.batch(step, 4), forwards[step])
    other = make(records, seed=1).batch(0, 4)
    assert not np.array_equal(other["image"], forwards[0]["image"])
    assert not np.array_equal(forwards[0]["image"], forwards[2]["image"])


@pytest.mark.parametrize("batch_size", [1, 3, 4, 11])
def test_batches_are_made_of_the_photos_of_their_step(records, batch_size):
    dataset = make(records, **PLAIN)
    for step in range(9):
        seen = [int(image[0, 0, 0]) for image in dataset.batch(step, batch_size)["image"]]
        # Photos are numbered by their ids, which the test's photos have no say in.
        expected = photo_indices(PHOTOS, batch_size, 0, step)
        ids = sorted(range(PHOTOS), key=lambda k: hashlib.sha256(str(k).encode()).hexdigest())
        assert seen == [ids[photo] for photo in expected]


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_processes_make_the_rows_of_one(records, processes):
    changes = {"texts_per_photo": 2, "patches_per_text": 2}
    dataset = make(records, **changes)
    for step in (0, 3):
        whole = dataset.batch(step, 16)
        parts = [make(records, **changes).batch(step, 16, k, processes) for k in range(processes)]
        assert_same(concatenate(parts), whole)
    with pytest.raises(DataError, match="does not divide over 3 processes"):
        dataset.batch(0, 16, 0, 3)


def test_patch_text_and_its_id_belong_together(records):
    dataset = make(records, **PLAIN)
    red_of, regions = {}, set()
    for step in range(40):
        batch = dataset.batch(step, PHOTOS)
        for row, text in enumerate(texts_of(dataset, batch)):
            (red,) = set(batch["image"][row, :, :, 0].ravel().tolist())
            (region,) = set(batch["image"][row, :, :, 1].ravel().tolist())
            shown = {name: tags_of(red)[name] for name in VOCABULARY}
            assert text == to_text(shown)
            assert red_of.setdefault(int(batch["text_id"][row]), red) == red
            windows = np.lib.stride_tricks.sliding_window_view(
                pixels_of(red, region)[:, :, 2], (SIZE, SIZE)
            )
            begins_here = (windows[:, :, 0] == batch["image"][row, 0, :, 2]).all(axis=2)
            assert begins_here.any()
            regions.add((red, region))
    assert sorted(red_of.values()) == list(range(PHOTOS))
    assert regions == {(photo, r) for photo in range(PHOTOS) for r in range(photo % 3 + 1)}


def test_tags_are_dropped_and_shuffled_and_say_what_was_done(records):
    dataset = make(records, keep_tag_prob=0.5, rescale_prob=0.5, recompress_prob=0.5)
    texts = [text for step in range(40) for text in texts_of(dataset, dataset.batch(step, PHOTOS))]
    tags = [tuple(part.split(": ")[0] for part in text.split(", ")) for text in texts]
    camera = [tuple(name for name in names if name in VOCABULARY) for names in tags]
    assert {len(names) for names in camera} == {0, 1, 2, 3}
    assert np.mean([len(names) / 3 for names in camera]) == pytest.approx(0.5, abs=0.08)
    assert len({names for names in camera if len(names) == 3}) == 6
    done = {"Rescale Factor", "Filtering", "Recompression Quality", "Grid Shift", "Saved Quality"}
    done |= {"Saved Factor", "Saved Noise"}
    for names in tags:
        assert set(names) <= {*VOCABULARY, *done, ""}
        there = [name in done for name in names]
        assert there == sorted(there, reverse=True)  # what was done comes first
    assert {name for names in tags for name in names} >= done


def test_patches_of_one_text_share_photo_and_history(records):
    changes = {
        "rescale_prob": 0.5,
        "recompress_prob": 0.5,
        "texts_per_photo": 2,
        "patches_per_text": 3,
    }
    dataset = make(records, **PLAIN | changes)
    regions, histories = set(), set()
    for step in range(30):
        batch = dataset.batch(step, 12)
        texts = texts_of(dataset, batch)
        by_photo = batch["image"].reshape(2, 6, SIZE, SIZE, 3)
        names = [text[text.index("Model") :] for text in texts]
        assert names[0] == names[1] != names[2] == names[3]  # two texts a photo, photos once
        same_id = batch["text_id"][:, None] == batch["text_id"][None]
        same_text = np.array([[a == b for b in texts] for a in texts])
        np.testing.assert_array_equal(same_id, same_text)
        assert len({tuple(image.ravel()) for image in by_photo[0]}) > 1
        histories.add(texts[0] == texts[1])
        regions.add(len({int(np.median(image[:, :, 1])) for image in by_photo[0][:3]}))
    assert histories == {True, False} and max(regions) > 1


def test_the_id_is_of_the_whole_text_and_not_of_what_was_kept(records):
    whole = make(records, **PLAIN).batch(0, 4)
    half = make(records, **PLAIN | {"keep_tag_prob": 0.5}).batch(0, 4)
    np.testing.assert_array_equal(whole["text_id"], half["text_id"])
    assert not np.array_equal(whole["tokens"], half["tokens"])


def test_all_patches_of_a_batch_are_saved_alike_or_none(records):
    dataset = make(records, **PLAIN | {"save_prob": 0.5, "keep_tag_prob": 0.0})
    seen = {tuple(set(texts_of(dataset, dataset.batch(step, PHOTOS)))) for step in range(30)}
    assert all(len(texts) == 1 for texts in seen)
    assert ("",) in seen and len(seen) > 5


def test_a_region_too_small_to_be_shrunk_is_not_and_does_not_say_so(records):
    """Regions of 56 px give patches of 32 px shrunk by 0.6 and not by 0.5."""
    dataset = make(records, **PLAIN | {"shrink_prob": 1.0, "keep_tag_prob": 0.0})
    seen = {text for step in range(40) for text in texts_of(dataset, dataset.batch(step, 4))}
    assert seen == {"", *(f"Saved Factor: 0.{k}" for k in range(6, 10))}


def test_a_text_that_lost_all_its_tags_is_an_empty_row(records):
    batch = make(records, **PLAIN | {"keep_tag_prob": 0.0}).batch(0, 4)
    assert not batch["token_mask"].any() and not batch["tokens"].any()


# --- evaluation batches -------------------------------------------------------------------------


def test_evaluation_takes_the_centre_and_the_whole_text(records):
    dataset = make(records)
    assert dataset.num_photos == PHOTOS
    photos = [3, 0, 7, 7]
    batch = dataset.eval_batch(photos)
    assert_same(batch, make(records, seed=9).eval_batch(photos))
    assert batch["text_id"].dtype == np.uint32 and batch["text_id"][2] == batch["text_id"][3]
    assert len(set(batch["text_id"].tolist())) == 3
    for image, text in zip(batch["image"], texts_of(dataset, batch), strict=True):
        photo = int(image[0, 0, 0])
        np.testing.assert_array_equal(image, pixels_of(photo, 0)[8:40, 8:40])
        assert text == to_text({name: tags_of(photo)[name] for name in VOCABULARY})
    np.testing.assert_array_equal(batch["image"][2], batch["image"][3])


# --- what is refused ----------------------------------------------------------------------------


def test_a_region_smaller_than_the_patch_is_explained(tmp_path):
    dataset = make(write_folder(tmp_path / "small", photos=4, side=SIZE - 1))
    words = r"31 x 31 px, smaller than the model's patch of 32 px; .*--region-size"
    with pytest.raises(DataError, match=words):
        dataset.batch(0, 2)
    with pytest.raises(DataError, match=words):
        dataset.eval_batch([0])


def test_a_region_of_exactly_the_patch_is_used(tmp_path):
    dataset = make(write_folder(tmp_path / "exact", photos=4, side=SIZE))
    for step in range(10):
        assert dataset.batch(step, 4)["image"].shape == (4, SIZE, SIZE, 3)


def test_contrast_pairs_rough_patches_with_smooth_ones(tmp_path):
    def half_smooth(photo, region, side):
        pixels = np.random.default_rng([photo, region]).integers(0, 256, (side, side, 3), np.uint8)
        pixels[:, : side // 2] = 100
        return pixels

    folder = write_folder(tmp_path / "records", side=128, pixels=half_smooth)

    def unlike(contrast: float) -> float:
        dataset = make(folder, **PLAIN | {"contrast_prob": contrast}, patches_per_text=2)
        images = np.concatenate([dataset.batch(step, 4)["image"] for step in range(40)])
        deviations = images.reshape(-1, 2, SIZE * SIZE * 3).std(axis=2)
        return float(np.abs(deviations[:, 0] - deviations[:, 1]).mean())

    assert unlike(1.0) > 1.5 * unlike(0.0)


# --- augmentation on the device -------------------------------------------------------------------

ON_DEVICE = {"texts_per_photo": 2, "patches_per_text": 2, "augment_on": "device"}
TEXTS = ("tokens", "token_mask", "text_id", "photo_id")

augment_on_device = jax.jit(device_augment.augment, static_argnames="size")


def images_of(batch) -> np.ndarray:
    """The patches that a training step makes of a batch."""
    packed = {name: x for name, x in batch.items() if name not in (*TEXTS, "region")}
    return np.asarray(augment_on_device(batch["region"], packed, jax.random.key(0), size=SIZE))


def test_the_device_gets_regions_for_the_hosts_patches_and_texts(records):
    host = make(records, noise_prob=0.0, **ON_DEVICE | {"augment_on": "host"})
    device = make(records, noise_prob=0.0, **ON_DEVICE)
    for step in range(4):
        on_host, on_device = host.batch(step, 16), device.batch(step, 16)
        assert_same({k: on_host[k] for k in TEXTS}, {k: on_device[k] for k in TEXTS})
        np.testing.assert_array_equal(images_of(on_device), on_host["image"])


def test_a_batch_for_the_device_is_a_function_of_the_step_for_any_processes(records):
    whole = [make(records, **ON_DEVICE).batch(step, 16) for step in range(3)]
    again = make(records, cache_regions=1, **ON_DEVICE)
    for step in (2, 0, 1):
        assert_same(again.batch(step, 16), whole[step])
        parts = [again.batch(step, 16, process, 4) for process in range(4)]
        assert_same(concatenate(parts), whole[step])
    np.testing.assert_array_equal(whole[0]["row"], np.arange(16))
    assert whole[0].keys() == {*TEXTS, *PACKED} - {"record", "corner"}


CACHED = ON_DEVICE | {"device_cache": 10**6}


def test_regions_that_lie_on_the_device_give_the_same_patches_and_texts(records):
    sent, cached = make(records, **ON_DEVICE), make(records, **CACHED)
    regions = cached.load_regions()
    assert regions.shape[1:] == (56, 56, 3)
    for step in range(3):
        a, b = sent.batch(step, 16), cached.batch(step, 16)
        assert b.keys() == a.keys() - {"region"} | {"record", "corner"}
        where = b.pop("record"), b.pop("corner")
        b["region"] = np.asarray(device_augment.cut_squares(regions, *where, cached.square(SIZE)))
        np.testing.assert_array_equal(images_of(b), images_of(a))
        assert_same({k: a[k] for k in TEXTS}, {k: b[k] for k in TEXTS})


def test_after_loading_no_record_is_read(records, monkeypatch):
    cached = make(records, **CACHED)
    before = cached.batch(5, 16)
    cached.load_regions()
    monkeypatch.setattr(PhotoReader, "_read_region", None)
    assert_same(cached.batch(5, 16), before)


def test_regions_that_take_more_room_than_they_may_are_refused_before_any_is_read(records):
    size = make(records, **CACHED).load_regions().nbytes
    make(records, **ON_DEVICE, device_cache=size).check_device_cache()
    with pytest.raises(
        DataError, match=rf"take {size} bytes, more than the {size - 1} of --config"
    ):
        make(records, **ON_DEVICE, device_cache=size - 1).check_device_cache()
    with pytest.raises(ValueError, match="and augment_on is 'host'; set augment_on to 'device'"):
        DataConfig("", device_cache=1)
    with pytest.raises(ValueError, match="device_cache is -1; it must be 0 or more"):
        DataConfig("", device_cache=-1)


def test_a_blank_sample_has_the_shapes_of_a_sample(records):
    for augment_on in ("host", "device"):
        dataset = make(records, **ON_DEVICE | {"augment_on": augment_on})
        sample, blank = dataset.sample(0, 0, 16), dataset.blank_sample(0)
        assert {k: (x.shape, x.dtype) for k, x in sample.items()} == {
            k: (x.shape, x.dtype) for k, x in blank.items()
        }
        assert not any(x.any() for x in blank.values())


def test_regions_larger_than_those_looked_at_are_used_up_to_their_side(records, monkeypatch):
    monkeypatch.setattr(PhotoReader, "region_side", lambda self: 48)
    dataset = make(records, **ON_DEVICE | PLAIN | {"texts_per_photo": 1})
    for step in range(5):
        images = images_of(dataset.batch(step, 8))
        for photo, region in {(int(i[0, 0, 0]), int(i[0, 0, 1])) for i in images}:
            pixels = pixels_of(photo, region)[:48, :48]
            windows = np.lib.stride_tricks.sliding_window_view(pixels, (SIZE, SIZE, 3))
            assert any((windows == image).all(axis=(3, 4, 5)).any() for image in images)


def test_what_the_device_cannot_augment_is_refused_before_a_record_is_trained_on(records):
    with pytest.raises(AugmentError, match=r"patches of 36 px .* must be a multiple of 8"):
        PatchDataset(
            DataConfig(str(records), augment_on="device"),
            *("train", load_tokenizer(str(records)), 36, LENGTH),
        )
    with pytest.raises(AugmentError, match="regions of 56 px are smaller than the patch of 64 px"):
        PatchDataset(
            DataConfig(str(records), augment_on="device"),
            *("train", load_tokenizer(str(records)), 64, LENGTH),
        )
    with pytest.raises(ValueError, match="augment_on is 'tpu'; it must be host or device"):
        DataConfig("", augment_on="tpu")


def test_each_batch_draws_its_patch_size(records):
    for augment_on in ("host", "device"):
        options = ON_DEVICE | {"augment_on": augment_on, "patch_sizes": (16, 24, 32)}
        dataset = make(records, **options)
        sizes = [dataset.patch_size(step) for step in range(40)]
        assert set(sizes) == {16, 24, 32}
        assert sizes == [make(records, **options).patch_size(step) for step in range(40)]
        for step in range(4):
            batch, blank = dataset.batch(step, 16), dataset.blank_sample(step)
            halves = [dataset.batch(step, 16, process, 2) for process in (0, 1)]
            for name, x in concatenate(halves).items():
                np.testing.assert_array_equal(x, batch[name])
            assert {k: x.shape[1:] for k, x in batch.items()} == {
                k: x.shape[1:] for k, x in blank.items()
            }
            if augment_on == "host":
                assert batch["image"].shape[1:3] == (sizes[step], sizes[step])
            else:
                assert batch["region"].shape[1:3] == (dataset.square(sizes[step]),) * 2
    assert make(records).patch_size(0) == SIZE


def test_regions_must_hold_the_largest_patch(records):
    with pytest.raises(DataError, match="64"):
        make(records, patch_sizes=(16, 64)).batch(0, 8)
    with pytest.raises(ValueError, match=r"patch_sizes is .*; each must be positive"):
        DataConfig("", patch_sizes=(0, 16))
