"""Batches made ahead: by tf.data and by threads, the same ones; from any step, by any process."""

import threading
import time

import numpy as np
import pytest
from test_dataset import assert_same, make, write_folder
from test_dataset_damaged import damage

from exif_jax.data import input_pipeline
from exif_jax.data.input_pipeline import batches, choose_reader, prefetch
from exif_jax.data.records_folder import DataError

MANY = {"texts_per_photo": 2, "patches_per_text": 2}
READERS = ["threads", "tf.data"]


@pytest.fixture(params=READERS)
def reader(request) -> str:
    if request.param == "tf.data":
        pytest.importorskip("tensorflow")
    return request.param


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("data") / "records")


@pytest.mark.filterwarnings("ignore")  # TensorFlow's own
@pytest.mark.parametrize("augment_on", ["host", "device"])
def test_every_reader_gives_the_batches_of_the_steps(records, reader, augment_on):
    changes = MANY | {"augment_on": augment_on}
    dataset = make(records, **changes)
    found = list(batches(dataset, 8, range(3, 11), reader))
    assert len(found) == 8
    for step, batch in zip(range(3, 11), found, strict=True):
        assert_same(batch, make(records, **changes).batch(step, 8))
    assert list(batches(dataset, 8, range(5, 5), reader)) == []


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("processes", [2, 4])
def test_every_process_gets_its_rows(records, reader, processes):
    dataset = make(records, **MANY)
    parts = [
        list(batches(dataset, 16, range(2, 5), reader, k, processes)) for k in range(processes)
    ]
    for i, step in enumerate(range(2, 5)):
        together = input_pipeline.concatenate([part[i] for part in parts])
        assert_same(together, dataset.batch(step, 16))


@pytest.mark.filterwarnings("ignore")
def test_what_goes_wrong_is_raised_as_it_is(tmp_path, reader):
    folder = write_folder(tmp_path / "records")
    damage(folder, {1, 2, 3, 4})
    with pytest.raises(DataError, match="records are damaged, more than the fraction"):
        list(batches(make(folder, max_corrupt_fraction=0.05), 4, range(40), reader))
    with pytest.raises(DataError, match="does not divide over 3 processes"):
        list(batches(make(folder), 4, range(2), reader, 0, 3))


@pytest.mark.filterwarnings("ignore")
def test_a_reader_that_is_left_stops_its_threads(records, reader):
    made = batches(make(records), 4, range(1000), reader)
    next(made)
    made.close()
    deadline = time.monotonic() + 30
    while any(t.name.startswith("exif-jax") for t in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_auto_takes_threads_and_tensorflow_must_be_there_where_it_is_named(monkeypatch):
    monkeypatch.setattr(input_pipeline.importlib.util, "find_spec", lambda name: None)
    assert choose_reader("auto") == choose_reader("threads") == "threads"
    with pytest.raises(DataError, match="TensorFlow is not installed: pip install"):
        choose_reader("tf.data")
    monkeypatch.setattr(input_pipeline.importlib.util, "find_spec", lambda name: object())
    assert choose_reader("auto") == "threads" and choose_reader("tf.data") == "tf.data"
    with pytest.raises(DataError, match=r"must be one of .*threads"):
        choose_reader("grain")


# --- prefetching --------------------------------------------------------------------------------


def workers() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name == "exif-jax-prefetch"]


def test_prefetch_gives_every_item_in_order():
    assert list(prefetch(range(3, 20))) == list(range(3, 20))
    assert list(prefetch([])) == []
    assert next(prefetch([None, np.zeros(2)])) is None
    assert workers() == []


def test_prefetch_works_ahead_but_not_further():
    done, reached, closed = [], threading.Event(), []

    def items():
        try:
            for k in range(100):
                done.append(k)
                if k == 3:
                    reached.set()
                yield k
        finally:
            closed.append(threading.current_thread().name)

    ahead = prefetch(items(), depth=2)
    next(ahead)
    assert reached.wait(30)  # one taken, two in the queue, one in the hand
    ahead.close()
    assert max(done) <= 4
    assert closed == ["exif-jax-prefetch"]
    assert workers() == []


def test_prefetch_raises_what_the_worker_raises():
    def items():
        yield from range(2)
        raise DataError("the disk is gone")

    seen = []
    with pytest.raises(DataError, match="the disk is gone"):
        for item in prefetch(items()):
            seen.append(item)
    assert seen == [0, 1]
    assert workers() == []
