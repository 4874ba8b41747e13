"""All rules together: strengths, order, rules that are not to be trusted, hostile files."""

import io
import math
import struct

import pytest
from camera_file import camera_file, exif_block, jpeg, scene, segment, thumbnail_of, with_segments
from hypothesis import given, settings
from hypothesis import strategies as st
from planted import acme, planted_gallery, verdicts

from exif_jax.forensics.file_evidence import examine
from exif_jax.forensics.file_evidence.facts import gather, record_of
from exif_jax.forensics.file_evidence.findings import Finding, strongest_first, total_strength
from exif_jax.reading.file_parts import jpeg_parts
from exif_jax.reading.photo import PhotoError, read_photo

EDITED = camera_file(scene(seed=99), "Acme", "One", b"", quality=80)


def finding(verdict, strength=0.0, group="saved", rule="r"):
    return Finding(rule, group, verdict, "s", "x", strength)


def test_contradictions_come_first_and_the_strongest_of_them():
    given = [
        finding("silent"),
        finding("fits"),
        finding("contradicts", 1.5),
        finding("contradicts", 2.5),
    ]
    ordered = [(f.verdict, f.strength) for f in strongest_first(given)]
    assert ordered == [("contradicts", 2.5), ("contradicts", 1.5), ("fits", 0), ("silent", 0)]


def test_strength_is_the_strongest_of_each_group_and_nothing_that_fits_lowers_it():
    told = [finding("contradicts", 2.0), finding("contradicts", 1.5)]
    told.append(finding("contradicts", 1.0, "picture"))
    assert total_strength(told) == 3.0 == total_strength([*told, *[finding("fits")] * 50])
    assert total_strength([finding("silent"), finding("fits")]) == 0


def test_wilson_is_as_published():
    # Newcombe 1998, table I: 0 of 20 and 15 of 148.
    assert examine.wilson(0, 20)[1] == pytest.approx(0.1611, abs=1e-4)
    assert examine.wilson(15, 148) == pytest.approx((0.0624, 0.1605), abs=1e-4)
    assert examine.wilson(0, 0) == (0.0, 1.0)


def test_strength_is_by_the_measured_false_alarms():
    findings = examine.examine(read_photo(EDITED), planted_gallery()).findings
    found = next(f for f in findings if f.rule == "standard tables")
    assert found.strength == pytest.approx(-math.log10(examine.wilson(0, 200)[1]), abs=1e-3)
    assert found.source and found.group == "saved"


@pytest.mark.parametrize("alarms", [{}, {"standard tables": (3, 200)}])
def test_a_rule_that_was_not_measured_or_goes_off_too_often_is_silent(alarms):
    gallery = planted_gallery()._replace(false_alarms=alarms)
    findings = examine.examine(read_photo(EDITED), gallery).findings
    found = next(f for f in findings if f.rule == "standard tables")
    assert found.verdict == "silent" and found.strength == 0 and "not counted" in found.sentence


def test_measuring_counts_contradictions():
    seen = examine.examine(read_photo(EDITED), planted_gallery())
    clean = examine.examine(read_photo(acme(seed=99)), planted_gallery())
    alarms = examine.measure([(seen.facts, seen.known), (clean.facts, clean.known)])
    assert alarms["standard tables"] == [1, 2] and alarms["EXIF size"] == [0, 2]


def test_rules_have_names_of_their_own():
    names = [rule.name for rule in examine.RULES]
    assert len(set(names)) == len(names)


# --- hostile --------------------------------------------------------------------------------------


def lying(data: bytes, tag: int, kind: int, count: int) -> bytes:
    """The file with another type and count of a tag."""
    at = data.index(struct.pack("<HH", tag, 7 if tag == 0x927C else 4))
    return data[: at + 2] + struct.pack("<HI", kind, count) + data[at + 8 :]


def tables_at(data: bytes) -> int:
    """Where the first table of the photo stands: behind EXIF, whose thumbnail has tables, too."""
    return 4 + int.from_bytes(data[4:6], "big")


def of_16_bits(data: bytes) -> bytes:
    """The file with the first of its tables as 16-bit numbers, some of them above 255."""
    at = tables_at(data)
    length = int.from_bytes(data[at + 2 : at + 4], "big")
    body = data[at + 4 : at + 2 + length]
    wide = b"\x10" + b"".join(bytes((k > 60, n)) for k, n in enumerate(body[1:65]))
    return data[:at] + segment(0xDB, wide + body[65:]) + data[at + 2 + length :]


