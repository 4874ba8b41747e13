"""Canonical EXIF: both readers agree, hostile values are harmless, nothing private gets out."""

import json
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.TiffImagePlugin import IFDRational
from pillow_exif import from_pillow

from exif_jax.reading import exif
from exif_jax.reading.photo import read_photo

EXIFTOOL = shutil.which("exiftool")
FORMS = ([], ["-n"], ["-G1"], ["-G1", "-n"], ["-G"], ["-G0:1", "-n"])
needs_exiftool = pytest.mark.skipif(not EXIFTOOL, reason="exiftool is not installed")
bounded = settings(deadline=None, derandomize=True, max_examples=100)


def exiftool_tags(paths: list[Path], options: list[str]) -> dict[str, dict[str, str]]:
    """File name -> canonical tags as exiftool sees the files."""
    command = [str(EXIFTOOL), "-q", "-json", *options, *map(str, paths)]
    objects = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return {Path(tags["SourceFile"]).name: exif.from_exiftool(tags) for tags in objects}


def pillow_tags(path: Path) -> dict[str, str]:
    with Image.open(path) as image:
        return from_pillow(image.getexif())


def write_photo(path: Path, ifd0: dict, exif_ifd: dict, interop: dict | None = None) -> None:
    data = Image.Exif()
    data.update(ifd0)
    data.get_ifd(0x8769).update(exif_ifd)
    if interop:
        data.get_ifd(0x8769)[0xA005] = interop
    Image.new("RGB", (16, 16)).save(path, exif=data)


def check_canonical(tags: dict[str, str]) -> None:
    assert len(tags) <= 100
    for name, value in tags.items():
        assert re.fullmatch(r"[A-Za-z0-9 ]+", name)
        assert re.fullmatch(r"[\x20-\x7e]{1,40}", value) and "," not in value
    text = exif.to_text(tags)
    parsed = dict(part.split(": ", 1) for part in text.split(", ")) if text else {}
    assert parsed == tags


@needs_exiftool
def test_readers_agree_on_real_photos(real_photos):
    folder = real_photos / "train"
    # One crop of each photo: the others carry the same EXIF.
    crops = {path.name.split("_")[0]: path for path in sorted(folder.glob("*.jpg"))}
    assert len(crops) > 500
    with ThreadPoolExecutor(2) as pool:
        paths = list(crops.values())
        # -fast2 -e: leave out what the table has no use for, to save time.
        forms = [["-fast2", "-e", *options] for options in FORMS[:4]]
        seen = list(pool.map(lambda options: exiftool_tags(paths, options), forms))
    for path in paths:
        tags = pillow_tags(path)
        assert [tags] * 4 == [photos[path.name] for photos in seen], path.name
        check_canonical(tags)
        assert {"Make", "Model"} <= tags.keys()


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    """Photos with every kind of tag, every enumeration code, and awkward text."""
    folder = tmp_path_factory.mktemp("written")
    camera = {0x010F: "Maker  Co., Ltd. ", 0x0110: "X-1\0junk", 0x0131: "1.10", 0x0213: 2}
    camera |= {0x011A: IFDRational(300), 0x011B: IFDRational(7200, 100), 0x0128: 2, 0x0112: 6}
    camera |= {0x0211: (Fraction(299, 1000), Fraction(587, 1000), Fraction(114, 1000))}
    rational = (0x829A, 0x829D, 0x9102, 0x9201, 0x9202, 0x9203, 0x9204, 0x9205, 0x9206, 0x920A)
    rational += (0xA20B, 0xA20E, 0xA20F, 0xA215, 0xA404, 0xA500)
    values = [(1, 60), (10, 4), (1, 3), (0, 1), (5, 0), (0, 0), (7, 10), (28, 10), (1, 8000)]
    values += [
        (4294967295, 1),
        (25001, 100000),
        (95, 100),
        (105, 1000),
        (999, 1000),
        (6643856, 10**6),
    ]
    fixed = {0x9000: b"0232", 0x9101: b"\1\2\3\0", 0xA000: b"0100", 0xA300: b"\3", 0xA301: b"\1"}
    fixed |= {0xA302: b"\0\2\0\2\1\0\2\1", 0xA433: "Älpha", 0xA434: "24mm, f/2\x1b[31m\n\t<b>"}
    fixed |= {0xA002: 6000, 0xA003: 4000, 0x8827: 400, 0xA405: 45, 0x9214: (1, 2, 3, 4)}
    interop = {1: "R98", 2: b"0100", 0x1001: 6000, 0x1002: 4000}
    for i, value in enumerate(values):
        lens = (IFDRational(*value), IFDRational(55), IFDRational(35, 10), IFDRational(56, 10))
        numbers = dict.fromkeys(rational, IFDRational(*value)) | {0xA432: lens}
        write_photo(folder / f"value{i}.jpg", camera, fixed | numbers, interop)
    for i, value in enumerate(
        [(-1, 3), (-2, 3), (-159, 100), (-1, 2), (335, 1000), (1, 6), (-2, 1)]
    ):
        signed = dict.fromkeys((0x9201, 0x9203, 0x9204), IFDRational(*value))
        write_photo(folder / f"signed{i}.jpg", camera, signed)
    codes = [0x8822, 0x8830, 0x9207, 0x9208, 0x9209, 0xA001, 0xA210, 0xA217, 0xA401, 0xA402]
    codes += [0xA403, 0xA406, 0xA407, 0xA408, 0xA409, 0xA40A, 0xA40C, 0xA460]
    for code in [*range(0x60), 255, 256, 0xFFFD, 0xFFFE, 0xFFFF]:
        ifd0 = camera | {0x0112: code, 0x0128: code, 0x0213: code}
        ifd0 |= {0x0131: ("True", "0100", "007", "-0", "1e5", "2.50", "A,B", "??é")[code % 8]}
        write_photo(folder / f"code{code}.jpg", ifd0, dict.fromkeys(codes, code))
    return folder


