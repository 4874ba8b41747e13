"""The rules that need all photos, one by one and in any order of the input."""

import random

import pytest

from data_prep.processing.settings import PrepSettings
from data_prep.records.selection import RULES, Candidate, apply_rule, mark_first, select

ALL = (True, True, True)


def photo(name: str, **changes) -> Candidate:
    """A photo of its own, unlike any other."""
    seed = random.Random(name)
    base = Candidate(
        file=name,
        chunk=0,
        sha256=f"sha {name}",
        photo_id=f"id {name}",
        camera=("Canopus", "C1"),
        owner="",
        fingerprint=f"{seed.getrandbits(64):x}",
        is_crop=False,
        traces=(),
    )
    return base._replace(**changes)


def reasons(photos: list[Candidate], **settings) -> dict[str, str]:
    """File -> reason of the rejected ones; the same whatever the order."""
    every = []
    for k in range(4):
        random.Random(k).shuffle(photos)
        decisions = select(photos, PrepSettings(**settings))
        assert decisions.keys() == {photo.file for photo in photos}
        every.append(decisions)
    assert all(decisions == every[0] for decisions in every)
    return {file: d.reason for file, d in every[0].items() if d.reason}


def test_photos_that_differ_stay():
    assert reasons([photo(f"{k}") for k in range(50)]) == {}


def test_the_first_of_equal_files_stays():
    copies = [photo(name, sha256="same", photo_id="same") for name in "cab"]
    assert reasons([*copies, photo("d")]) == {"b": "duplicate", "c": "duplicate"}


def test_crops_of_a_photo_that_name_two_cameras():
    crops = [photo(name, is_crop=True, photo_id="one") for name in "ab"]
    other = photo("c", is_crop=True, photo_id="one", camera=("Nadir", "N1"))
    assert reasons([*crops, other]) == {"c": "two cameras"}


def test_near_duplicates_are_of_one_camera_and_no_crops():
    prints = {"a": "ff00", "b": "ff03", "c": "ff7f"}
    near = [photo(name, fingerprint=bits) for name, bits in prints.items()]
    # c is 7 bits from a and 5 from b: of a row of shots, each like the one before, the first stays
    assert reasons([*near], max_hamming_distance=4) == {"b": "near duplicate"}
    assert reasons([*near], max_hamming_distance=5) == {
        "b": "near duplicate",
        "c": "near duplicate",
    }
    assert (
        reasons([*near], max_hamming_distance=1) == reasons([*near], max_hamming_distance=-1) == {}
    )
    assert reasons([near[0], near[1]._replace(camera=("Nadir", "N1"))]) == {}
    assert reasons([near[0], near[1]._replace(is_crop=True)]) == {}


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_what_a_camera_writes_and_a_photo_lost(lost):
    traces = tuple(k != lost for k in range(3))
    own = [photo(f"{k}", traces=ALL) for k in range(9)]
    edited = photo("edited", traces=traces)
    assert reasons([*own, edited]) == {"edited": "lost traces"}
    assert reasons([*own, edited], keep_edited=True) == {}
    assert reasons([*own[:6], edited]) == {}  # too few to say
    assert reasons([*own, edited._replace(traces=())]) == {}  # its file says nothing
    half = [photo(f"{k}", traces=traces if k % 2 else ALL) for k in range(20)]
    assert reasons(half) == {}  # a camera that writes it now and then


def test_lost_traces_say_how_many_have_them():
    group = [photo(f"{k}", traces=ALL) for k in range(9)] + [photo("x", traces=(False, True, True))]
    rule = next(rule for rule in RULES if rule.reason == "lost traces")
    kept, rejected = apply_rule(rule, group, PrepSettings())
    assert rejected == {"x": "lost the maker note that 9 of 10 photos of its camera have"}
    assert len(kept) == 9


def test_caps_count_photos_and_take_their_crops_with_them():
    crops = [photo(f"{k}{side}", photo_id=f"{k}", is_crop=True) for k in range(10) for side in "lr"]
    out = reasons(crops, max_per_camera=4)
    kept = {crop.photo_id for crop in crops if crop.file not in out}
    assert len(kept) == 4 and len(out) == 12 and set(out.values()) == {"camera cap"}
    other = reasons(crops, max_per_camera=4, seed=1)
    assert other.keys() != out.keys()
    assert reasons(crops, max_per_camera=10) == {}


def test_the_photographers_cap_spans_cameras_and_spares_the_unknown():
    photos = [
        photo(f"{k}", owner="her" if k < 6 else "", camera=("M", f"{k % 2}")) for k in range(12)
    ]
    out = reasons(photos, max_per_photographer=2)
    assert len(out) == 4 and set(out.values()) == {"photographer cap"}
    assert all(int(name) < 6 for name in out)


def test_only_the_first_file_of_a_photo_counts_as_one():
    decisions = mark_first([photo(name, is_crop=True, photo_id="one") for name in "bca"])
    assert {file: d.is_first for file, d in decisions.items()} == {
        "a": True,
        "b": False,
        "c": False,
    }
