"""Records and their shards: what comes back, to the bit, and what is refused as damaged."""

import hashlib
import importlib.util
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exif_jax.data.records import (
    INDEX_SUFFIX,
    Record,
    RecordError,
    RecordReader,
    decode_image,
    decode_record,
    encode_image,
    encode_record,
    read_index,
    shard_name,
    write_shard,
)
from exif_jax.io import tfrecord


def make_pixels(seed: int = 0, height: int = 24, width: int = 40) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def make_record(seed: int = 0, photo: int | None = None) -> Record:
    return Record(
        image=encode_image(make_pixels(seed)),
        exif={"Make": "Canopus", "Model": f"C{seed}", "Focal Length": "50.0 mm"},
        photo_id=hashlib.sha256(b"%d" % (seed if photo is None else photo)).hexdigest(),
        region=(16 * seed, 32, 24, 40),
        source=f"album/ü {seed}.jpg",
    )


@pytest.fixture
def folder(tmp_path):
    """Five records in two shards; records 1 and 2 are of one photo."""
    records = [encode_record(make_record(seed)) for seed in range(4)]
    records.insert(2, encode_record(make_record(7, photo=1)))
    assert write_shard(tmp_path / shard_name("train", 0, 2), records[:3]) == 3
    assert write_shard(tmp_path / shard_name("train", 1, 2), iter(records[3:])) == 2
    return tmp_path, records


# --- one record -------------------------------------------------------------------------------

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
sides = st.integers(1, 2**40)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    image=st.binary(max_size=64),
    exif=st.dictionaries(texts, texts, max_size=8),
    photo_id=st.binary(min_size=32, max_size=32).map(bytes.hex),
    region=st.tuples(st.integers(0, 2**40), st.integers(0, 2**40), sides, sides),
    source=texts,
)
def test_record_round_trip_is_exact_and_canonical(image, exif, photo_id, region, source):
    record = Record(image, exif, photo_id, region, source)
    serialized = encode_record(record)
    decoded = decode_record(serialized)
    assert decoded == record
    assert list(decoded.exif) == list(exif)  # the order of tags is part of the contract
    assert encode_record(decoded) == serialized


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.binary(max_size=200))
def test_hostile_bytes_give_record_error(data):
    with pytest.raises(RecordError):
        decode_record(data)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(position=st.integers(0, 10**6), value=st.integers(1, 255))
def test_one_changed_byte_never_escapes_as_another_error(position, value):
    data = bytearray(encode_record(make_record()))
    data[position % len(data)] ^= value
    try:
        record = decode_record(bytes(data))
        decode_image(record)
    except RecordError as error:
        assert str(error)


def example_without(name: str) -> bytes:
    from exif_jax.io.example import example_class

    example = example_class().FromString(encode_record(make_record()))
    del example.features.feature[name]
    return example.SerializeToString()


@pytest.mark.parametrize("name", ["image", "exif", "photo_id", "region", "source", "version"])
def test_a_missing_field_is_named(name):
    with pytest.raises(RecordError, match=name):
        decode_record(example_without(name))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"photo_id": "0" * 63}, "photo_id"),
        ({"photo_id": "G" * 64}, "photo_id"),
        ({"region": (-1, 0, 8, 8)}, "region"),
        ({"region": (0, 0, 0, 8)}, "region"),
        ({"exif": ["Make"]}, "exif"),
        ({"exif": {"Make": 1}}, "exif"),
    ],
)
def test_impossible_values_are_refused(change, words):
    with pytest.raises(RecordError, match=words):
        decode_record(encode_record(make_record()._replace(**change)))


def test_another_version_says_how_to_go_on(monkeypatch):
    monkeypatch.setattr("exif_jax.data.records.RECORD_VERSION", 99)
    serialized = encode_record(make_record())
    monkeypatch.undo()
    with pytest.raises(RecordError, match=r"version 99.*write the records again"):
        decode_record(serialized)