@needs_exiftool
@pytest.mark.parametrize("options", FORMS, ids=lambda o: " ".join(o) or "plain")
def test_readers_agree_on_written_photos(written, options):
    paths = sorted(written.glob("*.jpg"))
    seen = exiftool_tags(paths, options)
    assert len(seen) == len(paths) > 100
    for name, tags in seen.items():
        assert pillow_tags(written / name) == tags, name


def test_read_photo_gives_the_same_tags_as_pillow(written):
    for path in sorted(written.glob("*.jpg")):
        assert read_photo(path).exif == pillow_tags(path), path.name


def test_written_values_are_said_as_documented(written):
    tags = pillow_tags(written / "value0.jpg")
    check_canonical(tags)
    expected = {
        "Make": "Maker Co.; Ltd.",
        "Model": "X-1",
        "Software": "1.1",
        "Orientation": "Rotate 90 CW",
        "X Resolution": "300",
        "Exposure Time": "1/60 s",
        "ISO": "400",
        "Exif Version": "2.32",
        "Components Configuration": "Y Cb Cr",
        "CFA Pattern": "Green Red / Blue Green",
        "Focal Length In 35mm Format": "45 mm",
        "Lens Make": "?lpha",
        "Lens Model": "24mm; f/2?[31m <b>",
        "File Source": "Digital Camera",
        "Interop Index": "R98",
        "Related Image Width": "6000",
    }
    assert {name: tags.get(name) for name in expected} == expected
    tags = pillow_tags(written / "value7.jpg")
    assert (tags["F Number"], tags["Focal Length"]) == ("f/2.8", "2.8 mm")
    assert tags["Lens Info"] == "2.8-55.0 mm f/3.5-5.6"
    assert "Exposure Time" not in pillow_tags(written / "value5.jpg")  # 0/0


def test_every_enumeration_code_has_its_own_words(written):
    for name in ("Flash", "Light Source", "Metering Mode", "Sensitivity Type", "Exposure Program"):
        said = [pillow_tags(written / f"code{code}.jpg")[name] for code in range(0x60)]
        assert len(set(said)) == 0x60, name


def test_private_tags_are_never_said():
    private = r"gps|serial|owner|artist|copyright|comment|description|^xp|unique|maker ?note|date"
    private += r"|time(?!$)|offset|host|rating"
    names = [tag.exiftool for table in exif.TAGS.values() for tag in table]
    assert [n for n in names if re.search(private, n, re.I)] == []
    assert 60 <= len(names) == len(set(names)) <= 100
    leaks = {"Artist": "Jane", "GPSLatitude": "1", "SerialNumber": "7", "OwnerName": "Jane"}
    grouped = {f"IFD0:{k}": v for k, v in leaks.items()} | {"IFD0:Make": "M"}
    assert exif.from_exiftool(leaks | {"Make": "M"}) == {"Make": "M"} == exif.from_exiftool(grouped)


