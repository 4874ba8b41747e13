"""The same photo has the same text by every road, and no printed form breaks a reader."""

import json
import shutil
import subprocess
import urllib.parse
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.TiffImagePlugin import IFDRational as R
from test_exif import check_canonical, pillow_tags, write_photo

from exif_jax.reading.exif import TAGS
from exif_jax.reading.exif_readers import (
    YFCC_LOSSY,
    from_exifread,
    from_flickr,
    from_released,
    from_yfcc,
)

needs_exiftool = pytest.mark.skipif(not shutil.which("exiftool"), reason="no exiftool")
NAME_OF = {tag.exiftool: tag.name for table in TAGS.values() for tag in table}


@pytest.fixture(scope="module")
def written_photos(tmp_path_factory) -> list[Path]:
    """Photos with all enumeration codes."""
    folder = tmp_path_factory.mktemp("written")
    codes = [0x8822, 0x9207, 0x9208, 0xA217, 0xA401, 0xA402, 0xA403, 0xA406, 0xA407, 0xA408]
    codes += [0xA409, 0xA40A, 0xA40C, 0xA001]
    fixed = {0x9000: b"0221", 0xA000: b"0100", 0xA300: b"\3", 0xA301: b"\1", 0x9101: b"\1\2\3\0"}
    fixed |= {
        0x829A: R(1, 60),
        0x829D: R(28, 10),
        0x8827: 400,
        0x920A: R(21, 2),
    }
    fixed |= {
        0x9202: R(297, 100),
        0x9205: R(3),
        0x9204: R(1, 3),
        0xA404: R(0),
    }
    fixed |= {
        0x9102: R(4),
        0x9206: R(5, 4),
        0xA405: 45,
        0xA002: 4000,
        0xA003: 3000,
    }
    fixed |= {0xA434: "EF24-70mm, f/2.8: L"}
    for code in range(10):
        camera = {0x010F: "Canon", 0x0110: "Canon EOS 5D, Mark II", 0x0131: "GIMP 2.6: é"}
        camera |= {0x0112: code, 0x0128: code % 4, 0x0213: code % 3, 0x011A: R(300)}
        write_photo(
            folder / f"{code}.jpg",
            camera,
            fixed | dict.fromkeys(codes, code) | {0x9209: code},
            {1: "R98", 2: b"0100"},
        )
    return sorted(folder.glob("*.jpg"))


@pytest.fixture(params=["written", "real"])
def photos(request) -> list[Path]:
    """Written photos, or one crop of each real one."""
    if request.param == "written":
        return request.getfixturevalue("written_photos")
    return sorted((request.getfixturevalue("real_photos") / "train").glob("*_0.jpg"))


LOST_BY_EXIFREAD = {("File Source", "Unknown (0)"), ("Scene Type", "Unknown (0)")}


def test_exifread(photos):
    exifread = pytest.importorskip("exifread")
    for path in photos:
        with open(path, "rb") as file:
            tags = exifread.process_file(file, details=False)
        printed = {name: str(value).strip() for name, value in tags.items()}
        tags = from_exifread(json.loads(json.dumps(printed)))
        # exifread prints zeros for values that it loses, so that a true zero is left out.
        expected = {
            name: value
            for name, value in pillow_tags(path).items()
            if (name, value) not in LOST_BY_EXIFREAD
        }
        assert tags == expected, path
        check_canonical(tags)


# --- metadata-extractor's words, from the values in the file --------------------------------------


def extractor_items(path: Path) -> str:
    """What yfcc100m_exif would say: metadata-extractor's descriptions, URL-encoded."""
    with Image.open(path) as image:
        data = image.getexif()
        tables = {"Exif IFD0": dict(data), "Exif SubIFD": dict(data.get_ifd(0x8769))}
        tables["Interoperability"] = dict(data.get_ifd(0xA005))
    items = []
    for directory, values in tables.items():
        for number, value in values.items():
            is_interop = directory == "Interoperability"
            described = interop(value) if is_interop else describe(number, value)
            if described and described[1] is not None:
                name, text = described
                parts = (urllib.parse.quote_plus(part) for part in (directory, name, text))
                items.append("{}.{}:{}".format(*parts))
    return ",".join(items)


