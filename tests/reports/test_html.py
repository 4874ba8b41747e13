"""The HTML report without a browser: hostile text, the policy, the verdict, missing report."""

import base64
import hashlib
import html.parser
import json
import pathlib
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw
from stand_in import PATCH, roughness, spliced

from exif_jax.forensics import affinity
from exif_jax.forensics.localization import localize_with_encoder
from exif_jax.forensics.methods import LocalizationSettings
from exif_jax.reading.photo import Photo
from exif_jax.reports import html as html_report
from exif_jax.reports import outputs
from exif_jax.reports.html import make_html
from exif_jax.reports.markup import Markup, fill, join, visible
from exif_jax.reports.render import upright

HOSTILE = [
    "<script>window.pwned = 1</script>",
    "</title></script><img src=x onerror=alert(1)>",
    "a\u202egpj.exe",
    "]]>-->{{7*7}}\x00\x1b[31m",
    "x" * 65536,
    "\udcff\ud800",
    "' onmouseover='alert(1)\" onfocus=\"alert(1)",
    "\u2028\u2029\ufeff\u200d&lt;",
]


def example(file="photo.jpg", exif=None, orientation=1, **more):
    image = spliced()[0]
    localization = localize_with_encoder(image, roughness, {}, PATCH)
    photo = Photo(Image.fromarray(image), exif or {}, orientation, "PNG", "0" * 64, 1234, ())
    report = (
        outputs.make_report(photo, file, "0123456789ab", LocalizationSettings(), localization)
        | more
    )
    return (
        photo,
        localization,
        report,
        affinity.pca_colours(localization.embeddings, localization.grid),
    )


class Reader(html.parser.HTMLParser):
    """Counts elements and keeps text, attributes and the two scripts."""

    def __init__(self, page):
        super().__init__(convert_charrefs=True)
        self.elements, self.attributes, self.text, self.inside = [], [], [], []
        self.raw = {"script": [], "style": [], "title": []}
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.elements.append(tag)
        self.attributes += attrs
        self.inside.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        while self.inside and self.inside.pop()[0] != tag:
            pass

    def handle_data(self, data):
        tag = self.inside[-1][0] if self.inside else ""
        self.raw[tag].append(data) if tag in self.raw else self.text.append(data)


PLAIN = Reader(make_html(*example()).decode())


@given(st.one_of(st.text(max_size=60), st.sampled_from(HOSTILE)))
def test_no_text_becomes_markup_or_stays_unseen(text):
    reader = Reader(f"<p>{visible(text)}</p>")
    assert reader.elements == ["p"]
    shown = "".join(reader.text)
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", shown)
    if text.isprintable() and len(text) <= 200:
        assert shown == text


@pytest.mark.parametrize("text", [*HOSTILE, '"$title"', "${x}"])
def test_what_is_put_into_a_part_is_escaped_once(text):
    assert Reader(fill("paragraph", content=text)).elements == ["p"]
    assert fill("item", content=fill("paragraph", content="<")) == "<li><p>&lt;</p></li>"
    assert join([Markup("<b>"), visible("<b>")], ", ") == "<b>, &lt;b&gt;"


def test_a_part_without_its_value_is_a_mistake():
    with pytest.raises(KeyError):
        fill("paragraph")


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_names_and_exif_add_no_element_and_no_attribute(text):
    exif = {"Make": text, text[:40]: "value", "Model": "M"}
    finding = {
        "tag": "Make",
        "value": text,
        "verdict": "disagrees",
        "probability": 0.1,
        "skill": 0.8,
    }
    preferred = [{"value": text, "probability": 0.5}]
    verify = {
        "summary": text,
        "rank": 3,
        "reference_size": 9,
        "band": None,
        "tags": [finding | {"preferred": preferred}],
        "looks_like": [{"tag": text, "skill": 0.8, "values": preferred}],
        "closest": [{"camera": text, "probability": 0.5}],
    }
    page = make_html(*example(text, exif, note=text, verify=verify))
    reader = Reader(page.decode("utf-8"))
    added = {"table", "thead", "tbody", "tr", "th", "td", "li", "ul", "span", "div", "p", "strong"}
    assert set(reader.elements) <= set(PLAIN.elements) | added
    assert {name for name, _ in reader.attributes} == {name for name, _ in PLAIN.attributes}
    assert reader.raw["script"][-1] == PLAIN.raw["script"][-1]
    assert len(page) < 400_000