def test_only_exif_groups_count():
    tags = {"MakerNotes:ISO": 50, "XMP-tiff:Make": "B", "IFD1:XResolution": 72, "Make": "C"}
    assert exif.from_exiftool(tags | {"EXIF:IFD1:Orientation": 3, "IFD0:Model": "D"}) == {
        "Model": "D"
    }


atoms = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(10**400), 10**400),
    st.floats(),
    st.text(max_size=600),
    st.binary(max_size=600),
    st.builds(IFDRational, st.integers(-(2**70), 2**70), st.integers(0, 2**40)),
    st.fractions(),
    st.complex_numbers(),
    st.from_regex(r"Unknown \((0x)?[0-9a-f]+\)|[-+]?\d+(\.\d+)?([e/]\d+)?( mm)?", fullmatch=True),
    st.sampled_from(["9" * 5000, "1/0", "0/0", "inf", "undef", "nan", "1e999", "٣", "²", "-0"]),
)
values = st.recursive(atoms, lambda v: st.one_of(st.lists(v), st.tuples(v, v)), max_leaves=8)
tag_ids = [(ifd, tag) for ifd, table in exif.TAGS.items() for tag in table]


@bounded
@given(st.lists(st.tuples(st.sampled_from(tag_ids), values), max_size=30))
def test_any_values_give_bounded_text(items):
    directories: dict[str, dict[int, object]] = {}
    for (ifd, tag), value in items:
        directories.setdefault(ifd, {})[tag.id] = value
    check_canonical(exif.from_values(directories))
    check_canonical(exif.from_exiftool({tag.exiftool: v for (_, tag), v in items}))
    check_canonical(exif.from_exiftool({f"{ifd}:{t.exiftool}": v for (ifd, t), v in items}))


@bounded
@given(st.text(max_size=60) | st.from_regex(r"-?\d{1,17}(\.\d+)?(e\d)?", fullmatch=True))
def test_text_is_the_same_after_json_numbers_and_booleans(text):
    """exiftool prints what looks like a number or a boolean without quotes."""
    as_number = r"-?(\d|[1-9]\d{1,14})(\.\d{1,16})?(e[-+]?\d{1,3})?"
    bare = re.fullmatch(as_number, text, re.ASCII) or text in ("true", "false")
    seen = json.loads(text) if bare else text
    assert exif.from_values({"IFD0": {0x0131: text}}) == exif.from_exiftool({"Software": seen})


@bounded
@given(st.binary(max_size=400))
def test_any_exif_block_is_read_without_error(data):
    block = Image.Exif()
    try:
        block.load(b"Exif\0\0II*\0\x08\0\0\0" + data)
    except Exception:
        return  # Pillow refuses it outright: nothing reaches us
    check_canonical(from_pillow(block))


def test_tags_from_anyones_file_are_checked():
    good = {"Make": "Canon", "F Number": "f/2.8"}
    bad = {"GPS Latitude": "1", "Model": "a,b", "Software": "x\ny", "Lens Model": "é", "ISO": 400}
    bad |= {"Lens Make": "x" * 41, "Flash": ""}
    assert exif.checked(good | bad) == good
    assert exif.checked(None) == exif.checked([1]) == exif.checked("Make") == {}


def test_tags_of_a_photo_come_in_the_order_of_the_vocabulary():
    tags = {"Flash": "Fired", "Rare": "x", "Make": "Canopus"}
    assert list(exif.select_tags(tags, ("Make", "Model", "Flash")).items()) == [
        ("Make", "Canopus"),
        ("Flash", "Fired"),
    ]


def test_cameras_are_named_once():
    assert exif.camera_name({"Make": "Canon", "Model": "Canon EOS 5D"}) == "Canon EOS 5D"
    assert exif.camera_name({"Make": "SONY", "Model": "DSC"}) == "SONY DSC"
    assert exif.camera_name({"Make": "X"}) == "X" and exif.camera_name({}) == ""
