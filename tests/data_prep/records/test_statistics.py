"""What is counted of a folder, and what people and later runs read of it."""

import json
from collections import Counter

from data_prep.processing.settings import PrepSettings
from data_prep.records.counts import shard_bounds
from data_prep.records.statistics import MAX_LISTED_VALUES, make_statistics, tag_vocabulary


def test_statistics_are_in_the_same_order_whatever_is_counted_first():
    values = {("value", "ISO", f"{100 + k}"): 1 + (k == 9) for k in range(15)}
    counts = Counter({("value", "Make", "Canopus"): 16, ("records", "train"): 5, **values})
    counts |= {("reject", "b"): 1, ("reject", "a"): 2, ("licence", ""): 9, ("licence", "CC0"): 1}
    counts |= {("camera", "train", "N", "1"): 3, ("camera", "train", "C", "1"): 1}
    statistics = make_statistics(counts, {"seed": 7}, PrepSettings(shards=2))
    back = Counter(dict(reversed(counts.items())))
    assert json.dumps(statistics) == json.dumps(
        make_statistics(back, {"seed": 7}, PrepSettings(shards=2))
    )
    train, validation = statistics["splits"].values()
    assert [camera["make"] for camera in train["cameras"]] == ["C", "N"]
    assert (train["records"], train["shards"], validation["shards"]) == (5, 2, 0)
    assert list(statistics["rejects"].items()) == [("a", 2), ("b", 1)] and statistics["seed"] == 7
    assert statistics["licences"] == {"CC0": 1} and list(statistics["tags"]) == ["Make", "ISO"]
    iso = statistics["tags"]["ISO"]
    assert (iso["photos"], iso["values"], len(iso["most_frequent"])) == (16, 15, MAX_LISTED_VALUES)
    assert list(iso["most_frequent"])[:3] == ["109", "100", "101"]


def test_vocabulary_is_half_of_the_photos_in_canonical_order():
    counts = {"B": 5, "A": 4, "C": 10}
    assert tag_vocabulary(counts, 10, ["A", "B", "C", "D"]) == ["B", "C"]
    assert tag_vocabulary({}, 0, ["A"]) == []


def test_shards_are_even_and_never_empty():
    assert shard_bounds(10, 10, PrepSettings(shards=3)) == [0, 3, 6, 10]
    assert shard_bounds(2, 2, PrepSettings(shards=9)) == [0, 1, 2]
    assert shard_bounds(4, 240, PrepSettings(), target_bytes=100) == [0, 1, 2, 4]
    assert shard_bounds(0, 0, PrepSettings(shards=3)) == [0]
