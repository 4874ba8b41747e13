"""The gallery: counted by source, without the photo's own, as JSON and back, damaged."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exif_jax.forensics.file_evidence import gallery as g
from exif_jax.forensics.file_evidence.jpeg_tables import unseen

TABLES = ((1,) * 64, (2,) * 64)


def record(member, make="acme", model="one", **values):
    values = {"tables": g.tables_id(TABLES), **values}
    return g.Record(make, model, values, TABLES, member)


def planted():
    rows = [(record(f"m{k}", order="A" if k < 6 else "B"), f"s{k % 3}") for k in range(8)]
    return g.count([*rows, (record("x", "other", "two", program="othercam"), "s9")])


def test_photos_and_sources_are_counted_once():
    gallery = g.count([(record("m"), "s")] * 3)
    tally = gallery.cameras["acme", "one"]["tables"]
    assert tally.total() == tally.num_sources() == 1 and gallery.members == {"m": "s"}


def test_a_stranger_is_judged_by_all():
    known = planted().known(record("stranger"))
    assert known.model["order"]["A"] == 6 and known.model["order"].total() == 8
    assert known.tables == ((TABLES, 8),) and known.others == {"other": 1}
    assert known.num_models == 1 and known.make["tables"].total() == 8
    assert known.other_sources == 1 and known.other_programs == {"othercam"}


def test_a_member_is_judged_without_its_source():
    known = planted().known(record("m0"))  # of s0, as m3 and m6
    assert known.model["order"].total() == 5 and known.model["order"]["A"] == 4
    assert known.model["order"].num_sources() == 2


def test_a_camera_that_nobody_counted_is_unknown():
    known = planted().known(record("stranger", "nobody", "zero"))
    assert known.model == {} and known.make == {} and known.num_models == 0
    assert known.others == {"acme": 8, "other": 1}


def test_new_is_rare_only_where_every_value_came_from_several_sources():
    seen = {"A": {"s0": 2, "s1": 2, "s2": 1}}
    assert unseen(g.Tally(seen), "B") and not unseen(g.Tally(seen), "A")
    assert not unseen(g.Tally({**seen, "C": {"s1": 4}}), "B")  # one source had its own
    assert not unseen(g.Tally({"A": {"s0": 50, "s1": 50}}), "B")  # two sources
    assert not unseen(g.Tally({"A": {"s0": 1, "s1": 1, "s2": 1}}), "B")  # three photos
    assert not unseen(g.NOTHING, "B")


@pytest.mark.parametrize(
    ("make", "key"),
    [("NIKON CORPORATION", "nikon"), ("Nikon", "nikon"), ("", ""), ("\x00<b>", "b"), ("ʘ", "")],
)
def test_makers_have_one_name(make, key):
    assert g.make_key(make) == key


def test_models_lose_their_makers_name():
    assert g.model_key("NIKON CORPORATION", "NIKON D90") == g.model_key("Nikon", "D90") == "d90"
    assert g.model_key("Canon", "Canon") == "canon"


@pytest.mark.parametrize(
    ("software", "key"),
    [
        ("HDR+ 1.0.540104767zd", "hdr+"),
        ("MediaTek Camera Application", "mediatek camera application"),
        ("Ver.1.00 ", ""),
        ("Version 2.1", ""),
        ("13.5.1", ""),
        ("G973FXXU3ASIG", ""),
        ("", ""),
        ("x" * 5000, "x" * 40),
    ],
)
def test_programs_are_named_without_their_version(software, key):
    assert g.program_key(software) == key


def test_json_and_back():
    gallery = planted()._replace(false_alarms={"rule": (1, 200)})
    again = g.from_json(g.to_json(gallery), "it")
    assert g.to_json(again) == g.to_json(gallery)
    assert again.tables == gallery.tables and again.false_alarms == {"rule": (1, 200)}
    assert again.known(record("m0")).tables == gallery.known(record("m0")).tables


@pytest.mark.parametrize(
    "change",
    [
        {"version": 99},
        {"cameras": [{"make": "a"}]},
        {"cameras": [{"make": "a", "model": "b", "counts": {"tables": {"gone": {"s": 1}}}}]},
        {"tables": {"t": [[1, 2, 3]]}},
        {"tables": []},
        {"members": None},
        {"false_alarms": {"rule": [1]}},
    ],
)
def test_a_damaged_gallery_is_refused_in_one_line(change):
    content = json.loads(g.to_json(planted())) | change
    with pytest.raises(g.GalleryError, match=r"it: no gallery .*camera_files") as error:
        g.from_json(json.dumps(content).encode(), "it")
    assert "\n" not in str(error.value)


@given(st.binary(max_size=80))
@settings(max_examples=50, deadline=None, derandomize=True)
def test_no_bytes_are_a_gallery(junk):
    with pytest.raises(g.GalleryError):
        g.from_json(junk, "it")


def test_what_ships_is_whole_and_holds_no_more_than_numbers():
    gallery = g.shipped()
    assert len(gallery.cameras) > 200 and len(gallery.members) > 1000
    assert all(len(member) == 16 for member in gallery.members)
    assert all(k <= 0.01 * n for k, n in gallery.false_alarms.values())