def test_only_our_script_and_style_may_run_and_nothing_is_fetched():
    page = make_html(*example()).decode()
    reader = Reader(page)
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)[1]
    assert policy.startswith("default-src 'none'; img-src data:;") and "unsafe" not in policy

    def digest(text):
        return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()

    assert f"script-src 'sha256-{digest(reader.raw['script'][-1])}'" in policy
    assert f"style-src 'sha256-{digest(reader.raw['style'][0])}'" in policy
    names = {name for name, _ in reader.attributes}
    assert not [
        n for n in names if n.startswith("on") or n in ("style", "href", "srcset", "action")
    ]
    sources = [value for name, value in reader.attributes if name == "src"]
    assert sources and all(s.startswith("data:image/") for s in sources)
    words = re.sub(r"base64,[A-Za-z0-9+/=]+|\"embeddings\":\"[^\"]*\"", "", page)
    assert re.findall(r"https?:|url\(|@import|fetch\(|XMLHttp|WebSocket", words) == []


def test_equal_findings_give_equal_bytes():
    arguments = example()
    assert make_html(*arguments) == make_html(*arguments)


@pytest.mark.parametrize(
    "missing", ["p_value", "band", "note", "reason", "region", "exif", "verify", "sha256", "date"]
)
def test_what_is_not_known_is_said_or_left_out(missing):
    photo, localization, report, pca = example(exif={"Make": "A"})
    report.pop(missing, None)
    text = " ".join(Reader(make_html(photo, localization, report, pca).decode()).text)
    assert "None" not in text and "nan" not in text.lower().split()


@pytest.mark.parametrize(
    "band, kind, words",
    [
        ("strong", "strong", "Strong evidence"),
        ("weak", "weak", "Weak evidence"),
        ("slight signs", "slight", "Slight signs"),
        ("no evidence", "none", "no reason for suspicion"),
        (None, "unknown", "Cannot tell"),
    ],
)
def test_the_verdict_in_words_and_colour(band, kind, words):
    page = make_html(*example(band=band, p_value=0.04, reason="about 4 in 100 ...")).decode()
    text = re.sub(r"\s+", " ", " ".join(Reader(page).text))
    assert words in text and "About 4 in 100 ...." in text
    assert f'<h1 class="{kind}">' in page
    # An outline is a finding: there is none where nothing speaks of a splice.
    assert ('class="over"' in page) == (band in ("strong", "weak", "slight signs"))


def test_no_verdict_is_green():
    style = (pathlib.Path(html_report.__file__).parent / "page.css").read_text("utf-8")
    for kind in ("none", "unknown", "slight", "weak", "strong"):
        (rule,) = re.findall(rf"(?:^|[\s,}}])\.{kind}\b[^{{]*{{([^}}]*)}}", style)
        assert "--good" not in rule


def test_ratio_and_calibration_are_stated_with_their_limits():
    about = {
        "num_photos": 31,
        "num_cameras": 17,
        "date": "2026-11-28",
        "accused": [0.05, 0.02, 0.1],
    }
    support = "moderate support for the proposition that parts come from different cameras"
    page = make_html(
        *example(band="weak", likelihood_ratio=12.3, support=support, calibration=about)
    ).decode()
    text = re.sub(r"\s+", " ", " ".join(Reader(page).text))
    assert "12 times as often as" in text and support in text
    assert "does not say how probable a splice is" in text
    assert "31 pristine photos by 17 cameras (2026-11-28)" in text and "2.0% to 10.0%" in text


@pytest.mark.parametrize("turn", range(1, 9))
def test_the_outline_lies_where_the_upright_mask_does(turn):
    photo, localization, report, pca = example(band="weak", orientation=turn)
    page = make_html(photo, localization, report, pca).decode()
    width, height = map(int, re.search(r'viewBox="0 0 (\d+) (\d+)"', page).groups())
    drawn = Image.new("1", (width, height))
    for ring in re.search(r'class="over" d="([^"]+)"', page)[1].replace("Z", "").split("M")[1:]:
        points = [tuple(map(float, point.split(","))) for point in ring.split()]
        ImageDraw.Draw(drawn).polygon(points, fill=1)
    mask = upright(localization.mask, turn)
    assert mask.shape == (height, width)
    assert (np.asarray(drawn) ^ mask).mean() < 0.03


def test_a_photo_that_cannot_be_judged_says_why():
    assert "It shows no texture." in make_html(*example(reason="it shows no texture")).decode()


@pytest.mark.parametrize("turn", [1, 6])
def test_the_explorers_rows_follow_the_upright_photo(turn):
    photo, localization, report, pca = example(orientation=turn)
    page = Reader(make_html(photo, localization, report, pca).decode())
    data = json.loads(page.raw["script"][0])
    values = np.frombuffer(base64.b64decode(data["embeddings"]), "<i2")
    z = values.reshape(data["rows"], data["columns"], data["components"]) * data["unit"]
    full = localization.embeddings.reshape(localization.grid.rows, localization.grid.columns, -1)
    expected = upright(full, turn)
    assert z.shape[:2] == expected.shape[:2]
    got = z[0, -1] @ z[2, 1]
    assert got == pytest.approx(float(expected[0, -1] @ expected[2, 1]), abs=0.02)