# --- pixels -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["noise", "black", "gradient"])
def test_images_come_back_bit_for_bit(kind):
    pixels = {
        "noise": make_pixels(3, 65, 127),
        "black": np.zeros((33, 17, 3), np.uint8),
        "gradient": np.arange(64 * 80 * 3, dtype=np.uint32).astype(np.uint8).reshape(64, 80, 3),
    }[kind]
    region = (0, 0, *pixels.shape[:2])
    decoded = decode_image(make_record()._replace(image=encode_image(pixels), region=region))
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded, pixels)


def test_an_image_of_another_size_is_refused_before_decoding():
    with pytest.raises(RecordError, match="24 x 40 but its region says 24 x 41"):
        decode_image(make_record()._replace(region=(0, 0, 24, 41)))


@pytest.mark.parametrize("image", [b"", b"RIFF", b"\x89PNG\r\n\x1a\n", make_record().image[:-99]])
def test_a_damaged_image_is_refused(image):
    with pytest.raises(RecordError, match="decode"):
        decode_image(make_record()._replace(image=image))


@pytest.mark.parametrize("pixels", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)])
def test_only_rgb_bytes_are_encoded(pixels):
    with pytest.raises(ValueError, match="uint8"):
        encode_image(pixels)


# --- shards -----------------------------------------------------------------------------------


def test_reader_gives_every_record_in_order(folder):
    directory, records = folder
    reader = RecordReader(directory, "train")
    assert len(reader) == 5
    assert [reader[i] for i in range(5)] == records
    assert reader.photo_ids[1] == reader.photo_ids[2]
    assert len(set(reader.photo_ids.tolist())) == 4
    assert reader.photos() == [[0], [1, 2], [3], [4]]
    for i in (-1, 5):
        with pytest.raises(IndexError):
            reader[i]
    assert pickle.loads(pickle.dumps(reader))[4] == records[4]


def test_the_same_records_give_the_same_files(folder, tmp_path):
    directory, records = folder
    first = directory / shard_name("train", 0, 2)
    again = tmp_path / "again.tfrecord"
    write_shard(again, records[:3])
    for suffix in ("", INDEX_SUFFIX):
        ours, theirs = (Path(f"{path}{suffix}").read_bytes() for path in (first, again))
        assert ours == theirs