def interop(value):
    if isinstance(value, bytes):
        return "Interoperability Version", value[1:2].decode() + "." + value[2:].decode()
    return (
        "Interoperability Index",
        f"Recommended Exif Interoperability Rules (Exif{value[:3]})",
    )


WORDS = {
    0x0112: ("Orientation", 1, "Top, left side (Horizontal / normal)|Top, right side (Mirror "
             "horizontal)|Bottom, right side (Rotate 180)|Bottom, left side (Mirror vertical)|Left "
             "side, top (Mirror horizontal and rotate 270 CW)|Right side, top (Rotate 90 CW)|Right "
             "side, bottom (Mirror horizontal and rotate 90 CW)|Left side, bottom (Rotate 270 CW)"),
    0x0128: ("Resolution Unit", 1, "(No unit)|Inch|cm"),
    0x0213: ("YCbCr Positioning", 1, "Center of pixel array|Datum point"),
    0x8822: ("Exposure Program", 1, "Manual control|Program normal|Aperture priority|Shutter "
             "priority|Program creative (slow program)|Program action (high-speed program)|"
             "Portrait mode|Landscape mode"),
    0x9207: ("Metering Mode", 0, "Unknown|Average|Center weighted average|Spot|Multi-spot|"
             "Multi-segment|Partial"),
    0x9208: ("White Balance", 0, "Unknown|Daylight|Florescent|Tungsten|Flash|||||Fine Weather"),
    0xA001: ("Color Space", 1, "sRGB"),
    0xA217: ("Sensing Method", 1, "(Not defined)|One-chip color area sensor|Two-chip color area "
             "sensor|Three-chip color area sensor|Color sequential area sensor||Trilinear sensor|"
             "Color sequential linear sensor"),
    0xA401: ("Custom Rendered", 0, "Normal process|Custom process"),
    0xA402: ("Exposure Mode", 0, "Auto exposure|Manual exposure|Auto bracket"),
    0xA403: ("White Balance Mode", 0, "Auto white balance|Manual white balance"),
    0xA406: ("Scene Capture Type", 0, "Standard|Landscape|Portrait|Night scene"),
    0xA407: ("Gain Control", 0, "None|Low gain up|Low gain down|High gain up|High gain down"),
    0xA408: ("Contrast", 0, "None|Soft|Hard"),
    0xA409: ("Saturation", 0, "None|Low saturation|High saturation"),
    0xA40A: ("Sharpness", 0, "None|Low|Hard"),
    0xA40C: ("Subject Distance Range", 0, "Unknown|Macro|Close view|Distant view"),
}  # fmt: skip


def describe(number, value):
    if number in WORDS:
        name, first, words = WORDS[number]
        words = words.split("|")
        known = isinstance(value, int) and 0 <= value - first < len(words)
        return name, (known and words[value - first]) or f"Unknown ({value})"
    try:
        return plain(number, value)
    except (ZeroDivisionError, TypeError, ValueError):
        return None