def without_tables(data: bytes) -> bytes:
    at = tables_at(data)
    while data[at : at + 2] == b"\xff\xdb":
        data = data[:at] + data[at + 2 + int.from_bytes(data[at + 2 : at + 4], "big") :]
    return data


def in_a_circle(data: bytes) -> bytes:
    """The file whose EXIF names its first directory as the next one, and as that of the camera."""
    at = data.index(b"II*\0")
    count = int.from_bytes(data[at + 8 : at + 10], "little")
    link, camera = at + 10 + 12 * count, data.index(struct.pack("<HHI", 0x8769, 4, 1))
    data = data[:link] + struct.pack("<I", 8) + data[link + 4 :]
    return data[: camera + 8] + struct.pack("<I", 8) + data[camera + 12 :]


HEAD = acme().index(b"\xff\xdb")
ENTITIES = b'<!DOCTYPE x [<!ENTITY a "&b;&b;"><!ENTITY b "&a;">]><x xmp:CreatorTool="&a;"/>'
BOXES = b"JP\0\1\0\0\0\1" + 40 * (struct.pack(">I", 2**31) + b"jumb")


@pytest.mark.parametrize(
    "data",
    [
        of_16_bits(acme()),
        acme(more=tuple(segment(0xDB, bytes((k % 4,)) + bytes(64)) for k in range(9))),
        in_a_circle(acme()),
        acme(more=(segment(0xEB, BOXES),)),
        acme(more=(segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + ENTITIES),)),
        acme(thumbnail=b"\xff\xd8\xff" + bytes(3000)),
        acme(thumbnail=b"<script>alert(1)</script>" * 20),
        acme(thumbnail=thumbnail_of(scene())[:700]),
        lying(acme(), 0x927C, 7, 10 << 20),
        lying(acme(), 0x0202, 4, 2**32 - 1),
        lying(acme(), 0x0201, 2, 4),
        acme(camera={0x927C: b"\xff\xd8\xff\xdb" * 5000}),
        camera_file(make="Canon", camera={0x927C: b"\xff" * 500}),
        camera_file(make="Panasonic", camera={0x927C: b"Panasonic\0\0\0" + b"\xff" * 500}),
        acme(more=(segment(0xEB, b"JP\0\1\0\0\0\1" + b"\xff" * 300),)),
        acme(more=(segment(0xE2, b"MPF\0II*\0" + b"\xff" * 40),)),
        acme(more=(segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + b"\xff" * 60_000),)),
        with_segments(jpeg(scene()), segment(0xE1, b"Exif\0\0")),
    ],
)
def test_hostile_files_are_judged_within_bounds(data):
    seen = verdicts(data)
    assert len(seen) == len(examine.RULES)
    assert set(seen.values()) <= {"fits", "contradicts", "silent"}


def test_without_tables_nothing_is_said_of_them():
    photo = read_photo(acme())
    gutted = jpeg_parts(without_tables(acme()), photo.image.size)
    assert gutted.tables == () and gutted.num_tables == 0
    facts = gather(photo, planted_gallery())
    record = record_of(gutted, facts.tags, photo.sha256)
    facts = facts._replace(parts=gutted, record=record, recompression=None)
    known = planted_gallery().known(record)
    findings = examine.judge(facts, known, planted_gallery().false_alarms)
    assert "contradicts" not in {f.verdict for f in findings}


def test_a_maker_note_of_ten_megabytes_is_not_followed():
    note = (b"\xff\xd8\xff\xdb" + bytes(60)) * (10 << 14)
    block = exif_block({0x010F: "Acme", 0x0110: "One"}, {0x927C: note})
    stream = io.BytesIO()
    scene(64, 64).save(stream, "PNG", exif=b"Exif\0\0" + block)
    assert len(stream.getvalue()) > 10 << 20
    evidence = examine.examine(read_photo(stream.getvalue()), planted_gallery())
    assert evidence.facts.tags == {} and evidence.facts.previews == ()
    assert "contradicts" not in {f.verdict for f in evidence.findings}


def test_hostile_names_stay_text():
    data = camera_file(make="<script>\u00e9", model="=cmd()")
    evidence = examine.examine(read_photo(data), planted_gallery())
    assert all(isinstance(f.sentence, str) for f in evidence.findings)


@given(st.integers(2, HEAD - 1), st.binary(min_size=1, max_size=24))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_any_change_of_the_head_gives_findings_or_a_refusal(place, junk):
    data = acme()
    data = data[:place] + junk + data[place + len(junk) :]
    try:
        photo = read_photo(data)
    except PhotoError:
        return
    evidence = examine.examine(photo, planted_gallery())
    assert len(evidence.findings) == len(examine.RULES)