def test_checksum_is_the_published_one():
    # "123456789" -> CRC-32C 0xE3069283 (RFC 3720 B.4), then TFRecord's rotation and constant.
    crc = 0xE3069283
    masked = (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF
    assert tfrecord._masked_crc(b"123456789") == masked.to_bytes(4, "little")


@pytest.mark.parametrize("place", [-14, -5, 0, 100, -1])
def test_a_flipped_bit_names_shard_and_offset(folder, place):
    directory, _ = folder
    shard = directory / shard_name("train", 1, 2)
    offset, length, _ = read_index(shard)[1].tolist()
    at = {-14: offset - 12, -5: offset - 4, -1: offset + length}.get(place, offset + place)
    data = bytearray(shard.read_bytes())
    data[at] ^= 1
    shard.write_bytes(data)
    reader = RecordReader(directory, "train")
    assert reader[3]  # its neighbour is unharmed
    with pytest.raises(RecordError, match=rf"train-00001-of-00002.*offset {offset}"):
        reader[4]


def test_truncated_missing_and_foreign_files_are_named(folder):
    directory, records = folder
    first, second = (directory / shard_name("train", k, 2) for k in (0, 1))
    whole, index = second.read_bytes(), read_index(second)
    for damaged in (whole[:-1], whole[:3], b"", whole + b"x"):
        second.write_bytes(damaged)
        with pytest.raises(RecordError, match="train-00001-of-00002"):
            RecordReader(directory, "train")
    second.write_bytes(whole)
    index_path = Path(f"{second}{INDEX_SUFFIX}")
    hostile = [
        index[:1],
        index[:, :2],
        index.astype(np.float64),
        index - np.array([2**40, 0, 0]),
        index + np.array([0, 2**62, 0]),
        np.array([{"a": 1}], object),
    ]
    for array in hostile:
        np.save(index_path, array, allow_pickle=True)
        with pytest.raises(RecordError, match="train-00001-of-00002"):
            RecordReader(directory, "train")
    for content in (b"", b"\x93NUMPY", b"PK\x03\x04" + bytes(50)):
        index_path.write_bytes(content)
        with pytest.raises(RecordError, match="train-00001-of-00002"):
            RecordReader(directory, "train")
    second.unlink()
    with pytest.raises(RecordError, match="found 1 of 2"):
        RecordReader(directory, "train")
    write_shard(directory / shard_name("train", 0, 1), records)
    with pytest.raises(RecordError, match="several runs"):
        RecordReader(directory, "train")
    assert first.exists()


def test_absent_split_and_folder_say_what_to_do(folder, tmp_path):
    with pytest.raises(RecordError, match=r"no validation records.*data_prep\.photos"):
        RecordReader(folder[0], "validation")
    with pytest.raises(RecordError, match="nowhere"):
        RecordReader(tmp_path / "nowhere", "train")


def test_a_failing_source_leaves_the_old_shard(folder):
    directory, records = folder
    shard = directory / shard_name("train", 0, 2)
    before = sorted((path.name, path.read_bytes()) for path in directory.iterdir())

    def broken():
        yield records[0]
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        write_shard(shard, broken())
    with pytest.raises(RecordError):
        write_shard(shard, [records[0], b"no record"])
    assert sorted((path.name, path.read_bytes()) for path in directory.iterdir()) == before


# In a process of its own: importing TensorFlow warns in ways that are not ours.
_TENSORFLOW = """
import sys
import numpy as np
import tensorflow as tf

schema = {
    "image": tf.io.FixedLenFeature([], tf.string),
    "exif": tf.io.FixedLenFeature([], tf.string),
    "photo_id": tf.io.FixedLenFeature([], tf.string),
    "region": tf.io.FixedLenFeature([4], tf.int64),
    "source": tf.io.FixedLenFeature([], tf.string),
    "version": tf.io.FixedLenFeature([1], tf.int64),
}
files = sorted(tf.io.gfile.glob(sys.argv[1] + "/train-*.tfrecord"))
decode = tf.io.decode_image
rows = [tf.io.parse_single_example(s, schema) for s in tf.data.TFRecordDataset(files)]
np.savez(
    sys.argv[2],
    images=np.stack([decode(row["image"], expand_animations=False).numpy() for row in rows]),
    regions=np.stack([row["region"].numpy() for row in rows]),
    sources=np.array([row["source"].numpy().decode() for row in rows]),
    exif=np.array([row["exif"].numpy().decode() for row in rows]),
)
# With TensorFlow's own Example class loaded, ours must still work: names live in a private pool.
from exif_jax.data.records import RecordReader, decode_record
example = tf.train.Example.FromString(RecordReader(sys.argv[1], "train")[0])
assert decode_record(example.SerializeToString()).source == rows[0]["source"].numpy().decode()
"""


@pytest.mark.slow
def test_tensorflow_reads_the_same_records(folder, tmp_path):
    if importlib.util.find_spec("tensorflow") is None:
        pytest.skip("TensorFlow is not installed")
    directory, records = folder
    out = tmp_path / "read.npz"
    command = [sys.executable, "-c", _TENSORFLOW, str(directory), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    read = np.load(out)
    ours = [decode_record(serialized) for serialized in records]
    np.testing.assert_array_equal(read["images"], [decode_image(record) for record in ours])
    assert read["regions"].tolist() == [list(record.region) for record in ours]
    assert read["sources"].tolist() == [record.source for record in ours]
    assert '"Focal Length": "50.0 mm"' in read["exif"][0]