def plain(number, value):
    short = lambda x: f"{float(x):.1f}".removesuffix(".0")  # noqa: E731
    match number:
        case 0x010F | 0x0110 | 0x0131 | 0xA433 | 0xA434:
            names = {0x010F: "Make", 0x0110: "Model", 0x0131: "Software", 0xA433: "Lens Make"}
            return names.get(number, "Lens Model"), str(value)
        case 0x011A:
            return "X Resolution", f"{float(value):.10g} dots per inch"
        case 0x829A:
            return "Exposure Time", f"{value.numerator}/{value.denominator} sec"
        case 0x829D:
            return "F-Number", f"F{short(value)}"
        case 0x8827:
            return "ISO Speed Ratings", str(value)
        case 0x9000:
            return "Exif Version", f"{int(value[:2])}.{value[2:].decode()}"
        case 0xA000:
            return "FlashPix Version", f"{int(value[:2])}.{value[2:].decode()}"
        case 0x9101:
            return "Components Configuration", "".join(("", "Y", "Cb", "Cr")[i] for i in value)
        case 0x9202 | 0x9205:
            name = "Aperture Value" if number == 0x9202 else "Max Aperture Value"
            return name, f"F{short(2 ** (float(value) / 2))}"
        case 0x9204:
            return "Exposure Bias Value", f"{value.numerator}/{value.denominator} EV"
        case 0x9102:
            return "Compressed Bits Per Pixel", f"{float(value):.10g} bits/pixel"
        case 0x9206:
            return "Subject Distance", f"{float(value):.3f} metres"
        case 0x9209:
            return "Flash", "Flash fired" if value & 1 else "Flash did not fire"
        case 0x920A:
            return "Focal Length", f"{float(value):.3f} mm"
        case 0xA002 | 0xA003:
            return f"Exif Image {'Width' if number == 0xA002 else 'Height'}", f"{value} pixels"
        case 0xA300:
            return "File Source", "Digital Still Camera (DSC)" if value[:1] == b"\3" else None
        case 0xA301:
            return "Scene Type", "Directly photographed image" if value[:1] == b"\1" else None
        case 0xA404:
            return "Digital Zoom Ratio", short(value) if value else "Digital zoom not used."
        case 0xA405:
            return "Focal Length 35", f"{value}mm" if value else "Unknown"
    return None


def test_yfcc(photos):
    """All that is given is right, and what the words cannot carry is not given."""
    lossy = {NAME_OF[name] for name in YFCC_LOSSY}
    seen = set()
    for path in photos:
        tags, expected = from_yfcc(extractor_items(path)), pillow_tags(path)
        wrong = {
            name: (value, expected.get(name))
            for name, value in tags.items()
            if expected.get(name) != value
        }
        # One decimal of a zoom, and roundings of a rounded aperture, are that program's.
        wrong = {n: v for n, v in wrong.items() if n not in ("Digital Zoom Ratio",)}
        assert not wrong, path
        assert not tags.keys() & lossy
        check_canonical(tags)
        seen |= tags.keys()
    assert len(seen) >= 38, sorted(seen)


def test_yfccs_own_example():
    items = "Exif+SubIFD.Focal+Length:50.0+mm,Exif+SubIFD.Focal+Plane+Resolution+Unit:Inches"
    assert from_yfcc(items) == {"Focal Length": "50.0 mm", "Focal Plane Resolution Unit": "inches"}
    items = "Exif+IFD0.Model:A%2CB%3A+C,GPS.GPS+Latitude:1,Exif+IFD0.Artist:me,Nikon.Lens:x"
    assert from_yfcc(items) == {"Model": "A;B: C"}
    assert from_yfcc("") == {}


def test_the_released_preparations_json():
    tags = {"Focal Length": "50.0mm", "Make": "Canon", "Model": "CanonEOS5D", "Artist": "me"}
    tags |= {"F-Number": "F2.8", "Metering Mode": "Unknown", "Exposure Time": "1/60sec"}
    expected = {"Make": "Canon", "Model": "CanonEOS5D", "Exposure Time": "1/60 s"}
    expected |= {"F Number": "f/2.8", "Focal Length": "50.0 mm"}
    assert from_released({"EXIF": tags, "photo_id": 1, "num_exif_tags": 5}) == expected
    assert from_released({"exif": tags}) == expected
    assert from_released({"EXIF": [1]}) == from_released({}) == {}


# --- Flickr ---------------------------------------------------------------------------------------


def flickr_answer(tags: dict) -> dict:
    """photos.getExif of `exiftool -json -G1`: names are split, values are texts."""
    entries = []
    for key, value in tags.items():
        space, _, name = key.rpartition(":")
        text = json.dumps(value) if isinstance(value, bool | float | int) else str(value)
        entries.append({"tagspace": space, "tagspaceid": 0, "tag": name, "label": name,
                        "raw": {"_content": text}})  # fmt: skip
    return {"photo": {"id": "1", "camera": "x", "exif": entries}, "stat": "ok"}


