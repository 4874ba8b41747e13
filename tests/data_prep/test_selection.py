"""The rules that need all photos, one by one and in any order of the input."""

import random

import pytest

from data_prep.selection import RULES, Candidate, apply_rule, mark_first, select
from data_prep.stages import Settings

ALL = (True, True, True)


def photo(name: str, **changes) -> Candidate:
    """A photo of its own, unlike any other."""
    seed = random.Random(name)
    base = Candidate(
        *(name, 0, f"sha {name}", f"id {name}", ("Canopus", "C1"), "", f"{seed.getrandbits(64):x}"),
        *(False, ()),
    )
    return base._replace(**changes)


def reasons(photos: list[Candidate], **settings) -> dict[str, str]:
    """File -> reason of those left out; the same whatever the order."""
    found = []
    for k in range(4):
        random.Random(k).shuffle(photos)
        verdicts = select(photos, Settings(**settings))
        assert verdicts.keys() == {photo.file for photo in photos}
        found.append(verdicts)
    assert all(verdicts == found[0] for verdicts in found)
    return {file: v.reason for file, v in found[0].items() if v.reason}


def test_photos_that_differ_stay():
    assert reasons([photo(f"{k}") for k in range(50)]) == {}


def test_the_first_of_equal_files_stays():
    copies = [photo(name, sha256="same", photo_id="same") for name in "cab"]
    assert reasons([*copies, photo("d")]) == {"b": "duplicate", "c": "duplicate"}


def test_crops_of_a_photo_that_name_two_cameras():
    crops = [photo(name, crop=True, photo_id="one") for name in "ab"]
    other = photo("c", crop=True, photo_id="one", camera=("Nadir", "N1"))
    assert reasons([*crops, other]) == {"c": "two cameras"}


def test_near_duplicates_are_of_one_camera_and_no_crops():
    near = [photo("a", alike="ff00"), photo("b", alike="ff03"), photo("c", alike="ff7f")]
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
    assert reasons([near[0], near[1]._replace(crop=True)]) == {}


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_what_a_camera_writes_and_a_photo_lost(lost):
    facts = tuple(k != lost for k in range(3))
    own = [photo(f"{k}", facts=ALL) for k in range(9)]
    edited = photo("edited", facts=facts)
    assert reasons([*own, edited]) == {"edited": "lost traces"}
    assert reasons([*own, edited], keep_edited=True) == {}
    assert reasons([*own[:6], edited]) == {}  # too few to say
    assert reasons([*own, edited._replace(facts=())]) == {}  # its file says nothing
    half = [photo(f"{k}", facts=facts if k % 2 else ALL) for k in range(20)]
    assert reasons(half) == {}  # a camera that writes it now and then


def test_lost_traces_say_how_many_have_them():
    group = [photo(f"{k}", facts=ALL) for k in range(9)] + [photo("x", facts=(False, True, True))]
    rule = next(rule for rule in RULES if rule.reason == "lost traces")
    kept, out = apply_rule(rule, group, Settings())
    assert out == {"x": "lost the maker note that 9 of 10 photos of its camera have"}
    assert len(kept) == 9


def test_caps_count_photos_and_take_their_crops_with_them():
    crops = [photo(f"{k}{side}", photo_id=f"{k}", crop=True) for k in range(10) for side in "lr"]
    out = reasons(crops, camera_photos=4)
    kept = {crop.photo_id for crop in crops if crop.file not in out}
    assert len(kept) == 4 and len(out) == 12 and set(out.values()) == {"camera cap"}
    other = reasons(crops, camera_photos=4, seed=1)
    assert other.keys() != out.keys()
    assert reasons(crops, camera_photos=10) == {}


def test_the_photographers_cap_spans_cameras_and_spares_the_unknown():
    photos = [
        photo(f"{k}", owner="her" if k < 6 else "", camera=("M", f"{k % 2}")) for k in range(12)
    ]
    out = reasons(photos, owner_photos=2)
    assert len(out) == 4 and set(out.values()) == {"photographer cap"}
    assert all(int(name) < 6 for name in out)


def test_only_the_first_file_of_a_photo_counts_as_one():
    verdicts = mark_first([photo(name, crop=True, photo_id="one") for name in "bca"])
    assert {file: v.first for file, v in verdicts.items()} == {"a": True, "b": False, "c": False}