@needs_exiftool
def test_flickr(photos):
    command = ["exiftool", "-q", "-json", "-G1", "-fast2", *map(str, photos)]
    printed = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    for tags, path in zip(printed, photos, strict=True):
        assert from_flickr(flickr_answer(tags)) == pillow_tags(path), path


def test_flickrs_older_answers():
    old = [("TIFF", "271", "Canon"), ("EXIF", "33437", "28/10"), ("EXIF", "37378", "297/100")]
    old += [("EXIF", "33434", "0.017 sec (1/60)"), ("GPS", "2", "52"), ("EXIF", "99", "x")]
    entries = [{"tagspace": s, "tag": t, "raw": {"_content": v}} for s, t, v in old]
    assert from_flickr({"photo": {"exif": entries}}) == {
        "Make": "Canon",
        "Exposure Time": "1/60 s",
        "F Number": "f/2.8",
        "Aperture Value": "f/2.8",
    }
    assert from_flickr({"stat": "fail", "code": 2, "message": "Permission denied"}) == {}


# --- whatever comes -------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4)
    ),
    max_leaves=12,
)
NAMES = st.sampled_from(
    ["Image Make", "EXIF CVAPattern", "EXIF ComponentsConfiguration", "EXIF Tag 0xA460",
     "EXIF LensSpecification", "EXIF ExposureTime", "photo", "exif", "EXIF", "raw", "tag"]
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(NAMES | st.text(max_size=12), JSON | st.text("[]0123456789,/- ", max_size=30))
)
def test_no_form_breaks_a_reader(value):
    for read in (from_exifread, from_released, from_flickr):
        check_canonical(read(value))
    entry = {
        "tagspace": "EXIF",
        "tag": "33434",
        "raw": {"_content": next(iter(value.values()), "")},
    }
    check_canonical(from_flickr({"photo": {"exif": [entry, value]}}))


@given(st.text(max_size=300) | st.text("Exif+SubIFD.Make:%,2C0", max_size=300))
def test_no_items_break_the_yfcc_reader(items):
    check_canonical(from_yfcc(items))


def test_nothing_private_passes():
    secret = "SECRET"
    image = ("Artist", "Copyright", "ImageDescription", "HostComputer", "XPAuthor")
    printed = dict.fromkeys(f"Image {name}" for name in image) | {"GPS GPSLatitude": 0}
    printed |= dict.fromkeys(("EXIF BodySerialNumber", "EXIF UserComment", "EXIF CameraOwnerName"))
    items = ("Exif+IFD0.Artist", "GPS.Make", "Exif+SubIFD.User+Comment", "Exif+IFD0.Date%2FTime")
    answer = dict.fromkeys(("IFD0:Artist", "ExifIFD:SerialNumber", "GPS:Make", "XMP:Model"), secret)
    assert from_exifread(dict.fromkeys(printed, secret)) == {}
    assert from_yfcc(",".join(f"{item}:{secret}" for item in items)) == {}
    assert from_flickr(flickr_answer(answer)) == {}
    assert from_released({"EXIF": {"Artist": secret, "Image Description": secret}}) == {}


def test_what_img2datasets_reader_lost_is_left_out():
    """Its own release of exifread prints values of the type UNDEFINED as nothing or as zeros."""
    printed = {
        "Image Make": "Canopus",
        "EXIF FileSource": "0",
        "EXIF SceneType": "0",
        "EXIF CVAPattern": "[0, 0, 0, 0, 0, 0, 0, 0]",
        "EXIF CFAPattern": "[0, 0, 0, 0, 0, 0, 0, 0]",
        "EXIF ExifVersion": "",
        "EXIF FlashPixVersion": "",
        "EXIF ComponentsConfiguration": "",
        "EXIF CustomRendered": "0",
    }
    assert from_exifread(printed) == {"Make": "Canopus", "Custom Rendered": "Normal"}
    assert from_exifread({"EXIF FileSource": "Digital Camera"}) == {"File Source": "Digital Camera"}
